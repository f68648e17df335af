//! How sparse a model's neurons and a dictionary's codes can be made: `RUN/evaluation/cett.json`.

use std::path::Path;

use crate::atomic;
use crate::error::{Error, Result};
use crate::evaluation::FOLDER;
use crate::json::read_versioned;
use crate::record::record;

/// `format` of the record.
pub const FORMAT: &str = "sae-workbench cett";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The file's name inside `evaluation/`.
pub const FILE: &str = "cett.json";

record! {
    /// Activation sparsity: units are left out, the weakest first, and the error or the model's loss says how many can be spared.
    /// A unit (a neuron of an MLP or of an expert, a feature) adds a vector n to the output of its layer; those with ‖n‖ < ε are left out.
    /// CETT, the cumulative error of tail truncation, is the mean over tokens of ‖Σ of the vectors left out‖ / ‖Σ of all‖.
    CettRecord {
        /// Which kind of file this is.
        format: String,
        /// Version of this description.
        version: u64,
        /// The model.
        model: String,
        /// SHA-256 of its weights.
        model_sha256: String,
        /// The dataset.
        data: String,
        /// Where the dictionary's activations come from.
        hook: String,
        /// SHA-256 of the dictionary's weight file.
        dictionary_sha256: String,
        /// Seed of the choice of documents.
        seed: u64,
        /// `held-out` or `all` documents.
        split: String,
        /// Documents.
        documents: u64,
        /// Their tokens.
        tokens: u64,
        /// Tokens whose prediction was measured.
        predicted: u64,
        /// Cross-entropy of the model as it is, nats per token.
        ce_clean: f64,
        /// Cross-entropy with the whole reconstruction in place of the activation.
        ce_reconstructed: f64,
        /// The model's own neurons, all layers together with one CETT; null of a model whose neurons cannot be read.
        neurons: Option<CettSparsity>,
        /// The same by layer.
        layers: Vec<CettLayer>,
        /// The dictionary's codes.
        codes: CettSparsity,
    }
}

record! {
    /// How many units can be left out.
    CettSparsity {
        /// Units per token: hidden units that a token goes through, or active features (L0).
        units: f64,
        /// Share of them that are exactly 0.
        zero: f64,
        /// The share that can be left out at given errors, on the outputs as they are.
        by_error: Vec<CettPoint>,
        /// The share that can be left out at given costs, measured with the units left out.
        by_loss: Vec<CettLoss>,
    }
}

record! {
    /// The share of units that can be left out at an error.
    #[derive(Copy)]
    CettPoint {
        /// CETT at most.
        cett: f64,
        /// Share left out.
        left_out: f64,
    }
}

record! {
    /// CETT-PPL-p %: the largest share of units that can be left out while the perplexity grows by less than p %.
    #[derive(Copy)]
    CettLoss {
        /// p.
        percent: f64,
        /// The CETT at which that is so, to 0.001.
        cett: f64,
        /// Share left out.
        left_out: f64,
        /// Cross-entropy with them left out, nats per token.
        ce: f64,
        /// The perplexity's growth: exp(ce − ce of all units) − 1.
        growth: f64,
    }
}

record! {
    /// One layer.
    CettLayer {
        /// Block.
        layer: u32,
        /// Hidden units that a token goes through.
        units: f64,
        /// Share of them that are exactly 0.
        zero: f64,
        /// As for all layers.
        by_error: Vec<CettPoint>,
        /// Share left out at the first of the costs.
        left_out: f64,
    }
}

impl CettRecord {
    /// Writes `RUN/evaluation/cett.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, run: &Path) -> Result<()> {
        let folder = run.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(Error::io(&folder))?;
        atomic::write_json(&folder.join(FILE), self)
    }

    /// Reads it; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read, is of another kind or lacks a field.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(FOLDER).join(FILE);
        if path.exists() { read_versioned(&path, FORMAT, VERSION).map(Some) } else { Ok(None) }
    }
}

//! How good a cross-layer transcoder is: `RUN/evaluation/layers.json`.

use std::path::Path;

use crate::atomic;
use crate::error::{Error, Result};
use crate::evaluation::FOLDER;
use crate::json::read_versioned;
use crate::record::record;

/// `format` of the record.
pub const FORMAT: &str = "sae-workbench layers";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The file's name inside `evaluation/`.
pub const FILE: &str = "layers.json";

record! {
    /// Means over the document tokens of the chosen documents, in nats where they are of predictions.
    LayersEvaluation {
        /// Which kind of file this is.
        format: String,
        /// Version of this description.
        version: u64,
        /// The model.
        model: String,
        /// SHA-256 of its weights.
        model_sha256: String,
        /// The dataset whose documents were taken.
        data: String,
        /// SHA-256 of the transcoder's files.
        dictionary_sha256: String,
        /// Seed of the choice of documents.
        seed: u64,
        /// `held-out` or `all` documents.
        split: String,
        /// Documents.
        documents: u64,
        /// Tokens that were reconstructed.
        tokens: u64,
        /// Features of all layers.
        d_sae: u64,
        /// Features of a layer that are active on a token, added over layers.
        l0: f64,
        /// Cross-entropy of the model as it is.
        ce_clean: f64,
        /// Every layer alone.
        layers: Vec<LayerEvaluation>,
        /// With the MLPs of all layers replaced at once.
        together: ReplacedEvaluation,
    }
}

record! {
    /// One layer of a cross-layer transcoder.
    LayerEvaluation {
        /// Block.
        layer: u32,
        /// Fraction of variance explained of what the layer's MLP writes, by the features of this and all earlier layers; null where it does
        /// not vary.
        fve: Option<f64>,
        /// Tokens left out of `fve`, `l0` and `dead` because what the MLP writes there is above the limit of training.
        #[serde(default)]
        left_out: u64,
        /// Features of the layer that are active on a token.
        l0: f64,
        /// Features of the layer that fired on no token.
        dead: u64,
        /// Features of the layer.
        d_sae: u64,
        /// With this layer's MLP replaced and all others as they are.
        replaced: ReplacedEvaluation,
    }
}

record! {
    /// What a model predicts with something in the place of what MLPs write.
    #[derive(Copy)]
    ReplacedEvaluation {
        /// Tokens whose prediction was compared.
        tokens: u64,
        /// Cross-entropy with what the transcoder makes of what the MLPs read.
        ce_replaced: f64,
        /// … with zeros.
        ce_zero: f64,
        /// … with the mean outputs.
        ce_mean: f64,
        /// (ce_zero − ce_replaced) / (ce_zero − ce_clean); null where zeros change nothing.
        loss_recovered: Option<f64>,
        /// KL(clean ‖ replaced).
        kl: f64,
        /// KL(clean ‖ with zeros).
        kl_zero: f64,
        /// KL(clean ‖ with the mean outputs).
        kl_mean: f64,
        /// Share of the tokens after which the likeliest token stays the same with the transcoder in place.
        agreement: f64,
    }
}

impl LayersEvaluation {
    /// Writes `RUN/evaluation/layers.json`.
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

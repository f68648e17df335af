//! What a dictionary's encoder loses: its codes against the best that could be found for the same decoder, `RUN/audit/`.

use std::path::Path;

use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::record::record;
use crate::row::{self, row};

/// `format` of an [`Audit`].
pub const FORMAT: &str = "sae-workbench audit";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The folder of a run that holds its audit.
pub const FOLDER: &str = "audit";
/// The record; it is written last.
pub const FILE: &str = "audit.json";
/// The [`AuditCodingRow`]s.
pub const CODINGS: &str = "codings.parquet";
/// The [`AuditFeatureRow`]s.
pub const FEATURES: &str = "features.parquet";

row! {
    /// One way to find codes for the decoder, with at most as many features per token as the encoder takes.
    AuditCodingRow columns AuditCodingColumns {
        /// `encoder`, `pursuit` (orthogonal matching pursuit), `soft`, `hard`, `half`, `firm` or `log-sum` (iterative thresholding that
        /// begins with the encoder's codes), `posterior` (the most probable support under spikes and slabs, searched from the encoder's), or
        /// `best` (for each token the one of these with the smallest error).
        coding: String,
        /// Fraction of variance explained by its codes.
        fve: f64,
        /// … by the best codes of 0 or more on its features.
        fve_refitted: f64,
        /// Mean number of features of a token.
        l0: f64,
        /// Share of the encoder's features that it takes, too.
        shared: f64,
        /// Share of the tokens on which its refitted codes leave less than the encoder's codes do.
        better: f64,
        /// Cross-entropy of the model with the reconstructions of its refitted codes in place of the activations, nats per token; null
        /// without a model.
        ce: Option<f64>,
    }
}

row! {
    /// One feature: how often the encoder takes it, and how often the best coding does.
    AuditFeatureRow columns AuditFeatureColumns {
        /// The feature.
        feature: u32,
        /// Tokens on which the encoder takes it.
        encoder: u64,
        /// Tokens on which the best coding takes it.
        best: u64,
        /// Tokens on which both do.
        both: u64,
        /// Mean code of the encoder where it takes it; null if it never does.
        encoder_mean: Option<f64>,
        /// Mean code of the best coding where that takes it; null if it never does.
        best_mean: Option<f64>,
    }
}

record! {
    /// `audit.json`: what an encoder loses. Figures are of the evaluated tokens.
    #[derive(Default)]
    Audit {
        /// Always [`FORMAT`].
        format: String,
        /// See [`VERSION`].
        version: u64,
        /// Folder of the dataset.
        data: String,
        /// SHA-256 of the dictionary's weight file, in hexadecimal.
        dictionary_sha256: String,
        /// Tokens that were coded.
        tokens: u64,
        /// `held-out`, or `all` if documents that were trained on were among them.
        split: String,
        /// Decides which documents a limit on tokens takes.
        seed: u64,
        /// Steps of every iterative thresholding.
        iterations: u64,
        /// Mean number of features of a token that the encoder takes.
        l0: f64,
        /// Fraction of variance explained by the encoder's codes.
        fve: f64,
        /// … by the best codes of 0 or more on the encoder's features.
        fve_refitted: f64,
        /// … by the best coding.
        fve_best: f64,
        /// What the encoder loses (amortisation gap): `fve_best − fve`.
        gap: f64,
        /// What of it is the codes' size: `fve_refitted − fve`.
        gap_of_codes: f64,
        /// What of it is the choice of features: `fve_best − fve_refitted`.
        gap_of_choice: f64,
        /// Cross-entropy of the model as it is, nats per token. This and all below: null without a model.
        ce_clean: Option<f64>,
        /// … with the reconstructions of the encoder's codes in place of the activations.
        ce: Option<f64>,
        /// … of the best codes of 0 or more on the encoder's features.
        ce_refitted: Option<f64>,
        /// … of the best coding: the smallest error, which need not be the smallest loss.
        ce_best: Option<f64>,
        /// Tokens whose predictions were compared.
        #[serde(default)]
        predicted_tokens: u64,
        /// `bf16` if the model multiplied with its weights in bfloat16; missing if in single precision.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        compute: Option<String>,
    }
}

impl Audit {
    /// Writes the tables and the record into `dir`.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn write(&self, dir: &Path, codings: &[AuditCodingRow], features: &[AuditFeatureRow]) -> Result<()> {
        row::write(&dir.join(CODINGS), codings)?;
        row::write(&dir.join(FEATURES), features)?;
        atomic::write_json(&dir.join(FILE), self)
    }

    /// Reads `RUN/audit/audit.json`; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read or is of another kind.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(FOLDER).join(FILE);
        if path.exists() { read_versioned(&path, FORMAT, VERSION).map(Some) } else { Ok(None) }
    }
}

//! What the feature index of a run is made of: `RUN/features/index.json`, which `sae index` writes last.

use std::path::Path;

use crate::RowsAre;
use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::record::record;

/// `format` of the record.
pub const FORMAT: &str = "sae-workbench index";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The file's name inside `features/`.
pub const FILE: &str = "index.json";

record! {
    /// How many examples of a feature, and how much text around them.
    #[derive(Copy)]
    ExampleOptions {
        /// Strongest examples.
        top: usize,
        /// Examples of each fifth of (0, max].
        per_interval: usize,
        /// Examples drawn from all activations alike.
        random: usize,
        /// Tokens shown before an example's token.
        before: u32,
        /// Tokens shown after it.
        after: u32,
        /// Seed of the draws.
        seed: u64,
    }
}

impl Default for ExampleOptions {
    fn default() -> Self {
        Self { top: 20, per_interval: 5, random: 5, before: 24, after: 8, seed: 0 }
    }
}

record! {
    /// Which dataset was indexed, and how much of it.
    #[derive(Default)]
    IndexRecord {
        /// Always `sae-workbench index`.
        format: String,
        /// Version of the layout.
        version: u64,
        /// The dataset's folder.
        data: String,
        /// Name of the model that made it.
        model: String,
        /// SHA-256 of that model, in hexadecimal; empty if nobody knows its files.
        model_sha256: String,
        /// Where the activations were taken (a TransformerLens name); null where the dataset does not say.
        hook: Option<String>,
        /// SHA-256 of the dictionary's weight file, in hexadecimal.
        dictionary_sha256: String,
        /// What the rows are: `tokens`, `rows` or `patches`. Only tokens can be shown as text.
        rows_are: RowsAre,
        /// Tokens (or whatever the rows are) that were indexed; "dead" means over these.
        tokens: u64,
        /// Documents that they come from, held-out ones included.
        documents: u64,
        /// Features of the dictionary.
        features: u64,
        /// Features that fired on none of the tokens.
        dead: u64,
        /// Rows of `activations`: pairs of a feature and a token on which it fires.
        activations: u64,
        /// Rows of the dataset from which co-activation was counted.
        coactive_rows: u64,
        /// What `top_logits` and `bottom_logits` are, or why they are empty.
        logits: String,
        /// Heads that decoder rows are shared out among; 0 where the dictionary is not one of heads or the model is not
        /// there.
        heads: usize,
        /// Examples that were traced to their sources.
        attributed: u64,
        /// What `attribution.parquet` holds, or why it is not there; null where the dictionary is not one of heads.
        attribution: Option<String>,
        /// Which examples were kept.
        examples: ExampleOptions,
    }
}

impl IndexRecord {
    /// A record with the format and version of this program and everything else empty.
    pub fn new() -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, ..Self::default() }
    }

    /// Writes `FEATURES/index.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, features: &Path) -> Result<()> {
        atomic::write_json(&features.join(FILE), self)
    }

    /// Reads `FEATURES/index.json`; `None` where there is none.
    ///
    /// # Errors
    /// When the file cannot be read, is of another kind or lacks a field.
    pub fn read(features: &Path) -> Result<Option<Self>> {
        let path = features.join(FILE);
        if path.exists() { read_versioned(&path, FORMAT, VERSION).map(Some) } else { Ok(None) }
    }
}

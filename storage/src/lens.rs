//! Jacobian lenses of a model: `LENS/` with `lens.json` and `lens.safetensors`, which has a matrix `[d_model, width]` for every hook by the
//! hook's name.

use std::path::Path;

use crate::ModelRef;
use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::record::record;

/// `format` of the record.
pub const FORMAT: &str = "sae-workbench lens";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The record; it is written last.
pub const FILE: &str = "lens.json";
/// The matrices.
pub const WEIGHTS: &str = "lens.safetensors";

record! {
    /// `lens.json`.
    Lens {
        /// Always [`FORMAT`].
        format: String,
        /// See [`VERSION`].
        version: u64,
        /// The model.
        model: ModelRef,
        /// Width of the final residual stream.
        d_model: usize,
        /// The hooks, each with a tensor of its name.
        hooks: Vec<String>,
        /// Texts that Jacobians were averaged over.
        prompts: u64,
        /// Tokens of them.
        positions: u64,
        /// Tokens of a text at most, BOS included.
        context_length: usize,
        /// Tokens at the beginning of each text that were left out.
        skipped: usize,
        /// Files and folders of the text.
        text: Vec<String>,
        /// Seed of which documents were taken.
        seed: u64,
        /// SHA-256 of `lens.safetensors`, in hexadecimal.
        sha256: String,
    }
}

impl Lens {
    /// Writes `DIR/lens.json`.
    ///
    /// # Errors
    /// [`crate::Error::Io`] for a file that cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        atomic::write_json(&dir.join(FILE), self)
    }

    /// Reads `DIR/lens.json`.
    ///
    /// # Errors
    /// A file that is missing or cannot be read.
    pub fn read(dir: &Path) -> Result<Self> {
        read_versioned(&dir.join(FILE), FORMAT, VERSION)
    }
}

//! What a crosscoder finds of two sites: `RUN/difference/` with `difference.json` and a table of [`FeatureDifference`].

use std::path::Path;

use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::record::record;
use crate::row::row;

/// `format` of the record.
pub const FORMAT: &str = "sae-workbench difference";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The folder of a run that holds it.
pub const FOLDER: &str = "difference";
/// The record; it is written last.
pub const FILE: &str = "difference.json";
/// The table of features.
pub const FEATURES: &str = "features.parquet";

row! {
    /// One feature of a crosscoder at the first and the last site, A and B.
    #[layout(feature_rows)]
    FeatureDifference columns FeatureDifferenceColumns {
        /// The feature.
        feature: u32,
        /// Share of the tokens it fired on.
        density: f32,
        /// Norm of its decoder row at A, in the unit in which all sites vary alike.
        norm_a: f32,
        /// The same at B.
        norm_b: f32,
        /// ((norm_b − norm_a) / the larger + 1) / 2: 0 is A alone, 0.5 both alike, 1 B alone.
        relative_norm: f32,
        /// Cosine of both rows; null where one is 0 or where the sites have different widths.
        cosine: Option<f32>,
        /// ν of the error: how much of the stronger site's row, at the codes' strengths, is in the other site's error together with what the
        /// feature itself reconstructs there, over the same at the stronger site. Null where it never fired.
        error_ratio: Option<f32>,
        /// ν of the reconstruction: the same of what is reconstructed, less its bias. Null where it never fired.
        reconstruction_ratio: Option<f32>,
        /// `silent`, `shared`, `rotated`, `exclusive`, `shrunken` or `decoupled`.
        class: String,
    }
}

record! {
    /// How well a site is reconstructed.
    SiteFit {
        /// Where it is.
        hook: String,
        /// Name of its model.
        model: String,
        /// 1 − Σ‖x − x̂‖² / Σ‖x − mean(x)‖² of its numbers; null where they do not vary.
        fve: Option<f64>,
    }
}

record! {
    /// `difference.json`.
    Difference {
        /// Always [`FORMAT`].
        format: String,
        /// See [`VERSION`].
        version: u64,
        /// SHA-256 of the run's weights.
        sha256: String,
        /// The joined dataset.
        data: String,
        /// Tokens that were looked at.
        tokens: u64,
        /// Every site, in order.
        sites: Vec<SiteFit>,
        /// Active features per token.
        l0: f64,
        /// Number of features of each class.
        classes: std::collections::BTreeMap<String, u64>,
    }
}

impl Difference {
    /// Writes `DIR/difference.json`.
    ///
    /// # Errors
    /// [`crate::Error::Io`] for a file that cannot be written.
    pub fn write(&self, dir: &Path) -> Result<()> {
        atomic::write_json(&dir.join(FILE), self)
    }

    /// Reads `DIR/difference.json`.
    ///
    /// # Errors
    /// A file that is missing or cannot be read.
    pub fn read(dir: &Path) -> Result<Self> {
        read_versioned(&dir.join(FILE), FORMAT, VERSION)
    }
}

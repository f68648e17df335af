//! What a dictionary is and whether it was read as it was meant: `RUN/check.json`, and what `sae check --json` prints.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::atomic;
use crate::error::Result;
use crate::json::read_versioned;
use crate::record::record;
use crate::run::Decision;

/// `format` of a [`Check`].
pub const FORMAT: &str = "sae-workbench check";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The file's name in a run.
pub const FILE: &str = "check.json";

/// What the numbers of a check say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// Neither rows nor a model were given.
    #[default]
    NotMeasured,
    /// The documented reading explains the activations.
    Fits,
    /// It explains something, but little, and no other reading explains more.
    Weak,
    /// A different reading explains much more.
    Misread,
    /// The documented reading explains much more at a different hook of the model.
    Elsewhere,
    /// A few rows of outlying norm decide the numbers; without them the documented reading fits.
    Rows,
    /// It explains the activations, with a number of features per token that is far from the published one.
    Sparsity,
    /// No reading explains more than it explains of rows in a wrong basis.
    Foreign,
}

impl Judgement {
    /// Whether the dictionary can be used as it was read.
    pub fn is_good(self) -> bool {
        matches!(self, Self::NotMeasured | Self::Fits | Self::Weak)
    }
}

record! {
    /// What a dictionary is, and what it explains as documented and under likely misreadings.
    #[derive(Default)]
    Check {
        /// Always [`FORMAT`].
        format: String,
        /// See [`VERSION`].
        version: u64,
        /// The folder, file or hub name.
        source: String,
        /// The format that it has on disk, in words.
        layout: String,
        /// The model that it names.
        model: Option<String>,
        /// The hook that it reads (a TransformerLens name).
        hook: Option<String>,
        /// The hook whose value it reconstructs, if that is a different one (transcoders).
        hook_out: Option<String>,
        /// Width of an activation.
        d_in: usize,
        /// Number of features.
        d_sae: usize,
        /// Width of a reconstruction.
        d_out: usize,
        /// What makes a feature active: `topk 32`, `thresholds` and so on.
        selection: String,
        /// Whether the decoder bias is subtracted before encoding, as documented.
        pre_bias: bool,
        /// What activations are multiplied by before encoding, as documented.
        input_scale: f64,
        /// How activations are normalised besides, as documented; `none` if they are not.
        normalisation: String,
        /// What was inferred, and why.
        decisions: Vec<Decision>,
        /// Norms of the encoder's rows, one per feature.
        encoder_norms: Spread,
        /// Norms of the decoder's rows.
        decoder_norms: Spread,
        /// Norm of the decoder bias.
        bias_norm: f64,
        /// Thresholds, for dictionaries that have some.
        thresholds: Option<Spread>,
        /// Of cosine scores: features whose α lies in the first tenth from 0 to 1, in the second and so on. Empty for others.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        alpha_tenths: Vec<u64>,
        /// Features per token as published, where a file or folder name says it.
        published_l0: Option<f64>,
        /// What it was measured on; null if it was not measured.
        rows: Option<CheckRows>,
        /// The readings, the documented one first.
        readings: Vec<CheckReading>,
        /// The documented reading at hooks of the model, the best first; empty without a model.
        hooks: Vec<CheckHook>,
        /// Layers of a set of transcoders or of a cross-layer transcoder; empty for a single dictionary.
        layers: Vec<CheckLayer>,
        /// What the numbers say.
        judgement: Judgement,
        /// The same in a sentence.
        verdict: String,
        /// What to do about it.
        remedy: Option<String>,
    }
}

record! {
    /// The rows that a check measured on.
    #[derive(Default)]
    CheckRows {
        /// The dataset's folder; null if a model was run on the embedded text.
        data: Option<String>,
        /// Name of the model.
        model: String,
        /// Where they were taken.
        hook: String,
        /// Tokens.
        tokens: u64,
        /// Mean norm of a row.
        mean_norm: f64,
        /// γ = ‖μ‖/‖σ‖: norm of the mean over root mean square of the distance from it.
        mean_ratio: f64,
        /// Rows whose norm is above ten times the median.
        outliers: u64,
    }
}

record! {
    /// What a dictionary explains under one reading.
    #[derive(Default)]
    CheckReading {
        /// A name for `--reading` and for programs.
        id: String,
        /// What is read differently.
        about: String,
        /// Fraction of variance explained of the rows as this reading sees them; null where they do not vary.
        fve: Option<f64>,
        /// Features per token.
        l0: f64,
        /// Share of features that fire on none of the rows.
        dead_share: f64,
    }
}

record! {
    /// What the documented reading explains at a hook.
    #[derive(Default)]
    CheckHook {
        /// The hook.
        hook: String,
        /// Fraction of variance explained.
        fve: Option<f64>,
        /// Features per token.
        l0: f64,
    }
}

record! {
    /// One layer of a set of transcoders or of a cross-layer transcoder.
    #[derive(Default)]
    CheckLayer {
        /// The layer.
        layer: usize,
        /// Features.
        d_sae: usize,
        /// Fraction of the variance of the layer's target that is explained; null if it was not measured.
        fve: Option<f64>,
        /// Features per token; null if it was not measured.
        l0: Option<f64>,
        /// Share of features that fire on none of the rows; null if it was not measured.
        dead_share: Option<f64>,
        /// The layer whose target it explains in place of its own; null where it explains its own, or none.
        home: Option<usize>,
        /// Fraction of that layer's target that it explains; null without such a layer.
        home_fve: Option<f64>,
    }
}

record! {
    /// The middle of some numbers and how far they reach.
    #[derive(Copy, Default)]
    Spread {
        /// The smallest.
        low: f64,
        /// The median.
        median: f64,
        /// The largest.
        high: f64,
    }
}

impl Spread {
    /// Of `numbers`; zeros if there are none.
    pub fn of(numbers: &[f32]) -> Self {
        let mut sorted = numbers.to_vec();
        sorted.sort_by(f32::total_cmp);
        let at = |i: usize| sorted.get(i).copied().map_or(0.0, f64::from);
        Self { low: at(0), median: at(sorted.len() / 2), high: at(sorted.len().saturating_sub(1)) }
    }
}

impl Check {
    /// One with the format and version of this program and everything else empty.
    pub fn new() -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, ..Self::default() }
    }

    /// Writes `RUN/check.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, run: &Path) -> Result<()> {
        atomic::write_json(&run.join(FILE), self)
    }

    /// Reads `RUN/check.json`; `None` where there is no such file.
    ///
    /// # Errors
    /// When the file cannot be read or lacks a field.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(FILE);
        if path.exists() { read_versioned(&path, FORMAT, VERSION).map(Some) } else { Ok(None) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_come_back() {
        let run = tempfile::tempdir().unwrap();
        assert_eq!(Check::read(run.path()).unwrap(), None);
        let reading = CheckReading { id: "documented".into(), fve: Some(0.5), ..CheckReading::default() };
        let check = Check { readings: vec![reading], judgement: Judgement::Misread, ..Check::new() };
        check.write(run.path()).unwrap();
        assert_eq!(Check::read(run.path()).unwrap(), Some(check));
        let text = std::fs::read_to_string(run.path().join(FILE)).unwrap();
        assert!(text.contains("\"misread\""), "{text}");
    }

    #[test]
    fn a_spread_has_the_middle() {
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Spread { low: 1.0, median: 2.0, high: 3.0 });
        assert_eq!(Spread::of(&[]), Spread::default());
    }
}

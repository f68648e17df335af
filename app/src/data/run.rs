//! A run: its record, its configuration, its curves.

use std::path::PathBuf;

/// How a run stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is being trained.
    Running,
    /// Training came to its end.
    Finished,
    /// It was stopped before the end and can be resumed.
    Stopped,
    /// It ended with an error.
    Failed,
    /// A state that this version does not know.
    Other(String),
}

impl Status {
    /// In a word.
    pub fn name(&self) -> &str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::Failed => "failed",
            Self::Other(name) => name,
        }
    }
}

/// What there is to know of a run without reading its tables.
#[derive(Clone, Debug)]
pub struct RunInfo {
    /// How it stands.
    pub status: Status,
    /// `topk`, `mutual-choice`, …
    pub method: String,
    /// Features a token may have, where the method says so.
    pub k: Option<u64>,
    /// Width of the activations.
    pub d_in: u64,
    /// Number of features.
    pub d_sae: u64,
    /// Tokens seen in training.
    pub tokens: u64,
    /// Wall time of training, seconds.
    pub seconds: f64,
    /// Fraction of variance explained.
    pub fve: Option<f64>,
    /// Cross-entropy recovered.
    pub loss_recovered: Option<f64>,
    /// Mean features a token.
    pub l0: Option<f64>,
    /// Share of features that never fired (see `dead_over`).
    pub dead_share: Option<f64>,
    /// Where the numbers come from: "held-out text" or "the last training batch".
    pub measured_on: &'static str,
    /// Dataset that it was trained on, as recorded.
    pub dataset: String,
    /// Everything that decides the run, as name and value.
    pub configuration: Vec<(String, String)>,
    /// The numbers of `evaluation/core.json`.
    pub evaluation: Vec<(String, f64)>,
    /// Whether it has a feature index.
    pub indexed: bool,
    /// Folder of the dataset, if it was found beside the run.
    pub dataset_folder: Option<PathBuf>,
}

/// The curves of a run: one row a logged step.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Steps, ascending.
    pub step: Vec<u64>,
    /// Tokens seen at each.
    pub tokens: Vec<u64>,
    /// The curves, by column name; NaN where the run has no such number.
    pub curves: Vec<(String, Vec<f32>)>,
}

impl Metrics {
    /// The values of a column that has at least one finite value.
    pub fn curve(&self, name: &str) -> Option<&[f32]> {
        let (_, values) = self.curves.iter().find(|(n, _)| n == name)?;
        values.iter().any(|v| v.is_finite()).then_some(values)
    }
}

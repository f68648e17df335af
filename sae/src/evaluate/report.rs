//! The numbers of an evaluation as they are kept: flat, with where they come from and what they mean.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::behaviour::BehaviourFigures;
use super::reconstruction::Figures;
use crate::{Error, Result};

/// `format` of `evaluation/core.json`.
pub const FORMAT: &str = "sae-workbench evaluation";

/// `evaluation/core.json`. Null where a number is not defined or where no model was there to measure it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Always [`FORMAT`].
    pub format: String,
    /// Version of the layout.
    pub version: u32,

    /// Fraction of variance explained, centred.
    pub fve: Option<f64>,
    /// Fraction of variance unexplained.
    pub fvu: Option<f64>,
    /// Squared error over squared norm, not centred.
    pub nmse: Option<f64>,
    /// Mean squared error of a component.
    pub mse: f64,
    /// Features per token.
    pub l0: f64,
    /// Standard deviation of the features of a token.
    #[serde(default)]
    pub l0_sd: Option<f64>,
    /// Quantiles 0, 0.05, 0.25, 0.5, 0.75, 0.95 and 1 of the features of a token.
    #[serde(default)]
    pub l0_quantiles: Option<[u64; 7]>,
    /// Share of features that fire on less than a tenth of the tokens that the mean feature fires on.
    #[serde(default)]
    pub under_used_share: Option<f64>,
    /// Sum of codes of a token.
    pub l1: f64,
    /// Share of features that fired on none of `tokens`.
    pub dead_share: f64,
    /// Number of such features.
    pub dead: u64,
    /// Mean cosine of x and x̂.
    pub cosine: f64,
    /// Mean ‖x̂‖/‖x‖.
    pub l2_ratio: Option<f64>,
    /// E‖x̂‖² / E[x·x̂].
    pub relative_reconstruction_bias: Option<f64>,

    /// Cross-entropy of the model as it is, nats.
    pub ce_clean: Option<f64>,
    /// … with reconstructions at the hook.
    pub ce_reconstructed: Option<f64>,
    /// … with zeros at the hook.
    pub ce_zero: Option<f64>,
    /// … with the mean activation at the hook.
    pub ce_mean: Option<f64>,
    /// Against zero ablation.
    pub loss_recovered: Option<f64>,
    /// Against mean ablation.
    pub loss_recovered_mean_ablation: Option<f64>,
    /// KL(clean ‖ reconstructed), nats per token.
    pub kl: Option<f64>,
    /// KL(clean ‖ zeros).
    pub kl_zero: Option<f64>,
    /// KL(clean ‖ mean).
    pub kl_mean: Option<f64>,
    /// Share of the zero ablation's divergence that is avoided.
    pub kl_score: Option<f64>,

    /// Tokens that were reconstructed.
    pub tokens: u64,
    /// More tokens, whose norm is above the limit of training: they were left out, and kept their activation in the model.
    #[serde(default)]
    pub left_out: u64,
    /// That limit.
    #[serde(default)]
    pub norm_limit: Option<f32>,
    /// Documents they come from.
    pub documents: u64,
    /// Tokens whose predictions were compared; fewer than `tokens`, as the last of a context predicts nothing.
    pub predicted_tokens: u64,
    /// `held-out` or `all`.
    pub split: String,
    /// The dataset's folder.
    pub data: String,
    /// Where the activations were taken.
    pub hook: String,
    /// Tokens per context, BOS counted.
    pub context_length: usize,
    /// Name of the model.
    pub model: String,
    /// SHA-256 of the model's weights.
    pub model_sha256: String,
    /// SHA-256 of the dictionary's weight file.
    pub dictionary_sha256: String,
    /// Features of the dictionary.
    pub d_sae: u64,
    /// Decides which documents a limit on tokens takes.
    pub seed: u64,
    /// What the numbers mean.
    pub definitions: BTreeMap<String, String>,
}

impl Evaluation {
    /// Fills in what the rows gave.
    pub(super) fn with_reconstruction(mut self, f: &Figures) -> Self {
        (self.fve, self.fvu, self.nmse, self.mse) = (f.fve, f.fvu, f.nmse, f.mse);
        (self.l0, self.l1, self.dead_share, self.dead) = (f.l0, f.l1, f.dead_share, f.dead as u64);
        (self.l0_sd, self.l0_quantiles) = (Some(f.l0_sd), Some(f.l0_quantiles));
        self.under_used_share = Some(f.under_used_share);
        (self.cosine, self.l2_ratio) = (f.cosine, f.l2_ratio);
        self.relative_reconstruction_bias = f.relative_reconstruction_bias;
        self.tokens = f.tokens;
        self
    }

    /// Fills in what the model gave.
    pub(super) fn with_behaviour(mut self, f: &BehaviourFigures) -> Self {
        (self.ce_clean, self.ce_reconstructed) = (Some(f.ce_clean), Some(f.ce_reconstructed));
        (self.ce_zero, self.ce_mean) = (Some(f.ce_zero), Some(f.ce_mean));
        self.loss_recovered = f.loss_recovered;
        self.loss_recovered_mean_ablation = f.loss_recovered_mean_ablation;
        (self.kl, self.kl_zero, self.kl_mean) = (Some(f.kl), Some(f.kl_zero), Some(f.kl_mean));
        self.kl_score = f.kl_score;
        self.predicted_tokens = f.tokens;
        self
    }

    /// Writes `RUN/evaluation/core.json`.
    pub fn write(&self, run_dir: &Path) -> Result<()> {
        write(run_dir, "core.json", self)
    }
}

/// Writes `RUN/evaluation/NAME`.
pub(super) fn write(run_dir: &Path, name: &str, what: &impl Serialize) -> Result<()> {
    let folder = run_dir.join("evaluation");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    Ok(storage::atomic::write_json(&folder.join(name), what)?)
}

/// What the numbers mean, for who reads the file alone.
pub(super) fn definitions() -> BTreeMap<String, String> {
    [
        ("fve", "1 − Σ‖x−x̂‖² / Σ‖x−mean x‖², sums and mean over the evaluated tokens"),
        ("fvu", "1 − fve"),
        ("nmse", "Σ‖x−x̂‖² / Σ‖x‖²"),
        ("dead_share", "features that fire on none of `tokens`, over d_sae"),
        ("under_used_share", "features that fire on less than a tenth of the tokens that the mean feature fires on, over d_sae"),
        ("l0_quantiles", "0, 0.05, 0.25, 0.5, 0.75, 0.95, 1 of the features that fire on a token"),
        ("left_out", "tokens with a norm above the limit of training, not among `tokens`; in the model they keep their activation"),
        ("cosine", "mean over tokens of cos(x, x̂), 0 where either is 0"),
        ("l2_ratio", "mean over tokens of ‖x̂‖/‖x‖"),
        ("relative_reconstruction_bias", "E‖x̂‖² / E[x·x̂]"),
        ("ce", "mean next-token cross-entropy in nats over `predicted_tokens`; the token after BOS is not counted"),
        (
            "replacement",
            "at the hook, x̂, 0 or the mean of the evaluated activations takes the place of every document token's activation; \
             BOS keeps its own (the dictionary was not trained on it), padding too",
        ),
        ("loss_recovered", "(ce_zero − ce_reconstructed) / (ce_zero − ce_clean)"),
        ("loss_recovered_mean_ablation", "(ce_mean − ce_reconstructed) / (ce_mean − ce_clean)"),
        ("kl", "mean over `predicted_tokens` of KL(clean ‖ replaced), nats"),
        ("kl_score", "(kl_zero − kl) / kl_zero"),
    ]
    .into_iter()
    .map(|(name, meaning)| (name.to_owned(), meaning.to_owned()))
    .collect()
}

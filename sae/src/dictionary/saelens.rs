//! SAELens's `cfg.json` of version 6: every architecture that it has for inference, read into a [`Dictionary`].
//!
//! | architecture | tensors | here |
//! |---|---|---|
//! | `standard` | `W_enc [d, F]`, `b_enc [F]`, `W_dec [F, d]`, `b_dec [d]` | thresholds 0 |
//! | `topk`, `abstopk` | the four | [`Selection::TopK`], [`Selection::AbsTopK`] |
//! | `jumprelu` | + `threshold [F]` | [`Selection::Threshold`] |
//! | `gated` | `W_enc`, `b_gate`, `r_mag`, `b_mag [F]`, `W_dec`, `b_dec` | a threshold per feature, exactly |
//! | `matching_pursuit` | `W_dec`, `b_dec` | [`Selection::MatchingPursuit`] |
//! | `batchtopk`, `matryoshka_batchtopk` (in training) | the four + `topk_threshold` | one threshold |
//! | `transcoder` | the four, `W_dec [F, d_out]`, `b_dec [d_out]` | a [`Target`] |
//! | `skip_transcoder` | + `W_skip [d_out, d]` | a target with a skip path |
//! | `jumprelu_transcoder`, `jumprelu_skip_transcoder` | + `threshold` | the same with thresholds |
//! | `block_topk`, `block_topk_transcoder`, … | as `topk`, with `blocks` | [`Selection::BlockTopK`]; SAELens has no such architecture |
//! | `shrinkage`, `shrinkage_transcoder`, … | the four, with `shrinkage` | [`Selection::Shrunk`]; SAELens has no such architecture |
//! | `cosine` | the four + `alpha [F]`, with `cosine` | [`Selection::Cosine`]; SAELens has no such architecture |
//! | `refined` | the four, with `refined` | [`Selection::Refined`]; SAELens has no such architecture |
//! | `pruned_topk`, … | as without `pruned_`, with `prune_below` | [`Dictionary::prune_below`]; SAELens has no such architecture |
//! | `topk_transcoder`, `abstopk_transcoder`, … | as `transcoder`, `skip_transcoder` | with TopK or AbsTopK; SAELens has no such architecture |

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::allocation::blocks::Blocks;
use super::folder::PRUNED;
use super::own::{CosineConfig, RefinedConfig, ShrinkageConfig};
use super::weights::{Weights, transposed};
use super::{Cosine, Dictionary, DictionaryInfo, Normalisation, Refined, Selection, Shrunk, Target};
use crate::{Error, Result};
use kernels::feature::make_unit;
use kernels::shrink::Shrinkage;

/// `cfg.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) architecture: String,
    pub(crate) d_in: usize,
    pub(crate) d_sae: usize,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) d_out: Option<usize>,
    #[serde(default = "float32")]
    pub(crate) dtype: String,
    #[serde(default = "cpu")]
    pub(crate) device: String,
    #[serde(default = "yes")]
    pub(crate) apply_b_dec_to_input: bool,
    #[serde(default = "none")]
    pub(crate) normalize_activations: String,
    #[serde(default = "none")]
    pub(crate) reshape_activations: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) k: Option<usize>,
    /// Of `block_topk`: blocks of features.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) blocks: Option<usize>,
    /// Of `shrinkage`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) shrinkage: Option<ShrinkageConfig>,
    /// Of `cosine`, whose α is a tensor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cosine: Option<CosineConfig>,
    /// Of `refined`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) refined: Option<RefinedConfig>,
    /// Of `pruned_…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) prune_below: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rescale_acts_by_decoder_norm: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) residual_threshold: Option<f32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_iterations: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stop_on_duplicate_support: Option<bool>,
    #[serde(default)]
    pub(crate) metadata: DictionaryInfo,
}

pub(super) fn float32() -> String {
    "float32".to_owned()
}
pub(super) fn cpu() -> String {
    "cpu".to_owned()
}
pub(super) fn none() -> String {
    "none".to_owned()
}
fn yes() -> bool {
    true
}

/// SAELens's name of what training leaves the factor of to `activation_scaler.json`.
const AVERAGE: &str = "expected_average_only_in";
/// The same with a matrix.
const WHITENING: &str = "covariance_whitening";
const ARCHITECTURES: [&str; 24] = [
    "standard",
    "topk",
    "jumprelu",
    "gated",
    "abstopk",
    "matching_pursuit",
    "batchtopk",
    "matryoshka_batchtopk",
    "transcoder",
    "skip_transcoder",
    "jumprelu_transcoder",
    "jumprelu_skip_transcoder",
    "topk_transcoder",
    "topk_skip_transcoder",
    "abstopk_transcoder",
    "abstopk_skip_transcoder",
    "block_topk",
    "block_topk_transcoder",
    "block_topk_skip_transcoder",
    "shrinkage",
    "shrinkage_transcoder",
    "shrinkage_skip_transcoder",
    "cosine",
    "refined",
];

impl Config {
    /// Reads `path`.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let mut config: Self = serde_json::from_slice(&text).map_err(|e| {
            Error::format(
                path,
                format!("is not a SAELens v6 configuration: {e}; expected architecture, d_in, d_sae, …"),
            )
        })?;
        config.take_pruned().map_err(|problem| Error::format(path, problem))?;
        config.check().map_err(|problem| Error::format(path, problem))?;
        Ok(config)
    }

    /// Leaves the architecture without `pruned_`; whether codes are pruned then stands in `prune_below` alone.
    fn take_pruned(&mut self) -> Result<(), String> {
        let Some(rest) = self.architecture.strip_prefix(PRUNED) else {
            self.prune_below = None;
            return Ok(());
        };
        if !self.prune_below.is_some_and(|below| below >= 0.0 && below.is_finite()) {
            return Err("prune_below is missing or wrong; expected a number of 0 or more".to_owned());
        }
        self.architecture = rest.to_owned();
        Ok(())
    }

    /// What the configuration says that cannot be.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.d_in == 0 || self.d_sae == 0 || self.d_out == Some(0) {
            return Err(format!("d_in {} and d_sae {} must both be at least 1", self.d_in, self.d_sae));
        }
        let architecture = self.architecture.as_str();
        if !ARCHITECTURES.contains(&architecture) {
            return Err(format!(
                "architecture `{architecture}` is not supported; supported are {}",
                ARCHITECTURES.join(", ")
            ));
        }
        if self.takes_k() && !self.k.is_some_and(|k| (1..=self.d_sae).contains(&k)) {
            return Err(format!(
                "k is {:?}; a {architecture} dictionary needs 1 ≤ k ≤ d_sae = {}",
                self.k, self.d_sae
            ));
        }
        if self.shrinks() && self.shrunk().is_none() {
            let kinds = Shrinkage::ALL.map(Shrinkage::name).join(", ");
            return Err(format!("shrinkage is missing or wrong; expected kind ({kinds}), lambda and unit"));
        }
        if self.architecture == "cosine" && self.cosine(Vec::new()).is_none() {
            return Err(
                "cosine is missing or wrong; expected unit above 0, and pick: best (k) or above (a score)"
                    .to_owned(),
            );
        }
        if self.architecture == "refined" && self.refined().is_none() {
            return Err(
                "refined is missing or wrong; expected step, and first and then: best (k) or above (a score)"
                    .to_owned(),
            );
        }
        if self.has_blocks() {
            self.block_choice().check(self.d_sae)?;
        }
        let normalisation = self.normalize_activations.as_str();
        if Normalisation::named(normalisation).is_none() && ![AVERAGE, WHITENING].contains(&normalisation) {
            return Err(format!(
                "normalize_activations is `{normalisation}`; supported are none, layer_norm, constant_norm_rescale, {AVERAGE} and \
                 {WHITENING}"
            ));
        }
        match self.reshape_activations.as_str() {
            // Rows of hook_z are the heads' values one after the other already.
            "none" | "hook_z" => Ok(()),
            other => Err(format!("reshape_activations is `{other}`; supported are none and hook_z")),
        }
    }

    fn takes_k(&self) -> bool {
        let rank = ["topk", "abstopk"];
        rank.iter().any(|rank| self.is_a(rank)) || self.has_blocks()
    }

    /// Whether it has this selection, as a dictionary or as a transcoder.
    fn is_a(&self, selection: &str) -> bool {
        let rest = self.architecture.strip_prefix(selection);
        rest.is_some_and(|rest| ["", "_transcoder", "_skip_transcoder"].contains(&rest))
    }

    fn shrinks(&self) -> bool {
        self.architecture.starts_with("shrinkage")
    }

    fn shrunk(&self) -> Option<Shrunk> {
        self.shrinkage.as_ref().and_then(ShrinkageConfig::read)
    }

    fn cosine(&self, alpha: Vec<f32>) -> Option<Cosine> {
        self.cosine.as_ref().and_then(|cosine| cosine.read(self.d_sae, alpha))
    }

    fn refined(&self) -> Option<Refined> {
        self.refined.as_ref().and_then(|refined| refined.read(self.d_sae))
    }

    fn has_blocks(&self) -> bool {
        self.architecture.starts_with("block_topk")
    }

    fn block_choice(&self) -> Blocks {
        Blocks { count: self.blocks.unwrap_or_default(), k: self.k.unwrap_or_default() }
    }

    /// Whether it reconstructs a different value than its input.
    pub(crate) fn is_transcoder(&self) -> bool {
        self.architecture.ends_with("transcoder")
    }

    /// Whether the factor that rows are multiplied by is a figure of the training data, in a file of its own.
    pub(crate) fn is_scaled(&self) -> bool {
        [AVERAGE, WHITENING].contains(&self.normalize_activations.as_str())
    }
}

impl Dictionary {
    /// The dictionary of a configuration that was [checked](Config::check) and its tensors. Options that other trainers use are folded
    /// into the tensors, so that encoding and decoding stay one rule.
    pub(crate) fn from_saelens(config: &Config, file: &Weights) -> Result<Self> {
        let (d, f) = (config.d_in, config.d_sae);
        let d_out = if config.is_transcoder() { config.d_out.unwrap_or(d) } else { d };
        let pursues = config.architecture == "matching_pursuit";
        let w_enc = match pursues {
            true => Vec::new(),
            false => transposed(&file.tensor("W_enc", &[d, f])?, d, f),
        };
        let w_dec = file.tensor("W_dec", &[f, d_out])?;
        let b_dec = file.tensor("b_dec", &[d_out])?;
        let normalisation = Normalisation::named(&config.normalize_activations).unwrap_or_default();
        let mut dictionary = Self {
            d_in: d,
            d_sae: f,
            w_enc,
            b_enc: vec![0.0; f],
            w_dec,
            b_dec,
            selection: Selection::Threshold(Vec::new()),
            prune_below: config.prune_below,
            normalisation,
            target: None,
            info: config.metadata.clone(),
        };
        if pursues {
            dictionary.pursue_as(config);
            return Ok(dictionary);
        }
        if config.architecture == "gated" {
            let gate =
                [file.tensor("b_gate", &[f])?, file.tensor("r_mag", &[f])?, file.tensor("b_mag", &[f])?];
            dictionary.fold_gate(&gate);
        } else {
            dictionary.b_enc = file.tensor("b_enc", &[f])?;
            dictionary.selection = selection(config, file)?;
        }
        if config.is_transcoder() {
            let skip = config.architecture.contains("skip");
            let skip = skip.then(|| file.tensor("W_skip", &[d_out, d])).transpose()?;
            let hook = dictionary.info.other.remove("hook_name_out");
            let hook = hook.and_then(|hook| hook.as_str().map(str::to_owned));
            dictionary.target = Some(Target { d_out, skip, hook, norm_limit: None });
        }
        if config.rescale_acts_by_decoder_norm == Some(true) {
            dictionary.fold_decoder_norms();
        }
        if !config.apply_b_dec_to_input && dictionary.target.is_none() {
            dictionary.fold_uncentred_input();
        }
        Ok(dictionary)
    }

    fn pursue_as(&mut self, config: &Config) {
        self.w_enc = self.w_dec.clone();
        self.selection = Selection::MatchingPursuit {
            residual_threshold: config.residual_threshold.unwrap_or(0.01),
            max_iterations: config.max_iterations,
            stop_on_duplicate_support: config.stop_on_duplicate_support.unwrap_or(true),
        };
        // Its decoder adds the bias only if the encoder subtracted it.
        if !config.apply_b_dec_to_input {
            self.b_dec.fill(0.0);
        }
    }

    /// With `u = (x − b_dec) · W_enc` a gated dictionary's code is `relu(e^r · u + b_mag)` where `u + b_gate > 0`, that is where
    /// `e^r · u + b_mag > b_mag − e^r · b_gate`: a threshold. `gate` is `b_gate`, `r_mag` and `b_mag`, `[F]` each.
    pub(crate) fn fold_gate(&mut self, [b_gate, r_mag, b_mag]: &[Vec<f32>; 3]) {
        let mut thresholds = Vec::with_capacity(self.d_sae);
        for (f, row) in self.w_enc.chunks_exact_mut(self.d_in).enumerate() {
            let factor = r_mag[f].exp();
            row.iter_mut().for_each(|w| *w *= factor);
            thresholds.push((b_mag[f] - factor * b_gate[f]).max(0.0));
        }
        self.b_enc.clone_from(b_mag);
        self.selection = Selection::Threshold(thresholds);
    }

    /// `z · ‖W_dec‖` is selected and decoded with unit rows: the same as encoder rows and biases times the norm.
    pub(crate) fn fold_decoder_norms(&mut self) {
        let d_out = self.d_out();
        for (f, row) in self.w_dec.chunks_exact_mut(d_out).enumerate() {
            let norm = make_unit(row);
            self.w_enc[f * self.d_in..(f + 1) * self.d_in].iter_mut().for_each(|w| *w *= norm);
            self.b_enc[f] *= norm;
        }
    }

    /// `x · W + b` is `(x − b_dec) · W + (b + b_dec · W)`.
    pub(crate) fn fold_uncentred_input(&mut self) {
        for f in 0..self.d_sae {
            let shift: f64 =
                self.encoder_row(f).iter().zip(&self.b_dec).map(|(w, b)| f64::from(*w) * f64::from(*b)).sum();
            self.b_enc[f] += shift as f32;
        }
    }
}

fn selection(config: &Config, file: &Weights) -> Result<Selection> {
    let f = config.d_sae;
    let k = config.k.unwrap_or_default();
    if let (true, Some(shrunk)) = (config.shrinks(), config.shrunk()) {
        return Ok(Selection::Shrunk(shrunk));
    }
    if let (true, Some(refined)) = (config.architecture == "refined", config.refined()) {
        return Ok(Selection::Refined(refined));
    }
    if config.architecture == "cosine"
        && let Some(cosine) = config.cosine(file.tensor("alpha", &[f])?)
    {
        return Ok(Selection::Cosine(cosine));
    }
    Ok(match config.architecture.as_str() {
        _ if config.is_a("topk") => Selection::TopK(k),
        _ if config.is_a("abstopk") => Selection::AbsTopK(k),
        _ if config.has_blocks() => Selection::BlockTopK(config.block_choice()),
        "batchtopk" | "matryoshka_batchtopk" => {
            // In units of z · ‖W_dec‖, which the fold of the norms makes those of z.
            Selection::Threshold(vec![file.tensor("topk_threshold", &[])?[0]; f])
        }
        "jumprelu" | "jumprelu_transcoder" | "jumprelu_skip_transcoder" => {
            // A checkpoint of a training run has the logarithm.
            Selection::Threshold(match file.shape("log_threshold") {
                Some(_) => file.tensor("log_threshold", &[f])?.into_iter().map(f32::exp).collect(),
                None => file.tensor("threshold", &[f])?,
            })
        }
        _ => Selection::Threshold(vec![0.0; f]),
    })
}

//! What a training run is told: `train.toml`.
//!
//! Everything has a default. [`TrainConfig::resolve`] fills in what depends on the data, and the resolved configuration is what
//! a run records: giving it back reproduces the run.

mod check;
pub mod keys;
mod max_norm;
mod method;
mod options;
mod together;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use max_norm::MaxNorm;
pub(crate) use method::Inference;
pub use method::{Activation, AuxLoss, CosineAlpha, FrozenDecoder, JumpPenalty, Method};

use crate::dictionary::allocation::blocks::Blocks;
use crate::dictionary::allocation::law::BudgetLaw;
use crate::dictionary::score::GradientNorm;
use crate::train::step::LEAST_RECALL;
use crate::train::step::options::Search;
use crate::{Error, Result};

/// What activations are multiplied by before training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputNormalisation {
    /// By 1.
    None,
    /// By one number that makes the mean of ‖x‖² equal to d, so that learning rates mean the same for every model.
    MeanSquare,
    /// First by the matrix that makes the covariance of the rows 1 (with a floor for directions that hardly vary), then as `mean_square`.
    Whiten,
}

/// A training run. Fields that are `None` are filled in by `TrainConfig::resolve`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Folder of the dataset of activations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// Folder of the dataset of what a transcoder reconstructs, of the same tokens as `data`. Default: `data` itself is reconstructed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<PathBuf>,
    /// A cross-layer transcoder: `data` is the folder of a harvest of `hook_mlp_in` and `hook_mlp_out` of every layer, and d_sae, k and
    /// the rest are those of each layer. Default: not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cross_layer: bool,
    /// A transcoder with a linear path past its features, W_skip. Default: not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub skip: bool,
    /// Folder of a run, or of a dictionary, whose weights training begins with. Default: random directions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// Which features are active.
    pub method: Method,
    /// Number of features, F. Default: `expansion` · d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_sae: Option<usize>,
    /// Features per dimension, if `d_sae` is not given. Default 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expansion: Option<usize>,
    /// Active features per token: at most, or on average where the batch has a budget. Without meaning for penalised methods.
    pub k: usize,
    /// k at the first step; it falls in a straight line to `k`. Default: `k`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k_start: Option<usize>,
    /// Share of the run, from its beginning, in which k falls. Default 0.1 if `k_start` is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k_anneal_share: Option<f64>,
    /// Multi-TopK: an eighth of the loss with this many times k active features is added (4 in Gao et al. 2024). Default: not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub multi_topk: Option<f64>,
    /// Blocks of features of `block-choice`, each with k / blocks winners per token. Default: k, one winner each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blocks: Option<usize>,
    /// Law of the budgets of feature choice and of the rates that aux-zipf expects: `uniform`, `zipf:s,q`, `fit`. Default `fit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_law: Option<BudgetLaw>,
    /// Most tokens of a batch for one feature, as a share of the batch. Default 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget_cap: Option<f64>,
    /// Share of the run that is BatchTopK before feature choice begins. Default 0.5.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mutual_share: Option<f64>,
    /// λ of the gradient score relu(z)·(λ + β·|W_dec ĝ|). Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_lambda: Option<f64>,
    /// β of the gradient score. Default 1; with 0 gradients are not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score_beta: Option<f64>,
    /// How gradients are brought to one scale. Default `token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gradient_norm: Option<GradientNorm>,
    /// Which features share an α of the cosine score. Default `each`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine_alpha: Option<CosineAlpha>,
    /// Keeps ⟨e, d⟩ = 1 for the encoder and decoder rows of every feature. Default: not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub align_encoder: bool,
    /// η of one correction of the codes by what they leave (a LISTA step). Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lista_step: Option<f64>,
    /// Control: every token is scored with the gradient of another token of its batch, drawn by `seed`. Default: not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub shuffle_gradients: bool,
    /// Control: decoder rows stay what they were at the first step, or near it. Default: they are trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze_decoder: Option<FrozenDecoder>,
    /// Control: encoder rows and their biases stay what they were at the first step. Default: they are trained.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub freeze_encoder: bool,
    /// Matryoshka: features of the nested dictionaries, ascending, the last is F. Default: F/16, F/8, F/4, F/2, F.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub widths: Option<Vec<usize>>,
    /// Matryoshka: each inner dictionary sees what the smaller ones reconstruct as a constant. Default: not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub detach_widths: bool,
    /// Matryoshka: the nested dictionaries are of the features that fire most often, by a moving average that keeps 0.99 of itself at
    /// every step, instead of the first ones. Default: not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sort_widths: bool,
    /// t of the tilted loss Σ softmax(t·ℓ/mean ℓ)·ℓ over the rows of a batch. Default 0: the mean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tilt: Option<f64>,
    /// λ of the penalty of codes, for inputs whose mean ‖x‖² is d. Default: √d/5 where codes cost their sum, d/500 where they cost
    /// their number; of `shrinkage` the one whose threshold is √d/10.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparsity_coefficient: Option<f64>,
    /// Share of the run, from its beginning, in which λ rises from 0. Default 0.05.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sparsity_warmup_share: Option<f64>,
    /// How `shrinkage` shrinks pre-activations. Default `half`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub activation: Option<Activation>,
    /// What the codes of `jumprelu` cost. Default `l0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jump_penalty: Option<JumpPenalty>,
    /// ε of `jumprelu`: pre-activations within ε/2 of a threshold move it. Default: √d/30.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jump_bandwidth: Option<f64>,
    /// Thresholds of `jumprelu` at the first step. Default: half the bandwidth.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jump_threshold: Option<f64>,
    /// p at the end of a `p-anneal` run; it falls from 1, in a straight line, from the end of the warm-up of λ on. Default 0.2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_end: Option<f64>,
    /// Steps after which dead features of `relu` get new rows, in the first 60 % of the run. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resample_every: Option<u64>,
    /// Held-out tokens from which thresholds are fitted after training, at most. Default 1,000,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold_tokens: Option<u64>,
    /// Tokens per step.
    pub batch: usize,
    /// Tokens to train on; rounded up to whole batches. More than the dataset has means several epochs. Default: one epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Peak learning rate of Adam. Default: see [`default_learning_rate`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Steps of linear warm-up. Default: a twentieth of the run, at most 1000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_steps: Option<u64>,
    /// Share of the run, at its end, in which the learning rate falls to 0.
    pub decay_share: f64,
    /// Adam's β₁.
    pub beta1: f64,
    /// Adam's β₂.
    pub beta2: f64,
    /// Adam's ε; 6.25e-10 as OpenAI's, small because the gradients of rare features are.
    pub epsilon: f64,
    /// The auxiliary loss of features that fire too rarely. Default: `zipf` for feature choice, `none` for penalised methods, else `auxk`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux: Option<AuxLoss>,
    /// Weight of that loss; 0 turns it off.
    pub auxk_coefficient: f64,
    /// ρ of aux-zipf: a feature that fires at less than this share of the rate that the law gives it is under-used. Default 0.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aux_rho: Option<f64>,
    /// Such features that a token may use, at most. Default: the power of two nearest to d/2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k_aux: Option<usize>,
    /// A feature is dead when it has not fired for this many tokens. Default: an eighth of the run, at most 10 million.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_after: Option<u64>,
    /// What activations are multiplied by before training; folded into the dictionary's biases afterwards.
    pub input_normalisation: InputNormalisation,
    /// Which rows are trained on and evaluated, by their norm. Default: those of at most 10 times the median norm.
    pub max_norm: MaxNorm,
    /// Computes all pre-activations, and the auxiliary loss, in `f32`: no candidates, nothing in bfloat16.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exact: bool,
    /// Seed of the first directions and, without `data_seed`, of the order of rows.
    pub seed: u64,
    /// Seed of the order of rows alone. Runs with the same one see the same batches, which a sweep then reads once. Default: `seed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data_seed: Option<u64>,
    /// Threads; the result does not depend on it. Default: one per processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Steps between rows of `metrics.parquet`. Default: a 200th of the run, at least 1, at most 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_every: Option<u64>,
    /// Steps between checkpoints; 0 writes them only when stopped.
    pub checkpoint_every: u64,
    /// Checkpoints kept.
    pub keep_checkpoints: usize,
    /// Snapshots of every feature on the way, at most, from which its history is made (`sae::train::history`); 0 keeps none. Default: one for
    /// every 50 steps, which costs about 1 % of the time, at least 2 and at most 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<usize>,
    /// Consecutive rows that stay together until their pool is permuted.
    pub block_rows: u64,
    /// Rows in memory at once (two such pools are held). Default: 128 MiB of them, at least 65536.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool_rows: Option<u64>,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            data: None,
            target: None,
            cross_layer: false,
            skip: false,
            from: None,
            method: Method::Topk,
            d_sae: None,
            expansion: None,
            k: 32,
            k_start: None,
            k_anneal_share: None,
            multi_topk: None,
            blocks: None,
            budget_law: None,
            budget_cap: None,
            mutual_share: None,
            score_lambda: None,
            score_beta: None,
            gradient_norm: None,
            cosine_alpha: None,
            align_encoder: false,
            lista_step: None,
            shuffle_gradients: false,
            freeze_decoder: None,
            freeze_encoder: false,
            widths: None,
            detach_widths: false,
            sort_widths: false,
            tilt: None,
            sparsity_coefficient: None,
            sparsity_warmup_share: None,
            activation: None,
            jump_penalty: None,
            jump_bandwidth: None,
            jump_threshold: None,
            power_end: None,
            resample_every: None,
            threshold_tokens: None,
            batch: 2048,
            tokens: None,
            learning_rate: None,
            warmup_steps: None,
            decay_share: 0.4,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 6.25e-10,
            aux: None,
            auxk_coefficient: 1.0 / 32.0,
            aux_rho: None,
            k_aux: None,
            dead_after: None,
            input_normalisation: InputNormalisation::MeanSquare,
            max_norm: MaxNorm::Multiple(10.0),
            exact: false,
            seed: 0,
            data_seed: None,
            threads: None,
            log_every: None,
            checkpoint_every: 1000,
            keep_checkpoints: 2,
            history: None,
            block_rows: 256,
            pool_rows: None,
        }
    }
}

/// A configuration with everything filled in that the training needs.
#[derive(Debug, Clone, PartialEq)]
pub struct Resolved {
    /// The same as a file.
    pub config: TrainConfig,
    /// d.
    pub d_in: usize,
    /// F.
    pub d_sae: usize,
    /// Values that a row of the dataset holds one after the other: 1, or more for a crosscoder.
    pub sites: usize,
    /// Layers of a cross-layer transcoder; 1 for anything else. `d_in`, `d_sae` and k are those of each.
    pub layers: usize,
    pub steps: u64,
    pub learning_rate: f64,
    pub warmup_steps: u64,
    pub decay_steps: u64,
    pub k_aux: usize,
    pub dead_after: u64,
    pub log_every: u64,
    pub pool_rows: u64,
    /// How active pairs are searched.
    pub search: Search,
    /// Share of the active pairs that candidates must have; below it all pre-activations are computed from then on.
    pub least_recall: f64,
}

/// Peak learning rate where none is given: `2e-4 / √(F / 2¹⁴)` for long runs (Gao et al. 2024), and more for short ones,
/// `∝ 1/√steps`, where a dictionary would otherwise be far from done: at most 3e-3.
pub fn default_learning_rate(d_sae: usize, steps: u64) -> f64 {
    const LONG_RUN: f64 = 100_000.0;
    let long = 2e-4 / (d_sae as f64 / 16384.0).sqrt();
    let short = (LONG_RUN / steps.max(1) as f64).sqrt().max(1.0);
    (long * short).min(3e-3)
}

fn power_of_two_near(x: f64) -> usize {
    1 << x.max(1.0).log2().round() as u32
}

impl TrainConfig {
    /// Which control the run is, in words; empty if it is none.
    pub fn control(&self) -> &'static str {
        match self.freeze_decoder {
            Some(FrozenDecoder::Random) => "frozen decoder",
            Some(FrozenDecoder::Soft) => "softly frozen decoder",
            None if self.freeze_encoder => "frozen encoder",
            None if self.shuffle_gradients => "shuffled gradients",
            None => "",
        }
    }

    /// The blocks of `block-choice`.
    pub(crate) fn block_choice(&self) -> Blocks {
        Blocks { count: self.blocks.unwrap_or(self.k), k: self.k }
    }

    /// Fills in the defaults that depend on the data: `rows` training rows of width `d_in`. Says what makes no sense.
    pub(crate) fn resolve(&self, d_in: usize, rows: u64) -> Result<Resolved> {
        let d_sae = match (self.d_sae, self.expansion) {
            (Some(d_sae), None) => d_sae,
            (None, expansion) => expansion.unwrap_or(16).saturating_mul(d_in),
            (Some(_), Some(_)) => {
                return Err(
                    Error::request("d_sae and expansion are both given").with_remedy("give one of them")
                );
            }
        };
        self.check(d_sae)?;
        let steps = self.tokens.unwrap_or(rows).div_ceil(self.batch as u64).max(1);
        let tokens = steps * self.batch as u64;
        let learning_rate = self.learning_rate.unwrap_or_else(|| default_learning_rate(d_sae, steps));
        let warmup_steps = self.warmup_steps.unwrap_or((steps / 20).min(1000));
        let k_aux = self.k_aux.unwrap_or_else(|| power_of_two_near(d_in as f64 / 2.0)).min(d_sae);
        let dead_after = self.dead_after.unwrap_or((tokens / 8).clamp(1, 10_000_000));
        let log_every = self.log_every.unwrap_or((steps / 200).clamp(1, 100)).max(1);
        let history = match self.cross_layer {
            // The tables of a history have one decoder row per feature.
            true => 0,
            false => self.history.unwrap_or((steps / 50).clamp(2, 20) as usize),
        };
        let pool_rows =
            self.pool_rows.unwrap_or(((128 << 20) / (4 * d_in as u64)).max(65536)).clamp(1, 1 << 31);
        let config = Self {
            d_sae: Some(d_sae),
            expansion: None,
            tokens: Some(tokens),
            learning_rate: Some(learning_rate),
            warmup_steps: Some(warmup_steps),
            k_aux: Some(k_aux),
            dead_after: Some(dead_after),
            log_every: Some(log_every),
            pool_rows: Some(pool_rows),
            history: Some(history),
            ..self.with_method_defaults(d_in, d_sae)
        };
        config.check_budgets(d_sae)?;
        Ok(Resolved {
            config,
            d_in,
            d_sae,
            sites: 1,
            layers: 1,
            steps,
            learning_rate,
            warmup_steps,
            decay_steps: (steps as f64 * self.decay_share).round() as u64,
            k_aux,
            dead_after,
            log_every,
            pool_rows,
            search: if self.exact { Search::Exact } else { Search::Auto },
            least_recall: LEAST_RECALL,
        })
    }

    /// The configuration with its defaults, for activations of width `d_in`; `tokens` must be given.
    pub(crate) fn with_defaults(&self, d_in: usize) -> Result<Self> {
        Ok(self.resolve(d_in, self.tokens.unwrap_or(0))?.config)
    }

    /// What decides the order of rows.
    pub(crate) fn order_seed(&self) -> u64 {
        self.data_seed.unwrap_or(self.seed)
    }

    /// Names of the fields in which a run with this configuration would give different weights from one with `other`.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        // What decides only how fast a run goes, where its data lies and what it writes on the way.
        const FREE: [&str; 6] =
            ["data", "threads", "log_every", "checkpoint_every", "keep_checkpoints", "history"];
        let fields = |config: &Self| match serde_json::to_value(config) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        };
        let (ours, theirs) = (fields(self), fields(other));
        let mut names: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let shown =
            |value: Option<&serde_json::Value>| value.map_or("not set".to_owned(), ToString::to_string);
        names
            .into_iter()
            .filter(|name| !FREE.contains(&name.as_str()) && ours.get(*name) != theirs.get(*name))
            .map(|name| format!("{name} was {}, is {}", shown(theirs.get(name)), shown(ours.get(name))))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolving_twice_changes_nothing() {
        let once = TrainConfig::default().resolve(128, 1_000_000).unwrap();
        assert_eq!((once.d_sae, once.steps, once.k_aux), (2048, 489, 64));
        assert_eq!(once.dead_after, 489 * 2048 / 8);
        let again = once.config.resolve(128, 55).unwrap();
        assert_eq!(once, again, "the data no longer decides anything");
        let text = toml::to_string(&once.config).unwrap();
        assert_eq!(toml::from_str::<TrainConfig>(&text).unwrap(), once.config);
    }

    #[test]
    fn long_runs_get_the_papers_values() {
        let config =
            TrainConfig { tokens: Some(1 << 30), d_sae: Some(16384), batch: 4096, ..Default::default() };
        let resolved = config.resolve(768, 10).unwrap();
        assert!((resolved.learning_rate - 2e-4).abs() < 1e-12);
        assert_eq!((resolved.dead_after, resolved.warmup_steps, resolved.k_aux), (10_000_000, 1000, 512));
    }

    #[test]
    fn nonsense_is_named() {
        let with = |change: fn(&mut TrainConfig)| {
            let mut config = TrainConfig::default();
            change(&mut config);
            config.resolve(8, 100).unwrap_err().to_string()
        };
        assert!(with(|c| c.k = 0).contains("k is 0"));
        assert!(with(|c| c.k = 200).contains("d_sae = 128"));
        assert!(with(|c| c.batch = 0).contains("batch"));
        assert!(with(|c| c.tokens = Some(0)).contains("tokens"));
        assert!(with(|c| c.learning_rate = Some(f64::NAN)).contains("learning_rate"));
        assert!(with(|c| c.beta2 = 1.0).contains("beta2"));
        assert!(with(|c| c.epsilon = 0.0).contains("epsilon"));
        assert!(with(|c| c.auxk_coefficient = -1.0).contains("auxk_coefficient"));
        assert!(with(|c| c.decay_share = 1.5).contains("decay_share"));
        assert!(with(|c| c.max_norm = MaxNorm::Multiple(0.5)).contains("median"));
        assert!(with(|c| c.threads = Some(0)).contains("threads"));
        assert!(with(|c| c.history = Some(1001)).contains("history"));
        assert!(with(|c| (c.d_sae, c.expansion) = (Some(4), Some(4))).contains("expansion"));
    }

    #[test]
    fn differences_name_what_changes_the_weights() {
        let a = TrainConfig::default();
        let b = TrainConfig { threads: Some(2), checkpoint_every: 7, history: Some(3), ..a.clone() };
        assert!(a.differences(&b).is_empty());
        let c = TrainConfig { k: 5, seed: 1, ..a.clone() };
        assert_eq!(c.differences(&a), ["k was 32, is 5", "seed was 0, is 1"]);
    }
}

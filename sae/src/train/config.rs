//! What a training run is told: `train.toml`.
//!
//! Everything has a default. [`TrainConfig::resolve`] fills in what depends on the data, and the resolved configuration is what
//! a run records: giving it back reproduces the run.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How tokens are matched with features while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The `k` largest positive pre-activations of each token (Gao et al. 2024).
    Topk,
}

impl Method {
    /// The name in `train.toml` and `run.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Topk => "topk",
        }
    }
}

/// What activations are multiplied by before training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputNormalisation {
    /// By 1.
    None,
    /// By one number that makes the mean of ‖x‖² equal to d, so that learning rates mean the same for every model.
    MeanSquare,
}

/// A training run. Fields that are `None` are filled in by [`TrainConfig::resolve`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Folder of the dataset of activations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<PathBuf>,
    /// How tokens are matched with features.
    pub method: Method,
    /// Number of features, F. Default: `expansion` · d.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d_sae: Option<usize>,
    /// Features per dimension, if `d_sae` is not given. Default 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expansion: Option<usize>,
    /// Active features a token, at most.
    pub k: usize,
    /// Tokens a step.
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
    /// Weight of the loss that dead features get for reconstructing the residual (AuxK); 0 turns it off.
    pub auxk_coefficient: f64,
    /// Dead features a token may use for that, at most. Default: the power of two nearest to d/2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k_aux: Option<usize>,
    /// A feature is dead when it has not fired for this many tokens. Default: an eighth of the run, at most 10 million.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_after: Option<u64>,
    /// What activations are multiplied by before training; folded into the dictionary's biases afterwards.
    pub input_normalisation: InputNormalisation,
    /// Rows with a norm above this multiple of the median norm are left out (and counted). Default: none are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_activation_norm_multiple: Option<f32>,
    /// Seed of the first directions and of the order of rows.
    pub seed: u64,
    /// Threads; the result does not depend on it. Default: one a processor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threads: Option<usize>,
    /// Steps between rows of `metrics.parquet`. Default: a 200th of the run, at least 1, at most 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_every: Option<u64>,
    /// Steps between checkpoints; 0 writes them only when stopped.
    pub checkpoint_every: u64,
    /// Checkpoints kept.
    pub keep_checkpoints: usize,
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
            method: Method::Topk,
            d_sae: None,
            expansion: None,
            k: 32,
            batch: 2048,
            tokens: None,
            learning_rate: None,
            warmup_steps: None,
            decay_share: 0.2,
            beta1: 0.9,
            beta2: 0.999,
            epsilon: 6.25e-10,
            auxk_coefficient: 1.0 / 32.0,
            k_aux: None,
            dead_after: None,
            input_normalisation: InputNormalisation::MeanSquare,
            max_activation_norm_multiple: None,
            seed: 0,
            threads: None,
            log_every: None,
            checkpoint_every: 1000,
            keep_checkpoints: 2,
            block_rows: 256,
            pool_rows: None,
        }
    }
}

/// A configuration with everything filled in that the training needs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Resolved {
    /// The same as a file.
    pub(crate) config: TrainConfig,
    /// d.
    pub(crate) d_in: usize,
    /// F.
    pub(crate) d_sae: usize,
    pub(crate) steps: u64,
    pub(crate) learning_rate: f64,
    pub(crate) warmup_steps: u64,
    pub(crate) decay_steps: u64,
    pub(crate) k_aux: usize,
    pub(crate) dead_after: u64,
    pub(crate) log_every: u64,
    pub(crate) pool_rows: u64,
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
    /// Fills in the defaults that depend on the data: `rows` training rows of width `d_in`. Says what makes no sense.
    pub(crate) fn resolve(&self, d_in: usize, rows: u64) -> Result<Resolved> {
        let d_sae = match (self.d_sae, self.expansion) {
            (Some(d_sae), None) => d_sae,
            (None, expansion) => expansion.unwrap_or(16).saturating_mul(d_in),
            (Some(_), Some(_)) => {
                return Err(Error::request("d_sae and expansion are both given; give one of them"));
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
            ..self.clone()
        };
        Ok(Resolved {
            config,
            d_in,
            d_sae,
            steps,
            learning_rate,
            warmup_steps,
            decay_steps: (steps as f64 * self.decay_share).round() as u64,
            k_aux,
            dead_after,
            log_every,
            pool_rows,
        })
    }

    fn check(&self, d_sae: usize) -> Result<()> {
        let wrong = |what: String| Err(Error::request(what));
        if d_sae == 0 || u32::try_from(d_sae).is_err() {
            return wrong(format!("d_sae is {d_sae}; a dictionary has between 1 and {} features", u32::MAX));
        }
        if self.k == 0 || self.k > d_sae {
            return wrong(format!("k is {}; it must be between 1 and d_sae = {d_sae}", self.k));
        }
        if self.batch == 0 || self.batch > 1 << 24 {
            return wrong(format!("batch is {}; it must be between 1 and 2^24 tokens", self.batch));
        }
        if self.tokens == Some(0) {
            return wrong("tokens is 0; there is nothing to train on".to_owned());
        }
        if self.learning_rate.is_some_and(|lr| !(lr > 0.0 && lr.is_finite())) {
            return wrong(format!("learning_rate is {:?}; it must be above 0", self.learning_rate));
        }
        if !(0.0..=1.0).contains(&self.decay_share) {
            return wrong(format!("decay_share is {}; it must be between 0 and 1", self.decay_share));
        }
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return wrong(format!("{name} is {beta}; it must be at least 0 and below 1"));
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return wrong(format!("epsilon is {}; it must be above 0", self.epsilon));
        }
        if !(self.auxk_coefficient >= 0.0 && self.auxk_coefficient.is_finite()) {
            return wrong(format!("auxk_coefficient is {}; it must be 0 or more", self.auxk_coefficient));
        }
        if self.max_activation_norm_multiple.is_some_and(|m| m.is_nan() || m <= 1.0) {
            return wrong(
                "max_activation_norm_multiple must be above 1: half of all rows are above the median"
                    .to_owned(),
            );
        }
        if self.threads == Some(0) {
            return wrong("threads is 0; leave it out to use every processor".to_owned());
        }
        if self.block_rows == 0 {
            return wrong("block_rows is 0; it must be at least 1".to_owned());
        }
        if self.keep_checkpoints == 0 {
            return wrong("keep_checkpoints is 0; a run that can be resumed keeps at least 1".to_owned());
        }
        Ok(())
    }

    /// Names of the fields in which a run with this configuration would give other weights than one with `other`.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        // What decides only how fast a run goes, where its data lies and what it writes on the way.
        const FREE: [&str; 5] = ["data", "threads", "log_every", "checkpoint_every", "keep_checkpoints"];
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
        assert!(with(|c| c.max_activation_norm_multiple = Some(0.5)).contains("median"));
        assert!(with(|c| c.threads = Some(0)).contains("threads"));
        assert!(with(|c| (c.d_sae, c.expansion) = (Some(4), Some(4))).contains("expansion"));
        assert!(toml::from_str::<TrainConfig>("lr = 1e-3").unwrap_err().to_string().contains("lr"));
    }

    #[test]
    fn differences_name_what_changes_the_weights() {
        let a = TrainConfig::default();
        let b = TrainConfig { threads: Some(2), checkpoint_every: 7, ..a.clone() };
        assert!(a.differences(&b).is_empty());
        let c = TrainConfig { k: 5, seed: 1, ..a.clone() };
        assert_eq!(c.differences(&a), ["k was 32, is 5", "seed was 0, is 1"]);
    }
}

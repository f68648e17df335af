//! A world, read from the folder that SAELens writes.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::forest::Forest;
use super::{magnitudes, threshold};
use crate::dictionary::weights::Weights;
use crate::files::files_sha256;
use crate::{Error, Result};
use kernels::pairs::{ROWS, fold_products};

pub(super) const CONFIG: &str = "synthetic_model_config.json";
pub(super) const TENSORS: &str = "synthetic_model.safetensors";
pub(super) const HIERARCHY: &str = "hierarchy.json";

#[derive(Deserialize)]
struct Config {
    num_features: usize,
    hidden_dim: usize,
    hierarchy: Option<serde::de::IgnoredAny>,
    correlation: Option<Correlation>,
    std_firing_magnitudes: Deviations,
    mean_firing_magnitudes: Means,
    seed: u32,
}

#[derive(Deserialize)]
struct Correlation {
    rank: usize,
}

#[derive(Deserialize)]
struct Deviations {
    generator_name: String,
    mean: f32,
    std: f32,
    min_value: Option<f32>,
    max_value: Option<f32>,
}

#[derive(Deserialize)]
struct Means {
    generator_name: String,
    start: f32,
    end: f32,
}

/// A made world of `n` features in `d` dimensions.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// Dimensions of the rows.
    pub d: usize,
    /// `[n, d]` unit directions of the features.
    pub directions: Vec<f32>,
    /// `[d]` what is added to every row.
    pub bias: Vec<f32>,
    /// `[n]` how often each would fire if all features over it did, before siblings exclude each other.
    pub probabilities: Vec<f32>,
    /// `[n]` means of the magnitudes.
    pub means: Vec<f32>,
    /// `[n]` standard deviations of the magnitudes.
    pub deviations: Vec<f32>,
    /// Rank of the correlations, 0 if features are independent.
    pub(super) rank: usize,
    /// `[n, rank]`.
    pub(super) factor: Vec<f32>,
    /// `[n]` variances of what is a feature's own, and their roots.
    pub(super) variances: Vec<f32>,
    pub(super) own: Vec<f32>,
    /// `[n]` the normal number above which a feature fires.
    pub(super) thresholds: Vec<f32>,
    pub(super) forest: Forest,
    /// What `synthetic_model_config.json` holds.
    pub(super) config: Value,
}

impl World {
    /// SHA-256 of the files of the world in `folder`, all of which its rows depend on.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn sha256(folder: &Path) -> Result<String> {
        let files = [CONFIG, TENSORS, HIERARCHY].map(|name| folder.join(name));
        files_sha256(&files.into_iter().filter(|file| file.exists()).collect::<Vec<_>>())
    }

    /// Reads the world in `folder` with the SHA-256 of its files, as they were read.
    ///
    /// # Errors
    /// As [`World::read`]; files that change while they are read.
    pub fn read_with_sha256(folder: &Path) -> Result<(Self, String)> {
        let sha256 = Self::sha256(folder)?;
        let world = Self::read(folder)?;
        if Self::sha256(folder)? == sha256 {
            return Ok((world, sha256));
        }
        Err(Error::data(format!("the world in {} changed while it was read", folder.display()))
            .with_remedy("wait until whatever writes it is done, then run this again"))
    }

    /// Reads the world in `folder`: `synthetic_model_config.json`, `synthetic_model.safetensors` and, if its
    /// features have a hierarchy, `hierarchy.json`.
    ///
    /// # Errors
    ///
    /// A missing or damaged file; tensors that do not have the configured shapes; probabilities outside 0…1;
    /// a correlation that does not leave variance 1; a hierarchy with features that the world does not have;
    /// magnitudes of a kind that cannot be drawn again.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let wrong = |e: serde_json::Error| {
            Error::format(&path, format!("is not the configuration of a world: {e}"))
                .with_remedy("write the world again with SAELens 6.54 or later")
        };
        let whole: Value = serde_json::from_slice(&text).map_err(wrong)?;
        let config: Config = serde_json::from_value(whole.clone()).map_err(wrong)?;
        config.check(&path)?;
        let (n, d) = (config.num_features, config.hidden_dim);
        let tensors_path = folder.join(TENSORS);
        let tensors = Weights::read(&tensors_path)?;
        let probabilities = tensors.tensor("firing_probabilities", &[n])?;
        check_probabilities(&tensors_path, &probabilities)?;
        let rank = config.correlation.as_ref().map_or(0, |correlation| correlation.rank);
        let (factor, variances) = if rank == 0 {
            (Vec::new(), vec![1.0; n])
        } else {
            let factor = tensors.tensor("correlation_factor", &[n, rank])?;
            let variances = tensors.tensor("correlation_diag", &[n])?;
            check_variances(&tensors_path, rank, &factor, &variances)?;
            (factor, variances)
        };
        let forest = match config.hierarchy {
            Some(_) => Forest::read(&folder.join(HIERARCHY), n)?,
            None => Forest::none(n),
        };
        let (std, mean) = (&config.std_firing_magnitudes, &config.mean_firing_magnitudes);
        Ok(Self {
            d,
            directions: tensors.tensor("feature_vectors", &[n, d])?,
            bias: tensors.tensor("bias", &[d])?,
            thresholds: probabilities.iter().map(|&p| threshold::firing(p)).collect(),
            probabilities,
            means: magnitudes::linear(n, mean.start, mean.end),
            deviations: magnitudes::folded_normal(n, std.mean, std.std, config.seed.wrapping_add(1)),
            rank,
            factor,
            own: variances.iter().map(|variance| variance.sqrt()).collect(),
            variances,
            forest,
            config: whole,
        })
    }

    /// How many features the world has.
    pub fn features(&self) -> usize {
        self.probabilities.len()
    }

    /// Mean over the features of the largest |cosine| with a different one: how much the world superposes.
    pub fn mean_largest_cosine(&self) -> f64 {
        let (rows, d) = (&self.directions, self.d);
        let largest = fold_products(
            (rows, rows, d),
            0..self.features(),
            ROWS,
            |row| (row, 0.0_f32),
            |(own, best), row, cosine| {
                if row != *own {
                    *best = best.max(cosine.abs());
                }
            },
            |(_, best)| f64::from(best),
        );
        largest.iter().sum::<f64>() / largest.len() as f64
    }

    /// Levels of the hierarchy above each feature, `[n]`; 0 for roots and free features.
    pub fn levels(&self) -> Vec<u32> {
        let mut levels = vec![0; self.features()];
        let mut open = self.forest.roots.clone();
        while let Some(parent) = open.pop() {
            for &child in &self.forest.children[parent as usize] {
                levels[child as usize] = levels[parent as usize] + 1;
                open.push(child);
            }
        }
        levels
    }
}

impl Config {
    fn check(&self, path: &Path) -> Result<()> {
        let (std, mean) = (&self.std_firing_magnitudes, &self.mean_firing_magnitudes);
        let kinds = [
            ("std_firing_magnitudes", &std.generator_name, "folded_normal"),
            ("mean_firing_magnitudes", &mean.generator_name, "linear"),
        ];
        for (field, found, expected) in kinds {
            if found != expected {
                return Err(Error::format(
                    path,
                    format!("has {field} of kind `{found}`, expected `{expected}`"),
                )
                .with_remedy("magnitudes are drawn again from the seed: use a world of the expected kind"));
            }
        }
        if std.min_value.is_some() || std.max_value.is_some() {
            return Err(Error::format(
                path,
                "limits std_firing_magnitudes, which this version does not read",
            ));
        }
        if self.num_features < magnitudes::GROUP || self.hidden_dim == 0 {
            let what = format!(
                "has {} features in {} dimensions, expected at least {} features in 1 dimension",
                self.num_features,
                self.hidden_dim,
                magnitudes::GROUP
            );
            return Err(Error::format(path, what));
        }
        Ok(())
    }
}

fn check_probabilities(path: &Path, probabilities: &[f32]) -> Result<()> {
    match probabilities.iter().position(|p| !(0.0..=1.0).contains(p)) {
        None => Ok(()),
        Some(i) => {
            let what = format!("firing_probabilities[{i}] is {}, expected 0 to 1", probabilities[i]);
            Err(Error::format(path, what)
                .with_remedy("make the world again with fewer children per feature or a smaller max_prob"))
        }
    }
}

fn check_variances(path: &Path, rank: usize, factor: &[f32], own: &[f32]) -> Result<()> {
    for (i, (row, own)) in factor.chunks_exact(rank).zip(own).enumerate() {
        let variance = row.iter().map(|x| x * x).sum::<f32>() + own;
        let fits = *own >= 0.0 && (variance - 1.0).abs() < 1e-3;
        if !fits {
            let what = format!("feature {i} has variance {variance} (its own {own}), expected 1");
            return Err(Error::format(path, what)
                .with_remedy("the correlation is damaged or of a different version: make the world again"));
        }
    }
    Ok(())
}

//! What a world is made from, and whether such a world can be.

use serde_json::{Value, json};

use super::forest::Forest;
use super::magnitudes::GROUP;
use crate::{Error, Result};

/// Levels below the roots at most: readers of JSON give up on deeper nesting than three times this.
const DEEPEST: usize = 32;

/// Trees of features, all of one shape: `roots` trees with `branching` children per feature, `depth` levels below the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HierarchyOptions {
    /// Trees; their roots are the first, most frequent features.
    pub roots: usize,
    /// Children of a feature, at most one of which fires.
    pub branching: usize,
    /// Levels below the root.
    pub depth: usize,
}

impl HierarchyOptions {
    /// Features in the trees; `None` if they are more than can be counted.
    pub fn features(&self) -> Option<usize> {
        let mut level = self.roots;
        let mut all = level;
        for _ in 0..self.depth {
            level = level.checked_mul(self.branching)?;
            all = all.checked_add(level)?;
        }
        Some(all)
    }
}

/// What a world is made from: the parameters of SynthSAEBench.
#[derive(Debug, Clone, PartialEq)]
pub struct WorldOptions {
    /// Features, `n`.
    pub features: usize,
    /// Dimensions, `d`.
    pub d: usize,
    /// α of the rates: feature i (from 1) fires in proportion to i^−α.
    pub exponent: f64,
    /// Rate of the first feature.
    pub most: f64,
    /// Rate of the last one.
    pub least: f64,
    /// Which features fire only under others; `None`: all are free.
    pub hierarchy: Option<HierarchyOptions>,
    /// Rank of the correlations; 0: features are independent.
    pub rank: usize,
    /// Standard deviation of the entries of the correlations' factor.
    pub correlation_scale: f32,
    /// Steps that make the directions less alike.
    pub orthogonal_steps: usize,
    /// Adam's learning rate in these steps.
    pub orthogonal_rate: f32,
    /// Mean magnitude of the first and of the last feature.
    pub means: [f32; 2],
    /// Mean and standard deviation of what the deviations of the magnitudes are the absolute value of.
    pub deviations: [f32; 2],
    /// Norm of what is added to every row.
    pub bias: f32,
    /// Seed of all of it.
    pub seed: u32,
}

impl WorldOptions {
    /// The world of SynthSAEBench-16k: 16,384 features in 768 dimensions.
    pub fn bench() -> Self {
        Self {
            features: 16_384,
            d: 768,
            hierarchy: Some(HierarchyOptions { roots: 128, branching: 4, depth: 3 }),
            ..Self::small()
        }
    }

    /// A world of the same kind with 2,048 features in 256 dimensions, on which a method can be judged in minutes.
    pub fn small() -> Self {
        Self {
            features: 2048,
            d: 256,
            exponent: 0.5,
            most: 0.4,
            least: 5e-4,
            hierarchy: Some(HierarchyOptions { roots: 16, branching: 4, depth: 3 }),
            rank: 25,
            correlation_scale: 0.1,
            orthogonal_steps: 100,
            orthogonal_rate: 3e-4,
            means: [5.0, 4.0],
            deviations: [0.5, 0.5],
            bias: 0.5,
            seed: 42,
        }
    }

    /// An error if there can be no such world, before anything is computed.
    ///
    /// # Errors
    /// The option, its value and what it may be; a feature whose rate under its parent would be above 1.
    pub fn check(&self) -> Result<()> {
        let ok = |fits: bool, problem: String| if fits { Ok(()) } else { Err(Error::request(problem)) };
        let (n, d) = (self.features, self.d);
        ok(n >= GROUP, format!("the world has {n} features; it must have at least {GROUP}"))?;
        ok(n <= u32::MAX as usize, format!("the world has {n} features; it must have fewer than 2^32"))?;
        ok(d > 0, "the world has 0 dimensions; it must have at least 1".to_owned())?;
        let rates = 0.0 < self.least && self.least <= self.most && self.most < 1.0;
        ok(
            rates,
            format!("rates fall from {} to {}; expected 0 < the last ≤ the first < 1", self.most, self.least),
        )?;
        ok(
            self.exponent > 0.0 && self.exponent.is_finite(),
            format!("the rates' exponent is {}; it must be above 0", self.exponent),
        )?;
        let finite = [self.means[0], self.means[1], self.deviations[0], self.deviations[1], self.bias];
        ok(
            finite.iter().all(|x| x.is_finite()) && self.bias >= 0.0,
            format!("magnitudes and bias are {finite:?}; they must be finite, the bias not negative"),
        )?;
        ok(
            self.correlation_scale >= 0.0 && self.correlation_scale.is_finite(),
            format!("the correlations' scale is {}; it must be 0 or more", self.correlation_scale),
        )?;
        ok(
            self.orthogonal_rate > 0.0 && self.orthogonal_rate.is_finite(),
            format!("the directions' learning rate is {}; it must be above 0", self.orthogonal_rate),
        )?;
        self.check_hierarchy()?;
        self.check_memory()
    }

    fn check_hierarchy(&self) -> Result<()> {
        let Some(hierarchy) = self.hierarchy else { return Ok(()) };
        let n = self.features;
        let HierarchyOptions { roots, branching, depth } = hierarchy;
        if roots == 0 || branching == 0 {
            return Err(Error::request(format!(
                "the hierarchy has {roots} roots with {branching} children per feature; both must be at least 1"
            ))
            .with_remedy("leave the hierarchy out for a world without one"));
        }
        if depth > DEEPEST {
            return Err(Error::request(format!(
                "the hierarchy has {depth} levels below its roots; expected at most {DEEPEST}"
            )));
        }
        match hierarchy.features() {
            Some(all) if all <= n => {}
            all => {
                let needed = all.map_or("more than can be counted".to_owned(), |all| all.to_string());
                return Err(Error::request(format!(
                    "{roots} trees with {branching} children per feature and {depth} levels below the root have \
                     {needed} features, but the world has {n}"
                ))
                .with_remedy("choose fewer roots, children or levels, or more features"));
            }
        }
        self.corrected(&Forest::grown(n, &hierarchy)).map(|_| ())
    }

    fn check_memory(&self) -> Result<()> {
        // Directions with two moments and a gradient, and the correlations' factor.
        let numbers = (self.features as u128) * (4 * self.d as u128 + self.rank as u128 + 8);
        let needed = numbers * 4;
        match crate::memory::available() {
            Some(free) if needed > u128::from(free) => Err(Error::request(format!(
                "a world of {} features in {} dimensions needs {:.1} GiB of memory while it is made; {:.1} GiB are free",
                self.features,
                self.d,
                needed as f64 / 1073741824.0,
                free as f64 / 1073741824.0
            ))
            .with_remedy("choose fewer features or dimensions")),
            _ => Ok(()),
        }
    }

    /// Rates `[n]` by Zipf's law, before the hierarchy:
    /// p_min + (p_max − p_min) · (i^−α − n^−α) / (1 − n^−α), i from 1.
    pub(super) fn rates(&self) -> Vec<f64> {
        let last = (self.features as f64).powf(-self.exponent);
        (1..=self.features)
            .map(|i| {
                let share = ((i as f64).powf(-self.exponent) - last) / (1.0 - last);
                self.least + (self.most - self.least) * share
            })
            .collect()
    }

    /// How often each feature fires if its parent does, `[n]`, so that after siblings have excluded each other it fires about as often
    /// as [`Self::rates`] says: p / p_parent · (1 + Σ over the other siblings of p / p_parent).
    ///
    /// # Errors
    /// A probability above 1.
    pub(super) fn corrected(&self, forest: &Forest) -> Result<Vec<f32>> {
        let rates = self.rates();
        let mut corrected = rates.clone();
        for (parent, children) in forest.children.iter().enumerate() {
            let of_parent = |child: &u32| rates[*child as usize] / rates[parent];
            let all: f64 = children.iter().map(of_parent).sum();
            for child in children {
                let share = of_parent(child);
                let p = share * (1.0 + all - share);
                if p > 1.0 {
                    return Err(Error::request(format!(
                        "feature {child} would have to fire with probability {p:.3} when feature {parent}, over it, does; a \
                         probability is at most 1"
                    ))
                    .with_remedy(
                        "choose fewer children per feature or more roots, or rates that fall faster (a larger exponent)",
                    ));
                }
                corrected[*child as usize] = p;
            }
        }
        Ok(corrected.into_iter().map(|p| p as f32).collect())
    }

    /// The configuration as SAELens writes it.
    pub(super) fn config(&self) -> Value {
        let hierarchy = self.hierarchy.map(|h| {
            json!({
                "total_root_nodes": h.roots,
                "branching_factor": h.branching,
                "max_depth": h.depth,
                "mutually_exclusive_portion": 1.0,
                "mutually_exclusive_min_depth": 0,
                "mutually_exclusive_max_depth": null,
                "compensate_probabilities": true,
                "scale_children_by_parent": false,
            })
        });
        let correlation = (self.rank > 0).then(|| {
            json!({ "rank": self.rank, "correlation_scale": shortest(self.correlation_scale), "seed": null })
        });
        let orthogonal = (self.orthogonal_steps > 0).then(|| {
            json!({
                "num_steps": self.orthogonal_steps,
                "lr": shortest(self.orthogonal_rate),
                "chunk_size": 1024,
            })
        });
        json!({
            "num_features": self.features,
            "hidden_dim": self.d,
            "firing_probability": {
                "exponent": self.exponent,
                "max_prob": self.most,
                "min_prob": self.least,
                "generator_name": "zipfian",
            },
            "hierarchy": hierarchy,
            "orthogonalization": orthogonal,
            "correlation": correlation,
            "std_firing_magnitudes": {
                "mean": shortest(self.deviations[0]),
                "std": shortest(self.deviations[1]),
                "min_value": null,
                "max_value": null,
                "generator_name": "folded_normal",
            },
            "mean_firing_magnitudes": {
                "start": shortest(self.means[0]),
                "end": shortest(self.means[1]),
                "generator_name": "linear",
            },
            "bias": shortest(self.bias),
            "dtype": "float32",
            "seed": self.seed,
        })
    }
}

/// The f64 with the fewest digits that is this f32: 0.1, not 0.10000000149.
fn shortest(x: f32) -> f64 {
    x.to_string().parse().unwrap_or_else(|_| f64::from(x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_large_world_has_the_published_rates() {
        let options = WorldOptions::bench();
        let rates = options.rates();
        let sum = |rates: &[f64]| rates.iter().sum::<f64>();
        assert!((sum(&rates) - 59.1442).abs() < 1e-3, "{}", sum(&rates));
        assert!((sum(&rates[..4096]) - 40.1171).abs() < 1e-3);
        assert!((rates[1] - 0.282_068).abs() < 1e-6, "{}", rates[1]);
        let hierarchy = options.hierarchy.unwrap();
        assert_eq!(hierarchy.features(), Some(10_880));
        let corrected = options.corrected(&Forest::grown(16_384, &hierarchy)).unwrap();
        assert!((corrected[128] - 0.102_025).abs() < 1e-6, "{}", corrected[128]);
        assert!((f64::from(corrected[128]) / rates[128] - 3.110_015).abs() < 1e-4);
        options.check().unwrap();
    }

    #[test]
    fn worlds_that_cannot_be_are_refused_with_a_remedy() {
        let small = WorldOptions::small();
        let hierarchy = |roots, branching, depth| Some(HierarchyOptions { roots, branching, depth });
        let cases = [
            (
                WorldOptions { hierarchy: hierarchy(4000, 4, 3), ..small.clone() },
                "have 340000 features, but the world has 2048",
            ),
            (
                WorldOptions { hierarchy: hierarchy(1, 40_000, 8), ..small.clone() },
                "more than can be counted",
            ),
            (WorldOptions { hierarchy: hierarchy(1, 1, 33), ..small.clone() }, "33 levels"),
            (WorldOptions { hierarchy: hierarchy(2, 500, 1), ..small.clone() }, "a probability is at most 1"),
            (WorldOptions { hierarchy: hierarchy(0, 4, 3), ..small.clone() }, "0 roots"),
            (WorldOptions { most: 1.5, ..small.clone() }, "rates fall from 1.5"),
            (WorldOptions { least: 0.5, ..small.clone() }, "to 0.5"),
            (WorldOptions { features: 3, hierarchy: None, ..small.clone() }, "has 3 features"),
            (WorldOptions { d: 1 << 40, ..small.clone() }, "GiB of memory"),
            (WorldOptions { bias: f32::NAN, ..small }, "must be finite"),
        ];
        for (options, expected) in cases {
            let message = options.check().unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}

//! How many hidden units of a ReLU expert are active: as the mean and the variance of its weights let expect,
//! and as it is.
//!
//! MoE-X (2503.07639) takes the weights of an expert's hidden units as draws from one normal distribution a
//! coordinate. With μ and s² the mean and variance over hidden units of each column of `W_enc`, the
//! pre-activation of a unit at input x is then normal with
//!
//! ```text
//! m = μᵀx + mean(b),    v = s²ᵀ(x ∘ x) + var(b),    P(active) = Φ(m / √v) = ½ (1 + erf(m / √(2v)))
//! ```
//!
//! The paper routes by −erf(m / √(2v)), so that tokens go to the experts that are sparsest for them. Here it
//! is a figure next to the measured share of active units: near it where the assumption holds. In a gated
//! expert a unit is active where its gate is, so the rows of the gate stand for `W_enc`. The equations are
//! reconstructed from the paper's captions and a re-implementation.

use std::collections::BTreeMap;

use candle_core::Tensor;
use candle_core::cpu::erf::erf_f64;
use storage::experts::SparsityRow;

use super::layers;
use crate::experts::rescore::{contexts, documents};
use crate::experts::routing::Source;
use crate::experts::tables::{layer_number, number_of};
use crate::{Error, Progress, Result};
use kernels::gemm::rows_times_rows;
use lm::model::config::Activation;
use lm::model::{Hook, LanguageModel, MoeLayer, Routing, Site, Tap};

/// Expected and measured share of active units of every expert on the tokens that choose it: over the first
/// batches of the dataset that hold `tokens` tokens, or all of it.
///
/// # Errors
/// A request error for experts whose units are never exactly 0 (SiLU, GELU): no sparsity is to be expected of
/// them.
pub fn sparsity(
    source: &Source,
    model: &LanguageModel,
    tokens: u64,
    progress: &mut dyn Progress,
) -> Result<Vec<SparsityRow>> {
    let layers = layers(model)?;
    refuse_smooth(&layers)?;
    let gates = layers.iter().map(Gates::of).collect::<Result<Vec<_>>>()?;
    let mut watch = Watch {
        layers: layers.iter().zip(gates).map(|(layer, gates)| (layer.layer, gates)).collect(),
        input: None,
        counted: Vec::new(),
        sums: BTreeMap::new(),
    };
    progress.begin("active units", Some(tokens), "tokens");
    let mut done = 0;
    for batch in contexts(source, model, documents(source)?)? {
        let batch = batch?;
        watch.counted = batch.origin.iter().map(Option::is_some).collect();
        model.decoder().residual(&batch, model.config().num_hidden_layers, &mut watch)?;
        done += batch.document_tokens() as u64;
        progress.advance(done.min(tokens), "");
        if progress.stop_requested() {
            return Err(Error::stopped("the active units were not counted, nothing was written"));
        }
        if done >= tokens {
            break;
        }
    }
    progress.end(&format!("{done} tokens"));
    Ok(watch.rows())
}

fn refuse_smooth(layers: &[MoeLayer<'_>]) -> Result<()> {
    match layers.iter().find(|layer| layer.experts.activation != Activation::Relu) {
        Some(layer) => Err(Error::request(format!(
            "the experts of layer {} have no expected sparsity: their activation is {}, whose units are never exactly 0; \
             MoE-X's formula is for ReLU",
            layer.layer,
            name(layer.experts.activation)
        ))),
        None => Ok(()),
    }
}

fn name(activation: Activation) -> &'static str {
    match activation {
        Activation::Silu => "silu",
        Activation::Gelu => "gelu",
        Activation::GeluTanh => "gelu (by tanh)",
        Activation::Relu => "relu",
        Activation::SquaredRelu => "relu2",
        Activation::ClampedSwiglu { .. } => "clamped swiglu",
    }
}

/// What decides whether units are active, for all experts of a layer.
#[derive(Debug)]
struct Gates {
    d: usize,
    hidden: usize,
    /// `[E, hidden, d]`, and `[E, hidden]` or nothing.
    weights: Vec<f32>,
    biases: Vec<f32>,
    /// Mean and variance over hidden units, `[E, d]`, and of the bias, `[E]`.
    mean: Vec<f64>,
    variance: Vec<f64>,
    of_bias: Vec<(f64, f64)>,
}

impl Gates {
    fn of(layer: &MoeLayer<'_>) -> Result<Self> {
        let (experts, rows, d) = layer.experts.gate_up.dims3()?;
        let hidden = if layer.experts.gated { rows / 2 } else { rows };
        let flat = |t: Tensor| t.flatten_all().and_then(|t| t.to_vec1::<f32>());
        let weights = flat(layer.experts.gate_up.narrow(1, 0, hidden)?)?;
        let biases = match &layer.experts.biases {
            Some((inner, _)) => flat(inner.narrow(1, 0, hidden)?)?,
            None => Vec::new(),
        };
        Ok(Self::new(experts, hidden, d, weights, biases))
    }

    fn new(experts: usize, hidden: usize, d: usize, weights: Vec<f32>, biases: Vec<f32>) -> Self {
        let (mut mean, mut variance) = (Vec::new(), Vec::new());
        for expert in weights.chunks_exact(hidden * d) {
            for i in 0..d {
                let (m, v) = moments(expert.iter().skip(i).step_by(d));
                mean.push(m);
                variance.push(v);
            }
        }
        let of_bias = match biases.is_empty() {
            true => vec![(0.0, 0.0); experts],
            false => biases.chunks_exact(hidden).map(|of| moments(of.iter())).collect(),
        };
        Self { d, hidden, weights, biases, mean, variance, of_bias }
    }

    /// Φ(m / √v) of `expert` at `x [d]`.
    fn expected(&self, expert: usize, x: &[f32]) -> f64 {
        let (mut m, mut v) = self.of_bias[expert];
        let (mean, variance) =
            (&self.mean[expert * self.d..][..self.d], &self.variance[expert * self.d..][..self.d]);
        for ((x, mean), variance) in x.iter().zip(mean).zip(variance) {
            let x = f64::from(*x);
            m += mean * x;
            v += variance * x * x;
        }
        match v > 0.0 {
            true => 0.5 * (1.0 + erf_f64(m / (2.0 * v).sqrt())),
            // All units are the same: active or not.
            false => f64::from(u8::from(m > 0.0)),
        }
    }

    /// Share of the units of `expert` that are above 0 at each of the rows `x [n, d]`.
    fn measured(&self, expert: usize, x: &[f32]) -> Vec<f64> {
        let n = x.len() / self.d;
        let weights = &self.weights[expert * self.hidden * self.d..][..self.hidden * self.d];
        let mut z = vec![0.0; n * self.hidden];
        rows_times_rows(&mut z, x, weights, n, self.hidden, self.d);
        let bias = |unit: usize| self.biases.get(expert * self.hidden + unit).copied().unwrap_or(0.0);
        let active = |row: &[f32]| row.iter().enumerate().filter(|(unit, z)| **z + bias(*unit) > 0.0).count();
        z.chunks_exact(self.hidden).map(|row| active(row) as f64 / self.hidden as f64).collect()
    }
}

/// Mean and population variance.
fn moments<'a>(values: impl Iterator<Item = &'a f32> + Clone) -> (f64, f64) {
    let n = values.clone().count() as f64;
    let mean = values.clone().map(|v| f64::from(*v)).sum::<f64>() / n;
    (mean, values.map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>() / n)
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    tokens: u64,
    expected: f64,
    measured: f64,
    error: f64,
}

/// Looks at the inputs of every layer of experts.
struct Watch {
    layers: BTreeMap<usize, Gates>,
    /// Input of the layer that is being computed, `[tokens, d]`.
    input: Option<Vec<f32>>,
    /// Which tokens of the batch belong to documents.
    counted: Vec<bool>,
    sums: BTreeMap<(usize, usize), Sums>,
}

impl Watch {
    fn rows(&self) -> Vec<SparsityRow> {
        let row = |(&(layer, expert), of): (&(usize, usize), &Sums)| {
            let n = of.tokens as f64;
            SparsityRow {
                layer: layer_number(layer),
                expert: number_of(expert),
                tokens: of.tokens,
                expected: of.expected / n,
                measured: of.measured / n,
                error: of.error / n,
            }
        };
        self.sums.iter().map(row).collect()
    }
}

impl Tap for Watch {
    fn wants(&self, hook: &Hook) -> bool {
        hook.site == Site::MlpIn && self.layers.contains_key(&hook.layer)
    }

    fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        self.input = Some(value.flatten_all()?.to_vec1()?);
        Ok(None)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        let (Some(gates), Some(x)) = (self.layers.get(&routing.layer), self.input.take()) else {
            return Ok(());
        };
        let mut of_expert: BTreeMap<usize, Vec<f32>> = BTreeMap::new();
        for at in (0..self.counted.len()).filter(|at| self.counted[*at]) {
            for &expert in routing.of(at).0 {
                of_expert.entry(expert as usize).or_default().extend(&x[at * gates.d..][..gates.d]);
            }
        }
        for (expert, x) in of_expert {
            let sums = self.sums.entry((routing.layer, expert)).or_default();
            for (x, measured) in x.chunks_exact(gates.d).zip(gates.measured(expert, &x)) {
                let expected = gates.expected(expert, x);
                sums.tokens += 1;
                sums.expected += expected;
                sums.measured += measured;
                sums.error += (expected - measured).abs();
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// Sum of twelve uniform numbers less 6: mean 0, variance 1, near enough to normal here.
    fn normal(rng: &mut ChaCha8Rng) -> f32 {
        (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
    }

    /// Two experts of 20,000 units whose weights have known means; what is expected is the share that a Monte
    /// Carlo count gives.
    #[test]
    fn expected_is_what_is_counted_for_normal_weights() {
        let (d, hidden) = (12, 20_000);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let centre: [Vec<f32>; 2] = [0, 1].map(|_| (0..d).map(|_| 0.4 * normal(&mut rng)).collect());
        let mut weights = Vec::new();
        for of in &centre {
            for _ in 0..hidden {
                weights.extend(of.iter().map(|c| c + 0.7 * normal(&mut rng)));
            }
        }
        let biases: Vec<f32> = (0..2 * hidden).map(|_| -0.5 + 0.3 * normal(&mut rng)).collect();
        let gates = Gates::new(2, hidden, d, weights.clone(), biases.clone());
        let (mut shares, mut order) = (Vec::new(), 0);
        for _ in 0..30 {
            let x: Vec<f32> = (0..d).map(|_| normal(&mut rng)).collect();
            let mut both = [0.0; 2];
            for (expert, both) in both.iter_mut().enumerate() {
                let active = (0..hidden).filter(|unit| {
                    let row = &weights[(expert * hidden + unit) * d..][..d];
                    let z: f32 = row.iter().zip(&x).map(|(w, x)| w * x).sum();
                    z + biases[expert * hidden + unit] > 0.0
                });
                let counted = active.count() as f64 / hidden as f64;
                let (expected, measured) = (gates.expected(expert, &x), gates.measured(expert, &x)[0]);
                // A unit at the very edge may fall the other way with another order of summation.
                assert!((measured - counted).abs() < 1e-3, "{measured}, {counted}");
                // Within a hundredth: three standard errors are 0.0106 at most.
                assert!((expected - counted).abs() < 0.011, "{expected}, {counted}");
                shares.push(counted);
                *both = expected - counted;
                if expected > 0.5 {
                    order += i32::from(counted > 0.49);
                } else {
                    order += i32::from(counted < 0.51);
                }
            }
        }
        // The sign: what is expected to be dense is dense. And shares differ, else nothing would be tested.
        assert_eq!(order, 60);
        let (low, high) = shares.iter().fold((1.0f64, 0.0f64), |(l, h), s| (l.min(*s), h.max(*s)));
        assert!(low < 0.2 && high > 0.8, "{low} {high}");
    }

    #[test]
    fn experts_without_spread() {
        // Every unit is the same: active everywhere or nowhere.
        let gates = Gates::new(1, 3, 2, [1.0f32, -2.0].repeat(3), Vec::new());
        assert_eq!((gates.expected(0, &[3.0, 1.0]), gates.measured(0, &[3.0, 1.0])[0]), (1.0, 1.0));
        assert_eq!((gates.expected(0, &[1.0, 1.0]), gates.measured(0, &[1.0, 1.0])[0]), (0.0, 0.0));
    }
}

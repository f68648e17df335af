//! Monet (Park et al. 2024): E = √E · √E experts, put together of halves that two routers choose.
//!
//! For head h, the first router's gates g1 `[H, √E]` choose halves i and the second's, g2, halves j; expert
//! `i · √E + j` has the weight Σ_h g1_hi g2_hj. No product over E is ever formed:
//!
//! ```text
//! horizontal  y = Σ_j V_j Σ_h g2_hj Σ_i g1_hi σ(U_i x + u_i) + Σ_j b_j Σ_h g2_hj
//! vertical    left  = Σ_i V11_i x1_i Σ_h g1_hi + Σ_i V12_i Σ_h g1_hi Σ_j g2_hj x2_j + Σ_i b1_i Σ_h g1_hi
//!             right = Σ_j V21_j Σ_h g2_hj Σ_i g1_hi x1_i + Σ_j V22_j x2_j Σ_h g2_hj + Σ_j b2_j Σ_h g2_hj
//!             x1_i = σ(U1_i x + u1_i),  x2_j = σ(U2_j x + u2_j),  y = [left, right]
//! ```
//!
//! Gates are a softmax over the logits that pass a threshold: those that, less their head's mean and divided
//! by its standard deviation, reach the normal distribution's quantile 1 − topk / √E, and always the largest.
//! Mean and deviation are the batch's while the weights are trained, then the ones that were kept.

mod parts;

use candle_core::cpu::erf::erf_inv;
use candle_core::{D, Tensor};
use rayon::prelude::*;

use super::config::{Decomposition, MonetConfig, Score};
use super::load::{BlockLoader, Linear};
use super::ops::{activate, linear, per_token};
use super::router::entropy;
use super::tap::Visitor;
use super::{Routing, Site};
use crate::{Error, Result};
pub use parts::MonetExperts;

/// Added to the variances of logits.
const EPSILON: f64 = 1e-5;
/// What a logit below the threshold is lowered to.
const OUT: f32 = -1e10;

/// What one layer's routers decided, for the layers that share them: gates of both, `[tokens, H, √E]`.
#[derive(Debug, Clone)]
pub(super) struct Gates {
    layer: usize,
    first: Tensor,
    second: Tensor,
    /// `[tokens, 2 · H · √E]`.
    logits: Tensor,
}

/// A layer of experts.
#[derive(Debug)]
pub(super) struct Monet {
    config: MonetConfig,
    d_model: usize,
    router: Option<Routers>,
    experts: Experts,
}

#[derive(Debug)]
struct Routers {
    /// `[H · √E, d_model]` each.
    weights: [Linear; 2],
    /// Of each router the logits' mean and standard deviation by head, `[H]`.
    kept: [Vec<(f32, f32)>; 2],
    threshold: f32,
}

#[derive(Debug)]
enum Experts {
    Horizontal { u: Linear, v: Linear, b: Tensor },
    Vertical { u: [Linear; 2], v: [[Linear; 2]; 2], b: [Tensor; 2] },
}

/// The normal distribution's quantile above which `topk` of `side` numbers lie on average.
pub(super) fn threshold(topk: usize, side: usize) -> f64 {
    std::f64::consts::SQRT_2 * erf_inv(1.0 - 2.0 * topk as f64 / side as f64)
}

impl Monet {
    /// Takes the weights of a layer's experts and, where it has them, of its routers.
    ///
    /// # Errors
    /// A tensor that is missing or has a different shape than `config` says, with its name.
    pub fn load(loader: &mut BlockLoader<'_, '_>, config: &MonetConfig, d: usize) -> Result<Self> {
        let (n, heads) = (config.side, config.heads);
        let router = match config.owns_router {
            false => None,
            true => {
                let mut kept = |norm: &str| -> Result<Vec<(f32, f32)>> {
                    let [mean, variance] = ["running_mean", "running_var"]
                        .map(|part| loader.take(&format!("router.{norm}.{part}"), &[heads]));
                    let (mean, variance) = (mean?.to_vec1::<f32>()?, variance?.to_vec1::<f32>()?);
                    let deviation = |v: f32| (f64::from(v) + EPSILON).sqrt() as f32;
                    Ok(mean.into_iter().zip(variance.into_iter().map(deviation)).collect())
                };
                let kept = [kept("norm1")?, kept("norm2")?];
                let mut weights = |name| loader.linear(name, heads * n, d, false);
                let weights = [weights("router.w1")?, weights("router.w2")?];
                Some(Routers { weights, kept, threshold: threshold(config.topk, n) as f32 })
            }
        };
        let experts = match config.decomposition {
            Decomposition::Horizontal => Experts::Horizontal {
                u: loader.linear("moe.u", n * config.hidden, d, true)?,
                v: loader.linear("moe.v", d, n * config.hidden, false)?,
                b: loader.take("moe.b", &[n, d])?,
            },
            Decomposition::Vertical => {
                let width = n * config.hidden / 2;
                let mut u = |name| loader.linear(name, width, d, true);
                let u = [u("moe.u1")?, u("moe.u2")?];
                let mut v = |name| loader.linear(name, d / 2, width, false);
                let v = [[v("moe.v11")?, v("moe.v12")?], [v("moe.v21")?, v("moe.v22")?]];
                let mut b = |name| loader.take(name, &[n, d / 2]);
                Experts::Vertical { u, v, b: [b("moe.b1")?, b("moe.b2")?] }
            }
        };
        Ok(Self { config: *config, d_model: d, router, experts })
    }

    /// `x [rows, len, d_model]`, normed → what is added to the residual stream. `gates` holds what the last
    /// layer with routers decided.
    ///
    /// # Errors
    /// Gates of a different layer than the one that chooses these experts; an error of the tap.
    pub fn forward(&self, x: &Tensor, gates: &mut Option<Gates>, tap: &mut Visitor<'_>) -> Result<Tensor> {
        let (rows, len, d) = x.dims3()?;
        if let Some(router) = &self.router {
            *gates = Some(self.route(router, x, tap)?);
        }
        let gates =
            gates.as_ref().filter(|gates| gates.layer == self.config.router_layer).ok_or_else(|| {
                Error::request(format!(
                    "the experts of block {} are chosen by the routers of block {}, which was not run",
                    tap.layer(),
                    self.config.router_layer
                ))
                .with_remedy("take a hook of that block or of one before it")
            })?;
        self.record(gates, rows, len, tap)?;
        let x = x.reshape((rows * len, d))?;
        let y = match &self.experts {
            Experts::Horizontal { u, v, b } => self.horizontal(&x, gates, (u, v, b))?,
            Experts::Vertical { u, v, b } => self.vertical(&x, gates, u, v, b)?,
        };
        Ok(y.reshape((rows, len, self.d_model))?)
    }

    /// The logits of both routers, and what becomes of them.
    fn route(&self, router: &Routers, x: &Tensor, tap: &mut Visitor<'_>) -> Result<Gates> {
        let (rows, len, _) = x.dims3()?;
        let (n, heads) = (self.config.side, self.config.heads);
        let (tokens, width) = (rows * len, heads * n);
        let both = [router.weights[0].forward(x)?, router.weights[1].forward(x)?];
        let logits = tap.visit(Site::RouterLogits, Tensor::cat(&both, D::Minus1)?)?;
        let logits = logits.reshape((tokens, 2 * width))?;
        let gates_of = |which: usize| -> Result<Tensor> {
            let z = logits.narrow(1, which * width, width)?.reshape((tokens, heads, n))?;
            let numbers = z.flatten_all()?.to_vec1::<f32>()?;
            let moments = match router.weights[which].is_trained() {
                true => moments(&numbers, heads, n),
                false => router.kept[which].clone(),
            };
            let lowered = lowered(&numbers, &moments, n, router.threshold);
            let lowered = Tensor::from_vec(lowered, (tokens, heads, n), x.device())?;
            Ok(candle_nn::ops::softmax(&(z + lowered)?, D::Minus1)?)
        };
        let (first, second) = (gates_of(0)?, gates_of(1)?);
        let flat = |t: &Tensor| t.reshape((tokens, width));
        let scores = Tensor::cat(&[flat(&first)?, flat(&second)?], 1)?;
        tap.show(Site::RouterScores, &scores.reshape((rows, len, 2 * width))?)?;
        Ok(Gates { layer: tap.layer(), first, second, logits })
    }

    /// Shows the tap the experts with the largest weights.
    fn record(&self, gates: &Gates, rows: usize, len: usize, tap: &mut Visitor<'_>) -> Result<()> {
        let listed = tap.wants_any(&[Site::ExpertIndices, Site::ExpertWeights]);
        if !listed && !tap.wants_routing() {
            return Ok(());
        }
        let (n, heads, k) = (self.config.side, self.config.heads, self.config.recorded());
        let tokens = rows * len;
        let [first, second] = [&gates.first, &gates.second].map(|g| g.flatten_all()?.to_vec1::<f32>());
        let (first, second) = (first?, second?);
        let of = heads * n;
        let each: Vec<(Vec<u32>, Vec<f32>, f32)> = first
            .par_chunks_exact(of)
            .zip(second.par_chunks_exact(of))
            .map(|(first, second)| {
                let (chosen, weights) = strongest(first, second, n, k);
                let joint = |(a, b): (&[f32], &[f32])| entropy(a) + entropy(b);
                let total: f32 = first.chunks_exact(n).zip(second.chunks_exact(n)).map(joint).sum();
                (chosen, weights, total / heads as f32)
            })
            .collect();
        let chosen: Vec<u32> = each.iter().flat_map(|(chosen, ..)| chosen.iter().copied()).collect();
        let weights: Vec<f32> = each.iter().flat_map(|(_, weights, _)| weights.iter().copied()).collect();
        if listed {
            let device = gates.logits.device();
            tap.show(Site::ExpertIndices, &Tensor::from_slice(&chosen, (rows, len, k), device)?)?;
            tap.show(Site::ExpertWeights, &Tensor::from_slice(&weights, (rows, len, k), device)?)?;
        }
        let flat = |t: &Tensor| t.reshape((tokens, of));
        tap.routing(&Routing {
            layer: tap.layer(),
            k,
            experts: self.config.experts(),
            chosen,
            weights,
            entropy: each.iter().map(|(.., entropy)| *entropy).collect(),
            score: Score::SoftmaxOfChosen,
            shared: false,
            dropped: Vec::new(),
            logits: gates.logits.clone(),
            probabilities: Tensor::cat(&[flat(&gates.first)?, flat(&gates.second)?], 1)?,
            product: Some(super::ProductOfRouters { heads, side: n }),
            switched: false,
        })
    }

    /// Its experts' numbers, to compute some of them by themselves.
    pub fn parts(&self) -> Result<MonetExperts> {
        MonetExperts::of(self)
    }

    fn horizontal(
        &self,
        x: &Tensor,
        gates: &Gates,
        (u, v, b): (&Linear, &Linear, &Tensor),
    ) -> Result<Tensor> {
        let units = self.units(x, u, self.config.hidden)?;
        let mixed = per_token(&turned(&gates.second)?, &per_token(&gates.first, &units)?)?;
        let y = v.forward(&mixed.flatten_from(1)?)?;
        Ok((y + weighed(&gates.second, b)?)?)
    }

    fn vertical(
        &self,
        x: &Tensor,
        gates: &Gates,
        u: &[Linear; 2],
        v: &[[Linear; 2]; 2],
        b: &[Tensor; 2],
    ) -> Result<Tensor> {
        let half = self.config.hidden / 2;
        let units = [self.units(x, &u[0], half)?, self.units(x, &u[1], half)?];
        let gates = [&gates.first, &gates.second];
        let mut sides = Vec::new();
        for (own, other) in [(0, 1), (1, 0)] {
            // A half's own units, each times the sum of its gates; and the other set's, mixed head by head.
            let alone = units[own].broadcast_mul(&gates[own].sum(1)?.unsqueeze(2)?)?;
            let mixed = per_token(&turned(gates[own])?, &per_token(gates[other], &units[other])?)?;
            let (of_first, of_second) = if own == 0 { (alone, mixed) } else { (mixed, alone) };
            let y = (v[own][0].forward(&of_first.flatten_from(1)?)?
                + v[own][1].forward(&of_second.flatten_from(1)?)?)?;
            sides.push((y + weighed(gates[own], &b[own])?)?);
        }
        Ok(Tensor::cat(&sides, 1)?)
    }

    /// Hidden units of every half, `[tokens, √E, width]`.
    fn units(&self, x: &Tensor, u: &Linear, width: usize) -> Result<Tensor> {
        let units = activate(&u.forward(x)?, self.config.activation)?;
        Ok(units.reshape((x.dim(0)?, self.config.side, width))?)
    }
}

/// `[tokens, H, √E]` → `[tokens, √E, H]`.
fn turned(gates: &Tensor) -> Result<Tensor> {
    Ok(gates.transpose(1, 2)?.contiguous()?)
}

/// Σ_j b_j Σ_h g_hj.
fn weighed(gates: &Tensor, b: &Tensor) -> Result<Tensor> {
    Ok(linear(&gates.sum(1)?, &b.t()?.contiguous()?, None)?)
}

/// Mean and standard deviation of every head's logits over tokens and halves.
fn moments(z: &[f32], heads: usize, n: usize) -> Vec<(f32, f32)> {
    let of = |head: usize| {
        let rows = || z.chunks_exact(heads * n).map(move |row| &row[head * n..(head + 1) * n]);
        let count = (z.len() / heads) as f64;
        let mean = rows().map(|row| row.iter().map(|v| f64::from(*v)).sum::<f64>()).sum::<f64>() / count;
        let square = |row: &[f32]| row.iter().map(|v| (f64::from(*v) - mean).powi(2)).sum::<f64>();
        let variance = rows().map(square).sum::<f64>() / count;
        (mean as f32, (variance + EPSILON).sqrt() as f32)
    };
    (0..heads).into_par_iter().map(of).collect()
}

/// What is added to the logits: 0 to those that pass, [`OUT`] to the others.
fn lowered(z: &[f32], moments: &[(f32, f32)], n: usize, threshold: f32) -> Vec<f32> {
    let mut out = vec![0.0; z.len()];
    let heads = moments.len();
    out.par_chunks_exact_mut(n).zip(z.par_chunks_exact(n)).enumerate().for_each(|(row, (out, z))| {
        let (mean, deviation) = moments[row % heads];
        let normed = |z: f32| (z - mean) / deviation;
        let largest = z.iter().fold(f32::NEG_INFINITY, |m, z| m.max(normed(*z)));
        let bound = largest.min(threshold);
        out.iter_mut().zip(z).for_each(|(out, z)| *out = if normed(*z) >= bound { 0.0 } else { OUT });
    });
    out
}

/// The `k` experts of largest weight, summed over heads, the largest first and ties to the lower number. Of a
/// token with fewer experts, the lowest other numbers with weight 0 fill the list up.
fn strongest(first: &[f32], second: &[f32], n: usize, k: usize) -> (Vec<u32>, Vec<f32>) {
    let kept = |gates: &[f32]| -> Vec<(u32, f32)> {
        (0u32..).zip(gates.iter().copied()).filter(|(_, g)| *g > 0.0).collect()
    };
    let mut pairs: Vec<(u32, f32)> = Vec::new();
    for (first, second) in first.chunks_exact(n).zip(second.chunks_exact(n)) {
        let second = kept(second);
        for (i, a) in kept(first) {
            pairs.extend(second.iter().map(|(j, b)| (i * n as u32 + j, a * b)));
        }
    }
    pairs.sort_by_key(|(expert, _)| *expert);
    let mut sums: Vec<(u32, f32)> = Vec::new();
    for (expert, weight) in pairs {
        match sums.last_mut() {
            Some((last, sum)) if *last == expert => *sum += weight,
            _ => sums.push((expert, weight)),
        }
    }
    if sums.len() < k {
        let there: Vec<u32> = sums.iter().map(|(expert, _)| *expert).collect();
        let others = (0..(n * n) as u32).filter(|e| there.binary_search(e).is_err());
        sums.extend(others.take(k - there.len()).map(|e| (e, 0.0)));
    }
    sums.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    sums.truncate(k);
    sums.into_iter().unzip()
}

#[cfg(test)]
mod tests;

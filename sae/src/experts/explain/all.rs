//! The linear fit by all features at once: conjugate gradients on the sparse codes, for all experts together.

use rayon::prelude::*;

use super::gather::Choices;
use crate::dictionary::{ByFeature, Codes};

/// Iterations; stopping early also keeps coefficients of rare features small.
const ITERATIONS: usize = 40;
/// Penalty on coefficients of features scaled to a mean square of 1, per token.
const PENALTY: f64 = 1e-4;

/// Coefficients of a fit.
#[derive(Debug)]
pub struct AllFit {
    experts: usize,
    /// `[E]`.
    constants: Vec<f64>,
    /// `[F, E]`.
    coefficients: Vec<f64>,
}

/// Sparse codes, each feature divided by the root of its mean square, and a last column of ones.
struct Design<'a> {
    codes: &'a Codes,
    by_feature: &'a ByFeature,
    scale: Vec<f64>,
    experts: usize,
}

impl Design<'_> {
    /// `X p`, `[n, E]`.
    fn times(&self, p: &[f64]) -> Vec<f64> {
        let (e, features) = (self.experts, self.scale.len());
        let mut out = vec![0.0; self.codes.rows() * e];
        out.par_chunks_exact_mut(e).enumerate().for_each(|(t, out)| {
            out.copy_from_slice(&p[features * e..]);
            let (of, values) = self.codes.row(t);
            for (f, v) in of.iter().zip(values) {
                let (f, v) = (*f as usize, f64::from(*v) * self.scale[*f as usize]);
                out.iter_mut().zip(&p[f * e..(f + 1) * e]).for_each(|(out, p)| *out += v * p);
            }
        });
        out
    }

    /// `Xᵀ q`, `[F + 1, E]`.
    fn back(&self, q: &[f64]) -> Vec<f64> {
        let (e, features) = (self.experts, self.scale.len());
        let mut out = vec![0.0; (features + 1) * e];
        out.par_chunks_exact_mut(e).enumerate().for_each(|(f, out)| {
            let mut add = |v: f64, q: &[f64]| out.iter_mut().zip(q).for_each(|(out, q)| *out += v * q);
            if f == features {
                return q.chunks_exact(e).for_each(|q| add(1.0, q));
            }
            let (rows, values) = self.by_feature.feature(f);
            for (row, v) in rows.iter().zip(values) {
                let row = *row as usize;
                add(f64::from(*v) * self.scale[f], &q[row * e..(row + 1) * e]);
            }
        });
        out
    }

    /// `(Xᵀ X + penalty) p`, the constant free of it.
    fn normal(&self, p: &[f64]) -> Vec<f64> {
        let mut out = self.back(&self.times(p));
        let penalty = PENALTY * self.codes.rows() as f64;
        let free = self.scale.len() * self.experts;
        out[..free].iter_mut().zip(p).for_each(|(out, p)| *out += penalty * p);
        out
    }
}

/// Column by column: Σ a b, `[E]`.
fn dots(a: &[f64], b: &[f64], experts: usize) -> Vec<f64> {
    let mut sums = vec![0.0; experts];
    for (a, b) in a.chunks_exact(experts).zip(b.chunks_exact(experts)) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums
}

/// Fits all experts.
pub fn fit(codes: &Codes, by_feature: &ByFeature, choices: &Choices, experts: usize) -> AllFit {
    let features = by_feature.offsets.len() - 1;
    let n = codes.rows() as f64;
    let scale = (0..features).map(|f| {
        let squares: f64 = by_feature.feature(f).1.iter().map(|v| f64::from(*v).powi(2)).sum();
        if squares > 0.0 { 1.0 / (squares / n).sqrt() } else { 0.0 }
    });
    let design = Design { codes, by_feature, scale: scale.collect(), experts };
    let mut y = vec![0.0; codes.rows() * experts];
    for t in 0..choices.len() {
        choices.of(t).iter().for_each(|&e| y[t * experts + e as usize] = 1.0);
    }
    let mut w = vec![0.0; (features + 1) * experts];
    let mut r = design.back(&y);
    let mut p = r.clone();
    let mut before = dots(&r, &r, experts);
    let least: Vec<f64> = before.iter().map(|s| s * 1e-12).collect();
    for _ in 0..ITERATIONS {
        let q = design.normal(&p);
        let along = dots(&p, &q, experts);
        // A column that is solved, or has nobody to solve it for, stays as it is.
        let step: Vec<f64> = (0..experts)
            .map(|e| if before[e] > least[e] && along[e] > 0.0 { before[e] / along[e] } else { 0.0 })
            .collect();
        let rows = w.chunks_exact_mut(experts).zip(r.chunks_exact_mut(experts));
        for ((w, r), (p, q)) in rows.zip(p.chunks_exact(experts).zip(q.chunks_exact(experts))) {
            for e in 0..experts {
                w[e] += step[e] * p[e];
                r[e] -= step[e] * q[e];
            }
        }
        let after = dots(&r, &r, experts);
        for (p, r) in p.chunks_exact_mut(experts).zip(r.chunks_exact(experts)) {
            for e in 0..experts {
                p[e] = r[e] + if before[e] > 0.0 { after[e] / before[e] } else { 0.0 } * p[e];
            }
        }
        before = after;
    }
    for (w, scale) in w.chunks_exact_mut(experts).zip(&design.scale) {
        w.iter_mut().for_each(|w| *w *= scale);
    }
    let constants = w.split_off(features * experts);
    AllFit { experts, constants, coefficients: w }
}

impl AllFit {
    /// Scores `[E]` of a token with these codes.
    pub fn score(&self, (features, values): (&[u32], &[f32]), scores: &mut [f64]) {
        scores.copy_from_slice(&self.constants);
        for (f, v) in features.iter().zip(values) {
            let w = &self.coefficients[*f as usize * self.experts..][..self.experts];
            scores.iter_mut().zip(w).for_each(|(s, w)| *s += w * f64::from(*v));
        }
    }
}

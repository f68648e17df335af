//! Linear fits of one expert's choices by few features.

use rayon::prelude::*;

use super::gather::Choices;
use super::{LADDER, MOST};
use crate::dictionary::{ByFeature, Codes};
use kernels::cholesky;

/// Added to the diagonal of the normal equations, as a share of its mean: features that always fire together
/// share a coefficient instead of having none.
const RIDGE: f64 = 1e-6;

/// What predicts one expert.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ExpertFit {
    /// Features by the size of their correlation with the expert being chosen, at most [`MOST`].
    pub features: Vec<u32>,
    /// Their correlations.
    pub correlations: Vec<f64>,
    /// For each rung of the ladder (as far as there are features): the constant and the coefficients of the
    /// first of the features.
    pub rungs: Vec<(f64, Vec<f64>)>,
}

/// Fits all experts.
pub fn fit(codes: &Codes, by_feature: &ByFeature, choices: &Choices, experts: usize) -> Vec<ExpertFit> {
    let features = by_feature.offsets.len() - 1;
    let n = choices.len() as f64;
    let counts = choices.counts(experts);
    // Of each feature the sum, the sum of squares, and the sum over the tokens of each expert.
    let sums: Vec<(f64, f64, Vec<f64>)> = (0..features)
        .into_par_iter()
        .map(|f| {
            let (mut sum, mut squares, mut of) = (0.0, 0.0, vec![0.0; experts]);
            let (rows, values) = by_feature.feature(f);
            for (row, value) in rows.iter().zip(values) {
                let value = f64::from(*value);
                sum += value;
                squares += value * value;
                choices.of(*row as usize).iter().for_each(|&e| of[e as usize] += value);
            }
            (sum, squares, of)
        })
        .collect();
    let one = |e: usize| {
        let chosen = counts[e] as f64;
        let of_choice = n * chosen - chosen * chosen;
        let mut order: Vec<(f64, u32)> = (0u32..)
            .zip(&sums)
            .filter_map(|(f, (sum, squares, of))| {
                let spread = (n * squares - sum * sum) * of_choice;
                (spread > 0.0).then(|| ((n * of[e] - sum * chosen) / spread.sqrt(), f))
            })
            .collect();
        order.sort_by(|a, b| b.0.abs().total_cmp(&a.0.abs()).then(a.1.cmp(&b.1)));
        order.truncate(MOST);
        let (correlations, chosen): (Vec<f64>, Vec<u32>) = order.into_iter().unzip();
        let rungs = rungs(codes, choices, e as u32, &chosen, features);
        ExpertFit { features: chosen, correlations, rungs }
    };
    (0..experts).into_par_iter().map(one).collect()
}

/// Least squares for every rung, from one pass over the tokens.
fn rungs(
    codes: &Codes,
    choices: &Choices,
    expert: u32,
    chosen: &[u32],
    features: usize,
) -> Vec<(f64, Vec<f64>)> {
    let m = chosen.len();
    let mut slot = vec![usize::MAX; features];
    chosen.iter().enumerate().for_each(|(i, f)| slot[*f as usize] = i);
    let (mut gram, mut sums, mut with, mut count) = (vec![0.0; m * m], vec![0.0; m], vec![0.0; m], 0.0);
    let mut here: Vec<(usize, f64)> = Vec::new();
    for t in 0..choices.len() {
        let y = if choices.of(t).contains(&expert) { 1.0 } else { 0.0 };
        count += y;
        let (features, values) = codes.row(t);
        here.clear();
        here.extend(features.iter().zip(values).filter_map(|(f, v)| {
            let i = slot[*f as usize];
            (i != usize::MAX).then_some((i, f64::from(*v)))
        }));
        for &(i, a) in &here {
            sums[i] += a;
            with[i] += a * y;
            here.iter().for_each(|&(j, b)| gram[i * m + j] += a * b);
        }
    }
    let n = choices.len() as f64;
    let mean = count / n;
    let solve = |rung: usize| {
        // Centred: the constant is what is left of the mean.
        let mut a = vec![0.0; rung * rung];
        let mut b = vec![0.0; rung];
        for i in 0..rung {
            b[i] = with[i] - sums[i] * mean;
            for j in 0..rung {
                a[i * rung + j] = gram[i * m + j] - sums[i] * sums[j] / n;
            }
        }
        let w = solve(a, b);
        let constant = mean - w.iter().zip(&sums).map(|(w, s)| w * s / n).sum::<f64>();
        (constant, w)
    };
    LADDER.iter().map(|rung| solve((*rung).min(m))).collect()
}

/// Solves `a x = b`, a symmetric and not negative, by Cholesky's factors; a little is added to its diagonal.
pub fn solve(mut a: Vec<f64>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    let mean = (0..n).map(|i| a[i * n + i]).sum::<f64>() / n.max(1) as f64;
    let ridge = (RIDGE * mean).max(f64::MIN_POSITIVE);
    for i in 0..n {
        a[i * n + i] += ridge;
    }
    cholesky::factor(&mut a, n, ridge);
    cholesky::solve(&a, n, &mut b);
    b
}

/// The fits of one rung as scores: for every feature, which experts it adds what to.
pub struct Scorer {
    constants: Vec<f64>,
    by_feature: Vec<Vec<(u32, f64)>>,
}

impl Scorer {
    /// Of rung number `rung` of the ladder.
    pub fn of(fits: &[ExpertFit], rung: usize, features: usize) -> Self {
        let mut by_feature = vec![Vec::new(); features];
        let mut constants = Vec::new();
        for (e, fit) in (0u32..).zip(fits) {
            let (constant, w) = &fit.rungs[rung];
            constants.push(*constant);
            fit.features.iter().zip(w).for_each(|(f, w)| by_feature[*f as usize].push((e, *w)));
        }
        Self { constants, by_feature }
    }

    /// Scores `[E]` of a token with these codes.
    pub fn score(&self, (features, values): (&[u32], &[f32]), scores: &mut [f64]) {
        scores.copy_from_slice(&self.constants);
        for (f, v) in features.iter().zip(values) {
            for (e, w) in &self.by_feature[*f as usize] {
                scores[*e as usize] += w * f64::from(*v);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_is_solved() {
        let x = solve(vec![4.0, 2.0, 0.6, 2.0, 5.0, 1.0, 0.6, 1.0, 3.0], vec![9.8, 15.0, 11.6]);
        for (found, wanted) in x.iter().zip([1.0, 2.0, 3.0]) {
            assert!((found - wanted).abs() < 1e-4, "{x:?}");
        }
        // Two equations that are the same: the sum is right, nothing is infinite.
        let x = solve(vec![1.0, 1.0, 1.0, 1.0], vec![3.0, 3.0]);
        assert!((x[0] + x[1] - 3.0).abs() < 1e-4 && (x[0] - x[1]).abs() < 1e-3, "{x:?}");
    }
}

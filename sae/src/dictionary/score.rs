//! What a pair of a token and a feature is worth, for the allocation that decides whether it is active.
//!
//! ```text
//! plain      score = relu(z)
//! gradient   score = relu(z) · (λ + β·|W_dec ĝ|)        (g-SAE, Olmo et al. 2024)
//! ```
//!
//! g is the gradient of the model's loss at the token's activation, ĝ is g brought to one scale. Only which pairs are active depends on the
//! score: the code that is decoded is z.
//!
//! What the paper leaves open and what is done here:
//! - λ = 1, β = 1 by default: its abstract speaks of augmenting the selection with gradients. λ = 0 is the pure product.
//! - β means the same for every model and layer because ĝ has one scale: √d·g/‖g‖ of each token, or √d·g divided by the batch's root
//!   mean square of ‖g‖. A direction without preference then has |W_dec ĝ| of root mean square 1, as much as the 1 next to λ.
//! - A token with g = 0 (the last of a document) falls back to relu(z), times λ + β so that it competes with the others of its batch as
//!   if its |W_dec ĝ| were 1.
//! - With β = 0 the score is plain, whatever λ > 0 is: no factor is applied, so not a bit differs.
//! - Gradients exist in training only. At inference the dictionary selects by z.

use serde::{Deserialize, Serialize};

use kernels::reduce::sum_of_squares;

/// How gradients are brought to one scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GradientNorm {
    /// √d·g/‖g‖: every token's gradient counts the same.
    #[default]
    Token,
    /// √d·g/rms(‖g‖ over the batch): tokens with large gradients count more where tokens compete.
    Batch,
}

/// What a pair is worth.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Score {
    /// relu(z).
    #[default]
    Plain,
    /// relu(z)·(λ + β·|W_dec ĝ|).
    Gradient {
        /// λ.
        lambda: f32,
        /// β, not 0.
        beta: f32,
        /// What ĝ is.
        norm: GradientNorm,
    },
}

impl Score {
    /// The score with these constants; plain if `beta` is 0.
    pub fn gradient(lambda: f64, beta: f64, norm: GradientNorm) -> Self {
        if beta == 0.0 {
            return Self::Plain;
        }
        Self::Gradient { lambda: lambda as f32, beta: beta as f32, norm }
    }

    /// Makes `scores[n]` those of pre-activations `z[n]`, of which `along[n]` is W_dec ĝ; `silent` says that g = 0.
    pub fn weigh(&self, scores: &mut Vec<f32>, z: &[f32], along: &[f32], silent: bool) {
        scores.clear();
        match *self {
            Self::Plain => scores.extend_from_slice(z),
            Self::Gradient { lambda, beta, .. } if silent => {
                scores.extend(z.iter().map(|z| z.max(0.0) * (lambda + beta)));
            }
            Self::Gradient { lambda, beta, .. } => {
                scores.extend(z.iter().zip(along).map(|(z, a)| z.max(0.0) * (lambda + beta * a.abs())));
            }
        }
    }
}

/// Brings gradients `g[n, d]` to one scale, in `out`. Rows of zeros stay.
pub fn normalise(out: &mut Vec<f32>, g: &[f32], d: usize, norm: GradientNorm) {
    out.clear();
    out.reserve(g.len());
    let batch = (sum_of_squares(g) / (g.len() / d).max(1) as f64).sqrt();
    for row in g.chunks_exact(d) {
        let size = match norm {
            GradientNorm::Token => sum_of_squares(row).sqrt(),
            GradientNorm::Batch => batch,
        };
        let factor = if size > 0.0 { (d as f64).sqrt() / size } else { 0.0 };
        out.extend(row.iter().map(|&v| (f64::from(v) * factor) as f32));
    }
}

/// Whether a row of ĝ is all zeros.
pub fn is_silent(row: &[f32]) -> bool {
    row.iter().all(|&v| v == 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dictionary::allocation::{mutual_choice, token_choice};
    use crate::dictionary::tests::numbers;

    const D: usize = 6;
    const F: usize = 15;
    const B: usize = 20;

    /// Scores `[B, F]` for gradients `g`, with unit decoder rows.
    fn scores(score: Score, g: &[f32]) -> Vec<f32> {
        let (z, mut w) = (numbers(B * F, 5), numbers(F * D, 6));
        w.chunks_exact_mut(D).for_each(|row| {
            kernels::feature::make_unit(row);
        });
        let norm = if let Score::Gradient { norm, .. } = score { norm } else { GradientNorm::Token };
        let (mut normal, mut all, mut row) = (Vec::new(), Vec::new(), Vec::new());
        normalise(&mut normal, g, D, norm);
        for (z, g) in z.chunks(F).zip(normal.chunks(D)) {
            let along: Vec<f32> = w.chunks(D).map(|w| w.iter().zip(g).map(|(a, b)| a * b).sum()).collect();
            score.weigh(&mut row, z, &along, is_silent(g));
            all.extend_from_slice(&row);
        }
        all
    }

    fn scaled(g: &[f32], factor: impl Fn(usize) -> f32) -> Vec<f32> {
        g.iter().enumerate().map(|(i, v)| v * factor(i / D)).collect()
    }

    #[test]
    fn gradients_have_one_scale() {
        let g = scaled(&numbers(B * D, 7), |token| 10.0_f32.powi(token as i32 - 25));
        let mut out = Vec::new();
        normalise(&mut out, &g, D, GradientNorm::Token);
        assert!(out.chunks(D).all(|row| (sum_of_squares(row) / D as f64 - 1.0).abs() < 1e-5));
        normalise(&mut out, &g, D, GradientNorm::Batch);
        assert!((sum_of_squares(&out) / (B * D) as f64 - 1.0).abs() < 1e-5);
        normalise(&mut out, &[0.0; 2 * D], D, GradientNorm::Batch);
        assert!(out.chunks(D).all(is_silent) && out.len() == 2 * D);
    }

    #[test]
    fn no_beta_means_not_a_bit_of_difference() {
        let score = Score::gradient(0.3, 0.0, GradientNorm::Token);
        assert_eq!(score, Score::Plain);
        assert_eq!(scores(score, &numbers(B * D, 7)), numbers(B * F, 5));
    }

    #[test]
    fn tokens_without_gradient_fall_back_to_z() {
        for (lambda, beta) in [(1.0, 1.0), (0.0, 1.0), (0.5, 0.25)] {
            let score = Score::gradient(lambda, beta, GradientNorm::Token);
            let silent = scores(score, &[0.0; B * D]);
            let z = numbers(B * F, 5);
            assert_eq!(token_choice(&silent, F, 4), token_choice(&z, F, 4));
            assert_eq!(mutual_choice(&silent, F, 50), mutual_choice(&z, F, 50));
        }
    }

    #[test]
    fn scaling_each_token_s_gradient_leaves_the_selection() {
        let g = numbers(B * D, 7);
        let factor = |token: usize| 2.0_f32.powi(token as i32 % 9 - 4) * 1.37;
        for (lambda, beta) in [(1.0, 1.0), (0.0, 1.0)] {
            let score = Score::gradient(lambda, beta, GradientNorm::Token);
            let (a, b) = (scores(score, &g), scores(score, &scaled(&g, factor)));
            assert_eq!(token_choice(&a, F, 4), token_choice(&b, F, 4));
            assert_ne!(token_choice(&a, F, 4), token_choice(&numbers(B * F, 5), F, 4), "gradients matter");
        }
        // Over the batch it matters, unless each token has its own scale.
        let batch = Score::gradient(0.0, 1.0, GradientNorm::Batch);
        let chosen = |g: &[f32]| mutual_choice(&scores(batch, g), F, 50);
        assert_ne!(chosen(&g), chosen(&scaled(&g, factor)));
        assert_eq!(chosen(&g), chosen(&scaled(&g, |_| 8.0)));
    }
}

//! MoE-X's router (Yang et al. 2025): no rows of its own, but the sparsity that the experts' weights let expect.
//!
//! Per input coordinate, the encoder weights of an expert's hidden units are taken as draws from one normal
//! distribution with mean μ and variance s². The pre-activation of a unit at x is then normal with mean
//! m = μᵀx and variance v = s²ᵀ(x ∘ x), and the unit is active with probability Φ(m / √v). The score of an
//! expert is −erf(m / √(2v)): it is the larger the fewer of its units are expected to be active. The equations
//! are reconstructed from the paper's captions; the sign is the paper's intent.

use candle_core::{D, Tensor};

use super::ops::linear;
use crate::Result;

/// Keeps a variance of 0 from dividing.
const LEAST: f64 = 1e-12;

/// The router of a layer of ReLU experts.
#[derive(Debug)]
pub(super) struct ExpectedSparsity {
    /// `[E, hidden, d_model]`.
    encoders: Tensor,
    /// Mean and variance over hidden units, `[E, d_model]`; while the weights are trained they are computed anew.
    kept: Option<(Tensor, Tensor)>,
}

impl ExpectedSparsity {
    /// A router of these encoders.
    ///
    /// # Errors
    /// Encoders that are not three-dimensional.
    pub fn new(encoders: Tensor) -> Result<Self> {
        let kept = if encoders.track_op() { None } else { Some(moments(&encoders)?) };
        Ok(Self { encoders, kept })
    }

    /// Scores `[.., E]` of `x [.., d_model]`.
    ///
    /// # Errors
    /// An `x` of a different width than the encoders.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (mean, variance) = match &self.kept {
            Some(kept) => kept.clone(),
            None => moments(&self.encoders)?,
        };
        let (m, v) = (linear(x, &mean, None)?, linear(&x.sqr()?, &variance, None)?);
        Ok((m / ((v * 2.0)? + LEAST)?.sqrt()?)?.erf()?.neg()?)
    }
}

/// Mean and population variance over hidden units.
fn moments(encoders: &Tensor) -> Result<(Tensor, Tensor)> {
    let mean = encoders.mean_keepdim(1)?;
    let variance = encoders.broadcast_sub(&mean)?.sqr()?.mean(1)?;
    let (e, d) = (encoders.dim(0)?, encoders.dim(D::Minus1)?);
    Ok((mean.reshape((e, d))?, variance))
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::*;
    use crate::model::ops::testing::normal;

    /// Twenty thousand units drawn from known normal distributions: the score is 1 − 2 · the share that is
    /// active, and the sparsest expert has the largest score.
    #[test]
    fn scores_are_the_share_of_active_units_turned_round() {
        let (e, hidden, d) = (3, 20_000, 8);
        let centre = normal(&[e, 1, d], 1);
        let spread = normal(&[e, hidden, d], 2);
        let encoders = spread.broadcast_add(&(centre.as_tensor() * 0.6).unwrap()).unwrap().detach();
        let x = normal(&[10, d], 3).as_tensor().detach();
        let scores: Vec<Vec<f32>> =
            ExpectedSparsity::new(encoders.clone()).unwrap().forward(&x).unwrap().to_vec2().unwrap();
        let (x, w): (Vec<Vec<f32>>, Vec<Vec<Vec<f32>>>) = (x.to_vec2().unwrap(), encoders.to_vec3().unwrap());
        for (x, scores) in x.iter().zip(&scores) {
            let active = |units: &Vec<Vec<f32>>| {
                let on = |w: &&Vec<f32>| w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>() > 0.0;
                units.iter().filter(on).count() as f32 / hidden as f32
            };
            let shares: Vec<f32> = w.iter().map(active).collect();
            for (score, share) in scores.iter().zip(&shares) {
                assert!((score - (1.0 - 2.0 * share)).abs() < 0.022, "{score} {share}");
            }
            let best = |of: &[f32], sign: f32| {
                (0..e).max_by(|&a, &b| (sign * of[a]).total_cmp(&(sign * of[b]))).unwrap()
            };
            let (score, sparsest) = (best(scores, 1.0), best(&shares, -1.0));
            assert!(score == sparsest || (shares[score] - shares[sparsest]).abs() < 0.022);
        }
    }

    /// The gradient to the weights and to the input against differences.
    #[test]
    fn gradients_are_those_of_finite_differences() {
        let (w, x) = (normal(&[2, 5, 3], 4), normal(&[4, 3], 5));
        let r = normal(&[4, 2], 6);
        let value = |w: &Tensor, x: &Tensor| -> Tensor {
            let y = ExpectedSparsity::new(w.clone()).unwrap().forward(x).unwrap();
            (y * r.as_tensor()).unwrap().sum_all().unwrap()
        };
        let grads = value(&w, &x).backward().unwrap();
        for var in [&w, &x] {
            let grad: Vec<f32> =
                grads.get(var.as_tensor()).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let numbers: Vec<f32> = var.flatten_all().unwrap().to_vec1().unwrap();
            for i in 0..numbers.len() {
                let at = |step: f32| -> f64 {
                    let mut moved = numbers.clone();
                    moved[i] += step;
                    let moved = Var::from_vec(moved, var.dims(), var.device()).unwrap();
                    let is_w = var.dims().len() == 3;
                    let t = if is_w { value(&moved, &x) } else { value(&w, &moved) };
                    f64::from(t.to_scalar::<f32>().unwrap())
                };
                let slope = (at(1e-2) - at(-1e-2)) / 2e-2;
                assert!((slope - f64::from(grad[i])).abs() < 4e-3, "{i}: {slope} {}", grad[i]);
            }
        }
    }
}

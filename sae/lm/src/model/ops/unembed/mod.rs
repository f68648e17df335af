//! From hidden states to what logits are wanted for, without ever holding the logits of a batch.
//!
//! A vocabulary of 262,144 tokens makes the logits of 4,096 positions 4 GB. Here a task takes some positions
//! through the vocabulary in chunks. Logits are made the other way round, `[V, positions]`: then the output
//! matrix is read row by row as it lies, and a softmax goes over all positions at once.

mod compare;
mod loss;

use candle_core::{Result, Tensor};

use kernels::gemm::{Mat, MatMut, WriteMode};
use kernels::product::{RightFactor, multiply, pack_into, panel_numbers};
use kernels::{columns, exp};

pub use compare::Compared;

/// Tokens of the vocabulary that are handled together: their logits stay in the cache.
const CHUNK: usize = 512;
/// Positions of a task, at least and at most.
const POSITIONS: (usize, usize) = (32, 128);
/// Logits that a task keeps for the gradient, about.
const KEPT: usize = 1 << 25;

/// From hidden states to logits: `scale · h Wᵀ`, then `cap · tanh(logit / cap)`.
#[derive(Debug, Clone)]
pub struct Unembedding {
    /// `[V, d_model]`.
    pub output: Tensor,
    /// What the products are multiplied by.
    pub scale: f64,
    /// The soft cap.
    pub cap: Option<f64>,
}

/// The softmax of some positions so far: what the logits are shifted by, and the sum of their exponentials.
struct Softmax {
    largest: Vec<f32>,
    sums: Vec<f64>,
    /// The logit of each position's target.
    targets: Vec<f32>,
}

impl Softmax {
    fn new(n: usize) -> Self {
        Self { largest: vec![f32::NEG_INFINITY; n], sums: vec![0.0; n], targets: vec![0.0; n] }
    }

    /// Takes the logits `[tokens, positions]` of the tokens from number `first` on.
    fn add(&mut self, first: usize, logits: &[f32], targets: &[Option<u32>]) {
        let n = self.largest.len();
        let before = self.largest.clone();
        columns::raise(logits, &mut self.largest);
        let mut sums = vec![0.0; n];
        columns::add_exponentials(logits, &self.largest, &mut sums);
        for (i, added) in sums.iter().enumerate() {
            let shrink = f64::from(before[i] - self.largest[i]).exp();
            self.sums[i] = self.sums[i] * shrink + f64::from(*added);
        }
        for (i, target) in targets.iter().enumerate() {
            let row = target.and_then(|t| (t as usize).checked_sub(first));
            if let Some(logit) = row.and_then(|row| logits.get(row * n + i)) {
                self.targets[i] = *logit;
            }
        }
    }

    fn loss(&self, i: usize) -> f32 {
        (f64::from(self.largest[i] - self.targets[i]) + self.sums[i].ln()) as f32
    }

    /// ln Σ e^logit.
    fn log_sum(&self, i: usize) -> f64 {
        f64::from(self.largest[i]) + self.sums[i].ln()
    }
}

/// Hidden states `[positions, d_model]` with their panels in `space`.
fn turned<'a>(hidden: &'a [f32], d: usize, space: &'a mut Vec<f32>) -> RightFactor<'a> {
    let h = Mat::new(hidden, hidden.len() / d, d).t();
    space.resize(panel_numbers(d, hidden.len() / d), 0.0);
    pack_into(h, space);
    RightFactor::packed(h, space)
}

impl Unembedding {
    fn check(&self, hidden: &Tensor, targets: &[Option<u32>]) -> Result<usize> {
        let ((rows, d), (vocabulary, width)) = (hidden.dims2()?, self.output.dims2()?);
        let inside = targets.iter().flatten().all(|&t| (t as usize) < vocabulary);
        if rows != targets.len() || d != width || !inside {
            candle_core::bail!("loss of hidden {:?} with {} targets", hidden.dims(), targets.len());
        }
        Ok(d)
    }

    /// Positions a task has; more than the least only if there are several tasks then too.
    fn positions(&self, all: usize) -> Result<usize> {
        let most = (KEPT / self.output.dim(0)?.max(1)).clamp(POSITIONS.0, POSITIONS.1);
        Ok((all / 8).clamp(POSITIONS.0, most))
    }

    /// Logits `[rows, positions]` of some rows of the output matrix.
    fn logits(&self, rows: &[f32], hidden: &RightFactor<'_>, logits: &mut [f32]) {
        let (d, n) = hidden.shape();
        let w = Mat::new(rows, rows.len() / d, d);
        multiply(w, hidden, self.scale as f32, WriteMode::Overwrite, MatMut::new(logits, rows.len() / d, n));
        if let Some(cap) = self.cap {
            exp::soft_cap(logits, cap as f32);
        }
    }
}

//! Next-token cross-entropy straight from the hidden states: the logits of a few positions at a time, never of a whole batch.
//!
//! A vocabulary of 262,144 tokens makes the logits of 4,096 positions 4 GB; here they take a few megabytes a thread. The gradient is
//! made in the forward pass, `dh = (softmax(logits) − one-hot) W`, and the output matrix gets none.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_slice};
use crate::kernels::exp;
use crate::kernels::gemm::{Into, Mat, MatMut, gemm};

/// Logits that a task holds at once, about.
const LOGITS: usize = 1 << 22;
/// Positions of a task, at most and at least (few positions use the product badly).
const POSITIONS: (usize, usize) = (8, 128);

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

struct Loss {
    unembedding: Unembedding,
    targets: Arc<Vec<Option<u32>>>,
    gradient: Option<Mutex<Vec<f32>>>,
}

/// Positions a task has: a function of the vocabulary alone.
fn positions(vocabulary: usize) -> usize {
    (LOGITS / vocabulary.max(1)).clamp(POSITIONS.0, POSITIONS.1)
}

impl Unembedding {
    fn check(&self, hidden: &Tensor, targets: &[Option<u32>]) -> Result<(usize, usize)> {
        let ((rows, d), (vocabulary, width)) = (hidden.dims2()?, self.output.dims2()?);
        let inside = targets.iter().flatten().all(|&t| (t as usize) < vocabulary);
        if rows != targets.len() || d != width || !inside {
            candle_core::bail!("loss of hidden {:?} with {} targets", hidden.dims(), targets.len());
        }
        Ok((vocabulary, d))
    }

    /// Logits of some positions; with a cap, `logits` are tanh of the capped ratio times the cap.
    fn logits(&self, hidden: &[f32], output: &[f32], d: usize, logits: &mut [f32]) {
        let (rows, vocabulary) = (hidden.len() / d, output.len() / d);
        let out = MatMut::new(logits, rows, vocabulary);
        let (h, w) = (Mat::new(hidden, rows, d), Mat::new(output, vocabulary, d));
        gemm(h, w.t(), self.scale as f32, Into::Overwrite, out);
        if let Some(cap) = self.cap.map(|c| c as f32) {
            logits.iter_mut().for_each(|l| *l = cap * (*l / cap).tanh());
        }
    }

    /// Losses of some positions, and `dh` if `d_hidden` is not empty.
    fn task(
        &self,
        hidden: &[f32],
        output: &[f32],
        d: usize,
        targets: &[Option<u32>],
        d_hidden: &mut [f32],
    ) -> Vec<Option<f32>> {
        let vocabulary = output.len() / d;
        if targets.iter().all(Option::is_none) {
            return vec![None; targets.len()];
        }
        let mut logits = vec![0.0; targets.len() * vocabulary];
        self.logits(hidden, output, d, &mut logits);
        let losses = logits.chunks_exact_mut(vocabulary).zip(targets).map(|(row, target)| {
            let largest = exp::largest(row);
            let loss = target.map(|t| largest + exp::sum_exp(row, largest).ln() - row[t as usize]);
            if !d_hidden.is_empty() {
                self.slope(row, *target, largest);
            }
            loss
        });
        let losses = losses.collect();
        if !d_hidden.is_empty() {
            let (rows, cols) = (targets.len(), vocabulary);
            let out = MatMut::new(d_hidden, rows, d);
            let w = Mat::new(output, cols, d);
            gemm(Mat::new(&logits, rows, cols), w, self.scale as f32, Into::Overwrite, out);
        }
        losses
    }

    /// Replaces a row of logits by the gradient of its loss with regard to the products (before `scale`).
    fn slope(&self, row: &mut [f32], target: Option<u32>, largest: f32) {
        let Some(target) = target else { return row.fill(0.0) };
        let bends: Option<Vec<f32>> =
            self.cap.map(|cap| row.iter().map(|l| 1.0 - (l / cap as f32).powi(2)).collect());
        let sum = exp::exp_shifted(row, largest);
        exp::scale(row, 1.0 / sum);
        row[target as usize] -= 1.0;
        if let Some(bends) = bends {
            row.iter_mut().zip(bends).for_each(|(g, b)| *g *= b);
        }
    }

    /// Cross-entropy in nats of every position of `hidden [tokens, d_model]` that has a target.
    pub fn position_losses(&self, hidden: &Tensor, targets: &[Option<u32>]) -> Result<Vec<Option<f32>>> {
        let (vocabulary, d) = self.check(hidden, targets)?;
        let n = positions(vocabulary);
        with_slice(hidden, |h| {
            with_slice(&self.output, |w| {
                let tasks = h.par_chunks(n * d).zip(targets.par_chunks(n));
                tasks.flat_map_iter(|(h, t)| self.task(h, w, d, t, &mut [])).collect()
            })
        })?
    }

    /// The sum of [`Unembedding::position_losses`], differentiable with regard to `hidden`.
    pub fn summed_loss(&self, hidden: &Tensor, targets: Vec<Option<u32>>) -> Result<Tensor> {
        self.check(hidden, &targets)?;
        let gradient = hidden.track_op().then(Mutex::default);
        let op = Loss { unembedding: self.clone(), targets: Arc::new(targets), gradient };
        hidden.contiguous()?.apply_op1(op)
    }
}

impl CustomOp1 for Loss {
    fn name(&self) -> &'static str {
        "unembed-loss"
    }

    fn cpu_fwd(&self, hidden: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, d) = layout.shape().dims2()?;
        let hidden = slice(hidden, layout)?;
        let n = positions(self.unembedding.output.dim(0)?);
        let mut gradient = vec![0.0; if self.gradient.is_some() { hidden.len() } else { 0 }];
        let total = with_slice(&self.unembedding.output, |w| {
            let tasks = hidden.par_chunks(n * d).zip(self.targets.par_chunks(n));
            let sum = |losses: Vec<Option<f32>>| losses.into_iter().flatten().map(f64::from).sum::<f64>();
            let sums: Vec<f64> = match gradient.is_empty() {
                true => tasks.map(|(h, t)| sum(self.unembedding.task(h, w, d, t, &mut []))).collect(),
                false => tasks
                    .zip(gradient.par_chunks_mut(n * d))
                    .map(|((h, t), g)| sum(self.unembedding.task(h, w, d, t, g)))
                    .collect(),
            };
            // Added in the order of the positions, so that the number of threads changes nothing.
            sums.into_iter().sum::<f64>()
        })?;
        if let Some(kept) = &self.gradient {
            *kept.lock().unwrap_or_else(PoisonError::into_inner) = gradient;
        }
        Ok((CpuStorage::F32(vec![total as f32]), Shape::from(())))
    }

    fn bwd(&self, hidden: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some(kept) = &self.gradient else { return Ok(None) };
        let numbers = kept.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let d = Tensor::from_vec(numbers, hidden.dims(), hidden.device())?;
        Ok(Some((d * f64::from(grad.to_scalar::<f32>()?))?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agree, normal};
    use super::super::{position_losses, summed_cross_entropy};
    use super::*;

    /// Against the logits made by candle and the loss on them, whose own test is against candle's cross-entropy.
    #[test]
    fn agrees_with_the_loss_of_whole_logits() {
        let (n, d, v) = (300, 6, 40);
        let (h, w) = (normal(&[n, d], 1), normal(&[v, d], 2));
        let targets: Vec<Option<u32>> = (0..n).map(|i| (i % 7 != 3).then_some((i * 13 % v) as u32)).collect();
        for cap in [None, Some(1.5)] {
            let unembedding = Unembedding { output: w.as_tensor().detach(), scale: 0.7, cap };
            let mut logits = (h.matmul(&w.as_tensor().detach().t().unwrap()).unwrap() * 0.7).unwrap();
            if let Some(cap) = cap {
                logits = ((logits / cap).unwrap().tanh().unwrap() * cap).unwrap();
            }
            let ours = unembedding.summed_loss(&h, targets.clone()).unwrap();
            agree(&[&h], &ours, &summed_cross_entropy(&logits, targets.clone()).unwrap(), 1e-5);
            let each = unembedding.position_losses(&h, &targets).unwrap();
            let twin = position_losses(&logits, &targets).unwrap();
            for (a, b) in each.iter().zip(&twin) {
                assert_eq!(a.is_some(), b.is_some());
                assert!((a.unwrap_or(0.0) - b.unwrap_or(0.0)).abs() < 1e-4);
            }
        }
        let unembedding = Unembedding { output: w.as_tensor().detach(), scale: 1.0, cap: None };
        assert!(unembedding.summed_loss(&h, vec![Some(v as u32); n]).is_err());
    }
}

//! Next-token cross-entropy. The gradient is made in the forward pass, `dh = (softmax(logits) − one-hot) W`,
//! from logits that a task keeps, at most 128 MB; the output matrix gets none.

use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::super::{slice, with_slice};
use super::{CHUNK, Softmax, Unembedding, turned};
use kernels::columns;
use kernels::gemm::{Mat, MatMut, WriteMode};
use kernels::product::{RightFactor, multiply};
use kernels::spare::Spare;

struct Loss {
    unembedding: Unembedding,
    targets: Arc<Vec<Option<u32>>>,
    gradient: Option<Mutex<Vec<f32>>>,
}

/// Buffers of a task.
#[derive(Default)]
struct Space {
    /// The hidden states' panels.
    panels: Vec<f32>,
    /// `[CHUNK or V, positions]`.
    logits: Vec<f32>,
    /// `[CHUNK, positions]`.
    slopes: Vec<f32>,
}

impl Unembedding {
    /// Losses of some positions, and `dh` if `d_hidden` is not empty.
    fn task(
        &self,
        hidden: &[f32],
        output: &[f32],
        targets: &[Option<u32>],
        d_hidden: &mut [f32],
        space: &mut Space,
    ) -> Vec<Option<f32>> {
        if targets.iter().all(Option::is_none) {
            return vec![None; targets.len()];
        }
        let (n, d) = (targets.len(), hidden.len() / targets.len());
        let vocabulary = output.len() / d;
        let h = turned(hidden, d, &mut space.panels);
        let kept = if d_hidden.is_empty() { CHUNK.min(vocabulary) } else { vocabulary };
        space.logits.resize(kept * n, 0.0);
        let mut softmax = Softmax::new(n);
        for first in (0..vocabulary).step_by(CHUNK) {
            let rows = CHUNK.min(vocabulary - first);
            let at = if d_hidden.is_empty() { 0 } else { first * n };
            let logits = &mut space.logits[at..at + rows * n];
            self.logits(&output[first * d..(first + rows) * d], &h, logits);
            softmax.add(first, logits, targets);
        }
        if !d_hidden.is_empty() {
            self.slopes(&softmax, output, targets, d_hidden, space);
        }
        targets.iter().enumerate().map(|(i, target)| target.map(|_| softmax.loss(i))).collect()
    }

    /// `dh = scale · (softmax(logits) − one-hot) W`, positions without a target left out; a cap multiplies by
    /// 1 − (logit / cap)².
    fn slopes(
        &self,
        softmax: &Softmax,
        output: &[f32],
        targets: &[Option<u32>],
        d_hidden: &mut [f32],
        space: &mut Space,
    ) {
        let (n, d) = (targets.len(), d_hidden.len() / targets.len());
        let factor = |(sum, target): (&f64, &Option<u32>)| target.map_or(0.0, |_| (1.0 / sum) as f32);
        let factors: Vec<f32> = softmax.sums.iter().zip(targets).map(factor).collect();
        space.slopes.resize(CHUNK * n, 0.0);
        for (part, logits) in space.logits.chunks(CHUNK * n).enumerate() {
            let (first, rows) = (part * CHUNK, logits.len() / n);
            let slopes = &mut space.slopes[..logits.len()];
            columns::shares(logits, &softmax.largest, &factors, slopes);
            for (i, target) in targets.iter().enumerate() {
                let row = target.and_then(|t| (t as usize).checked_sub(first)).filter(|row| *row < rows);
                if let Some(row) = row {
                    slopes[row * n + i] -= 1.0;
                }
            }
            if let Some(cap) = self.cap.map(|c| c as f32) {
                slopes.iter_mut().zip(logits).for_each(|(g, l)| *g *= 1.0 - (l / cap) * (l / cap));
            }
            let mode = if part == 0 { WriteMode::Overwrite } else { WriteMode::Add };
            let w = RightFactor::plain(Mat::new(&output[first * d..], rows, d));
            multiply(Mat::new(slopes, rows, n).t(), &w, self.scale as f32, mode, MatMut::new(d_hidden, n, d));
        }
    }

    /// Cross-entropy in nats of every position of `hidden [tokens, d_model]` that has a target.
    ///
    /// # Errors
    /// A `hidden` of a different shape than the output matrix and `targets` have it; a target that is not
    /// below V.
    pub fn position_losses(&self, hidden: &Tensor, targets: &[Option<u32>]) -> Result<Vec<Option<f32>>> {
        let d = self.check(hidden, targets)?;
        let (n, spare) = (self.positions(targets.len())?, Spare::<Space>::default());
        with_slice(hidden, |h| {
            with_slice(&self.output, |w| {
                let tasks = h.par_chunks(n * d).zip(targets.par_chunks(n));
                tasks.flat_map_iter(|(h, t)| spare.with(|s| self.task(h, w, t, &mut [], s))).collect()
            })
        })?
    }

    /// The sum of [`Unembedding::position_losses`], differentiable with regard to `hidden`.
    ///
    /// # Errors
    /// As [`Unembedding::position_losses`].
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
        let (n, spare) = (self.unembedding.positions(self.targets.len())?, Spare::<Space>::default());
        let mut gradient = vec![0.0; if self.gradient.is_some() { hidden.len() } else { 0 }];
        let total = with_slice(&self.unembedding.output, |w| {
            let tasks = hidden.par_chunks(n * d).zip(self.targets.par_chunks(n));
            let sum = |losses: Vec<Option<f32>>| losses.into_iter().flatten().map(f64::from).sum::<f64>();
            let sums: Vec<f64> = match gradient.is_empty() {
                true => tasks
                    .map(|(h, t)| spare.with(|s| sum(self.unembedding.task(h, w, t, &mut [], s))))
                    .collect(),
                false => tasks
                    .zip(gradient.par_chunks_mut(n * d))
                    .map(|((h, t), g)| spare.with(|s| sum(self.unembedding.task(h, w, t, g, s))))
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
    use super::super::super::testing::{agree, normal};
    use super::super::super::{position_losses, summed_cross_entropy};
    use super::*;

    /// Against the logits made by candle and the loss on them, whose own test is against candle's
    /// cross-entropy.
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

//! Next-token cross-entropy without a copy of the logits: the gradient is
//! `softmax(logits) − one-hot(target)`.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_slice};
use kernels::exp;

struct CrossEntropy {
    targets: Arc<Vec<Option<u32>>>,
}

fn log_sum_exp(row: &[f32]) -> f32 {
    let largest = exp::largest(row);
    largest + exp::sum_exp(row, largest).ln()
}

fn losses(logits: &[f32], targets: &[Option<u32>]) -> Vec<Option<f32>> {
    let vocabulary = logits.len() / targets.len().max(1);
    logits
        .par_chunks(vocabulary)
        .zip(targets)
        .map(|(row, target)| target.map(|t| log_sum_exp(row) - row[t as usize]))
        .collect()
}

fn check(logits: &Tensor, targets: &[Option<u32>]) -> Result<()> {
    let (tokens, vocabulary) = logits.dims2()?;
    if tokens != targets.len() || targets.iter().flatten().any(|&t| t as usize >= vocabulary) {
        candle_core::bail!("cross-entropy of logits {:?} with {} targets", logits.dims(), targets.len());
    }
    Ok(())
}

/// Cross-entropy in nats of every position that has a target. `logits [tokens, vocabulary]`,
/// `targets [tokens]`.
///
/// # Errors
/// Numbers of positions that differ, or a target that is not below the vocabulary's size.
pub fn position_losses(logits: &Tensor, targets: &[Option<u32>]) -> Result<Vec<Option<f32>>> {
    check(logits, targets)?;
    with_slice(logits, |logits| losses(logits, targets))
}

/// The sum of [`position_losses`] as a scalar that can be differentiated.
///
/// # Errors
/// As [`position_losses`].
pub fn summed_cross_entropy(logits: &Tensor, targets: Vec<Option<u32>>) -> Result<Tensor> {
    check(logits, &targets)?;
    logits.contiguous()?.apply_op1(CrossEntropy { targets: Arc::new(targets) })
}

impl CustomOp1 for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross-entropy"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let total: f64 =
            losses(slice(logits, layout)?, &self.targets).into_iter().flatten().map(f64::from).sum();
        Ok((CpuStorage::F32(vec![total as f32]), Shape::from(())))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let scale = grad.to_scalar::<f32>()?;
        let (_, vocabulary) = logits.dims2()?;
        let mut d = vec![0.0; logits.elem_count()];
        with_slice(logits, |logits| {
            d.par_chunks_mut(vocabulary).zip(logits.par_chunks(vocabulary)).zip(&*self.targets).for_each(
                |((d, row), target)| {
                    let Some(target) = *target else { return };
                    d.copy_from_slice(row);
                    let sum = exp::exp_shifted(d, exp::largest(row));
                    exp::scale(d, scale / sum);
                    d[target as usize] -= scale;
                },
            );
        })?;
        Ok(Some(Tensor::from_vec(d, logits.dims(), logits.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agree, normal};
    use super::*;
    use candle_core::Device;

    #[test]
    fn agrees_with_candles_cross_entropy_and_skips_positions_without_target() {
        let logits = normal(&[6, 11], 1);
        let targets = vec![Some(3), None, Some(0), Some(10), None, Some(5)];
        let fused = summed_cross_entropy(&logits, targets.clone()).unwrap();
        let kept: Vec<u32> = vec![0, 2, 3, 5];
        let wanted: Vec<u32> = targets.iter().flatten().copied().collect();
        let rows = logits.index_select(&Tensor::new(kept, &Device::Cpu).unwrap(), 0).unwrap();
        let mean =
            candle_nn::loss::cross_entropy(&rows, &Tensor::new(wanted, &Device::Cpu).unwrap()).unwrap();
        agree(&[&logits], &fused, &(mean * 4.0).unwrap(), 1e-5);
        let each = position_losses(&logits, &targets).unwrap();
        assert_eq!(each.iter().filter(|l| l.is_none()).count(), 2);
        let sum: f32 = each.iter().flatten().sum();
        assert!((sum - fused.to_scalar::<f32>().unwrap()).abs() < 1e-4);
    }

    #[test]
    fn a_target_outside_the_vocabulary_is_an_error() {
        let logits = normal(&[2, 3], 1);
        assert!(position_losses(&logits, &[Some(3), None]).is_err());
        assert!(position_losses(&logits, &[Some(1)]).is_err());
    }
}

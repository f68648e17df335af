//! `(x − mean) / √(variance + ε)` over the last dimension; gain and bias are the caller's.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_slice};

struct Standardise {
    eps: f32,
}

/// `x [.., d]`, `gain [d]`, `bias [d]` → `[.., d]`.
///
/// # Errors
/// A `gain` or `bias` of a different width than `x`; an `x` that is not f32 on the CPU.
pub fn layer_norm(x: &Tensor, gain: &Tensor, bias: &Tensor, eps: f64) -> Result<Tensor> {
    let y = x.contiguous()?.apply_op1(Standardise { eps: eps as f32 })?;
    y.broadcast_mul(gain)?.broadcast_add(bias)
}

/// Mean, and one over the standard deviation.
fn moments(row: &[f32], eps: f32) -> (f32, f32) {
    let n = row.len() as f32;
    let mean = row.iter().sum::<f32>() / n;
    let variance = row.iter().map(|v| (v - mean) * (v - mean)).sum::<f32>() / n;
    (mean, 1.0 / (variance + eps).sqrt())
}

impl CustomOp1 for Standardise {
    fn name(&self) -> &'static str {
        "standardise"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let d = layout.dims().last().copied().unwrap_or(1).max(1);
        let x = slice(x, layout)?;
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(d).zip(x.par_chunks(d)).for_each(|(y, x)| {
            let (mean, r) = moments(x, self.eps);
            y.iter_mut().zip(x).for_each(|(y, x)| *y = (x - mean) * r);
        });
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    // With y the result and r = 1/std:  dx = r (g − mean(g) − y mean(g ∘ y)).
    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let d = x.dims().last().copied().unwrap_or(1).max(1);
        let mut dx = vec![0.0; x.elem_count()];
        with_slice(x, |x| {
            with_slice(grad, |g| {
                dx.par_chunks_mut(d).zip(x.par_chunks(d)).zip(g.par_chunks(d)).for_each(|((dx, x), g)| {
                    let (mean, r) = moments(x, self.eps);
                    let g_mean = g.iter().sum::<f32>() / d as f32;
                    let along = g.iter().zip(x).map(|(g, x)| g * (x - mean) * r).sum::<f32>() / d as f32;
                    for ((dx, x), g) in dx.iter_mut().zip(x).zip(g) {
                        *dx = r * (g - g_mean - (x - mean) * r * along);
                    }
                });
            })
        })??;
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agree, normal};
    use super::*;
    use candle_core::D;

    #[test]
    fn agrees_with_the_composed_form() {
        let (x, w, b) = (normal(&[3, 50, 20], 1), normal(&[20], 2), normal(&[20], 3));
        let ours = layer_norm(&x, &w, &b, 1e-5).unwrap();
        let centred = x.broadcast_sub(&x.mean_keepdim(D::Minus1).unwrap()).unwrap();
        let variance = centred.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
        let y = centred.broadcast_div(&(variance + 1e-5).unwrap().sqrt().unwrap()).unwrap();
        let composed = y.broadcast_mul(&w).unwrap().broadcast_add(&b).unwrap();
        agree(&[&x, &w, &b], &ours, &composed, 1e-5);
    }
}

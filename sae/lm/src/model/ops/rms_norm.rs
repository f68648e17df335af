//! Root-mean-square norm with a gain: `y = x · w / √(mean(x²) + ε)` over the last dimension.

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_slice};
use kernels::norm;
use kernels::pieces::equal_pieces;

/// Rows whose partial sums of the gain's gradient are reduced together, in order; fixed, so that bits do not
/// depend on threads.
const CHUNK: usize = 256;

struct RmsNorm {
    eps: f32,
}

/// `x [.., d]`, `gain [d]` → `[.., d]`.
///
/// # Errors
/// A `gain` of a different width than `x`; tensors that are not f32 on the CPU.
pub fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64) -> Result<Tensor> {
    x.contiguous()?.apply_op2(gain, RmsNorm { eps: eps as f32 })
}

impl CustomOp2 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms-norm"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, w) = (slice(x, lx)?, slice(w, lw)?);
        let d = w.len();
        let y = equal_pieces(x.len(), d * CHUNK, |i, y| {
            let x = &x[i * d * CHUNK..][..y.len()];
            y.chunks_exact_mut(d).zip(x.chunks_exact(d)).for_each(|(y, x)| norm::rms(x, w, self.eps, y));
        });
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    // dw = Σ_rows g ∘ x r.
    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let d = w.elem_count();
        let mut dx = vec![0.0; x.elem_count()];
        let dw = with_slice(x, |x| {
            with_slice(w, |w| with_slice(grad, |g| backward(x, w, g, self.eps, &mut dx)))
        })???;
        let dx = Tensor::from_vec(dx, x.dims(), x.device())?;
        Ok((Some(dx), Some(Tensor::from_vec(dw, d, x.device())?)))
    }
}

fn backward(x: &[f32], w: &[f32], g: &[f32], eps: f32, dx: &mut [f32]) -> Vec<f32> {
    let d = w.len();
    let chunk = |((dx, x), g): ((&mut [f32], &[f32]), &[f32])| {
        let mut dw = vec![0.0; d];
        for ((dx, x), g) in dx.chunks_exact_mut(d).zip(x.chunks_exact(d)).zip(g.chunks_exact(d)) {
            let r = norm::rms_back(x, w, eps, g, dx);
            dw.iter_mut().zip(g).zip(x).for_each(|((dw, g), x)| *dw += g * x * r);
        }
        dw
    };
    let parts: Vec<Vec<f32>> = dx
        .par_chunks_mut(d * CHUNK)
        .zip(x.par_chunks(d * CHUNK))
        .zip(g.par_chunks(d * CHUNK))
        .map(chunk)
        .collect();
    let mut dw = vec![0.0; d];
    for part in &parts {
        dw.iter_mut().zip(part).for_each(|(sum, v)| *sum += v);
    }
    dw
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agree, normal};
    use super::*;
    use candle_core::D;

    #[test]
    fn agrees_with_the_composed_form() {
        let (x, w) = (normal(&[3, 300, 20], 1), normal(&[20], 2));
        let fused = rms_norm(&x, &w, 1e-5).unwrap();
        let mean = x.sqr().unwrap().mean_keepdim(D::Minus1).unwrap();
        let root = (mean + 1e-5).unwrap().sqrt().unwrap();
        let composed = x.broadcast_div(&root).unwrap().broadcast_mul(&w).unwrap();
        agree(&[&x, &w], &fused, &composed, 1e-5);
    }
}

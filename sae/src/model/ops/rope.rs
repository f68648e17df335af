//! Rotary position embedding in the half-split form (GPT-NeoX, Llama as Hugging Face stores it).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_slice};

/// Angles of every token of a batch, as cosines and sines `[tokens, d_head / 2]`.
#[derive(Debug, Clone)]
pub struct Rotation {
    cos: Arc<Vec<f32>>,
    sin: Arc<Vec<f32>>,
    d_head: usize,
    backwards: bool,
}

impl Rotation {
    /// Angles `position · base^(−2i / d_head)` of `positions [tokens]`.
    pub fn new(positions: &[u32], d_head: usize, base: f64) -> Self {
        let half = d_head / 2;
        let rates: Vec<f64> = (0..half).map(|i| base.powf(-2.0 * i as f64 / d_head as f64)).collect();
        // transformers computes the angle in f32: do the same, so that long contexts agree to the last digits.
        let angles: Vec<f32> =
            positions.iter().flat_map(|&p| rates.iter().map(move |&r| p as f32 * r as f32)).collect();
        let cos = Arc::new(angles.iter().map(|a| a.cos()).collect());
        let sin = Arc::new(angles.iter().map(|a| a.sin()).collect());
        Self { cos, sin, d_head, backwards: false }
    }

    fn reversed(&self) -> Self {
        Self { backwards: !self.backwards, ..self.clone() }
    }

    fn rotate(&self, x: &[f32], tokens: usize) -> Vec<f32> {
        let (half, width) = (self.d_head / 2, x.len() / tokens.max(1));
        let sign = if self.backwards { -1.0 } else { 1.0 };
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(width).zip(x.par_chunks(width)).enumerate().for_each(|(token, (y, x))| {
            let angles = token * half..(token + 1) * half;
            let (cos, sin) = (&self.cos[angles.clone()], &self.sin[angles]);
            for (y, x) in y.chunks_exact_mut(self.d_head).zip(x.chunks_exact(self.d_head)) {
                let (first, second) = y.split_at_mut(half);
                for i in 0..half {
                    let (c, s) = (cos[i], sign * sin[i]);
                    first[i] = x[i] * c - x[half + i] * s;
                    second[i] = x[half + i] * c + x[i] * s;
                }
            }
        });
        y
    }
}

/// Rotates every head of `x [rows, len, heads · d_head]`.
pub fn rope(x: &Tensor, rotation: &Rotation) -> Result<Tensor> {
    x.contiguous()?.apply_op1(rotation.clone())
}

impl CustomOp1 for Rotation {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, len, width) = layout.shape().dims3()?;
        if !width.is_multiple_of(self.d_head) || rows * len * self.d_head / 2 != self.cos.len() {
            candle_core::bail!("rope of {:?} with angles of {} numbers", layout.shape(), self.cos.len());
        }
        Ok((CpuStorage::F32(self.rotate(slice(x, layout)?, rows * len)), layout.shape().clone()))
    }

    // A rotation's gradient is the rotation back.
    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (rows, len, _) = x.dims3()?;
        let dx = with_slice(grad, |g| self.reversed().rotate(g, rows * len))?;
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agree, normal};
    use super::*;
    use candle_core::Device;

    #[test]
    fn agrees_with_candles_composed_form() {
        let (rows, len, heads, d_head) = (2, 5, 3, 8);
        let x = normal(&[rows, len, heads * d_head], 1);
        let positions: Vec<u32> = (0..rows).flat_map(|_| 0..len as u32).collect();
        let fused = rope(&x, &Rotation::new(&positions, d_head, 10_000.0)).unwrap();
        let angles: Vec<f32> = (0..len)
            .flat_map(|p| {
                (0..d_head / 2).map(move |i| p as f32 * 10_000f32.powf(-2.0 * i as f32 / d_head as f32))
            })
            .collect();
        let angles = Tensor::from_vec(angles, (len, d_head / 2), &Device::Cpu).unwrap();
        let heads_first = x.reshape((rows, len, heads, d_head)).unwrap().transpose(1, 2).unwrap();
        let turned = candle_nn::rotary_emb::rope_slow(
            &heads_first.contiguous().unwrap(),
            &angles.cos().unwrap(),
            &angles.sin().unwrap(),
        )
        .unwrap();
        let composed = turned.transpose(1, 2).unwrap().reshape((rows, len, heads * d_head)).unwrap();
        agree(&[&x], &fused, &composed, 1e-5);
    }
}

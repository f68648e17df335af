//! Rotary position embedding, half-split (GPT-NeoX, Llama as Hugging Face stores it) or in neighbouring pairs (DeepSeek).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_slice};
use crate::model::config::RopeConfig;

/// Angles of every token of a batch, as cosines and sines `[tokens, dims / 2]`.
#[derive(Debug, Clone)]
pub struct Rotation {
    cos: Arc<Vec<f32>>,
    sin: Arc<Vec<f32>>,
    dims: usize,
    interleaved: bool,
}

impl Rotation {
    /// Angles `position · rate` of `positions [tokens]`.
    pub fn new(positions: &[u32], rope: &RopeConfig) -> Self {
        let rates: Vec<f32> = rope.rates().into_iter().map(|r| r as f32).collect();
        let factor = rope.attention_factor() as f32;
        // transformers computes the angle in f32: do the same, so that long contexts agree to the last digits.
        let angles: Vec<f32> =
            positions.iter().flat_map(|&p| rates.iter().map(move |&r| p as f32 * r)).collect();
        let cos = Arc::new(angles.iter().map(|a| a.cos() * factor).collect());
        let sin = Arc::new(angles.iter().map(|a| a.sin() * factor).collect());
        Self { cos, sin, dims: rope.dims, interleaved: rope.interleaved }
    }
}

/// Rotates numbers `at .. at + dims` of every head of `x [rows, len, heads · d_head]`.
pub fn rope(x: &Tensor, rotation: &Rotation, d_head: usize, at: usize) -> Result<Tensor> {
    let (rows, len, width) = x.dims3()?;
    let fits = d_head > 0 && width.is_multiple_of(d_head) && at + rotation.dims <= d_head;
    if !fits || rows * len * rotation.dims / 2 != rotation.cos.len() {
        candle_core::bail!("rope of {:?}, heads of {d_head}, with {} angles", x.dims(), rotation.cos.len());
    }
    x.contiguous()?.apply_op1(Rotate { rotation: rotation.clone(), d_head, at, sign: 1.0 })
}

#[derive(Clone)]
struct Rotate {
    rotation: Rotation,
    d_head: usize,
    at: usize,
    sign: f32,
}

impl Rotate {
    fn rotate(&self, x: &[f32], tokens: usize) -> Vec<f32> {
        let Rotation { cos, sin, dims, interleaved } = &self.rotation;
        let (half, width) = (dims / 2, x.len() / tokens.max(1));
        let mut y = x.to_vec();
        y.par_chunks_mut(width.max(1)).enumerate().for_each(|(token, y)| {
            let angles = token * half..(token + 1) * half;
            let (cos, sin) = (&cos[angles.clone()], &sin[angles]);
            for y in y.chunks_exact_mut(self.d_head) {
                let y = &mut y[self.at..self.at + dims];
                for i in 0..half {
                    let (a, b) = if *interleaved { (2 * i, 2 * i + 1) } else { (i, half + i) };
                    let (c, s) = (cos[i], self.sign * sin[i]);
                    (y[a], y[b]) = (y[a] * c - y[b] * s, y[b] * c + y[a] * s);
                }
            }
        });
        y
    }
}

impl CustomOp1 for Rotate {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, len, _) = layout.shape().dims3()?;
        Ok((CpuStorage::F32(self.rotate(slice(x, layout)?, rows * len)), layout.shape().clone()))
    }

    // A rotation's gradient is the rotation back; a factor on cosines and sines stays.
    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (rows, len, _) = x.dims3()?;
        let back = Self { sign: -self.sign, ..self.clone() };
        let dx = with_slice(grad, |g| back.rotate(g, rows * len))?;
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agree, normal};
    use super::*;
    use crate::model::config::Scaling;
    use candle_core::Device;

    fn config(dims: usize, interleaved: bool) -> RopeConfig {
        RopeConfig { theta: 10_000.0, dims, interleaved, scaling: Scaling::None }
    }

    /// candle's composed form on `x [rows, len, heads · d]`, all of a head rotated.
    fn composed(x: &Tensor, heads: usize, interleaved: bool) -> Tensor {
        let (rows, len, width) = x.dims3().unwrap();
        let d = width / heads;
        let angle = |p: usize, i: usize| p as f32 * 10_000f32.powf(-2.0 * i as f32 / d as f32);
        let angles: Vec<f32> = (0..len).flat_map(|p| (0..d / 2).map(move |i| angle(p, i))).collect();
        let angles = Tensor::from_vec(angles, (len, d / 2), &Device::Cpu).unwrap();
        let x = x.reshape((rows, len, heads, d)).unwrap().transpose(1, 2).unwrap().contiguous().unwrap();
        let (cos, sin) = (angles.cos().unwrap(), angles.sin().unwrap());
        let turned = match interleaved {
            true => candle_nn::rotary_emb::rope_i_slow(&x, &cos, &sin),
            false => candle_nn::rotary_emb::rope_slow(&x, &cos, &sin),
        };
        turned.unwrap().transpose(1, 2).unwrap().reshape((rows, len, width)).unwrap()
    }

    #[test]
    fn agrees_with_candles_composed_forms() {
        let (rows, len, heads, d) = (2, 5, 3, 8);
        let x = normal(&[rows, len, heads * d], 1);
        let positions: Vec<u32> = (0..rows).flat_map(|_| 0..len as u32).collect();
        for interleaved in [false, true] {
            let fused = rope(&x, &Rotation::new(&positions, &config(d, interleaved)), d, 0).unwrap();
            agree(&[&x], &fused, &composed(&x, heads, interleaved), 1e-5);
        }
    }

    #[test]
    fn a_part_of_a_head_is_rotated_and_the_rest_left_alone() {
        let (d, dims, at) = (10, 4, 3);
        let x = normal(&[1, 6, d], 1);
        let positions: Vec<u32> = (0..6).collect();
        let fused = rope(&x, &Rotation::new(&positions, &config(dims, false)), d, at).unwrap();
        let part = |from: usize, n: usize| x.narrow(2, from, n).unwrap().contiguous().unwrap();
        let turned = composed(&part(at, dims), 1, false);
        let twin = Tensor::cat(&[part(0, at), turned, part(at + dims, d - at - dims)], 2).unwrap();
        agree(&[&x], &fused, &twin, 1e-5);
        assert!(rope(&x, &Rotation::new(&positions, &config(8, false)), d, at).is_err());
    }
}

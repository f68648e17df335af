//! Rotary position embedding, half-split (GPT-NeoX, Llama as Hugging Face stores it) or in neighbouring pairs
//! (DeepSeek).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{slice, with_slice};
use crate::model::config::RopeConfig;
use kernels::pieces::equal_pieces;

/// Tokens a task turns.
const CHUNK: usize = 64;

/// Angles of every token of a batch: cosines and sines of every position from the first one on,
/// `[positions, dims / 2]`, and the tokens' positions counted from there.
#[derive(Debug, Clone)]
pub struct Rotation {
    cos: Arc<Vec<f32>>,
    sin: Arc<Vec<f32>>,
    positions: Arc<Vec<u32>>,
    dims: usize,
    interleaved: bool,
}

impl Rotation {
    /// Angles `position · rate` of `positions [tokens]`.
    pub fn new(positions: &[u32], rope: &RopeConfig) -> Self {
        let rates: Vec<f32> = rope.rates().into_iter().map(|r| r as f32).collect();
        let factor = rope.attention_factor() as f32;
        let first = positions.iter().min().copied().unwrap_or(0);
        let end = positions.iter().max().map_or(0, |p| p + 1);
        // transformers computes the angle in f32: do the same, so that long contexts agree to the last digits.
        let angles: Vec<f32> = (first..end).flat_map(|p| rates.iter().map(move |&r| p as f32 * r)).collect();
        let cos = Arc::new(angles.iter().map(|a| a.cos() * factor).collect());
        let sin = Arc::new(angles.iter().map(|a| a.sin() * factor).collect());
        let positions = Arc::new(positions.iter().map(|p| p - first).collect());
        Self { cos, sin, positions, dims: rope.dims, interleaved: rope.interleaved }
    }

    /// Turns numbers `at .. at + dims` of every head of token `token`'s row; `sign` −1 turns back.
    pub(in crate::model) fn turn(&self, token: usize, row: &mut [f32], d_head: usize, at: usize, sign: f32) {
        let half = self.dims / 2;
        let angles = self.positions[token] as usize * half..(self.positions[token] as usize + 1) * half;
        let (cos, sin) = (&self.cos[angles.clone()], &self.sin[angles]);
        for head in row.chunks_exact_mut(d_head) {
            let head = &mut head[at..at + self.dims];
            match self.interleaved {
                true => {
                    for ((pair, c), s) in head.chunks_exact_mut(2).zip(cos).zip(sin) {
                        let (x, y, s) = (pair[0], pair[1], sign * s);
                        (pair[0], pair[1]) = (x * c - y * s, y * c + x * s);
                    }
                }
                false => {
                    let (first, second) = head.split_at_mut(half);
                    for (((x, y), c), s) in first.iter_mut().zip(second).zip(cos).zip(sin) {
                        let s = sign * s;
                        (*x, *y) = (*x * c - *y * s, *y * c + *x * s);
                    }
                }
            }
        }
    }
}

/// Rotates numbers `at .. at + dims` of every head of `x [rows, len, heads · d_head]`.
///
/// # Errors
/// A width that heads of `d_head` do not divide; numbers beyond a head's end; a different number of
/// positions.
pub fn rope(x: &Tensor, rotation: &Rotation, d_head: usize, at: usize) -> Result<Tensor> {
    let (rows, len, width) = x.dims3()?;
    let fits = d_head > 0 && width.is_multiple_of(d_head) && at + rotation.dims <= d_head;
    if !fits || rows * len != rotation.positions.len() {
        candle_core::bail!(
            "rope of {:?}, heads of {d_head}, with {} positions",
            x.dims(),
            rotation.positions.len()
        );
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
        let width = x.len() / tokens.max(1);
        equal_pieces(x.len(), CHUNK * width, |i, y| {
            y.copy_from_slice(&x[i * CHUNK * width..][..y.len()]);
            for (j, y) in y.chunks_exact_mut(width).enumerate() {
                self.rotation.turn(i * CHUNK + j, y, self.d_head, self.at, self.sign);
            }
        })
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

//! Attention from candle's operations: slow, for those who want to see the pattern or to change it, and the
//! twin of the fast one.

use candle_core::{D, Result, Tensor};

use super::{AttentionMask, Heads, shape};

/// The pattern that [`attention`](super::attention) multiplies the values by, `[rows, heads, len, len]`.
///
/// # Errors
/// Shapes that do not fit each other, `heads` or `mask`.
pub fn pattern(q: &Tensor, k: &Tensor, v: &Tensor, heads: &Heads, mask: &AttentionMask) -> Result<Tensor> {
    let op = shape(q, k, v, heads, mask)?;
    let (rows, len, _) = q.dims3()?;
    let (q, k) = (split(q, heads.heads, heads.heads)?, split(k, heads.kv_heads, heads.heads)?);
    let mut scores = (q.matmul(&k.t()?)? * f64::from(heads.scale))?;
    if let Some(cap) = heads.soft_cap.map(f64::from) {
        scores = ((scores / cap)?.tanh()? * cap)?;
    }
    let bias: Vec<f32> = (0..rows * len)
        .flat_map(|token| {
            let (row, i) = (token / len, token % len);
            let first = op.mask.first(row, i, heads.window);
            (0..len).map(move |j| if first <= j && j <= i { 0.0 } else { f32::NEG_INFINITY })
        })
        .collect();
    let scores = scores.broadcast_add(&Tensor::from_vec(bias, (rows, 1, len, len), q.device())?)?;
    let Some(sinks) = &heads.sinks else { return candle_nn::ops::softmax(&scores, D::Minus1) };
    let sinks = Tensor::from_slice(sinks, (1, heads.heads, 1, 1), q.device())?;
    let scores = Tensor::cat(&[&scores, &sinks.broadcast_as((rows, heads.heads, len, 1))?.contiguous()?], 3)?;
    candle_nn::ops::softmax(&scores, D::Minus1)?.narrow(3, 0, len)
}

/// What [`attention`](super::attention) gives for a `pattern [rows, heads, len, len]` and
/// `v [rows, len, kv_heads · d_value]`.
///
/// # Errors
/// Shapes that do not fit each other or `heads`.
pub fn mix(pattern: &Tensor, v: &Tensor, heads: &Heads) -> Result<Tensor> {
    let (rows, len, width) = v.dims3()?;
    let z = pattern.contiguous()?.matmul(&split(v, heads.kv_heads, heads.heads)?)?;
    z.transpose(1, 2)?.reshape((rows, len, width / heads.kv_heads * heads.heads))
}

/// `[rows, len, n · d]` → `[rows, heads, len, d]`, each of the n heads repeated for the heads that read it.
fn split(x: &Tensor, n: usize, heads: usize) -> Result<Tensor> {
    let (rows, len, width) = x.dims3()?;
    let x = x.reshape((rows, len, n, width / n))?.transpose(1, 2)?;
    let repeated: Vec<Tensor> = (0..heads).map(|h| x.narrow(1, h * n / heads, 1)).collect::<Result<_>>()?;
    Tensor::cat(&repeated, 1)?.contiguous()
}

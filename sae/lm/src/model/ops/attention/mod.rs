//! Causal multi-head attention over packed contexts, heads side by side in the last dimension.
//!
//! For each head and row: `S = scale · Q Kᵀ`, masked, `P = softmax(S)`, `Z = P V`.

mod blocks;
mod past;
mod pattern;

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};

use super::{slice, with_slice};
pub(in crate::model) use blocks::{Attend, Columns, Inputs};
pub(in crate::model) use past::Past;
pub use pattern::{mix, pattern};

/// Which tokens a token may attend to: the earlier ones of its own segment, and itself.
#[derive(Debug, Clone)]
pub struct AttentionMask {
    /// The first token of its row that each token's segment has, `[rows · len]`. Segments are contiguous.
    starts: Arc<Vec<u32>>,
    /// Tokens a row.
    len: usize,
}

impl AttentionMask {
    /// `segments [rows · len]`: tokens of different segments do not see each other.
    pub fn new(segments: &[u32], len: usize) -> Self {
        let mut starts = Vec::with_capacity(segments.len());
        for row in segments.chunks(len.max(1)) {
            let mut start = 0;
            for (i, segment) in row.iter().enumerate() {
                if i > 0 && *segment != row[i - 1] {
                    start = i as u32;
                }
                starts.push(start);
            }
        }
        Self { starts: Arc::new(starts), len }
    }

    /// The first token that token `i` of `row` sees through a window.
    fn first(&self, row: usize, i: usize, window: Option<usize>) -> usize {
        let start = self.starts[row * self.len + i] as usize;
        window.map_or(start, |w| start.max((i + 1).saturating_sub(w)))
    }
}

/// Heads and what is done to their scores.
#[derive(Debug, Clone)]
pub struct Heads {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads: query head `h` reads key head `h · kv_heads / heads` (grouped-query attention).
    pub kv_heads: usize,
    /// What q·k is multiplied by.
    pub scale: f32,
    /// Scores become c · tanh(score / c).
    pub soft_cap: Option<f32>,
    /// A token sees itself and this many − 1 tokens before it.
    pub window: Option<usize>,
    /// A logit a head that takes part in the softmax and stands for nothing, `[heads]`. No gradient reaches
    /// it.
    pub sinks: Option<Arc<Vec<f32>>>,
}

fn shape(q: &Tensor, k: &Tensor, v: &Tensor, heads: &Heads, mask: &AttentionMask) -> Result<Attend> {
    let (rows, len, width) = q.dims3()?;
    let (n, kv) = (heads.heads, heads.kv_heads);
    if n == 0 || kv == 0 || !n.is_multiple_of(kv) || !width.is_multiple_of(n) || mask.len != len {
        candle_core::bail!("attention of {rows}x{len}x{width} with {n} heads, {kv} key heads");
    }
    let (d_head, v_width) = (width / n, v.dims3()?.2);
    let fits = mask.starts.len() == rows * len
        && k.dims() == [rows, len, kv * d_head]
        && v.dims() == [rows, len, v_width]
        && v_width.is_multiple_of(kv)
        && heads.sinks.as_ref().is_none_or(|s| s.len() == n);
    if !fits {
        candle_core::bail!("attention of q {:?}, k {:?}, v {:?}", q.dims(), k.dims(), v.dims());
    }
    Ok(Attend { mask: mask.clone(), past: 0, heads: heads.clone(), d_head, d_value: v_width / kv })
}

/// `q [rows, len, heads · d_head]`, `k [rows, len, kv_heads · d_head]`, `v [rows, len, kv_heads · d_value]` →
/// z `[rows, len, heads · d_value]`.
///
/// # Errors
/// Shapes that do not fit each other, `heads` or `mask`; tensors that are not f32 on the CPU.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: &Heads, mask: &AttentionMask) -> Result<Tensor> {
    let op = shape(q, k, v, heads, mask)?;
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

impl Attend {
    fn inputs<'a>(&self, q: &'a [f32], k: &'a [f32], v: &'a [f32]) -> Inputs<'a> {
        let columns = |data: &'a [f32], width: usize| Columns { data, width, at: 0 };
        Inputs {
            q: columns(q, self.heads.heads * self.d_head),
            k: columns(k, self.heads.kv_heads * self.d_head),
            v: columns(v, self.heads.kv_heads * self.d_value),
        }
    }

    fn gradients(&self, q: &[f32], k: &[f32], v: &[f32], g: &[f32]) -> [Vec<f32>; 3] {
        let gradients = self.backward(&self.inputs(q, k, v), g);
        let tokens = self.mask.starts.len().max(1);
        let mut out = [vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]];
        let widths = [q, k, v].map(|x| x.len() / tokens);
        let [dq, dk, dv] = &mut out;
        for token in 0..self.mask.starts.len() {
            let row = |x: usize| token * widths[x]..(token + 1) * widths[x];
            gradients.add_to(token, &mut dq[row(0)], &mut dk[row(1)], &mut dv[row(2)]);
        }
        out
    }
}

impl CustomOp3 for Attend {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        lq: &Layout,
        k: &CpuStorage,
        lk: &Layout,
        v: &CpuStorage,
        lv: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (rows, len, _) = lq.shape().dims3()?;
        let z = self.forward(&self.inputs(slice(q, lq)?, slice(k, lk)?, slice(v, lv)?));
        Ok((CpuStorage::F32(z), Shape::from((rows, len, self.heads.heads * self.d_value))))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let grads = with_slice(q, |q| {
            with_slice(k, |k| with_slice(v, |v| with_slice(grad, |g| self.gradients(q, k, v, g))))
        })????;
        let [dq, dk, dv] = grads;
        let tensor = |numbers, like: &Tensor| Tensor::from_vec(numbers, like.dims(), like.device()).map(Some);
        Ok((tensor(dq, q)?, tensor(dk, k)?, tensor(dv, v)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agree, normal};
    use super::blocks::BLOCK;
    use super::*;

    const PLAIN: Heads =
        Heads { heads: 2, kv_heads: 2, scale: 0.5, soft_cap: None, window: None, sinks: None };

    /// [`attention`] against [`pattern`] and [`mix`], which are candle's operations and its autograd.
    fn check(rows: usize, segments: &[u32], heads: &Heads, d_head: usize, d_value: usize) {
        let len = segments.len() / rows;
        let q = normal(&[rows, len, heads.heads * d_head], 1);
        let k = normal(&[rows, len, heads.kv_heads * d_head], 2);
        let v = normal(&[rows, len, heads.kv_heads * d_value], 3);
        let mask = AttentionMask::new(segments, len);
        let fused = attention(&q, &k, &v, heads, &mask).unwrap();
        let composed = mix(&pattern(&q, &k, &v, heads, &mask).unwrap(), &v, heads).unwrap();
        agree(&[&q, &k, &v], &fused, &composed, 1e-5);
    }

    fn long() -> Vec<u32> {
        (0..2 * BLOCK as u32 + 5).map(|i| if i < 70 { 1 } else { 2 }).collect()
    }

    const PACKED: [u32; 18] = [1, 1, 1, 1, 2, 2, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1];

    #[test]
    fn agrees_over_several_blocks_and_segments() {
        check(1, &long(), &PLAIN, 4, 4);
    }

    #[test]
    fn agrees_on_packed_contexts_and_grouped_heads() {
        check(2, &PACKED, &Heads { heads: 4, ..PLAIN }, 8, 8);
    }

    #[test]
    fn agrees_with_windows_caps_sinks_and_values_of_another_width() {
        check(1, &long(), &Heads { window: Some(9), ..PLAIN.clone() }, 4, 4);
        check(1, &long(), &Heads { window: Some(100), soft_cap: Some(0.8), ..PLAIN.clone() }, 4, 4);
        let sinks = Some(Arc::new(vec![0.5, -1.0, 3.0, 0.0]));
        check(2, &PACKED, &Heads { heads: 4, sinks, window: Some(3), ..PLAIN.clone() }, 6, 10);
    }

    /// The pattern itself against loops over tokens.
    #[test]
    fn a_pattern_by_hand() {
        let (len, d) = (7, 3);
        let (q, k) = (normal(&[1, len, d], 1), normal(&[1, len, d], 2));
        let segments = [1, 1, 1, 1, 2, 2, 2];
        let heads = Heads { heads: 1, kv_heads: 1, window: Some(3), soft_cap: Some(1.5), ..PLAIN };
        let mask = AttentionMask::new(&segments, len);
        let found =
            pattern(&q, &k, &k, &heads, &mask).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let [q, k] = [&q, &k].map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
        for i in 0..len {
            let weight = |j: usize| {
                let dot: f32 = (0..d).map(|n| q[i * d + n] * k[j * d + n]).sum();
                let seen = j <= i && segments[i] == segments[j] && i - j < 3;
                if seen { f64::from(1.5 * (0.5 * dot / 1.5).tanh()).exp() } else { 0.0 }
            };
            let sum: f64 = (0..len).map(weight).sum();
            for j in 0..len {
                assert!((f64::from(found[i * len + j]) - weight(j) / sum).abs() < 1e-6, "{i} {j}");
            }
        }
    }
}

//! Causal multi-head attention over packed contexts, heads side by side in the last dimension.
//!
//! For each head and row: `S = scale · Q Kᵀ`, masked, `P = softmax(S)`, `Z = P V`. A block of queries of one head stays in
//! cache and is computed again in the backward pass instead of being kept.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_slice};
use crate::kernels::exp::softmax;
use crate::kernels::gemm::{Into, Mat, MatMut, gemm};

/// Which tokens a token may attend to: the earlier ones of its own segment, and itself.
#[derive(Debug, Clone)]
pub struct AttentionMask {
    /// Segment of every token, `[rows · len]`; tokens of different segments do not see each other.
    pub segments: Arc<Vec<u32>>,
    /// Tokens a row.
    pub len: usize,
}

#[derive(Clone)]
struct Attention {
    mask: AttentionMask,
    heads: usize,
    kv_heads: usize,
    d_head: usize,
    scale: f32,
}

/// `q [rows, len, heads · d_head]`, `k` and `v [rows, len, kv_heads · d_head]` → z of q's shape.
///
/// Query head `h` reads key head `h · kv_heads / heads` (grouped-query attention).
pub fn attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    heads: usize,
    kv_heads: usize,
    mask: &AttentionMask,
) -> Result<Tensor> {
    let (rows, len, width) = q.dims3()?;
    if heads == 0
        || kv_heads == 0
        || !heads.is_multiple_of(kv_heads)
        || !width.is_multiple_of(heads)
        || mask.len != len
    {
        candle_core::bail!("attention of {rows}x{len}x{width} with {heads} heads, {kv_heads} key heads");
    }
    let d_head = width / heads;
    if mask.segments.len() != rows * len || k.dims() != [rows, len, kv_heads * d_head] || v.dims() != k.dims()
    {
        candle_core::bail!("attention of q {:?}, k {:?}, v {:?}", q.dims(), k.dims(), v.dims());
    }
    let scale = 1.0 / (d_head as f32).sqrt();
    let op = Attention { mask: mask.clone(), heads, kv_heads, d_head, scale };
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

/// Queries handled together: they need no key behind the last of them, which saves half the work of a causal pattern.
const BLOCK: usize = 64;

/// Some queries of one head in one row, and the keys they can see: `first..end` and `0..end`.
struct Block {
    row: usize,
    first: usize,
    end: usize,
    /// Where the head begins in a token's q and z, and in its k and v.
    q_at: usize,
    kv_at: usize,
}

impl Attention {
    fn width(&self) -> usize {
        self.heads * self.d_head
    }

    fn kv_width(&self) -> usize {
        self.kv_heads * self.d_head
    }

    fn blocks(&self, row: usize) -> impl Iterator<Item = Block> {
        let (len, heads, kv_heads, d_head) = (self.mask.len, self.heads, self.kv_heads, self.d_head);
        (0..heads).flat_map(move |h| {
            (0..len).step_by(BLOCK).map(move |first| Block {
                row,
                first,
                end: len.min(first + BLOCK),
                q_at: h * d_head,
                kv_at: h * kv_heads / heads * d_head,
            })
        })
    }

    /// The block's part of something of q's shape, `[end − first, d_head]`; `x` is one row of the batch.
    fn queries<'a>(&self, b: &Block, x: &'a [f32]) -> Mat<'a> {
        Mat::strided(&x[b.first * self.width() + b.q_at..], b.end - b.first, self.d_head, self.width())
    }

    fn queries_mut<'a>(&self, b: &Block, x: &'a mut [f32]) -> MatMut<'a> {
        MatMut::strided(&mut x[b.first * self.width() + b.q_at..], b.end - b.first, self.d_head, self.width())
    }

    /// The block's part of something of k's shape, `[end, d_head]`.
    fn keys<'a>(&self, b: &Block, x: &'a [f32]) -> Mat<'a> {
        Mat::strided(&x[b.kv_at..], b.end, self.d_head, self.kv_width())
    }

    fn keys_mut<'a>(&self, b: &Block, x: &'a mut [f32]) -> MatMut<'a> {
        MatMut::strided(&mut x[b.kv_at..], b.end, self.d_head, self.kv_width())
    }

    /// `P [end − first, end]`; masked entries are exactly 0.
    fn pattern(&self, b: &Block, q: &[f32], k: &[f32], p: &mut [f32]) {
        let out = MatMut::new(p, b.end - b.first, b.end);
        gemm(self.queries(b, q), self.keys(b, k).t(), self.scale, Into::Overwrite, out);
        let segments = &self.mask.segments[b.row * self.mask.len..(b.row + 1) * self.mask.len];
        for (i, scores) in (b.first..b.end).zip(p.chunks_exact_mut(b.end)) {
            // A segment is contiguous, so what a token sees is one range that ends with itself.
            let start = segments[..i].iter().rposition(|&s| s != segments[i]).map_or(0, |last| last + 1);
            scores[..start].fill(0.0);
            scores[i + 1..].fill(0.0);
            softmax(&mut scores[start..=i]);
        }
    }

    fn row<'a>(&self, x: &'a [f32], width: usize, row: usize) -> &'a [f32] {
        &x[row * self.mask.len * width..(row + 1) * self.mask.len * width]
    }

    fn forward(&self, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
        let (len, width, kv_width) = (self.mask.len, self.width(), self.kv_width());
        let mut z = vec![0.0; q.len()];
        z.par_chunks_mut(len * width).enumerate().for_each(|(row, z)| {
            let (q, k, v) = (self.row(q, width, row), self.row(k, kv_width, row), self.row(v, kv_width, row));
            let mut buffer = vec![0.0; BLOCK * len];
            for b in self.blocks(row) {
                let p = &mut buffer[..(b.end - b.first) * b.end];
                self.pattern(&b, q, k, p);
                let p = Mat::new(p, b.end - b.first, b.end);
                gemm(p, self.keys(&b, v), 1.0, Into::Overwrite, self.queries_mut(&b, z));
            }
        });
        z
    }

    // With G the gradient of Z:  dV = Pᵀ G,  dP = G Vᵀ,  dS = P ∘ (dP − rowsum(P ∘ dP)),
    // dQ = scale · dS K,  dK = scale · dSᵀ Q.  Blocks and heads that share keys add up.
    fn backward(&self, q: &[f32], k: &[f32], v: &[f32], g: &[f32]) -> [Vec<f32>; 3] {
        let (len, width, kv_width) = (self.mask.len, self.width(), self.kv_width());
        let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
        dq.par_chunks_mut(len * width)
            .zip(dk.par_chunks_mut(len * kv_width))
            .zip(dv.par_chunks_mut(len * kv_width))
            .enumerate()
            .for_each(|(row, ((dq, dk), dv))| {
                let (q, g) = (self.row(q, width, row), self.row(g, width, row));
                let (k, v) = (self.row(k, kv_width, row), self.row(v, kv_width, row));
                let (mut p, mut ds) = (vec![0.0; BLOCK * len], vec![0.0; BLOCK * len]);
                for b in self.blocks(row) {
                    let (rows, size) = (b.end - b.first, (b.end - b.first) * b.end);
                    let (p, ds) = (&mut p[..size], &mut ds[..size]);
                    self.pattern(&b, q, k, p);
                    let g = self.queries(&b, g);
                    gemm(Mat::new(p, rows, b.end).t(), g, 1.0, Into::Add, self.keys_mut(&b, dv));
                    gemm(g, self.keys(&b, v).t(), 1.0, Into::Overwrite, MatMut::new(ds, rows, b.end));
                    for (p, ds) in p.chunks_exact(b.end).zip(ds.chunks_exact_mut(b.end)) {
                        let mean: f32 = p.iter().zip(&*ds).map(|(p, d)| p * d).sum();
                        ds.iter_mut().zip(p).for_each(|(d, p)| *d = p * (*d - mean));
                    }
                    let ds = Mat::new(ds, rows, b.end);
                    gemm(ds, self.keys(&b, k), self.scale, Into::Overwrite, self.queries_mut(&b, dq));
                    gemm(ds.t(), self.queries(&b, q), self.scale, Into::Add, self.keys_mut(&b, dk));
                }
            });
        [dq, dk, dv]
    }
}

impl CustomOp3 for Attention {
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
        let z = self.forward(slice(q, lq)?, slice(k, lk)?, slice(v, lv)?);
        Ok((CpuStorage::F32(z), lq.shape().clone()))
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
            with_slice(k, |k| with_slice(v, |v| with_slice(grad, |g| self.backward(q, k, v, g))))
        })????;
        let [dq, dk, dv] = grads;
        let tensor = |numbers, like: &Tensor| Tensor::from_vec(numbers, like.dims(), like.device()).map(Some);
        Ok((tensor(dq, q)?, tensor(dk, k)?, tensor(dv, v)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agree, normal};
    use super::*;
    use candle_core::{D, Device};

    /// The textbook form: one big masked softmax, keys repeated for their query heads.
    fn composed(q: &Tensor, k: &Tensor, v: &Tensor, heads: usize, kv: usize, mask: &AttentionMask) -> Tensor {
        let (rows, len, width) = q.dims3().unwrap();
        let split = |t: &Tensor, n: usize| {
            let t = t.reshape((rows, len, n, width / heads)).unwrap().transpose(1, 2).unwrap();
            let groups: Vec<_> = (0..heads).map(|h| t.narrow(1, h * n / heads, 1).unwrap()).collect();
            Tensor::cat(&groups, 1).unwrap().contiguous().unwrap()
        };
        let (q, k, v) = (split(q, heads), split(k, kv), split(v, kv));
        let bias: Vec<f32> = (0..rows)
            .flat_map(|r| {
                let s = &mask.segments[r * len..(r + 1) * len];
                (0..len * len).map(move |at| {
                    let (i, j) = (at / len, at % len);
                    if j <= i && s[i] == s[j] { 0.0 } else { f32::NEG_INFINITY }
                })
            })
            .collect();
        let bias = Tensor::from_vec(bias, (rows, 1, len, len), &Device::Cpu).unwrap();
        let scale = 1.0 / ((width / heads) as f64).sqrt();
        let scores = (q.matmul(&k.t().unwrap()).unwrap() * scale).unwrap().broadcast_add(&bias).unwrap();
        let z = candle_nn::ops::softmax(&scores, D::Minus1).unwrap().matmul(&v).unwrap();
        z.transpose(1, 2).unwrap().reshape((rows, len, width)).unwrap()
    }

    #[test]
    fn agrees_with_the_composed_form_over_several_blocks() {
        let (rows, len, heads, d_head) = (1, 2 * BLOCK + 5, 2, 4);
        let [q, k, v] = [1, 2, 3].map(|seed| normal(&[rows, len, heads * d_head], seed));
        let segments = (0..len as u32).map(|i| if i < 70 { 1 } else { 2 }).collect();
        let mask = AttentionMask { segments: Arc::new(segments), len };
        let fused = attention(&q, &k, &v, heads, heads, &mask).unwrap();
        agree(&[&q, &k, &v], &fused, &composed(&q, &k, &v, heads, heads, &mask), 1e-5);
    }

    #[test]
    fn agrees_with_the_composed_form_on_packed_contexts_and_grouped_heads() {
        let (rows, len, heads, kv, d_head) = (2, 9, 4, 2, 8);
        let q = normal(&[rows, len, heads * d_head], 1);
        let (k, v) = (normal(&[rows, len, kv * d_head], 2), normal(&[rows, len, kv * d_head], 3));
        let segments = vec![1, 1, 1, 1, 2, 2, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1];
        let mask = AttentionMask { segments: Arc::new(segments), len };
        let fused = attention(&q, &k, &v, heads, kv, &mask).unwrap();
        agree(&[&q, &k, &v], &fused, &composed(&q, &k, &v, heads, kv, &mask), 1e-5);
    }
}

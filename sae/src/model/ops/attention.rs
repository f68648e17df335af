//! Causal multi-head attention over packed contexts, heads side by side in the last dimension.
//!
//! For each head and row: `S = scale · Q Kᵀ`, masked, `P = softmax(S)`, `Z = P V`. A block of queries of one head stays in
//! cache and is computed again in the backward pass instead of being kept.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_slice};
use crate::kernels::exp;
use crate::kernels::gemm::{Into, Mat, MatMut, gemm};

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
    /// A logit a head that takes part in the softmax and stands for nothing, `[heads]`. No gradient reaches it.
    pub sinks: Option<Arc<Vec<f32>>>,
}

#[derive(Clone)]
struct Attention {
    mask: AttentionMask,
    heads: Heads,
    d_head: usize,
    d_value: usize,
}

fn shape(q: &Tensor, k: &Tensor, v: &Tensor, heads: &Heads, mask: &AttentionMask) -> Result<Attention> {
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
    Ok(Attention { mask: mask.clone(), heads: heads.clone(), d_head, d_value: v_width / kv })
}

/// `q [rows, len, heads · d_head]`, `k [rows, len, kv_heads · d_head]`, `v [rows, len, kv_heads · d_value]` → z `[rows, len, heads · d_value]`.
pub fn attention(q: &Tensor, k: &Tensor, v: &Tensor, heads: &Heads, mask: &AttentionMask) -> Result<Tensor> {
    let op = shape(q, k, v, heads, mask)?;
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

/// The pattern that [`attention`] multiplies the values by, `[rows, heads, len, len]`, from candle's operations: slow, for those
/// who want to see or to change it.
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

/// What [`attention`] gives for a `pattern [rows, heads, len, len]` and `v [rows, len, kv_heads · d_value]`.
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

/// Queries handled together: they need no key behind the last of them, which saves half the work of a causal pattern.
const BLOCK: usize = 64;

/// Some queries of one head in one row, and the keys they can see: `first..end` and `begin..end`.
struct Block {
    row: usize,
    head: usize,
    first: usize,
    begin: usize,
    end: usize,
}

impl Block {
    fn queries(&self) -> usize {
        self.end - self.first
    }

    fn keys(&self) -> usize {
        self.end - self.begin
    }
}

/// A matrix of heads side by side: numbers a token, and where the block's head begins.
#[derive(Clone, Copy)]
struct Columns {
    width: usize,
    at: usize,
    d: usize,
}

impl Columns {
    fn of<'a>(&self, x: &'a [f32], tokens: Range<usize>) -> Mat<'a> {
        Mat::strided(&x[tokens.start * self.width + self.at..], tokens.len(), self.d, self.width)
    }

    fn of_mut<'a>(&self, x: &'a mut [f32], tokens: Range<usize>) -> MatMut<'a> {
        MatMut::strided(&mut x[tokens.start * self.width + self.at..], tokens.len(), self.d, self.width)
    }
}

impl Attention {
    fn blocks(&self, row: usize) -> impl Iterator<Item = Block> {
        (0..self.heads.heads).flat_map(move |head| {
            (0..self.mask.len).step_by(BLOCK).map(move |first| Block {
                row,
                head,
                first,
                // What a token sees begins no earlier than what the token before it sees.
                begin: self.mask.first(row, first, self.heads.window),
                end: self.mask.len.min(first + BLOCK),
            })
        })
    }

    fn key_head(&self, b: &Block) -> usize {
        b.head * self.heads.kv_heads / self.heads.heads
    }

    fn q(&self, b: &Block) -> Columns {
        Columns { width: self.heads.heads * self.d_head, at: b.head * self.d_head, d: self.d_head }
    }

    fn k(&self, b: &Block) -> Columns {
        let at = self.key_head(b) * self.d_head;
        Columns { width: self.heads.kv_heads * self.d_head, at, d: self.d_head }
    }

    fn v(&self, b: &Block) -> Columns {
        let at = self.key_head(b) * self.d_value;
        Columns { width: self.heads.kv_heads * self.d_value, at, d: self.d_value }
    }

    fn z(&self, b: &Block) -> Columns {
        Columns { width: self.heads.heads * self.d_value, at: b.head * self.d_value, d: self.d_value }
    }

    /// `P [queries, keys]`; masked entries are exactly 0. With a soft cap, `tanh` gets the tanh of every score that is seen.
    fn pattern(&self, b: &Block, q: &[f32], k: &[f32], p: &mut [f32], tanh: Option<&mut [f32]>) {
        let (queries, keys) = (b.queries(), b.keys());
        let out = MatMut::new(p, queries, keys);
        let cap = self.heads.soft_cap;
        // A capped score is first divided by its cap.
        let scale = self.heads.scale / cap.unwrap_or(1.0);
        let (q, k) = (self.q(b).of(q, b.first..b.end), self.k(b).of(k, b.begin..b.end));
        gemm(q, k.t(), scale, Into::Overwrite, out);
        if let Some(cap) = cap {
            p.iter_mut().for_each(|s| *s = s.tanh());
            if let Some(tanh) = tanh {
                tanh.copy_from_slice(p);
            }
            p.iter_mut().for_each(|s| *s *= cap);
        }
        let sink = self.heads.sinks.as_ref().map(|sinks| sinks[b.head]);
        for (i, scores) in (b.first..b.end).zip(p.chunks_exact_mut(keys)) {
            let seen = self.mask.first(b.row, i, self.heads.window) - b.begin..i + 1 - b.begin;
            scores[..seen.start].fill(0.0);
            scores[seen.end..].fill(0.0);
            match sink {
                None => exp::softmax(&mut scores[seen]),
                Some(sink) => softmax_with_sink(&mut scores[seen], sink),
            }
        }
    }

    /// The numbers of one row of the batch.
    fn row<'a>(&self, x: &'a [f32], row: usize) -> &'a [f32] {
        let rows = self.mask.starts.len() / self.mask.len.max(1);
        let size = x.len() / rows.max(1);
        &x[row * size..(row + 1) * size]
    }

    fn forward(&self, q: &[f32], k: &[f32], v: &[f32]) -> Vec<f32> {
        let (len, width) = (self.mask.len, self.heads.heads * self.d_value);
        let mut z = vec![0.0; self.mask.starts.len() * width];
        z.par_chunks_mut((len * width).max(1)).enumerate().for_each(|(row, z)| {
            let (q, k, v) = (self.row(q, row), self.row(k, row), self.row(v, row));
            let mut buffer = vec![0.0; BLOCK * len];
            for b in self.blocks(row) {
                let p = &mut buffer[..b.queries() * b.keys()];
                self.pattern(&b, q, k, p, None);
                let p = Mat::new(p, b.queries(), b.keys());
                let out = self.z(&b).of_mut(z, b.first..b.end);
                gemm(p, self.v(&b).of(v, b.begin..b.end), 1.0, Into::Overwrite, out);
            }
        });
        z
    }

    // With G the gradient of Z:  dV = Pᵀ G,  dP = G Vᵀ,  dS = P ∘ (dP − rowsum(P ∘ dP)),
    // dQ = scale · dS K,  dK = scale · dSᵀ Q.  Blocks and heads that share keys add up. A soft cap multiplies dS by 1 − tanh².
    fn backward(&self, q: &[f32], k: &[f32], v: &[f32], g: &[f32]) -> [Vec<f32>; 3] {
        let len = self.mask.len;
        let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
        let rows = (self.mask.starts.len() / len.max(1)).max(1);
        dq.par_chunks_mut((q.len() / rows).max(1))
            .zip(dk.par_chunks_mut((k.len() / rows).max(1)))
            .zip(dv.par_chunks_mut((v.len() / rows).max(1)))
            .enumerate()
            .for_each(|(row, ((dq, dk), dv))| {
                let operands = [q, k, v, g].map(|x| self.row(x, row));
                let mut space = Space::new(BLOCK * len, self.heads.soft_cap.is_some());
                for b in self.blocks(row) {
                    self.block_back(&b, operands, &mut space, [&mut *dq, &mut *dk, &mut *dv]);
                }
            });
        [dq, dk, dv]
    }

    fn block_back(
        &self,
        b: &Block,
        [q, k, v, g]: [&[f32]; 4],
        space: &mut Space,
        [dq, dk, dv]: [&mut [f32]; 3],
    ) {
        let (queries, keys) = (b.first..b.end, b.begin..b.end);
        let (rows, cols) = (b.queries(), b.keys());
        let (p, ds) = (&mut space.p[..rows * cols], &mut space.ds[..rows * cols]);
        let mut tanh = space.tanh.as_mut().map(|t| &mut t[..rows * cols]);
        self.pattern(b, q, k, p, tanh.as_deref_mut());
        let g = self.z(b).of(g, queries.clone());
        gemm(Mat::new(p, rows, cols).t(), g, 1.0, Into::Add, self.v(b).of_mut(dv, keys.clone()));
        let out = MatMut::new(ds, rows, cols);
        gemm(g, self.v(b).of(v, keys.clone()).t(), 1.0, Into::Overwrite, out);
        for (p, ds) in p.chunks_exact(cols).zip(ds.chunks_exact_mut(cols)) {
            let mean: f32 = p.iter().zip(&*ds).map(|(p, d)| p * d).sum();
            ds.iter_mut().zip(p).for_each(|(d, p)| *d = p * (*d - mean));
        }
        if let Some(tanh) = tanh {
            ds.iter_mut().zip(tanh).for_each(|(d, t)| *d *= 1.0 - *t * *t);
        }
        let (ds, scale) = (Mat::new(ds, rows, cols), self.heads.scale);
        let out = self.q(b).of_mut(dq, queries.clone());
        gemm(ds, self.k(b).of(k, keys.clone()), scale, Into::Overwrite, out);
        gemm(ds.t(), self.q(b).of(q, queries), scale, Into::Add, self.k(b).of_mut(dk, keys));
    }
}

/// What the backward pass of one row works in.
struct Space {
    p: Vec<f32>,
    ds: Vec<f32>,
    tanh: Option<Vec<f32>>,
}

impl Space {
    fn new(size: usize, capped: bool) -> Self {
        Self { p: vec![0.0; size], ds: vec![0.0; size], tanh: capped.then(|| vec![0.0; size]) }
    }
}

/// Softmax of `scores` and `sink` together, the sink's share left out.
fn softmax_with_sink(scores: &mut [f32], sink: f32) {
    let shift = exp::largest(scores).max(sink);
    let sum = exp::exp_shifted(scores, shift) + (sink - shift).exp();
    exp::scale(scores, 1.0 / sum);
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
        let (rows, len, _) = lq.shape().dims3()?;
        let z = self.forward(slice(q, lq)?, slice(k, lk)?, slice(v, lv)?);
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

//! Attention of blocks of queries, on slices: forward, and backward with the pattern computed again instead
//! of kept.
//!
//! A block's scores, 64 queries by the keys that they can see, stay in the cache. Keys (and for the backward
//! pass values) are turned into panels once and serve all the blocks and heads that read them.

use std::ops::Range;

use super::{AttentionMask, Heads};
use kernels::exp;
use kernels::gemm::{Mat, MatMut, WriteMode};
use kernels::norm;
use kernels::pieces::{equal_pieces, pieces};
use kernels::product::{PANEL, RightFactor, multiply, pack_into, panel_numbers};
use kernels::spare::Spare;

/// Queries handled together: they need no key after the last of them, which saves half the work of a causal
/// pattern.
pub const BLOCK: usize = 64;

/// Heads side by side, somewhere in the columns of a matrix `[tokens, width]`.
#[derive(Clone, Copy)]
pub struct Columns<'a> {
    /// The matrix.
    pub data: &'a [f32],
    /// Its width.
    pub width: usize,
    /// Where the first head begins.
    pub at: usize,
}

impl<'a> Columns<'a> {
    fn head(&self, tokens: Range<usize>, head: usize, d: usize) -> Mat<'a> {
        Mat::strided(
            &self.data[tokens.start * self.width + self.at + head * d..],
            tokens.len(),
            d,
            self.width,
        )
    }
}

/// Queries, keys and values of all tokens.
#[derive(Clone, Copy)]
pub struct Inputs<'a> {
    /// `heads` of `d_head`.
    pub q: Columns<'a>,
    /// `kv_heads` of `d_head`.
    pub k: Columns<'a>,
    /// `kv_heads` of `d_value`.
    pub v: Columns<'a>,
}

/// What is computed: heads, their widths, who sees whom.
#[derive(Clone)]
pub struct Attend {
    pub mask: AttentionMask,
    /// Tokens at the beginning of the only row that have keys and values but no queries: 0 if all have.
    pub past: usize,
    pub heads: Heads,
    pub d_head: usize,
    pub d_value: usize,
}

/// Panels of the transposed keys or values of every row and head.
#[derive(Debug, Default)]
pub struct TransposedPanels {
    pub panels: Vec<f32>,
    /// From one head's panels to the next one's.
    pub each: usize,
}

impl TransposedPanels {
    fn of<'a>(&'a self, mat: Mat<'a>, number: usize) -> RightFactor<'a> {
        let (d, len) = mat.t().shape();
        RightFactor::packed(mat.t(), &self.panels[number * self.each..][..panel_numbers(d, len)])
    }
}

/// Some queries of one head in one row, and the keys they can see, by their places in the row.
struct Block {
    row: usize,
    head: usize,
    queries: Range<usize>,
    keys: Range<usize>,
}

/// What a task of the backward pass works in.
#[derive(Default)]
struct Space {
    p: Vec<f32>,
    ds: Vec<f32>,
    bend: Vec<f32>,
}

/// Gradients of queries, keys and values, a piece for every row and key head: `[len, group · d_head]`,
/// `[len, d_head]`, `[len, d_value]`.
pub struct Gradients<'a> {
    attend: &'a Attend,
    numbers: Vec<f32>,
}

impl Attend {
    /// Rows of the batch.
    fn rows(&self) -> usize {
        self.mask.starts.len() / self.mask.len.max(1)
    }

    /// Tokens a row, padding included.
    pub fn tokens_a_row(&self) -> usize {
        self.mask.len
    }

    /// Blocks of queries a row.
    fn blocks(&self) -> usize {
        (self.mask.len - self.past).div_ceil(BLOCK)
    }

    /// The queries of a block, by their places in the row.
    fn queries(&self, block: usize) -> Range<usize> {
        let first = self.past + block * BLOCK;
        first..self.mask.len.min(first + BLOCK)
    }

    /// Row and queries of every block of the batch, in order.
    pub fn all_blocks(&self) -> Vec<(usize, Range<usize>)> {
        (0..self.rows()).flat_map(|row| (0..self.blocks()).map(move |b| (row, self.queries(b)))).collect()
    }

    /// Query heads that read the same keys.
    fn group(&self) -> usize {
        self.heads.heads / self.heads.kv_heads.max(1)
    }

    /// Places of the row `row` in the batch.
    fn tokens(&self, row: usize, places: &Range<usize>) -> Range<usize> {
        row * self.mask.len + places.start..row * self.mask.len + places.end
    }

    fn turned(&self, x: Columns<'_>, d: usize) -> TransposedPanels {
        let (len, kv) = (self.mask.len, self.heads.kv_heads);
        let each = panel_numbers(d, len);
        let panels = equal_pieces(self.rows() * kv * each, each, |i, panels| {
            pack_into(x.head(self.tokens(i / kv, &(0..len)), i % kv, d).t(), panels);
        });
        TransposedPanels { panels, each }
    }

    /// The keys of all rows, as [`Attend::block`] wants them.
    pub fn turned_keys(&self, x: &Inputs<'_>) -> TransposedPanels {
        self.turned(x.k, self.d_head)
    }

    /// Keys `keys` of a row and key head, transposed: `[d, keys]`.
    fn right<'a>(
        &self,
        turned: &'a TransposedPanels,
        x: Columns<'a>,
        b: &Block,
        d: usize,
    ) -> RightFactor<'a> {
        let kv_head = b.head / self.group();
        let mat = x.head(self.tokens(b.row, &(0..self.mask.len)), kv_head, d);
        turned.of(mat, b.row * self.heads.kv_heads + kv_head).columns(b.keys.start, b.keys.end)
    }

    fn see(&self, row: usize, head: usize, queries: Range<usize>) -> Block {
        // What a token sees begins no earlier than what the token before it sees.
        let begin = self.mask.first(row, queries.start, self.heads.window) / PANEL * PANEL;
        Block { row, head, keys: begin..queries.end, queries }
    }

    /// `P [queries, keys]`; masked entries are exactly 0. With a soft cap, `capped` gets the scores after it.
    fn pattern(
        &self,
        b: &Block,
        q: Columns<'_>,
        keys: &RightFactor<'_>,
        p: &mut [f32],
        capped: Option<&mut [f32]>,
    ) {
        let (queries, n) = (b.queries.len(), b.keys.len());
        let with_queries = b.queries.start - self.past..b.queries.end - self.past;
        let q = q.head(self.tokens(b.row, &with_queries), b.head, self.d_head);
        multiply(q, keys, self.heads.scale, WriteMode::Overwrite, MatMut::new(p, queries, n));
        if let Some(cap) = self.heads.soft_cap {
            exp::soft_cap(p, cap);
            if let Some(capped) = capped {
                capped.copy_from_slice(p);
            }
        }
        let sink = self.heads.sinks.as_ref().map(|sinks| sinks[b.head]);
        for (i, scores) in b.queries.clone().zip(p.chunks_exact_mut(n)) {
            let seen = self.mask.first(b.row, i, self.heads.window) - b.keys.start..i + 1 - b.keys.start;
            scores[..seen.start].fill(0.0);
            scores[seen.end..].fill(0.0);
            match sink {
                None => exp::softmax(&mut scores[seen]),
                Some(sink) => softmax_with_sink(&mut scores[seen], sink),
            }
        }
    }

    /// z of some queries of one row, all heads: `z [queries, heads · d_value]`. `p` is space.
    pub fn block(
        &self,
        x: &Inputs<'_>,
        keys: &TransposedPanels,
        row: usize,
        queries: &Range<usize>,
        p: &mut Vec<f32>,
        z: &mut [f32],
    ) {
        let width = self.heads.heads * self.d_value;
        for head in 0..self.heads.heads {
            let b = self.see(row, head, queries.clone());
            let (rows, n) = (queries.len(), b.keys.len());
            p.resize(rows * n, 0.0);
            self.pattern(&b, x.q, &self.right(keys, x.k, &b, self.d_head), p, None);
            let v = x.v.head(self.tokens(row, &b.keys), head / self.group(), self.d_value);
            let out = MatMut::strided(&mut z[head * self.d_value..], rows, self.d_value, width);
            multiply(Mat::new(p, rows, n), &RightFactor::plain(v), 1.0, WriteMode::Overwrite, out);
        }
    }

    /// z of all tokens, `[tokens, heads · d_value]`.
    pub fn forward(&self, x: &Inputs<'_>) -> Vec<f32> {
        self.forward_with(x, &self.turned_keys(x))
    }

    /// The same with keys that were turned before.
    pub(super) fn forward_with(&self, x: &Inputs<'_>, keys: &TransposedPanels) -> Vec<f32> {
        let blocks = self.all_blocks();
        let width = self.heads.heads * self.d_value;
        let sizes: Vec<usize> = blocks.iter().map(|(_, queries)| queries.len() * width).collect();
        let spare = Spare::<Vec<f32>>::default();
        pieces(&sizes, |i, z| {
            let mut p = spare.take();
            self.block(x, keys, blocks[i].0, &blocks[i].1, &mut p, z);
            spare.give(p);
        })
    }

    /// Gradients where `g [tokens, heads · d_value]` is that of z.
    ///
    /// With G the gradient of Z:  dV = Pᵀ G,  dP = G Vᵀ,  dS = P ∘ (dP − rowsum(P ∘ dP)), dQ = scale · dS K,
    /// dK = scale · dSᵀ Q. Blocks and heads that share keys add up. A soft cap multiplies dS by 1 − (capped
    /// score / cap)².
    pub fn backward(&self, x: &Inputs<'_>, g: &[f32]) -> Gradients<'_> {
        let (keys, values) = (self.turned_keys(x), self.turned(x.v, self.d_value));
        let spare = Spare::<Space>::default();
        let kv = self.heads.kv_heads;
        let size = self.mask.len * self.gradient_width();
        let numbers = equal_pieces(self.rows() * kv * size, size, |i, out| {
            let mut space = spare.take();
            for head in i % kv * self.group()..(i % kv + 1) * self.group() {
                for block in 0..self.blocks() {
                    let b = self.see(i / kv, head, self.queries(block));
                    self.block_back(&b, x, [&keys, &values], g, &mut space, out);
                }
            }
            spare.give(space);
        });
        Gradients { attend: self, numbers }
    }

    /// Numbers of a token in a piece of the gradients.
    fn gradient_width(&self) -> usize {
        (self.group() + 1) * self.d_head + self.d_value
    }

    fn block_back(
        &self,
        b: &Block,
        x: &Inputs<'_>,
        [keys, values]: [&TransposedPanels; 2],
        g: &[f32],
        space: &mut Space,
        out: &mut [f32],
    ) {
        let (d, dv, group) = (self.d_head, self.d_value, self.group());
        let (rows, n) = (b.queries.len(), b.keys.len());
        let (dq, rest) = out.split_at_mut(self.mask.len * group * d);
        let (dk, dvalues) = rest.split_at_mut(self.mask.len * d);
        space.p.resize(rows * n, 0.0);
        space.ds.resize(rows * n, 0.0);
        let (p, ds) = (&mut space.p[..], &mut space.ds[..]);
        let cap = self.heads.soft_cap;
        let capped = cap.map(|_| {
            space.bend.resize(rows * n, 0.0);
            &mut space.bend[..]
        });
        self.pattern(b, x.q, &self.right(keys, x.k, b, d), p, capped);

        let tokens = self.tokens(b.row, &b.queries);
        let g = Columns { data: g, width: self.heads.heads * dv, at: 0 }.head(tokens.clone(), b.head, dv);
        let into = MatMut::new(&mut dvalues[b.keys.start * dv..b.keys.end * dv], n, dv);
        multiply(Mat::new(p, rows, n).t(), &RightFactor::plain(g), 1.0, WriteMode::Add, into);
        multiply(g, &self.right(values, x.v, b, dv), 1.0, WriteMode::Overwrite, MatMut::new(ds, rows, n));
        for (p, ds) in p.chunks_exact(n).zip(ds.chunks_exact_mut(n)) {
            exp::softmax_back(p, ds);
        }
        if let Some(cap) = cap {
            ds.iter_mut().zip(&space.bend).for_each(|(d, s)| *d *= 1.0 - (s / cap) * (s / cap));
        }

        let (ds, scale) = (Mat::new(ds, rows, n), self.heads.scale);
        let k = x.k.head(self.tokens(b.row, &b.keys), b.head / group, d);
        let at = b.queries.start * group * d + b.head % group * d;
        multiply(
            ds,
            &RightFactor::plain(k),
            scale,
            WriteMode::Overwrite,
            MatMut::strided(&mut dq[at..], rows, d, group * d),
        );
        let q = x.q.head(tokens, b.head, d);
        let into = MatMut::new(&mut dk[b.keys.start * d..b.keys.end * d], n, d);
        multiply(ds.t(), &RightFactor::plain(q), scale, WriteMode::Add, into);
    }
}

impl Gradients<'_> {
    /// Adds a token's gradients to rows of queries, keys and values.
    pub fn add_to(&self, token: usize, q: &mut [f32], k: &mut [f32], v: &mut [f32]) {
        let a = self.attend;
        let (len, d, dv, group) = (a.mask.len, a.d_head, a.d_value, a.group());
        let (row, place) = (token / len, token % len);
        for kv_head in 0..a.heads.kv_heads {
            let size = len * a.gradient_width();
            let piece = &self.numbers[(row * a.heads.kv_heads + kv_head) * size..][..size];
            let (dq, rest) = piece.split_at(len * group * d);
            let (dk, dvalues) = rest.split_at(len * d);
            norm::add(&mut q[kv_head * group * d..][..group * d], 1.0, &dq[place * group * d..][..group * d]);
            norm::add(&mut k[kv_head * d..][..d], 1.0, &dk[place * d..][..d]);
            norm::add(&mut v[kv_head * dv..][..dv], 1.0, &dvalues[place * dv..][..dv]);
        }
    }
}

/// Softmax of `scores` and `sink` together, the sink's share left out.
fn softmax_with_sink(scores: &mut [f32], sink: f32) {
    let shift = exp::largest(scores).max(sink);
    let sum = exp::exp_shifted(scores, shift) + (sink - shift).exp();
    exp::scale(scores, 1.0 / sum);
}

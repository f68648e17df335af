//! The attention branch: `x + scale · norm(W_o attention(q, k, v))`, q, k and v from norm(x), normed and
//! rotated.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::super::load::{Linear, Norm};
use super::super::ops::{Attend, Columns, Inputs, Numbers, Rotation, TOKENS, slice};
use super::parts::{InputNorm, Join, Joining, Product, RowNorm, space};
use kernels::gemm::{Mat, WriteMode};
use kernels::pieces::{equal_pieces, pieces};
use kernels::spare::Spare;

/// The branch with its weights.
#[derive(Clone)]
pub struct AttentionBranch {
    pub norm: Option<Norm>,
    /// Queries, keys, values.
    pub qkv: [Linear; 3],
    /// Of queries and keys.
    pub qk_norm: Option<[Norm; 2]>,
    pub rotation: Option<Rotation>,
    pub attend: Attend,
    pub out: Linear,
    pub join: Join,
}

/// What the backward pass reads of the forward pass.
#[derive(Debug, Default)]
struct SavedForward {
    /// Queries, keys and values side by side as attention reads them, `[tokens, width]`.
    qkv: Vec<f32>,
    /// Before their norms, if they have any.
    raw: Vec<f32>,
    /// Before the branch's last norm, if it has one, `[tokens, d_model]`.
    out: Vec<f32>,
}

/// Buffers of a task.
#[derive(Default)]
struct Space {
    normed: Vec<f32>,
    qkv: Vec<f32>,
    row: Vec<f32>,
    p: Vec<f32>,
    z: Vec<f32>,
    out: Vec<f32>,
}

/// Numbers of a token: in the stream, of its queries, keys and values.
#[derive(Clone, Copy)]
struct Widths {
    d: usize,
    q: usize,
    k: usize,
    v: usize,
}

impl Widths {
    fn all(self) -> usize {
        self.q + self.k + self.v
    }

    /// Where queries, keys and values begin in a row.
    fn starts(self) -> [usize; 3] {
        [0, self.q, self.q + self.k]
    }

    fn inputs(self, qkv: &[f32]) -> Inputs<'_> {
        let [q, k, v] = self.starts().map(|at| Columns { data: qkv, width: self.all(), at });
        Inputs { q, k, v }
    }
}

impl AttentionBranch {
    /// `x [rows, len, d_model]` → x and the branch's output added.
    ///
    /// # Errors
    /// An `x` of a different width than the weights, or tensors that are not f32 on the CPU.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        let saved = x.track_op().then(Mutex::default);
        x.contiguous()?.apply_op1(Op { branch: self, saved })
    }

    fn widths(&self) -> Result<Widths> {
        let [q, k, v] = &self.qkv;
        let (q_width, d) = q.weight.dims2()?;
        Ok(Widths { d, q: q_width, k: k.weight.dim(0)?, v: v.weight.dim(0)? })
    }

    fn qk_norms(&self) -> Result<Option<[RowNorm<'_>; 2]>> {
        let Some([q, k]) = &self.qk_norm else { return Ok(None) };
        Ok(Some([RowNorm::of(q)?, RowNorm::of(k)?]))
    }

    /// Queries, keys and values of `x [tokens, d_model]`, neither normed nor rotated.
    fn project(&self, x: &[f32], finish: impl Fn(usize, &mut [f32]) + Sync) -> Result<Vec<f32>> {
        let (w, norm) = (self.widths()?, InputNorm::of(self.norm.as_ref())?);
        let [q, k, v] = &self.qkv;
        let products = [Product::forward(q)?, Product::forward(k)?, Product::forward(v)?];
        let spare = Spare::<Space>::default();
        Ok(equal_pieces(x.len() / w.d * w.all(), TOKENS * w.all(), |i, qkv| {
            let rows = qkv.len() / w.all();
            spare.with(|s| {
                let normed = space(&mut s.normed, rows * w.d);
                norm.rows(&x[i * TOKENS * w.d..][..rows * w.d], normed);
                let normed = Mat::new(normed, rows, w.d);
                for (product, at) in products.iter().zip(w.starts()) {
                    product.rows(normed, WriteMode::Overwrite, qkv, w.all(), at);
                }
            });
            finish(i * TOKENS, qkv);
        }))
    }

    /// Norms and rotates queries and keys of `qkv [some, width]`, the tokens from number `first` on.
    fn prepare(&self, w: Widths, norms: Option<&[RowNorm<'_>; 2]>, first: usize, qkv: &mut [f32]) {
        let mut before = Vec::new();
        for (i, row) in qkv.chunks_exact_mut(w.all()).enumerate() {
            let (q, rest) = row.split_at_mut(w.q);
            let k = &mut rest[..w.k];
            if let Some([q_norm, k_norm]) = norms {
                for (norm, x) in [(q_norm, &mut *q), (k_norm, &mut *k)] {
                    let before = space(&mut before, x.len());
                    before.copy_from_slice(x);
                    norm.rows(before, x);
                }
            }
            if let Some(rotation) = &self.rotation {
                rotation.turn(first + i, q, self.attend.d_head, 0, 1.0);
                rotation.turn(first + i, k, self.attend.d_head, 0, 1.0);
            }
        }
    }

    /// Attention and the output matrix, `[tokens, d_model]` in pieces of a block of queries; `finish` is told
    /// the first token.
    fn attended(
        &self,
        w: Widths,
        qkv: &[f32],
        finish: impl Fn(usize, &[f32], &mut [f32]) + Sync,
    ) -> Result<Vec<f32>> {
        let (attend, product) = (&self.attend, Product::forward(&self.out)?);
        let (inputs, blocks) = (w.inputs(qkv), attend.all_blocks());
        let (keys, len) = (attend.turned_keys(&inputs), attend.tokens_a_row());
        let sizes: Vec<usize> = blocks.iter().map(|(_, queries)| queries.len() * w.d).collect();
        let (z_width, spare) = (product.widths().0, Spare::<Space>::default());
        Ok(pieces(&sizes, |i, y| {
            let (row, queries) = &blocks[i];
            let n = queries.len();
            spare.with(|s| {
                let (z, out) = (space(&mut s.z, n * z_width), space(&mut s.out, n * w.d));
                attend.block(&inputs, &keys, *row, queries, &mut s.p, z);
                product.rows(Mat::new(z, n, z_width), WriteMode::Overwrite, out, w.d, 0);
                finish(row * len + queries.start, out, y);
            });
        }))
    }

    fn forward(&self, x: &[f32]) -> Result<Vec<f32>> {
        let (w, norms, join) = (self.widths()?, self.qk_norms()?, self.join.numbers()?);
        let qkv = self.project(x, |first, qkv| self.prepare(w, norms.as_ref(), first, qkv))?;
        self.attended(w, &qkv, |first, out, y| join.rows(out, &x[first * w.d..][..y.len()], y))
    }

    fn forward_saving(&self, x: &[f32]) -> Result<(Vec<f32>, SavedForward)> {
        let (w, norms, join) = (self.widths()?, self.qk_norms()?, self.join.numbers()?);
        let (raw, qkv) = match &norms {
            None => (Vec::new(), self.project(x, |first, qkv| self.prepare(w, None, first, qkv))?),
            Some(norms) => {
                let raw = self.project(x, |_, _| {})?;
                let qkv = equal_pieces(raw.len(), TOKENS * w.all(), |i, qkv| {
                    qkv.copy_from_slice(&raw[i * TOKENS * w.all()..][..qkv.len()]);
                    self.prepare(w, Some(norms), i * TOKENS, qkv);
                });
                (raw, qkv)
            }
        };
        let join_rows = |join: &Joining<'_>, first: usize, out: &[f32], y: &mut [f32]| {
            join.rows(out, &x[first * w.d..][..y.len()], y);
        };
        if !join.reads_out() {
            let y = self.attended(w, &qkv, |first, out, y| join_rows(&join, first, out, y))?;
            return Ok((y, SavedForward { qkv, raw, out: Vec::new() }));
        }
        let out = self.attended(w, &qkv, |_, out, y| y.copy_from_slice(out))?;
        let y = equal_pieces(x.len(), TOKENS * w.d, |i, y| {
            join_rows(&join, i * TOKENS, &out[i * TOKENS * w.d..][..y.len()], y);
        });
        Ok((y, SavedForward { qkv, raw, out }))
    }

    /// The gradient of x where that of the result is `g`.
    fn backward(&self, x: &[f32], g: &[f32], saved: &SavedForward) -> Result<Vec<f32>> {
        let w = self.widths()?;
        let dz = self.z_back(w, g, &saved.out)?;
        let gradients = self.attend.backward(&w.inputs(&saved.qkv), &dz);
        let (norm, norms) = (InputNorm::of(self.norm.as_ref())?, self.qk_norms()?);
        let [q, k, v] = &self.qkv;
        let products = [Product::back(q)?, Product::back(k)?, Product::back(v)?];
        let spare = Spare::<Space>::default();
        Ok(equal_pieces(x.len(), TOKENS * w.d, |i, dx| {
            let (first, rows) = (i * TOKENS, dx.len() / w.d);
            spare.with(|s| {
                let d_qkv = space(&mut s.qkv, rows * w.all());
                d_qkv.fill(0.0);
                for (j, row) in d_qkv.chunks_exact_mut(w.all()).enumerate() {
                    let (q, rest) = row.split_at_mut(w.q);
                    let (k, v) = rest.split_at_mut(w.k);
                    gradients.add_to(first + j, q, k, v);
                    self.prepare_back(norms.as_ref(), first + j, w, &saved.raw, [q, k], &mut s.row);
                }
                let d_normed = space(&mut s.normed, rows * w.d);
                for (n, (product, at)) in products.iter().zip(w.starts()).enumerate() {
                    let part = Mat::strided(&d_qkv[at..], rows, product.widths().0, w.all());
                    let mode = if n == 0 { WriteMode::Overwrite } else { WriteMode::Add };
                    product.rows(part, mode, d_normed, w.d, 0);
                }
                dx.copy_from_slice(&g[first * w.d..][..dx.len()]);
                let x = &x[first * w.d..][..dx.len()];
                for ((x, g), dx) in
                    x.chunks_exact(w.d).zip(d_normed.chunks_exact(w.d)).zip(dx.chunks_exact_mut(w.d))
                {
                    norm.row_back(x, g, dx);
                }
            });
        }))
    }

    /// The gradient of z, `[tokens, heads · d_value]`.
    fn z_back(&self, w: Widths, g: &[f32], out: &[f32]) -> Result<Vec<f32>> {
        let (product, join) = (Product::back(&self.out)?, self.join.numbers()?);
        let (width, spare) = (product.widths().1, Spare::<Space>::default());
        Ok(equal_pieces(g.len() / w.d * width, TOKENS * width, |i, dz| {
            let rows = dz.len() / width;
            let part = i * TOKENS * w.d..(i * TOKENS + rows) * w.d;
            spare.with(|s| {
                let d_out = space(&mut s.out, rows * w.d);
                let out = if join.reads_out() { &out[part.clone()] } else { &[][..] };
                join.rows_back(out, &g[part.clone()], d_out);
                product.rows(Mat::new(d_out, rows, w.d), WriteMode::Overwrite, dz, width, 0);
            });
        }))
    }

    /// Turns gradients of a token's queries and keys into those before rotation and norm.
    fn prepare_back(
        &self,
        norms: Option<&[RowNorm<'_>; 2]>,
        token: usize,
        w: Widths,
        raw: &[f32],
        qk: [&mut [f32]; 2],
        row: &mut Vec<f32>,
    ) {
        for (part, dx) in qk.into_iter().enumerate() {
            if let Some(rotation) = &self.rotation {
                rotation.turn(token, dx, self.attend.d_head, 0, -1.0);
            }
            let Some(norm) = norms.map(|norms| &norms[part]) else { continue };
            let x = &raw[token * w.all() + w.starts()[part]..][..dx.len()];
            let g = space(row, dx.len());
            g.copy_from_slice(dx);
            dx.fill(0.0);
            let n = norm.width();
            for ((x, g), dx) in x.chunks_exact(n).zip(g.chunks_exact(n)).zip(dx.chunks_exact_mut(n)) {
                norm.row_back(x, g, dx);
            }
        }
    }
}

struct Op {
    branch: AttentionBranch,
    /// None if nobody will ask for the gradient.
    saved: Option<Mutex<SavedForward>>,
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "attention-branch"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        let y = match &self.saved {
            None => self.branch.forward(x)?,
            Some(place) => {
                let (y, saved) = self.branch.forward_saving(x)?;
                *place.lock().unwrap_or_else(PoisonError::into_inner) = saved;
                y
            }
        };
        Ok((CpuStorage::F32(y), layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some(place) = &self.saved else { return Ok(None) };
        let saved = place.lock().unwrap_or_else(PoisonError::into_inner);
        let (x_numbers, g) = (Numbers::of(x)?, grad.contiguous()?);
        let dx = self.branch.backward(&x_numbers, &Numbers::of(&g)?, &saved)?;
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

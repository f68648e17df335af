//! The MLP branch: `base + scale · norm(W_down act(W_up norm(x)))`.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Layout, Result, Shape, Tensor};

use super::super::load::{Linear, Norm};
use super::super::ops::{Numbers, RowActivation, TOKENS, slice};
use super::parts::{InputNorm, Join, Joining, Product, space};
use kernels::gemm::{Mat, WriteMode};
use kernels::pieces::equal_pieces;
use kernels::spare::Spare;

/// The branch with its weights.
#[derive(Debug, Clone)]
pub struct MlpBranch {
    pub norm: Option<Norm>,
    /// Gate and up in one, or up.
    pub up: Linear,
    pub activation: RowActivation,
    pub down: Linear,
    pub join: Join,
}

/// What the backward pass reads of the forward pass.
#[derive(Debug, Default)]
struct SavedForward {
    /// Before the activation, `[tokens, hidden]` or `[tokens, 2 · hidden]`.
    up: Vec<f32>,
    /// Before the branch's last norm, if it has one, `[tokens, d_model]`.
    out: Vec<f32>,
}

/// Buffers of a task.
#[derive(Default)]
struct Space {
    normed: Vec<f32>,
    up: Vec<f32>,
    post: Vec<f32>,
    out: Vec<f32>,
    steps: Vec<f32>,
}

/// Its numbers, the matrices packed for the forward pass.
struct Parts<'a> {
    norm: InputNorm<'a>,
    up: Product<'a>,
    activation: RowActivation,
    down: Product<'a>,
    join: Joining<'a>,
    widths: Widths,
}

/// Numbers of a token: in the stream, after W_up, before W_down.
#[derive(Clone, Copy)]
struct Widths {
    d: usize,
    wide: usize,
    hidden: usize,
}

impl Parts<'_> {
    /// Rows of the stream → rows before the activation.
    fn to_up(&self, x: &[f32], normed: &mut Vec<f32>, up: &mut [f32]) {
        let Widths { d, wide, .. } = self.widths;
        let normed = space(normed, x.len());
        self.norm.rows(x, normed);
        self.up.rows(Mat::new(normed, x.len() / d, d), WriteMode::Overwrite, up, wide, 0);
    }

    /// Rows before the activation → rows of output.
    fn to_out(&self, up: &[f32], post: &mut Vec<f32>, out: &mut [f32]) {
        let Widths { d, wide, hidden } = self.widths;
        let rows = up.len() / wide;
        let post = space(post, rows * hidden);
        for (up, post) in up.chunks_exact(wide).zip(post.chunks_exact_mut(hidden)) {
            self.activation.row(up, post);
        }
        self.down.rows(Mat::new(post, rows, hidden), WriteMode::Overwrite, out, d, 0);
    }

    /// Everything at once.
    fn forward(&self, x: &[f32], base: &[f32]) -> Vec<f32> {
        let (Widths { d, wide, .. }, spare) = (self.widths, Spare::<Space>::default());
        equal_pieces(x.len(), TOKENS * d, |i, y| {
            let rows = i * TOKENS * d..i * TOKENS * d + y.len();
            spare.with(|s| {
                let (up, out) = (space(&mut s.up, y.len() / d * wide), space(&mut s.out, y.len()));
                self.to_up(&x[rows.clone()], &mut s.normed, up);
                self.to_out(up, &mut s.post, out);
                self.join.rows(out, &base[rows], y);
            });
        })
    }

    /// The same step by step, what the backward pass reads kept.
    fn forward_saving(&self, x: &[f32], base: &[f32]) -> (Vec<f32>, SavedForward) {
        let (Widths { d, wide, .. }, spare) = (self.widths, Spare::<Space>::default());
        let part = |i: usize, width: usize, n: usize| i * TOKENS * width..i * TOKENS * width + n;
        let up = equal_pieces(x.len() / d * wide, TOKENS * wide, |i, up| {
            spare.with(|s| self.to_up(&x[part(i, d, up.len() / wide * d)], &mut s.normed, up));
        });
        let up_of = |i: usize, n: usize| &up[part(i, wide, n / d * wide)];
        if !self.join.reads_out() {
            let y = equal_pieces(x.len(), TOKENS * d, |i, y| {
                spare.with(|s| {
                    let out = space(&mut s.out, y.len());
                    self.to_out(up_of(i, y.len()), &mut s.post, out);
                    self.join.rows(out, &base[part(i, d, y.len())], y);
                });
            });
            return (y, SavedForward { up, out: Vec::new() });
        }
        let out = equal_pieces(x.len(), TOKENS * d, |i, out| {
            spare.with(|s| self.to_out(up_of(i, out.len()), &mut s.post, out));
        });
        let y = equal_pieces(x.len(), TOKENS * d, |i, y| {
            let rows = part(i, d, y.len());
            self.join.rows(&out[rows.clone()], &base[rows], y);
        });
        (y, SavedForward { up, out })
    }
}

impl MlpBranch {
    /// `x [.., d_model]` → x and the branch's output added.
    ///
    /// # Errors
    /// An `x` of a different width than the weights, or tensors that are not f32 on the CPU.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        let saved = x.track_op().then(Mutex::default);
        x.contiguous()?.apply_op1(Op { branch: self, saved })
    }

    /// Reads `x` and adds to `base`.
    ///
    /// # Errors
    /// As [`MlpBranch::apply`], and a `base` of a different shape than `x`.
    pub fn apply_onto(self, x: &Tensor, base: &Tensor) -> Result<Tensor> {
        let saved = x.track_op().then(Mutex::default);
        x.contiguous()?.apply_op2(&base.contiguous()?, OntoBase(Op { branch: self, saved }))
    }

    fn widths(&self) -> Result<Widths> {
        let (wide, d) = self.up.weight.dims2()?;
        Ok(Widths { d, wide, hidden: self.down.weight.dim(1)? })
    }

    fn parts(&self) -> Result<Parts<'_>> {
        Ok(Parts {
            norm: InputNorm::of(self.norm.as_ref())?,
            up: Product::forward(&self.up)?,
            activation: self.activation,
            down: Product::forward(&self.down)?,
            join: self.join.numbers()?,
            widths: self.widths()?,
        })
    }

    /// The gradient that reaches x through the branch, where that of the result is `g`; with `and_g`, g
    /// itself added to it.
    fn backward(&self, x: &[f32], g: &[f32], saved: &SavedForward, and_g: bool) -> Result<Vec<f32>> {
        let (norm, join) = (InputNorm::of(self.norm.as_ref())?, self.join.numbers()?);
        let (up, down) = (Product::back(&self.up)?, Product::back(&self.down)?);
        let (Widths { d, wide, hidden }, spare) = (self.widths()?, Spare::<Space>::default());
        Ok(equal_pieces(x.len(), TOKENS * d, |i, dx| {
            let (from, rows) = (i * TOKENS, dx.len() / d);
            let part = |width: usize| from * width..(from + rows) * width;
            spare.with(|s| {
                let d_out = space(&mut s.out, rows * d);
                let out = if join.reads_out() { &saved.out[part(d)] } else { &[][..] };
                join.rows_back(out, &g[part(d)], d_out);
                let d_post = space(&mut s.post, rows * hidden);
                down.rows(Mat::new(d_out, rows, d), WriteMode::Overwrite, d_post, hidden, 0);
                let (d_up, steps) = (space(&mut s.up, rows * wide), space(&mut s.steps, hidden));
                let before = saved.up[part(wide)].chunks_exact(wide);
                for ((before, g), d_up) in
                    before.zip(d_post.chunks_exact(hidden)).zip(d_up.chunks_exact_mut(wide))
                {
                    self.activation.row_back(before, g, steps, d_up);
                }
                let d_normed = space(&mut s.normed, rows * d);
                up.rows(Mat::new(d_up, rows, wide), WriteMode::Overwrite, d_normed, d, 0);
                let (x, g) = (&x[part(d)], &g[part(d)]);
                if and_g {
                    dx.copy_from_slice(g);
                }
                for ((x, g), dx) in
                    x.chunks_exact(d).zip(d_normed.chunks_exact(d)).zip(dx.chunks_exact_mut(d))
                {
                    norm.row_back(x, g, dx);
                }
            });
        }))
    }
}

struct Op {
    branch: MlpBranch,
    /// None if nobody will ask for the gradient.
    saved: Option<Mutex<SavedForward>>,
}

/// The branch reads one stream and is added to another.
struct OntoBase(Op);

impl Op {
    fn forward(&self, x: &[f32], base: &[f32]) -> Result<CpuStorage> {
        let parts = self.branch.parts()?;
        let Some(place) = &self.saved else { return Ok(CpuStorage::F32(parts.forward(x, base))) };
        let (y, saved) = parts.forward_saving(x, base);
        *place.lock().unwrap_or_else(PoisonError::into_inner) = saved;
        Ok(CpuStorage::F32(y))
    }

    fn backward(&self, x: &Tensor, g: &Tensor, and_g: bool) -> Result<Option<Tensor>> {
        let Some(place) = &self.saved else { return Ok(None) };
        let saved = place.lock().unwrap_or_else(PoisonError::into_inner);
        let (x_numbers, g) = (Numbers::of(x)?, g.contiguous()?);
        let dx = self.branch.backward(&x_numbers, &Numbers::of(&g)?, &saved, and_g)?;
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "mlp-branch"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let x = slice(x, layout)?;
        Ok((self.forward(x, x)?, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        self.backward(x, grad, true)
    }
}

impl CustomOp2 for OntoBase {
    fn name(&self) -> &'static str {
        "mlp-branch-beside"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        layout: &Layout,
        base: &CpuStorage,
        base_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.0.forward(slice(x, layout)?, slice(base, base_layout)?)?;
        Ok((y, layout.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((self.0.backward(x, grad, false)?, Some(grad.clone())))
    }
}

//! The experts of a mixture-of-experts layer: gated MLPs, each run on the tokens that chose it.
//!
//! Expert e maps a token x to `W_down,e (silu(W_gate,e x) ∘ W_up,e x)`. Tokens arrive sorted by expert, one row a choice; what is
//! kept between passes is nothing, the hidden layer is computed again for the gradient.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::{slice, with_slice};
use crate::kernels::gemm::{Into, Mat, MatMut, gemm};

/// Which choices go to which expert: choice `order[i]` is the i-th row of the sorted inputs.
#[derive(Debug, Clone)]
pub struct Dispatch {
    /// Choices `token · k + rank`, sorted by expert, then by number.
    pub order: Vec<u32>,
    /// Rows `offsets[e]..offsets[e + 1]` belong to expert e.
    pub offsets: Arc<Vec<usize>>,
}

impl Dispatch {
    /// From the experts of every choice, `[tokens · k]`, all below `experts`.
    pub fn new(choices: &[u32], experts: usize) -> Self {
        let mut offsets = vec![0; experts + 1];
        for &e in choices {
            offsets[e as usize + 1] += 1;
        }
        for e in 0..experts {
            offsets[e + 1] += offsets[e];
        }
        let mut next = offsets.clone();
        let mut order = vec![0; choices.len()];
        for (choice, &e) in choices.iter().enumerate() {
            order[next[e as usize]] = choice as u32;
            next[e as usize] += 1;
        }
        Self { order, offsets: Arc::new(offsets) }
    }
}

struct Experts {
    offsets: Arc<Vec<usize>>,
}

/// `x [choices, d]` sorted by expert, `gate_up [experts, 2 · hidden, d]` (gate rows first), `down [experts, d, hidden]` → `[choices, d]`.
pub fn experts(x: &Tensor, gate_up: &Tensor, down: &Tensor, dispatch: &Dispatch) -> Result<Tensor> {
    let (e, twice, d) = gate_up.dims3()?;
    let rows = dispatch.offsets.last().copied().unwrap_or(0);
    if x.dims() != [rows, d] || down.dims() != [e, d, twice / 2] || dispatch.offsets.len() != e + 1 {
        candle_core::bail!("experts of x {:?}, gate_up {:?}, down {:?}", x.dims(), gate_up.dims(), down.dims());
    }
    let op = Experts { offsets: dispatch.offsets.clone() };
    x.contiguous()?.apply_op3(&gate_up.contiguous()?, &down.contiguous()?, op)
}

/// One expert's share of the operands.
struct One<'a> {
    rows: usize,
    d: usize,
    hidden: usize,
    x: &'a [f32],
    gate_up: &'a [f32],
    down: &'a [f32],
}

impl One<'_> {
    fn x(&self) -> Mat<'_> {
        Mat::new(self.x, self.rows, self.d)
    }

    fn gate_up(&self) -> Mat<'_> {
        Mat::new(self.gate_up, 2 * self.hidden, self.d)
    }

    fn down(&self) -> Mat<'_> {
        Mat::new(self.down, self.d, self.hidden)
    }

    /// Gate and up values `[rows, 2 · hidden]`.
    fn gate_up_values(&self) -> Vec<f32> {
        let mut values = vec![0.0; self.rows * 2 * self.hidden];
        let out = MatMut::new(&mut values, self.rows, 2 * self.hidden);
        gemm(self.x(), self.gate_up().t(), 1.0, Into::Overwrite, out);
        values
    }

    /// `silu(gate) ∘ up`, `[rows, hidden]`.
    fn hidden(&self, gate_up: &[f32]) -> Vec<f32> {
        let mut h = vec![0.0; self.rows * self.hidden];
        for (h, v) in h.chunks_exact_mut(self.hidden).zip(gate_up.chunks_exact(2 * self.hidden)) {
            let (gate, up) = v.split_at(self.hidden);
            h.iter_mut().zip(gate).zip(up).for_each(|((h, g), u)| *h = g * sigmoid(*g) * u);
        }
        h
    }

    fn forward(&self, y: &mut [f32]) {
        let h = self.hidden(&self.gate_up_values());
        let h = Mat::new(&h, self.rows, self.hidden);
        gemm(h, self.down().t(), 1.0, Into::Overwrite, MatMut::new(y, self.rows, self.d));
    }

    // With g the gradient of y = h W_downᵀ:  dW_down = gᵀ h,  dh = g W_down;
    // with a the gate, u the up value:  da = dh u σ(a)(1 + a(1 − σ(a))),  du = dh a σ(a);
    // dW_gate_up = [da du]ᵀ x,  dx = [da du] W_gate_up.
    fn backward(&self, g: &[f32], dx: &mut [f32], d_gate_up: &mut [f32], d_down: &mut [f32]) {
        let mut values = self.gate_up_values();
        let h = self.hidden(&values);
        let g = Mat::new(g, self.rows, self.d);
        let out = MatMut::new(d_down, self.d, self.hidden);
        gemm(g.t(), Mat::new(&h, self.rows, self.hidden), 1.0, Into::Overwrite, out);
        let mut dh = h;
        gemm(g, self.down(), 1.0, Into::Overwrite, MatMut::new(&mut dh, self.rows, self.hidden));
        for (v, dh) in values.chunks_exact_mut(2 * self.hidden).zip(dh.chunks_exact(self.hidden)) {
            let (gate, up) = v.split_at_mut(self.hidden);
            for ((a, u), dh) in gate.iter_mut().zip(up).zip(dh) {
                let s = sigmoid(*a);
                (*a, *u) = (dh * *u * s * (1.0 + *a * (1.0 - s)), dh * *a * s);
            }
        }
        let d_values = Mat::new(&values, self.rows, 2 * self.hidden);
        let out = MatMut::new(d_gate_up, 2 * self.hidden, self.d);
        gemm(d_values.t(), self.x(), 1.0, Into::Overwrite, out);
        gemm(d_values, self.gate_up(), 1.0, Into::Overwrite, MatMut::new(dx, self.rows, self.d));
    }
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// Cuts `x` at `offsets · width` into one mutable piece an expert.
fn pieces<'a>(mut x: &'a mut [f32], offsets: &[usize], width: usize) -> Vec<&'a mut [f32]> {
    let cut = |w: &[usize]| {
        let (piece, rest) = std::mem::take(&mut x).split_at_mut((w[1] - w[0]) * width);
        x = rest;
        piece
    };
    offsets.windows(2).map(cut).collect()
}

impl Experts {
    fn one<'a>(&self, e: usize, x: &'a [f32], gate_up: &'a [f32], down: &'a [f32]) -> One<'a> {
        let experts = self.offsets.len() - 1;
        let (rows, total) = (self.offsets[e + 1] - self.offsets[e], self.offsets[experts]);
        let d = x.len().checked_div(total).unwrap_or(0);
        let size = down.len() / experts;
        One {
            rows,
            d,
            hidden: size.checked_div(d).unwrap_or(0),
            x: &x[self.offsets[e] * d..self.offsets[e + 1] * d],
            gate_up: &gate_up[e * 2 * size..(e + 1) * 2 * size],
            down: &down[e * size..(e + 1) * size],
        }
    }
}

impl CustomOp3 for Experts {
    fn name(&self) -> &'static str {
        "experts"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        gate_up: &CpuStorage,
        lg: &Layout,
        down: &CpuStorage,
        ld: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, gate_up, down) = (slice(x, lx)?, slice(gate_up, lg)?, slice(down, ld)?);
        let (_, d) = lx.shape().dims2()?;
        let mut y = vec![0.0; x.len()];
        pieces(&mut y, &self.offsets, d).into_par_iter().enumerate().filter(|(_, y)| !y.is_empty()).for_each(
            |(e, y)| {
                self.one(e, x, gate_up, down).forward(y);
            },
        );
        Ok((CpuStorage::F32(y), lx.shape().clone()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        gate_up: &Tensor,
        down: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (_, d) = x.dims2()?;
        let size = down.elem_count() / (self.offsets.len() - 1);
        let mut dx = vec![0.0; x.elem_count()];
        let (mut d_gate_up, mut d_down) = (vec![0.0; gate_up.elem_count()], vec![0.0; down.elem_count()]);
        let mut run = |x: &[f32], gate_up: &[f32], down: &[f32], g: &[f32]| {
            pieces(&mut dx, &self.offsets, d)
                .into_par_iter()
                .zip(d_gate_up.par_chunks_mut(2 * size))
                .zip(d_down.par_chunks_mut(size))
                .enumerate()
                .filter(|(_, ((dx, _), _))| !dx.is_empty())
                .for_each(|(e, ((dx, d_gate_up), d_down))| {
                    let g = &g[self.offsets[e] * d..self.offsets[e + 1] * d];
                    self.one(e, x, gate_up, down).backward(g, dx, d_gate_up, d_down);
                });
        };
        with_slice(x, |x| {
            with_slice(gate_up, |gu| with_slice(down, |w| with_slice(grad, |g| run(x, gu, w, g))))
        })????;
        let tensor = |numbers, like: &Tensor| Tensor::from_vec(numbers, like.dims(), like.device()).map(Some);
        Ok((tensor(dx, x)?, tensor(d_gate_up, gate_up)?, tensor(d_down, down)?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agree, normal};
    use super::*;

    #[test]
    fn dispatch_sorts_choices_by_expert() {
        let d = Dispatch::new(&[2, 0, 2, 3, 0, 2], 5);
        assert_eq!(d.order, [1, 4, 0, 2, 5, 3]);
        assert_eq!(*d.offsets, [0, 2, 2, 5, 6, 6]);
    }

    #[test]
    fn agrees_with_the_composed_form_and_leaves_idle_experts_without_gradient() {
        let (e, hidden, d) = (4, 6, 5);
        let dispatch = Dispatch::new(&[3, 0, 0, 3, 2, 0, 3], e);
        let x = normal(&[7, d], 1);
        let (gate_up, down) = (normal(&[e, 2 * hidden, d], 2), normal(&[e, d, hidden], 3));
        let fused = experts(&x, &gate_up, &down, &dispatch).unwrap();
        let parts: Vec<Tensor> = (0..e)
            .filter(|&i| dispatch.offsets[i + 1] > dispatch.offsets[i])
            .map(|i| {
                let rows = dispatch.offsets[i + 1] - dispatch.offsets[i];
                let x = x.narrow(0, dispatch.offsets[i], rows).unwrap();
                let v = x.matmul(&gate_up.get(i).unwrap().t().unwrap()).unwrap();
                let gate = v.narrow(1, 0, hidden).unwrap();
                let h = (gate.silu().unwrap() * v.narrow(1, hidden, hidden).unwrap()).unwrap();
                h.matmul(&down.get(i).unwrap().t().unwrap()).unwrap()
            })
            .collect();
        let composed = Tensor::cat(&parts, 0).unwrap();
        agree(&[&x, &gate_up, &down], &fused, &composed, 1e-5);
    }
}

//! Dense and grouped products with weight matrices: `y = x Wᵀ`, every row with the matrix of its group.
//!
//! candle's matmul computes the gradient of both factors; here the weights' is computed only when somebody
//! asks for it, which is half the work and all the memory of a backward pass through a frozen model.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};
use rayon::prelude::*;

use super::super::compute::{Rounded, multiply_rounded};
use super::{slice, with_slice};
use kernels::bf16::Panels;
use kernels::few::few_rows;
use kernels::gemm::{Mat, MatMut, WriteMode, gemm};
use kernels::pieces::equal_pieces;
use kernels::product::{RightFactor, multiply, panels};

/// Rows of a weight's gradient that one task computes.
const GRADIENT_ROWS: usize = 64;

/// Rows a task computes, between these; packing the weights anew for each task is then a small part of its
/// work.
const TASK_ROWS: (usize, usize) = (16, 256);
/// Into how many tasks a product is cut at least, if its rows suffice: a number that does not depend on the
/// machine.
const TASKS: usize = 8;

/// Rows of a task of a product with one matrix, which is packed once for all tasks; with fewer rows than this
/// packing does not pay.
pub(in crate::model) const TOKENS: usize = 96;

#[derive(Clone)]
struct Linear {
    /// Rows `offsets[g]..offsets[g + 1]` belong to group g.
    offsets: Arc<Vec<usize>>,
    input: usize,
    output: usize,
    rounded: Option<Rounded>,
}

/// `x [.., in]`, `weight [out, in]`, `bias [out]` → `[.., out]`.
///
/// # Errors
/// Widths that differ; tensors that are not f32 on the CPU.
pub fn linear(x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    linear_in(x, weight, bias, None)
}

/// As [`linear`], with x and the weight in bfloat16 if `rounded` keeps the latter; gradients are those of single precision.
///
/// # Errors
/// As [`linear`].
pub fn linear_in(
    x: &Tensor,
    weight: &Tensor,
    bias: Option<&Tensor>,
    rounded: Option<&Rounded>,
) -> Result<Tensor> {
    let (output, input) = weight.dims2()?;
    let rows = x.elem_count() / input.max(1);
    if x.dims().last() != Some(&input) {
        candle_core::bail!("linear of x {:?} with {:?}", x.dims(), weight.dims());
    }
    let op = Linear { offsets: Arc::new(vec![0, rows]), input, output, rounded: rounded.cloned() };
    let y = x.contiguous()?.apply_op2(&weight.contiguous()?, op)?;
    match bias {
        Some(bias) => y.broadcast_add(bias),
        None => Ok(y),
    }
}

/// `x [rows, in]` sorted by group, `weight [groups, out, in]`, rows `offsets[g]..offsets[g + 1]` in group g →
/// `[rows, out]`; in bfloat16 if `rounded` keeps the weight in that.
///
/// # Errors
/// Widths that differ; offsets that are not those of `groups` groups of all rows.
pub fn grouped_linear(
    x: &Tensor,
    weight: &Tensor,
    offsets: &Arc<Vec<usize>>,
    rounded: Option<&Rounded>,
) -> Result<Tensor> {
    let (groups, output, input) = weight.dims3()?;
    let rows = offsets.last().copied().unwrap_or(0);
    if x.dims() != [rows, input] || offsets.len() != groups + 1 {
        candle_core::bail!("grouped product of x {:?} with {:?}", x.dims(), weight.dims());
    }
    let op = Linear { offsets: offsets.clone(), input, output, rounded: rounded.cloned() };
    x.contiguous()?.apply_op2(&weight.contiguous()?, op)
}

/// `x [rows, k]` times `right [k, n]`, with all threads.
fn rows_times(x: &[f32], right: Mat<'_>) -> Vec<f32> {
    let (k, n) = right.shape();
    let packed = panels(right);
    let right = RightFactor::packed(right, &packed);
    let rows = x.len() / k.max(1);
    equal_pieces(rows * n, TOKENS * n, |i, out| {
        let rows = out.len() / n;
        let x = Mat::new(&x[i * TOKENS * k..], rows, k);
        multiply(x, &right, 1.0, WriteMode::Overwrite, MatMut::new(out, rows, n));
    })
}

/// Some rows of one group.
struct Task<'a> {
    group: usize,
    first: usize,
    rows: usize,
    out: &'a mut [f32],
}

impl Linear {
    fn rows(&self) -> usize {
        self.offsets.last().copied().unwrap_or(0)
    }

    /// Cuts an output of `width` numbers per row into tasks.
    fn tasks<'a>(&self, mut out: &'a mut [f32], width: usize) -> Vec<Task<'a>> {
        let most = self.rows().div_ceil(TASKS).next_multiple_of(16).clamp(TASK_ROWS.0, TASK_ROWS.1);
        let mut tasks = Vec::new();
        for (group, range) in self.offsets.windows(2).enumerate() {
            for first in (range[0]..range[1]).step_by(most) {
                let rows = most.min(range[1] - first);
                let (piece, rest) = out.split_at_mut(rows * width);
                out = rest;
                tasks.push(Task { group, first, rows, out: piece });
            }
        }
        tasks
    }

    fn weight<'a>(&self, weight: &'a [f32], group: usize) -> Mat<'a> {
        let size = self.input * self.output;
        Mat::new(&weight[group * size..(group + 1) * size], self.output, self.input)
    }

    fn one_matrix(&self) -> bool {
        self.offsets.len() == 2 && self.rows() >= TOKENS
    }

    fn forward(&self, x: &[f32], weight: &[f32]) -> Vec<f32> {
        if let Some(rounded) = &self.rounded {
            return self.forward_rounded(x, rounded.panels(weight, (self.output, self.input)));
        }
        if self.offsets.len() == 2 {
            let right = self.weight(weight, 0).t();
            return match self.one_matrix() {
                true => rows_times(x, right),
                false => few_rows(Mat::new(x, self.rows(), self.input), right),
            };
        }
        let mut y = vec![0.0; self.rows() * self.output];
        self.tasks(&mut y, self.output).into_par_iter().for_each(|t| {
            let x = Mat::new(&x[t.first * self.input..], t.rows, self.input);
            let out = MatMut::new(t.out, t.rows, self.output);
            gemm(x, self.weight(weight, t.group).t(), 1.0, WriteMode::Overwrite, out);
        });
        y
    }

    fn forward_rounded(&self, x: &[f32], panels: &[Panels]) -> Vec<f32> {
        let mut y = vec![0.0; self.rows() * self.output];
        self.tasks(&mut y, self.output).into_par_iter().for_each(|t| {
            let x = Mat::new(&x[t.first * self.input..], t.rows, self.input);
            let out = MatMut::new(t.out, t.rows, self.output);
            multiply_rounded(x, &panels[t.group], WriteMode::Overwrite, out);
        });
        y
    }

    /// `dx = g W`.
    fn backward_x(&self, weight: &[f32], g: &[f32]) -> Vec<f32> {
        if self.one_matrix() {
            return rows_times(g, self.weight(weight, 0));
        }
        let mut dx = vec![0.0; self.rows() * self.input];
        self.tasks(&mut dx, self.input).into_par_iter().for_each(|t| {
            let g = Mat::new(&g[t.first * self.output..], t.rows, self.output);
            let out = MatMut::new(t.out, t.rows, self.input);
            gemm(g, self.weight(weight, t.group), 1.0, WriteMode::Overwrite, out);
        });
        dx
    }

    /// `dW = gᵀ x`, group by group.
    fn backward_weight(&self, x: &[f32], g: &[f32]) -> Vec<f32> {
        let groups = self.offsets.len() - 1;
        let mut dw = vec![0.0; groups * self.output * self.input];
        if dw.is_empty() {
            return dw;
        }
        dw.par_chunks_mut(self.output * self.input).enumerate().for_each(|(group, dw)| {
            let (first, end) = (self.offsets[group], self.offsets[group + 1]);
            if first == end {
                return;
            }
            dw.par_chunks_mut(GRADIENT_ROWS * self.input).enumerate().for_each(|(part, dw)| {
                let (at, rows) = (part * GRADIENT_ROWS, dw.len() / self.input);
                let g = Mat::strided(&g[first * self.output + at..], end - first, rows, self.output);
                let x = Mat::new(&x[first * self.input..], end - first, self.input);
                gemm(g.t(), x, 1.0, WriteMode::Overwrite, MatMut::new(dw, rows, self.input));
            });
        });
        dw
    }
}

impl CustomOp2 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        lx: &Layout,
        w: &CpuStorage,
        lw: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let y = self.forward(slice(x, lx)?, slice(w, lw)?);
        let mut shape = lx.dims().to_vec();
        if let Some(last) = shape.last_mut() {
            *last = self.output;
        }
        Ok((CpuStorage::F32(y), Shape::from(shape)))
    }

    fn bwd(
        &self,
        x: &Tensor,
        w: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let tensor = |numbers, like: &Tensor| Tensor::from_vec(numbers, like.dims(), like.device());
        let dx = match x.track_op() {
            true => Some(tensor(with_slice(w, |w| with_slice(grad, |g| self.backward_x(w, g)))??, x)?),
            false => None,
        };
        let dw = match w.track_op() {
            true => Some(tensor(with_slice(x, |x| with_slice(grad, |g| self.backward_weight(x, g)))??, w)?),
            false => None,
        };
        Ok((dx, dw))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agree, normal};
    use super::*;

    #[test]
    fn linear_agrees_with_candles_matmul() {
        let (x, w, b) = (normal(&[2, 70, 9], 1), normal(&[130, 9], 2), normal(&[130], 3));
        let ours = linear(&x, &w, Some(&b)).unwrap();
        let flat = x.reshape((140, 9)).unwrap().matmul(&w.t().unwrap()).unwrap();
        let candles = flat.broadcast_add(&b).unwrap().reshape((2, 70, 130)).unwrap();
        agree(&[&x, &w, &b], &ours, &candles, 1e-5);
    }

    #[test]
    fn grouped_agrees_with_a_product_a_group_and_leaves_idle_groups_without_gradient() {
        let offsets = Arc::new(vec![0usize, 40, 40, 47, 60]);
        let (x, w) = (normal(&[60, 5], 1), normal(&[4, 6, 5], 2));
        let ours = grouped_linear(&x, &w, &offsets, None).unwrap();
        let one = |g: usize| {
            let rows = x.narrow(0, offsets[g], offsets[g + 1] - offsets[g]).unwrap();
            rows.matmul(&w.get(g).unwrap().t().unwrap()).unwrap()
        };
        let candles = Tensor::cat(&[one(0), one(2), one(3)], 0).unwrap();
        agree(&[&x, &w], &ours, &candles, 1e-5);
    }

    /// The nearest number of 8 bits, ties to even, by arithmetic.
    fn nearest(x: f32) -> f64 {
        let x = f64::from(x);
        if x == 0.0 {
            return 0.0;
        }
        let unit = 2f64.powi(x.abs().log2().floor() as i32 - 7);
        (x / unit).round_ties_even() * unit
    }

    /// With one matrix and with groups, few rows and many.
    #[test]
    fn rounded_products_are_those_of_rounded_numbers() {
        for (rows, groups) in [(3, 1), (200, 1), (60, 3)] {
            let (input, output) = (37, 70);
            let (x, w) = (normal(&[rows, input], 1), normal(&[groups, output, input], 2));
            let offsets = Arc::new(match groups {
                1 => vec![0, rows],
                _ => vec![0, 7, 7, rows],
            });
            let rounded = Rounded::default();
            let found = grouped_linear(&x, &w, &offsets, Some(&rounded)).unwrap().to_vec2::<f32>().unwrap();
            let (x, w) = (x.to_vec2::<f32>().unwrap(), w.to_vec3::<f32>().unwrap());
            for (row, found) in found.iter().enumerate() {
                let group = offsets.windows(2).position(|range| (range[0]..range[1]).contains(&row)).unwrap();
                for (found, w) in found.iter().zip(&w[group]) {
                    let expected: f64 = x[row].iter().zip(w).map(|(x, w)| nearest(*x) * nearest(*w)).sum();
                    assert!((f64::from(*found) - expected).abs() < 1e-4, "{found} instead of {expected}");
                }
            }
            // The same rows alone: no row depends on the others.
            let last = Tensor::new(vec![x[rows - 1].clone()], &candle_core::Device::Cpu).unwrap();
            let mut alone = vec![0; groups + 1];
            alone[groups] = 1;
            let w = Tensor::new(w, &candle_core::Device::Cpu).unwrap();
            let alone = grouped_linear(&last, &w, &Arc::new(alone), Some(&rounded)).unwrap();
            assert_eq!(alone.to_vec2::<f32>().unwrap()[0], found[rows - 1]);
        }
    }

    #[test]
    fn frozen_weights_get_no_gradient() {
        let (x, w) = (normal(&[3, 5], 1), normal(&[4, 5], 2));
        let frozen = w.as_tensor().detach();
        let y = linear(&x, &frozen, None).unwrap();
        let grads = y.sum_all().unwrap().backward().unwrap();
        assert!(grads.get(x.as_tensor()).is_some() && grads.get(&frozen).is_none());
    }
}

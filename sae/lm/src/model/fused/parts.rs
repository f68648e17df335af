//! What both branches are made of: norms, products with packed weights, the sum with the residual stream.

use candle_core::Result;

use super::super::compute::multiply_rounded;
use super::super::load::{Linear, Norm};
use super::super::ops::Numbers;
use kernels::bf16::Panels;
use kernels::gemm::{Mat, MatMut, WriteMode};
use kernels::product::{RightFactor, multiply, panels};
use kernels::{exp, norm};

/// A norm's numbers.
pub struct RowNorm<'a> {
    gain: Numbers<'a>,
    bias: Option<Numbers<'a>>,
    eps: f32,
}

impl<'a> RowNorm<'a> {
    /// Borrows the numbers of `norm`.
    ///
    /// # Errors
    /// Weights that are not contiguous f32 on the CPU.
    pub fn of(norm: &'a Norm) -> Result<Self> {
        let bias = norm.bias.as_ref().map(Numbers::of).transpose()?;
        Ok(Self { gain: Numbers::of(&norm.gain)?, bias, eps: norm.eps as f32 })
    }

    /// Numbers that are normed together.
    pub fn width(&self) -> usize {
        self.gain.len()
    }

    pub fn row(&self, x: &[f32], y: &mut [f32]) {
        match &self.bias {
            None => norm::rms(x, &self.gain, self.eps, y),
            Some(bias) => norm::layer(x, &self.gain, bias, self.eps, y),
        }
    }

    /// Adds to `dx` the gradient where that of the result is `g`.
    pub fn row_back(&self, x: &[f32], g: &[f32], dx: &mut [f32]) {
        match &self.bias {
            None => {
                norm::rms_back(x, &self.gain, self.eps, g, dx);
            }
            Some(_) => norm::layer_back(x, &self.gain, self.eps, g, dx),
        }
    }

    /// All rows of `x`, forward.
    pub fn rows(&self, x: &[f32], y: &mut [f32]) {
        let d = self.width();
        x.chunks_exact(d).zip(y.chunks_exact_mut(d)).for_each(|(x, y)| self.row(x, y));
    }
}

/// The norm of a branch's input, if it has one.
pub struct InputNorm<'a>(Option<RowNorm<'a>>);

impl<'a> InputNorm<'a> {
    /// Borrows the numbers of `norm`, if there is one.
    ///
    /// # Errors
    /// Weights that are not contiguous f32 on the CPU.
    pub fn of(norm: Option<&'a Norm>) -> Result<Self> {
        Ok(Self(norm.map(RowNorm::of).transpose()?))
    }

    /// All rows of `x`, forward.
    pub fn rows(&self, x: &[f32], y: &mut [f32]) {
        match &self.0 {
            None => y.copy_from_slice(x),
            Some(norm) => norm.rows(x, y),
        }
    }

    /// Adds to `dx` the gradient where that of the result is `g`.
    pub fn row_back(&self, x: &[f32], g: &[f32], dx: &mut [f32]) {
        match &self.0 {
            None => norm::add(dx, 1.0, g),
            Some(norm) => norm.row_back(x, g, dx),
        }
    }
}

/// A weight matrix packed for one direction.
pub struct Product<'a> {
    weight: Numbers<'a>,
    bias: Option<Numbers<'a>>,
    shape: (usize, usize),
    factor: Factor<'a>,
    back: bool,
}

/// The packed matrix.
enum Factor<'a> {
    Single(Vec<f32>),
    Rounded(&'a Panels),
}

impl<'a> Product<'a> {
    /// For `y = x Wᵀ + b`.
    ///
    /// # Errors
    /// Weights that are not contiguous f32 on the CPU.
    pub fn forward(linear: &'a Linear) -> Result<Self> {
        let bias = linear.bias.as_ref().map(Numbers::of).transpose()?;
        Self::packed(linear, bias, false)
    }

    /// For `dx = g W`, in single precision whatever the forward pass is in.
    ///
    /// # Errors
    /// As [`Product::forward`].
    pub fn back(linear: &'a Linear) -> Result<Self> {
        Self::packed(linear, None, true)
    }

    fn packed(linear: &'a Linear, bias: Option<Numbers<'a>>, back: bool) -> Result<Self> {
        let weight = Numbers::of(&linear.weight)?;
        let factor = Factor::Single(Vec::new());
        let mut product = Self { weight, bias, shape: linear.weight.dims2()?, factor, back };
        product.factor = match &linear.rounded {
            Some(rounded) if !back => {
                let matrices = rounded.panels(&product.weight, product.shape);
                let one = matrices.first();
                Factor::Rounded(one.ok_or_else(|| candle_core::Error::msg("a weight without numbers"))?)
            }
            _ => Factor::Single(panels(product.mat())),
        };
        Ok(product)
    }

    fn mat(&self) -> Mat<'_> {
        let (output, input) = self.shape;
        let mat = Mat::new(&self.weight, output, input);
        if self.back { mat } else { mat.t() }
    }

    /// Numbers of a row that goes in and of one that comes out.
    pub fn widths(&self) -> (usize, usize) {
        self.mat().shape()
    }

    /// Columns `at..` of `out [rows, width]` become the product of `x [rows, in]`, the bias added, or it is
    /// added to them.
    pub fn rows(&self, x: Mat<'_>, mode: WriteMode, out: &mut [f32], width: usize, at: usize) {
        let (_, n) = self.widths();
        let rows = x.shape().0;
        let into = MatMut::strided(&mut out[at..], rows, n, width);
        match &self.factor {
            Factor::Single(panels) => multiply(x, &RightFactor::packed(self.mat(), panels), 1.0, mode, into),
            Factor::Rounded(panels) => multiply_rounded(x, panels, mode, into),
        }
        if let Some(bias) = &self.bias {
            out.chunks_exact_mut(width).for_each(|row| norm::add(&mut row[at..at + n], 1.0, bias));
        }
    }
}

/// How a branch joins the residual stream: `y = base + scale · norm(out)`.
#[derive(Debug, Clone)]
pub struct Join {
    pub norm: Option<Norm>,
    pub scale: f32,
}

/// Its numbers.
pub struct Joining<'a> {
    norm: Option<RowNorm<'a>>,
    scale: f32,
}

impl Join {
    /// Borrows the numbers.
    ///
    /// # Errors
    /// Weights that are not contiguous f32 on the CPU.
    pub fn numbers(&self) -> Result<Joining<'_>> {
        Ok(Joining { norm: self.norm.as_ref().map(RowNorm::of).transpose()?, scale: self.scale })
    }
}

impl Joining<'_> {
    /// Rows of `d` numbers: `y` from `base` and `out`.
    pub fn rows(&self, out: &[f32], base: &[f32], y: &mut [f32]) {
        match &self.norm {
            None => {
                y.copy_from_slice(base);
                norm::add(y, self.scale, out);
            }
            Some(norm_out) => {
                norm_out.rows(out, y);
                if self.scale != 1.0 {
                    exp::scale(y, self.scale);
                }
                norm::add(y, 1.0, base);
            }
        }
    }

    /// True if the backward pass reads what was normed.
    pub fn reads_out(&self) -> bool {
        self.norm.is_some()
    }

    /// The gradient of `out` where that of y is `g`; `out` is read only if [`Joining::reads_out`].
    pub fn rows_back(&self, out: &[f32], g: &[f32], d_out: &mut [f32]) {
        match &self.norm {
            None => d_out.copy_from_slice(g),
            Some(norm) => {
                let d = norm.width();
                d_out.fill(0.0);
                for ((out, g), d_out) in
                    out.chunks_exact(d).zip(g.chunks_exact(d)).zip(d_out.chunks_exact_mut(d))
                {
                    norm.row_back(out, g, d_out);
                }
            }
        }
        if self.scale != 1.0 {
            exp::scale(d_out, self.scale);
        }
    }
}

/// Space for `n` numbers, whatever they are.
pub fn space(buffer: &mut Vec<f32>, n: usize) -> &mut [f32] {
    if buffer.len() < n {
        buffer.resize(n, 0.0);
    }
    &mut buffer[..n]
}

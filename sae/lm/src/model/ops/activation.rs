//! Activation functions, alone or as the gate of an MLP, in one pass.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::{slice, with_slice};
use crate::model::config::Activation;
use kernels::pieces::equal_pieces;
use kernels::{exp, gate};

/// Rows of a task.
const CHUNK: usize = 64;

/// One row at a time, forward and back.
#[derive(Debug, Clone, Copy)]
pub(in crate::model) struct RowActivation {
    pub activation: Activation,
    /// The input is `[gate, up]` and the result `act(gate) ∘ up`.
    pub gated: bool,
}

/// `act(x)`, element by element.
///
/// # Errors
/// An `x` that is not f32 on the CPU.
pub fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    x.contiguous()?.apply_op1(RowActivation { activation, gated: false })
}

/// `act(gate) ∘ up` of `x [.., 2 · hidden]`, gate first → `[.., hidden]`.
///
/// # Errors
/// An `x` that is not f32 on the CPU, or whose last dimension is odd.
pub fn gated(x: &Tensor, activation: Activation) -> Result<Tensor> {
    x.contiguous()?.apply_op1(RowActivation { activation, gated: true })
}

/// Replaces each x by s(x), the sigmoid or normal distribution that the activation is x times of.
fn steps(activation: Activation, x: &[f32], s: &mut [f32]) {
    s.copy_from_slice(x);
    match activation {
        Activation::Silu => exp::sigmoid(s),
        Activation::GeluTanh => gate::gelu_steps(x, s),
        Activation::Gelu => gate::normal(s),
        Activation::Relu => s.iter_mut().for_each(|v| *v = if *v > 0.0 { 1.0 } else { 0.0 }),
        Activation::SquaredRelu => s.iter_mut().for_each(|v| *v = v.max(0.0)),
        Activation::ClampedSwiglu { alpha, limit } => {
            let (alpha, limit) = (alpha as f32, limit as f32);
            s.iter_mut().for_each(|v| *v = alpha * v.min(limit));
            exp::sigmoid(s);
        }
    }
}

/// d(x s)/dx, given x and s = s(x).
fn slope(activation: Activation, x: f32, s: f32) -> f32 {
    match activation {
        Activation::Silu => s * (1.0 + x * (1.0 - s)),
        Activation::GeluTanh => gate::gelu_slope(x, s),
        Activation::Gelu => s + x * (-0.5 * x * x).exp() * 0.398_942_3,
        Activation::Relu => s,
        Activation::SquaredRelu => 2.0 * s,
        Activation::ClampedSwiglu { alpha, limit } => match x < limit as f32 {
            true => s * (1.0 + alpha as f32 * x * (1.0 - s)),
            false => 0.0,
        },
    }
}

impl RowActivation {
    /// The gate as it enters the product, and what stands next to it.
    fn clamp(&self, gate: f32, up: f32) -> (f32, f32) {
        match self.activation {
            Activation::ClampedSwiglu { limit, .. } => {
                let limit = limit as f32;
                (gate.min(limit), up.clamp(-limit, limit) + 1.0)
            }
            _ => (gate, up),
        }
    }

    /// One row forward; `s` has the width of `y`.
    pub fn row(&self, x: &[f32], y: &mut [f32]) {
        let gate = &x[..y.len()];
        steps(self.activation, gate, y);
        match self.gated {
            true if !matches!(self.activation, Activation::ClampedSwiglu { .. }) => {
                gate::times(y, gate, &x[gate.len()..]);
            }
            true => {
                for ((y, gate), up) in y.iter_mut().zip(gate).zip(&x[gate.len()..]) {
                    let (gate, up) = self.clamp(*gate, *up);
                    *y *= gate * up;
                }
            }
            false => y.iter_mut().zip(gate).for_each(|(y, x)| *y *= self.clamp(*x, 0.0).0),
        }
    }

    /// One row backward: `g` is the gradient of the result, `s` space for as many numbers.
    pub fn row_back(&self, x: &[f32], g: &[f32], s: &mut [f32], dx: &mut [f32]) {
        let (gate, up) = x.split_at(g.len());
        steps(self.activation, gate, s);
        if !self.gated {
            for (((d, x), g), s) in dx.iter_mut().zip(x).zip(g).zip(&*s) {
                *d = g * slope(self.activation, *x, *s);
            }
            return;
        }
        let (d_gate, d_up) = dx.split_at_mut(g.len());
        match self.activation {
            Activation::Silu => return gate::silu_back(gate, up, s, g, d_gate, d_up),
            Activation::GeluTanh => return gate::gelu_back(gate, up, s, g, d_gate, d_up),
            _ => {}
        }
        for i in 0..g.len() {
            let (clamped, factor) = self.clamp(gate[i], up[i]);
            d_gate[i] = g[i] * slope(self.activation, gate[i], s[i]) * factor;
            let inside = match self.activation {
                Activation::ClampedSwiglu { limit, .. } => up[i].abs() < limit as f32,
                _ => true,
            };
            d_up[i] = if inside { g[i] * clamped * s[i] } else { 0.0 };
        }
    }

    fn widths(&self, last: usize) -> Result<(usize, usize)> {
        match self.gated {
            true if last % 2 == 1 => candle_core::bail!("a gate of {last} numbers, an odd count"),
            true => Ok((last, last / 2)),
            false => Ok((last, last)),
        }
    }
}

impl CustomOp1 for RowActivation {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, x: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut shape = layout.dims().to_vec();
        let (wide, narrow) = self.widths(shape.last().copied().unwrap_or(0))?;
        let x = slice(x, layout)?;
        let y = equal_pieces(x.len() / wide.max(1) * narrow, CHUNK * narrow, |i, y| {
            let x = &x[i * CHUNK * wide..];
            y.chunks_exact_mut(narrow).zip(x.chunks_exact(wide)).for_each(|(y, x)| self.row(x, y));
        });
        if let Some(last) = shape.last_mut() {
            *last = narrow;
        }
        Ok((CpuStorage::F32(y), Shape::from(shape)))
    }

    fn bwd(&self, x: &Tensor, _: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let (wide, narrow) = self.widths(x.dims().last().copied().unwrap_or(0))?;
        let total = x.elem_count();
        let dx = with_slice(x, |x| {
            with_slice(grad, |g| {
                equal_pieces(total, CHUNK * wide, |i, dx| {
                    let mut s = vec![0.0; narrow];
                    let (x, g) = (&x[i * CHUNK * wide..], &g[i * CHUNK * narrow..]);
                    for ((dx, x), g) in
                        dx.chunks_exact_mut(wide).zip(x.chunks_exact(wide)).zip(g.chunks_exact(narrow))
                    {
                        self.row_back(x, g, &mut s, dx);
                    }
                })
            })
        })??;
        Ok(Some(Tensor::from_vec(dx, x.dims(), x.device())?))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{agree, normal};
    use super::*;

    const CLAMPED: Activation = Activation::ClampedSwiglu { alpha: 1.702, limit: 0.8 };

    /// candle's own form of each activation.
    fn composed(x: &Tensor, activation: Activation) -> Tensor {
        match activation {
            Activation::Silu => x.silu(),
            Activation::Gelu => x.gelu_erf(),
            Activation::GeluTanh => x.gelu(),
            Activation::Relu => x.relu(),
            Activation::SquaredRelu => x.relu().unwrap().sqr(),
            Activation::ClampedSwiglu { .. } => {
                let x = x.minimum(0.8f64).unwrap();
                let s = candle_nn::ops::sigmoid(&(&x * 1.702).unwrap()).unwrap();
                x * s
            }
        }
        .unwrap()
    }

    #[test]
    fn agrees_with_candles_forms() {
        let x = (normal(&[7, 10], 1).as_tensor() * 2.0).unwrap();
        let x = candle_core::Var::from_tensor(&x).unwrap();
        for a in [
            Activation::Silu,
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::SquaredRelu,
            CLAMPED,
        ] {
            agree(&[&x], &activate(&x, a).unwrap(), &composed(&x, a), 2e-5);
            let (gate, up) = (x.narrow(1, 0, 5).unwrap(), x.narrow(1, 5, 5).unwrap());
            let up = match a {
                CLAMPED => (up.minimum(0.8f64).unwrap().maximum(-0.8f64).unwrap() + 1.0).unwrap(),
                _ => up,
            };
            let twin = (composed(&gate, a) * up).unwrap();
            agree(&[&x], &gated(&x, a).unwrap(), &twin, 2e-5);
        }
    }
}

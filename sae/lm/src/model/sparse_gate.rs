//! Gemma 3n's sparse gates: of a token's gate only what exceeds a quantile of a normal distribution with the
//! gate's mean and variance passes, less that quantile.

use candle_core::{D, Tensor};

use crate::Result;

/// Steps of Newton's method, far more than it takes.
const STEPS: usize = 60;

/// `gate_up [rows, len, 2 · hidden]`, gate first, with its gate made sparse; `share` is what is 0 of a normally
/// distributed gate, from 0 to below 1.
pub(super) fn sparse(gate_up: &Tensor, share: f64) -> Result<Tensor> {
    let hidden = gate_up.dim(D::Minus1)? / 2;
    let (gate, up) = (gate_up.narrow(D::Minus1, 0, hidden)?, gate_up.narrow(D::Minus1, hidden, hidden)?);
    let mean = gate.mean_keepdim(D::Minus1)?;
    let centred = gate.broadcast_sub(&mean)?;
    let deviation = centred.sqr()?.mean_keepdim(D::Minus1)?.sqrt()?;
    let above = centred.broadcast_sub(&(deviation * normal_quantile(share))?)?.relu()?;
    Ok(Tensor::cat(&[above, up.contiguous()?], D::Minus1)?)
}

/// Where the normal distribution has `p` below it, 0 < p < 1.
fn normal_quantile(p: f64) -> f64 {
    let mut x = 0.0f64;
    for _ in 0..STEPS {
        let density = (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
        let step = ((distribution(x, density) - p) / density).clamp(-1.0, 1.0);
        x -= step;
        if step.abs() < 1e-14 {
            break;
        }
    }
    x
}

/// Φ(x) = ½ + φ(x) · (x + x³/3 + x⁵/(3·5) + …).
fn distribution(x: f64, density: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..400 {
        term *= x * x / f64::from(2 * n + 1);
        sum += term;
        if term.abs() < 1e-17 * sum.abs() {
            break;
        }
    }
    0.5 + density * sum
}

#[cfg(test)]
mod tests {
    use candle_core::Device;

    use super::*;

    /// Values of published tables.
    #[test]
    fn quantiles() {
        for (p, x) in
            [(0.5, 0.0), (0.95, 1.644_853_626_951), (0.05, -1.644_853_626_951), (0.999, 3.090_232_306_168)]
        {
            assert!((normal_quantile(p) - x).abs() < 1e-11, "{p}: {}", normal_quantile(p));
        }
    }

    #[test]
    fn only_what_is_far_above_passes() {
        let gate: Vec<f32> = (0..10).map(|i| i as f32).chain((0..10).map(|_| 7.0)).collect();
        let x = Tensor::from_vec(gate, (1, 1, 20), &Device::Cpu).unwrap();
        let y = sparse(&x, 0.8).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        // Mean 4.5, deviation 2.8723, quantile 0.84162.
        let cut = 4.5f32 + 2.872_281_3 * 0.841_621_2;
        for (i, y) in y[..10].iter().enumerate() {
            assert!((y - (i as f32 - cut).max(0.0)).abs() < 1e-5, "{i}: {y}");
        }
        assert!(y[10..].iter().all(|up| *up == 7.0));
    }
}

//! What a gated MLP does between its products, one row: `y = x s(x) ∘ up` and its gradient, s a sigmoid.

use super::exp;

/// √(2/π) and the cubic's coefficient of gelu's approximation.
const GELU: (f32, f32) = (0.797_884_6, 0.044_715);

for_this_processor! {
    /// Replaces each x by 2 √(2/π) (x + 0.044715 x³): gelu's approximation by tanh is x times the sigmoid of it.
    pub fn gelu_argument / gelu_argument_portable(x: &mut [f32]) {
        for v in x.iter_mut() {
            *v = 2.0 * GELU.0 * (*v + GELU.1 * *v * *v * *v);
        }
    }
}

/// The normal distribution's lower tail times e^(y²/2) is a smooth function of t = 1 / (1 + 0.35 y): t times a polynomial with these
/// coefficients, fitted by least squares of the relative error over y in [0, 14], which it keeps below 4·10⁻⁸.
const TAIL: [f32; 9] = [
    0.139_619_62,
    0.139_895_56,
    0.119_570_15,
    0.106_614,
    -0.025_870_84,
    0.163_379_2,
    -0.259_547_65,
    0.145_892_51,
    -0.029_552_57,
];

for_this_processor! {
    /// Replaces each x by Φ(x), the standard normal distribution, to 3·10⁻⁷.
    pub fn normal / normal_portable(x: &mut [f32]) {
        for v in x.iter_mut() {
            let y = v.abs();
            let y = if y < 13.0 { y } else { 13.0 };
            let t = 1.0 / (1.0 + 0.35 * y);
            let mut p = TAIL[8];
            for i in (0..8).rev() {
                p = p * t + TAIL[i];
            }
            let tail = p * t * exp::exp(-0.5 * y * y);
            *v = if *v < 0.0 { tail } else { 1.0 - tail };
        }
    }
}

for_this_processor! {
    /// The gradient of `x Φ(x)`, given `s = Φ(x)` and the result's gradient `g`: `g (s + x φ(x))`.
    pub fn normal_back / normal_back_portable(x: &[f32], s: &[f32], g: &[f32], dx: &mut [f32]) {
        for (((dx, x), s), g) in dx.iter_mut().zip(x).zip(s).zip(g) {
            *dx = g * (s + x * 0.398_942_3 * exp::exp(-0.5 * x * x));
        }
    }
}

/// The slope of gelu's approximation at x, given s, the sigmoid of [`gelu_argument`].
#[inline(always)]
pub fn gelu_slope(x: f32, s: f32) -> f32 {
    s + x * s * (1.0 - s) * 2.0 * GELU.0 * (1.0 + 3.0 * GELU.1 * x * x)
}

for_this_processor! {
    /// `y = y ∘ gate ∘ up`.
    pub fn times / times_portable(y: &mut [f32], gate: &[f32], up: &[f32]) {
        for ((y, gate), up) in y.iter_mut().zip(gate).zip(up) {
            *y *= gate * up;
        }
    }
}

for_this_processor! {
    /// Gradients of `silu(gate) ∘ up`, given `s = σ(gate)` and the result's gradient `g`.
    pub fn silu_back / silu_back_portable(gate: &[f32], up: &[f32], s: &[f32], g: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
        let n = g.len();
        let (gate, up, s, d_gate, d_up) = (&gate[..n], &up[..n], &s[..n], &mut d_gate[..n], &mut d_up[..n]);
        for i in 0..n {
            d_gate[i] = g[i] * up[i] * (s[i] * (1.0 + gate[i] * (1.0 - s[i])));
            d_up[i] = g[i] * gate[i] * s[i];
        }
    }
}

for_this_processor! {
    /// Gradients of `gelu(gate) ∘ up` by tanh, given `s`, the sigmoid of [`gelu_argument`], and the result's gradient `g`.
    pub fn gelu_back / gelu_back_portable(gate: &[f32], up: &[f32], s: &[f32], g: &[f32], d_gate: &mut [f32], d_up: &mut [f32]) {
        let n = g.len();
        let (gate, up, s, d_gate, d_up) = (&gate[..n], &up[..n], &s[..n], &mut d_gate[..n], &mut d_up[..n]);
        for i in 0..n {
            let x = gate[i];
            d_gate[i] = g[i] * up[i] * gelu_slope(x, s[i]);
            d_up[i] = g[i] * x * s[i];
        }
    }
}

/// `s = σ(gate)`.
pub fn silu_steps(gate: &[f32], s: &mut [f32]) {
    s.copy_from_slice(gate);
    exp::sigmoid(s);
}

/// The sigmoid that gelu's approximation multiplies its argument by.
pub fn gelu_steps(gate: &[f32], s: &mut [f32]) {
    s.copy_from_slice(gate);
    gelu_argument(s);
    exp::sigmoid(s);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_normal_distribution_as_by_candles_erf_and_its_gradient_by_differences() {
        let x: Vec<f32> = (-4000..=4000).map(|i| i as f32 / 250.0).collect();
        let exact =
            |x: f64| 0.5 * (1.0 + candle_core::cpu::erf::erf_f64(x * std::f64::consts::FRAC_1_SQRT_2));
        let (mut s, mut portable) = (x.clone(), x.clone());
        normal(&mut s);
        normal_portable(&mut portable);
        assert_eq!(s, portable);
        for (s, x) in s.iter().zip(&x) {
            assert!((f64::from(*s) - exact(f64::from(*x))).abs() < 3e-7, "Φ({x}) = {s}");
        }
        let g: Vec<f32> = x.iter().map(|x| 1.0 + 0.1 * x).collect();
        let mut dx = vec![0.0; x.len()];
        normal_back(&x, &s, &g, &mut dx);
        for ((dx, x), g) in dx.iter().zip(&x).zip(&g) {
            let (x, h) = (f64::from(*x), 1e-4);
            let slope = ((x + h) * exact(x + h) - (x - h) * exact(x - h)) / (2.0 * h);
            assert!((f64::from(*dx) - f64::from(*g) * slope).abs() < 3e-6, "at {x}");
        }
    }

    /// `act(gate) · up` in double precision.
    fn naive(gelu: bool, gate: f64, up: f64) -> f64 {
        let act = match gelu {
            true => 0.5 * gate * (1.0 + (0.797_884_560_8 * (gate + 0.044_715 * gate.powi(3))).tanh()),
            false => gate / (1.0 + (-gate).exp()),
        };
        act * up
    }

    #[test]
    fn results_by_definition_and_gradients_by_differences() {
        let n = 53;
        let row = |seed: u32| -> Vec<f32> {
            (0..n).map(|i| ((i * 37 + seed * 11) % 29) as f32 / 5.0 - 2.7).collect()
        };
        let (gate, up, g) = (row(1), row(2), row(3));
        for gelu in [false, true] {
            let (mut s, mut d_gate, mut d_up) =
                (vec![0.0; gate.len()], vec![0.0; gate.len()], vec![0.0; gate.len()]);
            match gelu {
                true => gelu_steps(&gate, &mut s),
                false => silu_steps(&gate, &mut s),
            }
            let back = if gelu { gelu_back } else { silu_back };
            back(&gate, &up, &s, &g, &mut d_gate, &mut d_up);
            let mut y = s.clone();
            times(&mut y, &gate, &up);
            for i in 0..gate.len() {
                let (x, u, w) = (f64::from(gate[i]), f64::from(up[i]), f64::from(g[i]));
                assert!((f64::from(y[i]) - naive(gelu, x, u)).abs() < 1e-5);
                let h = 1e-5;
                let slopes = [
                    (naive(gelu, x + h, u) - naive(gelu, x - h, u)) / (2.0 * h),
                    (naive(gelu, x, u + h) - naive(gelu, x, u - h)) / (2.0 * h),
                ];
                for (found, slope) in [d_gate[i], d_up[i]].into_iter().zip(slopes) {
                    assert!(
                        (f64::from(found) - w * slope).abs() < 1e-4,
                        "{gelu} {i}: {found} against {}",
                        w * slope
                    );
                }
            }
        }
    }
}

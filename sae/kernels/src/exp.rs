//! Exponentials of many numbers at once, and the softmax made of them.

use super::vector;

/// 1.5 · 2²³: adding it rounds a small number to the nearest integer.
const ROUND: f32 = 12_582_912.0;
/// Below this the result is smaller than the smallest normal number: it is cut off there.
const LOWEST: f32 = -87.0;

/// e^x for x ≤ 88, to a relative error of 2·10⁻⁷; below −87 it stays at e⁻⁸⁷ (about 10⁻³⁸).
///
/// With n the integer nearest to x / ln 2, e^x = 2ⁿ · e^r, |r| ≤ ln 2 / 2; e^r by its Taylor polynomial of degree 7.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    let x = if x > LOWEST { x } else { LOWEST };
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    // ln 2 in two pieces, so that the subtraction is exact.
    let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
    let p = 1.0 / 5040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = (p * r + 1.0) * r + 1.0;
    // The low bits of `rounded` are n: shifted into the exponent they make 2ⁿ, without a conversion that checks for NaN.
    p * f32::from_bits(rounded.to_bits().wrapping_add(127) << 23)
}

for_this_processor! {
    /// Replaces each number by e^(number − shift) and gives their sum. No number may be more than `shift` + 88.
    pub fn exp_shifted / exp_shifted_portable(x: &mut [f32], shift: f32) -> f32 {
        for v in x.iter_mut() {
            *v = exp(*v - shift);
        }
        vector::sum(x)
    }
}

for_this_processor! {
    /// Σ e^(number − shift), the numbers left alone.
    pub fn sum_exp / sum_exp_portable(x: &[f32], shift: f32) -> f32 {
        let mut lanes = [0.0f32; 32];
        let (blocks, rest) = x.as_chunks::<32>();
        for block in blocks {
            for i in 0..32 {
                lanes[i] += exp(block[i] - shift);
            }
        }
        vector::sum(&lanes) + rest.iter().map(|v| exp(v - shift)).sum::<f32>()
    }
}

for_this_processor! {
    /// The largest number; −∞ of none.
    pub fn largest / largest_portable(x: &[f32]) -> f32 {
        let mut lanes = [f32::NEG_INFINITY; 32];
        let (blocks, rest) = x.as_chunks::<32>();
        for block in blocks {
            for i in 0..32 {
                lanes[i] = if block[i] > lanes[i] { block[i] } else { lanes[i] };
            }
        }
        lanes.iter().chain(rest).fold(f32::NEG_INFINITY, |m, v| m.max(*v))
    }
}

/// Softmax in place.
pub fn softmax(x: &mut [f32]) {
    let sum = exp_shifted(x, largest(x));
    scale(x, 1.0 / sum);
}

for_this_processor! {
    /// Replaces the gradient `g` of a softmax's result `p` by that of its input: `p ∘ (g − Σ p ∘ g)`.
    pub fn softmax_back / softmax_back_portable(p: &[f32], g: &mut [f32]) {
        let mean = vector::dot(p, g);
        for (g, p) in g.iter_mut().zip(p) {
            *g = p * (*g - mean);
        }
    }
}

for_this_processor! {
    /// Replaces each number by σ(number) = 1 / (1 + e^(−number)).
    pub fn sigmoid / sigmoid_portable(x: &mut [f32]) {
        for v in x.iter_mut() {
            // Beyond −88 the exponential would leave its range; σ is 0 to the last bit that matters there.
            let negative = if -*v < 88.0 { -*v } else { 88.0 };
            *v = 1.0 / (1.0 + exp(negative));
        }
    }
}

for_this_processor! {
    /// Replaces each number by `cap · tanh(number / cap)`, to 2·10⁻⁷ of the cap.
    pub fn soft_cap / soft_cap_portable(x: &mut [f32], cap: f32) {
        let twice = 2.0 / cap;
        for v in x.iter_mut() {
            // tanh u = 1 − 2 / (1 + e^2u), and 2u beyond 88 is 88 to the last bit.
            let u = *v * twice;
            let u = if u < 88.0 { u } else { 88.0 };
            *v = cap - 2.0 * cap / (1.0 + exp(u));
        }
    }
}

for_this_processor! {
    /// Multiplies every number by `factor`.
    pub fn scale / scale_portable(x: &mut [f32], factor: f32) {
        vector::scale(x, factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_right_over_its_whole_range() {
        for i in -87_000..=88_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            assert!((f64::from(exp(x)) / exact - 1.0).abs() < 3e-7, "e^{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(-1e9) < 2e-38);
    }

    #[test]
    fn sigmoid_is_right_and_both_variants_give_the_same_bits() {
        let x: Vec<f32> = (-1000..=1000).map(|i| i as f32 / 7.0).collect();
        let (mut a, mut b) = (x.clone(), x.clone());
        sigmoid(&mut a);
        sigmoid_portable(&mut b);
        assert_eq!(a, b);
        for (s, x) in a.iter().zip(&x) {
            let exact = 1.0 / (1.0 + (-f64::from(*x)).exp());
            assert!((f64::from(*s) - exact).abs() < 3e-7 * exact + 1e-38, "σ({x})");
        }
    }

    #[test]
    fn a_soft_cap_is_tanh_and_both_variants_give_the_same_bits() {
        let x: Vec<f32> = (-1000..=1000).map(|i| i as f32 * 2.3).chain([0.0, 1e-4, 1e30, -1e30]).collect();
        let (mut a, mut b) = (x.clone(), x.clone());
        soft_cap(&mut a, 50.0);
        soft_cap_portable(&mut b, 50.0);
        assert_eq!(a, b);
        for (s, x) in a.iter().zip(&x) {
            assert!((f64::from(*s) - 50.0 * (f64::from(*x) / 50.0).tanh()).abs() < 50.0 * 4e-7, "{x}");
        }
    }

    #[test]
    fn both_variants_give_the_same_bits_and_equal_the_naive_form() {
        for n in [0usize, 1, 31, 32, 33, 100] {
            let x: Vec<f32> = (0..n).map(|i| ((i * 37) % 23) as f32 / 3.0 - 4.0).collect();
            let top = largest(&x);
            assert_eq!(top, x.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v)));
            assert_eq!(top, largest_portable(&x));
            let naive: f64 = x.iter().map(|v| f64::from(v - top).exp()).sum();
            assert!((f64::from(sum_exp(&x, top)) - naive).abs() < 1e-5 * (1.0 + naive));
            assert_eq!(sum_exp(&x, top).to_bits(), sum_exp_portable(&x, top).to_bits());
            let (mut a, mut b) = (x.clone(), x.clone());
            assert_eq!(exp_shifted(&mut a, top).to_bits(), exp_shifted_portable(&mut b, top).to_bits());
            assert_eq!(a, b);
            let mut p = x.clone();
            softmax(&mut p);
            for (p, v) in p.iter().zip(&x) {
                assert!((f64::from(*p) - f64::from(v - top).exp() / naive).abs() < 1e-6);
            }
        }
    }
}

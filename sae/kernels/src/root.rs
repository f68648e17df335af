//! ρ-th roots of many numbers at once, in f64: what softened maxima are made of.
//!
//! |x|^(1/ρ) = e^(ln |x| / ρ), with
//!
//! ```text
//! |x| = 2ⁿ · m, √½ ≤ m < √2;   ln m = 2 (s + s³/3 + s⁵/5 + …), s = (m − 1) / (m + 1), |s| ≤ 0.172
//! e^t = 2ᵏ · e^r, |r| ≤ ln 2 / 2;   e^r by its Taylor polynomial of degree 13
//! ```
//!
//! There is no branch and no call, so that the compiler makes vectors of it.

/// Roots that are taken at once: rows whose length is a multiple of this take least time per number.
pub const WIDTH: usize = 16;
/// Bits of √½.
const ROOT_HALF: u64 = 0x3fe6_a09e_667f_3bcd;
/// Bits of 1.
const ONE: u64 = 0x3ff0_0000_0000_0000;
const MANTISSA: u64 = (1 << 52) - 1;
/// Bits of 2⁵². Or-ed with a small integer they are 2⁵² and that integer, exactly.
const TWO_52: u64 = 0x4330_0000_0000_0000;
/// 1.5 · 2⁵²: adding it rounds a small number to the nearest integer.
const ROUND: f64 = 6_755_399_441_055_744.0;
/// ln 2 in two pieces; the first has its low 21 bits clear, so that a small integer times it is exact.
const LN_2: [f64; 2] = [0.693_147_180_369_123_8, 1.908_214_929_270_587_7e-10];

/// Of s², from ln m / 2s − 1: 1/3, 1/5, ….
const LOGARITHM: [f64; 12] = [
    1.0 / 3.0,
    0.2,
    1.0 / 7.0,
    1.0 / 9.0,
    1.0 / 11.0,
    1.0 / 13.0,
    1.0 / 15.0,
    1.0 / 17.0,
    1.0 / 19.0,
    1.0 / 21.0,
    1.0 / 23.0,
    1.0 / 25.0,
];
/// Of r, from (e^r − 1 − r) / r²: 1/2!, 1/3!, ….
const EXPONENTIAL: [f64; 12] = [
    0.5,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5_040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
];

/// Σ cᵢ xⁱ by pairs, pairs of pairs, and so on (Estrin): one coefficient after the other would wait for each product.
#[inline(always)]
fn polynomial(c: &[f64; 12], x: f64) -> f64 {
    let x2 = x * x;
    let x4 = x2 * x2;
    let four = |at: usize| (c[at] + c[at + 1] * x) + (c[at + 2] + c[at + 3] * x) * x2;
    (four(0) + four(4) * x4) + four(8) * (x4 * x4)
}

/// ln x of a normal x > 0, to a few units in the last place.
#[inline(always)]
fn ln(x: f64) -> f64 {
    let shifted = x.to_bits().wrapping_add(ONE - ROOT_HALF);
    let n = f64::from_bits((shifted >> 52) | TWO_52) - (f64::from_bits(TWO_52) + 1023.0);
    let m = f64::from_bits((shifted & MANTISSA) + ROOT_HALF);
    let s = (m - 1.0) / (m + 1.0);
    let square = s * s;
    let p = polynomial(&LOGARITHM, square) * square * s + s;
    n * LN_2[0] + (2.0 * p + n * LN_2[1])
}

/// e^t for |t| < 700.
#[inline(always)]
fn exp(t: f64) -> f64 {
    let rounded = t * std::f64::consts::LOG2_E + ROUND;
    let k = rounded - ROUND;
    let r = (t - k * LN_2[0]) - k * LN_2[1];
    let p = 1.0 + (r + r * r * polynomial(&EXPONENTIAL, r));
    // The low bits of `rounded` are k.
    p * f64::from_bits(rounded.to_bits().wrapping_add(1023) << 52)
}

/// The number whose ρ-th power with its sign is `x`; 0 of what is smaller than the smallest normal number.
#[inline(always)]
fn root(x: f64, inverse: f64) -> f64 {
    let size = x.abs();
    let of_normal = exp(ln(size) * inverse).copysign(x);
    if size < f64::MIN_POSITIVE { 0.0 } else { of_normal }
}

for_this_processor! {
    /// Writes sign(x)·|x|^`inverse` of each x to `out`; `inverse` is 1 / ρ, ρ ≥ 1.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn roots / roots_portable(out: &mut [f64], x: &[f64], inverse: f64) {
        assert!(out.len() == x.len(), "rows of different lengths");
        // Of lengths that are not known a compiler makes longer pieces, and the rest of a short row, one by one, takes most of the time.
        let (outs, out_rest) = out.as_chunks_mut::<WIDTH>();
        let (x16, x_rest) = x.as_chunks::<WIDTH>();
        for (out, x) in outs.iter_mut().zip(x16) {
            for i in 0..WIDTH {
                out[i] = root(x[i], inverse);
            }
        }
        for (out, x) in out_rest.iter_mut().zip(x_rest) {
            *out = root(*x, inverse);
        }
    }
}

for_this_processor! {
    /// Writes `a + b` to `sum` and gives Σ (root of a + b − y)², the squared distance of those [`roots`] from `y`.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn distance_of_roots / distance_of_roots_portable(sum: &mut [f64], a: &[f64], b: &[f64], y: &[f64], inverse: f64) -> f64 {
        let n = sum.len();
        assert!(a.len() == n && b.len() == n && y.len() == n, "rows of different lengths");
        let mut lanes = [0.0f64; WIDTH];
        let (sums, sum_rest) = sum.as_chunks_mut::<WIDTH>();
        let ((a16, a_rest), (b16, b_rest), (y16, y_rest)) = (a.as_chunks::<WIDTH>(), b.as_chunks::<WIDTH>(), y.as_chunks::<WIDTH>());
        for (((sum, a), b), y) in sums.iter_mut().zip(a16).zip(b16).zip(y16) {
            for i in 0..WIDTH {
                sum[i] = a[i] + b[i];
                let away = root(sum[i], inverse) - y[i];
                lanes[i] += away * away;
            }
        }
        for (i, (((sum, a), b), y)) in sum_rest.iter_mut().zip(a_rest).zip(b_rest).zip(y_rest).enumerate() {
            *sum = a + b;
            let away = root(*sum, inverse) - y;
            lanes[i] += away * away;
        }
        lanes.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of all sizes, with both signs, and those around powers of two, where mantissa and exponent meet.
    fn numbers() -> Vec<f64> {
        let sizes =
            (-300..=300).flat_map(|e| [1.0, 1.1, 1.3, 1.414, 1.5, 1.999_999].map(|m| m * 10f64.powi(e)));
        let edges = (-1000..=1000).flat_map(|e: i32| {
            let power = 2f64.powi(e);
            [power, f64::from_bits(power.to_bits() - 1), power * std::f64::consts::SQRT_2]
        });
        sizes.chain(edges).flat_map(|x| [x, -x]).collect()
    }

    #[test]
    fn roots_are_those_of_the_standard_library() {
        let x = numbers();
        let mut found = vec![0.0; x.len()];
        for rho in [1.0, 1.7, 2.0, 6.0, 21.0, 300.0] {
            roots(&mut found, &x, 1.0 / rho);
            for (found, x) in found.iter().zip(&x) {
                let exact = x.abs().powf(1.0 / rho).copysign(*x);
                // What rounding takes from ln x / ρ the root has as a relative error.
                let allowed = 4e-16 * (4.0 + x.abs().ln().abs() / rho);
                assert!(
                    (found / exact - 1.0).abs() < allowed,
                    "{x} to the 1/{rho}: {found} instead of {exact}"
                );
            }
        }
        roots(&mut found[..3], &[0.0, -0.0, 1e-310], 1.0 / 6.0);
        assert_eq!(found[..3], [0.0; 3]);
    }

    #[test]
    fn both_variants_give_the_same_bits() {
        let x = numbers();
        let (mut a, mut b) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        roots(&mut a, &x, 1.0 / 21.0);
        roots_portable(&mut b, &x, 1.0 / 21.0);
        assert_eq!(a, b);
        let other: Vec<f64> = x.iter().rev().copied().collect();
        for n in [0, 1, 7, 16, 25, 100] {
            let (x, other, y) = (&x[600..600 + n], &other[600..600 + n], &x[700..700 + n]);
            let ours = distance_of_roots(&mut a[..n], x, other, y, 0.25);
            assert_eq!(ours, distance_of_roots_portable(&mut b[..n], x, other, y, 0.25));
            assert_eq!(a[..n], b[..n]);
        }
    }

    #[test]
    fn a_distance_is_that_of_the_roots_one_by_one() {
        let [a, b, y] =
            [1, 5, 11].map(|step| (0..45).map(|i| f64::from(i * step % 23) - 9.0).collect::<Vec<f64>>());
        let mut sum = vec![0.0; 45];
        let found = distance_of_roots(&mut sum, &a, &b, &y, 1.0 / 3.0);
        let mut expected = 0.0;
        for i in 0..45 {
            assert_eq!(sum[i], a[i] + b[i]);
            expected += (sum[i].cbrt() - y[i]).powi(2);
        }
        assert!((found / expected - 1.0).abs() < 1e-12, "{found}, {expected}");
    }
}

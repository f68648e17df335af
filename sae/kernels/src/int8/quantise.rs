//! From `f32` to 8 bits: `v ≈ scale · q`, q in −127 … 127.

use super::super::vector::pairwise;

/// Factors by dimension: rows are divided by them, columns multiplied, so products stay what they are.
///
/// With the square root of each dimension's root mean square both factors have the same spread (Xiao et al. 2023, SmoothQuant,
/// α = 0.5).
#[derive(Debug, Clone, PartialEq)]
pub struct Fold {
    rows: Vec<f32>,
    columns: Vec<f32>,
}

/// A factor is at most this far from 1 in either direction; dimensions that are always 0 would ask for more.
const EXTREME: f32 = 1e4;

impl Fold {
    /// Leaves `d` dimensions as they are.
    pub fn none(d: usize) -> Self {
        Self { rows: vec![1.0; d], columns: vec![1.0; d] }
    }

    /// For rows whose dimensions have the root mean squares `rms[d]`.
    pub fn balancing(rms: &[f32]) -> Self {
        let known = || rms.iter().copied().filter(|v| *v > 0.0 && v.is_finite());
        let mean = (known().map(f32::ln).sum::<f32>() / known().count().max(1) as f32).exp();
        let factor = |v: &f32| match *v > 0.0 && v.is_finite() {
            true => (v / mean).sqrt().clamp(1.0 / EXTREME, EXTREME),
            false => 1.0,
        };
        let columns: Vec<f32> = rms.iter().map(factor).collect();
        Self { rows: columns.iter().map(|f| 1.0 / f).collect(), columns }
    }

    /// The same with rows and columns in each other's place.
    pub fn swapped(self) -> Self {
        Self { rows: self.columns, columns: self.rows }
    }

    /// d.
    pub fn width(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn of_rows(&self) -> &[f32] {
        &self.rows
    }

    pub(super) fn of_columns(&self) -> &[f32] {
        &self.columns
    }
}

/// What a row became: `v ≈ scale · q`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Quantised {
    pub(super) scale: f32,
    /// ‖v‖ after folding.
    pub(super) norm: f32,
    /// ‖v − scale · q‖.
    pub(super) error: f32,
}

/// Numbers that are taken together.
const LANES: usize = 32;

/// The larger of two; unlike `f32::max` a single instruction. `a` if `b` is not a number.
#[inline(always)]
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

/// 1.5 · 2²³: added to a small number, it leaves the number rounded to an integer in the low bits.
const MAGIC: f32 = 12_582_912.0;

for_this_processor! {
    /// Quantises `v · fold` to `out`; all have one length. A row with an infinity becomes zeros; a NaN becomes 0 and an error of NaN.
    pub(super) fn quantise / quantise_portable(out: &mut [i8], v: &[f32], fold: &[f32]) -> Quantised {
        let n = out.len();
        let (v, fold) = (&v[..n], &fold[..n]);
        let mut largest = [0.0_f32; LANES];
        let (blocks, rest) = v.as_chunks::<LANES>();
        let (fold_blocks, fold_rest) = fold.as_chunks::<LANES>();
        for (v, f) in blocks.iter().zip(fold_blocks) {
            for i in 0..LANES {
                largest[i] = larger(largest[i], (v[i] * f[i]).abs());
            }
        }
        for (i, (v, f)) in rest.iter().zip(fold_rest).enumerate() {
            largest[i] = larger(largest[i], (v * f).abs());
        }
        let mut width = LANES / 2;
        while width > 0 {
            for i in 0..width {
                largest[i] = larger(largest[i], largest[i + width]);
            }
            width /= 2;
        }
        let largest = largest[0];
        if !(largest > 0.0 && largest.is_finite()) {
            out.fill(0);
            return Quantised::default();
        }
        let (scale, inverse) = (largest / 127.0, 127.0 / largest);
        let (mut squares, mut errors) = ([0.0_f32; LANES], [0.0_f32; LANES]);
        let (out_blocks, out_rest) = out.as_chunks_mut::<LANES>();
        for ((out, v), f) in out_blocks.iter_mut().zip(blocks).zip(fold_blocks) {
            let mut bits = [0_u32; LANES];
            for i in 0..LANES {
                let v = v[i] * f[i];
                let shifted = v * inverse + MAGIC;
                let error = v - scale * (shifted - MAGIC);
                bits[i] = shifted.to_bits();
                squares[i] += v * v;
                errors[i] += error * error;
            }
            // Apart, or the loop above is not made of vectors.
            for i in 0..LANES {
                out[i] = bits[i] as i8;
            }
        }
        for (i, ((out, v), f)) in out_rest.iter_mut().zip(rest).zip(fold_rest).enumerate() {
            let v = v * f;
            let shifted = v * inverse + MAGIC;
            let error = v - scale * (shifted - MAGIC);
            *out = shifted.to_bits() as i8;
            squares[i] += v * v;
            errors[i] += error * error;
        }
        Quantised { scale, norm: pairwise(squares).sqrt(), error: pairwise(errors).sqrt() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32)
            .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 8.4e6 - 1.0)
            .collect()
    }

    #[test]
    fn values_come_back_to_half_a_step() {
        for n in [1, 4, 31, 32, 33, 100, 640] {
            let (v, fold) = (numbers(n, 3), numbers(n, 9).iter().map(|f| f.abs() + 0.1).collect::<Vec<_>>());
            let mut q = vec![0; n];
            let got = quantise(&mut q, &v, &fold);
            let (mut squares, mut errors) = (0.0, 0.0);
            for i in 0..n {
                let exact = f64::from(v[i] * fold[i]);
                let error = exact - f64::from(got.scale) * f64::from(q[i]);
                assert!(error.abs() <= 0.5001 * f64::from(got.scale), "{n}, {i}");
                squares += exact * exact;
                errors += error * error;
            }
            assert!(q.iter().any(|q| q.unsigned_abs() == 127), "the largest takes all bits");
            assert!((f64::from(got.norm) - squares.sqrt()).abs() < 1e-4 * squares.sqrt());
            assert!((f64::from(got.error) - errors.sqrt()).abs() < 1e-3 * errors.sqrt() + 1e-6);
        }
    }

    #[test]
    fn rows_without_a_scale_are_zeros() {
        for v in [[0.0; 5], [f32::INFINITY; 5]] {
            let mut q = [7; 5];
            assert_eq!(quantise(&mut q, &v, &[1.0; 5]), Quantised::default());
            assert_eq!(q, [0; 5]);
        }
    }

    #[test]
    fn both_variants_give_the_same_bits() {
        let (v, fold) = (numbers(333, 1), numbers(333, 2));
        let (mut a, mut b) = (vec![0; 333], vec![0; 333]);
        assert_eq!(quantise(&mut a, &v, &fold), quantise_portable(&mut b, &v, &fold));
        assert_eq!(a, b);
    }

    #[test]
    fn folding_gives_both_factors_the_same_spread() {
        let fold = Fold::balancing(&[1.0, 100.0, 0.01, 0.0]);
        for (i, rms) in [1.0, 100.0, 0.01].into_iter().enumerate() {
            assert!((fold.of_rows()[i] * rms - fold.of_columns()[i]).abs() < 1e-3 * fold.of_columns()[i]);
            assert!((fold.of_rows()[i] * fold.of_columns()[i] - 1.0).abs() < 1e-6);
        }
        assert_eq!(fold.of_rows()[3], 1.0);
        assert_eq!((Fold::none(3).width(), Fold::none(3).of_columns()), (3, &[1.0; 3][..]));
    }
}

//! From the sums of a tile to bounds of what its pairs are worth.

use super::MARGIN;
use super::panels::{Bounds, COLUMNS};
use super::quantise::larger;
use super::rows::Rows;
use super::tile::{ROWS, Sums};

/// Bounds of a tile's pairs.
#[derive(Debug, Clone, PartialEq)]
#[repr(align(64))]
pub(super) struct Tile {
    pub(super) upper: [[f32; COLUMNS]; ROWS],
    /// Only where pairs have weights; see [`Product::lower`].
    pub(super) lower: [[f32; COLUMNS]; ROWS],
}

impl Default for Tile {
    fn default() -> Self {
        Self { upper: [[0.0; COLUMNS]; ROWS], lower: [[0.0; COLUMNS]; ROWS] }
    }
}

/// What a row contributes to its bounds.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Row {
    scale: f32,
    /// [`MARGIN`] · ‖δx‖/√d.
    error: f32,
    /// [`MARGIN`] · ‖x‖/√d.
    norm: f32,
    /// Added to all products of the row.
    bias: f32,
}

/// A product of the rows of a tile with the columns of a panel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product<'a> {
    pub(super) sums: &'a Sums,
    pub(super) bounds: &'a Bounds,
    pub(super) rows: [Row; ROWS],
}

impl Product<'_> {
    /// Lower bound of row `r` with column `c`, whose upper bound is `upper`.
    pub(super) fn lower(&self, upper: f32, r: usize, c: usize) -> f32 {
        upper - 2.0 * (self.rows[r].error * self.bounds.norm[c] + self.rows[r].norm * self.bounds.error[c])
    }
}

/// What the rows from `start` on contribute; rows that only fill the tile, nothing.
pub(super) fn rows_of(rows: &Rows, start: usize) -> [Row; ROWS] {
    std::array::from_fn(|r| match start + r < rows.len() {
        true => Row {
            scale: rows.scale[start + r],
            error: MARGIN * rows.error[start + r],
            norm: MARGIN * rows.norm[start + r],
            bias: rows.bias[start + r],
        },
        false => Row::default(),
    })
}

/// Upper bounds of a product, and which of each row reach its floor, a bit a column.
pub(super) fn reaching(tile: &mut Tile, product: &Product<'_>, floors: &[f32; ROWS]) -> [u64; ROWS] {
    #[cfg(target_arch = "x86_64")]
    if super::super::has_avx512() {
        // SAFETY: the processor was just found to have AVX-512.
        #[allow(unsafe_code)]
        return unsafe { reaching_avx512(tile, product, floors) };
    }
    reaching_portable(tile, product, floors)
}

fn reaching_portable(tile: &mut Tile, product: &Product<'_>, floors: &[f32; ROWS]) -> [u64; ROWS] {
    let Product { sums, bounds, rows } = product;
    let mut reached = [0; ROWS];
    for (r, row) in rows.iter().enumerate() {
        for c in 0..COLUMNS {
            let margin = row.error * bounds.norm[c] + row.norm * bounds.error[c];
            let bound = sums.0[r][c] as f32 * (row.scale * bounds.scale[c]) + (bounds.bias[c] + margin);
            tile.upper[r][c] = bound + row.bias;
            reached[r] |= u64::from(tile.upper[r][c] >= floors[r]) << c;
        }
    }
    reached
}

/// The same operations in the same order, 16 columns at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn reaching_avx512(tile: &mut Tile, product: &Product<'_>, floors: &[f32; ROWS]) -> [u64; ROWS] {
    use std::arch::x86_64::*;
    let Product { sums, bounds, rows } = product;
    let mut reached = [0; ROWS];
    for at in (0..COLUMNS).step_by(16) {
        // SAFETY: `at` + 16 ≤ 64, the length of every array here.
        #[allow(unsafe_code)]
        unsafe {
            let load = |v: &[f32; COLUMNS]| _mm512_loadu_ps(v.as_ptr().add(at));
            let (scale, bias) = (load(&bounds.scale), load(&bounds.bias));
            let (norm, error) = (load(&bounds.norm), load(&bounds.error));
            for r in 0..ROWS {
                let row = &rows[r];
                let sum = _mm512_cvtepi32_ps(_mm512_loadu_si512(sums.0[r].as_ptr().add(at).cast()));
                let margin = _mm512_add_ps(
                    _mm512_mul_ps(_mm512_set1_ps(row.error), norm),
                    _mm512_mul_ps(_mm512_set1_ps(row.norm), error),
                );
                let product = _mm512_mul_ps(sum, _mm512_mul_ps(_mm512_set1_ps(row.scale), scale));
                let bound = _mm512_add_ps(product, _mm512_add_ps(bias, margin));
                let bound = _mm512_add_ps(bound, _mm512_set1_ps(row.bias));
                _mm512_storeu_ps(tile.upper[r].as_mut_ptr().add(at), bound);
                let mask = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(bound, _mm512_set1_ps(floors[r]));
                reached[r] |= u64::from(mask) << at;
            }
        }
    }
    reached
}

for_this_processor! {
    /// Bounds of `relu(z)·(λ + β·|a|)` with `weights` λ ≥ 0 and β > 0, and which of each row reach its floor. |a| counts as the sum of
    /// its biases at least.
    pub(super) fn reaching_weighted / reaching_weighted_portable(
        tile: &mut Tile, z: &Product<'_>, a: &Product<'_>, weights: [f32; 2], floors: &[f32; ROWS]
    ) -> [u64; ROWS] {
        let [lambda, beta] = weights;
        let mut reached = [0; ROWS];
        for r in 0..ROWS {
            let (row, along) = (&z.rows[r], &a.rows[r]);
            let (upper, lower) = (&mut tile.upper[r], &mut tile.lower[r]);
            for c in 0..COLUMNS {
                let margin = row.error * z.bounds.norm[c] + row.norm * z.bounds.error[c];
                let middle = z.sums.0[r][c] as f32 * (row.scale * z.bounds.scale[c])
                    + (z.bounds.bias[c] + row.bias);
                let slack = along.error * a.bounds.norm[c] + along.norm * a.bounds.error[c];
                let size = (a.sums.0[r][c] as f32 * (along.scale * a.bounds.scale[c])).abs();
                let least = larger(along.bias + a.bounds.bias[c], 0.0);
                upper[c] = (middle + margin) * (lambda + beta * larger(size + slack, least));
                lower[c] = (middle - margin) * (lambda + beta * larger(size - slack, least));
            }
            let above = upper.iter().fold(0, |n, &upper| n + i32::from(upper >= floors[r]));
            // Few rows have any.
            if above > 0 {
                for (c, &upper) in upper.iter().enumerate() {
                    reached[r] |= u64::from(upper >= floors[r]) << c;
                }
            }
        }
        reached
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(seed: u32) -> impl FnMut() -> f32 {
        let mut state = seed;
        move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 23) as f32
        }
    }

    fn parts(seed: u32) -> (Sums, Bounds, [Row; ROWS]) {
        let mut next = numbers(seed);
        let mut sums = Sums::default();
        sums.0.iter_mut().flatten().for_each(|s| *s = ((next() - 1.0) * 10_000.0) as i32);
        let mut fill = |factor: f32| std::array::from_fn(|_| factor * next());
        let bounds = Bounds { scale: fill(0.01), bias: fill(0.1), norm: fill(1.0), error: fill(0.01) };
        let row = |_| Row { scale: 0.01, error: 0.004, norm: 0.5, bias: 0.25 * next() };
        (sums, bounds, std::array::from_fn(row))
    }

    #[test]
    fn variants_give_the_same_bits() {
        let (sums, bounds, rows) = parts(3);
        let product = Product { sums: &sums, bounds: &bounds, rows };
        let (other, other_bounds, other_rows) = parts(4);
        let along = Product { sums: &other, bounds: &other_bounds, rows: other_rows };
        let floors = [0.1, 0.2, 0.0, 0.3, f32::INFINITY, 0.05];
        let (mut a, mut b) = (Tile::default(), Tile::default());
        let (x, y) = (reaching(&mut a, &product, &floors), reaching_portable(&mut b, &product, &floors));
        assert!(x == y && a == b && x[0] != 0 && x[4] == 0);
        let weights = [0.5, 2.0];
        let x = reaching_weighted(&mut a, &product, &along, weights, &floors);
        let y = reaching_weighted_portable(&mut b, &product, &along, weights, &floors);
        assert!(x == y && a == b && x[0] != 0 && x[4] == 0);
        for (r, reached) in x.iter().enumerate() {
            for c in 0..COLUMNS {
                assert_eq!(reached >> c & 1 == 1, a.upper[r][c] >= floors[r]);
                assert!(a.upper[r][c] <= 0.0 || a.lower[r][c] <= a.upper[r][c]);
            }
        }
    }
}

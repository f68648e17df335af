//! Products with a right factor that many rows are multiplied by: `out = scale · a b`, on the calling thread.
//!
//! [`gemm`](super::gemm) packs both factors anew at every call, and its kernels reach half of what a processor with two 512-bit
//! multipliers offers. Here a weight matrix is packed once for all tasks that use it, as panels of 32 columns, and the left factor is read
//! where it lies. A tile of 12 rows and 32 columns stays in registers while it runs over all of k, so an entry of the result is one
//! sum over k in order: the same bits whatever the number of rows next to it. Processors without AVX-512 get [`gemm`](super::gemm).
//!
//! A model's matrices do not stay in the second cache, so while a panel is multiplied the next one is fetched, and the panel itself a few
//! rows ahead. Without that a tile waits for memory (`docs/performance.md`).

use super::gemm::{Mat, MatMut, WriteMode, gemm};
use super::pieces::equal_pieces;
use super::turn::turn;

/// Columns of a panel.
pub const PANEL: usize = 32;

/// True if products run in this file's own kernel.
pub fn has_panels() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("avx512f");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The right factor `[k, n]` of products.
#[derive(Debug, Clone, Copy)]
pub struct RightFactor<'a> {
    mat: Mat<'a>,
    /// Panels `[⌈n / 32⌉, k, 32]`, the last one filled up with zeros; empty if it is used as it lies.
    panels: &'a [f32],
}

/// Numbers that the panels of a `[k, n]` matrix take; 0 on a processor that has no use for them.
pub fn panel_numbers(k: usize, n: usize) -> usize {
    if has_panels() { k * n.next_multiple_of(PANEL) } else { 0 }
}

/// Copies `mat [k, n]` into `panels`, which has room for [`panel_numbers`] and may hold anything before.
pub fn pack_into(mat: Mat<'_>, panels: &mut [f32]) {
    let (k, n) = mat.shape();
    assert_eq!(panels.len(), panel_numbers(k, n), "room for the panels of a {k}x{n} matrix");
    if !panels.is_empty() {
        panels.chunks_exact_mut(k * PANEL).enumerate().for_each(|(j, panel)| pack_panel(mat, j, panel));
    }
}

fn pack_panel(mat: Mat<'_>, j: usize, panel: &mut [f32]) {
    let (k, n) = mat.shape();
    let first = j * PANEL;
    let width = PANEL.min(n - first);
    if width < PANEL {
        panel.fill(0.0);
    }
    if let Some(rows) = mat.rows_contiguous() {
        for (p, out) in panel.chunks_exact_mut(PANEL).enumerate() {
            out[..width].copy_from_slice(&rows(p)[first..first + width]);
        }
        return;
    }
    // A transposed matrix: its columns lie side by side.
    let (data, row, column) = mat.parts();
    if row == 1 && width > 0 {
        return turn(&data[first * column..], column, (width, k), panel, PANEL);
    }
    for (p, out) in panel.chunks_exact_mut(PANEL).enumerate() {
        out[..width].iter_mut().enumerate().for_each(|(c, out)| *out = mat.at(p, first + c));
    }
}

/// The panels of `mat [k, n]`, made by all threads.
pub fn panels(mat: Mat<'_>) -> Vec<f32> {
    let (k, n) = mat.shape();
    equal_pieces(panel_numbers(k, n), k * PANEL, |j, panel| pack_panel(mat, j, panel))
}

impl<'a> RightFactor<'a> {
    /// The matrix as it lies: for few rows, or where its rows are contiguous and it is small.
    pub fn plain(mat: Mat<'a>) -> Self {
        Self { mat, panels: &[] }
    }

    /// The matrix with its panels, which [`pack_into`] or [`panels`] made of it (or none, see [`panel_numbers`]).
    pub fn packed(mat: Mat<'a>, panels: &'a [f32]) -> Self {
        let (k, n) = mat.shape();
        assert_eq!(panels.len(), panel_numbers(k, n), "panels of a {k}x{n} matrix");
        Self { mat, panels }
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        self.mat.shape()
    }

    /// Columns `begin..end`; `begin` is a multiple of 32.
    pub fn columns(&self, begin: usize, end: usize) -> Self {
        assert!(begin.is_multiple_of(PANEL), "columns from {begin} on begin inside a panel");
        let panels = match self.panels {
            [] => self.panels,
            all => {
                let k = self.mat.shape().0;
                &all[begin * k..end.next_multiple_of(PANEL) * k]
            }
        };
        Self { mat: self.mat.columns(begin, end), panels }
    }
}

/// `out = scale · a b` or `out += scale · a b`, with `a [m, k]`, `b [k, n]`, `out [m, n]`, on the calling thread.
///
/// # Panics
/// If the shapes do not fit: a mistake of the caller, never of the input.
// The output is a mutable borrow: taking it by value ends it with the call.
#[allow(clippy::needless_pass_by_value)]
pub fn multiply(a: Mat<'_>, b: &RightFactor<'_>, scale: f32, mode: WriteMode, out: MatMut<'_>) {
    #[cfg(target_arch = "x86_64")]
    if has_panels() && (!b.panels.is_empty() || b.mat.rows_contiguous().is_some()) {
        return avx512::multiply(a, b, scale, mode, out);
    }
    gemm(a, b.mat, scale, mode, out);
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod avx512 {
    use std::arch::x86_64::*;

    use super::super::gemm::{Mat, MatMut, WriteMode};
    use super::{PANEL, RightFactor};

    /// Rows of a tile: 24 of the 32 registers hold its sums.
    const STRIP: usize = 12;

    /// Rows of a panel that are fetched ahead of the one that is multiplied.
    const AHEAD: usize = 8;

    /// Where a product's numbers are.
    #[derive(Clone, Copy)]
    struct Place {
        k: usize,
        a: *const f32,
        a_row: usize,
        a_col: usize,
        b: *const f32,
        b_row: usize,
        /// What a tile fetches into the second cache, `next_step` further along with every row of its panel.
        next: *const f32,
        next_step: usize,
        c: *mut f32,
        c_row: usize,
        /// Which of a panel's two vectors' columns there are.
        columns: [u16; 2],
        scale: f32,
        add: bool,
    }

    #[allow(clippy::needless_pass_by_value)]
    pub fn multiply(a: Mat<'_>, b: &RightFactor<'_>, scale: f32, mode: WriteMode, out: MatMut<'_>) {
        let ((m, k), (_, n)) = (a.shape(), b.mat.shape());
        let (c, c_shape, c_row) = out.parts();
        assert_eq!((m, n, k), (c_shape.0, c_shape.1, b.mat.shape().0), "shapes of a product");
        if m == 0 || n == 0 {
            return;
        }
        let (a, a_row, a_col) = a.parts();
        let (b_data, b_row, b_panel) = match b.panels {
            [] => {
                let (data, row, _) = b.mat.parts();
                (data, row, PANEL)
            }
            panels => (panels, PANEL, k * PANEL),
        };
        // The strips of a panel share in fetching the next one: equal parts of what follows in memory, or, of a matrix as it lies, one of
        // the two lines in each of its rows.
        let share = (PANEL / m.div_ceil(STRIP)).max(1);
        let next = |strip: usize| match b.panels {
            [] => (strip % 2 * 16, b_row),
            _ => (strip * share * k, share),
        };
        for j in 0..n.div_ceil(PANEL) {
            let left = (n - j * PANEL).min(PANEL);
            let columns = [left.min(16), left.saturating_sub(16)].map(|n| ((1u32 << n) - 1) as u16);
            for i in (0..m).step_by(STRIP) {
                // SAFETY: the processor has AVX-512, which the caller found. Matrices were checked against their slices when they
                // were made and the shapes fit each other; a tile reads rows i.. of a, its own columns of b and c (those outside
                // of n are masked off) and nothing else. `c` is borrowed mutably and overlaps neither factor.
                unsafe {
                    let (next, next_step) = next(i / STRIP);
                    let place = Place {
                        k,
                        a: a.as_ptr().add(i * a_row),
                        a_row,
                        a_col,
                        b: b_data.as_ptr().add(if k == 0 { 0 } else { j * b_panel }),
                        b_row,
                        next: b_data.as_ptr().wrapping_add((j + 1) * b_panel + next),
                        next_step,
                        c: c.as_mut_ptr().add(i * c_row + j * PANEL),
                        c_row,
                        columns,
                        scale,
                        add: mode == WriteMode::Add,
                    };
                    tile(place, STRIP.min(m - i), left == PANEL);
                }
            }
        }
    }

    /// Chooses the kernel of a tile of `rows` rows.
    ///
    /// # Safety
    /// AVX-512, and `place` points to `rows` rows.
    #[target_feature(enable = "avx512f")]
    unsafe fn tile(place: Place, rows: usize, whole: bool) {
        macro_rules! by_rows {
            ($($n:literal)*) => {
                match (rows, whole) {
                    $(($n, true) => unsafe { sums::<$n, true>(place) },
                      ($n, false) => unsafe { sums::<$n, false>(place) },)*
                    _ => {}
                }
            };
        }
        by_rows!(1 2 3 4 5 6 7 8 9 10 11 12);
    }

    /// `ROWS` rows times a panel, all of its columns or those of the mask.
    ///
    /// # Safety
    /// As [`tile`].
    #[target_feature(enable = "avx512f")]
    unsafe fn sums<const ROWS: usize, const WHOLE: bool>(p: Place) {
        let [left, right] = p.columns;
        let (mut b, mut next, mut along) = (p.b, p.next, 0);
        // A pointer a row: found from one another they would be a chain of additions as long as the products take.
        let rows: [*const f32; ROWS] = std::array::from_fn(|i| p.a.wrapping_add(i * p.a_row));
        let mut sums = [[_mm512_setzero_ps(); 2]; ROWS];
        for _ in 0..p.k {
            // SAFETY: row k of the panel; masked columns are not read.
            let (b0, b1) = unsafe {
                match WHOLE {
                    true => (_mm512_loadu_ps(b), _mm512_loadu_ps(b.add(16))),
                    false => {
                        (_mm512_maskz_loadu_ps(left, b), _mm512_maskz_loadu_ps(right, b.wrapping_add(16)))
                    }
                }
            };
            let near = b.wrapping_add(AHEAD * p.b_row);
            // Fetching ahead reads nothing, wherever it points.
            _mm_prefetch::<_MM_HINT_T0>(near.cast());
            _mm_prefetch::<_MM_HINT_T0>(near.wrapping_add(16).cast());
            _mm_prefetch::<_MM_HINT_T1>(next.cast());
            for (row, sum) in rows.iter().zip(&mut sums) {
                // SAFETY: column k of the row.
                let x = _mm512_set1_ps(unsafe { *row.wrapping_add(along) });
                sum[0] = _mm512_fmadd_ps(x, b0, sum[0]);
                sum[1] = _mm512_fmadd_ps(x, b1, sum[1]);
            }
            along += p.a_col;
            b = b.wrapping_add(p.b_row);
            next = next.wrapping_add(p.next_step);
        }
        let scale = _mm512_set1_ps(p.scale);
        for (i, sum) in sums.into_iter().enumerate() {
            let c = p.c.wrapping_add(i * p.c_row);
            for (half, (sum, mask)) in sum.into_iter().zip([left, right]).enumerate() {
                let c = c.wrapping_add(16 * half);
                // SAFETY: masked columns are neither read nor written.
                unsafe {
                    let before = if p.add { _mm512_maskz_loadu_ps(mask, c) } else { _mm512_setzero_ps() };
                    _mm512_mask_storeu_ps(c, mask, _mm512_fmadd_ps(sum, scale, before));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    /// Rows further apart than they are long, and numbers after them that must not be touched.
    const GAP: usize = 5;

    fn check(m: usize, k: usize, n: usize, a_turned: bool, b_turned: bool, packed: bool) {
        let (a_data, b_data) = (numbers((m + GAP) * (k + GAP), 1), numbers((k + GAP) * (n + GAP), 2));
        let matrix = |data, rows, cols, turned| match turned {
            true => Mat::strided(data, cols, rows, rows + GAP).t(),
            false => Mat::strided(data, rows, cols, cols + GAP),
        };
        let (a, b) = (matrix(&a_data, m, k, a_turned), matrix(&b_data, k, n, b_turned));
        let space = panels(b);
        let right = if packed { RightFactor::packed(b, &space) } else { RightFactor::plain(b) };
        for mode in [WriteMode::Overwrite, WriteMode::Add] {
            let before = numbers(m * (n + GAP), 3);
            let mut out = before.clone();
            multiply(a, &right, 0.5, mode, MatMut::strided(&mut out, m, n, n + GAP));
            for (at, (found, before)) in out.iter().zip(&before).enumerate() {
                let (i, j) = (at / (n + GAP), at % (n + GAP));
                if j >= n {
                    assert_eq!(found, before);
                    continue;
                }
                let sum: f64 = (0..k).map(|p| f64::from(a.at(i, p)) * f64::from(b.at(p, j))).sum();
                let base = if mode == WriteMode::Add { f64::from(*before) } else { 0.0 };
                assert!((f64::from(*found) - base - 0.5 * sum).abs() < 1e-5, "{m}x{k}x{n} at {i}, {j}");
            }
        }
    }

    #[test]
    fn equals_the_naive_product_in_every_orientation() {
        for (m, k, n) in
            [(1, 1, 1), (3, 5, 7), (12, 20, 32), (25, 17, 65), (40, 33, 48), (4, 0, 2), (23, 64, 31)]
        {
            for bits in 0..8 {
                check(m, k, n, bits & 1 > 0, bits & 2 > 0, bits & 4 > 0);
            }
        }
    }

    #[test]
    fn a_row_has_the_same_bits_alone_and_among_others() {
        let (m, k, n) = (29, 77, 50);
        let (a, b) = (numbers(m * k, 1), numbers(n * k, 2));
        let b = Mat::new(&b, n, k).t();
        let space = panels(b);
        let right = RightFactor::packed(b, &space);
        let product = |a: &[f32]| {
            let mut out = vec![0.0; a.len() / k * n];
            multiply(
                Mat::new(a, a.len() / k, k),
                &right,
                1.0,
                WriteMode::Overwrite,
                MatMut::new(&mut out, a.len() / k, n),
            );
            out
        };
        let all = product(&a);
        for i in [0, 11, 12, 28] {
            let alone = product(&a[i * k..(i + 1) * k]);
            assert!(!has_panels() || alone == all[i * n..(i + 1) * n]);
        }
    }

    #[test]
    fn columns_of_panels_are_those_of_the_matrix() {
        let (k, n) = (9, 100);
        let (a, b) = (numbers(3 * k, 1), numbers(n * k, 2));
        let b = Mat::new(&b, n, k).t();
        let space = panels(b);
        let right = RightFactor::packed(b, &space);
        let (mut all, mut some) = (vec![0.0; 3 * n], vec![0.0; 3 * 45]);
        let a = Mat::new(&a, 3, k);
        multiply(a, &right, 1.0, WriteMode::Overwrite, MatMut::new(&mut all, 3, n));
        multiply(a, &right.columns(32, 77), 1.0, WriteMode::Overwrite, MatMut::new(&mut some, 3, 45));
        for i in 0..3 {
            for j in 0..45 {
                assert!((some[i * 45 + j] - all[i * n + 32 + j]).abs() < 1e-6);
            }
        }
    }
}

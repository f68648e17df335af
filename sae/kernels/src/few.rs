//! Few rows times a matrix that is read once: what a language model does for one new token.
//!
//! The matrix comes from memory once and that is what the time goes to. So the columns, not the rows, are cut into tasks, and a panel is
//! made in a buffer that stays in the cache just before it is used. The kernel is that of [`product`](super::product), so where that has
//! panels, a row has the same bits as among many.

use super::gemm::{Mat, MatMut, WriteMode};
use super::pieces::equal_pieces;
use super::product::{PANEL, RightFactor, has_panels, multiply, pack_into, panel_numbers};
use super::spare::Spare;

/// Columns of a task: a number that does not depend on the machine.
const COLUMNS: usize = 4 * PANEL;

/// `[rows, n]`, the product of `a [rows, k]` and `b [k, n]`, with all threads.
///
/// # Panics
/// If the shapes do not fit: a mistake of the caller.
pub fn few_rows(a: Mat<'_>, b: Mat<'_>) -> Vec<f32> {
    let ((rows, k), (depth, n)) = (a.shape(), b.shape());
    assert_eq!(k, depth, "shapes of a product");
    let spare = Spare::<Vec<f32>>::default();
    // Block after block of columns, each `[rows, columns]`.
    let blocks = equal_pieces(rows * n, rows * COLUMNS, |i, out| {
        let columns = i * COLUMNS..n.min((i + 1) * COLUMNS);
        let width = columns.len();
        if !has_panels() {
            let b = RightFactor::plain(b.columns(columns.start, columns.end));
            return multiply(a, &b, 1.0, WriteMode::Overwrite, MatMut::new(out, rows, width));
        }
        spare.with(|panel| {
            panel.resize(panel_numbers(k, PANEL), 0.0);
            for first in columns.clone().step_by(PANEL) {
                let end = columns.end.min(first + PANEL);
                let b = b.columns(first, end);
                pack_into(b, panel);
                let out = MatMut::strided(&mut out[first - columns.start..], rows, end - first, width);
                multiply(a, &RightFactor::packed(b, panel), 1.0, WriteMode::Overwrite, out);
            }
        });
    });
    if rows <= 1 { blocks } else { side_by_side(&blocks, rows, n) }
}

/// Blocks of columns → rows.
fn side_by_side(blocks: &[f32], rows: usize, n: usize) -> Vec<f32> {
    let mut out = vec![0.0; rows * n];
    for (i, block) in blocks.chunks(rows * COLUMNS).enumerate() {
        let width = block.len() / rows;
        for (row, out) in block.chunks_exact(width).zip(out.chunks_exact_mut(n)) {
            out[i * COLUMNS..][..width].copy_from_slice(row);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::product::panels;
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let next = |i: u32| i.wrapping_add(seed).wrapping_mul(2_654_435_761);
        (0..n as u32).map(|i| (next(i) >> 8) as f32 / 8.4e6 - 1.0).collect()
    }

    #[test]
    fn equals_the_naive_product_and_has_the_bits_of_many_rows() {
        for (rows, k, n) in [(1, 7, 5), (1, 40, 300), (3, 33, 128), (20, 64, 161), (0, 3, 4), (2, 0, 40)] {
            let (a, w) = (numbers(rows * k, 1), numbers(n * k, 2));
            let (a, b) = (Mat::new(&a, rows, k), Mat::new(&w, n, k).t());
            let found = few_rows(a, b);
            assert_eq!(found.len(), rows * n);
            let packed = panels(b);
            let mut many = vec![0.0; rows * n];
            multiply(
                a,
                &RightFactor::packed(b, &packed),
                1.0,
                WriteMode::Overwrite,
                MatMut::new(&mut many, rows, n),
            );
            assert!(!has_panels() || many == found, "{rows} {k} {n}");
            for (at, found) in found.iter().enumerate() {
                let (i, j) = (at / n, at % n);
                let sum: f64 = (0..k).map(|p| f64::from(a.at(i, p)) * f64::from(b.at(p, j))).sum();
                assert!((f64::from(*found) - sum).abs() < 1e-5, "{rows} {k} {n} at {i}, {j}");
            }
        }
    }
}

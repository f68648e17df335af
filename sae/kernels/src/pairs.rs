//! Every row of one matrix with every row of another, by blocked products, without a matrix of all of them.
//!
//! Whoever looks for the nearest rows folds the products of a row as they come. Blocks have a fixed size and
//! no result depends on another, so no bit depends on the number of threads.

use std::ops::Range;

use rayon::prelude::*;

use crate::gemm::rows_times_rows;

/// Rows that a task takes at a time, at most.
pub const ROWS: usize = 64;
/// Rows of the other matrix that they meet at a time: 64 × 4096 products are 1 MB, which stays in the cache.
pub const COLUMNS: usize = 4096;

/// For each row `i` in `rows` of `a[n, d]`: `start(i)` makes a state, `fold(&mut state, j, aᵢ · bⱼ)` sees
/// every row j of `b[m, d]` in ascending order, and `finish` turns the state into a result. Results are in
/// the rows' order.
///
/// A task holds the states of `block` rows (1 to [`ROWS`]) at once: choose fewer where a state is large.
pub fn fold_products<S, T: Send>(
    (a, b, d): (&[f32], &[f32], usize),
    rows: Range<usize>,
    block: usize,
    start: impl Fn(usize) -> S + Sync,
    fold: impl Fn(&mut S, usize, f32) + Sync,
    finish: impl Fn(S) -> T + Sync,
) -> Vec<T> {
    let block = block.clamp(1, ROWS);
    let of_block = |first: usize| {
        let rows = first..rows.end.min(first + block);
        let mut states: Vec<S> = rows.clone().map(&start).collect();
        let left = &a[rows.start * d..rows.end * d];
        let mut products = vec![0.0; rows.len() * COLUMNS.min(b.len().checked_div(d).unwrap_or(0))];
        for (index, right) in b.chunks(COLUMNS * d.max(1)).enumerate() {
            let width = right.len() / d;
            let out = &mut products[..rows.len() * width];
            rows_times_rows(out, left, right, rows.len(), width, d);
            for (state, products) in states.iter_mut().zip(out.chunks_exact(width)) {
                for (j, &product) in (index * COLUMNS..).zip(products) {
                    fold(state, j, product);
                }
            }
        }
        states.into_iter().map(&finish).collect::<Vec<T>>()
    };
    let starts: Vec<usize> = rows.clone().step_by(block).collect();
    let parts: Vec<Vec<T>> = starts.into_par_iter().map(of_block).collect();
    parts.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small integers, so that products are exact in any order.
    fn matrix(rows: usize, d: usize, salt: usize) -> Vec<f32> {
        (0..rows * d).map(|i| ((i * i * 7 + i * salt + salt) % 9) as f32 - 4.0).collect()
    }

    #[test]
    fn as_by_two_loops() {
        let d = 3;
        let (n, m) = (2 * ROWS + 5, COLUMNS + 17);
        let (a, b) = (matrix(n, d, 5), matrix(m, d, 11));
        for (rows, block) in [(0..n, ROWS), (10..n, 1000), (60..70, 7), (3..4, 0), (5..5, ROWS)] {
            let found = fold_products(
                (&a, &b, d),
                rows.clone(),
                block,
                |i| (i, Vec::new()),
                |(_, products), j, product| products.push((j, product)),
                |state| state,
            );
            assert_eq!(found.len(), rows.len());
            for (i, (row, products)) in rows.zip(found) {
                assert_eq!((i, products.len()), (row, m));
                for (j, (column, product)) in products.into_iter().enumerate() {
                    let expected: f32 = (0..d).map(|c| a[i * d + c] * b[j * d + c]).sum();
                    assert_eq!((j, product), (column, expected));
                }
            }
        }
    }

    #[test]
    fn nothing_to_meet_leaves_the_first_state() {
        let count =
            |b: &[f32]| fold_products((&[1.0, 2.0], b, 2), 0..1, ROWS, |_| 0, |n, _, _| *n += 1, |n| n);
        assert_eq!((count(&[]), count(&[1.0, 1.0])), (vec![0], vec![1]));
    }
}

//! The nearest row of another matrix for every row, by cosine.

use rayon::prelude::*;

use kernels::gemm::rows_times_rows;

/// Rows of a block.
const BLOCK: usize = 64;
/// Rows of the other matrix that it meets at a time.
const COLUMNS: usize = 4096;

/// The best match of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Nearest {
    /// Row of the other matrix; the first of equals.
    pub row: u32,
    /// Its cosine.
    pub cosine: f32,
    /// The second largest cosine, if the other matrix has two rows.
    pub second: Option<f32>,
}

/// For each row of `a[n, d]` the nearest of `b[m, d]`, m > 0. A row of length 0 has cosine 0 with everything. Blocks have a fixed size and
/// no result depends on another, so the bits do not depend on the number of threads. `done` is told how many rows are finished.
pub fn nearest(a: &[f32], b: &[f32], d: usize, mut done: impl FnMut(usize) -> bool) -> Option<Vec<Nearest>> {
    let (a, b) = (unit_rows(a, d), unit_rows(b, d));
    let mut found = Vec::with_capacity(a.len() / d);
    // Many blocks at a time, so that whoever waits is told and asked now and then.
    for blocks in a.chunks(64 * BLOCK * d) {
        let parts: Vec<Vec<Nearest>> = blocks.par_chunks(BLOCK * d).map(|rows| block(rows, &b, d)).collect();
        found.extend(parts.into_iter().flatten());
        if done(found.len()) {
            return None;
        }
    }
    Some(found)
}

fn block(rows: &[f32], b: &[f32], d: usize) -> Vec<Nearest> {
    let n = rows.len() / d;
    let mut best = vec![(0u32, f32::NEG_INFINITY, f32::NEG_INFINITY); n];
    let mut products = vec![0.0; n * COLUMNS];
    for (index, columns) in b.chunks(COLUMNS * d).enumerate() {
        let width = columns.len() / d;
        let out = &mut products[..n * width];
        rows_times_rows(out, rows, columns, n, width, d);
        for (best, cosines) in best.iter_mut().zip(out.chunks_exact(width)) {
            for (column, &cosine) in cosines.iter().enumerate() {
                if cosine > best.1 {
                    *best = ((index * COLUMNS + column) as u32, cosine, best.1);
                } else if cosine > best.2 {
                    best.2 = cosine;
                }
            }
        }
    }
    let clamp = |cosine: f32| cosine.clamp(-1.0, 1.0);
    best.into_iter()
        .map(|(row, cosine, second)| Nearest {
            row,
            cosine: clamp(cosine),
            second: second.is_finite().then(|| clamp(second)),
        })
        .collect()
}

/// The rows of `matrix[n, d]` scaled to length 1; zeros stay zeros.
fn unit_rows(matrix: &[f32], d: usize) -> Vec<f32> {
    let mut rows = matrix.to_vec();
    rows.par_chunks_mut(d).for_each(|row| {
        let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        if norm > 0.0 {
            row.iter_mut().for_each(|x| *x = (f64::from(*x) / norm) as f32);
        }
    });
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matrix(rows: usize, d: usize, salt: usize) -> Vec<f32> {
        (0..rows * d).map(|i| ((i * i * 7 + i * salt + salt) % 23) as f32 - 11.0).collect()
    }

    #[test]
    fn as_by_trying_all() {
        let d = 5;
        let (mut a, b) = (matrix(300, d, 3), matrix(COLUMNS + 77, d, 8));
        a[7 * d..8 * d].fill(0.0);
        let found = nearest(&a, &b, d, |_| false).unwrap();
        assert_eq!(found.len(), 300);
        let cosine = |x: &[f32], y: &[f32]| {
            let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(x * y)).sum::<f64>();
            dot(x, y) / (dot(x, x) * dot(y, y)).sqrt()
        };
        for (row, found) in
            a.chunks(d).zip(&found).step_by(13).filter(|(row, _)| row.iter().any(|x| *x != 0.0))
        {
            let mut all: Vec<f64> =
                b.chunks(d).map(|other| cosine(row, other)).filter(|c| c.is_finite()).collect();
            let own = cosine(row, &b[found.row as usize * d..][..d]);
            all.sort_by(|x, y| y.total_cmp(x));
            assert!((own - all[0]).abs() < 1e-5 && (f64::from(found.cosine) - all[0]).abs() < 1e-5);
            assert!((f64::from(found.second.unwrap()) - all[1]).abs() < 1e-5);
        }
        assert_eq!(found[7].cosine, 0.0, "a row of zeros is like nothing");
    }

    #[test]
    fn one_row_has_no_second_and_a_stop_is_heard() {
        let found = nearest(&[1.0, 0.0], &[2.0, 0.0], 2, |_| false).unwrap();
        assert_eq!(found, [Nearest { row: 0, cosine: 1.0, second: None }]);
        assert_eq!(nearest(&[1.0, 0.0], &[2.0, 0.0], 2, |_| true), None);
    }
}

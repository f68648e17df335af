//! The nearest row of another matrix for every row, by cosine.

use kernels::pairs::{ROWS, fold_products};
use kernels::wide::unit_rows;

/// Rows between two calls of `done`: many blocks, so that all threads have work.
const ROWS_AT_ONCE: usize = 64 * ROWS;

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

/// For each row of `a[n, d]` the nearest of `b[m, d]`, m > 0. A row of length 0 has cosine 0 with everything.
/// The bits do not depend on the number of threads. `done` is told how many rows are finished and says
/// whether to stop; then the answer is `None`.
pub fn nearest(a: &[f32], b: &[f32], d: usize, mut done: impl FnMut(usize) -> bool) -> Option<Vec<Nearest>> {
    let (a, b) = (unit_rows(a, d), unit_rows(b, d));
    let n = a.len() / d;
    let mut found = Vec::with_capacity(n);
    for first in (0..n).step_by(ROWS_AT_ONCE) {
        let rows = first..n.min(first + ROWS_AT_ONCE);
        found.extend(fold_products(
            (&a, &b, d),
            rows,
            ROWS,
            |_| TwoBest::default(),
            TwoBest::offer,
            Nearest::from,
        ));
        if done(found.len()) {
            return None;
        }
    }
    Some(found)
}

/// The largest cosine with its row, and the second largest.
struct TwoBest {
    row: u32,
    first: f32,
    second: f32,
}

impl Default for TwoBest {
    fn default() -> Self {
        Self { row: 0, first: f32::NEG_INFINITY, second: f32::NEG_INFINITY }
    }
}

impl TwoBest {
    fn offer(&mut self, row: usize, cosine: f32) {
        if cosine > self.first {
            *self = Self { row: row as u32, first: cosine, second: self.first };
        } else if cosine > self.second {
            self.second = cosine;
        }
    }
}

impl From<TwoBest> for Nearest {
    fn from(best: TwoBest) -> Self {
        // Rounding can make a cosine a little more than 1.
        let clamp = |cosine: f32| cosine.clamp(-1.0, 1.0);
        Self {
            row: best.row,
            cosine: clamp(best.first),
            second: best.second.is_finite().then(|| clamp(best.second)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::pairs::COLUMNS;

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

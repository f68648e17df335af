//! The best one-to-one assignment between the rows and the columns of a matrix (the Hungarian problem).

use std::borrow::Cow;

use kernels::gemm::{Mat, MatMut, WriteMode};
use kernels::product::{RightFactor, multiply, panels};
use kernels::wide::unit_rows;
use rayon::prelude::*;

/// Rows that a task multiplies.
const TASK_ROWS: usize = 64;

/// |cosine| `[n, m]` of every row of `a[n, d]` with every row of `b[m, d]`; a row of zeros has 0 with everything.
pub fn cosines(a: &[f32], b: &[f32], d: usize) -> Vec<f32> {
    let (a, b) = (unit_rows(a, d), unit_rows(b, d));
    let m = b.len() / d;
    let packed = panels(Mat::new(&b, m, d).t());
    let right = RightFactor::packed(Mat::new(&b, m, d).t(), &packed);
    let mut out = vec![0.0; a.len() / d * m];
    out.par_chunks_mut((TASK_ROWS * m).max(1)).zip(a.par_chunks(TASK_ROWS * d)).for_each(|(out, rows)| {
        let n = rows.len() / d;
        multiply(Mat::new(rows, n, d), &right, 1.0, WriteMode::Overwrite, MatMut::new(out, n, m));
        // Rounding can make a cosine a little more than 1.
        out.iter_mut().for_each(|x| *x = x.abs().min(1.0));
    });
    out
}

/// For each row of `profit[n, m]` the column that it is assigned: min(n, m) pairs with the largest sum of profits.
///
/// By shortest augmenting paths (Jonker and Volgenant 1987; Crouse 2016), in f64.
pub fn assign(profit: &[f32], n: usize, m: usize) -> Vec<Option<u32>> {
    if n > m {
        let turned: Vec<f32> = (0..n * m).map(|i| profit[i % n * m + i / n]).collect();
        let mut rows = vec![None; n];
        for (column, row) in assign(&turned, m, n).into_iter().enumerate() {
            if let Some(row) = row {
                rows[row as usize] = Some(column as u32);
            }
        }
        return rows;
    }
    Solver::new(Cow::Borrowed(profit), n, m).solve()
}

const NONE: usize = usize::MAX;

struct Solver<'a> {
    profit: Cow<'a, [f32]>,
    n: usize,
    m: usize,
    /// Dual prices of rows and columns: price + price ≤ cost everywhere, equal on assigned pairs.
    of_row: Vec<f64>,
    of_column: Vec<f64>,
    column_of: Vec<usize>,
    row_of: Vec<usize>,
}

impl<'a> Solver<'a> {
    fn new(profit: Cow<'a, [f32]>, n: usize, m: usize) -> Self {
        Self {
            profit,
            n,
            m,
            of_row: vec![0.0; n],
            of_column: vec![0.0; m],
            column_of: vec![NONE; n],
            row_of: vec![NONE; m],
        }
    }

    fn cost(&self, row: usize, column: usize) -> f64 {
        -f64::from(self.profit[row * self.m + column])
    }

    fn solve(mut self) -> Vec<Option<u32>> {
        (0..self.n).for_each(|row| self.augment(row));
        self.column_of.iter().map(|&column| (column != NONE).then_some(column as u32)).collect()
    }

    /// Assigns one more row: the cheapest path over assigned pairs from it to a free column, along which pairs change hands.
    fn augment(&mut self, start: usize) {
        let mut shortest = vec![f64::INFINITY; self.m];
        let mut from = vec![NONE; self.m];
        let mut open: Vec<usize> = (0..self.m).collect();
        let (mut rows, mut columns) = (vec![], vec![]);
        let (mut row, mut length) = (start, 0.0);
        let end = loop {
            rows.push(row);
            let (mut best, mut least) = (NONE, f64::INFINITY);
            for (place, &column) in open.iter().enumerate() {
                let through = length + self.cost(row, column) - self.of_row[row] - self.of_column[column];
                if through < shortest[column] {
                    (shortest[column], from[column]) = (through, row);
                }
                let ends_here = shortest[column] == least && self.row_of[column] == NONE;
                if shortest[column] < least || ends_here {
                    (best, least) = (place, shortest[column]);
                }
            }
            length = least;
            // A free column is left in every step, as no more rows than columns are assigned.
            let column = open.swap_remove(best);
            columns.push(column);
            if self.row_of[column] == NONE {
                break column;
            }
            row = self.row_of[column];
        };
        self.of_row[start] += length;
        for &other in &rows[1..] {
            self.of_row[other] += length - shortest[self.column_of[other]];
        }
        for &column in &columns {
            self.of_column[column] -= length - shortest[column];
        }
        let mut column = end;
        loop {
            let row = from[column];
            self.row_of[column] = row;
            std::mem::swap(&mut self.column_of[row], &mut column);
            if row == start {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    fn total(profit: &[f32], m: usize, assigned: &[Option<u32>]) -> f64 {
        let of =
            |(row, column): (usize, &Option<u32>)| column.map(|c| f64::from(profit[row * m + c as usize]));
        assigned.iter().enumerate().filter_map(of).sum()
    }

    /// The best sum by trying all ways, row by row.
    fn best(profit: &[f32], m: usize, row: usize, taken: u32) -> f64 {
        if (row + 1) * m > profit.len() {
            return 0.0;
        }
        let free = (0..m).filter(|column| taken & (1 << column) == 0);
        free.map(|column| {
            f64::from(profit[row * m + column]) + best(profit, m, row + 1, taken | (1 << column))
        })
        .fold(f64::NEG_INFINITY, f64::max)
    }

    #[test]
    fn small_ones_are_as_by_trying_all() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for (n, m) in [(1, 1), (3, 3), (4, 7), (6, 6), (5, 8)] {
            for round in 0..20 {
                // Ties in every other one.
                let mut number = || match round % 2 {
                    0 => rng.random::<f32>(),
                    _ => rng.random_range(0..4) as f32,
                };
                let profit: Vec<f32> = (0..n * m).map(|_| number()).collect();
                let found = assign(&profit, n, m);
                let mut columns: Vec<u32> = found.iter().map(|c| c.unwrap()).collect();
                columns.sort_unstable();
                columns.dedup();
                assert_eq!(columns.len(), n);
                assert!((total(&profit, m, &found) - best(&profit, m, 0, 0)).abs() < 1e-5);
                // The same matrix on its side has the same sum.
                let turned: Vec<f32> = (0..n * m).map(|i| profit[i % n * m + i / n]).collect();
                let other = assign(&turned, m, n);
                assert_eq!(other.iter().flatten().count(), n);
                assert!((total(&turned, n, &other) - total(&profit, m, &found)).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn a_large_one_proves_that_it_is_best() {
        let (n, m) = (150, 400);
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        let profit: Vec<f32> = (0..n * m).map(|_| rng.random::<f32>()).collect();
        let mut solver = Solver::new(Cow::Borrowed(&profit), n, m);
        (0..n).for_each(|row| solver.augment(row));
        // Duality: prices that no pair undercuts and that assigned pairs meet; columns that are free cost nothing.
        for row in 0..n {
            for column in 0..m {
                let slack = solver.cost(row, column) - solver.of_row[row] - solver.of_column[column];
                assert!(slack > -1e-9);
                assert!(solver.column_of[row] != column || slack < 1e-9);
            }
        }
        for column in 0..m {
            assert!(solver.of_column[column] <= 1e-12);
            assert!(solver.row_of[column] != NONE || solver.of_column[column] == 0.0);
        }
    }

    #[test]
    fn cosines_have_no_sign_and_zeros_are_like_nothing() {
        let found = cosines(&[3.0, 4.0, 0.0, 0.0], &[1.0, 0.0, -6.0, -8.0], 2);
        for (found, expected) in found.iter().zip([0.6, 1.0, 0.0, 0.0]) {
            assert!((found - expected).abs() < 1e-6);
        }
    }
}

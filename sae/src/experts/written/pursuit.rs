//! Simultaneous orthogonal matching pursuit from sums alone.
//!
//! With outputs as rows of Y and G = YᵀY, what a unit direction q carries of all outputs is qᵀGq, and what is left
//! once q is taken off is (1 − qqᵀ) G (1 − qqᵀ). So the outputs need not be kept. Directions are made orthogonal to
//! those chosen before, which is the same as fitting anew with all of them.

use kernels::chance::Generator;

/// YᵀY and Σ y of outputs, in f64.
#[derive(Debug, Clone)]
pub struct Gram {
    d: usize,
    /// `[d, d]`.
    squares: Vec<f64>,
    sum: Vec<f64>,
    /// Outputs.
    pub rows: u64,
}

impl Gram {
    pub fn new(d: usize) -> Self {
        Self { d, squares: vec![0.0; d * d], sum: vec![0.0; d], rows: 0 }
    }

    /// Adds outputs, row by row.
    pub fn add(&mut self, outputs: &[f32]) {
        for y in outputs.chunks_exact(self.d) {
            for (i, yi) in y.iter().enumerate() {
                let yi = f64::from(*yi);
                self.sum[i] += yi;
                let row = &mut self.squares[i * self.d..(i + 1) * self.d];
                row.iter_mut().zip(y).for_each(|(g, yj)| *g += yi * f64::from(*yj));
            }
            self.rows += 1;
        }
    }

    /// Σ over outputs of their squares.
    fn total(&self) -> f64 {
        (0..self.d).map(|i| self.squares[i * self.d + i]).sum()
    }

    /// G q.
    fn times(&self, q: &[f64]) -> Vec<f64> {
        self.squares.chunks_exact(self.d).map(|row| dot(row, q)).collect()
    }

    /// Takes the unit direction `q` off; gives what it carried.
    fn take(&mut self, q: &[f64]) -> f64 {
        let gq = self.times(q);
        let carried = dot(&gq, q);
        for (i, row) in self.squares.chunks_exact_mut(self.d).enumerate() {
            for (j, g) in row.iter_mut().enumerate() {
                *g += carried * q[i] * q[j] - gq[i] * q[j] - q[i] * gq[j];
            }
        }
        carried
    }
}

/// One direction that was chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    pub token: u32,
    /// Mean of its coefficient over the outputs, all directions up to it fitted together.
    pub coefficient: f64,
    /// Share of the squares that all directions up to it give.
    pub explained: f64,
}

/// Rows of the output matrix as unit vectors; a row of zeros is never chosen.
#[derive(Debug)]
pub struct Directions {
    d: usize,
    rows: Vec<f32>,
}

impl Directions {
    pub fn new(mut rows: Vec<f32>, d: usize) -> Self {
        rows.chunks_exact_mut(d).for_each(kernels::wide::scale_to_unit);
        Self { d, rows }
    }

    fn row(&self, token: usize) -> Vec<f64> {
        self.rows[token * self.d..][..self.d].iter().map(|v| f64::from(*v)).collect()
    }

    /// The part of a row that no direction of `basis` has, as a unit vector; none if nothing is left.
    fn new_part(&self, token: usize, basis: &[Vec<f64>]) -> Option<Vec<f64>> {
        let mut q = self.row(token);
        // Twice: once leaves what rounding made.
        for b in basis.iter().chain(basis) {
            let along = dot(&q, b);
            q.iter_mut().zip(b).for_each(|(q, b)| *q -= along * b);
        }
        let norm = dot(&q, &q).sqrt();
        (norm > 1e-6).then(|| q.iter().map(|v| v / norm).collect())
    }

    /// `rank` directions, or fewer where they give everything.
    pub fn pursue(&self, gram: &Gram, rank: usize) -> Vec<Step> {
        let (total, mut left) = (gram.total(), gram.clone());
        let (mut basis, mut chosen, mut steps): (Vec<Vec<f64>>, Vec<usize>, Vec<Step>) = Default::default();
        let (mut carried, tokens) = (0.0, self.rows.len() / self.d);
        while steps.len() < rank && total > 0.0 && carried < total * (1.0 - 1e-9) {
            let narrow: Vec<f32> = left.squares.iter().map(|g| *g as f32).collect();
            // What each row carries of what is left; rows are not made orthogonal here: the residual is.
            let mut best: Option<(usize, f32)> = None;
            for token in (0..tokens).filter(|t| !chosen.contains(t)) {
                let u = &self.rows[token * self.d..][..self.d];
                let of = narrow.chunks_exact(self.d).zip(u).map(|(row, ui)| ui * dot32(row, u)).sum::<f32>();
                if best.is_none_or(|(_, most)| of > most) {
                    best = Some((token, of));
                }
            }
            let Some((token, _)) = best else { break };
            chosen.push(token);
            let Some(q) = self.new_part(token, &basis) else { break };
            carried += left.take(&q);
            basis.push(q);
            steps.push(Step {
                token: token as u32,
                coefficient: self.coefficient(&chosen, gram),
                explained: carried / total,
            });
        }
        steps
    }

    /// Mean of the coefficient of the last of `chosen` in the least-squares fit of the outputs: that of their mean.
    fn coefficient(&self, chosen: &[usize], gram: &Gram) -> f64 {
        let rows: Vec<Vec<f64>> = chosen.iter().map(|t| self.row(*t)).collect();
        let mean: Vec<f64> = gram.sum.iter().map(|s| s / gram.rows.max(1) as f64).collect();
        let n = rows.len();
        let mut system: Vec<Vec<f64>> =
            rows.iter().map(|a| rows.iter().map(|b| dot(a, b)).chain([dot(a, &mean)]).collect()).collect();
        // Gauss, the largest pivot first; the matrix is that of independent directions.
        for column in 0..n {
            let pivot = (column..n)
                .max_by(|a, b| system[*a][column].abs().total_cmp(&system[*b][column].abs()))
                .unwrap_or(column);
            system.swap(column, pivot);
            let top = system[column].clone();
            if top[column] == 0.0 {
                return 0.0;
            }
            for row in system.iter_mut().skip(column + 1) {
                let factor = row[column] / top[column];
                row.iter_mut().zip(&top).skip(column).for_each(|(v, t)| *v -= factor * t);
            }
        }
        system[n - 1][n] / system[n - 1][n - 1]
    }

    /// Share of the squares that 1, 2, … `rank` directions drawn by chance give, mean of `draws`.
    pub fn by_chance(&self, gram: &Gram, rank: usize, draws: usize, rng: &mut Generator) -> Vec<f64> {
        let (total, tokens) = (gram.total(), self.rows.len() / self.d);
        let mut sums = vec![0.0; rank];
        for _ in 0..draws {
            let (mut left, mut basis, mut carried) = (gram.clone(), Vec::new(), 0.0);
            for sum in &mut sums {
                let token = (rng.next_u64() % tokens.max(1) as u64) as usize;
                if let Some(q) = self.new_part(token, &basis) {
                    carried += left.take(&q);
                    basis.push(q);
                }
                *sum += if total > 0.0 { carried / total } else { 0.0 };
            }
        }
        sums.into_iter().map(|sum| sum / draws.max(1) as f64).collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn dot32(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

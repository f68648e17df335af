//! Codes of 0 or more by least squares on few decoder rows (Lawson and Hanson 1974), and orthogonal matching pursuit with them.

use kernels::cholesky;
use kernels::wide::dot;

/// Share of ‖y‖ · ‖row‖ below which a product with what is left counts as 0.
const NOTHING: f64 = 1e-6;

/// Decoder rows that have codes, and what they leave of a token.
#[derive(Debug, Clone)]
pub struct Fit<'a> {
    rows: &'a [f32],
    d: usize,
    /// ‖y‖.
    norm: f64,
    /// Features, in the order in which they came.
    pub features: Vec<u32>,
    /// Their codes, > 0.
    pub codes: Vec<f64>,
    /// Products of their rows with each other, and with y.
    gram: Vec<Vec<f64>>,
    with_y: Vec<f64>,
    /// `[d]` y − Σ codes · rows.
    pub residual: Vec<f32>,
    y: &'a [f32],
}

impl<'a> Fit<'a> {
    /// No feature yet for `y[d]`, which is to be made of `rows[F, d]`.
    pub fn new(rows: &'a [f32], y: &'a [f32]) -> Self {
        Self {
            rows,
            d: y.len(),
            norm: dot(y, y).sqrt(),
            features: Vec::new(),
            codes: Vec::new(),
            gram: Vec::new(),
            with_y: Vec::new(),
            residual: y.to_vec(),
            y,
        }
    }

    /// The best codes of 0 or more on `features`: those that get 0 are left out.
    pub fn on(rows: &'a [f32], y: &'a [f32], features: &[u32]) -> Self {
        let mut fit = Self::new(rows, y);
        for _ in 0..3 * features.len() {
            let best = features
                .iter()
                .filter(|feature| !fit.features.contains(feature))
                .map(|&feature| (feature, fit.slope(feature)))
                .fold((0, 0.0), |best, one| if one.1 > best.1 { one } else { best });
            if best.1 <= NOTHING * fit.norm || !fit.enter(best.0) {
                break;
            }
        }
        fit
    }

    fn row(&self, feature: u32) -> &'a [f32] {
        &self.rows[feature as usize * self.d..(feature as usize + 1) * self.d]
    }

    /// Product of what is left with a row, for a row of norm 1.
    fn slope(&self, feature: u32) -> f64 {
        let row = self.row(feature);
        let norm = dot(row, row).sqrt();
        if norm > 0.0 { dot(&self.residual, row) / norm } else { 0.0 }
    }

    /// Whether `product` of what is left with a row of norm 1 can still be told from rounding.
    pub fn sees(&self, product: f64) -> bool {
        product > NOTHING * self.norm
    }

    /// Adds a feature and fits all codes again; features whose code would fall below 0 leave. False if the new one itself did,
    /// which only rounding can make: nothing more is to be gained then.
    pub fn enter(&mut self, feature: u32) -> bool {
        let row = self.row(feature);
        let mut products: Vec<f64> = self.features.iter().map(|&other| dot(self.row(other), row)).collect();
        for (of_other, &product) in self.gram.iter_mut().zip(&products) {
            of_other.push(product);
        }
        products.push(dot(row, row));
        self.gram.push(products);
        self.with_y.push(dot(self.y, row));
        self.features.push(feature);
        self.codes.push(0.0);
        while let Some(solution) = solve(&self.gram, &self.with_y) {
            // How far the codes can go towards the solution before one of them is 0.
            let reach = self
                .codes
                .iter()
                .zip(&solution)
                .filter(|(_, to)| **to <= 0.0)
                .map(|(from, to)| if from > to { from / (from - to) } else { 0.0 })
                .fold(1.0, f64::min);
            for (code, to) in self.codes.iter_mut().zip(&solution) {
                *code += reach * (to - *code);
            }
            if solution.iter().all(|to| *to > 0.0) {
                break;
            }
            self.leave_zeros(&solution);
        }
        self.leave(&self.codes.iter().map(|code| *code <= 0.0).collect::<Vec<_>>());
        self.residual.copy_from_slice(self.y);
        let rows: Vec<&[f32]> = self.features.iter().map(|&feature| self.row(feature)).collect();
        for (row, code) in rows.into_iter().zip(&self.codes) {
            self.residual
                .iter_mut()
                .zip(row)
                .for_each(|(r, w)| *r = (f64::from(*r) - code * f64::from(*w)) as f32);
        }
        self.features.contains(&feature)
    }

    /// At least one leaves: those that are at 0 and would go below.
    fn leave_zeros(&mut self, solution: &[f64]) {
        let size = self.codes.iter().fold(0.0_f64, |most, code| most.max(code.abs()));
        let out: Vec<bool> =
            self.codes.iter().zip(solution).map(|(code, to)| *to <= 0.0 && *code <= 1e-12 * size).collect();
        if out.contains(&true) {
            return self.leave(&out);
        }
        let worst = (0..self.codes.len()).min_by(|&a, &b| solution[a].total_cmp(&solution[b]));
        self.leave(&(0..self.codes.len()).map(|i| Some(i) == worst).collect::<Vec<_>>());
    }

    fn leave(&mut self, out: &[bool]) {
        let stays = |i: usize| !out[i];
        let indices: Vec<usize> = (0..self.features.len()).filter(|&i| stays(i)).collect();
        self.features = indices.iter().map(|&i| self.features[i]).collect();
        self.codes = indices.iter().map(|&i| self.codes[i]).collect();
        self.with_y = indices.iter().map(|&i| self.with_y[i]).collect();
        self.gram = indices.iter().map(|&i| indices.iter().map(|&j| self.gram[i][j]).collect()).collect();
    }

    /// ‖y − Σ codes · rows‖².
    pub fn error(&self) -> f64 {
        dot(&self.residual, &self.residual)
    }

    /// Features, ascending, with their codes.
    pub fn sorted(&self) -> (Vec<u32>, Vec<f32>) {
        let mut pairs: Vec<(u32, f32)> =
            self.features.iter().copied().zip(self.codes.iter().map(|&code| code as f32)).collect();
        pairs.sort_unstable_by_key(|&(feature, _)| feature);
        pairs.into_iter().unzip()
    }
}

/// The solution of `gram` · s = `right` by Cholesky's decomposition; `None` of nothing.
fn solve(gram: &[Vec<f64>], right: &[f64]) -> Option<Vec<f64>> {
    let n = right.len();
    if n == 0 {
        return None;
    }
    // Rows that are the same make a matrix that cannot be decomposed: a trace of its diagonal more, and it can.
    let ridge = 1e-12 * (0..n).map(|i| gram[i][i]).sum::<f64>() / n as f64;
    let mut lower = vec![0.0; n * n];
    for (i, row) in gram.iter().enumerate() {
        lower[i * n..i * n + n].copy_from_slice(row);
        lower[i * n + i] += ridge;
    }
    cholesky::factor(&mut lower, n, ridge);
    let mut s = right.to_vec();
    cholesky::solve(&lower, n, &mut s);
    Some(s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dictionary::tests::numbers;

    /// The best error of all supports within `features`, by trying all of them and keeping those with codes above 0.
    fn by_trying_all(rows: &[f32], y: &[f32], features: &[u32]) -> f64 {
        let d = y.len();
        let row = |f: u32| &rows[f as usize * d..(f as usize + 1) * d];
        let mut best = dot(y, y);
        for chosen in 1_u32..1 << features.len() {
            let of: Vec<u32> = features
                .iter()
                .enumerate()
                .filter(|(i, _)| chosen & (1 << i) != 0)
                .map(|(_, f)| *f)
                .collect();
            let gram: Vec<Vec<f64>> =
                of.iter().map(|&a| of.iter().map(|&b| dot(row(a), row(b))).collect()).collect();
            let right: Vec<f64> = of.iter().map(|&a| dot(y, row(a))).collect();
            let s = eliminate(gram, right);
            if s.iter().any(|s| *s < 0.0) {
                continue;
            }
            let error: f64 = (0..d)
                .map(|c| {
                    let made: f64 = of.iter().zip(&s).map(|(&f, s)| s * f64::from(row(f)[c])).sum();
                    (f64::from(y[c]) - made).powi(2)
                })
                .sum();
            best = best.min(error);
        }
        best
    }

    /// Gauss's elimination with pivots.
    fn eliminate(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
        let n = b.len();
        for i in 0..n {
            let pivot = (i..n).max_by(|&p, &q| a[p][i].abs().total_cmp(&a[q][i].abs())).unwrap();
            a.swap(i, pivot);
            b.swap(i, pivot);
            for r in i + 1..n {
                let factor = a[r][i] / a[i][i];
                let pivot = a[i].clone();
                a[r].iter_mut().zip(&pivot).skip(i).for_each(|(x, of_pivot)| *x -= factor * of_pivot);
                b[r] -= factor * b[i];
            }
        }
        for i in (0..n).rev() {
            let sum: f64 = (i + 1..n).map(|c| a[i][c] * b[c]).sum();
            b[i] = (b[i] - sum) / a[i][i];
        }
        b
    }

    #[test]
    fn least_squares_of_zero_or_more_are_as_by_trying_all_supports() {
        let (d, features) = (9, 40);
        let rows = numbers(features * d, 3);
        for seed in 0..60 {
            let y = numbers(d, 100 + seed);
            let chosen: Vec<u32> = (0..7).map(|i| (seed * 5 + i * 3) % 40).collect();
            let fit = Fit::on(&rows, &y, &chosen);
            assert!(fit.codes.iter().all(|code| *code > 0.0));
            let exact = by_trying_all(&rows, &y, &chosen);
            assert!((fit.error() - exact).abs() < 1e-5, "{seed}: {} is not {exact}", fit.error());
        }
    }

    #[test]
    fn the_same_row_twice_is_no_obstacle() {
        let rows = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let fit = Fit::on(&rows, &[2.0, -1.0], &[0, 1, 2]);
        assert!((fit.error() - 1.0).abs() < 1e-6);
        assert!((fit.codes.iter().sum::<f64>() - 2.0).abs() < 1e-5);
    }
}

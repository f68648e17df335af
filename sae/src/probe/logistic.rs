//! Logistic regression with two classes: the minimum of `Σ ln(1 + exp(−yᵢ(w·xᵢ + b))) + ‖w‖₁ / C` or `… + ‖w‖² / 2C`, in f64. The bias has no
//! penalty. That is scikit-learn's objective divided by C, solved until it no longer moves instead of for a number of passes.
//!
//! With few columns Newton's method: one matrix `XᵀDX` per step, then a linear system (l2) or coordinate descent on the quadratic model (l1,
//! as Friedman, Hastie & Tibshirani 2010), then a line search on the true objective. With many columns, and l2, L-BFGS.

use std::collections::VecDeque;

use kernels::cholesky;

/// What keeps weights small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Penalty {
    /// ‖w‖₁.
    L1,
    /// ‖w‖² / 2.
    L2,
}

impl Penalty {
    /// The name in files, as the peer writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::L1 => "l1",
            Self::L2 => "l2",
        }
    }
}

/// A fitted probe.
#[derive(Debug, Clone, PartialEq)]
pub struct Fit {
    /// `[k]`
    pub weights: Vec<f64>,
    /// b.
    pub bias: f64,
}

impl Fit {
    /// `w·x + b` of every row of `x[n, k]`.
    pub fn scores(&self, x: &[f64]) -> Vec<f64> {
        let dot = |row: &[f64]| row.iter().zip(&self.weights).map(|(x, w)| x * w).sum::<f64>() + self.bias;
        match self.weights.len() {
            0 => Vec::new(),
            k => x.chunks_exact(k).map(dot).collect(),
        }
    }
}

/// Columns up to which Newton's method is used.
const FEW: usize = 512;
/// Steps, at most: each shrinks the error many times over, so what is left after them does not move a rank.
const NEWTON_STEPS: usize = 60;
/// Sweeps of coordinate descent in a step, at most.
const SWEEPS: usize = 200;
/// Steps of L-BFGS, at most, and what it remembers.
const LBFGS_STEPS: usize = 1000;
const MEMORY: usize = 10;

/// Fits rows `x[n, k]` with labels `[n]`, from `start` if it is given.
pub fn fit(x: &[f64], labels: &[bool], c: f64, penalty: Penalty, start: Option<&Fit>) -> Fit {
    let k = x.len() / labels.len().max(1);
    let problem =
        Problem { x, signs: labels.iter().map(|&l| if l { 1.0 } else { -1.0 }).collect(), k, c, penalty };
    // Bias last: a column of ones.
    let mut at = vec![0.0; k + 1];
    if let Some(start) = start.filter(|start| start.weights.len() == k) {
        at[..k].copy_from_slice(&start.weights);
        at[k] = start.bias;
    }
    if k <= FEW || penalty == Penalty::L1 {
        problem.newton(&mut at);
    } else {
        problem.lbfgs(&mut at);
    }
    let bias = at.pop().unwrap_or_default();
    Fit { weights: at, bias }
}

struct Problem<'a> {
    x: &'a [f64],
    signs: Vec<f64>,
    k: usize,
    c: f64,
    penalty: Penalty,
}

/// ln(1 + exp(−m)) without overflow.
fn loss(m: f64) -> f64 {
    if m > 0.0 { (-m).exp().ln_1p() } else { m.exp().ln_1p() - m }
}

/// 1 / (1 + exp(m)): the probability of the wrong class.
fn wrong(m: f64) -> f64 {
    if m > 0.0 { (-m).exp() / (1.0 + (-m).exp()) } else { 1.0 / (1.0 + m.exp()) }
}

impl Problem<'_> {
    fn margins(&self, at: &[f64]) -> Vec<f64> {
        let rows = self.x.chunks_exact(self.k.max(1)).zip(&self.signs);
        let dot = |row: &[f64]| row.iter().zip(at).map(|(x, w)| x * w).sum::<f64>() + at[self.k];
        rows.map(|(row, sign)| sign * dot(row)).collect()
    }

    fn objective(&self, at: &[f64]) -> f64 {
        let losses: f64 = self.margins(at).into_iter().map(loss).sum();
        let size: f64 = match self.penalty {
            Penalty::L1 => at[..self.k].iter().map(|w| w.abs()).sum(),
            Penalty::L2 => at[..self.k].iter().map(|w| 0.5 * w * w).sum(),
        };
        losses + size / self.c
    }

    /// Gradient of the losses.
    fn gradient(&self, margins: &[f64]) -> Vec<f64> {
        let mut gradient = vec![0.0; self.k + 1];
        for ((row, sign), &m) in self.x.chunks_exact(self.k.max(1)).zip(&self.signs).zip(margins) {
            let slope = -sign * wrong(m);
            gradient.iter_mut().zip(row).for_each(|(g, x)| *g += slope * x);
            gradient[self.k] += slope;
        }
        gradient
    }

    /// `XᵀDX` with the column of ones, its lower triangle, `[k+1, k+1]`.
    fn curvature(&self, margins: &[f64]) -> Vec<f64> {
        let n = self.k + 1;
        let (mut h, mut scaled) = (vec![0.0; n * n], vec![0.0; n]);
        for (row, &m) in self.x.chunks_exact(self.k.max(1)).zip(margins) {
            let p = wrong(m);
            let d = p * (1.0 - p);
            if d == 0.0 {
                continue;
            }
            scaled.iter_mut().zip(row).for_each(|(s, x)| *s = d * x);
            scaled[self.k] = d;
            for (i, &s) in scaled.iter().enumerate().filter(|(_, s)| **s != 0.0) {
                let lower = &mut h[i * n..i * n + i + 1];
                lower.iter_mut().zip(row).for_each(|(h, x)| *h += s * x);
                if i == self.k {
                    lower[i] += s;
                }
            }
        }
        h
    }

    fn newton(&self, at: &mut [f64]) {
        let (n, mut value) = (self.k + 1, self.objective(at));
        for _ in 0..NEWTON_STEPS {
            let margins = self.margins(at);
            let (gradient, mut h) = (self.gradient(&margins), self.curvature(&margins));
            // Where all rows are far from the border there is next to no curvature; a step must stay finite all the same.
            let most = (0..n).map(|i| h[i * n + i]).fold(0.0, f64::max);
            (0..n).for_each(|i| h[i * n + i] += 1e-10 * most + 1e-12);
            let step = match self.penalty {
                Penalty::L2 => self.newton_step(&gradient, h, at),
                Penalty::L1 => self.shrinking_step(&gradient, &h, at),
            };
            let Some(next) = self.line_search(at, &step, value) else { return };
            at.iter_mut().zip(&step).for_each(|(w, s)| *w += next.0 * s);
            let gained = value - next.1;
            value = next.1;
            if gained <= 1e-11 * value.abs().max(1e-6) {
                return;
            }
        }
    }

    /// The largest of 1, ½, ¼, … by which a step lowers the objective, and what it is then.
    fn line_search(&self, at: &[f64], step: &[f64], value: f64) -> Option<(f64, f64)> {
        let mut length = 1.0;
        for _ in 0..40 {
            let moved: Vec<f64> = at.iter().zip(step).map(|(w, s)| w + length * s).collect();
            let found = self.objective(&moved);
            if found < value {
                return Some((length, found));
            }
            length *= 0.5;
        }
        None
    }

    fn newton_step(&self, gradient: &[f64], mut h: Vec<f64>, at: &[f64]) -> Vec<f64> {
        let n = self.k + 1;
        let mut right: Vec<f64> = gradient.iter().map(|g| -g).collect();
        for i in 0..self.k {
            h[i * n + i] += 1.0 / self.c;
            right[i] -= at[i] / self.c;
        }
        cholesky::factor(&mut h, n, f64::MIN_POSITIVE);
        cholesky::solve(&h, n, &mut right);
        right
    }

    /// Coordinate descent on `gᵀs + ½ sᵀHs + ‖w + s‖₁ / C`.
    fn shrinking_step(&self, gradient: &[f64], h: &[f64], at: &[f64]) -> Vec<f64> {
        let n = self.k + 1;
        let entry = |i: usize, j: usize| if i >= j { h[i * n + j] } else { h[j * n + i] };
        let (mut step, mut slope) = (vec![0.0; n], gradient.to_vec());
        for _ in 0..SWEEPS {
            let mut moved = 0.0_f64;
            for i in 0..n {
                let diagonal = entry(i, i);
                let free = at[i] + step[i] - slope[i] / diagonal;
                let threshold = if i == self.k { 0.0 } else { 1.0 / (self.c * diagonal) };
                let wanted = free.signum() * (free.abs() - threshold).max(0.0);
                let change = wanted - at[i] - step[i];
                if change != 0.0 {
                    step[i] += change;
                    (0..n).for_each(|j| slope[j] += change * entry(i, j));
                    moved = moved.max(change * change * diagonal);
                }
            }
            if moved < 1e-14 {
                break;
            }
        }
        step
    }

    /// L-BFGS (Nocedal & Wright, algorithm 7.5) in columns scaled to one size.
    fn lbfgs(&self, at: &mut [f64]) {
        let n = self.k + 1;
        let mut scale = vec![0.0; n];
        for row in self.x.chunks_exact(self.k) {
            scale.iter_mut().zip(row).for_each(|(s, x)| *s += x * x);
        }
        scale[self.k] = self.signs.len() as f64;
        let rows = self.signs.len() as f64;
        scale.iter_mut().for_each(|s| *s = if *s > 0.0 { (rows / *s).sqrt() } else { 1.0 });
        let full = |at: &[f64]| -> Vec<f64> {
            let mut gradient = self.gradient(&self.margins(at));
            (0..self.k).for_each(|i| gradient[i] += at[i] / self.c);
            gradient.iter().zip(&scale).map(|(g, s)| g * s).collect()
        };
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
        let (mut gradient, mut value) = (full(at), self.objective(at));
        let mut pairs: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
        for _ in 0..LBFGS_STEPS {
            if gradient.iter().fold(0.0_f64, |a, g| a.max(g.abs())) < 1e-7 * rows {
                return;
            }
            let mut direction: Vec<f64> = gradient.iter().map(|g| -g).collect();
            let mut along = Vec::new();
            for (s, y) in pairs.iter().rev() {
                let a = dot(s, &direction) / dot(s, y);
                direction.iter_mut().zip(y).for_each(|(d, y)| *d -= a * y);
                along.push(a);
            }
            match pairs.back() {
                Some((s, y)) => {
                    let first = dot(s, y) / dot(y, y);
                    direction.iter_mut().for_each(|d| *d *= first);
                }
                // Nothing is known of the curvature: a first step of modest length.
                None => {
                    let length = dot(&gradient, &gradient).sqrt();
                    direction.iter_mut().for_each(|d| *d /= length);
                }
            }
            for ((s, y), a) in pairs.iter().zip(along.iter().rev()) {
                let b = dot(y, &direction) / dot(s, y);
                direction.iter_mut().zip(s).for_each(|(d, s)| *d += (a - b) * s);
            }
            let step: Vec<f64> = direction.iter().zip(&scale).map(|(d, s)| d * s).collect();
            let Some((length, found)) = self.line_search(at, &step, value) else { return };
            at.iter_mut().zip(&step).for_each(|(w, s)| *w += length * s);
            let next = full(at);
            let s: Vec<f64> = direction.iter().map(|d| length * d).collect();
            let y: Vec<f64> = next.iter().zip(&gradient).map(|(a, b)| a - b).collect();
            if dot(&s, &y) > 1e-12 * dot(&y, &y) {
                pairs.push_back((s, y));
                if pairs.len() > MEMORY {
                    pairs.pop_front();
                }
            }
            let gained = value - found;
            (gradient, value) = (next, found);
            if gained <= 1e-12 * value.abs() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::chance::{Purpose, generator, normal};

    /// Rows of two overlapping classes; columns of very different size, as features have.
    fn data(n: usize, k: usize) -> (Vec<f64>, Vec<bool>) {
        let mut rng = generator(5, Purpose::Samples, k as u64, 0);
        let mut draw = || f64::from(normal(&mut rng));
        let (mut x, mut labels) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let row: Vec<f64> = (0..k).map(|j| 10f64.powi(j as i32 % 3) * draw()).collect();
            labels.push(row[0] + 0.7 * draw() - 0.2 > 0.0);
            x.extend(row);
        }
        (x, labels)
    }

    /// At a minimum no small change of any coordinate lowers the objective, and what the penalty holds at 0 has a slope below 1/C.
    #[test]
    fn fits_are_minima() {
        for (penalty, k, c) in [
            (Penalty::L2, 6, 1.0),
            (Penalty::L2, 6, 1e5),
            (Penalty::L2, 6, 1e-5),
            (Penalty::L1, 6, 1.0),
            (Penalty::L1, 6, 0.05),
            (Penalty::L1, 6, 1e5),
            (Penalty::L2, FEW + 40, 1e-3),
        ] {
            let (x, labels) = data(150, k);
            let fitted = fit(&x, &labels, c, penalty, None);
            let signs = labels.iter().map(|&l| if l { 1.0 } else { -1.0 }).collect();
            let problem = Problem { x: &x, signs, k, c, penalty };
            let at = [fitted.weights.clone(), vec![fitted.bias]].concat();
            let least = problem.objective(&at);
            for i in (0..=k).step_by(1 + k / 30) {
                for change in [-1e-3, 1e-3] {
                    let mut other = at.clone();
                    other[i] += change * other[i].abs().max(1e-3);
                    let found = problem.objective(&other);
                    assert!(found >= least - 1e-6, "{penalty:?} {k} {c}, column {i}: {found} < {least}");
                }
            }
            let by_hand: f64 = x
                .chunks(k)
                .zip(&labels)
                .map(|(row, &label)| {
                    let score: f64 =
                        row.iter().zip(&fitted.weights).map(|(x, w)| x * w).sum::<f64>() + fitted.bias;
                    let probability = 1.0 / (1.0 + (-score).exp());
                    -(if label { probability } else { 1.0 - probability }).ln()
                })
                .sum();
            let size: f64 = match penalty {
                Penalty::L1 => fitted.weights.iter().map(|w| w.abs()).sum(),
                Penalty::L2 => fitted.weights.iter().map(|w| w * w / 2.0).sum(),
            };
            assert!((by_hand + size / c - least).abs() < 1e-6 * (1.0 + least), "{penalty:?} {c}");
        }
    }

    #[test]
    fn a_strong_l1_penalty_leaves_the_bias_alone() {
        let (x, labels) = data(150, 4);
        let fitted = fit(&x, &labels, 1e-6, Penalty::L1, None);
        let positives = labels.iter().filter(|l| **l).count() as f64;
        assert_eq!(fitted.weights, [0.0; 4]);
        assert!((fitted.bias - (positives / (150.0 - positives)).ln()).abs() < 1e-6);
    }

    #[test]
    fn separable_classes_stay_finite() {
        let x: Vec<f64> = (0..40).map(|i| f64::from(i) - 19.5).collect();
        let labels: Vec<bool> = x.iter().map(|&x| x > 0.0).collect();
        for penalty in [Penalty::L1, Penalty::L2] {
            let fitted = fit(&x, &labels, 1e5, penalty, None);
            assert!(fitted.weights[0].is_finite() && fitted.weights[0] > 1.0 && fitted.bias.abs() < 1.0);
        }
    }
}

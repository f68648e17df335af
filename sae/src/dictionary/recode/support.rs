//! The most probable features of a token under spikes and slabs, by expectation truncation (Lücke & Eggert 2010; Sheikh, Shelton &
//! Lücke 2014): candidates are chosen, and the posterior is computed exactly over the states that these can make.
//!
//! With y = Σ a_i w_i + noise over a support S, precision matrix M = W_S W_Sᵀ / σ² + diag(1 / v) and r = W_S y / σ² + μ / v, the codes
//! are integrated out:
//!
//! ```text
//! log p(S | y) = ½ rᵀ M⁻¹ r − ½ log |M| + Σ over S of ( log odds − ½ log v − ½ μ² / v ) + constant
//! ```
//!
//! A token of a language model has tens of features, too many to try all sets of them. So the states of one turn are those that keep
//! all but the [`CANDIDATES`] of the support that are easiest to do without, and choose among these and as many others; the most
//! probable of them is where the next turn begins, until it is the one that the turn began with. Where there are no more features than
//! candidates, these are all states there are.

use kernels::cholesky;
use kernels::encode::products;
use kernels::wide::dot;

use super::coding::Decoder;
use super::{Codes, Slabs};

/// Features of the support, and others, that a turn chooses among.
const CANDIDATES: usize = 5;
/// Turns at most.
const TURNS: usize = 50;
/// By how much the log probability must grow for another turn.
const LEAST_GAIN: f64 = 1e-6;

impl Decoder<'_> {
    /// The most probable supports of `y[n, d]` that were found from those of `own` with at most as many features, and the expected codes
    /// on them, as far as they are above 0.
    pub(super) fn most_probable(&self, y: &[f32], own: &Codes, slabs: &Slabs) -> Codes {
        let (d, features) = (self.d, self.rows.len() / self.d);
        let mut tokens: Vec<Token<'_>> = y
            .chunks_exact(d)
            .enumerate()
            .map(|(i, y)| Token::new(self.rows, slabs, y, own.row(i).0))
            .collect();
        let mut open: Vec<usize> = (0..tokens.len()).filter(|&i| tokens[i].most > 0).collect();
        let (mut residuals, mut all) = (Vec::new(), Vec::new());
        for _ in 0..TURNS {
            residuals.clear();
            for &i in &open {
                tokens[i].solve();
                residuals.extend_from_slice(&tokens[i].residual);
            }
            products(&mut all, &residuals, self.rows, d);
            let mut still = Vec::new();
            for (&i, products) in open.iter().zip(all.chunks_exact(features)) {
                if tokens[i].turn(products) {
                    still.push(i);
                }
            }
            open = still;
            if open.is_empty() {
                break;
            }
        }
        let mut codes = Codes::default();
        for token in &mut tokens {
            let (features, values) = token.codes();
            codes.push_row(&features, &values);
        }
        codes
    }
}

/// A token with its support.
struct Token<'a> {
    rows: &'a [f32],
    slabs: &'a Slabs,
    y: &'a [f32],
    /// Features at most.
    most: usize,
    support: Vec<u32>,
    /// Lower triangle L of M = L Lᵀ, `[k, k]`, and L⁻¹ r, `[k]`.
    factor: Vec<f64>,
    forward: Vec<f64>,
    /// Expected codes, `[k]`.
    mean: Vec<f64>,
    /// What they leave of y, `[d]`.
    residual: Vec<f32>,
}

impl<'a> Token<'a> {
    fn new(rows: &'a [f32], slabs: &'a Slabs, y: &'a [f32], support: &[u32]) -> Self {
        Self {
            rows,
            slabs,
            y,
            most: support.len(),
            support: support.to_vec(),
            factor: Vec::new(),
            forward: Vec::new(),
            mean: Vec::new(),
            residual: y.to_vec(),
        }
    }

    fn row(&self, feature: u32) -> &'a [f32] {
        let d = self.y.len();
        &self.rows[feature as usize * d..(feature as usize + 1) * d]
    }

    /// An element of M.
    fn precision(&self, i: u32, j: u32) -> f64 {
        let product = dot(self.row(i), self.row(j)) / self.slabs.noise;
        if i == j { product + 1.0 / self.slabs.variance[i as usize] } else { product }
    }

    /// An element of r.
    fn right(&self, feature: u32) -> f64 {
        let i = feature as usize;
        dot(self.row(feature), self.y) / self.slabs.noise + self.slabs.mean[i] / self.slabs.variance[i]
    }

    /// What a feature adds to the log probability before y is seen.
    fn prior(&self, feature: u32) -> f64 {
        self.slabs.prior[feature as usize]
    }

    /// Decomposes M of the support, and finds the expected codes and what they leave.
    fn solve(&mut self) {
        (self.factor, self.forward) = self.decompose(&self.support);
        self.mean.clone_from(&self.forward);
        cholesky::backward(&self.factor, self.support.len(), &mut self.mean);
        self.residual.copy_from_slice(self.y);
        for (&feature, code) in self.support.iter().zip(&self.mean) {
            let d = self.y.len();
            let row = &self.rows[feature as usize * d..(feature as usize + 1) * d];
            self.residual.iter_mut().zip(row).for_each(|(r, w)| *r -= *code as f32 * w);
        }
    }

    /// L of M over `support`, and L⁻¹ r.
    fn decompose(&self, support: &[u32]) -> (Vec<f64>, Vec<f64>) {
        let k = support.len();
        let mut factor = vec![0.0; k * k];
        for i in 0..k {
            (0..=i).for_each(|j| factor[i * k + j] = self.precision(support[i], support[j]));
        }
        cholesky::factor(&mut factor, k, f64::MIN_POSITIVE);
        let mut forward: Vec<f64> = support.iter().map(|&feature| self.right(feature)).collect();
        cholesky::forward(&factor, k, &mut forward);
        (factor, forward)
    }

    /// What the log probability loses without each feature of the support. With P = M⁻¹ and expected code m it is
    /// prior + m² / 2P_ii + ½ log P_ii.
    fn losses(&self) -> Vec<f64> {
        let k = self.support.len();
        let mut losses = Vec::with_capacity(k);
        let mut column = vec![0.0; k];
        for i in 0..k {
            // P_ii is the squared length of L⁻¹ e_i.
            column.fill(0.0);
            column[i] = 1.0;
            cholesky::forward(&self.factor, k, &mut column);
            let squares: f64 = column.iter().map(|x| x * x).sum();
            let quadratic = self.mean[i] * self.mean[i] / (2.0 * squares);
            losses.push(self.prior(self.support[i]) + quadratic + 0.5 * squares.ln());
        }
        losses
    }

    /// What a feature would add to the log probability if its row were at right angles to the support's; `product` is that of its row with
    /// the residual. By this the others are ranked; what they add is computed after.
    fn promise(&self, feature: usize, product: f64) -> f64 {
        let (slabs, noise) = (self.slabs, self.slabs.noise);
        let variance = slabs.variance[feature];
        let along = product / noise + slabs.mean[feature] / variance;
        slabs.alone[feature] + along * along / (2.0 / noise + 2.0 / variance)
    }

    /// One turn, with the products of all rows with the residual; false if the support stays as it is.
    fn turn(&mut self, products: &[f32]) -> bool {
        let losses = self.losses();
        let mut inside: Vec<usize> = (0..losses.len()).collect();
        inside.sort_by(|&a, &b| losses[a].total_cmp(&losses[b]));
        inside.truncate(CANDIDATES);
        let mut outside: Vec<(f64, u32)> = Vec::with_capacity(CANDIDATES + 1);
        for (feature, &product) in products.iter().enumerate() {
            let promise = self.promise(feature, f64::from(product));
            if outside.len() == CANDIDATES && promise <= outside[CANDIDATES - 1].0 {
                continue;
            }
            if self.support.contains(&(feature as u32)) {
                continue;
            }
            let at = outside.partition_point(|(other, _)| *other >= promise);
            outside.insert(at, (promise, feature as u32));
            outside.truncate(CANDIDATES);
        }
        let kept: Vec<u32> =
            (0..self.support.len()).filter(|i| !inside.contains(i)).map(|i| self.support[i]).collect();
        let mut candidates: Vec<u32> = inside.iter().map(|&i| self.support[i]).collect();
        let before = candidates.len();
        candidates.extend(outside.iter().map(|(_, feature)| feature));
        let mut states = States::new(self, &kept, &candidates, self.most - kept.len());
        let stays = states.value_of_first(before);
        states.visit(0, 0.0);
        let (value, chosen) = states.best;
        if value <= stays + LEAST_GAIN {
            return false;
        }
        self.support = kept;
        self.support.extend(chosen.into_iter().map(|i| candidates[i]));
        true
    }

    /// The support, ascending, with expected codes above 0.
    fn codes(&mut self) -> (Vec<u32>, Vec<f32>) {
        self.solve();
        let pairs = self.support.iter().zip(&self.mean).filter(|(_, code)| **code > 0.0);
        let mut pairs: Vec<(u32, f32)> = pairs.map(|(feature, code)| (*feature, *code as f32)).collect();
        pairs.sort_unstable_by_key(|(feature, _)| *feature);
        pairs.into_iter().unzip()
    }
}

/// The supports that keep some features and choose among candidates: log probabilities against the kept ones alone.
struct States {
    /// M and r of the candidates without what the kept features explain, `[c, c]` and `[c]`.
    precision: Vec<f64>,
    right: Vec<f64>,
    prior: Vec<f64>,
    /// Candidates at most.
    most: usize,
    /// Those of the state that is looked at, with the rows of its triangle and of what is solved by it.
    chosen: Vec<usize>,
    factor: Vec<Vec<f64>>,
    forward: Vec<f64>,
    /// The most probable state so far.
    best: (f64, Vec<usize>),
}

impl States {
    fn new(token: &Token<'_>, kept: &[u32], candidates: &[u32], most: usize) -> Self {
        let (factor, forward) = token.decompose(kept);
        let k = kept.len();
        // L⁻¹ times each candidate's column of M.
        let explained = |&candidate: &u32| {
            let mut column: Vec<f64> = kept.iter().map(|&i| token.precision(i, candidate)).collect();
            cholesky::forward(&factor, k, &mut column);
            column
        };
        let columns: Vec<Vec<f64>> = candidates.iter().map(explained).collect();
        let product = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
        let mut precision = Vec::with_capacity(candidates.len().pow(2));
        for (&i, of_i) in candidates.iter().zip(&columns) {
            let row = candidates.iter().zip(&columns);
            precision.extend(row.map(|(&j, of_j)| token.precision(i, j) - product(of_i, of_j)));
        }
        let right = candidates.iter().zip(&columns);
        Self {
            precision,
            right: right.map(|(&i, column)| token.right(i) - product(column, &forward)).collect(),
            prior: candidates.iter().map(|&i| token.prior(i)).collect(),
            most,
            chosen: Vec::new(),
            factor: Vec::new(),
            forward: Vec::new(),
            best: (f64::NEG_INFINITY, Vec::new()),
        }
    }

    /// Adds a candidate to the state; what that adds to the log probability.
    fn enter(&mut self, i: usize) -> f64 {
        let n = self.prior.len();
        let mut row: Vec<f64> = Vec::with_capacity(self.chosen.len() + 1);
        for (&j, of_j) in self.chosen.iter().zip(&self.factor) {
            let sum: f64 = row.iter().zip(of_j).map(|(a, b)| a * b).sum();
            row.push((self.precision[i * n + j] - sum) / of_j[row.len()]);
        }
        // Rounding may leave nothing.
        let rest = self.precision[i * n + i] - row.iter().map(|x| x * x).sum::<f64>();
        let diagonal = rest.max(f64::MIN_POSITIVE).sqrt();
        let sum: f64 = row.iter().zip(&self.forward).map(|(a, b)| a * b).sum();
        let forward = (self.right[i] - sum) / diagonal;
        row.push(diagonal);
        self.chosen.push(i);
        self.factor.push(row);
        self.forward.push(forward);
        self.prior[i] + 0.5 * forward * forward - diagonal.ln()
    }

    fn leave(&mut self) {
        self.chosen.pop();
        self.factor.pop();
        self.forward.pop();
    }

    /// The log probability of the state of the first `n` candidates.
    fn value_of_first(&mut self, n: usize) -> f64 {
        let value = (0..n).map(|i| self.enter(i)).sum();
        (0..n).for_each(|_| self.leave());
        value
    }

    /// Looks at the present state, whose log probability is `value`, and at all that have candidates from `from` on as well.
    fn visit(&mut self, from: usize, value: f64) {
        if value > self.best.0 {
            self.best = (value, self.chosen.clone());
        }
        if self.chosen.len() == self.most {
            return;
        }
        for i in from..self.prior.len() {
            let with = value + self.enter(i);
            self.visit(i + 1, with);
            self.leave();
        }
    }
}

// Elimination is written down index by index, as it is defined.
#[cfg(test)]
#[allow(clippy::needless_range_loop)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use kernels::wide::unit_rows;

    fn decoder<'a>(rows: &'a [f32], d: usize, slabs: &'a Slabs) -> Decoder<'a> {
        Decoder { rows, d, step: 0.0, iterations: 1, slabs: Some(slabs) }
    }

    /// Features that behave in different ways, their rows, and tokens that are made as the model says; which features made each.
    fn made(
        d: usize,
        features: usize,
        rate: f64,
        noise: f64,
        n: usize,
    ) -> (Vec<f32>, Slabs, Vec<f32>, Vec<Vec<u32>>) {
        let mut rng = ChaCha8Rng::seed_from_u64(11);
        let rows: Vec<f32> = (0..features * d).map(|_| rng.random_range(-1.0..1.0)).collect();
        let rows = unit_rows(&rows, d);
        let rates: Vec<f64> = (0..features).map(|_| rate * rng.random_range(0.5..1.5)).collect();
        let mean: Vec<f64> = (0..features).map(|_| rng.random_range(1.0..2.0)).collect();
        let variance: Vec<f64> = (0..features).map(|_| rng.random_range(0.05..0.3)).collect();
        let mut normal = {
            let mut rng = rng.clone();
            move || -> f64 { (0..12).map(|_| rng.random_range(-0.5..0.5_f64)).sum() }
        };
        let (mut y, mut made) = (Vec::new(), Vec::new());
        for _ in 0..n {
            let of: Vec<u32> =
                (0..features as u32).filter(|&f| rng.random_range(0.0..1.0) < rates[f as usize]).collect();
            let mut row: Vec<f64> = (0..d).map(|_| noise.sqrt() * normal()).collect();
            for &f in &of {
                let f = f as usize;
                let code = mean[f] + variance[f].sqrt() * normal();
                row.iter_mut().zip(&rows[f * d..]).for_each(|(x, w)| *x += code * f64::from(*w));
            }
            y.extend(row.iter().map(|x| *x as f32));
            made.push(of);
        }
        let log_odds = rates.iter().map(|p| (p / (1.0 - p)).ln()).collect();
        (rows, Slabs::new(log_odds, mean, variance, noise), y, made)
    }

    /// log p(S, y) by the density of a normal row with mean Σ μ w and covariance σ² I + Σ v w wᵀ, by Gauss's elimination.
    fn log_joint(rows: &[f32], slabs: &Slabs, y: &[f32], support: &[u32]) -> f64 {
        let d = y.len();
        let w = |f: u32, c: usize| f64::from(rows[f as usize * d + c]);
        let mut covariance = vec![vec![0.0; d]; d];
        let mut left: Vec<f64> = y.iter().map(|y| f64::from(*y)).collect();
        for a in 0..d {
            covariance[a][a] = slabs.noise;
            for &f in support {
                left[a] -= slabs.mean[f as usize] * w(f, a);
                for b in 0..d {
                    covariance[a][b] += slabs.variance[f as usize] * w(f, a) * w(f, b);
                }
            }
        }
        let (mut log_determinant, mut quadratic) = (0.0, 0.0);
        let mut rest = left.clone();
        for i in 0..d {
            let pivot = covariance[i][i];
            log_determinant += pivot.ln();
            quadratic += rest[i] * rest[i] / pivot;
            for r in i + 1..d {
                let factor = covariance[r][i] / pivot;
                for c in i..d {
                    covariance[r][c] -= factor * covariance[i][c];
                }
                rest[r] -= factor * rest[i];
            }
        }
        let odds: f64 = support.iter().map(|&f| slabs.log_odds[f as usize]).sum();
        odds - 0.5 * log_determinant - 0.5 * quadratic
    }

    #[test]
    fn what_is_lost_without_a_feature_is_what_the_densities_say() {
        let (rows, slabs, y, made) = made(7, 20, 0.2, 0.1, 40);
        for (y, support) in y.chunks_exact(7).zip(&made) {
            let mut token = Token::new(&rows, &slabs, y, support);
            token.solve();
            let whole = log_joint(&rows, &slabs, y, support);
            for (loss, &feature) in token.losses().iter().zip(support) {
                let without: Vec<u32> = support.iter().copied().filter(|&f| f != feature).collect();
                let expected = whole - log_joint(&rows, &slabs, y, &without);
                assert!((loss - expected).abs() < 1e-5 * (1.0 + expected.abs()), "{loss} is not {expected}");
            }
        }
    }

    /// Where there are no more features than candidates, all supports are states: the one that is found is the most probable of all.
    #[test]
    fn of_few_features_the_most_probable_support_is_found() {
        let (d, features) = (6, 8);
        let (rows, slabs, y, made) = made(d, features, 0.3, 0.05, 60);
        let mut own = Codes::default();
        // From a support that has the right size, but is one feature to the right.
        for of in &made {
            let mut wrong: Vec<u32> = of.iter().map(|f| (f + 1) % features as u32).collect();
            wrong.sort_unstable();
            own.push_row(&wrong, &vec![1.0; wrong.len()]);
        }
        let decoder = decoder(&rows, d, &slabs);
        for (i, y) in y.chunks_exact(d).enumerate() {
            let most = own.row(i).0.len();
            let best = (0_u32..1 << features)
                .map(|bits| (0..features as u32).filter(|f| bits & (1 << f) != 0).collect::<Vec<u32>>())
                .filter(|support| support.len() <= most)
                .max_by(|a, b| log_joint(&rows, &slabs, y, a).total_cmp(&log_joint(&rows, &slabs, y, b)))
                .unwrap();
            let mut alone = Codes::default();
            alone.push_row(own.row(i).0, own.row(i).1);
            let found = decoder.most_probable(y, &alone, &slabs);
            let mut token = Token::new(&rows, &slabs, y, &best);
            token.solve();
            assert_eq!(found.row(0).0, token.codes().0, "token {i}: {best:?}");
        }
    }

    /// Among many features a turn never loses, and nearly all of what was planted is found from supports that are half wrong.
    #[test]
    fn of_many_features_those_that_made_a_token_are_found() {
        let (d, features) = (40, 120);
        let (rows, slabs, y, made) = made(d, features, 0.04, 0.002, 100);
        let mut own = Codes::default();
        for of in &made {
            let wrong: std::collections::BTreeSet<u32> = of
                .iter()
                .enumerate()
                .map(|(i, f)| if i % 2 == 0 { (f + 7) % features as u32 } else { *f })
                .collect();
            let wrong: Vec<u32> = wrong.into_iter().collect();
            own.push_row(&wrong, &vec![1.0; wrong.len()]);
        }
        let found = decoder(&rows, d, &slabs).most_probable(&y, &own, &slabs);
        let (mut right, mut all) = (0, 0);
        for (i, y) in y.chunks_exact(d).enumerate() {
            let (from, to) = (own.row(i).0, found.row(i).0);
            assert!(to.len() <= from.len());
            let (before, after) = (log_joint(&rows, &slabs, y, from), log_joint(&rows, &slabs, y, to));
            assert!(after >= before - 1e-3 * before.abs(), "{after} is less than {before}");
            right += made[i].iter().filter(|f| to.contains(f)).count();
            all += made[i].len();
        }
        assert!(right * 100 >= all * 95, "{right} of {all}");
    }
}

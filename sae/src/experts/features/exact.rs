//! Tests of a 2 × 2 table: Fisher's exact p, Wilson's interval, mutual information, and corrections for many
//! tests.

/// z of a 95 % interval.
const Z: f64 = 1.959_963_984_540_054;

/// Two events over `n` trials.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Table {
    /// Both happened.
    pub joint: u64,
    /// The first happened.
    pub a: u64,
    /// The second happened.
    pub b: u64,
    /// Trials.
    pub n: u64,
}

impl Table {
    /// `joint · n / (a · b)`: 1 where the events know nothing of each other, 0 where one never happens.
    pub fn lift(&self) -> f64 {
        let expected = self.a as f64 * self.b as f64;
        if expected == 0.0 { 0.0 } else { self.joint as f64 * self.n as f64 / expected }
    }

    /// Mutual information of the two events, bits.
    pub fn mutual_information(&self) -> f64 {
        let (n, a, b, joint) = (self.n as f64, self.a as f64, self.b as f64, self.joint as f64);
        let cells =
            [(joint, a, b), (a - joint, a, n - b), (b - joint, n - a, b), (n - a - b + joint, n - a, n - b)];
        let term = |(cell, row, column): (f64, f64, f64)| {
            if cell > 0.0 { cell / n * (cell * n / (row * column)).log2() } else { 0.0 }
        };
        cells.into_iter().map(term).sum::<f64>().max(0.0)
    }

    /// Two-sided p of Fisher's exact test: twice the smaller tail of the hypergeometric distribution, at most
    /// 1.
    ///
    /// Exact also where counts are small, where a χ² approximation finds things that are not there.
    pub fn p(&self, factorials: &LogFactorials) -> f64 {
        let (low, high) = ((self.a + self.b).saturating_sub(self.n), self.a.min(self.b));
        let at = self.probability(factorials);
        let upper = self.tail(at, self.joint..high, |t, x| t.up(x));
        let lower = self.tail(at, low..self.joint, |t, x| t.down(x));
        (2.0 * upper.min(lower)).min(1.0)
    }

    fn probability(&self, ln: &LogFactorials) -> f64 {
        let choose = |n: u64, k: u64| ln.of(n) - ln.of(k) - ln.of(n - k);
        let (joint, a, b, n) = (self.joint, self.a, self.b, self.n);
        (choose(a, joint) + choose(n - a, b - joint) - choose(n, b)).exp()
    }

    /// P(x + 1) / P(x).
    fn up(&self, x: f64) -> f64 {
        let (a, b, n) = (self.a as f64, self.b as f64, self.n as f64);
        (a - x) * (b - x) / ((x + 1.0) * (n - a - b + x + 1.0))
    }

    /// P(x − 1) / P(x).
    fn down(&self, x: f64) -> f64 {
        1.0 / self.up(x - 1.0)
    }

    /// Sum of probabilities from `joint`, whose own is `at`, to the far end of `steps`.
    fn tail(&self, at: f64, steps: std::ops::Range<u64>, ratio: impl Fn(&Self, f64) -> f64) -> f64 {
        let (mut sum, mut term, mut x) = (at, at, self.joint as f64);
        let up = steps.start == self.joint;
        for _ in steps {
            let ratio = ratio(self, x);
            term *= ratio;
            sum += term;
            x += if up { 1.0 } else { -1.0 };
            // From here terms only shrink, and faster and faster.
            if ratio < 1.0 && term < 1e-17 * sum {
                break;
            }
        }
        sum.min(1.0)
    }
}

/// ln n! for n up to a number of trials: 8 bytes a trial.
#[derive(Debug, Clone)]
pub struct LogFactorials(Vec<f64>);

impl LogFactorials {
    /// Up to `n`.
    pub fn up_to(n: u64) -> Self {
        let mut sum = 0.0;
        let logs = (1..=n).map(|i| {
            sum += (i as f64).ln();
            sum
        });
        Self(std::iter::once(0.0).chain(logs).collect())
    }

    fn of(&self, n: u64) -> f64 {
        self.0[n as usize]
    }
}

/// 95 % interval of a share of `hits` in `n` (Wilson, 1927): right also near 0 and 1. `(0, 1)` for n = 0.
pub fn wilson(hits: u64, n: u64) -> (f64, f64) {
    if n == 0 {
        return (0.0, 1.0);
    }
    let (p, n) = (hits as f64 / n as f64, n as f64);
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    (((centre - half) / scale).max(0.0), ((centre + half) / scale).min(1.0))
}

/// How p is corrected for the number of tests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Correction {
    /// Of what is found, at most the stated share is expected to be chance (Benjamini and Hochberg).
    #[default]
    BenjaminiHochberg,
    /// With at most the stated probability anything at all of what is found is chance.
    Bonferroni,
}

impl Correction {
    /// The largest p that is still found among `tests` tests at `rate`, or `None` when nothing is. `p` holds
    /// those that may be small; the order does not matter.
    pub fn threshold(self, p: &[f64], tests: u64, rate: f64) -> Option<f64> {
        let bound = rate / tests.max(1) as f64;
        match self {
            Self::Bonferroni => Some(bound),
            Self::BenjaminiHochberg => {
                let mut sorted = p.to_vec();
                sorted.sort_unstable_by(f64::total_cmp);
                (1..=sorted.len()).rev().find(|&i| sorted[i - 1] <= bound * i as f64).map(|i| sorted[i - 1])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(joint: u64, a: u64, b: u64, n: u64) -> f64 {
        Table { joint, a, b, n }.p(&LogFactorials::up_to(n))
    }

    /// By adding up all tables with the same margins, with binomials as products.
    fn naive(joint: u64, a: u64, b: u64, n: u64) -> f64 {
        let choose = |n: u64, k: u64| (0..k).fold(1.0, |c, i| c * (n - i) as f64 / (i + 1) as f64);
        let of = |x: u64| choose(a, x) * choose(n - a, b - x) / choose(n, b);
        let (low, high) = ((a + b).saturating_sub(n), a.min(b));
        let upper: f64 = (joint..=high).map(of).sum();
        let lower: f64 = (low..=joint).map(of).sum();
        (2.0 * upper.min(lower)).min(1.0)
    }

    #[test]
    fn exact_against_all_tables() {
        for (joint, a, b, n) in
            [(3, 5, 8, 20), (0, 5, 8, 20), (5, 5, 8, 20), (8, 15, 12, 20), (40, 60, 90, 150), (7, 7, 7, 100)]
        {
            let (found, wanted) = (p(joint, a, b, n), naive(joint, a, b, n));
            assert!((found - wanted).abs() <= 1e-9 * wanted, "{joint} {a} {b} {n}: {found}, {wanted}");
        }
        // The lady tasting tea, four of four: 1 / 70 one-sided.
        assert!((p(4, 4, 4, 8) - 2.0 / 70.0).abs() < 1e-12);
    }

    #[test]
    fn large_tables_agree_with_the_normal_approximation() {
        // Expected 1000, standard deviation √(n p (1−p) q (1−q)) = 28.46; three of them away p ≈ 0.0027.
        let (a, b, n) = (10_000, 10_000, 100_000);
        assert!((p(1085, a, b, n) - 0.0027).abs() < 6e-4);
        assert!(p(1000, a, b, n) > 0.9);
        assert!(p(10_000, a, b, n) < 1e-300);
    }

    #[test]
    fn wilson_by_published_values() {
        // 81 of 263 (Newcombe 1998): 0.2553 to 0.3662; 15 of 148: 0.0624 to 0.1605; 0 of 20: 0 to 0.1611.
        for (hits, n, low, high) in
            [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)]
        {
            let found = wilson(hits, n);
            assert!((found.0 - low).abs() < 1e-4 && (found.1 - high).abs() < 1e-4, "{found:?}");
        }
        assert_eq!(wilson(0, 0), (0.0, 1.0));
    }

    #[test]
    fn information_by_hand() {
        let of = |joint, a, b, n| Table { joint, a, b, n };
        assert!((of(50, 50, 50, 100).mutual_information() - 1.0).abs() < 1e-12);
        assert!(of(25, 50, 50, 100).mutual_information() < 1e-12);
        assert_eq!((of(30, 40, 50, 100).lift(), of(0, 0, 5, 10).lift()), (1.5, 0.0));
    }

    #[test]
    fn corrections() {
        let p = [0.01, 0.02, 0.03, 0.04, 0.9];
        let bh = Correction::BenjaminiHochberg;
        assert_eq!(bh.threshold(&p, 5, 0.05), Some(0.04));
        assert_eq!(bh.threshold(&p, 50, 0.05), None);
        assert_eq!(Correction::Bonferroni.threshold(&p, 5, 0.05), Some(0.01));
        assert_eq!(bh.threshold(&[], 0, 0.05), None);
    }
}

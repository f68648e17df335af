//! What error it makes to leave the weakest units out, for every threshold of a grid.

use std::sync::LazyLock;

use storage::cett::CettPoint;

/// Thresholds of an octave.
const PER_OCTAVE: i32 = 16;
/// Octaves below and above 1.
const OCTAVES: [i32; 2] = [-40, 24];
/// Errors that tables show.
pub const ERRORS: [f64; 4] = [0.01, 0.05, 0.1, 0.2];

/// The thresholds, ascending: 0, which leaves nothing out, then sixteen per octave from 2⁻⁴⁰ to 2²⁴.
static GRID: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let steps = OCTAVES[0] * PER_OCTAVE..=OCTAVES[1] * PER_OCTAVE;
    let power = |step: i32| f64::from(step) / f64::from(PER_OCTAVE);
    std::iter::once(0.0).chain(steps.map(|step| power(step).exp2() as f32)).collect()
});

/// Sums over tokens for every threshold.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Σ ‖left out‖ / ‖all‖.
    errors: Vec<f64>,
    /// Units that are left out.
    left_out: Vec<u64>,
    units: u64,
    zero: u64,
    tokens: u64,
}

impl Default for Curve {
    fn default() -> Self {
        Self { errors: vec![0.0; GRID.len()], left_out: vec![0; GRID.len()], units: 0, zero: 0, tokens: 0 }
    }
}

impl Curve {
    /// Counts a token whose units have these norms; `add(i, sum)` adds the vector of unit `i` to a sum of `d` numbers.
    pub fn add(&mut self, norms: &[f32], d: usize, mut add: impl FnMut(usize, &mut [f32])) {
        self.tokens += 1;
        self.units += norms.len() as u64;
        self.zero += norms.iter().filter(|norm| **norm == 0.0).count() as u64;
        let mut order: Vec<u32> = (0..norms.len() as u32).collect();
        order.sort_unstable_by(|a, b| norms[*a as usize].total_cmp(&norms[*b as usize]));
        // The sum of the vectors that are left out, and its norm from the threshold on that leaves them out.
        let mut sum = vec![0.0; d];
        let mut steps: Vec<(usize, u64, f64)> = Vec::new();
        let mut at = 0;
        while at < order.len() {
            let first = GRID.partition_point(|least| *least <= norms[order[at] as usize]);
            while at < order.len()
                && first == GRID.partition_point(|least| *least <= norms[order[at] as usize])
            {
                add(order[at] as usize, &mut sum);
                at += 1;
            }
            steps.push((first, at as u64, length(&sum)));
        }
        let all = steps.last().map_or(0.0, |step| step.2);
        for (i, (first, count, length)) in steps.iter().enumerate() {
            let end = steps.get(i + 1).map_or(GRID.len(), |next| next.0);
            for place in *first..end {
                self.left_out[place] += count;
                self.errors[place] += if all > 0.0 { length / all } else { 0.0 };
            }
        }
    }

    /// Adds the tokens of a different part.
    pub fn merge(&mut self, other: &Self) {
        self.errors.iter_mut().zip(&other.errors).for_each(|(a, b)| *a += b);
        self.left_out.iter_mut().zip(&other.left_out).for_each(|(a, b)| *a += b);
        self.units += other.units;
        self.zero += other.zero;
        self.tokens += other.tokens;
    }

    /// Place in the grid of the largest threshold whose mean error is at most `cett`; leaving nothing out makes no error, so there is one.
    fn place(&self, cett: f64) -> usize {
        let most = cett * self.tokens as f64;
        // The largest, wherever it is: vectors may cancel, so errors need not grow with the threshold.
        self.errors.iter().rposition(|error| *error <= most).unwrap_or(0)
    }

    /// That threshold.
    pub fn threshold(&self, cett: f64) -> f32 {
        GRID[self.place(cett)]
    }

    /// The shares that can be left out at [`ERRORS`].
    pub fn by_error(&self) -> Vec<CettPoint> {
        ERRORS.map(|cett| CettPoint { cett, left_out: self.share(cett) }).to_vec()
    }

    /// The share of units that can be left out at an error of `cett`.
    pub fn share(&self, cett: f64) -> f64 {
        self.left_out[self.place(cett)] as f64 / self.units.max(1) as f64
    }

    /// Units per token.
    pub fn units(&self) -> f64 {
        self.units as f64 / self.tokens.max(1) as f64
    }

    /// Units that are exactly 0, and all.
    pub fn zero(&self) -> (u64, u64) {
        (self.zero, self.units)
    }
}

fn length(vector: &[f32]) -> f64 {
    kernels::wide::dot(vector, vector).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::chance::{Purpose, generator, normal};

    /// Vectors of a token's units, `[units][d]`.
    fn token(seed: u64, units: usize, d: usize) -> Vec<Vec<f32>> {
        let mut rng = generator(seed, Purpose::Samples, 0, 0);
        let vector = |i: usize, rng: &mut _| {
            let scale = if i.is_multiple_of(5) { 0.0 } else { (normal(rng) * 1.5).exp() };
            (0..d).map(|_| scale * normal(rng)).collect()
        };
        (0..units).map(|i| vector(i, &mut rng)).collect()
    }

    fn norm(vector: &[f64]) -> f64 {
        vector.iter().map(|v| v * v).sum::<f64>().sqrt()
    }

    /// The definition, threshold by threshold, in f64.
    #[test]
    fn errors_and_shares_are_those_of_the_definition() {
        let d = 6;
        let tokens: Vec<Vec<Vec<f32>>> = (0..20).map(|t| token(t, 30 + t as usize, d)).collect();
        let norms = |units: &[Vec<f32>]| -> Vec<f32> {
            units.iter().map(|v| norm(&v.iter().map(|x| f64::from(*x)).collect::<Vec<_>>()) as f32).collect()
        };
        let mut whole = Curve::default();
        let mut halves = [Curve::default(), Curve::default()];
        for (i, units) in tokens.iter().enumerate() {
            for curve in [&mut whole, &mut halves[i % 2]] {
                curve
                    .add(&norms(units), d, |i, sum| sum.iter_mut().zip(&units[i]).for_each(|(a, b)| *a += b));
            }
        }
        let definition = |least: f32| -> (f64, f64) {
            let (mut error, mut left_out, mut all) = (0.0, 0, 0);
            for units in &tokens {
                let (mut weak, mut total) = (vec![0.0; d], vec![0.0; d]);
                for (unit, norm) in units.iter().zip(norms(units)) {
                    for i in 0..d {
                        total[i] += f64::from(unit[i]);
                        weak[i] += if norm < least { f64::from(unit[i]) } else { 0.0 };
                    }
                    left_out += usize::from(norm < least);
                    all += 1;
                }
                error += norm(&weak) / norm(&total);
            }
            (error / tokens.len() as f64, left_out as f64 / all as f64)
        };
        for cett in [0.0, 0.003, 0.01, 0.05, 0.1, 0.2, 0.5, 0.9] {
            let least = whole.threshold(cett);
            let (error, share) = definition(least);
            assert!(error <= cett + 1e-6, "{cett}: {error} at {least}");
            assert!((share - whole.share(cett)).abs() < 1e-12, "{cett}: {share} {}", whole.share(cett));
            let next = GRID[GRID.iter().position(|g| *g == least).unwrap() + 1];
            assert!(definition(next).0 > cett - 1e-6, "{cett}: a larger threshold would do");
        }
        assert_eq!(whole.share(0.0), whole.zero as f64 / whole.units as f64, "zeros cost nothing");
        halves[0].merge(&halves[1].clone());
        for cett in ERRORS {
            assert_eq!(halves[0].share(cett), whole.share(cett), "the order of tokens is of no matter");
        }
    }

    /// Where even the weakest unit costs more than was allowed, nothing is left out.
    #[test]
    fn one_unit_that_is_everything_is_kept() {
        let mut curve = Curve::default();
        curve.add(&[2.0], 1, |_, sum| sum[0] += 2.0);
        assert_eq!((curve.threshold(0.5), curve.share(0.5), curve.share(1.0)), (2.0, 0.0, 1.0));
    }
}

//! Codes of a chunk of tokens by every way that there is, for one decoder.

use std::str::FromStr;

use kernels::encode::products;
use kernels::shrink::Shrinkage;

use super::Slabs;
use super::fit::Fit;
use crate::dictionary::Codes;

/// A way to find codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// The dictionary's own.
    Encoder,
    /// The dictionary's own features, with the best sizes of 0 or more.
    Refit,
    /// Orthogonal matching pursuit.
    Pursuit,
    /// Iterative thresholding from the encoder's codes.
    Thresholding(Shrinkage),
    /// The most probable support, from the encoder's.
    Posterior,
    /// For each token the one of all others with the smallest error.
    Best,
}

impl Coding {
    /// All that an audit compares; the best of the others is last.
    pub fn all() -> Vec<Self> {
        let mut all = vec![Self::Encoder, Self::Pursuit];
        all.extend(Shrinkage::ALL.map(Self::Thresholding));
        all.extend([Self::Posterior, Self::Best]);
        all
    }

    /// Those that can take the place of a dictionary's own codes.
    pub fn recodings() -> Vec<Self> {
        let mut all = Self::all();
        all[0] = Self::Refit;
        all
    }

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Encoder => "encoder",
            Self::Refit => "refit",
            Self::Pursuit => "pursuit",
            Self::Thresholding(shrinkage) => shrinkage.name(),
            Self::Posterior => "posterior",
            Self::Best => "best",
        }
    }

    /// Whether it asks how features behave.
    pub fn needs_slabs(self) -> bool {
        matches!(self, Self::Posterior | Self::Best)
    }

    /// Whether it thresholds.
    pub(super) fn thresholds(self) -> bool {
        matches!(self, Self::Thresholding(_) | Self::Best)
    }
}

impl FromStr for Coding {
    type Err = String;

    /// One of [`Coding::recodings`] by its name.
    fn from_str(name: &str) -> Result<Self, String> {
        let all = Self::recodings();
        all.iter().copied().find(|coding| coding.name() == name).ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|coding| coding.name()).collect();
            format!("expected one of {}", names.join(", "))
        })
    }
}

/// The decoder: rows of norm 1, and the largest step that iterative thresholding may take.
#[derive(Debug)]
pub struct Decoder<'a> {
    /// `[F, d]`.
    pub rows: &'a [f32],
    /// Width of a row.
    pub d: usize,
    /// 1 over the largest eigenvalue of rowsᵀ rows.
    pub step: f64,
    /// Steps of a thresholding.
    pub iterations: usize,
    /// How features behave; asked for by [`Coding::Posterior`].
    pub slabs: Option<&'a Slabs>,
}

/// What a coding gave: codes as it finds them, and the best ones on its features.
#[derive(Debug, Default)]
pub struct Found {
    /// As they were found.
    pub codes: Codes,
    /// Fitted again.
    pub refitted: Codes,
    /// Squared error of each token with the refitted codes.
    pub errors: Vec<f64>,
}

impl Found {
    fn push(&mut self, (features, values): (&[u32], &[f32]), fit: &Fit<'_>) {
        self.codes.push_row(features, values);
        let (features, values) = fit.sorted();
        self.refitted.push_row(&features, &values);
        self.errors.push(fit.error());
    }
}

impl Decoder<'_> {
    /// Codes of `y[n, d]` by all codings, in the order of [`Coding::all`]; `own` are the encoder's, in units of rows of norm 1.
    pub fn all(&self, y: &[f32], own: &Codes) -> Vec<Found> {
        let mut all: Vec<Found> = Vec::new();
        for coding in Coding::all() {
            let found = match coding {
                Coding::Best => best(&all),
                other => self.one(other, y, own),
            };
            all.push(found);
        }
        all
    }

    /// The same by one of them.
    pub fn one(&self, coding: Coding, y: &[f32], own: &Codes) -> Found {
        match coding {
            Coding::Encoder | Coding::Refit => self.refit(y, own),
            Coding::Pursuit => self.pursue(y, own),
            Coding::Thresholding(shrinkage) => self.refit(y, &self.shrink(y, own, shrinkage)),
            Coding::Posterior => match self.slabs {
                Some(slabs) => {
                    let codes = self.most_probable(y, own, slabs);
                    Found { codes: codes.clone(), ..self.refit(y, &codes) }
                }
                // Never: a recoder measures them where a coding needs them.
                None => self.refit(y, own),
            },
            Coding::Best => self.all(y, own).pop().unwrap_or_default(),
        }
    }

    fn refit(&self, y: &[f32], codes: &Codes) -> Found {
        let mut found = Found::default();
        for (i, y) in y.chunks_exact(self.d).enumerate() {
            let row = codes.row(i);
            found.push(row, &Fit::on(self.rows, y, row.0));
        }
        found
    }

    /// Orthogonal matching pursuit, with codes of 0 or more: the feature whose row has the largest product with what is left, then all
    /// codes again, until there are as many as the encoder takes.
    fn pursue(&self, y: &[f32], own: &Codes) -> Found {
        let (d, features) = (self.d, self.rows.len() / self.d);
        let mut fits: Vec<Fit<'_>> = y.chunks_exact(d).map(|y| Fit::new(self.rows, y)).collect();
        let wanted: Vec<usize> = (0..fits.len()).map(|i| own.row(i).0.len()).collect();
        let mut open: Vec<usize> = (0..fits.len()).filter(|&i| wanted[i] > 0).collect();
        let mut steps = vec![0; fits.len()];
        let (mut residuals, mut all) = (Vec::new(), Vec::new());
        while !open.is_empty() {
            residuals.clear();
            open.iter().for_each(|&i| residuals.extend_from_slice(&fits[i].residual));
            products(&mut all, &residuals, self.rows, d);
            let mut still = Vec::new();
            for (&i, products) in open.iter().zip(all.chunks_exact(features)) {
                let fit = &mut fits[i];
                let best = (0..features)
                    .filter(|&f| !fit.features.contains(&(f as u32)))
                    .fold((0, 0.0_f32), |best, f| if products[f] > best.1 { (f, products[f]) } else { best });
                steps[i] += 1;
                let goes = fit.sees(f64::from(best.1)) && fit.enter(best.0 as u32);
                // Features that left make room for others, but not for ever.
                if goes && fit.features.len() < wanted[i] && steps[i] < 3 * wanted[i] {
                    still.push(i);
                }
            }
            open = still;
        }
        let mut found = Found::default();
        for fit in &fits {
            let (features, values) = fit.sorted();
            found.push((&features, &values), fit);
        }
        found
    }

    /// Iterative thresholding: a step against the gradient, then the shrinkage with the weight at which as many features stay as the
    /// encoder takes.
    fn shrink(&self, y: &[f32], own: &Codes, shrinkage: Shrinkage) -> Codes {
        let (d, features) = (self.d, self.rows.len() / self.d);
        let n = y.len() / d;
        let mut codes: Vec<Vec<(usize, f64)>> = (0..n)
            .map(|i| {
                own.row(i).0.iter().zip(own.row(i).1).map(|(f, v)| (*f as usize, f64::from(*v))).collect()
            })
            .collect();
        let (mut residuals, mut all, mut values) = (vec![0.0; n * d], Vec::new(), Vec::new());
        for _ in 0..self.iterations {
            for ((residual, y), codes) in residuals.chunks_exact_mut(d).zip(y.chunks_exact(d)).zip(&codes) {
                residual.copy_from_slice(y);
                for &(feature, value) in codes {
                    let row = &self.rows[feature * d..(feature + 1) * d];
                    residual.iter_mut().zip(row).for_each(|(r, w)| *r -= value as f32 * w);
                }
            }
            products(&mut all, &residuals, self.rows, d);
            for ((i, codes), products) in codes.iter_mut().enumerate().zip(all.chunks_exact(features)) {
                values.clear();
                values.extend(products.iter().map(|p| self.step * f64::from(*p)));
                codes.iter().for_each(|&(feature, value)| values[feature] += value);
                let wanted = own.row(i).0.len();
                let lambda = shrinkage.lambda(next_largest(&values, wanted), self.step);
                codes.clear();
                for (feature, &value) in values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
                    let code = shrinkage.prox(value, lambda, self.step);
                    // The next largest itself may come through by rounding.
                    if code > 0.0 && codes.len() < wanted {
                        codes.push((feature, code));
                    }
                }
            }
        }
        let mut found = Codes::default();
        for codes in codes {
            let (features, values): (Vec<u32>, Vec<f32>) =
                codes.into_iter().map(|(feature, value)| (feature as u32, value as f32)).unzip();
            found.push_row(&features, &values);
        }
        found
    }
}

/// The value of 0 or more that `wanted` others are not below.
fn next_largest(values: &[f64], wanted: usize) -> f64 {
    let mut positive: Vec<f64> = values.iter().copied().filter(|value| *value > 0.0).collect();
    if positive.len() <= wanted {
        return 0.0;
    }
    *positive.select_nth_unstable_by(wanted, |a, b| b.total_cmp(a)).1
}

/// For each token the refitted codes with the smallest error, of the first of equals.
fn best(all: &[Found]) -> Found {
    let mut found = Found::default();
    for i in 0..all.first().map_or(0, |found| found.errors.len()) {
        let Some(of) = all.iter().min_by(|a, b| a.errors[i].total_cmp(&b.errors[i])) else { continue };
        let (features, values) = of.refitted.row(i);
        found.codes.push_row(features, values);
        found.refitted.push_row(features, values);
        found.errors.push(of.errors[i]);
    }
    found
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use kernels::wide::{largest_eigenvalue, unit_rows};

    /// Rows of norm 1, and tokens that are made of `k` of them, with the features that made them.
    fn planted(d: usize, features: usize, k: usize, n: usize) -> (Vec<f32>, Vec<f32>, Vec<Vec<u32>>) {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let rows: Vec<f32> = (0..features * d).map(|_| rng.random_range(-1.0..1.0)).collect();
        let rows = unit_rows(&rows, d);
        let (mut y, mut all) = (vec![0.0; n * d], Vec::new());
        for y in y.chunks_exact_mut(d) {
            let mut of: Vec<u32> = (0..k).map(|_| rng.random_range(0..features as u32)).collect();
            of.sort_unstable();
            of.dedup();
            for &f in &of {
                let code = rng.random_range(1.0..2.0_f32);
                y.iter_mut().zip(&rows[f as usize * d..]).for_each(|(y, w)| *y += code * w);
            }
            all.push(of);
        }
        (rows, y, all)
    }

    /// Three in eighty features with codes of 1 to 2, and next to no noise.
    fn slabs(features: usize) -> Slabs {
        let of = |x: f64| vec![x; features];
        Slabs::new(of((3.0_f64 / 77.0).ln()), of(1.5), of(1.0 / 12.0), 1e-5)
    }

    fn decoder<'a>(rows: &'a [f32], d: usize, slabs: &'a Slabs) -> Decoder<'a> {
        Decoder { rows, d, step: 1.0 / largest_eigenvalue(rows, d), iterations: 200, slabs: Some(slabs) }
    }

    fn error(rows: &[f32], y: &[f32], (features, values): (&[u32], &[f32])) -> f64 {
        let d = y.len();
        (0..d)
            .map(|c| {
                let pairs = features.iter().zip(values);
                let made: f64 =
                    pairs.map(|(&f, v)| f64::from(*v) * f64::from(rows[f as usize * d + c])).sum();
                (f64::from(y[c]) - made).powi(2)
            })
            .sum()
    }

    #[test]
    fn the_step_is_one_over_the_largest_eigenvalue() {
        // Orthogonal rows with norms 3 and 2: eigenvalues 9 and 4.
        let found = largest_eigenvalue(&[3.0, 0.0, 0.0, 0.0, 2.0, 0.0], 3);
        assert!((found - 9.0 * 1.01).abs() < 1e-4, "{found}");
    }

    /// What was planted in few directions of many dimensions is found by every coding, from codes that are half wrong.
    #[test]
    fn planted_features_are_found() {
        let (d, features, n) = (60, 80, 50);
        let (rows, y, planted) = planted(d, features, 3, n);
        let mut own = Codes::default();
        for of in &planted {
            let mut wrong = of.clone();
            wrong[0] = (0..80).find(|f| !of.contains(f)).unwrap();
            wrong.sort_unstable();
            own.push_row(&wrong, &vec![1.0; wrong.len()]);
        }
        let all = decoder(&rows, d, &slabs(features)).all(&y, &own);
        for (coding, found) in Coding::all().into_iter().zip(&all).skip(1) {
            let right = (0..n).filter(|&i| found.refitted.row(i).0 == &planted[i][..]).count();
            assert!(right >= n * 8 / 10, "{}: {right} of {n}", coding.name());
        }
        let Found { errors, .. } = all.last().unwrap();
        assert!(errors.iter().filter(|e| **e < 1e-8).count() >= n * 9 / 10);
    }

    /// Errors are what they say, L0 is never above the encoder's, hard thresholding never makes a code worse, refitting neither.
    #[test]
    fn no_coding_takes_more_features_and_none_is_worse_than_it_may_be() {
        let (d, features, n) = (16, 70, 40);
        let (rows, y, _) = planted(d, features, 9, n);
        let mut own = Codes::default();
        let mut rng = ChaCha8Rng::seed_from_u64(9);
        for i in 0..n as u32 {
            let of: Vec<u32> = (0..i % 7)
                .map(|j| (i * 3 + j * 5) % 70)
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect();
            let values: Vec<f32> = of.iter().map(|_| rng.random_range(0.1..1.5)).collect();
            own.push_row(&of, &values);
        }
        let all = decoder(&rows, d, &slabs(features)).all(&y, &own);
        for (coding, found) in Coding::all().into_iter().zip(&all) {
            for (i, y) in y.chunks_exact(d).enumerate() {
                let name = coding.name();
                assert!(found.codes.row(i).0.len() <= own.row(i).0.len(), "{name}");
                assert!(found.codes.row(i).1.iter().all(|v| *v > 0.0));
                let (raw, refitted) =
                    (error(&rows, y, found.codes.row(i)), error(&rows, y, found.refitted.row(i)));
                assert!((refitted - found.errors[i]).abs() < 1e-4, "{name}: {refitted} {}", found.errors[i]);
                assert!(refitted <= raw + 1e-4, "{name}");
                assert!(all.last().unwrap().errors[i] <= refitted + 1e-4);
                if coding == Coding::Thresholding(Shrinkage::Hard) {
                    assert!(raw <= error(&rows, y, own.row(i)) + 1e-4, "{raw}");
                }
            }
        }
    }
}

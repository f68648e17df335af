//! How often features should fire relative to each other: uniform, or Zipf's law over their ranks.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Share of the ranks, from the most frequent on, that a fit looks at: the lowest ranks of a trained dictionary are the dead and
/// under-used features, which lie below the law.
const FITTED_SHARE: f64 = 0.8;

/// `w_r = (r + q)^−s` for the feature of rank r = 1, 2, … by frequency.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Zipf {
    /// s ≥ 0; 0 is uniform.
    pub exponent: f64,
    /// q ≥ 0.
    pub offset: f64,
}

impl Zipf {
    /// The weight of rank `rank`, counted from 1.
    pub fn weight(&self, rank: usize) -> f64 {
        (rank as f64 + self.offset).powf(-self.exponent)
    }

    /// The law nearest to `rates` in log-density, by least squares over the upper 80 % of ranks, and the factor that scales its
    /// weights to rates. `None` with fewer than three features that fire.
    ///
    /// For a given q the fit of log rate = a − s·log(r + q) is a straight line; q is searched, first on a grid that doubles, then by
    /// golden section. The upper 80 % is our reading of "a Zipf curve except at the lower end".
    pub fn fit(rates: &[f32]) -> Option<(Self, f64)> {
        let mut sorted: Vec<f64> = rates.iter().map(|&r| f64::from(r)).collect();
        sorted.sort_by(|a, b| b.total_cmp(a));
        sorted.truncate(((rates.len() as f64 * FITTED_SHARE).ceil() as usize).max(3));
        let logs: Vec<f64> = sorted.into_iter().take_while(|r| *r > 0.0).map(f64::ln).collect();
        if logs.len() < 3 {
            return None;
        }
        let grid: Vec<f64> = std::iter::once(0.0)
            .chain((0..).map(|i| 0.125 * f64::from(1 << i)).take_while(|q| *q <= 2.0 * logs.len() as f64))
            .collect();
        let error = |q: f64| Line::fit(&logs, q).error;
        let best = (0..grid.len()).min_by(|&a, &b| error(grid[a]).total_cmp(&error(grid[b])))?;
        let (low, high) = (grid[best.saturating_sub(1)], grid[(best + 1).min(grid.len() - 1)]);
        let offset = golden(low, high, error);
        let line = Line::fit(&logs, offset);
        Some((Self { exponent: line.exponent.max(0.0), offset }, line.intercept.exp()))
    }
}

/// log rate = intercept − exponent · log(rank + q), and the sum of squares of what is left.
struct Line {
    intercept: f64,
    exponent: f64,
    error: f64,
}

impl Line {
    fn fit(logs: &[f64], q: f64) -> Self {
        let n = logs.len() as f64;
        let x = |i: usize| (i as f64 + 1.0 + q).ln();
        let (mut mean_x, mut mean_y) = (0.0, 0.0);
        for (i, y) in logs.iter().enumerate() {
            mean_x += x(i) / n;
            mean_y += y / n;
        }
        let (mut xx, mut xy) = (0.0, 0.0);
        for (i, y) in logs.iter().enumerate() {
            xx += (x(i) - mean_x).powi(2);
            xy += (x(i) - mean_x) * (y - mean_y);
        }
        let slope = if xx > 0.0 { xy / xx } else { 0.0 };
        let intercept = mean_y - slope * mean_x;
        let error = logs.iter().enumerate().map(|(i, y)| (y - intercept - slope * x(i)).powi(2)).sum();
        Self { intercept, exponent: -slope, error }
    }
}

/// The place of the minimum of `f` between `low` and `high`, by golden section.
fn golden(mut low: f64, mut high: f64, f: impl Fn(f64) -> f64) -> f64 {
    let ratio = (5.0_f64.sqrt() - 1.0) / 2.0;
    for _ in 0..60 {
        let (a, b) = (high - ratio * (high - low), low + ratio * (high - low));
        if f(a) <= f(b) {
            high = b;
        } else {
            low = a;
        }
    }
    f64::midpoint(low, high)
}

/// Where the budgets of feature choice come from: `uniform`, `zipf:s,q` or `fit`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum BudgetLaw {
    /// Every feature the same.
    Uniform,
    /// By rank, with these constants.
    Zipf {
        /// s.
        exponent: f64,
        /// q.
        offset: f64,
    },
    /// By rank, with the constants that fit the rates at which features fired so far.
    Fit,
}

impl FromStr for BudgetLaw {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a law of budgets; there are `uniform`, `zipf:s,q` with s and q at least 0 (as zipf:0.7,10), and `fit`"
            )
        };
        match text {
            "uniform" => return Ok(Self::Uniform),
            "fit" => return Ok(Self::Fit),
            _ => {}
        }
        let (s, q) = text.strip_prefix("zipf:").and_then(|rest| rest.split_once(',')).ok_or_else(wrong)?;
        let number = |text: &str| {
            text.trim().parse::<f64>().ok().filter(|v| v.is_finite() && *v >= 0.0).ok_or_else(wrong)
        };
        Ok(Self::Zipf { exponent: number(s)?, offset: number(q)? })
    }
}

impl fmt::Display for BudgetLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform => f.write_str("uniform"),
            Self::Fit => f.write_str("fit"),
            Self::Zipf { exponent, offset } => write!(f, "zipf:{exponent},{offset}"),
        }
    }
}

impl TryFrom<String> for BudgetLaw {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<BudgetLaw> for String {
    fn from(law: BudgetLaw) -> Self {
        law.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_planted_law_is_found_in_spite_of_a_low_tail() {
        for (exponent, offset) in [(0.7, 0.0), (1.0, 12.0), (0.5, 300.0)] {
            let law = Zipf { exponent, offset };
            // The last fifth of the ranks lies far below the law; features are in no order.
            let mut rates: Vec<f32> = (1..=2000)
                .map(|r| (0.3 * law.weight(r) * if r > 1600 { 0.01 } else { 1.0 }) as f32)
                .collect();
            rates.reverse();
            rates.swap(3, 700);
            let (found, factor) = Zipf::fit(&rates).unwrap();
            assert!((found.exponent - exponent).abs() < 1e-3, "{found:?}");
            assert!((found.offset - offset).abs() < 0.01 * (1.0 + offset), "{found:?}");
            assert!((factor / 0.3 - 1.0).abs() < 0.02, "{factor}");
        }
    }

    #[test]
    fn too_few_firing_features_have_no_law() {
        assert_eq!(Zipf::fit(&[0.5, 0.1, 0.0, 0.0, 0.0]), None);
        assert_eq!(Zipf::fit(&[]), None);
        let (flat, factor) = Zipf::fit(&[0.25; 50]).unwrap();
        assert!(flat.exponent.abs() < 1e-9 && (factor - 0.25).abs() < 1e-9);
    }

    #[test]
    fn laws_are_written_as_they_are_read() {
        for text in ["uniform", "fit", "zipf:0.7,10", "zipf:1,0"] {
            assert_eq!(text.parse::<BudgetLaw>().unwrap().to_string(), text);
        }
        for text in ["zipf", "zipf:1", "zipf:-1,0", "zipf:a,0", "zipf:NaN,0", "even"] {
            let message = text.parse::<BudgetLaw>().unwrap_err();
            assert!(message.contains(text) && message.contains("zipf:s,q"), "{message}");
        }
    }
}

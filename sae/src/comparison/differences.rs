//! Which groups a figure tells apart, and how small a difference it could have seen.

use storage::comparison::{ComparisonRow, DifferenceRow};

use super::bootstrap::{Draws, Run, interval};
use super::means::{FIGURES, moments, values};
use kernels::student::quantile;

/// Figures that groups are compared by.
pub(super) const COMPARED: [&str; 3] = ["fve", "ce_increase", "kl"];
/// z.975 + z.8: a difference so many standard errors from 0 is seen four times of five in a two-sided test at 5 %.
const SEEN: f64 = 2.8;

/// A pair of groups of one hook and k, by one figure.
pub(super) fn difference(
    group: &[Run],
    other: &[Run],
    figure: &str,
    draws: Option<&Draws>,
) -> Option<DifferenceRow> {
    let of = FIGURES.iter().find(|(name, _)| *name == figure)?.1;
    let rows = |runs: &[Run]| runs.iter().map(|run| run.row.clone()).collect::<Vec<ComparisonRow>>();
    let (a, b) = (values(&rows(group), of), values(&rows(other), of));
    let (first, second) = (&group.first()?.row, &other.first()?.row);
    if a.is_empty() || b.is_empty() {
        return None;
    }
    let (mean_a, mean_b) = (moments(&a).0, moments(&b).0);
    let difference = mean_a - mean_b;
    let seeds = over_seeds(&a, &b);
    let data = draws.and_then(|draws| {
        let pairs = draws.figure(group, figure)?.into_iter().zip(draws.figure(other, figure)?);
        Some(pairs.map(|(a, b)| a - b).collect::<Vec<f64>>())
    });
    let over_data = data.as_deref().map(interval);
    let of_data = data.as_deref().and_then(|values| moments(values).1).map(|variance| SEEN * variance.sqrt());
    let of_seeds = seeds.map(|seeds| seeds.detectable);
    let intervals = [seeds.map(|seeds| [difference - seeds.half, difference + seeds.half]), over_data];
    let known = || intervals.iter().flatten();
    Some(DifferenceRow {
        hook: first.hook.clone(),
        k: first.k,
        figure: figure.to_owned(),
        group: first.group.clone(),
        d_sae: first.d_sae,
        other: second.group.clone(),
        other_d_sae: second.d_sae,
        other_control: second.control.clone(),
        difference,
        low: intervals[0].map(|[low, _]| low),
        high: intervals[0].map(|[_, high]| high),
        data_low: over_data.map(|[low, _]| low),
        data_high: over_data.map(|[_, high]| high),
        detectable: of_seeds.into_iter().chain(of_data).reduce(f64::max),
        apart: known().count() > 0 && known().all(|[low, high]| *low > 0.0 || *high < 0.0),
    })
}

/// What seeds say of a difference.
#[derive(Debug, Clone, Copy)]
struct OverSeeds {
    /// Half of the interval.
    half: f64,
    /// The smallest difference that would be seen.
    detectable: f64,
}

/// Welch's interval, with Satterthwaite's degrees of freedom; `None` where one group has a single seed.
fn over_seeds(a: &[f64], b: &[f64]) -> Option<OverSeeds> {
    let of = |values: &[f64]| Some((moments(values).1?, values.len() as f64));
    let ((va, na), (vb, nb)) = (of(a)?, of(b)?);
    let (ea, eb) = (va / na, vb / nb);
    let error = (ea + eb).sqrt();
    if error == 0.0 {
        return Some(OverSeeds { half: 0.0, detectable: 0.0 });
    }
    let freedom = (ea + eb).powi(2) / (ea * ea / (na - 1.0) + eb * eb / (nb - 1.0));
    let (half, seen) = (quantile(0.975, freedom), quantile(0.8, freedom));
    Some(OverSeeds { half: half * error, detectable: (half + seen) * error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use storage::evaluation::EvaluatedDocumentRow;

    fn runs(group: &str, fves: &[f64], documents: impl Fn(u32) -> f64) -> Vec<Run> {
        let row = |&fve: &f64| Run {
            row: ComparisonRow { group: group.into(), fve: Some(fve), ..ComparisonRow::default() },
            documents: (0..40)
                .map(|document| EvaluatedDocumentRow {
                    document,
                    tokens: 10,
                    // Residuals average to 1 - fve in units of a variance of 1.
                    residual: 10.0 * (1.0 - fve) * (1.0 + documents(document)),
                    ..EvaluatedDocumentRow::default()
                })
                .collect(),
        };
        fves.iter().map(row).collect()
    }

    /// Welch's test by hand: means 0.52 and 0.45, variances 0.0004 and 0.0001, three seeds each.
    #[test]
    fn intervals_over_seeds_are_welchs() {
        let found = over_seeds(&[0.50, 0.52, 0.54], &[0.44, 0.45, 0.46]).unwrap();
        let error = (0.0005_f64 / 3.0).sqrt();
        // (5e-4)² / (4e-4² / 2 + 1e-4² / 2) = 2.941…
        let t = quantile(0.975, 25.0 / 8.5);
        assert!((found.half - t * error).abs() < 1e-9, "{found:?}");
        assert!(found.detectable > found.half);
        assert!(over_seeds(&[1.0], &[2.0, 3.0]).is_none());
    }

    #[test]
    fn groups_are_apart_only_where_no_interval_holds_zero() {
        let draws = Draws::new(40, 0).unwrap();
        let even = |_| 0.0;
        let uneven = |document: u32| if document < 20 { 0.9 } else { -0.9 };
        let (a, b) = (runs("a", &[0.70, 0.71, 0.72], even), runs("b", &[0.50, 0.51, 0.52], even));
        let found = difference(&a, &b, "fve", Some(&draws)).unwrap();
        assert!(found.apart && (found.difference - 0.2).abs() < 1e-12, "{found:?}");
        // Near each other and spread over seeds: not apart, whatever the documents.
        let near = runs("c", &[0.69, 0.71, 0.74], even);
        let found = difference(&a, &near, "fve", Some(&draws)).unwrap();
        assert!(!found.apart && found.detectable.unwrap() > found.difference.abs(), "{found:?}");
        // One seed each: documents alone. The same unevenness in both cancels in part; against evenness it does not.
        let (x, y) = (runs("x", &[0.70], even), runs("y", &[0.66], uneven));
        let found = difference(&x, &y, "fve", Some(&draws)).unwrap();
        assert!(found.low.is_none() && found.data_low.unwrap() < 0.0 && !found.apart, "{found:?}");
        // Nothing is known: nothing is apart.
        let found = difference(&x, &y, "fve", None).unwrap();
        assert!(!found.apart && found.detectable.is_none());
    }

    /// The interval of a mean of unequal documents, against the normal approximation.
    #[test]
    fn draws_of_documents_spread_as_their_mean_does() {
        let draws = Draws::new(40, 1).unwrap();
        let group = runs("a", &[0.5], |document| (f64::from(document) - 19.5) / 40.0);
        let values = draws.figure(&group, "fve").unwrap();
        let [low, high] = interval(&values);
        let spread: f64 = (0..40).map(|d| ((f64::from(d) - 19.5) / 40.0 * 0.5).powi(2)).sum::<f64>() / 40.0;
        let error = (spread / 40.0).sqrt();
        assert!((low - (0.5 - 1.96 * error)).abs() < 0.15 * error, "{low} {high} {error}");
        assert!((high - (0.5 + 1.96 * error)).abs() < 0.15 * error, "{low} {high} {error}");
        assert_eq!(draws.figure(&group, "dead_share"), None);
    }
}

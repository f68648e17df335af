//! One probe: C chosen on folds of the training rows, one fit on all of them, scores on the test rows.

use super::logistic::{Fit, Penalty, fit};
use super::measure::{accuracy, auc, weighted_f1};
use super::split::Fold;

/// C where there are too few rows to choose it.
const DEFAULT_C: f64 = 1.0;

/// What C is chosen from: `numpy.logspace(5, -5, 10)`.
pub(super) fn candidates() -> [f64; 10] {
    std::array::from_fn(|i| 10f64.powf(5.0 - 10.0 * i as f64 / 9.0))
}

/// Rows of `k` columns with their labels.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    /// `[n, k]`
    pub(super) x: &'a [f64],
    /// `[n]`
    pub(super) labels: &'a [bool],
}

/// A probe and how good it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outcome {
    pub(super) c: f64,
    pub(super) val_auc: Option<f64>,
    pub(super) fit: Fit,
    pub(super) auc: f64,
    pub(super) accuracy: f64,
    pub(super) f1: f64,
}

/// Fits and measures.
pub(super) fn probe(train: Rows<'_>, test: Rows<'_>, folds: Option<&[Fold]>, penalty: Penalty) -> Outcome {
    let (c, val_auc) = match folds {
        Some(folds) => choose(train, folds, penalty),
        None => (DEFAULT_C, None),
    };
    let fitted = fit(train.x, train.labels, c, penalty, None);
    let scores = fitted.scores(test.x);
    Outcome {
        c,
        val_auc,
        auc: auc(test.labels, &scores),
        accuracy: accuracy(test.labels, &scores),
        f1: weighted_f1(test.labels, &scores),
        fit: fitted,
    }
}

/// The C with the best mean AUC over the folds, of equals the largest, and that AUC.
fn choose(train: Rows<'_>, folds: &[Fold], penalty: Penalty) -> (f64, Option<f64>) {
    let candidates = candidates();
    let k = train.x.len() / train.labels.len().max(1);
    let mut sums = [0.0; 10];
    for (fitted, scored) in folds {
        let rows = |rows: &[usize]| {
            let x = rows.iter().flat_map(|&row| train.x[row * k..(row + 1) * k].iter().copied()).collect();
            let labels = rows.iter().map(|&row| train.labels[row]).collect();
            (x, labels)
        };
        let ((x, labels), (x_scored, scored)): ((Vec<f64>, Vec<bool>), (Vec<f64>, Vec<bool>)) =
            (rows(fitted), rows(scored));
        let both = labels.contains(&true) && labels.contains(&false);
        let mut before: Option<Fit> = None;
        // From the strongest penalty on, each fit begins where the one before ended.
        for (sum, &c) in sums.iter_mut().zip(&candidates).rev() {
            if !both {
                *sum += 0.5;
                continue;
            }
            let found = fit(&x, &labels, c, penalty, before.as_ref());
            *sum += auc(&scored, &found.scores(&x_scored));
            before = Some(found);
        }
    }
    if folds.is_empty() {
        return (candidates[0], None);
    }
    let mut best = 0;
    for (i, &sum) in sums.iter().enumerate() {
        if sum > sums[best] {
            best = i;
        }
    }
    (candidates[best], Some(sums[best] / folds.len() as f64))
}

#[cfg(test)]
mod tests {
    use super::super::split::folds;
    use super::*;

    /// A column that is the label, among noise: the probe is perfect.
    #[test]
    fn a_planted_feature_reaches_an_auc_of_one() {
        let n = 300;
        let labels: Vec<bool> = (0..n).map(|i| i * 7 % 3 == 0).collect();
        let noise = |i: usize, c: usize| ((i * (31 + c) + c * 17) % 101) as f64 / 101.0;
        let x: Vec<f64> =
            (0..n).flat_map(|i| [noise(i, 1), if labels[i] { 2.0 } else { 0.0 }, noise(i, 2)]).collect();
        let (train, test) = (200, 100);
        let part = |from: usize, rows: usize| Rows {
            x: &x[3 * from..3 * (from + rows)],
            labels: &labels[from..from + rows],
        };
        for penalty in [Penalty::L1, Penalty::L2] {
            let made = folds(&labels[..train], 42);
            let found = probe(part(0, train), part(train, test), made.as_deref(), penalty);
            assert_eq!((found.auc, found.accuracy, found.val_auc), (1.0, 1.0, Some(1.0)), "{penalty:?}");
            assert_eq!(found.c, candidates()[0], "of equals the largest");
            // Labels that say nothing about the columns: chance.
            let shuffled: Vec<bool> = (0..n).map(|i| (i * i * 13 + i / 7) % 11 < 5).collect();
            let rows = Rows { x: &x[..3 * train], labels: &shuffled[..train] };
            let other = Rows { x: &x[3 * train..], labels: &shuffled[train..] };
            let found = probe(rows, other, folds(&shuffled[..train], 42).as_deref(), penalty);
            assert!((found.auc - 0.5).abs() < 0.2, "{penalty:?} {}", found.auc);
        }
    }
}

//! How much figures would move with other documents: draws of the evaluated documents with replacement.

use kernels::chance::{Purpose, below, generator};
use storage::comparison::ComparisonRow;
use storage::evaluation::EvaluatedDocumentRow;

/// Draws.
const DRAWS: usize = 1000;
/// Where the stream of random numbers for draws begins, apart from those of other controls.
const DOCUMENTS: u64 = 3 << 40;

/// A run with what was found on each document.
#[derive(Debug, Clone, Default)]
pub(super) struct Run {
    pub(super) row: ComparisonRow,
    pub(super) documents: Vec<EvaluatedDocumentRow>,
}

/// Figures that follow from sums over documents.
pub(super) const FIGURES: [&str; 4] = ["fve", "ce_increase", "kl", "l0"];

/// How often each document is in each draw, `[DRAWS][documents]`: the same for every run, so that differences are of the same documents.
#[derive(Debug)]
pub(super) struct Draws(Vec<Vec<u32>>);

impl Draws {
    /// Of `documents` documents; none of fewer than two.
    pub(super) fn new(documents: usize, seed: u64) -> Option<Self> {
        let draw = |number: usize| {
            let mut rng = generator(seed, Purpose::Controls, DOCUMENTS + number as u64, 0);
            let mut times = vec![0; documents];
            (0..documents).for_each(|_| times[below(documents, &mut rng)] += 1);
            times
        };
        (documents > 1).then(|| Self((0..DRAWS).map(draw).collect()))
    }

    /// A figure of a group in every draw: the mean over its runs. `None` if it does not follow from documents, or they are not known.
    pub(super) fn figure(&self, group: &[Run], figure: &str) -> Option<Vec<f64>> {
        let of_run = |run: &Run| {
            let terms = terms(run, figure)?;
            let value = |times: &Vec<u32>| {
                let sums = times.iter().zip(&terms).fold([0.0, 0.0], |[a, b], (&n, [up, down])| {
                    [a + f64::from(n) * up, b + f64::from(n) * down]
                });
                sums[0] / sums[1]
            };
            (terms.len() == self.0[0].len()).then(|| self.0.iter().map(value).collect::<Vec<f64>>())
        };
        let runs: Vec<Vec<f64>> = group.iter().map(of_run).collect::<Option<_>>()?;
        let mean = |draw: usize| runs.iter().map(|run| run[draw]).sum::<f64>() / runs.len() as f64;
        let values: Vec<f64> = (0..DRAWS).map(mean).collect();
        values.iter().all(|value| value.is_finite()).then_some(values)
    }
}

/// Numerator and denominator of a figure, document by document.
fn terms(run: &Run, figure: &str) -> Option<Vec<[f64; 2]>> {
    let documents = run.documents.iter();
    let with_model = || run.documents.iter().any(|document| document.predicted > 0);
    let tokens = |document: &EvaluatedDocumentRow| document.tokens as f64;
    let predicted = |document: &EvaluatedDocumentRow| document.predicted as f64;
    Some(match figure {
        "l0" => documents.map(|d| [d.active as f64, tokens(d)]).collect(),
        "kl" if with_model() => documents.map(|d| [d.kl, predicted(d)]).collect(),
        "ce_increase" if with_model() => {
            documents.map(|d| [d.ce_reconstructed - d.ce_clean, predicted(d)]).collect()
        }
        "fve" => {
            // Variance of a token, over all of them: FVU = residual / variance.
            let (residual, count) =
                documents.clone().fold((0.0, 0.0), |(a, b), d| (a + d.residual, b + tokens(d)));
            let unexplained = 1.0 - run.row.fve?;
            let variance = residual / count / unexplained;
            let usable = variance.is_finite() && variance > 0.0;
            usable.then(|| {
                documents.map(|d| [tokens(d) - d.residual / variance, tokens(d)]).collect::<Vec<_>>()
            })?
        }
        _ => return None,
    })
}

/// Percentiles 2.5 and 97.5.
pub(super) fn interval(values: &[f64]) -> [f64; 2] {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| {
        let place = share * (sorted.len() - 1) as f64;
        let (below, part) = (place.floor() as usize, place.fract());
        let next = sorted[(below + 1).min(sorted.len() - 1)];
        sorted[below] + part * (next - sorted[below])
    };
    [at(0.025), at(0.975)]
}

//! Figures of the steps since the last logged one.

use storage::metrics::MetricsRow;

use crate::train::step::StepReport;
use kernels::reduce;

/// Sums over steps.
#[derive(Debug)]
pub struct Window {
    sums: StepReport,
    steps: u64,
    /// Training time when it began.
    began: f64,
}

/// Means over a window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Figures {
    pub loss: f64,
    pub mse: f64,
    pub auxk: f64,
    /// What codes cost; not a number where they cost nothing.
    pub penalty: f64,
    /// 1 − Σ‖x−x̂‖² / Σ‖x−mean(x)‖² over the tokens of the window.
    pub fve: f64,
    pub l0: f64,
    /// At the window's last step.
    pub dead: u64,
    pub tokens_per_second: f64,
    pub decoder_norm: f64,
    /// Candidates computed in f32 for every active pair; not a number where all pre-activations were.
    pub candidates: f64,
    /// Share of the active pairs looked at again that candidates had; not a number where none were.
    pub recall: f64,
}

impl Window {
    /// A window that begins after so many `seconds` of training.
    pub fn new(seconds: f64) -> Self {
        Self { sums: StepReport::default(), steps: 0, began: seconds }
    }

    /// Adds a step.
    pub fn add(&mut self, report: &StepReport) {
        let sums = &mut self.sums;
        sums.loss += report.loss;
        sums.mse += report.mse;
        sums.auxk += report.auxk;
        sums.penalty += report.penalty;
        sums.squared_error += report.squared_error;
        sums.squares += report.squares;
        sums.columns.resize(report.columns.len(), 0.0);
        reduce::add(&mut sums.columns, &report.columns);
        sums.tokens += report.tokens;
        sums.active += report.active;
        sums.dead = report.dead;
        sums.audit.add(&report.audit);
        sums.decoder_norm += report.decoder_norm;
        self.steps += 1;
    }

    /// Means of the steps added, after so many `seconds` of training.
    pub fn figures(&self, seconds: f64) -> Figures {
        let (sums, steps) = (&self.sums, self.steps.max(1) as f64);
        let tokens = sums.tokens.max(1) as f64;
        let spread = reduce::centred_sum_of_squares(sums.tokens, &sums.columns, sums.squares);
        Figures {
            loss: sums.loss / steps,
            mse: sums.mse / steps,
            auxk: sums.auxk / steps,
            penalty: if sums.penalty > 0.0 { sums.penalty / steps } else { f64::NAN },
            fve: if spread > 0.0 { 1.0 - sums.squared_error / spread } else { f64::NAN },
            l0: sums.active as f64 / tokens,
            dead: sums.dead,
            tokens_per_second: sums.tokens as f64 / (seconds - self.began).max(1e-9),
            decoder_norm: sums.decoder_norm / steps,
            candidates: known(sums.audit.candidates, sums.active),
            recall: known(sums.audit.found, sums.audit.wanted),
        }
    }
}

/// `part / whole`; not a number if the part is 0.
fn known(part: u64, whole: u64) -> f64 {
    if part > 0 { part as f64 / whole as f64 } else { f64::NAN }
}

impl Figures {
    /// The numbers in the row of `metrics.parquet`; those that are not finite are null.
    pub fn row(&self, row: MetricsRow, features: usize, learning_rate: f64) -> MetricsRow {
        let finite = |value: f64| value.is_finite().then_some(value as f32);
        MetricsRow {
            overall_loss: finite(self.loss),
            mse_loss: finite(self.mse),
            auxiliary_loss: finite(self.auxk),
            sparsity_loss: finite(self.penalty),
            explained_variance: finite(self.fve),
            fvu: finite(1.0 - self.fve),
            l0: finite(self.l0),
            dead_features: finite(self.dead as f64),
            dead_share: finite(self.dead as f64 / features as f64),
            learning_rate: finite(learning_rate),
            tokens_per_second: finite(self.tokens_per_second),
            decoder_norms: finite(self.decoder_norm),
            candidates_per_match: finite(self.candidates),
            selection_recall: finite(self.recall),
            ..row
        }
    }

    /// One short line for people.
    pub fn note(&self, features: usize) -> String {
        let dead = 100.0 * self.dead as f64 / features as f64;
        // Undefined where the rows of the window do not vary.
        let fve = if self.fve.is_finite() { format!("{:.4}", self.fve) } else { "–".to_owned() };
        format!(
            "loss {:.4}  FVE {fve}  L0 {:.1}  dead {} ({dead:.1} %)  {:.0} tokens/s",
            self.loss, self.l0, self.dead, self.tokens_per_second
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn explained_variance_is_centred_over_the_whole_window() {
        // Two batches of one dimension: x = 1, 3 and 5, 7; errors 1 each. Mean 4, spread 20.
        let mut window = Window::new(0.0);
        for (columns, squares) in [(4.0, 10.0), (12.0, 74.0)] {
            let report = StepReport {
                columns: vec![columns],
                squares,
                squared_error: 2.0,
                tokens: 2,
                active: 3,
                mse: 1.0,
                loss: 1.5,
                ..StepReport::default()
            };
            window.add(&report);
        }
        let figures = window.figures(1.0);
        assert!((figures.fve - (1.0 - 4.0 / 20.0)).abs() < 1e-12);
        assert_eq!((figures.l0, figures.loss), (1.5, 1.5));
        let row = Figures { fve: f64::NAN, ..figures }.row(MetricsRow::default(), 10, 1e-3);
        assert_eq!((row.l0, row.fvu), (Some(1.5), None));
        assert!(figures.note(10).contains("FVE 0.8000  L0 1.5"));
    }
}

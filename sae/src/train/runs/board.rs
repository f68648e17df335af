//! What is shown of a set of runs while they train: how far the set is, and each run's FVE.

use super::trainer::Trainer;
use crate::Progress;

/// The runs of a set, in the order of its summary.
#[derive(Debug, Default)]
pub struct Board {
    runs: Vec<RunFigures>,
    /// Which of the runs are being trained, by their number in their group.
    going: Vec<usize>,
    tokens: u64,
}

#[derive(Debug)]
struct RunFigures {
    name: String,
    tokens: u64,
    fve: f64,
}

impl Board {
    /// A set of runs with these names, none of which has begun.
    pub fn new(names: impl IntoIterator<Item = String>) -> Self {
        let runs = names.into_iter().map(|name| RunFigures { name, tokens: 0, fve: f64::NAN }).collect();
        Self { runs, ..Self::default() }
    }

    /// The group that is trained from here on: run `i` of it is run `going[i]` of the set.
    pub fn turn_to(&mut self, going: Vec<usize>) {
        self.going = going;
    }

    /// Run `run` of the set will not be trained any further than `tokens`.
    pub fn settle(&mut self, run: usize, tokens: u64, fve: f64) {
        let shown = &mut self.runs[run];
        self.tokens += tokens - shown.tokens.min(tokens);
        (shown.tokens, shown.fve) = (tokens.max(shown.tokens), fve);
    }

    /// Run `i` of the group got as far as `trainer` is.
    pub fn show(&mut self, i: usize, trainer: &Trainer<'_>, progress: &mut dyn Progress) {
        let Some(&run) = self.going.get(i) else { return };
        self.settle(run, trainer.tokens_done(), trainer.fve());
        progress.advance(self.tokens, &self.note());
        progress.parts(&mut || self.lines());
    }

    /// The set in one line.
    fn note(&self) -> String {
        let known = || self.runs.iter().map(|run| run.fve).filter(|fve| fve.is_finite());
        let n = self.runs.len();
        match (known().reduce(f64::min), known().reduce(f64::max)) {
            (Some(least), Some(most)) => format!("{n} runs  FVE {least:.4} to {most:.4}"),
            _ => format!("{n} runs"),
        }
    }

    /// A line per run.
    fn lines(&self) -> Vec<String> {
        let width = self.runs.iter().map(|run| run.name.chars().count()).max().unwrap_or(0);
        let line = |run: &RunFigures| match run.fve.is_finite() {
            true => format!("{:<width$}  FVE {:.4}", run.name, run.fve),
            false => format!("{:<width$}  –", run.name),
        };
        self.runs.iter().map(line).collect()
    }
}

/// A part of a stage: its own stages are not shown, its remarks are.
pub struct Substage<'a>(pub &'a mut dyn Progress);

impl Progress for Substage<'_> {
    fn begin(&mut self, _: &str, _: Option<u64>, _: &str) {}
    fn advance(&mut self, _: u64, _: &str) {}
    fn end(&mut self, _: &str) {}
    fn remark(&mut self, message: &str) {
        self.0.remark(message);
    }
    fn stop_requested(&self) -> bool {
        self.0.stop_requested()
    }
}

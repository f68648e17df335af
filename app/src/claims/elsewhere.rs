//! One feature in the other runs of a folder.

use std::path::{Path, PathBuf};

use sae::matching::{self, Counterpart};
use storage::Run;

use super::problem;
use crate::data::{Vocabulary, vocabulary};
use crate::load::{Feed, Problem};

/// Counterparts of each kind that are looked for in a run.
const MOST: usize = 3;
/// Tokens that a counterpart is described by.
const TOKENS: usize = 4;

/// A feature in one other run.
#[derive(Clone, Debug)]
pub struct InRun {
    /// Folder of the run.
    pub run: PathBuf,
    /// Its counterparts there, or why none could be looked for.
    pub found: Result<Vec<CounterpartRow>, Problem>,
    /// Why directions or firing were not compared.
    pub gaps: Vec<String>,
}

/// A counterpart and what it fires on.
#[derive(Clone, Debug, PartialEq)]
pub struct CounterpartRow {
    /// Its number.
    pub feature: u32,
    /// Cosine of the decoder rows.
    pub cosine: Option<f32>,
    /// Tokens on which both fire ÷ tokens on which either does.
    pub agreement: Option<f64>,
    /// The numbers behind it: both, here, there.
    pub tokens: Option<[u64; 3]>,
    /// Its own label, or the tokens that it fires on most.
    pub about: String,
}

/// Looks for `feature` of `run` in each of `others`, a piece per run.
///
/// # Errors
/// Never: what is wrong with one of the runs is in its piece.
pub fn in_runs(run: &Path, feature: u32, others: &[PathBuf], feed: &Feed<InRun>) -> Result<(), Problem> {
    for (done, other) in others.iter().enumerate() {
        feed.progress(done as u64, others.len() as u64);
        let mut progress = Stop(feed);
        let piece = match matching::elsewhere(run, feature, other, MOST, &mut progress) {
            // Nobody waits for it any more.
            Err(sae::Error::Stopped(_)) => return Ok(()),
            Err(error) => InRun { run: other.clone(), found: Err(problem(error)), gaps: Vec::new() },
            Ok(found) => InRun {
                run: other.clone(),
                found: Ok(described(other, &found.counterparts)),
                gaps: [found.no_cosine, found.no_firing].into_iter().flatten().collect(),
            },
        };
        feed.send(piece);
    }
    Ok(())
}

/// Counterparts with what they fire on, as far as the run's index says it.
fn described(run: &Path, found: &[Counterpart]) -> Vec<CounterpartRow> {
    let words = vocabulary::of_run(run).unwrap_or_default();
    let features = Run::open(run).and_then(|run| run.features()).ok().flatten();
    let about = |feature: u32| {
        let at = u64::from(feature);
        let row = storage::features::read(features.as_ref()?, at..at + 1).ok()?.into_iter().next()?;
        Some(row.label.clone().unwrap_or_else(|| tokens(&row, &words)))
    };
    let row = |one: &Counterpart| CounterpartRow {
        feature: one.feature,
        cosine: one.cosine,
        agreement: one.firing.map(|overlap| overlap.agreement()),
        tokens: one.firing.map(|overlap| [overlap.both, overlap.here, overlap.there]),
        about: about(one.feature).unwrap_or_default(),
    };
    found.iter().map(row).collect()
}

fn tokens(row: &storage::features::FeatureRow, words: &Vocabulary) -> String {
    let shown = row.fires_on.iter().take(TOKENS).map(|(token, _)| format!("‹{}›", words.show(*token)));
    shown.collect::<Vec<_>>().join(" ")
}

/// The wish to stop.
struct Stop<'a>(&'a Feed<InRun>);

impl sae::Progress for Stop<'_> {
    fn begin(&mut self, _: &str, _: Option<u64>, _: &str) {}

    fn advance(&mut self, _: u64, _: &str) {}

    fn end(&mut self, _: &str) {}

    fn remark(&mut self, _: &str) {}

    fn stop_requested(&self) -> bool {
        self.0.cancelled()
    }
}

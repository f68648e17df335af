//! Claims about features: tested by the library in the background. Next to `prompt` this is the only room of the window that names
//! the crate `sae`. Everything here reads or computes for milliseconds to seconds and runs on workers.

pub mod elsewhere;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sae::explain::claims::{Evidence, EvidenceOptions};

use crate::data::claims::{Claim, ClaimIntervention, standing};
use crate::data::in_sentences;
use crate::load::{Feed, Problem};
pub use sae::explain::claims::{
    ClaimTest, Condition, Estimate, Figure, Line, MOST_FALSE_ALARMS, Outcome, Rule, Scores, Tally,
    TestedPlace, quoted,
};

/// The tokens of the run that claims were tested on last: read once, shared by all views.
#[derive(Clone, Debug, Default)]
pub struct Bench {
    open: Arc<Mutex<Option<(PathBuf, Arc<Evidence>)>>>,
}

/// What comes of a test while it runs.
#[derive(Clone, Debug)]
pub enum Piece {
    /// What was counted so far: measured, and made.
    Part(Box<[Tally; 2]>),
    /// All of it.
    Whole(Arc<ClaimTest>),
}

impl Bench {
    /// Tests a rule of `feature` of `run` on the documents of `dataset`.
    ///
    /// # Errors
    /// The tokens cannot be read; the rule names a token that is not there.
    pub fn test(
        &self,
        run: &Path,
        dataset: Option<PathBuf>,
        feature: u32,
        rule: &str,
        feed: &Feed<Piece>,
    ) -> Result<(), Problem> {
        let mut progress = TestProgress { feed, total: 0 };
        let done = Rule::parse(rule).and_then(|rule| {
            let evidence = self.evidence(run, dataset, &mut progress)?;
            evidence.test(feature, &rule, &mut progress, &mut |measured, made| {
                feed.send(Piece::Part(Box::new([*measured, *made])));
            })
        });
        match done {
            Ok(test) => feed.send(Piece::Whole(Arc::new(test))),
            // Nobody waits for it any more.
            Err(sae::Error::Stopped(_)) => {}
            Err(error) => return Err(problem(error)),
        }
        Ok(())
    }

    /// Keeps the claim in the run.
    ///
    /// # Errors
    /// The file of claims cannot be read or written.
    pub fn keep(
        run: &Path,
        test: &ClaimTest,
        interventions: &[ClaimIntervention],
        by: &str,
        looked: bool,
    ) -> Result<Vec<Claim>, Problem> {
        sae::explain::claims::keep(run, test, interventions, by, "", looked).map(standing).map_err(problem)
    }

    /// A figure that is SVG as a file of PNG, twice as fine.
    ///
    /// # Errors
    /// A picture that is too large.
    pub fn png(svg: &str) -> Result<Vec<u8>, Problem> {
        let picture = sae::picture::png(svg, 2.0, concat!("SAE Workbench ", env!("CARGO_PKG_VERSION")));
        picture.map(|picture| picture.png).map_err(problem)
    }

    /// Withdraws a claim of the run.
    ///
    /// # Errors
    /// The file of claims cannot be read or written.
    pub fn withdraw(run: &Path, claim: &Claim) -> Result<Vec<Claim>, Problem> {
        sae::explain::claims::withdraw(run, claim).map(standing).map_err(problem)
    }

    /// The lines of a figure: these places with their text; `name` names documents.
    ///
    /// # Errors
    /// The tokens cannot be read.
    pub fn lines(
        &self,
        run: &Path,
        dataset: Option<PathBuf>,
        places: &[TestedPlace],
        name: impl Fn(u32) -> String,
    ) -> Result<Vec<Line>, Problem> {
        let evidence = self.evidence(run, dataset, &mut sae::Quiet).map_err(problem)?;
        let line = |place: &TestedPlace| {
            Some(Line {
                document: name(place.document),
                position: place.position,
                value: place.value,
                outcome: place.outcome,
                text: evidence.context(place.document, place.position, 16)?,
            })
        };
        Ok(places.iter().filter_map(line).collect())
    }

    fn evidence(
        &self,
        run: &Path,
        data: Option<PathBuf>,
        progress: &mut dyn sae::Progress,
    ) -> sae::Result<Arc<Evidence>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, evidence)) = open.as_ref().filter(|(of, _)| of == run) {
            return Ok(Arc::clone(evidence));
        }
        // The last run's is dropped first: two would take twice the memory.
        *open = None;
        let made = Arc::new(Evidence::open(run, &EvidenceOptions { data, seed: 0 }, progress)?);
        *open = Some((run.to_owned(), Arc::clone(&made)));
        Ok(made)
    }
}

#[allow(clippy::needless_pass_by_value)] // `map_err` gives it by value.
fn problem(error: sae::Error) -> Problem {
    in_sentences(&error.to_string(), error.remedy())
}

/// Passes progress on, and the wish to stop.
struct TestProgress<'a> {
    feed: &'a Feed<Piece>,
    total: u64,
}

impl sae::Progress for TestProgress<'_> {
    fn begin(&mut self, _: &str, total: Option<u64>, _: &str) {
        self.total = total.unwrap_or(0);
    }

    fn advance(&mut self, done: u64, _: &str) {
        self.feed.progress(done, self.total);
    }

    fn end(&mut self, _: &str) {}

    fn remark(&mut self, _: &str) {}

    fn stop_requested(&self) -> bool {
        self.feed.cancelled()
    }
}

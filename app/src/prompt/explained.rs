//! A prediction by few features, found by the library while the window shows how far it is.

use std::path::Path;

pub use sae::prompt::{Member, SubsetValue, SufficientSet};
use sae::prompt::{Reading, SufficientOptions};

use super::{CONTROLS, Engine, problem};
use crate::load::{Feed, Problem};

/// The prediction that is to be explained.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The token, by its text or as #NUMBER; the likeliest one if empty.
    pub token: String,
    /// The token of the text that it follows; the last when `None`.
    pub position: Option<usize>,
    /// How far its probability may move, in percent.
    pub percent: f64,
    /// The seed of the random sets.
    pub seed: u64,
}

impl Engine {
    /// Finds the few codes of `reading` that keep the prediction.
    ///
    /// # Errors
    /// The model cannot be loaded, the token does not exist, no code has a part in it.
    pub fn explain(
        &self,
        run: &Path,
        reading: &Reading,
        question: &Question,
        feed: &Feed<SufficientSet>,
    ) -> Result<(), Problem> {
        let prompter = self.prompter(run)?;
        let position = question.position.unwrap_or(reading.len().saturating_sub(1));
        let likeliest = || reading.predictions.get(position).and_then(|p| p.top.first()).map(|top| top.0);
        let token = match question.token.as_str() {
            "" => likeliest().unwrap_or_default(),
            named => prompter.token(named).map_err(problem)?,
        };
        let options = SufficientOptions {
            token,
            position,
            within: question.percent / 100.0,
            draws: CONTROLS,
            seed: question.seed,
            measure: sae::prompt::Measure::Probability,
            rest: sae::prompt::Rest::Zero,
        };
        match prompter.sufficient_set(reading, &options, &mut Watched(feed)) {
            Ok(found) => feed.send(found),
            // Nobody waits for it any more.
            Err(sae::Error::Stopped(_)) => {}
            Err(error) => return Err(problem(error)),
        }
        Ok(())
    }
}

/// Passes on how many passes there were; how many there will be is not known before.
struct Watched<'a>(&'a Feed<SufficientSet>);

impl sae::Progress for Watched<'_> {
    fn begin(&mut self, _: &str, _: Option<u64>, _: &str) {}

    fn advance(&mut self, done: u64, _: &str) {
        self.0.progress(done, done);
    }

    fn end(&mut self, _: &str) {}

    fn remark(&mut self, _: &str) {}

    fn stop_requested(&self) -> bool {
        self.0.cancelled()
    }
}

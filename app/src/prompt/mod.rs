//! A language model at work on what a person typed. This is the one room of the window that names the crate `sae`; everything else sees
//! plain values: readings, effects, continuations. Everything here takes from milliseconds to minutes and runs on [`Lane::Model`].
//!
//! [`Lane::Model`]: crate::load::Lane::Model

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sae::prompt::{Prompter, Sampling, With};
use sae::{ModelChoice, Quiet};

pub use sae::prompt::{
    At, Attribution, Change, Edit, Effect, LayerExperts, Maximum, MaximumOf, Opened as About, Prediction,
    Reading, Shift, Spread, Target,
};

use crate::data::{Vocabulary, in_sentences};
use crate::load::{Feed, Problem};

/// Random directions that a change is compared with.
pub const CONTROLS: u16 = 3;

type Shared = Mutex<Option<Arc<Prompter>>>;

/// The model of a run: loaded once, shared by all views of the run, forgotten with the last of them.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    prompter: Arc<Shared>,
}

/// Finds the engine that another view of the run has.
#[derive(Debug, Default)]
pub struct EngineOfRun(Weak<Shared>);

impl EngineOfRun {
    /// That engine, or a new one.
    pub fn get(&mut self) -> Engine {
        let prompter = self.0.upgrade().unwrap_or_default();
        self.0 = Arc::downgrade(&prompter);
        Engine { prompter }
    }
}

/// A model that is there.
#[derive(Debug)]
pub struct Opened {
    /// What it is.
    pub about: About,
    /// Texts of its tokens.
    pub vocabulary: Vocabulary,
}

/// What features of a token are ordered by, beside their activation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aim {
    /// Their effect on the summed loss of the text.
    Loss,
    /// Their effect on a logit.
    Logit {
        /// The token, by its text or as #NUMBER.
        token: String,
        /// Behind which token of the text; the last when `None`.
        position: Option<usize>,
    },
}

/// What changes do to a text.
#[derive(Debug)]
pub struct Changed {
    /// To its predictions.
    pub effect: Effect,
    /// What a strength of 1 is.
    pub maxima: Vec<Maximum>,
}

/// With what a text is continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// As it is.
    Plain,
    /// With the changes.
    Changed,
    /// With steps of the same length in a random direction.
    Control,
}

impl Which {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "as it is",
            Self::Changed => "with the changes",
            Self::Control => "with a random direction of the same length",
        }
    }
}

/// How a text is to be continued.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Going {
    /// Tokens at most.
    pub tokens: usize,
    /// 0: the likeliest token each time.
    pub temperature: f32,
    /// Of draws and of the random direction.
    pub seed: u64,
}

/// A continuation as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// With what.
    pub which: Which,
    /// Its text.
    pub text: String,
    /// Whether it has come to its end.
    pub whole: bool,
}

impl Engine {
    /// Loads the model, if it is not there yet.
    pub fn open(&self, run: &Path) -> Result<Opened, Problem> {
        let prompter = self.prompter(run)?;
        let vocabulary = prompter.model().config().vocab_size as u32;
        Ok(Opened {
            about: prompter.opened(),
            vocabulary: Vocabulary::from_texts((0..vocabulary).map(|token| prompter.token_text(token))),
        })
    }

    /// What the tokens of `text` fire.
    pub fn read(&self, run: &Path, text: &str) -> Result<Reading, Problem> {
        self.prompter(run)?.read(text).map_err(problem)
    }

    /// The effect of every code of a reading.
    pub fn attribute(&self, run: &Path, reading: &Reading, aim: &Aim) -> Result<Attribution, Problem> {
        let prompter = self.prompter(run)?;
        let target = match aim {
            Aim::Loss => Target::Loss,
            Aim::Logit { token, position } => Target::Logit {
                token: prompter.token(token).map_err(problem)?,
                position: position.unwrap_or(reading.len().saturating_sub(1)),
            },
        };
        prompter.attribute(reading, target).map_err(problem)
    }

    /// What `changes` do to a reading's predictions, beside random directions drawn by `seed`.
    pub fn change(
        &self,
        run: &Path,
        reading: &Reading,
        changes: &[Change],
        seed: u64,
    ) -> Result<Changed, Problem> {
        let prompter = self.prompter(run)?;
        let plan = prompter.plan(reading, changes).map_err(problem)?;
        let effect = prompter.effect(reading, &plan, (CONTROLS, seed), &mut Quiet).map_err(problem)?;
        Ok(Changed { effect, maxima: plan.maxima })
    }

    /// Continues a reading's text, token by token: as it is and, if there are changes, with them and with a random direction.
    pub fn go_on(
        &self,
        run: &Path,
        reading: &Reading,
        changes: &[Change],
        going: Going,
        feed: &Feed<Said>,
    ) -> Result<(), Problem> {
        let prompter = self.prompter(run)?;
        let plan = prompter.plan(reading, changes).map_err(problem)?;
        let direction = prompter.direction(going.seed, 0);
        let mut ways = vec![(Which::Plain, With::Nothing)];
        if !plan.is_empty() {
            ways.push((Which::Changed, With::Changes(&plan)));
            ways.push((Which::Control, With::Control(&plan, &direction)));
        }
        let Going { tokens, temperature, seed } = going;
        let sampling =
            if temperature > 0.0 { Sampling::Drawn { temperature, seed } } else { Sampling::Greedy };
        let total = (tokens * ways.len()) as u64;
        for (i, (which, with)) in ways.into_iter().enumerate() {
            let mut telling =
                Telling { feed, which, text: String::new(), before: (i * tokens) as u64, total };
            match prompter.continuation(reading, with, tokens, sampling, &mut telling) {
                Ok(made) => feed.send(Said { which, text: made.text, whole: true }),
                // Nobody waits for it any more.
                Err(sae::Error::Stopped(_)) => return Ok(()),
                Err(error) => return Err(problem(error)),
            }
        }
        Ok(())
    }

    fn prompter(&self, run: &Path) -> Result<Arc<Prompter>, Problem> {
        let mut there = self.prompter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(prompter) = &*there {
            return Ok(Arc::clone(prompter));
        }
        let made = Prompter::open(run, None, &ModelChoice::OfTheData);
        let made = Arc::new(made.map_err(|error| at_the_terminal(run, problem(error)))?);
        *there = Some(Arc::clone(&made));
        Ok(made)
    }
}

/// An error of the library in the window's words.
fn problem(error: sae::Error) -> Problem {
    in_sentences(&error.to_string(), error.remedy())
}

/// Remedies of the library name options that the terminal has and the window has not.
fn at_the_terminal(run: &Path, problem: Problem) -> Problem {
    match &problem.remedy {
        Some(remedy) if remedy.contains("--") => {
            let command = format!("In a terminal, with `sae prompt {}`: {remedy}", run.display());
            Problem::new(&problem.what).with_remedy(command)
        }
        _ => problem,
    }
}

/// Passes a continuation on as it grows.
struct Telling<'a> {
    feed: &'a Feed<Said>,
    which: Which,
    text: String,
    /// Tokens of the continuations before this one.
    before: u64,
    total: u64,
}

impl sae::Progress for Telling<'_> {
    fn begin(&mut self, _: &str, _: Option<u64>, _: &str) {}

    fn advance(&mut self, done: u64, token: &str) {
        self.text.push_str(token);
        self.feed.send(Said { which: self.which, text: self.text.clone(), whole: false });
        self.feed.progress(self.before + done, self.total);
    }

    fn end(&mut self, _: &str) {}

    fn remark(&mut self, _: &str) {}

    fn stop_requested(&self) -> bool {
        self.feed.cancelled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_of_a_run_share_its_model_and_the_last_one_takes_it_along() {
        let mut of_run = EngineOfRun::default();
        let (first, second) = (of_run.get(), of_run.get());
        assert!(Arc::ptr_eq(&first.prompter, &second.prompter));
        let gone = Arc::downgrade(&first.prompter);
        drop((first, second));
        assert!(gone.upgrade().is_none());
        drop(of_run.get());
    }

    #[test]
    fn options_are_those_of_the_terminal() {
        let problem = Problem::new("No model.").with_remedy("Give it with --model.");
        let said = at_the_terminal(Path::new("run"), problem).remedy.unwrap();
        assert_eq!(said, "In a terminal, with `sae prompt run`: Give it with --model.");
        let other = Problem::new("No model.").with_remedy("Look again.");
        assert_eq!(at_the_terminal(Path::new("run"), other.clone()), other);
    }
}

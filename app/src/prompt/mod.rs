//! A language model at work on what a person typed. This is the one room of the window that names the crate
//! `sae`; everything else sees plain values: readings, effects, continuations. Everything here takes from
//! milliseconds to minutes and runs on [`Lane::Model`].
//!
//! [`Lane::Model`]: crate::load::Lane::Model

pub mod circuit;
pub mod explained;
pub mod foreign;
pub mod graphs;
pub mod heads;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sae::prompt::{Intervention, Prompter, Sampling};
use sae::{ModelChoice, Quiet};

pub use sae::prompt::{
    Attribution, Change, Edit, Effect, LayerExperts, Maximum, MaximumSource, Prediction,
    PrompterInfo as About, Reading, Scope, Shift, Spread, Target,
};

use crate::data::{Documents, Vocabulary, firings, in_sentences};
use crate::load::{Feed, Problem};

/// Random directions that a change is compared with.
pub const CONTROLS: u16 = 3;

type Shared = Mutex<Option<Arc<Prompter>>>;

/// The model of a run: loaded once, shared by all views of the run, forgotten with the last of them.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    prompter: Arc<Shared>,
}

impl PartialEq for Engine {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.prompter, &other.prompter)
    }
}

/// Finds the engine that another view of the run holds.
#[derive(Debug, Default)]
pub struct EngineOfRun(Weak<Shared>);

impl EngineOfRun {
    /// Finds `engine` from now on, as long as a view holds it.
    pub fn new(engine: &Engine) -> Self {
        Self(Arc::downgrade(&engine.prompter))
    }

    /// The engine, if a view still holds it.
    pub fn get(&self) -> Option<Engine> {
        self.0.upgrade().map(|prompter| Engine { prompter })
    }
}

/// A model that is loaded.
#[derive(Debug)]
pub struct LoadedModel {
    /// Its name, its hook and the dictionary that belongs to it.
    pub about: About,
    /// The texts of its tokens.
    pub vocabulary: Vocabulary,
}

/// What features of a token are ordered by, besides their activation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EffectTarget {
    /// Their effect on the summed loss of the text.
    Loss,
    /// Their effect on a logit.
    Logit {
        /// The token, by its text or as #NUMBER.
        token: String,
        /// The token of the text after which the logit is predicted; the last when `None`.
        position: Option<usize>,
    },
}

/// A text that was read, and where it stands.
#[derive(Debug)]
pub struct PlacedReading {
    /// Position of its first token in its document; 0 for a typed text.
    pub start: u32,
    /// The text as the model and the dictionary read it.
    pub reading: Arc<Reading>,
}

/// What changes do to a text.
#[derive(Debug)]
pub struct ChangeEffect {
    /// The effect on its predictions.
    pub effect: Effect,
    /// The activations that a strength of 1 stands for.
    pub maxima: Vec<Maximum>,
}

/// What the model does to the activations while it continues a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContinuationKind {
    /// Nothing.
    Plain,
    /// It makes the changes.
    Changed,
    /// It makes changes of the same length in a random direction.
    Control,
}

impl ContinuationKind {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "unchanged",
            Self::Changed => "with the changes",
            Self::Control => "with a random direction of the same length",
        }
    }
}

/// How the tokens of a continuation are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingOptions {
    /// The most tokens of a continuation.
    pub tokens: usize,
    /// The temperature of sampling; 0 takes the most likely token each time.
    pub temperature: f32,
    /// The seed of the samples and of the random direction.
    pub seed: u64,
}

/// A continuation as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Continuation {
    /// What was done to the activations.
    pub kind: ContinuationKind,
    /// The text without the prompt.
    pub text: String,
    /// Whether it is complete.
    pub whole: bool,
}

impl Engine {
    /// Loads the model, unless it is loaded.
    ///
    /// # Errors
    /// The dictionary or its model cannot be found or read.
    pub fn open(&self, run: &Path) -> Result<LoadedModel, Problem> {
        let prompter = self.prompter(run)?;
        let vocabulary = prompter.model().config().vocab_size as u32;
        Ok(LoadedModel {
            about: prompter.info(),
            vocabulary: Vocabulary::from_texts((0..vocabulary).map(|token| prompter.token_text(token)))
                .with_bytes(prompter.model().tokenizer().token_bytes()),
        })
    }

    /// The features that fire on the tokens of `text`.
    ///
    /// # Errors
    /// The model cannot be loaded, or the text is too long for it.
    pub fn read(&self, run: &Path, text: &str) -> Result<PlacedReading, Problem> {
        let reading = Arc::new(self.prompter(run)?.read(text).map_err(problem)?);
        Ok(PlacedReading { start: 0, reading })
    }

    /// The tokens around `place` (document, position) of the dataset in `dir`, up to `after` of them after it. The text begins where the
    /// context began in which the dataset's activations were made, so that they are the same here.
    ///
    /// # Errors
    /// The model cannot be loaded; the dataset has no such place, or is of a model with a different vocabulary.
    pub fn read_place(
        &self,
        run: &Path,
        dir: &Path,
        documents: &Documents,
        place: (u32, u32),
        after: u32,
    ) -> Result<PlacedReading, Problem> {
        let prompter = self.prompter(run)?;
        let begins = u32::from(prompter.model().config().bos_token_id.is_some());
        let room = firings::context_length(dir)?.saturating_sub(begins).clamp(1, prompter.room() as u32);
        let before = place.1 % room;
        // The context ends, too.
        let after = after.min(room - 1 - before);
        let found = firings::contexts(dir, documents, &[place], (before, after))?;
        let context = found.first().ok_or_else(|| Problem::new("The dataset has no such place."))?;
        let reading = Arc::new(prompter.read_tokens(&context.tokens).map_err(problem)?);
        Ok(PlacedReading { start: context.start, reading })
    }

    /// The effect of every activation of a reading on `aim`.
    ///
    /// # Errors
    /// The model cannot be loaded, or `aim` names no single token.
    pub fn attribute(
        &self,
        run: &Path,
        reading: &Reading,
        aim: &EffectTarget,
    ) -> Result<Attribution, Problem> {
        let prompter = self.prompter(run)?;
        let target = match aim {
            EffectTarget::Loss => Target::Loss,
            EffectTarget::Logit { token, position } => Target::Logit {
                token: prompter.token(token).map_err(problem)?,
                position: position.unwrap_or(reading.len().saturating_sub(1)),
            },
        };
        prompter.attribute(reading, target).map_err(problem)
    }

    /// What `changes` do to a reading's predictions, compared with random directions drawn by `seed`.
    ///
    /// # Errors
    /// The model cannot be loaded, or it cannot make the changes.
    pub fn change(
        &self,
        run: &Path,
        reading: &Reading,
        changes: &[Change],
        seed: u64,
    ) -> Result<ChangeEffect, Problem> {
        let prompter = self.prompter(run)?;
        let plan = prompter.plan(reading, changes).map_err(problem)?;
        let effect = prompter.effect(reading, &plan, (CONTROLS, seed), &mut Quiet).map_err(problem)?;
        Ok(ChangeEffect { effect, maxima: plan.maxima })
    }

    /// Continues a reading's text, token by token: unchanged and, if there are changes, with them and with a
    /// random direction.
    ///
    /// # Errors
    /// The model cannot be loaded, or it cannot make the changes.
    pub fn continue_text(
        &self,
        run: &Path,
        reading: &Reading,
        changes: &[Change],
        options: SamplingOptions,
        feed: &Feed<Continuation>,
    ) -> Result<(), Problem> {
        let prompter = self.prompter(run)?;
        let plan = prompter.plan(reading, changes).map_err(problem)?;
        let direction = prompter.direction(options.seed, 0);
        let mut ways = vec![(ContinuationKind::Plain, Intervention::Nothing)];
        if !plan.is_empty() {
            ways.push((ContinuationKind::Changed, Intervention::Changes(&plan)));
            ways.push((ContinuationKind::Control, Intervention::Control(&plan, &direction)));
        }
        let SamplingOptions { tokens, temperature, seed } = options;
        let sampling =
            if temperature > 0.0 { Sampling::Drawn { temperature, seed } } else { Sampling::Greedy };
        let total = (tokens * ways.len()) as u64;
        for (i, (kind, with)) in ways.into_iter().enumerate() {
            let mut telling =
                ContinuationProgress { feed, kind, text: String::new(), before: (i * tokens) as u64, total };
            match prompter.continuation(reading, with, tokens, sampling, &mut telling) {
                Ok(made) => feed.send(Continuation { kind, text: made.text, whole: true }),
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
#[allow(clippy::needless_pass_by_value)] // `map_err` gives it by value.
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
struct ContinuationProgress<'a> {
    feed: &'a Feed<Continuation>,
    kind: ContinuationKind,
    text: String,
    /// Tokens of the continuations before this one.
    before: u64,
    total: u64,
}

impl sae::Progress for ContinuationProgress<'_> {
    fn begin(&mut self, _: &str, _: Option<u64>, _: &str) {}

    fn advance(&mut self, done: u64, token: &str) {
        self.text.push_str(token);
        self.feed.send(Continuation { kind: self.kind, text: self.text.clone(), whole: false });
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
        assert_eq!(EngineOfRun::default().get(), None);
        let first = Engine::default();
        let of_run = EngineOfRun::new(&first);
        let second = of_run.get();
        assert_eq!(second.as_ref(), Some(&first));
        assert_ne!(second, Some(Engine::default()));
        drop((first, second));
        assert_eq!(of_run.get(), None);
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

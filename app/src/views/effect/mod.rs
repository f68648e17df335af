//! What features do in a text, and what changing them does to the model's predictions: the one mechanism of the prompt, where a text is
//! typed, and of a claim, where it is a line of the data.

pub mod changes;
mod figures;
pub mod grid;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::load::{KeyedRequest, Lane, Problem, Workers};
use crate::prompt::{
    Attribution, Change, ChangeEffect, EffectTarget, Engine, LoadedModel, Maximum, PlacedReading, Reading,
};
use crate::stores::Need;
use crate::views::Scene;

/// What is asked about a text.
pub struct Inputs {
    /// The model.
    pub engine: Engine,
    /// Folder of the run.
    pub run: PathBuf,
    /// What features are ordered by, if by an effect.
    pub aim: Option<EffectTarget>,
    /// What is changed.
    pub changes: Vec<Change>,
    /// Seed of the random directions.
    pub seed: u64,
}

/// A text and all that is asked about it. `K` tells texts apart.
#[derive(Debug)]
pub struct Experiment<K> {
    reading: KeyedRequest<K, PlacedReading>,
    attribution: KeyedRequest<(K, EffectTarget), Attribution>,
    effect: KeyedRequest<(K, Vec<Change>, u64), ChangeEffect>,
    aim: Option<EffectTarget>,
    changes: Option<(Vec<Change>, u64)>,
}

impl<K: Clone + PartialEq + Send + Sync + 'static> Default for Experiment<K> {
    fn default() -> Self {
        Self {
            reading: KeyedRequest::default(),
            attribution: KeyedRequest::default(),
            effect: KeyedRequest::default(),
            aim: None,
            changes: None,
        }
    }
}

impl<K: Clone + PartialEq + Send + Sync + 'static> Experiment<K> {
    /// What is asked from now on; it counts for texts that are still to come, too.
    pub fn ask(&mut self, asked: &Inputs) {
        self.aim.clone_from(&asked.aim);
        self.changes = (!asked.changes.is_empty()).then(|| (asked.changes.clone(), asked.seed));
    }

    /// Once per frame: asks for what is missing about the text `key`, which `read` reads, and takes what has arrived.
    pub fn logic(
        &mut self,
        workers: &Workers,
        key: &K,
        asked: &Inputs,
        read: impl FnOnce() -> Result<PlacedReading, Problem> + Send + 'static,
    ) {
        self.reading.want(workers, Lane::Model, key, read);
        let Some(reading) = self.reading(key) else { return };
        if let Some(aim) = self.aim.clone() {
            let (engine, run, of) = (asked.engine.clone(), asked.run.clone(), Arc::clone(&reading));
            let made = (key.clone(), aim.clone());
            self.attribution.want(workers, Lane::Model, &made, move || engine.attribute(&run, &of, &aim));
        }
        if let Some((changes, seed)) = self.changes.clone() {
            let (engine, run) = (asked.engine.clone(), asked.run.clone());
            let made = (key.clone(), changes.clone(), seed);
            self.effect
                .want(workers, Lane::Model, &made, move || engine.change(&run, &reading, &changes, seed));
        }
    }

    /// The text `key` as the model and the dictionary read it.
    pub fn reading(&self, key: &K) -> Option<Arc<Reading>> {
        self.reading.get(key).map(|placed| Arc::clone(&placed.reading))
    }

    /// The position in its document of its first token.
    pub fn start(&self, key: &K) -> u32 {
        self.reading.get(key).map_or(0, |placed| placed.start)
    }

    /// Why it could not be read.
    pub fn reading_problem(&self, key: &K) -> Option<&Problem> {
        self.reading.problem(key)
    }

    /// The changes that are asked for.
    pub fn changes(&self) -> &[Change] {
        self.changes.as_ref().map_or(&[], |(changes, _)| changes)
    }

    /// The effects that are asked for, if they are here, or why they cannot be.
    pub fn attribution(&self, key: &K) -> Option<Result<Arc<Attribution>, Problem>> {
        let key = (key.clone(), self.aim.clone()?);
        let problem = || self.attribution.problem(&key).map(|problem| Err(problem.clone()));
        self.attribution.get(&key).map(Ok).or_else(problem)
    }

    /// What the changes do, if there are any and it is known.
    pub fn changed(&self, key: &K) -> Option<Arc<ChangeEffect>> {
        let (changes, seed) = self.changes.clone()?;
        self.effect.get(&(key.clone(), changes, seed))
    }

    /// What strengths are shares of.
    pub fn maxima(&self) -> Vec<Maximum> {
        self.effect.last().map(|changed| changed.maxima.clone()).unwrap_or_default()
    }
}

/// The model of a run and what is known of it, once it is loaded. The engine that the views of this run share comes before `own`.
pub fn model_of(
    scene: &mut Scene<'_>,
    run: &Path,
    own: &mut Option<Engine>,
) -> Option<(Engine, Arc<LoadedModel>)> {
    let store = scene.stores.run(run);
    let (shared, untouched) = (store.engine.get(), store.opened.untouched());
    let opened = store.opened.value().cloned();
    let register = shared.is_none() || untouched;
    let engine = shared.or(own.take()).unwrap_or_default();
    if register {
        scene.load(Need::Model(run.to_owned(), engine.clone()));
    }
    *own = Some(engine.clone());
    opened.map(|opened| (engine, opened))
}

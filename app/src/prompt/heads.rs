//! Where a feature's value on a token comes from: by head and source token, by the features of other runs there, step by step.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

pub use sae::heads::{FeaturePart, HeadParts, MlpPart, Parts, Written};
use sae::heads::{HeldText, PlacedDictionary, Reader};
use sae::prompt::{Prompter, Reading};

use super::{Engine, problem};
use crate::load::Problem;

/// One step back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A feature of a run on a token of the context.
    Feature {
        /// The run.
        run: PathBuf,
        /// The feature.
        feature: u32,
        /// The token, BOS counted.
        token: usize,
    },
    /// What a head moved from a token to where the step before reads.
    Through {
        /// Its layer.
        layer: usize,
        /// The head.
        head: usize,
        /// The token, BOS counted.
        source: usize,
    },
}

/// What the last step reads, taken apart.
#[derive(Debug)]
pub struct Followed {
    /// By head and token, by MLP.
    pub parts: Parts,
    /// By the features of runs below, for each run of which something stands there.
    pub written: Vec<(PathBuf, Written)>,
}

/// The text at which the model is held, and dictionaries, kept while a person goes from step to step.
#[derive(Clone, Debug, Default)]
pub struct HeadsEngine(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    text: Option<(Vec<u32>, Arc<HeldText>)>,
    dictionaries: HashMap<PathBuf, Arc<PlacedDictionary>>,
}

impl HeadsEngine {
    /// Takes what the last of `steps` reads apart, with the features of `runs` where they are below it.
    ///
    /// # Errors
    /// The model cannot be loaded or is not linear once its patterns are held; a step that leads nowhere.
    pub fn follow(
        &self,
        engine: &Engine,
        run: &Path,
        reading: &Reading,
        steps: &[Step],
        runs: &[PathBuf],
    ) -> Result<Followed, Problem> {
        let prompter = engine.prompter(run)?;
        let text = self.text(&prompter, reading)?;
        let mut reader: Option<Reader<'_>> = None;
        for step in steps {
            reader = match (step, &reader) {
                (Step::Feature { run, feature, token }, _) => {
                    let placed = self.dictionary(&prompter, run)?;
                    Some(text.feature(&placed, *feature, *token).map_err(problem)?)
                }
                (Step::Through { layer, head, source }, Some(reader)) => {
                    Some(reader.through(*layer, Some(*head), *source).map_err(problem)?)
                }
                (Step::Through { .. }, None) => None,
            };
        }
        let reader = reader.ok_or_else(|| Problem::new("There is no feature to follow."))?;
        let mut written = Vec::new();
        for run in runs {
            // A run that cannot stand below any reading (another width, normalised rows) has no part in this.
            let Ok(placed) = self.dictionary(&prompter, run) else { continue };
            if let Some(parts) = reader.written(&placed).map_err(problem)? {
                written.push((run.clone(), parts));
            }
        }
        Ok(Followed { parts: reader.parts().map_err(problem)?, written })
    }

    fn text(&self, prompter: &Prompter, reading: &Reading) -> Result<Arc<HeldText>, Problem> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((tokens, text)) = &kept.text
            && *tokens == reading.tokens
        {
            return Ok(Arc::clone(text));
        }
        let text = Arc::new(prompter.hold(reading).map_err(problem)?);
        kept.text = Some((reading.tokens.clone(), Arc::clone(&text)));
        Ok(text)
    }

    fn dictionary(&self, prompter: &Prompter, run: &Path) -> Result<Arc<PlacedDictionary>, Problem> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(placed) = kept.dictionaries.get(run) {
            return Ok(Arc::clone(placed));
        }
        let placed = PlacedDictionary::open(run, prompter.model().config()).map_err(problem)?;
        let placed = Arc::new(placed);
        kept.dictionaries.insert(run.to_owned(), Arc::clone(&placed));
        Ok(placed)
    }
}

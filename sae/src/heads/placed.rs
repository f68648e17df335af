//! A dictionary and the place in a model that it is of.

use std::path::{Path, PathBuf};

use crate::dictionary::Dictionary;
use crate::rows::{InModel, ModelChoice, Source};
use crate::{Error, Result};
use lm::model::{Config, Hook, LanguageModel, Site};

/// A dictionary with the hooks that it reads and describes.
#[derive(Debug)]
pub struct PlacedDictionary {
    /// Its folder.
    pub from: PathBuf,
    /// The dictionary.
    pub dictionary: Dictionary,
    /// What it reads.
    pub hook: Hook,
    /// What its features write, where that is not what it reads: a transcoder's target.
    pub target: Option<Hook>,
    /// Norm of a row above which training left tokens out.
    pub norm_limit: Option<f32>,
}

/// A dictionary with the model that its activations are of.
#[derive(Debug)]
pub struct PlacedInModel {
    /// The model.
    pub model: LanguageModel,
    /// The dictionary.
    pub placed: PlacedDictionary,
}

impl PlacedInModel {
    /// Opens the run or the foreign dictionary at `path` with the model and the hook of its dataset, or of `data`.
    ///
    /// # Errors
    /// As [`PlacedDictionary::open`]; a model that is missing or whose weights differ from those that made the dataset.
    pub fn open(path: &Path, data: Option<&Path>, model: &ModelChoice) -> Result<Self> {
        let InModel { source, hook, model } = InModel::open(path, data, model)?;
        let limit = source.norm_limit();
        let placed = PlacedDictionary::new(path, source.dictionary, hook, limit)?;
        placed.check(model.config())?;
        Ok(Self { model, placed })
    }
}

impl PlacedDictionary {
    /// Reads the run or the foreign dictionary at `path`, which must be of a model with `config`.
    ///
    /// # Errors
    /// A dictionary that does not name its hook, that normalises rows, or that does not fit the model.
    pub fn open(path: &Path, config: &Config) -> Result<Self> {
        let source = Source::open(path)?;
        let named = source.hook().to_owned();
        let limit = source.norm_limit();
        if named.is_empty() {
            return Err(Error::request(format!(
                "{} does not name the hook of its activations, so its dictionary has no place in a model",
                path.display()
            )));
        }
        let placed = Self::new(path, source.dictionary, named.parse()?, limit)?;
        placed.check(config)?;
        Ok(placed)
    }

    /// Puts `dictionary`, read from `from`, at `hook`.
    ///
    /// # Errors
    /// A dictionary that normalises rows; a target that is not a hook.
    pub fn new(from: &Path, dictionary: Dictionary, hook: Hook, norm_limit: Option<f32>) -> Result<Self> {
        dictionary.needs_raw_rows("attribution to heads and tokens")?;
        let target = match &dictionary.target {
            None => None,
            Some(target) => Some(
                target
                    .hook
                    .as_deref()
                    .map_or_else(|| Ok(Hook::new(hook.layer, Site::MlpOut)), str::parse::<Hook>)?,
            ),
        };
        Ok(Self { from: from.to_owned(), dictionary, hook, target, norm_limit })
    }

    /// What its features write.
    pub fn writes(&self) -> Hook {
        self.target.unwrap_or(self.hook)
    }

    fn check(&self, config: &Config) -> Result<()> {
        let widths = [(self.hook, self.dictionary.d_in), (self.writes(), self.dictionary.d_out())];
        for (hook, own) in widths {
            let width = hook.width(config)?;
            if width != own {
                return Err(Error::request(format!(
                    "{hook} of the model has width {width}, the dictionary of {} has {own}",
                    self.from.display()
                ))
                .with_remedy("give a dictionary of this model"));
            }
        }
        Ok(())
    }
}

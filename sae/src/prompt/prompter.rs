//! The model with a run's dictionary at its hook.

use std::path::Path;

use storage::{Dataset, Run};

use crate::dictionary::recode::{self, Coding, Recoder};
use crate::dictionary::{Codes, Dictionary};
use crate::evaluate::training;
use crate::rows::{InModel, ModelChoice, Source};
use crate::{Error, Result};
use lm::model::{Compute, Hook, LanguageModel, shown};

/// The model with a dictionary at one of its hooks.
#[derive(Debug)]
pub struct Prompter {
    pub(super) dictionary: Dictionary,
    pub(super) model: LanguageModel,
    pub(super) hook: Hook,
    /// Norm of an activation above which training left tokens out.
    pub(super) norm_limit: Option<f32>,
    /// The strongest activation of each feature, `[F]`, if there is an index.
    pub(super) maxima: Option<Vec<f32>>,
    /// The mean of each feature over all indexed tokens, those on which it does not fire included, `[F]`, if there is an index.
    pub(super) means: Option<Vec<f32>>,
    /// How codes are searched for from the dictionary's own, if they are.
    recoder: Option<Recoder>,
    shown: Vec<String>,
    bytes: Vec<Vec<u8>>,
}

/// Facts about a [`Prompter`], to show to people.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PrompterInfo {
    /// The model's name.
    pub model: String,
    /// The hook that the dictionary reads.
    pub hook: String,
    /// Number of features.
    pub d_sae: usize,
    /// Most tokens that a text and its continuation may have together.
    pub room: usize,
    /// Whether the run has an index, which knows each feature's maximum.
    pub indexed: bool,
}

impl Prompter {
    /// Opens the run or the foreign dictionary at `path` with the model and the hook of its dataset, or of `data`. No row of the dataset
    /// is read, so it may be gone if `run.json` still names the model; a foreign dictionary needs `data` or a model.
    ///
    /// # Errors
    /// A run without a dictionary or without a model, a model that is missing or whose weights differ from
    /// those that made the dataset, a hook that it does not have, a feature table that does not fit the
    /// dictionary.
    pub fn open(path: &Path, data: Option<&Path>, model: &ModelChoice) -> Result<Self> {
        let source = Source::open(path)?;
        source.dictionary.needs_its_input("changing a feature on a text of your own")?;
        source.dictionary.needs_raw_rows("changing a feature on a text of your own")?;
        let InModel { source, hook, model } = InModel::of(source, path, data, model)?;
        let indexed = match source.record() {
            Some(_) => indexed(path, source.dictionary.d_sae)?,
            None => None,
        };
        let (maxima, means) = indexed.unzip();
        let limit = source.norm_limit();
        Ok(Self { means, ..Self::new(source.dictionary, model, hook, limit, maxima)? })
    }

    /// Puts `dictionary` at `hook` of `model`. Tokens whose norm is above `norm_limit` are not changed;
    /// `maxima`, `[d_sae]`, are the features' strongest activations, if known.
    ///
    /// # Errors
    /// A hook that the model does not have or whose width is not the dictionary's.
    pub fn new(
        dictionary: Dictionary,
        model: LanguageModel,
        hook: Hook,
        norm_limit: Option<f32>,
        maxima: Option<Vec<f32>>,
    ) -> Result<Self> {
        let width = hook.width(model.config())?;
        if width != dictionary.d_in {
            return Err(Error::request(format!(
                "{hook} of `{}` has width {width}, the dictionary takes {}",
                model.id(),
                dictionary.d_in
            ))
            .with_remedy("give the model that the dataset was made with"));
        }
        if !hook.site.is_vector() {
            return Err(Error::request(format!("nothing can be added to the values at {hook}")));
        }
        let bytes = model.tokenizer().token_bytes();
        let shown = bytes.iter().map(|bytes| shown(bytes)).collect();
        Ok(Self { dictionary, model, hook, norm_limit, maxima, means: None, recoder: None, shown, bytes })
    }

    /// Lets the model multiply in `compute` instead of the numbers that made the dataset.
    pub fn set_compute(&mut self, compute: Compute) {
        self.model.set_compute(compute);
    }

    /// Takes codes that are searched for from the dictionary's own instead of these. Where `coding` asks how features behave, that is
    /// measured on training rows of `data`.
    ///
    /// # Errors
    /// As [`Recoder::new`]; a dataset that is asked for and missing, or whose rows cannot be read.
    pub fn search_codes(&mut self, coding: Coding, data: Option<&Dataset>) -> Result<()> {
        let rows = match (coding.needs_slabs(), data) {
            (false, _) => Vec::new(),
            (true, Some(data)) => training::rows_of_features(data, self.dictionary.d_in, self.norm_limit, 0)?,
            (true, None) => {
                let name = coding.name();
                return Err(Error::request(format!(
                    "{name} needs training rows, on which it is measured how features behave"
                ))
                .with_remedy("give the dataset with --data, or take a different coding"));
            }
        };
        self.recoder = Some(Recoder::new(&self.dictionary, coding, recode::ITERATIONS, &rows)?);
        Ok(())
    }

    /// The coding that codes are searched for by.
    pub fn recoded(&self) -> Option<Coding> {
        self.recoder.as_ref().map(Recoder::coding)
    }

    /// Codes of `rows[n, d]`.
    pub(super) fn codes(&self, rows: &[f32]) -> Codes {
        let own = self.dictionary.encode(rows);
        match &self.recoder {
            Some(recoder) => recoder.recode(&self.dictionary, &own, rows),
            None => own,
        }
    }

    /// The dictionary.
    pub fn dictionary(&self) -> &Dictionary {
        &self.dictionary
    }

    /// The model.
    pub fn model(&self) -> &LanguageModel {
        &self.model
    }

    /// Its model, hook and sizes.
    pub fn info(&self) -> PrompterInfo {
        PrompterInfo {
            model: self.model.id().to_owned(),
            hook: self.hook.to_string(),
            d_sae: self.dictionary.d_sae,
            room: self.room(),
            indexed: self.maxima.is_some(),
        }
    }

    /// A token as it is shown; empty for a number outside the vocabulary.
    pub fn token_text(&self, token: u32) -> &str {
        self.shown.get(token as usize).map_or("", String::as_str)
    }

    /// What each of consecutive tokens shows as. A character whose bytes lie in several tokens is whole at the
    /// first of them.
    pub fn texts(&self, tokens: &[u32]) -> Vec<String> {
        storage::vocabulary::in_context(&self.bytes_of(tokens).collect::<Vec<_>>())
    }

    /// The text that consecutive tokens make.
    pub fn text(&self, tokens: &[u32]) -> String {
        shown(&self.bytes_of(tokens).collect::<Vec<_>>().concat())
    }

    fn bytes_of<'a>(&'a self, tokens: &'a [u32]) -> impl Iterator<Item = &'a [u8]> {
        tokens.iter().map(|&token| self.bytes.get(token as usize).map_or(&[][..], Vec::as_slice))
    }

    /// The token that `text` names: by its number as `#17`, or by a text that is exactly one token.
    ///
    /// # Errors
    /// A number outside the vocabulary, or a text of no or several tokens, which the message lists.
    pub fn token(&self, text: &str) -> Result<u32> {
        let vocabulary = self.model.config().vocab_size;
        if let Some(number) = text.strip_prefix('#').and_then(|n| n.parse::<u32>().ok()) {
            return match (number as usize) < vocabulary {
                true => Ok(number),
                false => Err(Error::request(format!(
                    "there is no token {number}: the vocabulary has {vocabulary}"
                ))),
            };
        }
        let tokens = self.model.tokenizer().encode(text)?;
        match tokens[..] {
            [token] => Ok(token),
            _ => {
                let parts: Vec<String> =
                    tokens.iter().map(|&token| format!("`{}` (#{token})", self.token_text(token))).collect();
                let parts = if parts.is_empty() { "none".to_owned() } else { parts.join(", ") };
                Err(Error::request(format!(
                    "`{text}` is {} tokens ({parts}), and a logit belongs to one",
                    tokens.len()
                ))
                .with_remedy("give one of them, with its space if it has one, or its number as #NUMBER"))
            }
        }
    }

    /// Most tokens that a text and its continuation may have, BOS not counted.
    pub fn room(&self) -> usize {
        let config = self.model.config();
        config.max_position_embeddings - usize::from(config.bos_token_id.is_some())
    }
}

/// The strongest activation and the mean over all tokens of every feature, if there is an index.
fn indexed(dir: &Path, features: usize) -> Result<Option<(Vec<f32>, Vec<f32>)>> {
    let Some(table) = Run::open(dir)?.features()? else { return Ok(None) };
    let columns = storage::features::FeatureColumns::read(&table, &["max", "mean", "density"])?;
    if columns.max.len() != features {
        let found = columns.max.len();
        return Err(Error::format(
            table.path(),
            format!("has {found} features, the dictionary has {features}"),
        )
        .with_remedy(format!("make the index again: sae index {}", dir.display())));
    }
    // The table's mean is over the tokens on which a feature fires.
    let means = columns.mean.iter().zip(&columns.density).map(|(mean, density)| mean * density).collect();
    Ok(Some((columns.max, means)))
}

//! What probes read of each prompt: the activation at a hook, of the last token or on average. The model runs once; what it gave is kept.

use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use sha2::{Digest as _, Sha256};
use storage::Scan;
use storage::probe::PromptActivationRow;

use super::sets::LabelledSet;
use crate::{Error, Progress, Result};
use lm::model::{Hook, LanguageModel, Tap, hexadecimal};
use lm::text::{Contexts, pack};

/// Tokens of a prompt at most, BOS counted; of longer ones the last are kept, as in the published protocol.
const LONGEST: usize = 1024;
/// Tokens of a batch, about.
const TOKENS: usize = 4096;

/// What of a prompt is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Pooling {
    /// The activation of its last token.
    #[default]
    Last,
    /// The mean over its tokens, BOS left out.
    Mean,
}

impl Pooling {
    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Mean => "mean",
        }
    }
}

/// Where prompts run.
#[derive(Debug)]
pub(super) struct Reading<'a> {
    pub(super) model: &'a LanguageModel,
    pub(super) hook: Hook,
    pub(super) pooling: Pooling,
    /// Folder of what was read before.
    pub(super) cache: &'a Path,
}

impl Reading<'_> {
    /// The file that has, or will have, the activations of `set`.
    fn file(&self, set: &LabelledSet) -> PathBuf {
        let mut hash = Sha256::new();
        let bos = format!("{:?}", self.model.config().bos_token_id);
        for part in [self.model.sha256(), &bos, &self.hook.to_string(), self.pooling.name()] {
            hash.update(part);
            hash.update([0]);
        }
        hash.update((LONGEST as u64).to_le_bytes());
        for prompt in &set.prompts {
            hash.update((prompt.len() as u64).to_le_bytes());
            hash.update(prompt);
        }
        let key = &hexadecimal(&hash.finalize())[..16];
        self.cache.join(format!("{}-{key}.parquet", set.name))
    }

    /// Prompts whose activations are not there yet.
    pub(super) fn missing(&self, set: &LabelledSet) -> u64 {
        if self.file(set).exists() { 0 } else { set.prompts.len() as u64 }
    }

    /// Makes the activations of `set` if they are not there. `done` counts prompts.
    pub(super) fn make(&self, set: &LabelledSet, done: &mut u64, progress: &mut dyn Progress) -> Result<()> {
        let path = self.file(set);
        if path.exists() {
            return Ok(());
        }
        let rows = self.run(set, done, progress)?;
        std::fs::create_dir_all(self.cache).map_err(|e| Error::io(self.cache, e))?;
        storage::row::write(&path, &rows)?;
        Ok(())
    }

    /// The activations of `set`, `[n, d]`, and which prompts have one.
    pub(super) fn read(&self, set: &LabelledSet, d: usize) -> Result<(Vec<f32>, Vec<bool>)> {
        let path = self.file(set);
        let table = storage::row::open::<PromptActivationRow>(&path)?;
        let rows = storage::row::read::<PromptActivationRow>(&table, Scan::default())?;
        let whole = |row: &PromptActivationRow| row.activation.is_empty() || row.activation.len() == d;
        if rows.len() != set.prompts.len() || !rows.iter().all(whole) {
            return Err(Error::format(
                &path,
                format!(
                    "has {} rows, not all of {d} numbers; expected one per prompt of {} ({})",
                    rows.len(),
                    set.name,
                    set.prompts.len()
                ),
            )
            .with_remedy("delete the file: it is made again"));
        }
        let there = rows.iter().map(|row| !row.activation.is_empty()).collect();
        let zeros = vec![0.0; d];
        let values =
            |row: PromptActivationRow| if row.activation.is_empty() { zeros.clone() } else { row.activation };
        Ok((rows.into_iter().flat_map(values).collect(), there))
    }

    fn run(
        &self,
        set: &LabelledSet,
        done: &mut u64,
        progress: &mut dyn Progress,
    ) -> Result<Vec<PromptActivationRow>> {
        let config = self.model.config();
        let begin = usize::from(config.bos_token_id.is_some());
        let room = LONGEST.min(config.max_position_embeddings.max(2)) - begin;
        let mut documents = Vec::new();
        for (i, prompt) in set.prompts.iter().enumerate() {
            let mut tokens = self.model.tokenizer().encode_after_bos(prompt)?;
            tokens.drain(..tokens.len().saturating_sub(room));
            documents.push((i as u32, tokens));
        }
        let lengths: Vec<usize> = documents.iter().map(|(_, tokens)| tokens.len()).collect();
        let length = (lengths.iter().copied().max().unwrap_or(0) + begin).max(2);
        let mut rows = vec![PromptActivationRow::default(); set.prompts.len()];
        let documents = documents.into_iter().filter(|(_, tokens)| !tokens.is_empty()).map(Ok);
        for contexts in pack(documents, length, config.bos_token_id, (TOKENS / length).clamp(1, 64))? {
            let contexts = contexts?;
            contexts.check_tokens(config.vocab_size)?;
            let mut tap = Keep { hook: self.hook, value: None };
            self.model.decoder().residual(&contexts, self.hook.layer + 1, &mut tap)?;
            *done += self.collect(&contexts, &tap, &lengths, &mut rows)?;
            progress.advance(*done, &set.name);
            stop(progress)?;
        }
        Ok(rows)
    }

    /// Adds a batch's activations to the prompts' rows. Returns how many prompts ended in it.
    fn collect(
        &self,
        contexts: &Contexts,
        tap: &Keep,
        lengths: &[usize],
        rows: &mut [PromptActivationRow],
    ) -> Result<u64> {
        let value = tap
            .value
            .as_ref()
            .ok_or_else(|| Error::data(format!("the model has no value at {}", self.hook)))?;
        let values: Vec<f32> = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let d = values.len() / contexts.origin.len();
        let mut ended = 0;
        for (origin, x) in contexts.origin.iter().zip(values.chunks_exact(d)) {
            let Some((document, position)) = *origin else { continue };
            let (row, length) = (&mut rows[document as usize], lengths[document as usize]);
            let last = position as usize + 1 == length;
            ended += u64::from(last);
            match self.pooling {
                Pooling::Last if last => row.activation = x.to_vec(),
                Pooling::Last => {}
                Pooling::Mean => {
                    row.activation.resize(d, 0.0);
                    let share = 1.0 / length as f32;
                    row.activation.iter_mut().zip(x).for_each(|(mean, x)| *mean += share * x);
                }
            }
        }
        Ok(ended)
    }
}

/// An error if somebody asked for an end.
pub(super) fn stop(progress: &dyn Progress) -> Result<()> {
    if progress.stop_requested() {
        return Err(Error::stopped("finished sets are kept; the same command resumes"));
    }
    Ok(())
}

/// Keeps the value at a hook.
struct Keep {
    hook: Hook,
    value: Option<Tensor>,
}

impl Tap for Keep {
    fn wants(&self, hook: &Hook) -> bool {
        *hook == self.hook
    }

    fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        self.value = Some(value.clone());
        Ok(None)
    }
}

//! A model that reads prompts, with something else at one token of each.

use candle_core::{DType, Tensor};
use lm::model::{Hook, LanguageModel, NoTap, Tap};
use lm::text::Contexts;

use super::prompts::Prompt;
use crate::{Error, Progress, Result};

/// Prompts of a batch.
const ROWS: usize = 16;

/// What the model says after a prompt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction {
    /// Logit of the answer less that of the alternative.
    pub difference: f64,
    /// The likeliest token.
    pub best: u32,
}

/// Prompts that were read once.
pub struct Bench<'a> {
    model: &'a LanguageModel,
    hook: Hook,
    prompts: &'a [Prompt],
    batches: Vec<Batch>,
    /// Width at the hook.
    pub width: usize,
}

struct Batch {
    /// Its prompts.
    prompts: std::ops::Range<usize>,
    contexts: Contexts,
    /// The value at the hook, `[rows, len, width]`.
    seen: Tensor,
    /// What comes before the first token of a prompt: BOS or nothing.
    first: usize,
}

/// Replaces the value at one hook, and keeps what was there.
struct At<'a> {
    hook: Hook,
    put: Option<&'a Tensor>,
    seen: Option<Tensor>,
}

impl Tap for At<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        *hook == self.hook
    }

    fn wants_routing(&self) -> bool {
        false
    }

    fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        self.seen = Some(value.clone());
        Ok(self.put.cloned())
    }
}

impl<'a> Bench<'a> {
    /// Reads the prompts; `read` is told how many at a time, and may end it.
    ///
    /// # Errors
    /// A model without the hook, or that fails on the prompts; an error of `read`.
    pub fn new(
        model: &'a LanguageModel,
        hook: Hook,
        prompts: &'a [Prompt],
        read: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Self> {
        let width = hook.width(model.config())?;
        let mut batches = Vec::new();
        for (i, some) in prompts.chunks(ROWS).enumerate() {
            let (contexts, first) = contexts(some, model.bos());
            let mut tap = At { hook, put: None, seen: None };
            model.decoder().residual(&contexts, layers(model, hook), &mut tap)?;
            let seen = tap.seen.ok_or_else(|| Error::request(format!("the model has no value at {hook}")))?;
            batches.push(Batch { prompts: i * ROWS..i * ROWS + some.len(), contexts, seen, first });
            read(some.len())?;
        }
        Ok(Self { model, hook, prompts, batches, width })
    }

    /// The activation of every prompt at a position, `[prompts, width]`.
    ///
    /// # Errors
    /// A value that cannot be read.
    pub fn activations(&self, position: usize) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(self.prompts.len() * self.width);
        for batch in &self.batches {
            let values: Vec<f32> = batch.seen.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
            for row in 0..batch.contexts.rows {
                let at = self.place(batch, row, position) * self.width;
                all.extend_from_slice(&values[at..at + self.width]);
            }
        }
        Ok(all)
    }

    /// Token of a prompt's position in the values of its batch.
    fn place(&self, batch: &Batch, row: usize, position: usize) -> usize {
        let prompt = &self.prompts[batch.prompts.start + row];
        row * batch.contexts.len + batch.first + prompt.positions[position]
    }

    /// What the model says as it is.
    ///
    /// # Errors
    /// As [`Bench::with`].
    pub fn clean(&self, progress: &dyn Progress) -> Result<Vec<Prediction>> {
        self.run(None, progress)
    }

    /// What the model says with `put [prompts, width]` at a position.
    ///
    /// # Errors
    /// A model that fails; [`Error::Stopped`].
    pub fn with(&self, position: usize, put: &[f32], progress: &dyn Progress) -> Result<Vec<Prediction>> {
        self.run(Some((position, put)), progress)
    }

    fn run(&self, put: Option<(usize, &[f32])>, progress: &dyn Progress) -> Result<Vec<Prediction>> {
        let mut all = Vec::with_capacity(self.prompts.len());
        for batch in &self.batches {
            let value = match put {
                None => batch.seen.clone(),
                Some((position, vectors)) => {
                    let mut values: Vec<f32> = batch.seen.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
                    for row in 0..batch.contexts.rows {
                        let (at, from) = (
                            self.place(batch, row, position) * self.width,
                            (batch.prompts.start + row) * self.width,
                        );
                        values[at..at + self.width].copy_from_slice(&vectors[from..from + self.width]);
                    }
                    Tensor::from_vec(values, batch.seen.shape(), batch.seen.device())?
                        .to_dtype(batch.seen.dtype())?
                }
            };
            let residual = self.through(batch, value)?;
            all.extend(self.predictions(batch, &residual)?);
            stop(progress)?;
        }
        Ok(all)
    }

    /// The final residual stream with `value` at the hook.
    fn through(&self, batch: &Batch, value: Tensor) -> Result<Tensor> {
        let decoder = self.model.decoder();
        let layers = decoder.config().num_hidden_layers;
        match self.hook.enters(decoder.config()) {
            Some(first) => decoder.through(value, first..layers, &batch.contexts, &mut NoTap),
            None => {
                let mut tap = At { hook: self.hook, put: Some(&value), seen: None };
                decoder.residual(&batch.contexts, layers, &mut tap)
            }
        }
    }

    fn predictions(&self, batch: &Batch, residual: &Tensor) -> Result<Vec<Prediction>> {
        let (rows, len, d) = residual.dims3()?;
        let last = |row: usize| {
            let prompt = &self.prompts[batch.prompts.start + row];
            (row * len + batch.first + prompt.tokens.len() - 1) as u32
        };
        let places = Tensor::new((0..rows).map(last).collect::<Vec<u32>>(), residual.device())?;
        let ends = residual.reshape((rows * len, d))?.index_select(&places, 0)?.unsqueeze(0)?;
        let logits: Vec<Vec<f32>> =
            self.model.decoder().logits(&ends)?.squeeze(0)?.to_dtype(DType::F32)?.to_vec2()?;
        Ok(logits
            .iter()
            .zip(&self.prompts[batch.prompts.clone()])
            .map(|(logits, prompt)| {
                let [answer, other] = prompt.answers.map(|token| f64::from(logits[token as usize]));
                let best = (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]).then(b.cmp(a)));
                Prediction { difference: answer - other, best: best.unwrap_or_default() as u32 }
            })
            .collect())
    }
}

/// Blocks that must run for the value at the hook to be there.
fn layers(model: &LanguageModel, hook: Hook) -> usize {
    (hook.layer + 1).min(model.config().num_hidden_layers)
}

/// The prompts as rows of their own, the shorter ones padded at the end.
fn contexts(prompts: &[Prompt], bos: Option<u32>) -> (Contexts, usize) {
    let first = usize::from(bos.is_some());
    let len = prompts.iter().map(|prompt| prompt.tokens.len() + first).max().unwrap_or(0);
    let n = prompts.len() * len;
    let mut contexts = Contexts {
        rows: prompts.len(),
        len,
        tokens: vec![0; n],
        segments: vec![0; n],
        positions: vec![0; n],
        origin: vec![None; n],
    };
    for (row, prompt) in prompts.iter().enumerate() {
        for (i, token) in bos.iter().chain(&prompt.tokens).enumerate() {
            let at = row * len + i;
            (contexts.tokens[at], contexts.segments[at], contexts.positions[at]) = (*token, 1, i as u32);
            contexts.origin[at] = i.checked_sub(first).map(|i| (row as u32, i as u32));
        }
    }
    (contexts, first)
}

/// An error if somebody asked for an end.
///
/// # Errors
/// [`Error::Stopped`].
pub fn stop(progress: &dyn Progress) -> Result<()> {
    match progress.stop_requested() {
        true => Err(Error::stopped("the task was not evaluated; an older evaluation stays as it is")),
        false => Ok(()),
    }
}

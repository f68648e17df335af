//! The model once more over the contexts of the examples, and a row for every example.

use std::path::Path;

use rayon::prelude::*;
use storage::attention::{AttributionRow, create};
use storage::examples::ExampleRow;

use super::super::tokens::Tokens;
use super::Heads;
use super::sources::{Destination, HeadActivity, Parts};
use crate::dictionary::Dictionary;
use crate::{Error, Progress, Result};
use lm::model::Decoder;
use lm::text::{Contexts, pack};

/// Tokens that are listed for an example.
pub const SOURCES: usize = 64;
/// Examples whose rows are in memory at once, about a kilobyte each; every wave is a pass over their
/// contexts.
const WAVE: usize = 1 << 18;
/// Tokens of a batch of the model, about: the pattern takes as many numbers for each head and token of a
/// context.
const TOKENS: usize = 1024;
/// How far the parts may be from their whole, of what is added up: rounding to f32 is a thousandth of this.
const LINEAR: f64 = 1e-3;
/// How far the pre-activations may be from the examples' values, as root mean squares: f16 moves them by less
/// than a thousandth.
const ALIKE: f64 = 0.02;

/// An example whose sources are wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AttributionTarget {
    /// The feature.
    pub feature: u32,
    /// Place among its strongest examples.
    pub rank: u16,
    /// The document.
    pub document: u32,
    /// The token that the example is about.
    pub position: u32,
    /// The activation there as the index has it.
    pub value: f32,
}

impl AttributionTarget {
    /// The place of an example of the index.
    pub fn of(example: &ExampleRow) -> Self {
        let ExampleRow { feature, rank, document, position, value, .. } = *example;
        Self { feature, rank, document, position, value }
    }
}

/// The indexed text.
#[derive(Debug, Clone, Copy)]
pub struct Text<'a> {
    /// Its tokens.
    pub tokens: &'a Tokens,
    /// Tokens that the model saw at once, BOS counted.
    pub context_length: usize,
}

/// Writes the sources of `wanted`, which is sorted by feature, to `path`; gives the number of rows.
///
/// Nothing is written, and the reason given, where the numbers would not be what they say: the text has gaps,
/// so that contexts cannot be rebuilt; the heads' patterns and values do not add up to the value at the
/// hook; the model now gives other activations than those that were indexed.
///
/// # Errors
/// A file that cannot be written; a model that fails; a stop that was asked for.
pub fn attribute(
    model: &Decoder,
    heads: &Heads,
    dictionary: &Dictionary,
    text: Text<'_>,
    wanted: &[AttributionTarget],
    path: &Path,
    progress: &mut dyn Progress,
) -> Result<std::result::Result<u64, String>> {
    if text.context_length < 2 {
        return Ok(Err("the dataset does not say how many tokens the model saw at once".into()));
    }
    if let Some(document) = text.tokens.first_with_a_gap() {
        return Ok(Err(format!("document {document} has rows left out, so its contexts cannot be rebuilt")));
    }
    let pass = Pass { model, heads, dictionary, text, bos: model.config().bos_token_id };
    let mut table = create::<AttributionRow>(path)?;
    let mut check = Check::default();
    progress.begin("sources", Some(wanted.len() as u64), "examples");
    for (wave, part) in wanted.chunks(WAVE).enumerate() {
        let before = (wave * WAVE) as u64;
        let rows = pass.wave(part, &mut check, &mut |done| {
            progress.advance(before + done, "");
            progress.stop_requested()
        })?;
        table.append(&rows)?;
        if let Some(why) = check.problem() {
            progress.end("left out");
            return Ok(Err(why));
        }
    }
    table.finish()?;
    progress.end(&format!("{} examples of heads", wanted.len()));
    Ok(Ok(wanted.len() as u64))
}

/// Whether the numbers are what they say.
#[derive(Debug, Default)]
struct Check {
    /// The largest gap between parts and whole, and where.
    gap: f64,
    worst: Option<AttributionTarget>,
    /// Σ (pre-activation − value)² and Σ value².
    difference: f64,
    size: f64,
}

impl Check {
    fn add(&mut self, wanted: &AttributionTarget, parts: &Parts) {
        // NaN compares as false: it must not pass for a small difference.
        if self.worst.is_none() || parts.gap() > self.gap || parts.gap().is_nan() {
            (self.gap, self.worst) = (parts.gap(), Some(*wanted));
        }
        self.difference += (parts.whole - f64::from(wanted.value)).powi(2);
        self.size += f64::from(wanted.value).powi(2);
    }

    fn problem(&self) -> Option<String> {
        let AttributionTarget { feature, document, position, .. } = self.worst?;
        if self.gap.is_nan() || self.gap > LINEAR {
            return Some(format!(
                "feature {feature} at document {document}, position {position}: the heads' patterns and values do not add up to \
                 the value at the hook"
            ));
        }
        let apart = (self.difference / self.size.max(f64::MIN_POSITIVE)).sqrt();
        (apart.is_nan() || apart > ALIKE).then(|| {
            format!(
                "the model gives activations that differ from the indexed ones by {:.1} %; it may have seen the text in other \
                 contexts",
                100.0 * apart
            )
        })
    }
}

struct Pass<'a> {
    model: &'a Decoder,
    heads: &'a Heads,
    dictionary: &'a Dictionary,
    text: Text<'a>,
    bos: Option<u32>,
}

/// A context in which examples are.
struct Context {
    /// Position of its first token.
    start: u32,
    /// Its tokens.
    tokens: Vec<u32>,
    /// Indices of its examples.
    examples: Vec<usize>,
}

impl Pass<'_> {
    /// The rows of `wanted`, in their order. `done` is told how many are, and says when to stop.
    fn wave(
        &self,
        wanted: &[AttributionTarget],
        check: &mut Check,
        done: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Vec<AttributionRow>> {
        let contexts = self.contexts(wanted);
        let length = self.text.context_length;
        let texts = contexts.iter().zip(0..).map(|(context, number)| Ok((number, context.tokens.clone())));
        let mut rows: Vec<Option<AttributionRow>> = vec![None; wanted.len()];
        let mut finished = 0;
        for batch in pack(texts, length, self.bos, (TOKENS / length).clamp(1, 64))? {
            let batch = batch?;
            batch.check_tokens(self.model.config().vocab_size)?;
            let seen = HeadActivity::run(self.model, self.heads, &batch)?;
            let places = self.places(&batch, &contexts, wanted);
            let made: Vec<(Parts, AttributionRow)> = places
                .par_iter()
                .map(|&(example, context, to)| {
                    let wanted = &wanted[example];
                    let parts = seen.parts(self.dictionary, self.heads, wanted.feature as usize, to);
                    let row = self.row(wanted, &contexts[context], &parts);
                    (parts, row)
                })
                .collect();
            for ((example, ..), (parts, row)) in places.iter().zip(made) {
                check.add(&wanted[*example], &parts);
                rows[*example] = Some(row);
            }
            finished += places.len() as u64;
            if done(finished) {
                return Err(Error::stopped("the index was not finished; an older one is kept"));
            }
        }
        let rows: Option<Vec<AttributionRow>> = rows.into_iter().collect();
        rows.ok_or_else(|| {
            Error::data("an example lies in no context of the text").with_remedy("index the run again")
        })
    }

    /// The contexts of the examples as the harvest cut them, in the order of the text.
    fn contexts(&self, wanted: &[AttributionTarget]) -> Vec<Context> {
        let room = (self.text.context_length - usize::from(self.bos.is_some())) as u32;
        let mut order: Vec<usize> = (0..wanted.len()).collect();
        order.sort_by_key(|&i| (wanted[i].document, wanted[i].position, i));
        let mut contexts: Vec<Context> = Vec::new();
        let mut last = None;
        for i in order {
            let AttributionTarget { document, position, .. } = wanted[i];
            let number = position / room;
            if last != Some((document, number)) {
                last = Some((document, number));
                let start = number * room;
                let tokens = self.text.tokens.of_document(document);
                let tokens = tokens.get(start as usize..).unwrap_or_default();
                let tokens = tokens[..tokens.len().min(room as usize)].to_vec();
                contexts.push(Context { start, tokens, examples: Vec::new() });
            }
            if let Some(context) = contexts.last_mut() {
                context.examples.push(i);
            }
        }
        contexts
    }

    /// Each example of a batch with its context and its place in the batch.
    fn places(
        &self,
        batch: &Contexts,
        contexts: &[Context],
        wanted: &[AttributionTarget],
    ) -> Vec<(usize, usize, Destination)> {
        let mut places = Vec::new();
        for (i, origin) in batch.origin.iter().enumerate() {
            let Some((number, 0)) = *origin else { continue };
            let (row, begin) = (i / batch.len, i % batch.len);
            let context = &contexts[number as usize];
            let place = |&example: &usize| {
                let at = begin + (wanted[example].position - context.start) as usize;
                let first = begin - usize::from(self.bos.is_some());
                (example, number as usize, Destination { row, first, at })
            };
            places.extend(context.examples.iter().map(place));
        }
        places
    }

    fn row(&self, wanted: &AttributionTarget, context: &Context, parts: &Parts) -> AttributionRow {
        let has_bos = usize::from(self.bos.is_some());
        let own = &parts.sources[has_bos..];
        let mut order: Vec<usize> = (0..own.len()).filter(|&i| own[i] != 0.0).collect();
        // The largest first, of equals the nearer.
        order.sort_by(|&a, &b| own[b].abs().total_cmp(&own[a].abs()).then(b.cmp(&a)));
        let rest = order.iter().skip(SOURCES).map(|&i| own[i]).sum::<f64>();
        order.truncate(SOURCES);
        order.sort_unstable();
        AttributionRow {
            feature: wanted.feature,
            interval: 0,
            rank: wanted.rank,
            document: wanted.document,
            position: wanted.position,
            start: context.start,
            pre_activation: parts.sum() as f32,
            constant: parts.constant as f32,
            bos: self.bos.map(|_| parts.sources[0] as f32),
            rest: rest as f32,
            sources: order.iter().map(|&i| context.start + i as u32).collect(),
            tokens: order.iter().map(|&i| context.tokens[i]).collect(),
            values: order.iter().map(|&i| own[i] as f32).collect(),
            heads: parts.heads.iter().map(|&part| part as f32).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_are_not_the_whole_are_a_problem() {
        let wanted = AttributionTarget { feature: 3, rank: 0, document: 7, position: 9, value: 4.0 };
        let right = Parts { constant: 1.0, sources: vec![2.0, 1.0], heads: vec![3.0], whole: 4.0 };
        let problem = |whole: f64, value: f32| {
            let mut check = Check::default();
            check.add(&wanted, &right);
            check
                .add(&AttributionTarget { position: 11, value, ..wanted }, &Parts { whole, ..right.clone() });
            check.add(&wanted, &right);
            check.problem()
        };
        assert_eq!(problem(4.0, 4.0), None);
        assert_eq!(problem(4.0001, 4.0), None);
        assert!(problem(4.1, 4.1).unwrap().contains("feature 3 at document 7, position 11"));
        assert!(problem(f64::NAN, 4.0).unwrap().contains("position 11"));
        assert!(problem(4.0, 4.3).unwrap().contains("differ"));
    }
}

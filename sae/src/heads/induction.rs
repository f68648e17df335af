//! Which heads look back to what followed an earlier occurrence, and how long the repeated prefix must be.

use candle_core::Tensor;
use rayon::prelude::*;
use serde::Serialize;

use crate::{Error, Progress, Result};
use kernels::chance::{self, Purpose};
use lm::model::{Hook, LanguageModel, Site, Tap};
use lm::text::pack;

/// Tokens that a batch of the model has, about.
const TOKENS: usize = 1024;

/// How heads are tested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InductionOptions {
    /// Random texts for each length of the prefix.
    pub texts: usize,
    /// Tokens of a text, without BOS.
    pub length: usize,
    /// Longest prefix that is repeated.
    pub longest: usize,
    /// Seed of the texts.
    pub seed: u64,
}

impl Default for InductionOptions {
    fn default() -> Self {
        Self { texts: 50, length: 128, longest: 9, seed: 0 }
    }
}

/// What a head does.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeadInduction {
    /// The layer.
    pub layer: usize,
    /// The head.
    pub head: usize,
    /// Mean attention from the last token of the repeated prefix to the token that followed it before, for prefixes of 1, 2, …
    /// tokens.
    pub scores: Vec<f32>,
    /// The same places in the same texts before the prefix was repeated: what the head does without it.
    pub controls: Vec<f32>,
}

impl HeadInduction {
    /// By how much the repetition raises the score, at the prefix at which it does so most.
    pub fn gain(&self) -> f32 {
        self.gains().fold(0.0, f32::max)
    }

    /// The shortest prefix at which the score is raised by half of that, in tokens; none where it is not raised.
    pub fn half(&self) -> Option<usize> {
        let gain = self.gain();
        (gain > 0.0).then(|| self.gains().position(|raised| raised >= gain / 2.0)).flatten().map(|at| at + 1)
    }

    fn gains(&self) -> impl Iterator<Item = f32> + '_ {
        self.scores.iter().zip(&self.controls).map(|(score, control)| score - control)
    }
}

/// The result of the test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Induction {
    /// Texts for each length, with the prefix and without it.
    pub texts: usize,
    /// Tokens of a text.
    pub length: usize,
    /// Every head, by layer.
    pub heads: Vec<HeadInduction>,
}

/// Where a text is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Repeat {
    /// Tokens that are repeated.
    prefix: usize,
    /// Where the prefix is first, and again.
    first: usize,
    again: usize,
}

impl Repeat {
    /// The token that looks.
    fn query(&self) -> usize {
        self.again + self.prefix - 1
    }

    /// The token that it looks at if the head is one of induction.
    fn key(&self) -> usize {
        self.first + self.prefix
    }
}

/// Tests every head of `model` on texts of random tokens (long- and short-prefix induction: Kissane et al. 2024, arXiv 2406.17759,
/// §4.2): a prefix of p random tokens is repeated later in the text, and what counts is how much a head looks from its last token
/// to the token after the first occurrence. A head that needs a short prefix reaches its score at p of 1 or 2, one that matches
/// more of it later.
///
/// # Errors
/// Texts too short for the longest prefix or too long for the model; a vocabulary of too few tokens; a model that has no
/// patterns; [`Error::Stopped`].
pub fn induction(
    model: &LanguageModel,
    options: InductionOptions,
    progress: &mut dyn Progress,
) -> Result<Induction> {
    let vocabulary = plain_tokens(model)?;
    check(model, options)?;
    let heads: Vec<usize> = model.config().blocks.iter().map(|block| block.attention.heads).collect();
    let mut sums = vec![vec![0.0; 2 * options.longest]; heads.iter().sum()];
    let all = 2 * options.texts * options.longest;
    progress.begin("induction", Some(all as u64), "texts");
    let texts: Vec<(Vec<u32>, Repeat, usize)> = (1..=options.longest)
        .flat_map(|prefix| (0..options.texts).map(move |text| (prefix, text)))
        .flat_map(|(prefix, text)| made(options, &vocabulary, prefix, text))
        .collect();
    let rows = (TOKENS / options.length).max(1);
    for (number, batch) in texts.chunks(rows).enumerate() {
        if progress.stop_requested() {
            return Err(Error::stopped("the test of the heads was not finished"));
        }
        look(model, options.length, batch, &mut sums)?;
        progress.advance((number * rows + batch.len()) as u64, "");
    }
    let count = options.texts as f32;
    let places =
        heads.iter().enumerate().flat_map(|(layer, &heads)| (0..heads).map(move |head| (layer, head)));
    let result = places.zip(sums).map(|((layer, head), sums)| {
        let mean = |part: &[f32]| part.iter().map(|sum| sum / count).collect::<Vec<f32>>();
        let (with, without) = sums.split_at(options.longest);
        HeadInduction { layer, head, scores: mean(with), controls: mean(without) }
    });
    let heads: Vec<HeadInduction> = result.collect();
    progress.end(&format!("{} heads on {all} texts", heads.len()));
    Ok(Induction { texts: options.texts, length: options.length, heads })
}

fn check(model: &LanguageModel, options: InductionOptions) -> Result<()> {
    let InductionOptions { texts, length, longest, .. } = options;
    if texts == 0 || longest == 0 {
        return Err(Error::request("the test needs at least one text and a prefix of at least one token"));
    }
    // The first occurrence, the token that follows it, and the second one.
    if length < 2 * longest + 2 {
        return Err(Error::request(format!(
            "texts of {length} tokens cannot hold a prefix of {longest} twice and a token between"
        ))
        .with_remedy(format!("give --length {} or more, or a shorter prefix", 2 * longest + 2)));
    }
    let (len, most) = (length + usize::from(model.bos().is_some()), model.config().max_position_embeddings);
    if len > most {
        return Err(Error::request(format!(
            "texts of {len} tokens are too long: `{}` takes at most {most}",
            model.id()
        )));
    }
    Ok(())
}

/// Tokens that stand for text.
fn plain_tokens(model: &LanguageModel) -> Result<Vec<u32>> {
    let (special, size) = (model.tokenizer().special_tokens(), model.config().vocab_size);
    let texts = model.tokenizer().token_bytes();
    let plain: Vec<u32> = texts
        .iter()
        .take(size)
        .zip(0u32..)
        .filter(|(text, token)| !text.is_empty() && !special.contains_key(token))
        .map(|(_, token)| token)
        .collect();
    match plain.len() {
        0..=1 => Err(Error::data(format!("the vocabulary of `{}` has no two plain tokens", model.id()))),
        _ => Ok(plain),
    }
}

/// A text with a repeated prefix, and the same before the prefix was repeated.
fn made(
    options: InductionOptions,
    vocabulary: &[u32],
    prefix: usize,
    text: usize,
) -> [(Vec<u32>, Repeat, usize); 2] {
    let mut rng = chance::generator(options.seed, Purpose::Inductions, prefix as u64, text as u64);
    let mut draw = |n: usize| chance::below(n, &mut rng);
    let length = options.length;
    let plain: Vec<u32> = (0..length).map(|_| vocabulary[draw(vocabulary.len())]).collect();
    let first = draw(length - 2 * prefix);
    let again = first + prefix + 1 + draw(length - first - 2 * prefix);
    let repeat = Repeat { prefix, first, again };
    let mut with = plain.clone();
    with.copy_within(first..first + prefix, again);
    [(with, repeat, prefix - 1), (plain, repeat, options.longest + prefix - 1)]
}

/// Adds what the heads do on a batch of texts, each with the column that it counts for, to `sums [heads of all layers, columns]`.
fn look(
    model: &LanguageModel,
    length: usize,
    texts: &[(Vec<u32>, Repeat, usize)],
    sums: &mut [Vec<f32>],
) -> Result<()> {
    let bos = model.bos();
    let begins = usize::from(bos.is_some());
    let documents =
        texts.iter().zip(0..).map(|((tokens, ..), number)| Ok::<_, Error>((number, tokens.clone())));
    let mut before = 0;
    for batch in pack(documents, length + begins, bos, texts.len())? {
        let batch = batch?;
        let places: Vec<(usize, usize, usize)> = texts[before..before + batch.rows]
            .iter()
            .map(|(_, repeat, column)| (begins + repeat.query(), begins + repeat.key(), *column))
            .collect();
        before += batch.rows;
        let mut watch = Watch { places: &places, sums, next: 0 };
        let decoder = model.decoder();
        decoder.residual(&batch, decoder.config().num_hidden_layers, &mut watch)?;
    }
    Ok(())
}

/// Reads the patterns as they come.
struct Watch<'a> {
    /// Query, key and column of each row.
    places: &'a [(usize, usize, usize)],
    sums: &'a mut [Vec<f32>],
    /// The first head of the layer that comes next.
    next: usize,
}

impl Tap for Watch<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        hook.site == Site::Pattern
    }

    fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let (rows, heads, len, _) = value.dims4()?;
        let pattern: Vec<f32> = value.flatten_all()?.to_vec1()?;
        let sums = &mut self.sums[self.next..self.next + heads];
        let places = &self.places[..rows];
        sums.par_iter_mut().enumerate().for_each(|(head, sums)| {
            for (row, &(query, key, column)) in places.iter().enumerate() {
                sums[column] += pattern[((row * heads + head) * len + query) * len + key];
            }
        });
        self.next += heads;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_known_by_what_the_repetition_adds() {
        let head = |scores: &[f32], controls: &[f32]| HeadInduction {
            layer: 0,
            head: 0,
            scores: scores.to_vec(),
            controls: controls.to_vec(),
        };
        let long = head(&[0.25, 0.25, 0.5, 0.75], &[0.25, 0.0, 0.0, 0.25]);
        assert_eq!((long.gain(), long.half()), (0.5, Some(2)));
        // One that looks there anyway is none of induction.
        let fixed = head(&[0.5, 0.25], &[0.5, 0.5]);
        assert_eq!((fixed.gain(), fixed.half()), (0.0, None));
    }

    #[test]
    fn a_prefix_is_repeated_once_and_leaves_room_for_what_followed_it() {
        let options = InductionOptions { texts: 1, length: 20, longest: 9, seed: 3 };
        let vocabulary: Vec<u32> = (0..1_000_000).collect();
        for (prefix, text) in (1..=9).flat_map(|prefix| (0..200).map(move |text| (prefix, text))) {
            let [(with, repeat, column), (plain, same, control)] = made(options, &vocabulary, prefix, text);
            assert_eq!((repeat, column, control), (same, prefix - 1, 9 + prefix - 1));
            let Repeat { first, again, .. } = repeat;
            assert_eq!(with[first..first + prefix], with[again..again + prefix]);
            assert!(repeat.key() < again && repeat.query() < 20, "{repeat:?}");
            let changed: Vec<usize> = (0..20).filter(|&at| with[at] != plain[at]).collect();
            assert!(changed.iter().all(|at| (again..again + prefix).contains(at)), "{repeat:?} {changed:?}");
            assert!(!changed.is_empty());
        }
    }
}

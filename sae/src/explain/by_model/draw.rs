//! Passages: pieces of documents that are shown, and others that explanations are scored on.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use kernels::chance::{Generator, Purpose, below, choose, generator};
use storage::feature_activations::ActivationRow;

use super::options::LanguageModelOptions;
use crate::Result;
use crate::explain::run::missing;
use crate::explain::text::{Half, Text};

/// Where the streams of drawn passages begin, apart from other controls.
const PASSAGES: u64 = 5 << 40;
/// Tokens of the list of top tokens.
const TOP: usize = 10;
/// A passage has at least so many tokens, unless passages are shorter anyway.
const SHORTEST: usize = 8;

/// A piece of a document.
#[derive(Debug, Clone, PartialEq)]
pub struct Passage {
    /// Which document, an index into the spans of the text.
    pub index: usize,
    /// Its number.
    pub document: u32,
    /// Position of the first token.
    pub start: u32,
    /// Row of the first token within the document.
    pub first: usize,
    /// The tokens.
    pub tokens: Vec<u32>,
    /// The feature's activation at each.
    pub values: Vec<f32>,
    /// Which tenth of the passages by largest activation, 0 the strongest; −1 where the feature does not fire.
    pub tenth: i8,
    /// Tokens that are marked where passages are marked.
    pub marked: Vec<usize>,
}

/// What is drawn for a feature.
#[derive(Debug, Clone)]
pub struct Drawn {
    pub feature: u32,
    /// Of the first half, the strongest first.
    pub shown: Vec<Passage>,
    /// The same with marks and activations at other tokens.
    pub shuffled: Vec<Passage>,
    /// Of the second half, in the order in which they are judged: with the feature and without it.
    pub tested: Vec<Passage>,
    /// The tokens of largest total activation in the first half.
    pub top: Vec<u32>,
}

/// The pieces of all documents: consecutive, of one half each.
#[derive(Debug)]
pub struct Pieces {
    /// (document index, rows), ascending.
    pieces: Vec<(usize, Range<usize>)>,
}

impl Pieces {
    /// Cuts documents into pieces of `window` tokens; rows that the dataset left out end a piece.
    pub fn new(text: &Text, window: usize) -> Self {
        let mut pieces = Vec::new();
        for index in 0..text.spans() {
            let (rows, positions) = (text.rows_of(index), text.positions());
            let mut start = rows.start;
            for row in rows.start + 1..=rows.end {
                let cut =
                    row == rows.end || row - start == window || positions[row] != positions[row - 1] + 1;
                if cut {
                    if row - start >= SHORTEST.min(window) {
                        pieces.push((index, start..row));
                    }
                    start = row;
                }
            }
        }
        Self { pieces }
    }

    /// The piece that has a row; `None` for rows that are in none.
    fn of_row(&self, row: usize) -> Option<usize> {
        let after = self.pieces.partition_point(|(_, rows)| rows.start <= row);
        let at = after.checked_sub(1)?;
        self.pieces[at].1.contains(&row).then_some(at)
    }

    fn passage(&self, text: &Text, piece: usize, fired: &[(usize, f32)], tenth: i8) -> Passage {
        let (index, rows) = self.pieces[piece].clone();
        let mut values = vec![0.0; rows.len()];
        fired.iter().for_each(|(row, value)| values[row - rows.start] = *value);
        Passage {
            index,
            document: text.document_of(index),
            start: text.positions()[rows.start],
            first: rows.start - text.rows_of(index).start,
            tokens: text.tokens()[rows].to_vec(),
            marked: strong(&values),
            values,
            tenth,
        }
    }

    /// Draws the passages of a feature from all of its firings; `None` where it fires in fewer than two passages of either half.
    ///
    /// # Errors
    /// A firing at a token that the dataset does not have.
    pub fn draw(
        &self,
        text: &Text,
        rows: &[ActivationRow],
        options: &LanguageModelOptions,
    ) -> Result<Option<Drawn>> {
        let Some(feature) = rows.first().map(|row| row.feature) else { return Ok(None) };
        let mut rng = generator(options.seed, Purpose::Controls, PASSAGES, u64::from(feature));
        let mut fired: BTreeMap<usize, Vec<(usize, f32)>> = BTreeMap::new();
        let mut totals: BTreeMap<u32, f64> = BTreeMap::new();
        for row in rows {
            let (index, first, within) = text.find(row.document, row.position).ok_or_else(|| missing(row))?;
            if text.half_of(index) == Half::Made {
                *totals.entry(text.tokens()[first + within]).or_default() += f64::from(row.value);
            }
            if let Some(piece) = self.of_row(first + within) {
                fired.entry(piece).or_default().push((first + within, row.value));
            }
        }
        let shown = self.strata(text, &fired, Half::Made, options.shown, &HashSet::new(), &mut rng);
        let seen: HashSet<&[u32]> = shown.iter().map(|passage| passage.tokens.as_slice()).collect();
        let active = self.strata(text, &fired, Half::Measured, options.tested, &seen, &mut rng);
        let silent = self.silent(text, &fired, &active, &seen, options.tested, &mut rng);
        if shown.len() < 2 || active.len() < 2 || silent.len() < 2 {
            return Ok(None);
        }
        let shuffled = shown.iter().map(|passage| shuffle_marks(passage, &mut rng)).collect();
        let mut tested = active;
        tested.extend(silent);
        kernels::chance::shuffle(&mut tested, &mut rng);
        let mut top: Vec<(u32, f64)> = totals.into_iter().collect();
        top.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let top = top.into_iter().take(TOP).map(|(token, _)| token).collect();
        Ok(Some(Drawn { feature, shown, shuffled, tested, top }))
    }

    /// Passages of a half in which the feature fires: sorted by largest activation, cut into as many equal parts as are wanted, one of
    /// each part. Strongest first; none twice, and none that reads like one of `seen`.
    fn strata(
        &self,
        text: &Text,
        fired: &BTreeMap<usize, Vec<(usize, f32)>>,
        half: Half,
        wanted: usize,
        seen: &HashSet<&[u32]>,
        rng: &mut Generator,
    ) -> Vec<Passage> {
        let mut read: HashSet<&[u32]> = HashSet::new();
        let mut sorted: Vec<(usize, f32)> = fired
            .iter()
            .filter(|(piece, _)| text.half_of(self.pieces[**piece].0) == half)
            .map(|(piece, at)| (*piece, at.iter().map(|f| f.1).fold(0.0, f32::max)))
            .filter(|(piece, _)| {
                let tokens = &text.tokens()[self.pieces[*piece].1.clone()];
                !seen.contains(tokens) && read.insert(tokens)
            })
            .collect();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let (all, taken) = (sorted.len(), wanted.min(sorted.len()));
        let one = |part: usize| {
            let (from, to) = (part * all / taken, (part + 1) * all / taken);
            let place = from + below(to - from, rng);
            let piece = sorted[place].0;
            self.passage(text, piece, &fired[&piece], (place * 10 / all) as i8)
        };
        (0..taken).map(one).collect()
    }

    /// Passages of the second half in which the feature does not fire, with marks at random tokens: as many as passages of `active` have
    /// on average, rounded up.
    fn silent(
        &self,
        text: &Text,
        fired: &BTreeMap<usize, Vec<(usize, f32)>>,
        active: &[Passage],
        seen: &HashSet<&[u32]>,
        wanted: usize,
        rng: &mut Generator,
    ) -> Vec<Passage> {
        let marks: usize = active.iter().map(|passage| passage.marked.len()).sum();
        let marks = marks.div_ceil(active.len().max(1)).max(1);
        let mut read: HashSet<&[u32]> = HashSet::new();
        let measured = |piece: &usize| text.half_of(self.pieces[*piece].0) == Half::Measured;
        let mut pieces: Vec<usize> = (0..self.pieces.len())
            .filter(|piece| measured(piece) && !fired.contains_key(piece))
            .filter(|piece| {
                let tokens = &text.tokens()[self.pieces[*piece].1.clone()];
                !seen.contains(tokens) && read.insert(tokens)
            })
            .collect();
        choose(&mut pieces, wanted, rng);
        let one = |piece: usize| {
            let mut passage = self.passage(text, piece, &[], -1);
            let mut places: Vec<usize> = (0..passage.tokens.len()).collect();
            choose(&mut places, marks, rng);
            places.sort_unstable();
            passage.marked = places;
            passage
        };
        pieces.into_iter().map(one).collect()
    }
}

/// Tokens whose activation is 0.3 or more of the passage's largest, as delphi marks them.
fn strong(values: &[f32]) -> Vec<usize> {
    let largest = values.iter().copied().fold(0.0, f32::max);
    (0..values.len()).filter(|i| values[*i] > 0.0 && values[*i] >= 0.3 * largest).collect()
}

/// The same passage with the same activations at other tokens.
fn shuffle_marks(passage: &Passage, rng: &mut Generator) -> Passage {
    let mut moved = passage.clone();
    kernels::chance::shuffle(&mut moved.values, rng);
    moved.marked = strong(&moved.values);
    moved
}

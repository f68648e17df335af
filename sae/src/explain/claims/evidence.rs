//! The test of a claim: one pass over the tokens in memory and the activations of one feature.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use storage::feature_activations::{ActivationRow, read_rows};

use super::compiled::{Compiled, TokenTexts};
use super::rule::Rule;
use super::score::Tally;
use crate::explain::measure::Sums;
use crate::explain::run::{Index, add, missing};
use crate::explain::text::{Half, Text};
use crate::{Error, Progress, Result};

/// Tokens of a chunk, about: enough that a chunk is worth a thread, few enough that a stop is soon seen.
const CHUNK: usize = 1 << 16;
/// Chunks between two looks at the progress.
const WAVE: usize = 32;
/// False alarms that are listed at most; of more, as many drawn at random.
pub const MOST_FALSE_ALARMS: usize = 100_000;

/// Which tokens, and which half of them claims are made from.
#[derive(Debug, Clone, Default)]
pub struct EvidenceOptions {
    /// Dataset; the one that was indexed when `None`.
    pub data: Option<PathBuf>,
    /// Seed of the choice of documents that claims are made from; that of `sae explain` gives the same halves.
    pub seed: u64,
}

/// The tokens of an indexed run, ready for claims to be tested on: 8 bytes per token.
#[derive(Debug)]
pub struct Evidence {
    index: Index,
    text: Text,
    texts: TokenTexts,
    seed: u64,
}

/// What a claim says of a place, and whether it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It applies, and the feature fires.
    Hit,
    /// It does not apply, and the feature fires.
    Miss,
    /// It applies, and the feature does not fire.
    FalseAlarm,
}

/// A place where the feature fires or the claim applies.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct TestedPlace {
    /// Number of the document.
    pub document: u32,
    /// Position of the token in it.
    pub position: u32,
    /// The feature's activation; 0 where it does not fire.
    pub value: f32,
    /// What the claim says of it.
    pub outcome: Outcome,
    /// Whether it is in a document that claims are measured on.
    pub measured: bool,
}

/// What came of a claim's test.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClaimTest {
    /// The feature.
    pub feature: u32,
    /// The rule, as [`Rule::parse`] reads it.
    pub rule: String,
    /// Seed of the halves.
    pub seed: u64,
    /// In the documents that claims are measured on.
    pub measured: Tally,
    /// In the documents that claims are made from.
    pub made: Tally,
    /// Every firing, and false alarms (at most [`MOST_FALSE_ALARMS`]), by document and position.
    pub places: Vec<TestedPlace>,
}

impl TestedPlace {
    /// How far the activation is from what the claim predicts: `predicted` ([`Tally::predicted`]) where it applies, 0 elsewhere.
    pub fn surprise(&self, predicted: f64) -> f64 {
        match self.outcome {
            Outcome::Miss => f64::from(self.value),
            Outcome::Hit | Outcome::FalseAlarm => (f64::from(self.value) - predicted).abs(),
        }
    }
}

impl Evidence {
    /// Reads the tokens of the indexed run in `dir`.
    ///
    /// # Errors
    /// A run without an index, a dataset that is not the indexed one or has no tokens, [`Error::Stopped`].
    pub fn open(dir: &Path, options: &EvidenceOptions, progress: &mut dyn Progress) -> Result<Self> {
        let index = Index::open(dir, options.data.as_deref())?;
        let text = Text::read(&index.dataset, &index.codes, options.seed, progress)?;
        let texts = TokenTexts::of(&index)?;
        Ok(Self { index, text, texts, seed: options.seed })
    }

    /// Tests the rule on every token. `seen` is given the tallies of the documents so far, measured and made, after every two million tokens.
    ///
    /// # Errors
    /// A feature that is not there, a word that no token reads like, activations of a different dataset, [`Error::Stopped`].
    pub fn test(
        &self,
        feature: u32,
        rule: &Rule,
        progress: &mut dyn Progress,
        seen: &mut dyn FnMut(&Tally, &Tally),
    ) -> Result<ClaimTest> {
        let tester = Tester { index: &self.index, text: &self.text, texts: &self.texts, seed: self.seed };
        tester.test(feature, rule, progress, seen)
    }

    /// Features of the run.
    pub fn features(&self) -> usize {
        self.index.spans.len()
    }

    /// Tokens that claims are tested on.
    pub fn tokens(&self) -> usize {
        self.text.len()
    }

    /// The text of the tokens before a place, its token, and those after it; at most `around` on either side, and not across rows that the
    /// dataset left out.
    pub fn context(&self, document: u32, position: u32, around: usize) -> Option<[String; 3]> {
        let (index, first, within) = self.text.find(document, position)?;
        let rows = self.text.rows_of(index);
        let row = first + within;
        let positions = self.text.positions();
        let next_to = |other: &usize| positions[*other].abs_diff(position) as usize == other.abs_diff(row);
        let start = (rows.start.max(row.saturating_sub(around))..row).find(next_to).unwrap_or(row);
        let end =
            (row + 1..rows.end.min(row + 1 + around)).take_while(next_to).last().map_or(row + 1, |r| r + 1);
        let text = |rows: Range<usize>| {
            let tokens = &self.text.tokens()[rows];
            let bytes: Vec<u8> = tokens
                .iter()
                .flat_map(|t| self.texts.bytes.get(*t as usize).into_iter().flatten())
                .copied()
                .collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        Some([text(start..row), text(row..row + 1), text(row + 1..end)])
    }
}

/// What a test reads.
pub struct Tester<'a> {
    pub index: &'a Index,
    pub text: &'a Text,
    pub texts: &'a TokenTexts,
    pub seed: u64,
}

/// What was found in a chunk of documents.
#[derive(Default)]
struct Found {
    measured: Vec<Sums>,
    made: Vec<Sums>,
    fired: Vec<TestedPlace>,
    false_alarms: Vec<TestedPlace>,
}

impl Tester<'_> {
    pub fn test(
        &self,
        feature: u32,
        rule: &Rule,
        progress: &mut dyn Progress,
        seen: &mut dyn FnMut(&Tally, &Tally),
    ) -> Result<ClaimTest> {
        let compiled = Compiled::of(rule, self.texts, &self.text.domains)?;
        let rows = self.firings(feature)?;
        let chunks = self.chunks();
        let mut all = Found::default();
        progress.begin("claim", Some(self.text.len() as u64), "tokens");
        let mut done = 0;
        for wave in chunks.chunks(WAVE) {
            let found: Vec<Found> =
                wave.par_iter().map(|spans| self.chunk(spans, &compiled, &rows)).collect();
            found.into_iter().for_each(|found| all.take(found));
            done += wave.iter().map(|spans| self.rows_in(spans).len()).sum::<usize>();
            progress.advance(done as u64, "");
            if progress.stop_requested() {
                return Err(Error::stopped("the claim was not tested to the end"));
            }
            if done < self.text.len() {
                seen(&Tally::of(&all.measured), &Tally::of(&all.made));
            }
        }
        if all.fired.len() != rows.len() {
            let place = |row: &&ActivationRow| self.text.find(row.document, row.position).is_none();
            return Err(rows
                .iter()
                .find(place)
                .map_or_else(|| Error::data("activations that are there twice"), missing));
        }
        all.keep_some();
        let (measured, made) = (Tally::of(&all.measured), Tally::of(&all.made));
        progress.end(&format!(
            "{} hits, {} misses, {} false alarms",
            measured.hits, measured.misses, measured.false_alarms
        ));
        let mut places = all.fired;
        places.append(&mut all.false_alarms);
        places.sort_unstable_by_key(|place| (place.document, place.position));
        Ok(ClaimTest { feature, rule: rule.to_string(), seed: self.seed, measured, made, places })
    }

    fn firings(&self, feature: u32) -> Result<Vec<ActivationRow>> {
        let Some((first, count)) = self.index.spans.get(feature as usize) else {
            return Err(Error::request(format!(
                "feature {feature} is not there, expected 0 to {}",
                self.index.spans.len().saturating_sub(1)
            )));
        };
        Ok(read_rows(&self.index.activations, *first..first + count)?)
    }

    /// Documents in chunks of about [`CHUNK`] tokens; a document is never cut.
    fn chunks(&self) -> Vec<Range<usize>> {
        let (mut chunks, mut start) = (Vec::new(), 0);
        for end in 1..=self.text.spans() {
            if self.rows_in(&(start..end)).len() >= CHUNK || end == self.text.spans() {
                chunks.push(start..end);
                start = end;
            }
        }
        chunks
    }

    fn rows_in(&self, spans: &Range<usize>) -> Range<usize> {
        self.text.rows_of(spans.start).start..self.text.rows_of(spans.end - 1).end
    }

    fn chunk(&self, spans: &Range<usize>, compiled: &Compiled, rows: &[ActivationRow]) -> Found {
        let applies = compiled.apply(self.text, self.texts, spans);
        let first = self.rows_in(spans).start;
        let mut found = Found::default();
        let mut next = rows.partition_point(|row| row.document < self.text.document_of(spans.start));
        for index in spans.clone() {
            let (document, measured) =
                (self.text.document_of(index), self.text.half_of(index) == Half::Measured);
            let mut sums = Sums::default();
            for row in self.text.rows_of(index) {
                let (position, applies) = (self.text.positions()[row], applies[row - first]);
                sums.rows += 1;
                sums.matched += u64::from(applies);
                // A firing on a row that the dataset does not have is passed over here and missed at the end.
                while rows.get(next).is_some_and(|row| (row.document, row.position) < (document, position)) {
                    next += 1;
                }
                let fired = rows.get(next).filter(|row| (row.document, row.position) == (document, position));
                let place = |value, outcome| TestedPlace { document, position, value, outcome, measured };
                match (fired, applies) {
                    (Some(row), applies) => {
                        sums.fired += 1;
                        add(&mut sums, applies, f64::from(row.value));
                        found
                            .fired
                            .push(place(row.value, if applies { Outcome::Hit } else { Outcome::Miss }));
                        next += 1;
                    }
                    (None, true) => found.false_alarms.push(place(0.0, Outcome::FalseAlarm)),
                    (None, false) => {}
                }
            }
            if measured { &mut found.measured } else { &mut found.made }.push(sums);
        }
        found
    }
}

impl Found {
    fn take(&mut self, mut other: Self) {
        self.measured.append(&mut other.measured);
        self.made.append(&mut other.made);
        self.fired.append(&mut other.fired);
        self.false_alarms.append(&mut other.false_alarms);
        if self.false_alarms.len() > 2 * MOST_FALSE_ALARMS {
            self.keep_some();
        }
    }

    /// Keeps as many false alarms as are listed: those first in an order that is as good as random and depends on the place alone.
    fn keep_some(&mut self) {
        if self.false_alarms.len() <= MOST_FALSE_ALARMS {
            return;
        }
        self.false_alarms
            .select_nth_unstable_by_key(MOST_FALSE_ALARMS, |place| shuffled(place.document, place.position));
        self.false_alarms.truncate(MOST_FALSE_ALARMS);
    }
}

/// A number for every place, no two alike; their order looks like chance.
fn shuffled(document: u32, position: u32) -> u64 {
    let place = (u64::from(document) << 32) | u64::from(position);
    // Odd factors and shifts are bijections of 64 bits.
    let mixed = (place ^ (place >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 32)).wrapping_mul(0x94d0_49bb_1331_11eb)
}

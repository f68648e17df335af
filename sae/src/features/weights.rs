//! What features' weights alone tell, feature by feature: computed, or read where the shards of an index computed it.
//!
//! Products are made in chunks that begin at multiples of [`CHUNK`] whoever makes them and whoever asks for them, so a shard has the bits
//! that one process has.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::PathBuf;

use storage::Scan;
use storage::features::FeatureRow;

use super::describe::OTHERS;
use super::rows::{Logits, logits, neighbours};
use crate::dictionary::Dictionary;
use crate::{Error, Result};

/// Features computed, described and written at a time.
pub const CHUNK: usize = 512;
/// Tokens listed in `top_logits` and in `bottom_logits`.
const LOGITS: usize = 10;

/// A feature's neighbours with their cosines.
pub type Neighbours = Vec<(u32, f32)>;

/// What the weights of one feature tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FromWeights {
    pub logits: Logits,
    pub neighbours: Neighbours,
}

impl FromWeights {
    /// As a row of the feature table that has nothing else.
    pub fn into_row(self, feature: usize) -> FeatureRow {
        FeatureRow {
            feature: feature as u32,
            top_logits: self.logits.top,
            bottom_logits: self.logits.bottom,
            logit_histogram: self.logits.histogram,
            neighbours: self.neighbours,
            ..FeatureRow::default()
        }
    }

    fn from_row(row: FeatureRow) -> Self {
        let logits =
            Logits { top: row.top_logits, bottom: row.bottom_logits, histogram: row.logit_histogram };
        Self { logits, neighbours: row.neighbours }
    }
}

/// The weights that tell it.
#[derive(Debug)]
pub struct Weights<'a> {
    dictionary: &'a Dictionary,
    /// Norms of the decoder's rows, `[F]`.
    norms: Vec<f32>,
    /// The model's unembedding, `[V, d]`; `None` if features have no logits.
    unembedding: Option<&'a [f32]>,
}

impl<'a> Weights<'a> {
    pub fn new(dictionary: &'a Dictionary, unembedding: Option<&'a [f32]>) -> Self {
        let norms = kernels::wide::row_norms(&dictionary.w_dec, dictionary.d_out());
        Self { dictionary, norms, unembedding }
    }

    /// Chunks of all features.
    pub fn chunks(&self) -> usize {
        self.dictionary.d_sae.div_ceil(CHUNK)
    }

    /// The features of chunk `index`.
    pub fn features(&self, index: usize) -> Range<usize> {
        index * CHUNK..self.dictionary.d_sae.min((index + 1) * CHUNK)
    }

    /// What the weights of the features of chunk `index` tell.
    pub fn chunk(&self, index: usize) -> Vec<FromWeights> {
        let (features, decoder, d) = (self.features(index), &self.dictionary.w_dec, self.dictionary.d_out());
        let logits = match self.unembedding {
            Some(unembedding) => logits(decoder, unembedding, d, features.clone(), LOGITS),
            None => vec![Logits::default(); features.len()],
        };
        let neighbours = neighbours(decoder, &self.norms, d, features, OTHERS);
        logits
            .into_iter()
            .zip(neighbours)
            .map(|(logits, neighbours)| FromWeights { logits, neighbours })
            .collect()
    }
}

/// Where it comes from.
#[derive(Debug)]
enum Source<'a> {
    Computed {
        weights: Weights<'a>,
        next: usize,
    },
    /// Files of shards that are still to be read.
    Files(VecDeque<PathBuf>),
}

/// It for one feature after the other.
#[derive(Debug)]
pub struct WeightsInOrder<'a> {
    source: Source<'a>,
    waiting: VecDeque<FromWeights>,
    /// Features that were read.
    read: usize,
}

impl<'a> WeightsInOrder<'a> {
    /// Computed when it is asked for.
    pub fn computed(weights: Weights<'a>) -> Self {
        Self { source: Source::Computed { weights, next: 0 }, waiting: VecDeque::new(), read: 0 }
    }

    /// Read from `files`, which follow each other.
    pub fn of_files(files: Vec<PathBuf>) -> Self {
        Self { source: Source::Files(files.into()), waiting: VecDeque::new(), read: 0 }
    }

    /// It for the next `n` features.
    ///
    /// # Errors
    /// Files that cannot be read, or that do not have all features in order.
    pub fn take(&mut self, n: usize) -> Result<Vec<FromWeights>> {
        while self.waiting.len() < n {
            match &mut self.source {
                Source::Computed { weights, next } => {
                    self.waiting.extend(weights.chunk(*next));
                    *next += 1;
                }
                Source::Files(files) => {
                    let path = files.pop_front().ok_or_else(|| {
                        Error::data(format!("the shards have {} features; expected more", self.read))
                    })?;
                    let table = storage::row::open::<FeatureRow>(&path)?;
                    for row in storage::row::read::<FeatureRow>(&table, Scan::default())? {
                        if row.feature as usize != self.read {
                            let problem = format!("has feature {}; expected {}", row.feature, self.read);
                            return Err(Error::format(&path, problem));
                        }
                        self.read += 1;
                        self.waiting.push_back(FromWeights::from_row(row));
                    }
                }
            }
        }
        Ok(self.waiting.drain(..n).collect())
    }
}

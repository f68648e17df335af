//! The feature table: `features/features.parquet`, one row per feature.

use std::ops::Range;

use crate::error::Result;
use crate::row::{self, RowQueue, row};
use crate::table::{Scan, TableReader};

/// The file's name inside `features/`.
pub const FILE: &str = "features.parquet";

/// Number of bins of the histograms.
pub const HISTOGRAM_BINS: usize = 40;

row! {
    /// One feature, sorted by feature; every feature has a row, dead ones too.
    #[layout(feature_rows)]
    FeatureRow columns FeatureColumns {
        /// Number of the feature, from 0.
        feature: u32,
        /// Tokens it fired on.
        count: u64,
        /// Share of the indexed tokens it fired on: count / tokens.
        density: f32,
        /// Mean activation over the tokens it fired on.
        mean: f32,
        /// Its strongest activation.
        max: f32,
        /// Whether it never fired: count = 0.
        dead: bool,
        /// Bias of its encoder, b_enc.
        bias: f32,
        /// Norm of its column of W_enc.
        encoder_norm: f32,
        /// Norm of its row of W_dec.
        decoder_norm: f32,
        /// Cosine of its encoder column and its decoder row.
        encoder_decoder_cosine: f32,
        /// Tokens in 40 equal bins of activation over (0, max]; empty for a dead feature.
        histogram: Vec<u32>,
        /// Its first row in the table of activations; `count` rows from there are its own.
        first_row: u64,
        /// Its most frequent tokens, the most frequent first, and how often it fired on each; empty where rows are not tokens.
        fires_on [token, count]: Vec<(u32, u32)>,
        /// The tokens that it makes likelier, the strongest first: decoder row · unembedding.
        top_logits [token, logit]: Vec<(u32, f32)>,
        /// The tokens that it makes less likely, the strongest first.
        bottom_logits [token, logit]: Vec<(u32, f32)>,
        /// Tokens of the whole vocabulary in 40 equal bins from the smallest logit to the largest, which are the first of
        /// `bottom_logits` and of `top_logits`; empty where there are no logits.
        logit_histogram: Vec<u32>,
        /// Nearest decoder rows, the nearest first, with their cosines.
        neighbours [feature, cosine]: Vec<(u32, f32)>,
        /// Features that fire on the same tokens: how often in the sample, and lift = P(both) / (P(a) P(b)).
        coactive [feature, count, lift]: Vec<(u32, u32, f32)>,
        /// What somebody called it; null until then.
        label: Option<String>,
    }
}

/// Writes `features.parquet` row by row.
pub type FeatureWriter = RowQueue<FeatureRow>;

/// Reads whole rows by row number, which is the feature's number.
///
/// # Errors
/// When the table cannot be read.
pub fn read(reader: &TableReader, rows: Range<u64>) -> Result<Vec<FeatureRow>> {
    row::read(reader, Scan { rows: Some(rows), ..Scan::default() })
}

/// Reads the columns of single numbers and the labels in one streamed pass; lists are not touched.
///
/// # Errors
/// When the table cannot be read.
pub fn scalar_columns(reader: &TableReader) -> Result<FeatureColumns> {
    FeatureColumns::read_scalars(reader)
}

/// Reads every feature's nearest decoder rows with their cosines, and nothing else.
///
/// # Errors
/// When the table cannot be read.
pub fn neighbours(reader: &TableReader) -> Result<Vec<Vec<(u32, f32)>>> {
    Ok(FeatureColumns::read(reader, &["neighbours"])?.neighbours)
}

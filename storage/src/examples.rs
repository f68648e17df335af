//! Examples of features in their context: `features/examples.parquet`.

use crate::error::Result;
use crate::row::{self, RowQueue, row};
use crate::table::TableReader;

/// The file's name inside `features/`.
pub const FILE: &str = "examples.parquet";

row! {
    /// One window of text around a token that a feature fires on, sorted by feature.
    #[layout(feature_rows)]
    ExampleRow {
        /// Number of the feature.
        feature: u32,
        /// How strong it is: 0 = the strongest, 1…5 = fifths of (0, max] from the strongest down, −1 = random.
        interval: i8,
        /// Place inside the interval, from 0.
        rank: u16,
        /// Number of the document.
        document: u32,
        /// Position of the token that the example is about.
        position: u32,
        /// The feature's activation there.
        value: f32,
        /// Position of the window's first token.
        start: u32,
        /// Tokens of the window; empty where rows are not tokens.
        tokens: Vec<u32>,
        /// The feature's activation at every row of the window; 0 where it does not fire.
        values: Vec<f32>,
    }
}

impl ExampleRow {
    /// Index in the window of the token that the example is about.
    pub fn marked(&self) -> Option<usize> {
        let at = self.position.checked_sub(self.start)? as usize;
        (at < self.len()).then_some(at)
    }

    /// Rows of the window. Rows that are not tokens have values alone.
    pub fn len(&self) -> usize {
        self.tokens.len().max(self.values.len())
    }

    /// Whether the window is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Writes `examples.parquet` row by row; rows come sorted by feature.
pub type ExampleWriter = RowQueue<ExampleRow>;

/// Reads the examples of one feature, in the file's order. Only its row groups and pages are read.
///
/// # Errors
/// When the table cannot be read.
pub fn read(reader: &TableReader, feature: u32) -> Result<Vec<ExampleRow>> {
    row::read_feature(reader, feature)
}

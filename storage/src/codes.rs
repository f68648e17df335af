//! The codes in the order of the text: `features/codes-NNNNN.parquet`, one row per token.
//!
//! The same numbers as in [`crate::feature_activations`], which is sorted by feature: there a token's features lie scattered over
//! the whole table, and statistics exclude nearly nothing, because a page of rare features spans all documents. A reader who
//! turns pages of text needs them side by side, so the index writes them twice.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Float32Type, SchemaRef, UInt32Type};
use arrow::record_batch::RecordBatch;

use crate::column::of_array::spans;
use crate::column::{self, number_lists, primitive};
use crate::error::{Error, Result};
use crate::manifest::Part;
use crate::row::{Row as _, row};
use crate::schema::{DOCUMENT, POSITION};
use crate::table::{Scan, TableReader};
use crate::{PartWriter, schema};

pub(crate) const FEATURES: &str = "features";
pub(crate) const VALUES: &str = "values";

row! {
    /// The codes of one token, in (document, position) order.
    #[layout(token_rows)]
    CodesRow {
        /// Number of the document.
        document: u32,
        /// The token's position in it.
        position: u32,
        /// The features that fire on the token, ascending.
        features: Vec<u32>,
        /// Their activations, all > 0.
        values: Vec<f32>,
    }
}

/// Codes of some tokens of one document, token by token.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenCodes {
    /// Position of each token, ascending.
    pub positions: Vec<u32>,
    /// Where each token's codes end in `features` and `values`; they begin where those of the token before end.
    pub ends: Vec<usize>,
    /// Features, ascending within a token.
    pub features: Vec<u32>,
    /// Their activations.
    pub values: Vec<f32>,
}

impl TokenCodes {
    /// Features and activations of the token at `position`; `None` when it was not indexed.
    pub fn at(&self, position: u32) -> Option<(&[u32], &[f32])> {
        let row = self.positions.binary_search(&position).ok()?;
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        let span = start..self.ends[row];
        Some((self.features.get(span.clone())?, self.values.get(span)?))
    }
}

/// Tokens that are gathered before they are written …
const BATCH: usize = 8192;
/// … or codes: a dictionary that is hardly sparse must not fill the memory.
const CODES: usize = 1 << 20;

/// Writes tokens in (document, position) order. A token out of order is an error: readers rely on the order.
#[derive(Debug)]
pub struct CodesWriter {
    part: PartWriter,
    schema: SchemaRef,
    documents: Vec<u32>,
    positions: Vec<u32>,
    lengths: Vec<usize>,
    features: Vec<u32>,
    values: Vec<f32>,
    last: Option<(u32, u32)>,
}

impl CodesWriter {
    /// Begins the file.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be made.
    pub fn create(path: &Path) -> Result<Self> {
        let schema = CodesRow::schema();
        let part = PartWriter::create(path, schema.clone(), &CodesRow::layout())?;
        Ok(Self {
            part,
            schema,
            documents: Vec::with_capacity(BATCH),
            positions: Vec::with_capacity(BATCH),
            lengths: Vec::with_capacity(BATCH),
            features: Vec::new(),
            values: Vec::new(),
            last: None,
        })
    }

    /// Appends the next token; `features` and `values` are equally long, and empty where nothing fires.
    ///
    /// # Errors
    /// A token that is not after the last one, unequal lengths, what writing gives.
    pub fn append(&mut self, document: u32, position: u32, features: &[u32], values: &[f32]) -> Result<()> {
        let here = (document, position);
        if let Some(last) = self.last.filter(|&last| here <= last) {
            let expected = format!("(document, position) after {last:?}");
            return Err(Error::column(POSITION, expected, format!("{here:?}")));
        }
        if features.len() != values.len() {
            let expected = format!("{} values for as many features", features.len());
            return Err(Error::column(VALUES, expected, values.len().to_string()));
        }
        self.last = Some(here);
        self.documents.push(document);
        self.positions.push(position);
        self.lengths.push(features.len());
        self.features.extend_from_slice(features);
        self.values.extend_from_slice(values);
        if self.documents.len() >= BATCH || self.features.len() >= CODES { self.flush() } else { Ok(()) }
    }

    /// Writes what waits and closes the file.
    ///
    /// # Errors
    /// What writing the rest, syncing and renaming give.
    pub fn finish(mut self) -> Result<Part> {
        self.flush()?;
        self.part.finish()
    }

    fn flush(&mut self) -> Result<()> {
        let numbers = |values: &mut Vec<u32>| -> ArrayRef {
            Arc::new(UInt32Array::from_iter_values(std::mem::take(values)))
        };
        let offsets = OffsetBuffer::from_lengths(std::mem::take(&mut self.lengths));
        let list = |data_type: DataType, values: ArrayRef| -> ArrayRef {
            Arc::new(ListArray::new(schema::element(data_type), offsets.clone(), values, None))
        };
        let features = list(DataType::UInt32, numbers(&mut self.features));
        let values = Arc::new(Float32Array::from(std::mem::take(&mut self.values)));
        let values = list(DataType::Float32, values);
        let columns = vec![numbers(&mut self.documents), numbers(&mut self.positions), features, values];
        self.part.write(&column::batch(self.schema.clone(), columns)?)
    }
}

/// Reads the tokens of `document` at `positions`. Only row groups and pages that hold the document are read.
///
/// # Errors
/// A file that cannot be read, columns of different types.
pub fn read(reader: &TableReader, document: u32, positions: std::ops::Range<u32>) -> Result<TokenCodes> {
    let range = Some((DOCUMENT.to_owned(), u64::from(document), u64::from(document)));
    let mut codes = TokenCodes::default();
    let columns = [POSITION, FEATURES, VALUES];
    reader.each(Scan { range, ..Scan::of(&columns) }, |batch| {
        let here = primitive::<UInt32Type>(batch, POSITION)?.values();
        let (features, numbers) = number_lists::<UInt32Type>(batch, FEATURES)?;
        let (values, weights) = number_lists::<Float32Type>(batch, VALUES)?;
        for ((position, a), b) in here.iter().zip(spans(features)).zip(spans(values)) {
            if a.len() != b.len() {
                let found = format!("{} features and {} values", a.len(), b.len());
                return Err(Error::column(VALUES, "as many values as features", found));
            }
            if positions.contains(position) {
                codes.positions.push(*position);
                codes.features.extend_from_slice(&numbers[a]);
                codes.values.extend_from_slice(&weights[b]);
                codes.ends.push(codes.features.len());
            }
        }
        Ok(())
    })?;
    Ok(codes)
}

/// Codes of tokens that follow each other, of any documents.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CodesPage {
    /// Document of each token.
    pub documents: Vec<u32>,
    /// The tokens.
    pub codes: TokenCodes,
}

impl CodesPage {
    /// Token number `i` of the page: document, position, features and activations.
    pub fn row(&self, i: usize) -> (u32, u32, &[u32], &[f32]) {
        let TokenCodes { positions, ends, features, values } = &self.codes;
        let span = i.checked_sub(1).map_or(0, |before| ends[before])..ends[i];
        (self.documents[i], positions[i], &features[span.clone()], &values[span])
    }

    fn of(batch: &RecordBatch) -> Result<Self> {
        let documents = primitive::<UInt32Type>(batch, DOCUMENT)?.values().to_vec();
        let positions = primitive::<UInt32Type>(batch, POSITION)?.values().to_vec();
        let (features, numbers) = number_lists::<UInt32Type>(batch, FEATURES)?;
        let (values, weights) = number_lists::<Float32Type>(batch, VALUES)?;
        let mut codes = TokenCodes { positions, ..TokenCodes::default() };
        for (a, b) in spans(features).zip(spans(values)) {
            if a.len() != b.len() {
                let found = format!("{} features and {} values", a.len(), b.len());
                return Err(Error::column(VALUES, "as many values as features", found));
            }
            codes.features.extend_from_slice(&numbers[a]);
            codes.values.extend_from_slice(&weights[b]);
            codes.ends.push(codes.features.len());
        }
        Ok(Self { documents, codes })
    }
}

/// All tokens in the order of the text, some at a time.
///
/// # Errors
/// A file that cannot be read; then also from the iterator, as columns of different types.
pub fn pages(reader: &TableReader) -> Result<impl Iterator<Item = Result<CodesPage>> + Send + use<>> {
    let batches = reader.columns(&[DOCUMENT, POSITION, FEATURES, VALUES])?;
    Ok(batches.map(|batch| CodesPage::of(&batch?)))
}

/// Calls `each` for every token with its document, position and features, in the order of the text, until it returns false.
///
/// # Errors
/// A file that cannot be read, columns of different types.
pub fn each_token(reader: &TableReader, mut each: impl FnMut(u32, u32, &[u32]) -> bool) -> Result<()> {
    for batch in reader.columns(&[DOCUMENT, POSITION, FEATURES])? {
        let batch = &batch?;
        let documents = primitive::<UInt32Type>(batch, DOCUMENT)?.values();
        let positions = primitive::<UInt32Type>(batch, POSITION)?.values();
        let (lists, features) = number_lists::<UInt32Type>(batch, FEATURES)?;
        for ((document, position), span) in documents.iter().zip(positions).zip(spans(lists)) {
            if !each(*document, *position, &features[span]) {
                return Ok(());
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Token (d, p) has (d + p) % 4 features.
    fn of(document: u32, position: u32) -> (Vec<u32>, Vec<f32>) {
        let n = (document + position) % 4;
        ((0..n).map(|i| i * 1000 + position).collect(), (0..n).map(|i| 0.5 + i as f32).collect())
    }

    #[test]
    fn a_page_of_a_document_comes_back_and_little_else_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("codes-00000.parquet");
        let mut writer = CodesWriter::create(&path).unwrap();
        for document in (0..400).filter(|d| d % 3 != 1) {
            for position in 0..500 {
                let (features, values) = of(document, position);
                writer.append(document, position, &features, &values).unwrap();
            }
        }
        assert!(writer.append(5, 0, &[], &[]).is_err(), "documents ascend");
        assert!(writer.append(900, 0, &[1], &[]).is_err(), "a value for every feature");
        let whole = writer.finish().unwrap();
        let reader = TableReader::open_file(&path, &CodesRow::schema()).unwrap();
        let codes = read(&reader, 201, 100..130).unwrap();
        assert_eq!(codes.positions, (100..130).collect::<Vec<_>>());
        for position in 100..130 {
            let (features, values) = of(201, position);
            assert_eq!(codes.at(position), Some((features.as_slice(), values.as_slice())));
        }
        assert_eq!(codes.at(99), None);
        assert!(reader.bytes_read() < whole.bytes / 3, "{} of {} bytes", reader.bytes_read(), whole.bytes);
        assert_eq!(
            read(&reader, 1, 0..500).unwrap(),
            TokenCodes::default(),
            "a document that was not indexed"
        );
        let mut all = Vec::new();
        for page in pages(&reader).unwrap() {
            let page = page.unwrap();
            for i in 0..page.documents.len() {
                let (document, position, features, values) = page.row(i);
                assert_eq!((features.to_vec(), values.to_vec()), of(document, position));
                all.push((document, position));
            }
        }
        let expected = (0..400).filter(|d| d % 3 != 1).flat_map(|d| (0..500).map(move |p| (d, p)));
        assert_eq!(all, expected.collect::<Vec<_>>());
        let mut seen = Vec::new();
        each_token(&reader, |document, position, features| {
            assert_eq!(of(document, position).0, features);
            seen.push((document, position));
            document < 6 || position < 499
        })
        .unwrap();
        let expected = [0, 2, 3, 5, 6].into_iter().flat_map(|d| (0..500).map(move |p| (d, p)));
        assert_eq!(seen, expected.collect::<Vec<_>>(), "all of them in order, until it is enough");
    }
}

//! `RUN/history/STEP.parquet`: all features at one step, with their decoder rows in 8 bits.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, FixedSizeBinaryArray, Float32Array, UInt32Array, UInt64Array,
};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Float32Type, SchemaRef, UInt32Type, UInt64Type};

use crate::column::{self, booleans, primitive};
use crate::error::{Error, Result};
use crate::manifest::Part;
use crate::schema::{self, Column, FEATURE, documented};
use crate::table::{Scan, TableReader};
use crate::{Layout, PartWriter};

const STEP: &str = "step";
const TOKENS: &str = "tokens";
const OVER: &str = "over";
const FIRED: &str = "fired";
const DEAD: &str = "dead";
const BIAS: &str = "bias";
const ENCODER_NORM: &str = "encoder_norm";
const COSINE: &str = "encoder_decoder_cosine";
const DIRECTION: &str = "direction";

/// Some features at one step, in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The first feature.
    pub first: u32,
    /// Steps done.
    pub step: u64,
    /// Tokens trained on.
    pub tokens: u64,
    /// Tokens that `fired` is counted over.
    pub over: u64,
    /// Tokens of those that each fired on, `[n]`.
    pub fired: Vec<u64>,
    /// Whether each is dead, `[n]`.
    pub dead: Vec<bool>,
    /// Encoder biases, `[n]`.
    pub bias: Vec<f32>,
    /// Norms of encoder rows, `[n]`.
    pub encoder_norm: Vec<f32>,
    /// Cosines of encoder and decoder rows, `[n]`.
    pub encoder_decoder_cosine: Vec<f32>,
    /// Decoder rows, each in units of its own: directions alone, `[n, d]`.
    pub directions: Vec<i8>,
}

pub(crate) fn columns(d: usize) -> Vec<Column> {
    let width = i32::try_from(d).unwrap_or(i32::MAX);
    vec![
        documented(FEATURE, DataType::UInt32, "Number of the feature, from 0; every feature has a row."),
        documented(STEP, DataType::UInt64, "Steps done; the same in every row."),
        documented(TOKENS, DataType::UInt64, "Tokens trained on; the same in every row."),
        documented(OVER, DataType::UInt64, "Tokens that `fired` is counted over; the same in every row."),
        documented(FIRED, DataType::UInt64, "Tokens of those that it fired on."),
        documented(DEAD, DataType::Boolean, "Whether it had not fired for `dead_after` tokens."),
        documented(BIAS, DataType::Float32, "Bias of its encoder as it was trained, for scaled activations."),
        documented(ENCODER_NORM, DataType::Float32, "Norm of its encoder row."),
        documented(COSINE, DataType::Float32, "Cosine of its encoder row and its decoder row."),
        documented(
            DIRECTION,
            DataType::FixedSizeBinary(width),
            "Its decoder row, `[d_in]`, in signed 8-bit numbers with a unit of its own: the direction alone.",
        ),
    ]
}

fn schema_of(d: usize) -> SchemaRef {
    schema::schema_of(columns(d))
}

/// Writes a snapshot piece by piece.
#[derive(Debug)]
pub struct SnapshotWriter {
    part: PartWriter,
    schema: SchemaRef,
    d: usize,
}

impl SnapshotWriter {
    /// Begins the file for decoder rows of `d` numbers.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be made.
    pub fn create(path: &Path, d: usize) -> Result<Self> {
        let schema = schema_of(d);
        // Directions hardly shrink, and nobody keeps them for long.
        let layout = Layout { row_group_bytes: 16 << 20, zstd_level: 0, ..Layout::feature_rows() };
        Ok(Self { part: PartWriter::create(path, schema.clone(), &layout)?, schema, d })
    }

    /// Appends the next features.
    ///
    /// # Errors
    /// Directions that are not rows of `d` bytes; what writing gives.
    pub fn append(&mut self, piece: Snapshot) -> Result<()> {
        let n = piece.fired.len();
        let same = |number: u64| -> ArrayRef { Arc::new(UInt64Array::from_value(number, n)) };
        let width = i32::try_from(self.d).unwrap_or(i32::MAX);
        let directions = FixedSizeBinaryArray::try_new(width, Buffer::from_vec(piece.directions), None)
            .map_err(|e| Error::column(DIRECTION, format!("rows of {width} bytes"), e.to_string()))?;
        let first = piece.first;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt32Array::from_iter_values((first..).take(n))),
            same(piece.step),
            same(piece.tokens),
            same(piece.over),
            Arc::new(UInt64Array::from(piece.fired)),
            Arc::new(BooleanArray::from(piece.dead)),
            Arc::new(Float32Array::from(piece.bias)),
            Arc::new(Float32Array::from(piece.encoder_norm)),
            Arc::new(Float32Array::from(piece.encoder_decoder_cosine)),
            Arc::new(directions),
        ];
        self.part.write(&column::batch(self.schema.clone(), columns)?)
    }

    /// Closes the file; before that nobody sees it.
    ///
    /// # Errors
    /// What writing the footer, syncing and renaming give.
    pub fn finish(self) -> Result<Part> {
        self.part.finish()
    }
}

/// Opens a snapshot of decoder rows of `d` numbers.
///
/// # Errors
/// A file that is missing or has different columns.
pub fn open_snapshot(path: &Path, d: usize) -> Result<TableReader> {
    TableReader::open_file(path, &schema_of(d))
}

/// Reads some of its features.
///
/// # Errors
/// A file that cannot be read; features that are not where their numbers say.
pub fn read_snapshot(reader: &TableReader, features: Range<u32>) -> Result<Snapshot> {
    let mut read = Snapshot { first: features.start, ..Snapshot::default() };
    let rows = Some(u64::from(features.start)..u64::from(features.end));
    reader.each(Scan { rows, ..Scan::default() }, |batch| {
        let expected = features.start + read.fired.len() as u32;
        let numbers = primitive::<UInt32Type>(batch, FEATURE)?.values();
        if let Some((found, wanted)) = numbers.iter().zip(expected..).find(|(found, wanted)| *found != wanted)
        {
            return Err(Error::column(FEATURE, format!("feature {wanted}"), format!("feature {found}")));
        }
        let one = |name: &str| -> Result<u64> {
            Ok(primitive::<UInt64Type>(batch, name)?.values().first().copied().unwrap_or_default())
        };
        (read.step, read.tokens, read.over) = (one(STEP)?, one(TOKENS)?, one(OVER)?);
        read.fired.extend_from_slice(primitive::<UInt64Type>(batch, FIRED)?.values());
        read.dead.extend(booleans(batch, DEAD)?.values().iter());
        for (name, numbers) in [
            (BIAS, &mut read.bias),
            (ENCODER_NORM, &mut read.encoder_norm),
            (COSINE, &mut read.encoder_decoder_cosine),
        ] {
            numbers.extend_from_slice(primitive::<Float32Type>(batch, name)?.values());
        }
        let directions = column::find(batch, DIRECTION)?;
        let directions = directions
            .as_fixed_size_binary_opt()
            .ok_or_else(|| Error::column(DIRECTION, "FixedSizeBinary", directions.data_type().to_string()))?;
        for i in 0..directions.len() {
            read.directions.extend(directions.value(i).iter().map(|byte| byte.cast_signed()));
        }
        Ok(())
    })?;
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_come_back_wherever_they_are_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("7.parquet");
        let (d, n) = (5, 3000u32);
        let piece = |features: Range<u32>| Snapshot {
            first: features.start,
            step: 7,
            tokens: 700,
            over: 200,
            fired: features.clone().map(u64::from).collect(),
            dead: features.clone().map(|f| f.is_multiple_of(3)).collect(),
            bias: features.clone().map(|f| f as f32 * 0.5).collect(),
            encoder_norm: features.clone().map(|f| 1.0 + f as f32).collect(),
            encoder_decoder_cosine: features.clone().map(|f| 1.0 / (1.0 + f as f32)).collect(),
            directions: features.flat_map(|f| (0..5).map(move |i| (f * 5 + i) as u8 as i8)).collect(),
        };
        let mut writer = SnapshotWriter::create(&path, d).unwrap();
        writer.append(piece(0..1000)).unwrap();
        writer.append(piece(1000..n)).unwrap();
        assert_eq!(writer.finish().unwrap().rows, u64::from(n));
        let reader = open_snapshot(&path, d).unwrap();
        for features in [0..n, 990..1010, 2999..3000, 17..17] {
            let expected = piece(features.clone());
            let read = read_snapshot(&reader, features.clone()).unwrap();
            if features.is_empty() {
                assert!(read.fired.is_empty());
                continue;
            }
            assert_eq!(read, expected, "{features:?}");
        }
        assert!(open_snapshot(&path, 6).is_err(), "another width is another dictionary");
    }
}

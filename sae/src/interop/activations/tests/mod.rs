//! Activations of other programs: what is read, and what is refused.

mod formats;
mod sequences;
mod values;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, FixedSizeListArray, Float16Array, Float32Array, Float64Array, Int32Array,
    Int64Array, LargeListArray, ListArray, RecordBatch, StringArray, UInt32Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Schema, UInt32Type};
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use half::{bf16, f16};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use safetensors::tensor::{Dtype as Stored, TensorView};
use storage::schema::activations::ACTIVATION;
use storage::schema::{ACTIVATIONS, DOCUMENT, DOCUMENTS, POSITION, TOKEN, VOCABULARY};
use storage::{Dataset, Dtype, RowsAre, Scan, column, documents, vector};

use super::{ImportConfig, plan, run};
use crate::{Error, Quiet, Result};
use lm::progress::StopAfter;

/// What a dataset holds.
#[derive(Debug, Default, Clone, PartialEq)]
struct Read {
    documents: Vec<u32>,
    positions: Vec<u32>,
    tokens: Vec<u32>,
    values: Vec<f32>,
}

fn read(folder: &Path) -> (Dataset, Read) {
    let dataset = Dataset::open(folder).unwrap();
    let table = dataset.table(ACTIVATIONS).unwrap();
    let mut read = Read::default();
    for batch in table.scan(Scan::default()).unwrap() {
        let batch = batch.unwrap();
        let numbers =
            |name| column::primitive::<UInt32Type>(&batch, name).map_or(Vec::new(), |c| c.values().to_vec());
        read.documents.extend(numbers(DOCUMENT));
        read.positions.extend(numbers(POSITION));
        read.tokens.extend(numbers(TOKEN));
        vector::fixed_size_rows(&batch, ACTIVATION, &mut read.values).unwrap();
    }
    (dataset, read)
}

/// A folder to work in, and what an import into it gives.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn config(&self, names: &[&str]) -> ImportConfig {
        ImportConfig { inputs: names.iter().map(|name| self.path(name)).collect(), ..ImportConfig::default() }
    }

    fn import(&self, config: &ImportConfig) -> (Dataset, Read) {
        let out = tempfile::tempdir_in(self.0.path()).unwrap().keep();
        run(config, &out, &mut Quiet).unwrap();
        read(&out)
    }

    fn refused(&self, config: &ImportConfig) -> String {
        let out = tempfile::tempdir_in(self.0.path()).unwrap().keep();
        run(config, &out, &mut Quiet).unwrap_err().to_string()
    }

    fn npy(&self, name: &str, descr: &str, fortran: bool, shape: &str, numbers: Vec<u8>) {
        let order = if fortran { "True" } else { "False" };
        let header = format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': {shape}, }}");
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(numbers);
        fs::write(self.path(name), bytes).unwrap();
    }

    fn parquet(&self, name: &str, columns: Vec<(&str, ArrayRef)>) {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let mut writer =
            ArrowWriter::try_new(File::create(self.path(name)).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    }

    fn arrow(&self, name: &str, batches: &[RecordBatch]) {
        let file = File::create(self.path(name)).unwrap();
        let mut writer = StreamWriter::try_new(file, &batches[0].schema()).unwrap();
        batches.iter().for_each(|batch| writer.write(batch).unwrap());
        writer.finish().unwrap();
    }
}

/// Small numbers that every type holds: row, column → a quarter of both.
fn counted(rows: usize, d: usize) -> Vec<f32> {
    (0..rows * d).map(|i| (i / d) as f32 / 4.0 - (i % d) as f32).collect()
}

fn lists(values: ArrayRef, d: usize) -> ArrayRef {
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(d, values.len() / d));
    Arc::new(ListArray::new(
        Arc::new(Field::new("item", values.data_type().clone(), true)),
        offsets,
        values,
        None,
    ))
}

fn large_lists(values: ArrayRef, d: usize) -> ArrayRef {
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(d, values.len() / d));
    Arc::new(LargeListArray::new(
        Arc::new(Field::new("item", values.data_type().clone(), true)),
        offsets,
        values,
        None,
    ))
}

fn fixed_lists(values: ArrayRef, d: usize) -> ArrayRef {
    let field = Arc::new(Field::new("item", values.data_type().clone(), true));
    Arc::new(FixedSizeListArray::new(field, d as i32, values, None))
}

fn floats(values: &[f32]) -> ArrayRef {
    Arc::new(Float32Array::from(values.to_vec()))
}

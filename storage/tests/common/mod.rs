//! Small datasets with known contents.
#![allow(dead_code, reason = "each test file uses its own share of this")]

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, UInt32Array};
use arrow::datatypes::{Int32Type, SchemaRef};
use arrow::record_batch::RecordBatch;
use storage::{Dataset, DatasetWriter, Dtype, Layout, Manifest, ModelRef, Part, schema, vector};

pub const D: usize = 4;

pub fn header() -> Manifest {
    let model = ModelRef { id: "tiny".into(), path: None, sha256: "ab".into() };
    let mut header = Manifest::new(model, Some("blocks.1.hook_resid_post".into()), D, Dtype::F16);
    header.settings = serde_json::json!({ "seed": 1 });
    header
}

/// Row `r` of the whole dataset: document r / 10, position r % 10, token r % 7, activation r mod 500 + 0, .25, .5, .75.
pub fn rows(range: std::ops::Range<u32>) -> RecordBatch {
    let numbers =
        |get: fn(u32) -> u32| Arc::new(UInt32Array::from_iter_values(range.clone().map(get))) as ArrayRef;
    let domain: DictionaryArray<Int32Type> =
        range.clone().map(|r| if r % 20 < 10 { "prose" } else { "code" }).collect();
    let (activation, bad) = vector::column_from_rows(&vectors(range.clone()), D, Dtype::F16).unwrap();
    assert_eq!(bad.count, 0);
    let columns = vec![
        numbers(|r| r / 10),
        numbers(|r| r % 10),
        numbers(|r| r % 7),
        Arc::new(domain) as ArrayRef,
        Arc::new(activation),
    ];
    RecordBatch::try_new(columns_of(), columns).unwrap()
}

pub fn vectors(range: std::ops::Range<u32>) -> Vec<f32> {
    range.flat_map(|r| (0..D).map(move |i| (r % 500) as f32 + 0.25 * i as f32)).collect()
}

pub fn columns_of() -> SchemaRef {
    schema::activations(D, Dtype::F16, false)
}

/// Row groups of 64 rows and pages of 16, so that little data has many of them.
pub fn fine() -> Layout {
    Layout { row_group_rows: 64, page_rows: 16, ..Layout::activations() }
}

pub fn write_part(writer: &mut DatasetWriter, range: std::ops::Range<u32>) -> Part {
    let mut part = writer.next_part(schema::ACTIVATIONS, columns_of(), &fine()).unwrap();
    part.write(&rows(range)).unwrap();
    part.finish().unwrap()
}

/// A finished dataset whose parts have these numbers of rows.
pub fn dataset(dir: &Path, parts: &[u32]) -> Dataset {
    let mut writer = DatasetWriter::begin(dir, header()).unwrap();
    let mut first = 0;
    for &rows in parts {
        let part = write_part(&mut writer, first..first + rows);
        first += rows;
        writer.commit(vec![(schema::ACTIVATIONS.into(), part)], first.into()).unwrap();
    }
    writer.finish().unwrap()
}

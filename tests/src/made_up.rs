//! Datasets of made-up activations, written with `storage` alone: no model is needed for them.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, RecordBatch, UInt32Array};
use arrow::datatypes::Int32Type;
use storage::documents::DocumentRow;
use storage::{DatasetWriter, Dtype, Layout, Manifest, ModelRef, documents, schema, vector, vocabulary};

use crate::Chance;

/// Tokens of a document.
const LENGTH: usize = 50;

/// Writes a dataset of `rows` rows of `width` numbers to `folder`. Every tenth document is held out.
pub fn dataset(folder: &Path, rows: usize, width: usize) {
    dataset_with(folder, rows, width, |_, _| {});
}

/// As [`dataset`], with a say in the numbers (row by row) and in the documents.
pub fn dataset_with(
    folder: &Path,
    rows: usize,
    width: usize,
    change: impl FnOnce(&mut [f32], &mut [DocumentRow]),
) {
    let mut chance = Chance::new(rows as u64);
    // A few directions in changing amounts, so that a dictionary has something to find.
    let directions: Vec<f32> = (0..4 * width * width).map(|_| chance.unit() as f32 - 0.5).collect();
    let directions: Vec<&[f32]> = directions.chunks_exact(width).collect();
    let mut values = Vec::with_capacity(rows * width);
    for _ in 0..rows {
        let mut row = vec![1.0; width];
        for _ in 0..5 {
            let amount = 3.0 * chance.unit() as f32;
            row.iter_mut().zip(*chance.one_of(&directions)).for_each(|(x, d)| *x += amount * d);
        }
        values.extend(row);
    }
    let mut documents: Vec<DocumentRow> = (0..rows.div_ceil(LENGTH)).map(|i| document(i, rows)).collect();
    change(&mut values, &mut documents);
    let writer = write(folder, &values, width, &documents);
    writer.finish().unwrap();
}

/// Begins a dataset and leaves it unfinished, with one whole part.
pub fn begun_dataset(folder: &Path) {
    drop(write(folder, &[1.0; 400], 4, &[document(0, 100), document(1, 100)]));
}

fn document(i: usize, rows: usize) -> DocumentRow {
    let first_row = i * LENGTH;
    DocumentRow {
        document: i as u32,
        name: format!("document {i}"),
        source: "made up".into(),
        domain: "numbers".into(),
        held_out: i % 10 == 9,
        first_row: first_row as u64,
        tokens: LENGTH.min(rows - first_row) as u32,
    }
}

/// A dataset with all its parts and without its manifest.
fn write(folder: &Path, values: &[f32], width: usize, rows: &[DocumentRow]) -> DatasetWriter {
    let model = ModelRef { id: "made up".into(), path: None, sha256: "00".into() };
    let hook = Some("blocks.1.hook_resid_post".to_owned());
    let mut writer = DatasetWriter::begin(folder, Manifest::new(model, hook, width, Dtype::F32)).unwrap();
    let tokens: Vec<(String, Vec<u8>)> =
        (b'a'..=b'z').map(|letter| (char::from(letter).to_string(), vec![letter])).collect();
    let tables = [
        (schema::ACTIVATIONS, Layout::activations(), activations(values, width)),
        (schema::DOCUMENTS, Layout::small_table(), documents::to_batch(rows).unwrap()),
        (schema::VOCABULARY, Layout::small_table(), vocabulary::to_batch(&tokens).unwrap()),
    ];
    let parts = tables.map(|(name, layout, batch)| {
        let mut part = writer.next_part(name, batch.schema(), &layout).unwrap();
        part.write(&batch).unwrap();
        (name.to_owned(), part.finish().unwrap())
    });
    writer.commit(parts.into(), serde_json::json!({ "batch": 1 })).unwrap();
    writer
}

fn activations(values: &[f32], width: usize) -> RecordBatch {
    let n = values.len() / width;
    let column = |of: fn(usize) -> usize| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values((0..n).map(|row| of(row) as u32)))
    };
    let domain: DictionaryArray<Int32Type> = std::iter::repeat_n("numbers", n).collect();
    let (activation, _) = vector::column_from_rows(values, width, Dtype::F32).unwrap();
    let columns = vec![
        column(|row| row / LENGTH),
        column(|row| row % LENGTH),
        column(|row| row % 26),
        Arc::new(domain),
        Arc::new(activation),
    ];
    RecordBatch::try_new(schema::activations(width, Dtype::F32, false), columns).unwrap()
}

//! Writes a tiny dataset and a tiny run with known contents, and `expected.json` with what other readers must find:
//! `cargo run -p storage --example make_sample -- DIR`, then `tests/outside/readers.py DIR`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a tool of the tests")]

use std::path::Path;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, DictionaryArray, Float32Array, ListBuilder, RecordBatch, UInt16Array, UInt32Array,
};
use arrow::array::{Float32Builder, UInt32Builder};
use arrow::datatypes::{DataType, Field, Int32Type};
use serde_json::json;
use storage::documents::DocumentRow;
use storage::examples::{ExampleRow, ExampleWriter};
use storage::experts::{BalanceRow, ExpertLoadRow};
use storage::feature_activations::{ActivationRow, ActivationWriter};
use storage::features::{FeatureRow, FeatureWriter};
use storage::metrics::{MetricsLog, MetricsRow};
use storage::{DatasetWriter, Dtype, Layout, Manifest, ModelRef, RunRecord, RunStatus, schema, vector};

const ROWS: u32 = 3000;
const D: usize = 8;
const FEATURES: u32 = 600;

fn main() {
    let dir = std::env::args_os().nth(1).unwrap_or_else(|| panic!("make_sample DIR"));
    let dir = Path::new(&dir);
    let sums =
        [("f16", Dtype::F16), ("f32", Dtype::F32)].map(|(name, dtype)| dataset(&dir.join(name), dtype));
    let features = run(&dir.join("run"));
    let expected = json!({
        "datasets": { "f16": sums[0], "f32": sums[1] },
        "run": features,
    });
    storage::atomic::write_json(&dir.join("expected.json"), &expected).unwrap();
}

/// Multiples of 1/8 below 32: f16 holds them exactly, and f64 sums of them are exact.
fn value(row: u32, i: usize) -> f32 {
    ((row * 37 + i as u32 * 11) % 256) as f32 / 8.0
}

fn numbers(get: impl Fn(u32) -> u32, rows: std::ops::Range<u32>) -> ArrayRef {
    Arc::new(UInt32Array::from_iter_values(rows.map(get)))
}

fn dataset(dir: &Path, dtype: Dtype) -> serde_json::Value {
    let model = ModelRef { id: "sample".into(), path: None, sha256: String::new() };
    let header = Manifest::new(model, Some("blocks.0.hook_resid_post".into()), D, dtype);
    let mut writer = DatasetWriter::begin(dir, header).unwrap();
    for range in [0..2000, 2000..ROWS] {
        let part = activations(&mut writer, dtype, range.clone());
        writer.commit(vec![(schema::ACTIVATIONS.into(), part)], range.end.into()).unwrap();
    }
    let small = [
        (schema::ROUTING, schema::routing(), Layout::routing(), routing()),
        (schema::VOCABULARY, schema::vocabulary(), Layout::small_table(), vocabulary()),
        (schema::DOCUMENTS, schema::documents(), Layout::small_table(), documents()),
    ];
    for (table, columns, layout, batch) in small {
        let mut part = writer.next_part(table, columns, &layout).unwrap();
        part.write(&batch).unwrap();
        let part = part.finish().unwrap();
        writer.commit(vec![(table.into(), part)], ROWS.into()).unwrap();
    }
    writer.finish().unwrap();
    experts(dir);
    let sum: f64 = (0..ROWS).flat_map(|row| (0..D).map(move |i| f64::from(value(row, i)))).sum();
    json!({
        "rows": ROWS,
        "d_model": D,
        "activation_sum": sum,
        "gradient_sum": -sum,
        "token_sum": (0..ROWS).map(|row| u64::from(row % 50)).sum::<u64>(),
        "code_rows": (0..ROWS).filter(|row| row / 100 % 3 == 0).count(),
        "routing_rows": 500,
        "expert_sum": (0..500u64).map(|row| row % 4 + (row + 1) % 4).sum::<u64>(),
        "weight_sum": 500.0,
        "vocabulary_rows": 50,
        "text_of_7": "w7ü",
        "bytes_of_49": [255],
        "documents": 30,
        "held_out": 3,
        "load_rows": 2,
    })
}

fn activations(writer: &mut DatasetWriter, dtype: Dtype, range: std::ops::Range<u32>) -> storage::Part {
    let columns = schema::activations(D, dtype, true);
    let rows: Vec<f32> = range.clone().flat_map(|row| (0..D).map(move |i| value(row, i))).collect();
    let negative: Vec<f32> = rows.iter().map(|value| -value).collect();
    let domain: DictionaryArray<Int32Type> =
        range.clone().map(|row| if row / 100 % 3 == 0 { "code" } else { "prose" }).collect();
    let batch = RecordBatch::try_new(
        columns.clone(),
        vec![
            numbers(|row| row / 100, range.clone()),
            numbers(|row| row % 100, range.clone()),
            numbers(|row| row % 50, range),
            Arc::new(domain),
            Arc::new(vector::column_from_rows(&rows, D, dtype).unwrap().0),
            Arc::new(vector::column_from_rows(&negative, D, Dtype::F32).unwrap().0),
        ],
    )
    .unwrap();
    let layout = Layout { row_group_rows: 700, page_rows: 128, ..Layout::activations() };
    let mut part = writer.next_part(schema::ACTIVATIONS, columns, &layout).unwrap();
    part.write(&batch).unwrap();
    part.finish().unwrap()
}

fn routing() -> RecordBatch {
    let element = |data_type: DataType| Field::new("element", data_type, false);
    let mut experts = ListBuilder::new(UInt32Builder::new()).with_field(element(DataType::UInt32));
    let mut weights = ListBuilder::new(Float32Builder::new()).with_field(element(DataType::Float32));
    for row in 0..500u32 {
        experts.append_value([Some(row % 4), Some((row + 1) % 4)]);
        weights.append_value([Some(0.75), Some(0.25)]);
    }
    let columns: Vec<ArrayRef> = vec![
        numbers(|row| row / 100, 0..500),
        numbers(|row| row % 100, 0..500),
        numbers(|row| row % 50, 0..500),
        Arc::new(UInt16Array::from_iter_values((0..500).map(|_| 1))),
        Arc::new(experts.finish()),
        Arc::new(weights.finish()),
        Arc::new(Float32Array::from_iter_values((0..500).map(|row| row as f32 / 500.0))),
    ];
    RecordBatch::try_new(schema::routing(), columns).unwrap()
}

fn vocabulary() -> RecordBatch {
    let token = |id: u8| match id {
        49 => ("‹ff›".to_owned(), vec![255]),
        id => (format!("w{id}ü"), format!("w{id}ü").into_bytes()),
    };
    storage::vocabulary::to_batch(&(0..50).map(token).collect::<Vec<_>>()).unwrap()
}

fn documents() -> RecordBatch {
    let row = |document: u32| DocumentRow {
        document,
        name: format!("document {document}"),
        source: "sample.txt".into(),
        domain: if document.is_multiple_of(3) { "code" } else { "prose" }.into(),
        held_out: document >= 27,
        first_row: u64::from(document) * 100,
        tokens: 100,
    };
    storage::documents::to_batch(&(0..30).map(row).collect::<Vec<_>>()).unwrap()
}

fn experts(dataset: &Path) {
    let dir = dataset.join("experts");
    std::fs::create_dir(&dir).unwrap();
    let load = [
        ExpertLoadRow { layer: 1, expert: 0, domain: None, tokens: 250, share: 0.25, weight: 0.5 },
        ExpertLoadRow {
            layer: 1,
            expert: 0,
            domain: Some("code".into()),
            tokens: 84,
            share: 0.25,
            weight: 0.5,
        },
    ];
    storage::experts::write_load(&dir.join("load.parquet"), &load).unwrap();
    let layer = BalanceRow { layer: 1, experts: 4, k: Some(2), tokens: Some(500), ..BalanceRow::default() };
    storage::row::write(&dir.join("balance.parquet"), &[layer]).unwrap();
}

fn run(dir: &Path) -> serde_json::Value {
    let features = dir.join("features");
    std::fs::create_dir_all(&features).unwrap();
    let record =
        RunRecord { status: RunStatus::Finished, method: "topk".into(), d_in: D, k: 4, ..RunRecord::new() };
    record.write(dir).unwrap();
    let mut log = MetricsLog::open(&dir.join("metrics.parquet"), None).unwrap();
    for step in 0..20 {
        let (tokens, seconds, l0) = (step * 64, step as f64, Some(4.0));
        let row = MetricsRow { step, tokens, seconds, l0, ..MetricsRow::default() };
        log.append(row).unwrap();
    }
    log.flush().unwrap();

    let count = |feature: u32| if feature % 10 == 3 { 0 } else { 1 + feature % 60 };
    let mut activations = ActivationWriter::create(&features.join("activations-00000.parquet")).unwrap();
    let mut examples = ExampleWriter::create(&features.join("examples.parquet")).unwrap();
    let mut table = FeatureWriter::create(&features.join("features.parquet")).unwrap();
    for feature in 0..FEATURES {
        let row =
            |i: u32| ActivationRow { feature, document: i, position: feature % 90, value: 0.5 + i as f32 };
        let first_row = activations.rows();
        activations.append(&(0..count(feature)).map(row).collect::<Vec<_>>()).unwrap();
        table.append(feature_row(feature, count(feature), first_row)).unwrap();
        if count(feature) > 0 {
            let values = vec![0.0, 0.5, 0.0];
            examples
                .append(ExampleRow {
                    feature,
                    value: 0.5,
                    tokens: vec![1, 2, 3],
                    values,
                    ..ExampleRow::default()
                })
                .unwrap();
        }
    }
    activations.finish().unwrap();
    examples.finish().unwrap();
    table.finish().unwrap();
    let alive = (0..FEATURES).filter(|&feature| count(feature) > 0).count();
    json!({
        "features": FEATURES,
        "dead": FEATURES as usize - alive,
        "activations": (0..FEATURES).map(count).sum::<u32>(),
        "activations_of_59": count(59),
        "value_sum_of_59": (0..count(59)).map(|i| 0.5 + f64::from(i)).sum::<f64>(),
        "examples": alive,
        "example_token_sum": alive * 6,
        "top_logit_of_5": [[5, 1.5], [6, 0.5]],
        "label_of_5": "five",
        "metrics_rows": 20,
        "l0_sum": 80.0,
    })
}

fn feature_row(feature: u32, count: u32, first_row: u64) -> FeatureRow {
    FeatureRow {
        feature,
        count: count.into(),
        density: count as f32 / ROWS as f32,
        dead: count == 0,
        histogram: vec![0; storage::features::HISTOGRAM_BINS],
        first_row,
        top_logits: vec![(feature, 1.5), (feature + 1, 0.5)],
        coactive: vec![(feature ^ 1, 2, 1.25)],
        label: (feature == 5).then(|| "five".to_owned()),
        ..FeatureRow::default()
    }
}

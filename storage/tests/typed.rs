//! Rust values → tables → the same Rust values.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(clippy::needless_update, reason = "a new column need not be told to every test")]

use std::path::Path;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::Schema;
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use storage::documents::DocumentRow;
use storage::examples::{ExampleRow, ExampleWriter};
use storage::experts::ExpertLoadRow;
use storage::features::{FeatureRow, FeatureWriter};
use storage::metrics::{MetricsLog, MetricsRow};
use storage::row::{self, Row as _};
use storage::{Dtype, Layout, PartWriter, Run, RunRecord, RunStatus, TableReader, schema, vector};

fn list<T: std::fmt::Debug>(value: impl Strategy<Value = T>) -> impl Strategy<Value = Vec<T>> {
    prop::collection::vec(value, 0..5)
}

prop_compose! {
    fn feature_row()(
        numbers in (any::<u32>(), any::<u64>(), any::<bool>(), any::<u64>()),
        floats in prop::array::uniform7(-1e6f32..1e6),
        histograms in prop::array::uniform2(list(any::<u32>())),
        fires_on in list((any::<u32>(), any::<u32>())),
        logits in prop::array::uniform3(list((any::<u32>(), -9f32..9.0))),
        coactive in list((any::<u32>(), any::<u32>(), 0f32..9.0)),
        label in prop::option::of(".{0,8}"),
    ) -> FeatureRow {
        let [top_logits, bottom_logits, neighbours] = logits;
        let [histogram, logit_histogram] = histograms;
        FeatureRow {
            feature: numbers.0,
            count: numbers.1,
            density: floats[0],
            mean: floats[1],
            max: floats[2],
            dead: numbers.2,
            bias: floats[3],
            encoder_norm: floats[4],
            decoder_norm: floats[5],
            encoder_decoder_cosine: floats[6],
            histogram,
            first_row: numbers.3,
            fires_on,
            top_logits,
            bottom_logits,
            logit_histogram,
            neighbours,
            coactive,
            label,
            ..FeatureRow::default()
        }
    }
}

prop_compose! {
    fn example_row()(
        numbers in (0u32..5, -1i8..=5, any::<u16>(), any::<u32>(), any::<u32>(), any::<u32>()),
        value in 0f32..100.0,
        tokens in list(any::<u32>()),
        values in list(0f32..9.0),
    ) -> ExampleRow {
        let (feature, interval, rank, document, position, start) = numbers;
        ExampleRow { feature, interval, rank, document, position, value, start, tokens, values }
    }
}

fn features(path: &Path, rows: &[FeatureRow]) -> TableReader {
    let mut writer = FeatureWriter::create(path).unwrap();
    for row in rows {
        writer.append(row.clone()).unwrap();
    }
    assert_eq!(writer.finish().unwrap().rows, rows.len() as u64);
    row::open::<FeatureRow>(path).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn features_come_back(rows in prop::collection::vec(feature_row(), 0..40), start in 0usize..40) {
        let folder = tempfile::tempdir().unwrap();
        let table = features(&folder.path().join("features.parquet"), &rows);
        let start = start.min(rows.len());
        let found = storage::features::read(&table, start as u64..rows.len() as u64).unwrap();
        prop_assert_eq!(&found, &rows[start..]);
        let scalars = storage::features::scalar_columns(&table).unwrap();
        prop_assert_eq!(scalars.count, rows.iter().map(|row| row.count).collect::<Vec<_>>());
        prop_assert_eq!(scalars.max, rows.iter().map(|row| row.max).collect::<Vec<_>>());
        prop_assert_eq!(scalars.dead, rows.iter().map(|row| row.dead).collect::<Vec<_>>());
        prop_assert_eq!(scalars.label, rows.iter().map(|row| row.label.clone()).collect::<Vec<_>>());
    }

    #[test]
    fn examples_come_back(mut rows in prop::collection::vec(example_row(), 0..40)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("examples.parquet");
        rows.sort_by_key(|row| row.feature);
        let mut writer = ExampleWriter::create(&path).unwrap();
        for row in &rows {
            writer.append(row.clone()).unwrap();
        }
        writer.finish().unwrap();
        let table = row::open::<ExampleRow>(&path).unwrap();
        for feature in 0..6 {
            let naive: Vec<_> = rows.iter().filter(|row| row.feature == feature).cloned().collect();
            prop_assert_eq!(storage::examples::read(&table, feature).unwrap(), naive);
        }
    }

    #[test]
    fn vectors_come_back(d in 1usize..9, n in 0usize..20, seed in any::<u32>()) {
        let value = |i: usize| (seed.wrapping_mul(2_654_435_761).wrapping_add(i as u32 * 40_503) % 2048) as f32 / 8.0;
        let rows: Vec<f32> = (0..n * d).map(value).collect();
        for dtype in [Dtype::F16, Dtype::F32] {
            let (array, bad) = vector::column_from_rows(&rows, d, dtype).unwrap();
            prop_assert_eq!(bad, vector::NonFinite::default());
            let column: ArrayRef = Arc::new(array);
            let batch = RecordBatch::try_from_iter([("v", column)]).unwrap();
            let half = n / 2;
            let mut found = Vec::new();
            vector::fixed_size_rows(&batch.slice(half, n - half), "v", &mut found).unwrap();
            prop_assert_eq!(&found, &rows[half * d..]);
        }
    }
}

#[test]
fn many_features_are_read_one_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let rows: Vec<_> = (0..20_000u32)
        .map(|feature| FeatureRow {
            feature,
            count: u64::from(feature) * 3,
            histogram: (0..40)
                .map(|bin| feature.wrapping_mul(2_654_435_761).wrapping_mul(bin + 1) >> 20)
                .collect(),
            top_logits: (0..10).map(|i| (feature ^ i, (feature % 977) as f32 * 0.37 + i as f32)).collect(),
            ..FeatureRow::default()
        })
        .collect();
    let path = folder.path().join("features.parquet");
    let table = features(&path, &rows);
    let before = table.bytes_read();
    assert_eq!(storage::features::read(&table, 12_345..12_346).unwrap(), rows[12_345..12_346]);
    let (bytes, length) = (table.bytes_read() - before, std::fs::metadata(&path).unwrap().len());
    assert!(bytes * 10 < length, "{bytes} of {length} bytes");
    let before = table.bytes_read();
    assert_eq!(storage::features::scalar_columns(&table).unwrap().feature.len(), 20_000);
    let bytes = table.bytes_read() - before;
    assert!(bytes * 5 < length, "{bytes} of {length} bytes for the scalar columns");
}

#[test]
fn values_that_f16_can_not_hold_are_counted() {
    let rows = [1.0, 2.0, 3.0, 70_000.0, f32::NAN, 4.0];
    let (_, bad) = vector::column_from_rows(&rows, 2, Dtype::F16).unwrap();
    assert_eq!(bad, vector::NonFinite { count: 2, first_row: Some(1) });
    let (_, bad) = vector::column_from_rows(&rows, 2, Dtype::F32).unwrap();
    assert_eq!(bad, vector::NonFinite { count: 1, first_row: Some(2) });
    assert!(vector::column_from_rows(&rows, 4, Dtype::F32).is_err());
    assert!(vector::column_from_rows(&rows, 0, Dtype::F32).is_err());
}

#[test]
fn a_log_is_continued_where_the_checkpoint_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("metrics.parquet");
    let row = |step: u64| MetricsRow {
        step,
        tokens: step * 10,
        seconds: step as f64 / 2.0,
        l0: Some(step as f32),
        ..MetricsRow::default()
    };
    let mut log = MetricsLog::open(&path, None).unwrap();
    for step in [1, 2, 5, 8] {
        log.append(row(step)).unwrap();
    }
    log.flush().unwrap();
    let mut log = MetricsLog::open(&path, Some(5)).unwrap();
    let with_fvu = MetricsRow { fvu: Some(0.25), ..row(6) };
    log.append(with_fvu).unwrap();
    assert!(log.append(row(6)).is_err(), "steps rise");
    log.flush().unwrap();
    let rows = storage::metrics::read(&row::open::<MetricsRow>(&path).unwrap()).unwrap();
    assert_eq!(rows, [row(1), row(2), row(5), with_fvu]);
    assert!(MetricsLog::open(&path, None).unwrap().rows().is_empty());
}

#[test]
fn documents_and_experts_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let documents = [
        DocumentRow { name: "a".into(), domain: "prose".into(), tokens: 3, ..DocumentRow::default() },
        DocumentRow {
            document: 1, name: "ü".into(), held_out: true, first_row: 3, ..DocumentRow::default()
        },
    ];
    let path = folder.path().join("documents.parquet");
    let mut part = PartWriter::create(&path, schema::documents(), &Layout::small_table()).unwrap();
    part.write(&storage::documents::to_batch(&documents).unwrap()).unwrap();
    part.finish().unwrap();
    let table = TableReader::open_file(&path, &schema::documents()).unwrap();
    assert_eq!(storage::documents::read(&table).unwrap(), documents);

    let load = [
        ExpertLoadRow { layer: 1, expert: 2, domain: None, tokens: 9, share: 0.5, weight: 0.25 },
        ExpertLoadRow { domain: Some("code".into()), ..ExpertLoadRow::default() },
    ];
    let path = folder.path().join("load.parquet");
    storage::experts::write_load(&path, &load).unwrap();
    let table = row::open::<ExpertLoadRow>(&path).unwrap();
    assert_eq!(storage::experts::read_load(&table).unwrap(), load);
}

#[test]
fn a_run_opens_as_far_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let error = Run::open(folder.path()).unwrap_err();
    assert!(error.to_string().contains("run.json"), "{error}");
    let mut record = RunRecord { method: "topk".into(), k: 16, ..RunRecord::new() };
    record.last = Some(MetricsRow { step: 3, l0: Some(16.0), seconds: 0.5, ..MetricsRow::default() });
    record.write(folder.path()).unwrap();
    let run = Run::open(folder.path()).unwrap();
    assert_eq!(run.record(), &record);
    assert_eq!(run.record().status, RunStatus::Running);
    assert!(run.features().unwrap().is_none() && run.examples().unwrap().is_none());
    assert!(run.activations().unwrap().is_none() && run.evaluation().unwrap().is_none());
    assert!(run.metrics().is_err());
    record.version = 7;
    record.write(folder.path()).unwrap();
    let error = Run::open(folder.path()).unwrap_err();
    assert!(matches!(error, storage::Error::Newer { found: 7, .. }), "{error}");
}

#[test]
fn a_table_that_lacks_a_column_is_refused_by_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let index = folder.path().join("features");
    std::fs::create_dir_all(&index).unwrap();
    RunRecord::new().write(folder.path()).unwrap();
    let whole = features(&index.join("whole.parquet"), &[FeatureRow::default()]);
    let fields = FeatureRow::fields().into_iter().filter(|field| field.name() != "logit_histogram");
    let fewer = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    let names: Vec<&str> = fewer.fields().iter().map(|field| field.name().as_str()).collect();
    let mut part =
        PartWriter::create(&index.join("features.parquet"), fewer.clone(), &Layout::feature_rows()).unwrap();
    for batch in whole.columns(&names).unwrap() {
        part.write(&batch.unwrap()).unwrap();
    }
    part.finish().unwrap();
    let error = Run::open(folder.path()).unwrap().features().unwrap_err();
    assert!(
        matches!(&error, storage::Error::Schema { column, .. } if column == "logit_histogram"),
        "{error}"
    );
    assert!(error.to_string().contains("features.parquet"), "{error}");
}

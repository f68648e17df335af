//! Files that are cut off, changed, of another kind or newer: an error with the path, never a panic, never wrong rows.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, UInt32Array, UInt64Array};
use common::dataset;
use storage::feature_activations::ActivationRow;
use storage::features::FeatureRow;
use storage::row::Row as _;
use storage::{Dataset, Error, Layout, PartWriter, Scan, TableReader, schema};

const PART: &str = "activations-00000.parquet";

fn read_all(table: &TableReader) -> storage::Result<u64> {
    table.scan(Scan::default())?.map(|batch| batch.map(|batch| batch.num_rows() as u64)).sum()
}

fn names(error: &Error, path: &Path) {
    let text = error.to_string();
    assert!(text.contains(&*path.file_name().unwrap().to_string_lossy()), "{text}");
}

#[test]
fn a_cut_off_part_never_opens() {
    let folder = tempfile::tempdir().unwrap();
    dataset(folder.path(), &[300]);
    let path = folder.path().join(PART);
    let whole = fs::read(&path).unwrap();
    for sixteenth in 0..16 {
        fs::write(&path, &whole[..whole.len() * sixteenth / 16]).unwrap();
        let error = Dataset::open(folder.path()).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        names(&error, &path);
        // Without a manifest to ask, the file alone tells too.
        let error = TableReader::open_file(&path, &common::columns_of()).unwrap_err();
        assert!(matches!(error, Error::Parquet { .. }), "{error}");
        names(&error, &path);
    }
    fs::write(&path, &whole).unwrap();
    Dataset::open(folder.path()).unwrap();
}

#[test]
fn changed_bytes_are_found_by_verify_and_never_panic() {
    let folder = tempfile::tempdir().unwrap();
    dataset(folder.path(), &[300]);
    let path = folder.path().join(PART);
    let whole = fs::read(&path).unwrap();
    std::panic::set_hook(Box::new(|_| {}));
    for at in (0..whole.len()).step_by(7) {
        let mut changed = whole.clone();
        changed[at] ^= 1 << (at % 8);
        fs::write(&path, &changed).unwrap();
        let dataset = Dataset::open(folder.path()).unwrap();
        let error = dataset.verify(&mut |_, _| {}).unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{error}");
        names(&error, &path);
        // Reading without verifying may see another value, but neither a panic nor another number of rows.
        if let Ok(rows) = dataset.table(schema::ACTIVATIONS).and_then(|table| read_all(&table)) {
            assert_eq!(rows, 300, "byte {at}");
        }
        let table = dataset.table(schema::ACTIVATIONS);
        let _ = table.and_then(|table| {
            let range = Some(("document".to_owned(), 3, 5));
            table.scan(Scan { range, ..Scan::default() })?.collect::<storage::Result<Vec<_>>>()
        });
    }
    let _ = std::panic::take_hook();
}

#[test]
fn a_missing_part_is_named() {
    let folder = tempfile::tempdir().unwrap();
    dataset(folder.path(), &[30, 30]);
    let path = folder.path().join("activations-00001.parquet");
    fs::remove_file(&path).unwrap();
    let error = Dataset::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
    names(&error, &path);
}

/// Changes the manifest's JSON.
fn edit(dir: &Path, change: impl FnOnce(&mut serde_json::Value)) {
    let path = dir.join("dataset.json");
    let mut manifest: serde_json::Value = storage::read_json(&path).unwrap();
    change(&mut manifest);
    storage::atomic::write_json(&path, &manifest).unwrap();
}

#[test]
fn a_part_with_fewer_rows_than_the_manifest_says() {
    let folder = tempfile::tempdir().unwrap();
    dataset(folder.path(), &[30]);
    edit(folder.path(), |manifest| {
        manifest["rows"] = 40.into();
        manifest["tables"]["activations"]["rows"] = 40.into();
        manifest["tables"]["activations"]["parts"][0]["rows"] = 40.into();
    });
    let dataset = Dataset::open(folder.path()).unwrap();
    let error = dataset.table(schema::ACTIVATIONS).unwrap_err();
    assert!(matches!(error, Error::Damaged { .. }), "{error}");
    assert!(error.to_string().contains("expected 40 rows, found 30 rows"), "{error}");
}

#[test]
fn a_manifest_that_contradicts_itself() {
    let folder = tempfile::tempdir().unwrap();
    dataset(folder.path(), &[30]);
    edit(folder.path(), |manifest| manifest["tables"]["activations"]["rows"] = 31.into());
    assert!(matches!(Dataset::open(folder.path()).unwrap_err(), Error::Damaged { .. }));
    edit(folder.path(), |manifest| {
        manifest["tables"]["activations"]["rows"] = 30.into();
        manifest["tables"]["activations"]["parts"][0]["file"] = "../elsewhere.parquet".into();
    });
    assert!(matches!(Dataset::open(folder.path()).unwrap_err(), Error::Damaged { .. }));
}

#[test]
fn a_newer_manifest_is_called_newer_even_if_it_looks_different() {
    let folder = tempfile::tempdir().unwrap();
    dataset(folder.path(), &[30]);
    edit(folder.path(), |manifest| {
        manifest["version"] = 2.into();
        manifest["dtype"] = "bf16".into();
    });
    let error = Dataset::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Newer { found: 2, supported: 1, .. }), "{error}");
}

#[test]
fn json_errors_have_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    dataset(folder.path(), &[30]);
    edit(folder.path(), |manifest| manifest["dtype"] = "bf16".into());
    let error = Dataset::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Json { line: 2.., .. }), "{error:?}");
    assert!(error.to_string().contains("bf16"), "{error}");
    let path = folder.path().join("dataset.json");
    let text = fs::read_to_string(&path).unwrap();
    for sixteenth in 0..16 {
        fs::write(&path, &text[..text.len() * sixteenth / 16]).unwrap();
        assert!(matches!(Dataset::open(folder.path()).unwrap_err(), Error::Json { .. }));
    }
    fs::write(&path, "{\"format\": \"somebody's\"}").unwrap();
    assert!(matches!(Dataset::open(folder.path()).unwrap_err(), Error::Foreign { .. }));
    fs::write(&path, "[1]").unwrap();
    assert!(matches!(Dataset::open(folder.path()).unwrap_err(), Error::Foreign { .. }));
}

#[test]
fn a_damaged_journal_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.json");
    fs::write(&path, "{").unwrap();
    let error = storage::DatasetWriter::begin(folder.path(), common::header()).unwrap_err();
    assert!(matches!(error, Error::Json { .. }), "{error}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "{");
    assert!(matches!(Dataset::open(folder.path()).unwrap_err(), Error::Unfinished { .. }));
}

#[test]
fn a_foreign_table_is_refused_by_column() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("features.parquet");
    let wide: ArrayRef = Arc::new(UInt64Array::from_iter_values([1]));
    let batch = RecordBatch::try_from_iter([("feature", wide)]).unwrap();
    let mut part = PartWriter::create(&path, batch.schema(), &Layout::small_table()).unwrap();
    part.write(&batch).unwrap();
    part.finish().unwrap();
    let error = TableReader::open_file(&path, &ActivationRow::schema()).unwrap_err();
    let Error::Schema { column, expected, found, .. } = &error else { panic!("{error}") };
    assert_eq!((column.as_str(), expected.as_str(), found.as_str()), ("feature", "UInt32", "UInt64"));
    names(&error, &path);

    let narrow: ArrayRef = Arc::new(UInt32Array::from_iter_values([1]));
    let batch = RecordBatch::try_from_iter([("feature", narrow)]).unwrap();
    let mut part = PartWriter::create(&path, batch.schema(), &Layout::small_table()).unwrap();
    part.write(&batch).unwrap();
    part.finish().unwrap();
    let error = TableReader::open_file(&path, &ActivationRow::schema()).unwrap_err();
    assert!(error.to_string().contains("`document`: expected UInt32, found no such column"), "{error}");

    fs::write(&path, "feature,document\n1,2\n").unwrap();
    assert!(TableReader::open_file(&path, &ActivationRow::schema()).is_err());
    assert!(TableReader::open_file(folder.path(), &ActivationRow::schema()).is_err());
    let error = TableReader::open_file(&folder.path().join("no.parquet"), &FeatureRow::schema()).unwrap_err();
    assert!(matches!(error, Error::Missing { .. }), "{error}");
}

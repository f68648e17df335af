//! A dataset from the first part to the manifest, with interruptions.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::fs;

use common::{dataset, header, rows, write_part};
use storage::{Dataset, DatasetWriter, Error, FoundKind, find_folders, schema};

#[test]
fn a_dataset_without_manifest_is_unfinished_and_says_how_far_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::begin(folder.path(), header()).unwrap();
    let part = write_part(&mut writer, 0..100);
    writer.commit(vec![(schema::ACTIVATIONS.into(), part)], "here".into()).unwrap();
    drop(writer);
    let error = Dataset::open(folder.path()).unwrap_err();
    assert!(matches!(error, Error::Unfinished { .. }), "{error}");
    assert!(error.to_string().contains("100 rows"), "{error}");
    let found = find_folders(folder.path()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind, FoundKind::UnfinishedDataset);
}

#[test]
fn an_interrupted_commit_leaves_nothing_and_the_work_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::begin(folder.path(), header()).unwrap();
    assert!(writer.cursor().is_none());
    let part = write_part(&mut writer, 0..100);
    writer.commit(vec![(schema::ACTIVATIONS.into(), part)], 100.into()).unwrap();
    // A whole part and half a part, neither committed, as a killed process leaves them.
    write_part(&mut writer, 100..150);
    fs::write(folder.path().join("routing-00000.parquet.partial"), b"half").unwrap();
    fs::write(folder.path().join("notes.txt"), b"mine").unwrap();
    fs::write(folder.path().join("my-table.parquet"), b"mine").unwrap();
    drop(writer);

    let mut writer = DatasetWriter::begin(folder.path(), header()).unwrap();
    assert_eq!(writer.cursor(), Some(&100.into()));
    assert_eq!(writer.tables()[schema::ACTIVATIONS].rows, 100);
    assert!(!folder.path().join("activations-00001.parquet").exists());
    assert!(!folder.path().join("routing-00000.parquet.partial").exists());
    assert!(folder.path().join("notes.txt").exists(), "never remove what is not ours");
    assert!(folder.path().join("my-table.parquet").exists());
    let part = write_part(&mut writer, 100..200);
    assert_eq!(part.file, "activations-00001.parquet");
    writer.commit(vec![(schema::ACTIVATIONS.into(), part)], 200.into()).unwrap();
    let resumed = writer.finish().unwrap();

    let other = tempfile::tempdir().unwrap();
    let straight = dataset(other.path(), &[100, 100]);
    assert_eq!(resumed.manifest(), straight.manifest(), "checksums included");
    assert_eq!(resumed.manifest().rows, 200);
    assert!(!folder.path().join("journal.json").exists());
}

#[test]
fn several_tables_become_whole_together() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::begin(folder.path(), header()).unwrap();
    let rows = write_part(&mut writer, 0..10);
    let mut part =
        writer.next_part(schema::VOCABULARY, schema::vocabulary(), &storage::Layout::small_table()).unwrap();
    part.write(
        &storage::vocabulary::to_batch(&[("a".into(), b"a".to_vec()), ("‹ff›".into(), vec![255])]).unwrap(),
    )
    .unwrap();
    let part = part.finish().unwrap();
    assert_eq!(part.file, "vocabulary.parquet");
    writer
        .commit(vec![(schema::ACTIVATIONS.into(), rows), (schema::VOCABULARY.into(), part)], 0.into())
        .unwrap();
    let dataset = writer.finish().unwrap();
    let table = dataset.table(schema::VOCABULARY).unwrap();
    assert_eq!(storage::vocabulary::read(&table).unwrap(), ["a", "‹ff›"]);
    assert_eq!(storage::vocabulary::read_bytes(&table).unwrap(), [b"a".to_vec(), vec![255]]);
    assert_eq!(dataset.manifest().rows, 10, "rows of the main table only");
    let error = dataset.table("routing").unwrap_err();
    assert!(error.to_string().contains("activations, vocabulary"), "{error}");
}

#[test]
fn other_settings_do_not_go_on() {
    let folder = tempfile::tempdir().unwrap();
    drop(DatasetWriter::begin(folder.path(), header()).unwrap());
    let mut other = header();
    other.context_length = 256;
    other.settings = serde_json::json!({ "seed": 2 });
    let error = DatasetWriter::begin(folder.path(), other).unwrap_err();
    assert!(matches!(error, Error::Differs { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("context_length: 0 there, 256 here"), "{text}");
    assert!(text.contains("settings.seed: 1 there, 2 here"), "{text}");
}

#[test]
fn a_finished_dataset_is_not_written_again() {
    let folder = tempfile::tempdir().unwrap();
    dataset(folder.path(), &[10]);
    let error = DatasetWriter::begin(folder.path(), header()).unwrap_err();
    assert!(matches!(error, Error::Finished { .. }), "{error}");
}

#[test]
fn what_a_killed_end_left_in_a_finished_dataset_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let writer = DatasetWriter::begin(dir.path(), header()).unwrap();
    let left = [".lock", storage::JOURNAL].map(|name| dir.path().join(name));
    let kept = left.clone().map(|path| fs::read(path).unwrap());
    DatasetWriter::tidy(dir.path());
    assert!(left.iter().all(|path| path.exists()), "an unfinished dataset is left alone");
    writer.finish().unwrap();
    for (path, bytes) in left.iter().zip(kept) {
        fs::write(path, bytes).unwrap();
    }
    DatasetWriter::tidy(dir.path());
    assert!(left.iter().all(|path| !path.exists()));
    Dataset::open(dir.path()).unwrap();
}

#[test]
fn two_writers_do_not_share_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let first = DatasetWriter::begin(folder.path(), header()).unwrap();
    let error = DatasetWriter::begin(folder.path(), header()).unwrap_err();
    assert!(matches!(error, Error::Busy { .. }), "{error}");
    drop(first);
    DatasetWriter::begin(folder.path(), header()).unwrap();
}

#[test]
fn somebody_elses_tables_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("activations-00000.parquet");
    fs::write(&path, b"precious").unwrap();
    let error = DatasetWriter::begin(folder.path(), header()).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn a_dropped_part_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::begin(folder.path(), header()).unwrap();
    let mut part = writer.next_part(schema::ACTIVATIONS, common::columns_of(), &common::fine()).unwrap();
    part.write(&rows(0..100)).unwrap();
    assert_eq!(part.rows(), 100);
    assert!(folder.path().join("activations-00000.parquet.partial").exists());
    drop(part);
    let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(names.iter().all(|name| !name.to_string_lossy().contains("parquet")), "{names:?}");
}

#[test]
fn a_killed_writer_leaves_nothing_that_passes_for_whole() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::begin(folder.path(), header()).unwrap();
    let mut part = writer.next_part(schema::ACTIVATIONS, common::columns_of(), &common::fine()).unwrap();
    part.write(&rows(0..500)).unwrap();
    // As if the process ended here: nobody cleans up.
    std::mem::forget(part);
    drop(writer);
    assert!(folder.path().join("activations-00000.parquet.partial").exists());
    assert!(!folder.path().join("activations-00000.parquet").exists());
    assert!(matches!(Dataset::open(folder.path()).unwrap_err(), Error::Unfinished { .. }));
    let writer = DatasetWriter::begin(folder.path(), header()).unwrap();
    assert!(writer.cursor().is_none());
    assert!(!folder.path().join("activations-00000.parquet.partial").exists());
}

#[test]
fn a_batch_with_other_columns_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::begin(folder.path(), header()).unwrap();
    let mut part = writer.next_part(schema::ACTIVATIONS, common::columns_of(), &common::fine()).unwrap();
    let wrong = rows(0..5).project(&[0, 2, 1, 3, 4]).unwrap();
    let error = part.write(&wrong).unwrap_err();
    assert!(error.to_string().contains("`position`"), "{error}");
}

#[test]
fn verify_reads_everything_and_reports_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = dataset(folder.path(), &[100, 50]);
    let mut last = (0, 0);
    dataset.verify(&mut |done, total| last = (done, total)).unwrap();
    assert_eq!(last, (dataset.manifest().bytes(), dataset.manifest().bytes()));
}

#[test]
fn folders_are_found() {
    let folder = tempfile::tempdir().unwrap();
    dataset(&folder.path().join("a/b"), &[5]);
    dataset(&folder.path().join("c"), &[5]);
    let run = folder.path().join("run");
    fs::create_dir(&run).unwrap();
    storage::RunRecord::new().write(&run).unwrap();
    let kinds: Vec<_> = find_folders(folder.path())
        .unwrap()
        .into_iter()
        .map(|f| (f.path.strip_prefix(folder.path()).unwrap().to_owned(), f.kind))
        .collect();
    let expected = [("a/b", FoundKind::Dataset), ("c", FoundKind::Dataset), ("run", FoundKind::Run)];
    assert_eq!(kinds, expected.map(|(path, kind)| (path.into(), kind)));
    assert_eq!(Dataset::find(folder.path(), 1).unwrap(), [folder.path().join("c")]);
    assert!(find_folders(&folder.path().join("nowhere")).is_err());
}

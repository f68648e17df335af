//! Pruned reads against naive ones: read everything, then filter.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

mod common;

use std::ops::Range;

use arrow::array::AsArray;
use arrow::compute::concat_batches;
use arrow::datatypes::UInt32Type;
use arrow::record_batch::RecordBatch;
use common::{D, dataset};
use proptest::prelude::*;
use storage::feature_activations::{ActivationRow, ActivationWriter, read, read_rows};
use storage::routing::RoutingRow;
use storage::{Scan, TableReader, schema, vector};

fn all(table: &TableReader, scan: Scan) -> RecordBatch {
    let batches: Vec<_> = table.scan(scan).unwrap().map(Result::unwrap).collect();
    assert!(batches.iter().all(|batch| batch.num_rows() > 0));
    concat_batches(table.schema(), &batches).unwrap()
}

#[test]
fn values_come_back_as_they_went_in() {
    let folder = tempfile::tempdir().unwrap();
    let table = dataset(folder.path(), &[100, 1, 250]).table(schema::ACTIVATIONS).unwrap();
    assert_eq!(table.rows(), 351);
    let batch = all(&table, Scan::default());
    assert_eq!(batch, common::rows(0..351));
    let mut values = vec![-1.0];
    assert_eq!(vector::fixed_size_rows(&batch, "activation", &mut values).unwrap(), D);
    assert_eq!(values[1..], common::vectors(0..351));
}

#[test]
fn columns_come_in_the_order_asked() {
    let folder = tempfile::tempdir().unwrap();
    let table = dataset(folder.path(), &[50]).table(schema::ACTIVATIONS).unwrap();
    let batch = table.columns(&["token", "document"]).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.schema().field(0).name(), "token");
    assert_eq!(batch.num_columns(), 2);
    let error = table.columns(&["tokens"]).unwrap_err().to_string();
    assert!(error.contains("`tokens`") && error.contains("document, position, token"), "{error}");
}

#[test]
fn questions_that_make_no_sense_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let table = dataset(folder.path(), &[50]).table(schema::ACTIVATIONS).unwrap();
    assert!(table.scan(Scan { rows: Some(10..51), ..Scan::default() }).is_err());
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = 10..5;
    assert!(table.scan(Scan { rows: Some(backwards.clone()), ..Scan::default() }).is_err());
    assert!(table.take(&[0..51], &["token"]).is_err());
    assert!(table.take(&[backwards], &["token"]).is_err());
    let range = Some(("activation".to_owned(), 0, 1));
    assert!(table.scan(Scan { range, ..Scan::default() }).is_err());
}

fn span(rows: u32) -> impl Strategy<Value = Range<u64>> {
    (0..=u64::from(rows), 0..=u64::from(rows)).prop_map(|(a, b)| a.min(b)..a.max(b))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_scan_is_the_filtered_whole(
        parts in prop::collection::vec(1u32..300, 1..4),
        column in prop::sample::select(vec!["document", "position", "token"]),
        (low, high) in (0u64..40, 0u64..40),
        share in (0.0..=1.0f64, 0.0..=1.0f64),
        batch_rows in 1usize..100,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let total: u32 = parts.iter().sum();
        let table = dataset(folder.path(), &parts).table(schema::ACTIVATIONS).unwrap();
        let at = |share: f64| (share * f64::from(total)) as u64;
        let rows = at(share.0.min(share.1))..at(share.0.max(share.1));
        let scan = Scan {
            columns: Some(vec!["activation".into(), "token".into()]),
            rows: Some(rows.clone()),
            range: Some((column.to_owned(), low, high)),
            batch_rows,
        };
        let mut found = Vec::new();
        let mut tokens = Vec::new();
        for batch in table.scan(scan).unwrap() {
            let batch = batch.unwrap();
            prop_assert!(batch.num_rows() <= batch_rows);
            vector::fixed_size_rows(&batch, "activation", &mut found).unwrap();
            tokens.extend_from_slice(batch.column(1).as_primitive::<UInt32Type>().values());
        }
        let value = |r: u32| u64::from(match column { "document" => r / 10, "position" => r % 10, _ => r % 7 });
        let naive: Vec<u32> =
            (rows.start as u32..rows.end as u32).filter(|&r| (low..=high).contains(&value(r))).collect();
        let expected: Vec<f32> = naive.iter().flat_map(|&r| common::vectors(r..r + 1)).collect();
        prop_assert!(found == expected);
        prop_assert_eq!(tokens, naive.iter().map(|r| r % 7).collect::<Vec<_>>());
    }

    #[test]
    fn taken_ranges_are_slices(
        parts in prop::collection::vec(1u32..400, 1..4),
        ranges in prop::collection::vec(span(1200), 0..20),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let total = u64::from(parts.iter().sum::<u32>());
        let table = dataset(folder.path(), &parts).table(schema::ACTIVATIONS).unwrap();
        let ranges: Vec<Range<u64>> = ranges.iter().map(|r| r.start.min(total)..r.end.min(total)).collect();
        let taken = table.take(&ranges, &["activation", "token"]).unwrap();
        prop_assert_eq!(taken.len(), ranges.len());
        for (batch, range) in taken.iter().zip(&ranges) {
            let mut values = Vec::new();
            vector::fixed_size_rows(batch, "activation", &mut values).unwrap();
            prop_assert!(values == common::vectors(range.start as u32..range.end as u32));
            prop_assert_eq!(batch.num_columns(), 2);
        }
    }
}

/// Feature f fires on 37 tokens, except every tenth feature, which is dead.
fn sorted_rows(features: u32) -> Vec<ActivationRow> {
    (0..features)
        .filter(|feature| feature % 10 != 3)
        .flat_map(|feature| {
            (0..37).map(move |i| ActivationRow {
                feature,
                document: i * 5 + feature % 5,
                position: (feature * 31 + i * 17) % 256,
                value: 0.1 + ((feature * 7919 + i * 104_729) % 1000) as f32 / 100.0,
            })
        })
        .collect()
}

#[test]
fn one_feature_reads_a_few_per_cent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("activations-00000.parquet");
    let rows = sorted_rows(10_000);
    let mut writer = ActivationWriter::create(&path).unwrap();
    writer.append(&rows).unwrap();
    let part = writer.finish().unwrap();
    let table = storage::row::open::<ActivationRow>(&path).unwrap();
    let footer = table.bytes_read();
    for feature in [0, 1, 3, 4_999, 9_999, 20_000] {
        let before = table.bytes_read();
        let naive: Vec<_> = rows.iter().copied().filter(|row| row.feature == feature).collect();
        assert_eq!(read(&table, feature).unwrap(), naive);
        let bytes = table.bytes_read() - before;
        assert!(bytes * 50 < part.bytes, "{bytes} of {} bytes for feature {feature}", part.bytes);
    }
    assert!(footer * 10 < part.bytes, "{footer} bytes of footer and index in {}", part.bytes);
    let first = rows.iter().position(|row| row.feature == 777).unwrap() as u64;
    assert_eq!(read_rows(&table, first..first + 37).unwrap(), read(&table, 777).unwrap());
}

#[test]
fn unsorted_feature_activations_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut writer = ActivationWriter::create(&folder.path().join("a.parquet")).unwrap();
    let mut rows = sorted_rows(2);
    rows.swap(3, 4);
    let error = writer.append(&rows).unwrap_err();
    assert!(error.to_string().contains("feature"), "{error}");
}

#[test]
fn one_reader_serves_many_threads() {
    let folder = tempfile::tempdir().unwrap();
    let table = dataset(folder.path(), &[500, 500]).table(schema::ACTIVATIONS).unwrap();
    std::thread::scope(|scope| {
        for offset in 0..4u32 {
            let table = table.clone();
            scope.spawn(move || {
                for start in (offset * 50..900).step_by(111) {
                    let batch =
                        &table.take(&[u64::from(start)..u64::from(start) + 90], &["activation"]).unwrap()[0];
                    let mut values = Vec::new();
                    vector::fixed_size_rows(batch, "activation", &mut values).unwrap();
                    assert!(values == common::vectors(start..start + 90));
                }
            });
        }
    });
}

/// A routing table that was written before layers could have more than 65,536 experts: its numbers of experts have 16 bits. The values
/// are those that pyarrow reads.
#[test]
fn numbers_of_16_bits_are_read_where_there_are_32_now() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/routing-of-16-bits.parquet");
    let table = storage::row::open::<RoutingRow>(&path).unwrap();
    let rows: Vec<RoutingRow> = storage::row::read(&table, Scan::default()).unwrap();
    assert_eq!(rows.len(), 60);
    let first: Vec<&[u32]> = rows[..5].iter().map(|row| row.experts.as_slice()).collect();
    assert_eq!(first, [[15, 3], [14, 4], [11, 4], [12, 6], [5, 0]]);
    assert_eq!((rows[4].layer, rows[4].token, rows[4].weights[0]), (0, 3225, 0.499_867_9));
    // The same by ranges, with the type that the table declares.
    let taken = table.take(&[4..5, 0..2], &["experts", "layer"]).unwrap();
    assert_eq!(
        taken[0].schema().field(0).data_type(),
        table.schema().field_with_name("experts").unwrap().data_type()
    );
    let choices = storage::routing::Choices::of(&table.take(&[3..5], &storage::routing::COLUMNS).unwrap()[0])
        .map(|choices| choices.len());
    assert_eq!(choices.unwrap(), 2);
}

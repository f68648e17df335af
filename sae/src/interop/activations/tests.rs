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

#[test]
fn arrays_of_every_type_and_order() {
    let desk = Desk::new();
    let values = counted(300, 5);
    let turned: Vec<f32> = (0..1500).map(|i| values[i % 300 * 5 + i / 300]).collect();
    for (fortran, numbers) in [(false, &values), (true, &turned)] {
        let bytes: [(&str, Vec<u8>, Dtype); 3] = [
            ("<f2", numbers.iter().flat_map(|x| f16::from_f32(*x).to_le_bytes()).collect(), Dtype::F16),
            ("<f4", numbers.iter().flat_map(|x| x.to_le_bytes()).collect(), Dtype::F32),
            ("<f8", numbers.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect(), Dtype::F32),
        ];
        for (descr, bytes, dtype) in bytes {
            desk.npy("a.npy", descr, fortran, "(300, 5)", bytes);
            let (dataset, read) = desk.import(&desk.config(&["a.npy"]));
            assert_eq!(read.values, values, "{descr} {fortran}");
            assert_eq!((dataset.manifest().dtype, dataset.manifest().rows_are), (dtype, RowsAre::Rows));
            assert!(read.tokens.is_empty() && !dataset.has_table(VOCABULARY));
            // 300 rows make 100 documents of 3.
            assert_eq!((read.documents[299], read.positions[299]), (99, 2));
            let rows = documents::read(&dataset.table(DOCUMENTS).unwrap()).unwrap();
            assert!(rows.iter().any(|d| d.held_out) && !rows.iter().all(|d| d.held_out));
        }
    }
}

#[test]
fn sequences_of_an_array_and_their_tokens() {
    let desk = Desk::new();
    let bytes = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
    let values = counted(24, 2);
    desk.npy("a.npy", "<f4", false, "(2, 4, 2)", bytes(&values[..16]));
    desk.npy("b.npy", "<f4", false, "(4, 4, 2)", bytes(&values[16..]));
    desk.npy("ids.npy", "<i8", false, "(6, 4)", (0..24i64).flat_map(|t| (100 + t).to_le_bytes()).collect());
    let config = ImportConfig {
        tokens: Some(desk.path("ids.npy").display().to_string()),
        hook: Some("blocks.3.hook_mlp_out".into()),
        ..desk.config(&["a.npy", "b.npy"])
    };
    let (dataset, read) = desk.import(&config);
    assert_eq!(read.values, values);
    assert_eq!(read.tokens, (100..124).collect::<Vec<u32>>());
    assert_eq!(read.documents, (0..24).map(|row| row / 4).collect::<Vec<u32>>());
    assert_eq!(read.positions, (0..24).map(|row| row % 4).collect::<Vec<u32>>());
    let manifest = dataset.manifest();
    assert_eq!((manifest.context_length, manifest.rows_are), (4, RowsAre::Tokens));
    assert_eq!(manifest.hook.as_deref(), Some("blocks.3.hook_mlp_out"));
    let cut = ImportConfig { rows: Some(9), ..config };
    let (_, read) = desk.import(&cut);
    assert_eq!((read.values.len(), read.tokens.len(), read.documents[8]), (18, 9, 2));
}

#[test]
fn tensors_next_to_each_other() {
    let desk = Desk::new();
    let values = counted(6, 3);
    let brain: Vec<u8> = values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
    let small: Vec<u8> = [1i16, 2, 3, 4, 5, 6].iter().flat_map(|x| x.to_le_bytes()).collect();
    let groups: Vec<u8> = [7u32, 7, 2, 2, 2, 9].iter().flat_map(|x| x.to_le_bytes()).collect();
    let other = vec![0; 4 * 18];
    let view = |dtype, shape: &[usize], bytes| TensorView::new(dtype, shape.to_vec(), bytes).unwrap();
    let write = |name: &str, activations: &str| {
        let tensors = [
            (activations, view(Stored::BF16, &[6, 3], &brain)),
            ("token_ids", view(Stored::I16, &[6], &small)),
            ("doc_id", view(Stored::U32, &[6], &groups)),
            ("other", view(Stored::F32, &[6, 3], &other)),
        ];
        fs::write(desk.path(name), safetensors::serialize(tensors, None).unwrap()).unwrap();
    };
    write("a.safetensors", "activations");
    let (dataset, read) = desk.import(&desk.config(&["a.safetensors"]));
    assert_eq!((read.values, dataset.manifest().dtype), (values.clone(), Dtype::F32));
    assert_eq!((read.tokens, read.documents), (vec![1, 2, 3, 4, 5, 6], vec![0, 0, 1, 1, 1, 2]));
    let named = documents::read(&dataset.table(DOCUMENTS).unwrap()).unwrap();
    assert_eq!(named.iter().map(|d| d.name.as_str()).collect::<Vec<_>>(), ["7", "2", "9"]);

    write("b.safetensors", "x");
    let error = desk.refused(&desk.config(&["b.safetensors"]));
    assert!(
        error.contains("b.safetensors: has 2 tensors")
            && error.contains("other, x")
            && error.contains("--column"),
        "{error}"
    );
    let chosen = ImportConfig {
        column: Some("x".into()),
        tokens: Some("none".into()),
        ..desk.config(&["b.safetensors"])
    };
    let (dataset, read) = desk.import(&chosen);
    assert_eq!((read.values, dataset.manifest().rows_are), (values, RowsAre::Rows));
    let error = desk.refused(&ImportConfig { column: Some("y".into()), ..chosen.clone() });
    assert!(error.contains("has no `y`"), "{error}");
    let error = desk.refused(&ImportConfig { tokens: Some("other".into()), ..chosen });
    assert!(
        error.contains("tensor `other`") && error.contains("one integer for each of the 6 rows"),
        "{error}"
    );
}

#[test]
fn tables_of_lists_and_of_dimensions() {
    let desk = Desk::new();
    let values = counted(50, 4);
    let half: ArrayRef = Arc::new(Float16Array::from_iter_values(values.iter().map(|x| f16::from_f32(*x))));
    let double: ArrayRef = Arc::new(Float64Array::from_iter_values(values.iter().map(|x| f64::from(*x))));
    let positions: ArrayRef = Arc::new(Int32Array::from_iter_values((0..50).map(|row| row % 10 + 1)));
    let texts: ArrayRef =
        Arc::new(StringArray::from_iter_values((0..50).map(|row| format!("text {}", row / 10))));
    let tokens: ArrayRef = Arc::new(Int64Array::from_iter_values((0..50).map(|row| 1000 + row)));
    let kinds = [lists(half.clone(), 4), large_lists(floats(&values), 4), fixed_lists(double, 4)];
    for column in kinds {
        let columns = vec![
            ("acts", column),
            ("pos", positions.clone()),
            ("sample_id", texts.clone()),
            ("token_id", tokens.clone()),
        ];
        desk.parquet("a.parquet", columns.clone());
        desk.arrow(
            "a.arrow",
            &[
                RecordBatch::try_from_iter(columns.clone()).unwrap(),
                RecordBatch::try_from_iter(columns).unwrap().slice(0, 0),
            ],
        );
        for name in ["a.parquet", "a.arrow"] {
            let (dataset, read) = desk.import(&desk.config(&[name]));
            assert_eq!(read.values, values);
            assert_eq!(read.tokens, (1000..1050).collect::<Vec<u32>>());
            assert_eq!((read.documents[49], read.positions[0], read.positions[49]), (4, 1, 10));
            let named = documents::read(&dataset.table(DOCUMENTS).unwrap()).unwrap();
            assert_eq!((named[3].name.as_str(), named[3].first_row, named[3].tokens), ("text 3", 30, 10));
        }
    }
    // Two files, each column a dimension, in the order of their numbers and not of the alphabet.
    let wide = counted(20, 12);
    let column = |c: usize| floats(&wide.iter().skip(c).step_by(12).copied().collect::<Vec<_>>());
    let names: Vec<String> = (0..12).map(|c| format!("dim_{c}")).collect();
    let mut columns: Vec<(&str, ArrayRef)> =
        names.iter().enumerate().map(|(c, name)| (name.as_str(), column(c))).collect();
    columns.sort_by_key(|(name, _)| *name);
    columns.push(("loss1", floats(&[0.0; 20])));
    desk.parquet("s0.parquet", columns.clone());
    desk.parquet("s1.parquet", columns.clone());
    let (_, read) = desk.import(&desk.config(&["s0.parquet", "s1.parquet"]));
    assert_eq!(read.values, [wide.clone(), wide].concat());
    columns.retain(|(name, _)| *name != "dim_7");
    desk.parquet("hole.parquet", columns);
    let error = desk.refused(&desk.config(&["hole.parquet"]));
    assert!(error.contains("no column `dim_7`"), "{error}");
}

/// As SAELens caches them: two shards of a dataset, a row a sequence.
#[test]
fn cached_folders_of_sequences() {
    let desk = Desk::new();
    let values = counted(40, 3);
    for (shard, numbers) in values.chunks(60).enumerate() {
        let folder = format!("cached/shard_{}", 9 + shard);
        fs::create_dir_all(desk.path(&folder)).unwrap();
        let ids: ArrayRef = Arc::new(Int32Array::from_iter_values((0..20).map(|i| (shard * 20 + i) as i32)));
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("blocks.2.hook_resid_pre", lists(lists(floats(numbers), 3), 5)),
            ("token_ids", lists(ids, 5)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let file = format!("{folder}/data-00000-of-00001.arrow");
        desk.arrow(&file, &[batch.slice(0, 1), batch.slice(1, 3)]);
        let state = r#"{"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": null}"#;
        fs::write(desk.path(&format!("{folder}/state.json")), state).unwrap();
    }
    let (dataset, read) = desk.import(&desk.config(&["cached"]));
    assert_eq!(read.values, values);
    assert_eq!(read.tokens, (0..40).collect::<Vec<u32>>());
    assert_eq!((read.documents[39], read.positions[39]), (7, 4));
    assert_eq!(dataset.manifest().hook.as_deref(), Some("blocks.2.hook_resid_pre"));
    assert_eq!(dataset.manifest().context_length, 5);
    let plan = plan(&desk.config(&["cached"])).unwrap();
    assert_eq!((plan.files.len(), plan.documents.as_str(), plan.tokens), (2, "sequences of 5 rows", true));
    assert_eq!(plan.reads, "column `blocks.2.hook_resid_pre`, sequences of 3 numbers per token, float32");
    let state = r#"{"_data_files": [{"filename": "../data-00000-of-00001.arrow"}]}"#;
    fs::write(desk.path("cached/shard_9/state.json"), state).unwrap();
    assert!(desk.refused(&desk.config(&["cached"])).contains("expected a file next to it"));
}

#[test]
fn bad_numbers_are_named_with_their_place() {
    let desk = Desk::new();
    let mut values = counted(400, 5);
    values[5 * 321 + 2] = f32::NAN;
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    desk.npy("a.npy", "<f4", false, "(400, 5)", bytes.clone());
    let error = desk.refused(&desk.config(&["a.npy"]));
    assert!(error.contains("a.npy: row 321: number 2 is NaN"), "{error}");
    desk.npy("b.npy", "<f4", false, "(100, 4, 5)", bytes);
    let error = desk.refused(&desk.config(&["b.npy"]));
    assert!(error.contains("b.npy: sequence 80, position 1: number 2 is NaN"), "{error}");
    desk.parquet("a.parquet", vec![("acts", lists(floats(&values), 5))]);
    let error = desk.refused(&desk.config(&["a.parquet"]));
    assert!(error.contains("a.parquet: row 321: number 2 is NaN"), "{error}");
    values[5 * 321 + 2] = 70_000.0;
    desk.npy("c.npy", "<f4", false, "(400, 5)", values.iter().flat_map(|x| x.to_le_bytes()).collect());
    assert_eq!(desk.import(&desk.config(&["c.npy"])).1.values, values);
}

/// What was imported as f16 before stays, and the dataset is one of f32; so too where the import stopped in
/// between.
#[test]
fn a_number_too_large_for_f16_makes_an_import_f32() {
    let desk = Desk::new();
    let mut values = counted(800, 5);
    values[5 * 621 + 2] = 70_000.0;
    let bytes = |some: &[f32]| some.iter().flat_map(|x| x.to_le_bytes()).collect();
    desk.npy("a.npy", "<f4", false, "(400, 5)", bytes(&values[..2000]));
    desk.npy("b.npy", "<f4", false, "(400, 5)", bytes(&values[2000..]));
    let config =
        |names: &[&str]| ImportConfig { dtype: Some(Dtype::F16), rows_per_part: 100, ..desk.config(names) };
    let (dataset, read_at_once) = desk.import(&config(&["a.npy", "b.npy"]));
    assert_eq!((dataset.manifest().dtype, &read_at_once.values), (Dtype::F32, &values));
    assert_eq!(desk.import(&config(&["a.npy"])).0.manifest().dtype, Dtype::F16);
    for stop in [1, 2] {
        let (out, mut progress) = (desk.path(&format!("stopped-{stop}")), StopAfter::new(stop));
        assert!(run(&config(&["a.npy", "b.npy"]), &out, &mut progress).is_err());
        assert_eq!(progress.remarks.iter().any(|remark| remark.contains("too large for f16")), stop == 2);
        run(&config(&["a.npy", "b.npy"]), &out, &mut Quiet).unwrap();
        let (dataset, parts) = read(&out);
        assert_eq!((dataset.manifest().dtype, parts), (Dtype::F32, read_at_once.clone()));
    }
    // A number that no type holds is refused as such.
    values[5 * 622] = f32::INFINITY;
    desk.npy("b.npy", "<f4", false, "(400, 5)", bytes(&values[2000..]));
    let error = desk.refused(&config(&["a.npy", "b.npy"]));
    assert!(error.contains("b.npy: row 222: number 0 is inf"), "{error}");
}

#[test]
fn shapes_and_types_that_do_not_fit_are_named() {
    let desk = Desk::new();
    let bytes = |n: usize| vec![0u8; 4 * n];
    desk.npy("one.npy", "<f4", false, "(12,)", bytes(12));
    desk.npy("ints.npy", "<i4", false, "(6, 2)", bytes(12));
    desk.npy("long.npy", "<f4", false, "(6, 2)", bytes(13));
    desk.npy("big.npy", ">f4", false, "(6, 2)", bytes(12));
    desk.npy("none.npy", "<f4", false, "(0, 2)", bytes(0));
    desk.npy("wide.npy", "<f4", false, "(4, 3)", bytes(12));
    desk.npy("good.npy", "<f4", false, "(6, 2)", bytes(12));
    desk.npy("cube.npy", "<f4", true, "(2, 3, 2)", bytes(12));
    fs::write(desk.path("x.pt"), "").unwrap();
    fs::write(desk.path("x.npz"), "").unwrap();
    let ragged = ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(vec![
        Some(vec![Some(1.0), Some(2.0)]),
        Some(vec![Some(1.0)]),
    ]);
    desk.parquet("ragged.parquet", vec![("acts", Arc::new(ragged) as ArrayRef)]);
    let holes = ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(vec![
        Some(vec![Some(1.0), Some(2.0)]),
        None,
    ]);
    desk.parquet("holes.parquet", vec![("acts", Arc::new(holes) as ArrayRef)]);
    let nothing = ListArray::from_iter_primitive::<arrow::datatypes::Float32Type, _, _>(vec![Some(vec![
        Some(1.0),
        None,
    ])]);
    desk.parquet("nothing.parquet", vec![("acts", Arc::new(nothing) as ArrayRef)]);
    desk.parquet("two.parquet", vec![("a", lists(floats(&[1.0; 4]), 2)), ("b", lists(floats(&[1.0; 4]), 2))]);
    desk.parquet("text.parquet", vec![("text", Arc::new(StringArray::from(vec!["a"])) as ArrayRef)]);
    let negative: ArrayRef = Arc::new(Int64Array::from(vec![3, -1]));
    desk.parquet("negative.parquet", vec![("acts", lists(floats(&[1.0; 4]), 2)), ("token", negative)]);
    let cases: [(&[&str], &str); 16] = [
        (&["one.npy"], "has shape [12]; expected [rows, d]"),
        (&["ints.npy"], "ints.npy: holds integers"),
        (&["long.npy"], "has 52 bytes of numbers"),
        (&["big.npy"], "the byte order is turned around"),
        (&["none.npy"], "there are no numbers"),
        (&["good.npy", "wide.npy"], "wide.npy: has shape [4, 3], the first file [6, 2]"),
        (&["cube.npy"], "ascontiguousarray"),
        (&["x.pt"], "save_file"),
        (&["x.npz"], "numpy.save"),
        (&["ragged.parquet"], "ragged.parquet: row 1, column `acts`: has 1 numbers; the rows before have 2"),
        (&["holes.parquet"], "row 1, column `acts`: is null"),
        (&["nothing.parquet"], "row 0, column `acts`: number 1 is null"),
        (&["two.parquet"], "several columns of vectors: a, b"),
        (&["text.parquet"], "has no column of vectors"),
        (&["negative.parquet"], "row 1: -1 is not the number of a token"),
        (&["good.npy", "two.parquet"], "of different kinds"),
    ];
    for (files, expected) in cases {
        let error = desk.refused(&desk.config(files));
        assert!(error.contains(expected), "{files:?}: {error}");
    }
    assert!(desk.refused(&desk.config(&["nowhere.npy"])).contains("does not exist"));
    let tokenizer = ImportConfig { tokenizer: Some("x".into()), ..desk.config(&["good.npy"]) };
    assert!(!desk.refused(&tokenizer).is_empty());
}

#[test]
fn an_interrupted_import_continues() {
    let desk = Desk::new();
    let values = counted(150_000, 40);
    let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    desk.npy("a.npy", "<f4", false, "(150000, 40)", bytes);
    let config = ImportConfig { rows_per_part: 60_000, ..desk.config(&["a.npy"]) };
    let whole = desk.import(&config).1;
    let out = desk.path("parts");
    for chunks in [1, 2] {
        let stopped: Result<_> = run(&config, &out, &mut StopAfter::new(chunks));
        assert!(matches!(stopped, Err(Error::Stopped(_))));
        assert!(Dataset::open(&out).is_err());
    }
    let other = ImportConfig { seed: 9, ..config.clone() };
    assert!(run(&other, &out, &mut Quiet).is_err(), "other settings do not continue");
    run(&config, &out, &mut Quiet).unwrap();
    let (dataset, parts) = read(&out);
    assert!(whole == parts && whole.values == values);
    assert!(dataset.manifest().tables[ACTIVATIONS].parts.len() > 2);
    assert!(run(&config, &out, &mut Quiet).is_err(), "a finished dataset is not written again");
}

#[test]
fn u32s_are_numbers_too() {
    let desk = Desk::new();
    let numbers: ArrayRef = Arc::new(UInt32Array::from(vec![u32::MAX, 0]));
    assert_eq!(numbers.data_type(), &DataType::UInt32);
    desk.parquet("a.parquet", vec![("acts", lists(floats(&[1.0; 4]), 2)), ("token", numbers)]);
    assert_eq!(desk.import(&desk.config(&["a.parquet"])).1.tokens, [u32::MAX, 0]);
}

#[test]
fn parquet_in_every_compression() {
    let desk = Desk::new();
    let values = counted(500, 6);
    let columns = || vec![("acts", lists(floats(&values), 6)), ("doc", floats_as_numbers(500))];
    let batch = RecordBatch::try_from_iter(columns()).unwrap();
    for compression in [
        Compression::UNCOMPRESSED,
        Compression::SNAPPY,
        Compression::GZIP(GzipLevel::default()),
        Compression::BROTLI(BrotliLevel::default()),
        Compression::LZ4,
        Compression::LZ4_RAW,
        Compression::ZSTD(ZstdLevel::default()),
    ] {
        let properties = WriterProperties::builder().set_compression(compression).build();
        let file = File::create(desk.path("a.parquet")).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        let (_, read) = desk.import(&desk.config(&["a.parquet"]));
        assert_eq!((read.values == values, read.documents[499]), (true, 49), "{compression}");
    }
}

/// Row / 10.
fn floats_as_numbers(rows: i32) -> ArrayRef {
    Arc::new(Int32Array::from_iter_values((0..rows).map(|row| row / 10)))
}

#[test]
fn arrow_streams_and_files_compressed_or_not() {
    let desk = Desk::new();
    let values = counted(500, 6);
    let columns = vec![("acts", lists(floats(&values), 6)), ("doc", floats_as_numbers(500))];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
        let options = || IpcWriteOptions::default().try_with_compression(compression).unwrap();
        let stream = File::create(desk.path("stream.arrow")).unwrap();
        let mut writer = StreamWriter::try_new_with_options(stream, &batch.schema(), options()).unwrap();
        writer.write(&batch.slice(0, 200)).unwrap();
        writer.write(&batch.slice(200, 300)).unwrap();
        writer.finish().unwrap();
        let file = File::create(desk.path("file.feather")).unwrap();
        let mut writer = FileWriter::try_new_with_options(file, &batch.schema(), options()).unwrap();
        writer.write(&batch.slice(0, 200)).unwrap();
        writer.write(&batch.slice(200, 300)).unwrap();
        writer.finish().unwrap();
        for name in ["stream.arrow", "file.feather"] {
            let (_, read) = desk.import(&desk.config(&[name]));
            assert_eq!((read.values == values, read.documents[499]), (true, 49), "{name} {compression:?}");
        }
    }
    let whole = fs::read(desk.path("file.feather")).unwrap();
    fs::write(desk.path("cut.arrow"), &whole[..whole.len() / 2]).unwrap();
    assert!(desk.refused(&desk.config(&["cut.arrow"])).contains("is a damaged Arrow file: it has no footer"));
    fs::write(desk.path("old.feather"), b"FEA1\0\0\0\0FEA1").unwrap();
    assert!(desk.refused(&desk.config(&["old.feather"])).contains("Feather file of version 1"));
    fs::write(desk.path("text.parquet"), "no table at all").unwrap();
    assert!(desk.refused(&desk.config(&["text.parquet"])).ends_with("text.parquet: is not a Parquet file"));
}

#[test]
fn tensors_of_fixed_shape_are_vectors_or_sequences() {
    let desk = Desk::new();
    let values = counted(24, 3);
    let table = |name: &str, width: i32, metadata: &str| {
        let element = Arc::new(Field::new("item", DataType::Float32, true));
        let data_type = DataType::FixedSizeList(element.clone(), width);
        let metadata = [
            ("ARROW:extension:name".to_owned(), "arrow.fixed_shape_tensor".to_owned()),
            ("ARROW:extension:metadata".to_owned(), metadata.to_owned()),
        ];
        let field = Field::new("acts", data_type, true).with_metadata(metadata);
        let column = FixedSizeListArray::new(element, width, floats(&values), None);
        let batch = RecordBatch::try_new(Arc::new(Schema::new(vec![field])), vec![Arc::new(column)]).unwrap();
        if name.ends_with("arrow") {
            return desk.arrow(name, &[batch.slice(0, 2), batch.slice(2, batch.num_rows() - 2)]);
        }
        let mut writer =
            ArrowWriter::try_new(File::create(desk.path(name)).unwrap(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    };
    for name in ["a.arrow", "a.parquet"] {
        table(name, 3, r#"{"shape": [3]}"#);
        let (dataset, read) = desk.import(&desk.config(&[name]));
        assert_eq!((read.values.clone(), dataset.manifest().context_length), (values.clone(), 0), "{name}");
        table(name, 12, r#"{"shape": [4, 3], "dim_names": ["token", "d"], "permutation": [0, 1]}"#);
        let (dataset, read) = desk.import(&desk.config(&[name]));
        assert_eq!((read.values, dataset.manifest().context_length), (values.clone(), 4), "{name}");
        assert_eq!((read.documents[23], read.positions[23]), (5, 3));
        for (metadata, expected) in [
            (r#"{"shape": [4, 3], "permutation": [1, 0]}"#, "stored in another order"),
            (r#"{"shape": [2, 2, 3]}"#, "expected [d] or [tokens, d]"),
            (r#"{"shape": [5, 3]}"#, "has 12 numbers; its shape is [5, 3]"),
            ("{}", "a tensor without a shape"),
        ] {
            table(name, 12, metadata);
            let error = desk.refused(&desk.config(&[name]));
            assert!(error.contains(expected), "{name}: {error}");
        }
    }
}

/// Which of 3 × 4 rows are real: padded right, left, and one sequence whole.
const REAL: [bool; 12] = [true, true, false, false, false, true, true, true, true, true, true, true];

#[test]
fn padding_is_left_out_by_the_mask_that_comes_with_the_rows() {
    let desk = Desk::new();
    let values = counted(12, 2);
    let real: Vec<u32> = (0..12u32).filter(|row| REAL[*row as usize]).collect();
    let expected = Read {
        documents: vec![0, 0, 1, 1, 1, 2, 2, 2, 2],
        positions: vec![0, 1, 0, 1, 2, 0, 1, 2, 3],
        tokens: real.iter().map(|row| 100 + row).collect(),
        values: real.iter().flat_map(|row| values[*row as usize * 2..][..2].to_vec()).collect(),
    };
    let raw = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|x| x.to_le_bytes()).collect() };
    let ids: Vec<u8> = (100..112i64).flat_map(i64::to_le_bytes).collect();
    let mask: Vec<u8> = REAL.iter().map(|real| u8::from(*real)).collect();

    let floats_raw = raw(&values);
    let tensors = [
        ("hidden_states", TensorView::new(Stored::F32, vec![3, 4, 2], &floats_raw).unwrap()),
        ("input_ids", TensorView::new(Stored::I64, vec![3, 4], &ids).unwrap()),
        ("attention_mask", TensorView::new(Stored::BOOL, vec![3, 4], &mask).unwrap()),
    ];
    fs::write(desk.path("a.safetensors"), safetensors::serialize(tensors, None).unwrap()).unwrap();
    let tokens: ArrayRef = Arc::new(Int64Array::from_iter_values(100..112));
    let columns = |mask: ArrayRef| {
        vec![
            ("hidden_states", lists(lists(floats(&values), 2), 4)),
            ("input_ids", lists(tokens.clone(), 4)),
            ("attention_mask", lists(mask, 4)),
        ]
    };
    desk.parquet(
        "a.parquet",
        columns(Arc::new(Int64Array::from_iter_values(REAL.iter().map(|r| i64::from(*r))))),
    );
    desk.arrow(
        "a.arrow",
        &[RecordBatch::try_from_iter(columns(Arc::new(BooleanArray::from(REAL.to_vec())))).unwrap()],
    );
    desk.npy("a.npy", "<f4", false, "(3, 4, 2)", raw(&values));
    desk.npy("ids.npy", "<i8", false, "(3, 4)", ids.clone());
    desk.npy("mask.npy", "|b1", false, "(3, 4)", mask.clone());
    for name in ["a.safetensors", "a.parquet", "a.arrow", "a.npy"] {
        let mut config = desk.config(&[name]);
        if name == "a.npy" {
            let file = |name: &str| Some(desk.path(name).display().to_string());
            (config.tokens, config.mask) = (file("ids.npy"), file("mask.npy"));
        }
        assert_eq!(desk.import(&config).1, expected, "{name}");
        let plan = plan(&config).unwrap();
        assert!(plan.rows.is_none() && plan.notes[0].contains("are padding"), "{name}: {plan:?}");
        let all = ImportConfig { mask: Some("none".into()), ..config };
        assert_eq!(desk.import(&all).1.values, values, "{name}");
    }
    // Rows of no sequence keep their numbers in messages.
    let mut bad = values.clone();
    bad[2 * 9 + 1] = f32::INFINITY;
    let flat: ArrayRef = Arc::new(BooleanArray::from(REAL.to_vec()));
    desk.parquet("flat.parquet", vec![("acts", lists(floats(&bad), 2)), ("attention_mask", flat)]);
    let error = desk.refused(&desk.config(&["flat.parquet"]));
    assert!(error.contains("flat.parquet: row 9: number 1 is inf"), "{error}");
    let none: ArrayRef = Arc::new(BooleanArray::from(vec![false; 12]));
    desk.parquet("none.parquet", vec![("acts", lists(floats(&values), 2)), ("attention_mask", none)]);
    assert!(desk.refused(&desk.config(&["none.parquet"])).contains("every row is padding"));
}

/// As `DatasetDict.save_to_disk` leaves it, and as the Hub's converter names files: splits that are held out,
/// and nothing else is.
#[test]
fn splits_of_a_data_set_say_what_is_held_out() {
    let desk = Desk::new();
    let table = |sign: f32, sequences: usize| {
        let values: Vec<f32> = (0..sequences * 8).map(|i| sign * (1.0 + i as f32)).collect();
        RecordBatch::try_from_iter([("acts", lists(lists(floats(&values), 2), 4))]).unwrap()
    };
    for (split, sign, sequences) in [("train", 1.0, 30), ("test", -1.0, 10)] {
        fs::create_dir_all(desk.path(&format!("saved/{split}"))).unwrap();
        desk.arrow(&format!("saved/{split}/data-00000-of-00001.arrow"), &[table(sign, sequences)]);
        let state = r#"{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}"#;
        fs::write(desk.path(&format!("saved/{split}/state.json")), state).unwrap();
        fs::create_dir_all(desk.path("hub")).unwrap();
        let columns = vec![("acts", table(sign, sequences).column(0).clone())];
        desk.parquet(&format!("hub/{split}-00000-of-00001.parquet"), columns);
    }
    fs::write(desk.path("saved/dataset_dict.json"), r#"{"splits": ["train", "test"]}"#).unwrap();
    for folder in ["saved", "hub"] {
        let (dataset, read) = desk.import(&desk.config(&[folder]));
        let documents = documents::read(&dataset.table(DOCUMENTS).unwrap()).unwrap();
        assert_eq!(documents.len(), 40);
        for (row, document) in read.documents.iter().enumerate() {
            let held_out = documents[*document as usize].held_out;
            assert_eq!(held_out, read.values[2 * row] < 0.0, "{folder}: row {row}");
        }
        assert!(plan(&desk.config(&[folder])).unwrap().notes[0].contains("held out are the splits test"));
    }
    // A split alone is what somebody wants to train on.
    let (dataset, _) = desk.import(&desk.config(&["saved/test"]));
    assert!(documents::read(&dataset.table(DOCUMENTS).unwrap()).unwrap().iter().any(|d| !d.held_out));
    fs::write(desk.path("saved/dataset_dict.json"), r#"{"splits": ["train", "../hub"]}"#).unwrap();
    assert!(desk.refused(&desk.config(&["saved"])).contains("names the split `../hub`"));
}

#[test]
fn two_bytes_without_a_type_are_bfloat16_with_a_note() {
    let desk = Desk::new();
    let values = counted(200, 3);
    let bytes: Vec<u8> = values.iter().flat_map(|x| bf16::from_f32(*x).to_le_bytes()).collect();
    for descr in ["|V2", "<V2"] {
        desk.npy("a.npy", descr, false, "(200, 3)", bytes.clone());
        let (dataset, read) = desk.import(&desk.config(&["a.npy"]));
        assert_eq!((read.values, dataset.manifest().dtype), (values.clone(), Dtype::F32));
        let notes = plan(&desk.config(&["a.npy"])).unwrap().notes;
        assert!(notes[0].contains("a.npy") && notes[0].contains("bfloat16"), "{notes:?}");
    }
}

//! Damaged and hostile files of activations and pictures: an import ends in success or an error, never in a panic and never in memory
//! that the file does not justify. See `hostile_models.rs`.
//!
//!     SAE_FUZZ_CASES=1000000 cargo test --test hostile_imports -- --nocapture

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

#[path = "../lm/tests/common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, FixedSizeListArray, Float32Array, Int32Array, ListArray, RecordBatch, StringArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::Field;
use common::{Subject, cases, hostile};
use sae::Quiet;
use sae::interop::activations::{ImportConfig, check};
use sae::interop::images::{self, ImagesConfig};

fn npy(descr: &str, fortran: &str, shape: &str, bytes: usize) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}");
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((header.len() as u16).to_le_bytes());
    file.extend(header.as_bytes());
    file.extend(std::iter::repeat_n(0x3C, bytes));
    file
}

fn safetensors() -> Vec<u8> {
    let json = r#"{"activations": {"dtype": "F16", "shape": [4, 2, 3], "data_offsets": [0, 48]},
        "token_ids": {"dtype": "I32", "shape": [4, 2], "data_offsets": [48, 80]}}"#;
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.extend([0; 80]);
    bytes
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

fn floats(n: usize) -> ArrayRef {
    Arc::new(Float32Array::from_iter_values((0..n).map(|i| i as f32 / 8.0)))
}

/// A column of lists with documents, sequences of fixed lists, one column a dimension.
fn tables() -> Vec<RecordBatch> {
    let ids = |n: i32| Arc::new(Int32Array::from_iter_values(0..n)) as ArrayRef;
    let texts: ArrayRef = Arc::new(StringArray::from_iter_values((0..12).map(|i| format!("text {}", i / 5))));
    let fixed: ArrayRef = {
        let values = floats(24);
        let field = Arc::new(Field::new("item", values.data_type().clone(), true));
        Arc::new(FixedSizeListArray::new(field, 2, values, None))
    };
    let of = |columns: Vec<(&str, ArrayRef)>| RecordBatch::try_from_iter(columns).unwrap();
    vec![
        of(vec![("acts", lists(floats(36), 3)), ("token", ids(12)), ("document", texts)]),
        of(vec![("blocks.0.hook_resid_pre", lists(fixed, 4)), ("token_ids", lists(ids(12), 4))]),
        of(vec![("dim_0", floats(12)), ("dim_1", floats(12)), ("dim_2", floats(12))]),
    ]
}

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = parquet::arrow::ArrowWriter::try_new(&mut bytes, batch.schema(), None).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn arrow(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = arrow::ipc::writer::StreamWriter::try_new(&mut bytes, &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

/// Memory is disk enough for files of a kilobyte.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn read(path: &PathBuf, bytes: &[u8]) -> bool {
    std::fs::write(path, bytes).unwrap();
    check(&ImportConfig { inputs: vec![path.clone()], ..ImportConfig::default() }, &mut Quiet).is_ok()
}

/// A picture that is not flat, of noise.
fn picture(format: image::ImageFormat) -> Vec<u8> {
    let pixels = image::RgbImage::from_fn(24, 20, |x, y| {
        image::Rgb([(x * 53 % 256) as u8, (y * 91 % 256) as u8, (x * y) as u8])
    });
    let mut bytes = std::io::Cursor::new(Vec::new());
    pixels.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// One test: memory is counted for the process.
#[test]
fn damaged_files_are_refused_or_read() {
    // Panics inside the decoders are errors; their messages would fill the screen. Those of this test are wanted.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.location().is_some_and(|place| place.file().contains("sae/tests")) {
            usual(panic);
        }
    }));
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let files = [
        npy("<f4", "False", "(6, 3)", 72),
        npy("<f2", "True", "(6, 3)", 36),
        npy("<f8", "False", "(2, 3, 2)", 96),
    ];
    // A chunk is at most 8 MB, and a file that small has less.
    let subject = Subject { name: "npy", whole: &files, header: 80, fixed: 64 << 10, each: 64 };
    hostile(&subject, cases(1500), |bytes| read(&at("a.npy"), &bytes));
    let subject =
        Subject { name: "safetensors", whole: &[safetensors()], header: 200, fixed: 64 << 10, each: 64 };
    hostile(&subject, cases(1500), |bytes| read(&at("a.safetensors"), &bytes));
    let tables = tables();
    let files: Vec<Vec<u8>> = tables.iter().map(arrow).collect();
    // Arrow's decoder reserves up to 64 MB for a length that it was told, and reads no more than there is.
    let subject = Subject { name: "arrow", whole: &files, header: 1200, fixed: 80 << 20, each: 64 };
    hostile(&subject, cases(1500), |bytes| read(&at("a.arrow"), &bytes));
    let files: Vec<Vec<u8>> = tables.iter().map(parquet).collect();
    let subject = Subject { name: "parquet", whole: &files, header: 1 << 20, fixed: 4 << 20, each: 2048 };
    hostile(&subject, cases(1500), |bytes| read(&at("a.parquet"), &bytes));

    for (name, format) in [("a.png", image::ImageFormat::Png), ("a.jpg", image::ImageFormat::Jpeg)] {
        // A byte of a picture may stand for a thousand of pixels; those are kept as three numbers, then as one.
        let subject =
            Subject { name, whole: &[picture(format)], header: 1 << 20, fixed: 8 << 20, each: 60_000 };
        let mut turn = 0u64;
        // Decoding and writing take a thousand times as long as refusing a header.
        hostile(&subject, cases(15_000) / 25, |bytes| {
            turn += 1;
            let (path, out) = (at(name), at(&format!("{name}-{turn}")));
            std::fs::write(&path, &bytes).unwrap();
            let config = ImagesConfig {
                inputs: vec![path],
                patch: 4,
                patches: 40,
                whiten: false,
                ..ImagesConfig::default()
            };
            let read = images::run(&config, &out, &mut Quiet).is_ok();
            let _ = std::fs::remove_dir_all(out);
            read
        });
    }
}

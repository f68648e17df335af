//! Damaged and hostile files of activations and pictures: an import ends in success or an error, never in a
//! panic and never in memory that the file does not justify. See `hostile_models.rs`.
//!
//!     SAE_FUZZ_CASES=1000000 cargo test --test hostile_imports -- --nocapture
//!     SAE_FUZZ_READER="parquet zstd" …        one reader alone: npy, safetensors, arrow, "arrow file", "arrow lz4", … a.png, a.jpg

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
use arrow::ipc::CompressionType;
use arrow::ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use common::{Subject, cases, hostile, only_own_panics};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
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

fn parquet(batch: &RecordBatch, compression: Compression) -> Vec<u8> {
    let mut bytes = Vec::new();
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn arrow(batch: &RecordBatch, compression: Option<CompressionType>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let options = IpcWriteOptions::default().try_with_compression(compression).unwrap();
    let mut writer = StreamWriter::try_new_with_options(&mut bytes, &batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
    drop(writer);
    bytes
}

/// Feather's second version.
fn feather(batch: &RecordBatch) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = FileWriter::try_new(&mut bytes, &batch.schema()).unwrap();
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
    only_own_panics();
    let folder = folder();
    let at = |name: &str| folder.path().join(name);
    let files = [
        npy("<f4", "False", "(6, 3)", 72),
        npy("<f2", "True", "(6, 3)", 36),
        npy("<f8", "False", "(2, 3, 2)", 96),
    ];
    let import = |name: &str, whole: &[Vec<u8>], header: usize, fixed: usize, each: usize| {
        let (reader, path) =
            (name.split(' ').next().unwrap_or(name), at(&format!("a.{name}").replace(' ', ".")));
        let path = path.with_extension(reader);
        let subject = Subject { name, whole, header, fixed, each };
        hostile(&subject, cases(1500), |bytes| read(&path, &bytes));
    };
    // A chunk is at most 8 MB, and a file that small has less.
    import("npy", &files, 80, 64 << 10, 64);
    import("safetensors", &[safetensors()], 200, 64 << 10, 64);
    let tables = tables();
    let plain: Vec<Vec<u8>> = tables.iter().map(|table| arrow(table, None)).collect();
    import("arrow", &plain, 1200, 1 << 20, 64);
    let files: Vec<Vec<u8>> = tables.iter().map(feather).collect();
    import("arrow file", &files, 1200, 1 << 20, 64);
    // A byte may stand for many where it is compressed: 255 of LZ4, 32,768 of zstd.
    let packed = |compression| -> Vec<Vec<u8>> {
        tables.iter().map(|table| arrow(table, Some(compression))).collect()
    };
    import("arrow lz4", &packed(CompressionType::LZ4_FRAME), 1200, 1 << 20, 1024);
    import("arrow zstd", &packed(CompressionType::ZSTD), 1200, 1 << 20, 100_000);
    let packed =
        |compression| -> Vec<Vec<u8>> { tables.iter().map(|table| parquet(table, compression)).collect() };
    import("parquet", &packed(Compression::UNCOMPRESSED), 1 << 20, 4 << 20, 2048);
    import("parquet snappy", &packed(Compression::SNAPPY), 1 << 20, 4 << 20, 4096);
    import("parquet gzip", &packed(Compression::GZIP(GzipLevel::default())), 1 << 20, 4 << 20, 8192);
    import("parquet lz4", &packed(Compression::LZ4_RAW), 1 << 20, 4 << 20, 4096);
    import("parquet zstd", &packed(Compression::ZSTD(ZstdLevel::default())), 1 << 20, 4 << 20, 100_000);
    import("parquet brotli", &packed(Compression::BROTLI(BrotliLevel::default())), 1 << 20, 4 << 20, 1 << 19);

    for (name, format) in [("a.png", image::ImageFormat::Png), ("a.jpg", image::ImageFormat::Jpeg)] {
        // A byte of a picture may stand for a thousand of pixels; those are kept as three numbers, then as
        // one.
        let subject =
            Subject { name, whole: &[picture(format)], header: 1 << 20, fixed: 8 << 20, each: 60_000 };
        let mut turn = 0u64;
        // Decoding and writing take longer than refusing a header.
        hostile(&subject, cases(600), |bytes| {
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

//! Measures how activation columns are best stored: byte-stream-split on or off, zstd levels, f16 and f32, on vectors as
//! models make them (low rank and noise, a few dimensions a hundred times larger than the rest).
//! `cargo run --release -p storage --example encodings [ROWS]`; the choice and its figures are at [`storage::Layout`].
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a tool that prints figures")]

use std::sync::Arc;
use std::time::Instant;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema};
use storage::{Dtype, Layout, PartWriter, Scan, TableReader, vector};

const RANK: usize = 24;

fn main() {
    let rows = std::env::args().nth(1).map_or(40_000, |rows| rows.parse().unwrap());
    println!(
        "  d  dtype split zstd  MB/1e6 values   of raw   write Mvalues/s   read Mvalues/s   take Mvalues/s"
    );
    for d in [128, 640] {
        let rows = rows * 128 / d;
        let values = activations(rows, d);
        for dtype in [Dtype::F16, Dtype::F32] {
            for split in [false, true] {
                for zstd_level in [0, 1, 3, 6] {
                    measure(&values, d, dtype, split, zstd_level);
                }
            }
        }
    }
}

fn measure(values: &[f32], d: usize, dtype: Dtype, split: bool, zstd_level: i32) {
    let (array, _) = vector::column_from_rows(values, d, dtype).unwrap();
    let array: ArrayRef = Arc::new(array);
    let schema = Arc::new(Schema::new(vec![Field::new("activation", array.data_type().clone(), false)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![array]).unwrap();
    let mut layout = Layout { zstd_level, ..Layout::activations() };
    if !split {
        layout.byte_stream_split.clear();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.parquet");
    let write = Instant::now();
    let mut part = PartWriter::create(&path, schema.clone(), &layout).unwrap();
    part.write(&batch).unwrap();
    let part = part.finish().unwrap();
    let write = write.elapsed().as_secs_f64();

    let table = TableReader::open_file(&path, &schema).unwrap();
    let mut flat = Vec::with_capacity(values.len());
    let read = Instant::now();
    for batch in table.scan(Scan::default()).unwrap() {
        vector::fixed_size_rows(&batch.unwrap(), "activation", &mut flat).unwrap();
    }
    let read = read.elapsed().as_secs_f64();
    assert_eq!(flat.len(), values.len());

    // A shuffled reader's question: scattered ranges of 1024 rows that do not start at a page.
    let ranges: Vec<_> = (0..table.rows() / 3000).map(|i| i * 3000 + 100..i * 3000 + 1124).collect();
    let take = Instant::now();
    let taken = table.take(&ranges, &["activation"]).unwrap();
    let take = take.elapsed().as_secs_f64();
    let taken: usize = taken.iter().map(|batch| batch.num_rows() * d).sum();

    let millions = values.len() as f64 / 1e6;
    let megabytes = part.bytes as f64 / 1e6 / millions;
    println!(
        "{d:>3}  {dtype:?}    {split:<5} {zstd_level}     {megabytes:.3}           {:>5.1} %   {:>8.0}          {:>8.0}         {:>8.0}",
        100.0 * megabytes / dtype.bytes() as f64,
        millions / write,
        millions / read,
        taken as f64 / 1e6 / take,
    );
}

/// `rows × d`: `RANK` directions with falling strength, noise, and three large dimensions.
fn activations(rows: usize, d: usize) -> Vec<f32> {
    let mut random = Random(42);
    let basis: Vec<f32> = (0..RANK * d).map(|_| random.normal()).collect();
    let mut values = Vec::with_capacity(rows * d);
    for _ in 0..rows {
        let codes: Vec<f32> = (0..RANK).map(|r| random.normal() / (1.0 + r as f32).sqrt()).collect();
        for i in 0..d {
            let low_rank: f32 = codes.iter().enumerate().map(|(r, code)| code * basis[r * d + i]).sum();
            let scale = if i % (d / 3) == 5 { 100.0 } else { 1.0 };
            values.push(scale * (0.3 * low_rank + 0.2 * random.normal()));
        }
    }
    values
}

/// Enough randomness for data: an LCG and the sum of four uniforms.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    }

    fn normal(&mut self) -> f32 {
        (0..4).map(|_| self.uniform()).sum::<f32>() * 1.732
    }
}

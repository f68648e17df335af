//! How fast and in how much memory a large routing table is summarised.
//!
//!     cargo run --release --example moe_scale -- make /tmp/moe            1,000,000 tokens × 48 layers × 8 of 128 experts
//!     cargo run --release --example moe_scale -- make /tmp/moe 10000 4 16 2
//!     cargo run --release --example moe_scale -- measure /tmp/moe         rows per second, peak memory
#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, ListArray, RecordBatch, UInt16Array, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use kernels::chance::{Generator, Purpose, below, generator, uniform};
use storage::documents::DocumentRow;
use storage::{DatasetWriter, Dtype, Layout, Manifest, ModelRef, documents, schema};

/// Tokens per document.
const LENGTH: usize = 1000;
/// Different tokens; their frequencies are close to Zipf's law.
const VOCABULARY: f64 = 50_000.0;

struct Shape {
    tokens: usize,
    layers: usize,
    experts: usize,
    k: usize,
}

/// Half of a token's experts belong to the token, the others are drawn.
fn choose(token: u32, layer: usize, shape: &Shape, chance: &mut Generator, chosen: &mut Vec<u32>) {
    let from = chosen.len();
    let mut own = generator(1, Purpose::Samples, u64::from(token), layer as u64);
    while chosen.len() < from + shape.k {
        let rank = chosen.len() - from;
        let rng = if rank.is_multiple_of(2) { &mut own } else { &mut *chance };
        let expert = below(shape.experts, rng) as u32;
        // A draw that is taken already is drawn again.
        if !chosen[from..].contains(&expert) {
            chosen.push(expert);
        }
    }
}

fn list(name: &str, k: usize, rows: usize, values: ArrayRef) -> ArrayRef {
    let columns = schema::routing();
    let DataType::List(inner) = columns.field_with_name(name).unwrap().data_type() else { panic!("a list") };
    let offsets = OffsetBuffer::from_lengths(std::iter::repeat_n(k, rows));
    Arc::new(ListArray::new(inner.clone(), offsets, values, None))
}

fn batch(document: usize, shape: &Shape, chance: &mut Generator) -> RecordBatch {
    let tokens = LENGTH.min(shape.tokens - document * LENGTH);
    let rows = tokens * shape.layers;
    let (mut token, mut chosen) = (Vec::with_capacity(rows), Vec::with_capacity(rows * shape.k));
    for _ in 0..tokens {
        let id = (VOCABULARY.powf(uniform(chance)) - 1.0) as u32;
        for layer in 0..shape.layers {
            token.push(id);
            choose(id, layer, shape, chance, &mut chosen);
        }
    }
    let weights: Vec<f32> = (0..rows * shape.k).map(|i| 1.0 / (2 + i % shape.k) as f32).collect();
    let numbers = |values: Vec<u32>| Arc::new(UInt32Array::from(values)) as ArrayRef;
    let columns = vec![
        numbers(vec![document as u32; rows]),
        numbers((0..rows).map(|i| (i / shape.layers) as u32).collect()),
        numbers(token),
        Arc::new(UInt16Array::from_iter_values((0..rows).map(|i| (i % shape.layers) as u16))),
        list("experts", shape.k, rows, Arc::new(UInt32Array::from(chosen))),
        list("weights", shape.k, rows, Arc::new(Float32Array::from(weights))),
        Arc::new(Float32Array::from_iter_values((0..rows).map(|i| 2.0 + (i % 7) as f32 * 0.1))),
    ];
    RecordBatch::try_new(schema::routing(), columns).unwrap()
}

fn make(folder: &Path, shape: &Shape) {
    let model = ModelRef { id: "made up".into(), path: None, sha256: "00".into() };
    let mut header = Manifest::new(model, None, 1, Dtype::F32);
    header.settings = serde_json::json!({ "experts": shape.experts });
    let mut writer = DatasetWriter::begin(folder, header).unwrap();
    let mut part = writer.next_part(schema::ROUTING, schema::routing(), &Layout::routing()).unwrap();
    let mut chance = generator(1, Purpose::Samples, u64::MAX, 0);
    let mut rows = Vec::new();
    for document in 0..shape.tokens.div_ceil(LENGTH) {
        part.write(&batch(document, shape, &mut chance)).unwrap();
        rows.push(DocumentRow {
            document: document as u32,
            domain: ["code", "law", "news", "prose"][document % 4].into(),
            tokens: LENGTH.min(shape.tokens - document * LENGTH) as u32,
            ..DocumentRow::default()
        });
    }
    let routing = part.finish().unwrap();
    let mut part = writer.next_part(schema::DOCUMENTS, schema::documents(), &Layout::small_table()).unwrap();
    part.write(&documents::to_batch(&rows).unwrap()).unwrap();
    let parts =
        vec![(schema::ROUTING.to_owned(), routing), (schema::DOCUMENTS.to_owned(), part.finish().unwrap())];
    writer.commit(parts, serde_json::json!({})).unwrap();
    println!("{} bytes", writer.finish().unwrap().manifest().bytes());
}

fn measure(folder: &Path) {
    let found = sae::experts::summarise(folder, &mut sae::Quiet).unwrap();
    let memory = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = memory.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: not known");
    println!(
        "{} rows in {:.1} s: {:.0} rows/s, {:.0} slots/s; peak memory {}",
        found.rows,
        found.seconds,
        found.rows as f64 / found.seconds,
        found.more.balance.iter().filter(|b| b.domain.is_none()).map(|b| b.slots).sum::<u64>() as f64
            / found.seconds,
        peak.trim_start_matches("VmHWM:").trim()
    );
    found.gaps.iter().for_each(|gap| println!("not known: {gap}"));
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |i: usize, default| arguments.get(i).map_or(default, |n| n.parse().expect("a number"));
    match arguments.first().map(String::as_str) {
        Some("make") => {
            let shape = Shape {
                tokens: number(2, 1_000_000),
                layers: number(3, 48),
                experts: number(4, 128),
                k: number(5, 8),
            };
            assert!(shape.k <= shape.experts && shape.layers > 0);
            make(Path::new(&arguments[1]), &shape);
        }
        Some("measure") => measure(Path::new(&arguments[1])),
        _ => println!("moe_scale make DIR [TOKENS LAYERS EXPERTS K] | measure DIR"),
    }
}

//! A whole training step next to the dense product inside it, the least that any step costs.

#![allow(clippy::expect_used)] // A benchmark that fails may say so by ending.

use std::hint::black_box;

use candle_core::{Device, Tensor};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sae::train::measure::repeated_step;

/// (d, F, k, tokens per batch)
const SHAPES: [(usize, usize, usize, usize); 2] = [(640, 10_240, 32, 2048), (128, 2048, 32, 2048)];

fn train_step(c: &mut Criterion) {
    for (d, features, k, rows) in SHAPES {
        let mut group = c.benchmark_group(format!("d{d} F{features} k{k} B{rows}"));
        group.sample_size(10).throughput(Throughput::Elements(rows as u64));
        let mut step = repeated_step(d, features, k, rows);
        group.bench_function("step", |b| b.iter(|| step().expect("a step on random data works")));
        let random = |n: usize| Tensor::randn(0_f32, 1.0, (n, d), &Device::Cpu);
        let (x, w) = (random(rows).expect("x"), random(features).expect("w"));
        group.bench_function("candle's dense product alone", |b| {
            b.iter(|| black_box(x.matmul(&w.t().expect("transposed"))).expect("product"));
        });
        group.finish();
    }
}

criterion_group!(benches, train_step);
criterion_main!(benches);

//! What this processor multiplies in f32 and bfloat16, and what our products reach of it, at shapes of a language model.
//!
//!     cargo bench -p kernels --bench rates
//!
//! Kinds take turns; medians are given, of one thread and of all, in GFLOP per second of a processor: those of all threads times their
//! number are what a machine reaches that has nothing else to do. On a machine that others use that says more than seconds.

#![allow(clippy::print_stdout)]

use std::hint::black_box;

use cpu_time::ProcessTime;
use kernels::bf16;
use kernels::gemm::{Mat, MatMut, WriteMode};
use kernels::product::{RightFactor, multiply, panels};
use rayon::ThreadPool;
use rayon::prelude::*;

/// Rows of a task of the language model.
const ROWS: usize = 96;
/// Tasks of a round.
const TASKS: usize = 16;
const ROUNDS: usize = 9;
/// Depth and columns: SmolLM2's output matrix of attention, its queries with keys and values, both matrices of its MLP, the
/// scores of a block of queries and what they weigh.
const SHAPES: [(usize, usize); 6] = [(576, 576), (576, 960), (576, 3072), (1536, 576), (64, 512), (512, 64)];

fn main() {
    let threads = rayon::current_num_threads();
    println!("{}, {threads} threads", kernels::processor());
    let pool = |n: usize| rayon::ThreadPoolBuilder::new().num_threads(n).build();
    let (Ok(one), Ok(all)) = (pool(1), pool(threads)) else {
        println!("the system gives no threads");
        return;
    };
    let peak = peaks(&one, &all);
    for (k, n) in SHAPES {
        let [f32_one, f32_all, half_one, half_all, pack, own] = shape(&one, &all, k, n);
        println!(
            "[{ROWS}, {k}] [{k}, {n}]: f32 {f32_one:.0} / {f32_all:.0} GFLOP/s ({:.0} % of {:.0}), {own:.0} with a matrix for each task, \
             bf16 {half_one:.0} / {half_all:.0}, packing takes {pack:.1} % as long as f32",
            100.0 * f32_all / peak,
            peak,
        );
    }
}

fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let next = |i: u32| i.wrapping_add(seed).wrapping_mul(2_654_435_761);
    (0..n as u32).map(|i| (next(i) >> 8) as f32 / 8.4e6 - 1.0).collect()
}

/// GFLOP/s in f32 and bfloat16, of one thread and of all; the time to pack the right factor in per cent; GFLOP/s in f32 of all threads
/// where every task has a matrix of its own, which no cache has kept.
fn shape(one: &ThreadPool, all: &ThreadPool, k: usize, n: usize) -> [f64; 6] {
    let (x, w) = (numbers(TASKS * ROWS * k, 1), numbers(n * k, 2));
    let mut out = vec![0.0; TASKS * ROWS * n];
    let mat = Mat::new(&w, n, k).t();
    let packed = panels(mat);
    let right = RightFactor::packed(mat, &packed);
    let mut halves = bf16::Panels::default();
    halves.set(mat);
    let single = |out: &mut [f32]| {
        out.par_chunks_mut(ROWS * n).zip(x.par_chunks(ROWS * k)).for_each(|(out, x)| {
            multiply(Mat::new(x, ROWS, k), &right, 1.0, WriteMode::Overwrite, MatMut::new(out, ROWS, n));
        });
    };
    let many: Vec<Vec<f32>> = (0..TASKS).map(|_| packed.clone()).collect();
    let own = |out: &mut [f32]| {
        out.par_chunks_mut(ROWS * n).zip(x.par_chunks(ROWS * k)).zip(&many).for_each(|((out, x), packed)| {
            let right = RightFactor::packed(mat, packed);
            multiply(Mat::new(x, ROWS, k), &right, 1.0, WriteMode::Overwrite, MatMut::new(out, ROWS, n));
        });
    };
    let half = |out: &mut [f32]| {
        out.par_chunks_mut(ROWS * n).zip(x.par_chunks(ROWS * k)).for_each(|(out, x)| {
            let mut left = bf16::PackedLeft::default();
            left.set(Mat::new(x, ROWS, k));
            bf16::multiply(left.all(), &halves, 1.0, WriteMode::Overwrite, MatMut::new(out, ROWS, n));
        });
    };
    let mut seconds: [Vec<f64>; 6] = Default::default();
    for _ in 0..ROUNDS {
        seconds[0].push(time(|| one.install(|| single(&mut out))));
        seconds[1].push(time(|| all.install(|| single(&mut out))));
        if bf16::available() {
            seconds[2].push(time(|| one.install(|| half(&mut out))));
            seconds[3].push(time(|| all.install(|| half(&mut out))));
        }
        seconds[4].push(time(|| drop(black_box(panels(mat)))));
        seconds[5].push(time(|| all.install(|| own(&mut out))));
    }
    let flops = (2 * TASKS * ROWS * k * n) as f64;
    let [a, b, c, d, pack, own] = seconds.each_mut().map(|times| median(times));
    [flops / a / 1e9, flops / b / 1e9, flops / c / 1e9, flops / d / 1e9, 100.0 * pack / b, flops / own / 1e9]
}

/// Processor seconds of `work`, of all threads.
fn time(mut work: impl FnMut()) -> f64 {
    let begun = ProcessTime::now();
    work();
    begun.elapsed().as_secs_f64()
}

/// NaN of none.
fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What registers alone reach in f32 with all threads, GFLOP/s; NaN without AVX-512. Prints it, and the same of bfloat16.
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
fn peaks(one: &ThreadPool, all: &ThreadPool) -> f64 {
    use std::arch::x86_64::*;
    // Twelve chains hide four cycles on two multipliers; the compiler keeps that many in registers, and not 24.
    #[target_feature(enable = "avx512f")]
    fn fma() -> f32 {
        let mut sums = [_mm512_setzero_ps(); 12];
        let (a, b) = (_mm512_set1_ps(black_box(1.0)), _mm512_set1_ps(black_box(1e-3)));
        for _ in 0..1_000_000 {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(a, b, *sum);
            }
        }
        sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
    }
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn dot() -> f32 {
        let mut sums = [_mm512_setzero_ps(); 12];
        // SAFETY: both are 512 bits of plain numbers: ones in bfloat16.
        let [a, b] = [0x3f80_3f80, 0x3f80_3f80].map(|ones| unsafe {
            std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(black_box(ones)))
        });
        for _ in 0..1_000_000 {
            for sum in &mut sums {
                *sum = _mm512_dpbf16_ps(*sum, a, b);
            }
        }
        sums.iter().map(|sum| _mm512_reduce_add_ps(*sum)).sum()
    }
    if !std::arch::is_x86_feature_detected!("avx512f") {
        return f64::NAN;
    }
    // SAFETY: the processor has what the functions are compiled for; `dot` is called only where it has bfloat16.
    let (fma, dot) = (|| black_box(unsafe { fma() }), || black_box(unsafe { dot() }));
    let sink = |sum: f32| _ = black_box(sum);
    let rates = |work: &(dyn Fn() -> f32 + Sync), flops: f64| {
        let threads = all.current_num_threads();
        let (mut alone, mut together) = (0.0_f64, 0.0_f64);
        for _ in 0..5 {
            let rate = |n: usize, seconds: f64| n as f64 * flops / seconds / 1e9;
            alone = alone.max(rate(1, time(|| sink(one.install(work)))));
            let run = || all.install(|| (0..threads).into_par_iter().for_each(|_| sink(work())));
            together = together.max(rate(threads, time(run)));
        }
        (alone, together)
    };
    let (alone, together) = rates(&fma, 12e6 * 32.0);
    println!("registers alone, f32: {alone:.0} / {together:.0} GFLOP/s");
    if kernels::bf16::available() {
        let (alone, together) = rates(&dot, 12e6 * 64.0);
        println!("registers alone, bf16: {alone:.0} / {together:.0} GFLOP/s");
    }
    together
}

#[cfg(not(target_arch = "x86_64"))]
fn peaks(_: &ThreadPool, _: &ThreadPool) -> f64 {
    f64::NAN
}

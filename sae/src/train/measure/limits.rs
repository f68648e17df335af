//! What this machine's arithmetic and memory can do at most, by the instructions that training uses.

use std::hint::black_box;
use std::time::Instant;

use rayon::prelude::*;
use serde::Serialize;

use crate::Result;
use crate::train::thread_pool;
use kernels::encode::Packed;
use kernels::int8::panels::{COLUMNS, Line};
use kernels::int8::tile::{Instructions, ROWS, Sums, tile};

/// Upper limits, of all threads together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Products in 8 bits of operands that lie in the first cache, billions of operations per second.
    pub int8_gops: f64,
    /// Products in `f32`, billions of operations per second.
    pub f32_gops: f64,
    /// Reading two arrays and writing a third, too large for any cache, GB/s. What a write reads first is not counted.
    pub gigabytes_per_second: f64,
}

/// Repetitions, of which the fastest counts.
const TRIES: usize = 5;

/// Measures them with `threads` threads, all cores if `None`; takes about a second.
///
/// # Errors
/// Threads that the system does not give.
pub fn limits(threads: Option<usize>) -> Result<Limits> {
    let pool = thread_pool(threads)?;
    Ok(pool.install(|| Limits {
        int8_gops: int8_gops(),
        f32_gops: f32_gops(),
        gigabytes_per_second: bandwidth(),
    }))
}

/// Seconds of the fastest of some calls.
fn fastest(mut work: impl FnMut()) -> f64 {
    let times = (0..TRIES).map(|_| {
        let began = Instant::now();
        work();
        began.elapsed().as_secs_f64()
    });
    times.fold(f64::INFINITY, f64::min)
}

fn int8_gops() -> f64 {
    const WORDS: usize = 128;
    const TILES: usize = 20_000;
    let instructions = Instructions::detect();
    let (rows, shift, panel) = (vec![0x0102_0304; ROWS * WORDS], [0; ROWS], vec![Line([3; 64]); 4 * WORDS]);
    let seconds = fastest(|| {
        rayon::broadcast(|_| {
            let mut sums = Sums::default();
            for _ in 0..TILES {
                tile(instructions, &mut sums, black_box(&rows), &shift, &panel, &[]);
            }
            black_box(sums.0[0][0])
        });
    });
    let operations = 2 * ROWS * COLUMNS * 4 * WORDS * TILES * rayon::current_num_threads();
    operations as f64 / seconds / 1e9
}

fn f32_gops() -> f64 {
    const SHAPE: (usize, usize, usize) = (192, 2048, 640);
    const TIMES: usize = 8;
    let (n, features, d) = SHAPE;
    let (x, w) = (vec![0.5; n * d], vec![0.25; features * d]);
    let mut packed = Packed::default();
    packed.set(&w, d);
    let seconds = fastest(|| {
        rayon::broadcast(|_| {
            let mut out = Vec::new();
            (0..TIMES).for_each(|_| packed.products(&mut out, black_box(&x), &w, d));
            black_box(out.len())
        });
    });
    (2 * n * features * d * TIMES * rayon::current_num_threads()) as f64 / seconds / 1e9
}

fn bandwidth() -> f64 {
    /// Numbers of an array: 128 MiB.
    const NUMBERS: usize = 1 << 25;
    const PIECE: usize = 1 << 16;
    let (a, b) = (vec![1.0_f32; NUMBERS], vec![2.0_f32; NUMBERS]);
    let mut out = vec![0.0_f32; NUMBERS];
    let seconds = fastest(|| {
        out.par_chunks_mut(PIECE).zip(a.par_chunks(PIECE)).zip(b.par_chunks(PIECE)).for_each(
            |((out, a), b)| {
                for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
                    *out = a + 0.5 * b;
                }
            },
        );
        black_box(out[7]);
    });
    3.0 * 4.0 * NUMBERS as f64 / seconds / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_numbers() {
        let found = limits(Some(1)).unwrap();
        for value in [found.int8_gops, found.f32_gops, found.gigabytes_per_second] {
            assert!(value.is_finite() && value > 0.1, "{found:?}");
        }
    }
}

//! Rows of a sparse dictionary that is known.

use crate::train::state::TrainState;
use kernels::chance::{Purpose, generator, normal};

/// Rows `[n, d]` of mean ‖x‖² = d: each a sum of `k` of 4·d random directions with exponential weights, and a little noise.
pub(super) fn planted(d: usize, k: usize, n: usize, seed: u64) -> Vec<f32> {
    let directions = TrainState::new(4 * d, vec![0.0; d], seed.wrapping_add(1)).w_dec.value;
    let mut rng = generator(seed, Purpose::Rows, 0, 0);
    let mut x: Vec<f32> = (0..n * d).map(|_| 0.1 * normal(&mut rng)).collect();
    for row in x.chunks_exact_mut(d) {
        for _ in 0..k {
            let direction = (rng.next_u32() as usize % (4 * d)) * d;
            let weight = -(((rng.next_u32() >> 8) as f32 + 0.5) / (1 << 24) as f32).ln();
            kernels::vector::axpy(row, weight, &directions[direction..direction + d]);
        }
    }
    let squares = kernels::reduce::sum_of_squares(&x);
    let scale = ((n * d) as f64 / squares).sqrt() as f32;
    x.iter_mut().for_each(|x| *x *= scale);
    x
}

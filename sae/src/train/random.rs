//! Randomness as a pure function of (seed, purpose, position): nothing to store, nothing to restore.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What random numbers are for; each purpose has its own stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// Order of blocks in an epoch.
    Blocks = 1,
    /// Order of rows in a pool.
    Rows = 2,
    /// First directions of features.
    Directions = 3,
    /// Tokens that give dead features new rows.
    Resampling = 4,
    /// Which token's gradient a token is given in the control that shuffles them.
    Gradients = 5,
    /// Directions that changes of features are compared with.
    Controls = 6,
    /// Tokens drawn behind a text.
    Continuations = 7,
    /// Which documents explanations are made from, and which they are measured on.
    Halves = 8,
}

/// The generator of `purpose` at position (`a`, `b`).
pub(crate) fn generator(seed: u64, purpose: Purpose, a: u64, b: u64) -> ChaCha8Rng {
    let mut key = [0; 32];
    for (part, number) in key.chunks_exact_mut(8).zip([seed, purpose as u64, a, b]) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Fisher–Yates. Written out so that no library's next version changes the order of a run that is resumed.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut impl RngCore) {
    for i in (1..items.len()).rev() {
        let j = (u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64;
        items.swap(i, j as usize);
    }
}

/// A standard normal number (Box–Muller).
pub(crate) fn normal(rng: &mut impl RngCore) -> f32 {
    // 53 bits each; the first is never 0, so its logarithm is finite.
    let unit = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let (a, b) = (unit(rng.next_u64()), unit(rng.next_u64()));
    ((-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_position_has_its_own_stream() {
        let first = |a, b, p| generator(7, p, a, b).next_u64();
        let all = [
            first(0, 0, Purpose::Blocks),
            first(1, 0, Purpose::Blocks),
            first(0, 1, Purpose::Blocks),
            first(0, 0, Purpose::Rows),
        ];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b));
        }
        assert_eq!(first(3, 4, Purpose::Rows), first(3, 4, Purpose::Rows));
    }

    #[test]
    fn shuffling_is_a_permutation_and_fair() {
        let mut rng = generator(1, Purpose::Rows, 0, 0);
        let mut counts = [[0; 4]; 4];
        for _ in 0..4000 {
            let mut items = [0, 1, 2, 3];
            shuffle(&mut items, &mut rng);
            for (place, &item) in items.iter().enumerate() {
                counts[place][item] += 1;
            }
        }
        assert!(counts.iter().flatten().all(|c| (850..1150).contains(c)), "{counts:?}");
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut rng = generator(1, Purpose::Directions, 0, 0);
        let numbers: Vec<f32> = (0..20_000).map(|_| normal(&mut rng)).collect();
        let mean = numbers.iter().sum::<f32>() / 20_000.0;
        let variance = numbers.iter().map(|x| x * x).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.03 && (variance - 1.0).abs() < 0.04, "{mean} {variance}");
    }
}

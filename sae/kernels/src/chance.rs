//! Randomness as a pure function of (seed, purpose, position): nothing to store, nothing to restore.
//!
//! The one module of the house that draws random numbers. It lives on the ground floor because every floor
//! draws: the language models' first weights, the documents that are held out, the rows that a run is trained
//! on, the places of features on a map. Like the other kernels it is plain numbers in, plain numbers out: no
//! state outlives a call, and no clock or system generator is asked. So a checkpoint holds no generator, only
//! the position in the data, and work that is cut differently over threads still draws the same.
//!
//! [`generator`] keys ChaCha with 8 rounds (Bernstein 2008) by the four numbers; everything else is written
//! out here, so that no new version of a library changes what a seed means. Golden values in the tests pin
//! every stream.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

/// What random numbers are for. Each purpose has a stream of its own, so that two users with the same seed
/// and position do not draw the same numbers. The numbers are part of what a seed means: never reuse or
/// renumber one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Purpose {
    /// Training: order of blocks; position: epoch.
    Blocks = 1,
    /// Training: order of rows in a pool; position: epoch, pool.
    Rows = 2,
    /// Training: first directions; position: feature.
    Directions = 3,
    /// Training: tokens that give dead features new rows; position: step.
    Resampling = 4,
    /// Training: which token's gradient a token is given in the control that shuffles them; position: step.
    Gradients = 5,
    /// Controls: directions that changes of features are compared with, position: draw; rows that nothing trained, orders and resamples of
    /// documents, from positions that their makers keep apart.
    Controls = 6,
    /// Prompt: tokens drawn after a text; position: step.
    Continuations = 7,
    /// Explanations: which documents they are made from and which they are measured on; position: document.
    Halves = 8,
    /// Analyses: the order in which documents are taken until a limit is reached.
    Documents = 9,
    /// Harvest and import: whether a document is held out; position: document.
    HeldOut = 10,
    /// Images: where a picture's held-out band lies; position: picture.
    Bands = 11,
    /// Images: where patches are taken; position: picture.
    Patches = 12,
    /// Feature index: examples; position: feature, interval.
    Examples = 13,
    /// Map of features: first axes and the noise on first places.
    MapStart = 14,
    /// Map of features: the points that a point is pushed away from; position: epoch.
    MapMoves = 15,
    /// Experts: inputs that experts are compared on.
    Probes = 16,
    /// Experts: those masked in the controls of a mask; position: draw.
    Masks = 17,
    /// Pre-training: first weights; position: tensor, 0; experts made of a dense model; position: layer, 1; noise
    /// of a gate; position: layer, 2 + step.
    Weights = 18,
    /// Pre-training: order of the text's pieces; position: epoch.
    Pieces = 19,
    /// Examples and load tests: made-up data.
    Samples = 20,
    /// Made worlds: what fires in a row; position: row, and 0 for rows to train on, 1 for rows to score on.
    Worlds = 40,
    /// Made worlds: what a world is made of; position: 0 directions, 1 correlations, 2 bias; feature;
    /// 3 which features a planted loss reads.
    WorldParts = 41,
    /// Latent variable models: first parameters, position: latent, part; noise on W, position: latent, 4 + step.
    Latents = 42,
    /// Made bars: which are on and the noise, position: row.
    Bars = 43,
    /// Sparse coding: first directions, position: unit, 0; rows of a batch, position: step, 1; directions that fields are compared with,
    /// position: draw, 2.
    Codings = 44,
    /// Heads: random texts in which a prefix is repeated; position: its length, text.
    Inductions = 46,
}

/// A stream of random numbers; made by [`generator`].
#[derive(Debug, Clone)]
pub struct Generator(ChaCha8Rng);

/// The generator of `purpose` at position (`a`, `b`).
pub fn generator(seed: u64, purpose: Purpose, a: u64, b: u64) -> Generator {
    let mut key = [0; 32];
    for (part, number) in key.chunks_exact_mut(8).zip([seed, purpose as u64, a, b]) {
        part.copy_from_slice(&number.to_le_bytes());
    }
    Generator(ChaCha8Rng::from_seed(key))
}

impl Generator {
    /// 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
}

/// A uniform number: 53 bits, half a step above 0, so that its logarithm is finite. Never 0; rounding makes
/// it 1 less than once in 2^53 draws.
pub fn uniform(rng: &mut Generator) -> f64 {
    ((rng.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

/// A whole number below `n`, each as likely as the others but for a bias below n / 2^64. 0 where `n` is 0.
pub fn below(n: usize, rng: &mut Generator) -> usize {
    // The upper half of a product of 64 by 64 bits: one draw, no division, no second try.
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// A standard normal number (Box–Muller, the cosine of the two).
pub fn normal(rng: &mut Generator) -> f32 {
    let (a, b) = (uniform(rng), uniform(rng));
    ((-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()) as f32
}

/// Puts `items` in random order (Fisher–Yates, from the last place down).
pub fn shuffle<T>(items: &mut [T], rng: &mut Generator) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(i + 1, rng));
    }
}

/// Keeps `count` of `items`, or all if there are no more, drawn without replacement; they are left in random
/// order.
pub fn choose<T>(items: &mut Vec<T>, count: usize, rng: &mut Generator) {
    // Fisher–Yates from the first place up stops when enough places are filled: `count` draws, however many items there are.
    for place in 0..count.min(items.len()) {
        let from = place + below(items.len() - place, rng);
        items.swap(place, from);
    }
    items.truncate(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First and second 64 bits of every purpose at seed 7, position (1, 2), by another implementation: the
    /// block function of RFC 8439 with 8 rounds, a 64-bit counter and no nonce, in Python.
    const GOLDEN: [(Purpose, u64, u64); 20] = [
        (Purpose::Blocks, 0x16ed_de9c_f1c5_f824, 0xf640_05a9_b06f_5f45),
        (Purpose::Rows, 0x25b8_27b6_911b_9084, 0x4a33_3836_8b24_7798),
        (Purpose::Directions, 0x950d_64bb_e625_89f0, 0xe1fb_6efb_7280_10ff),
        (Purpose::Resampling, 0x49be_5e5f_79d2_8a13, 0xe00b_7cdd_3737_d717),
        (Purpose::Gradients, 0x21e1_b004_7ea6_5fd3, 0x6a5b_0a86_f97a_bb89),
        (Purpose::Controls, 0xef90_3900_a118_b204, 0xe4a7_41a5_60d5_6586),
        (Purpose::Continuations, 0x5a44_6aeb_a5de_2e9f, 0x711f_5996_f8fc_eed5),
        (Purpose::Halves, 0xa9ba_7640_3c3c_a936, 0x2f57_eea7_7c64_77fb),
        (Purpose::Documents, 0x0e08_d8a6_1d31_b443, 0xf7e9_5f3f_faef_06ea),
        (Purpose::HeldOut, 0x1c0f_9734_f6a3_4a11, 0x4685_211e_cd8c_0e20),
        (Purpose::Bands, 0x1075_6de6_36b4_972e, 0xec72_bd9c_3f9a_c3aa),
        (Purpose::Patches, 0x8390_4b98_b72f_3643, 0x9859_955e_9f4e_36c7),
        (Purpose::Examples, 0x7b3d_2587_2e96_5ee7, 0xb49f_5d75_2c73_9bdf),
        (Purpose::MapStart, 0x9df4_0352_a268_e692, 0x3830_bf95_de50_a863),
        (Purpose::MapMoves, 0x3515_f6c4_be40_1104, 0x0e50_a6c8_c54c_3944),
        (Purpose::Probes, 0x7fce_ffca_3308_551b, 0x05bf_38f6_ff53_d299),
        (Purpose::Masks, 0x73af_928c_18a0_10e5, 0x8fbb_2a30_da67_ed86),
        (Purpose::Weights, 0xf80a_f06d_8e8d_94e9, 0x6761_c967_7773_56b0),
        (Purpose::Pieces, 0x1f76_271e_7e62_393b, 0x854b_aa5f_122a_9c2d),
        (Purpose::Samples, 0x2857_d92c_caa3_9cba, 0xd91a_5ebc_388d_9145),
    ];

    #[test]
    fn every_purpose_has_its_golden_stream() {
        for (number, (purpose, first, second)) in (1..).zip(GOLDEN) {
            let mut rng = generator(7, purpose, 1, 2);
            assert_eq!(
                (purpose as u64, rng.next_u64(), rng.next_u64()),
                (number, first, second),
                "{purpose:?}"
            );
        }
        // Across the end of a block: the 20th number of a stream. By 32 bits, the lower half comes first.
        let mut rng = generator(7, Purpose::Rows, 1, 2);
        assert_eq!((0..20).map(|_| rng.next_u64()).last(), Some(0xec18_1959_478c_83e5));
        let mut rng = generator(7, Purpose::Rows, 1, 2);
        assert_eq!((rng.next_u32(), rng.next_u32()), (0x911b_9084, 0x25b8_27b6));
    }

    #[test]
    fn seed_and_both_positions_matter() {
        let first = |seed, a, b| generator(seed, Purpose::Rows, a, b).next_u64();
        assert_eq!(first(7, 1, 2), 0x25b8_27b6_911b_9084);
        let all = [first(7, 1, 2), first(8, 1, 2), first(7, 2, 1), first(7, 1, 0), first(7, 0, 2)];
        for (i, a) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|b| a != b));
        }
    }

    /// From the same Python: what each function makes of the same streams.
    #[test]
    fn golden_draws() {
        let rows = || generator(7, Purpose::Rows, 1, 2);
        let mut rng = rows();
        assert_eq!(
            [uniform(&mut rng), uniform(&mut rng), uniform(&mut rng)],
            [0.147_341_234_275_798_1, 0.289_844_048_801_698_95, 0.102_467_112_761_787_05]
        );
        let mut rng = rows();
        assert_eq!([0; 5].map(|_| below(1000, &mut rng)), [147, 289, 102, 202, 534]);
        let mut items: Vec<u8> = (0..10).collect();
        shuffle(&mut items, &mut rows());
        assert_eq!(items, [6, 5, 8, 7, 4, 3, 9, 0, 2, 1]);
        let mut items: Vec<u8> = (0..10).collect();
        choose(&mut items, 4, &mut rows());
        assert_eq!(items, [1, 3, 2, 4]);
        let mut rng = generator(7, Purpose::Directions, 1, 2);
        assert_eq!(
            [0; 3].map(|_| normal(&mut rng)),
            [0.770_340_345_598_409_5_f64, 0.133_580_569_272_265_14, -0.383_838_400_187_075_7]
                .map(|x| x as f32)
        );
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
    fn choosing_takes_every_pair_as_often() {
        let mut rng = generator(1, Purpose::Examples, 0, 0);
        let mut counts = [[0; 5]; 5];
        for _ in 0..10_000 {
            let mut items = vec![0, 1, 2, 3, 4];
            choose(&mut items, 2, &mut rng);
            counts[items[0]][items[1]] += 1;
        }
        for (first, counts) in counts.iter().enumerate() {
            // Binomial with mean 500 and standard deviation 22.
            let fair = |second: usize, n: i32| if second == first { n == 0 } else { (400..600).contains(&n) };
            assert!(counts.iter().enumerate().all(|(second, &n)| fair(second, n)), "{counts:?}");
        }
        let mut few = vec![1, 2];
        choose(&mut few, 5, &mut rng);
        few.sort_unstable();
        assert_eq!(few, [1, 2]);
        choose(&mut few, 0, &mut rng);
        assert!(few.is_empty());
    }

    /// Five standard errors of the first, second and fourth moments: √(1, 2, 96) / √n.
    #[test]
    fn normal_numbers_have_normal_moments() {
        let mut rng = generator(1, Purpose::Directions, 0, 0);
        let n = 20_000;
        let draws: Vec<f64> = (0..n).map(|_| f64::from(normal(&mut rng))).collect();
        let moment = |k: i32| draws.iter().map(|x| x.powi(k)).sum::<f64>() / f64::from(n);
        assert!(moment(1).abs() < 5.0 / 141.0, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 5.0 * 2f64.sqrt() / 141.0, "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 5.0 * 96f64.sqrt() / 141.0, "{}", moment(4));
    }
}

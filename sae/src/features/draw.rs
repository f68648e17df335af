//! Random choices that depend on nothing but what is chosen: no generator state, so no order of work matters.

/// A hash of (seed, purpose, feature, document, position), uniform over u64. The lowest hashes of a set are a uniform
/// sample of it without replacement, and a larger set keeps most of a smaller one's sample.
pub fn draw(seed: u64, purpose: u64, feature: u32, document: u32, position: u32) -> u64 {
    let place = u64::from(document) << 32 | u64::from(position);
    [purpose, u64::from(feature), place].into_iter().fold(mix(seed), |state, part| mix(state ^ part))
}

/// SplitMix64's step (Steele, Lea and Flood 2014): increment and finaliser.
fn mix(value: u64) -> u64 {
    let z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First outputs of the reference implementation (splitmix64.c) from state 0 and state 1234567.
    #[test]
    fn mix_is_splitmix64() {
        assert_eq!(mix(0), 0xe220_a839_7b1d_cdaf);
        assert_eq!(mix(1_234_567), 6_457_827_717_110_365_317);
    }

    #[test]
    fn every_argument_matters() {
        let base = draw(1, 2, 3, 4, 5);
        let others = [
            draw(0, 2, 3, 4, 5),
            draw(1, 0, 3, 4, 5),
            draw(1, 2, 0, 4, 5),
            draw(1, 2, 3, 0, 5),
            draw(1, 2, 3, 4, 0),
        ];
        assert!(others.iter().all(|&other| other != base));
    }

    #[test]
    fn uniform_enough() {
        let mean = (0..10_000).map(|p| draw(7, 1, 0, 0, p) as f64 / u64::MAX as f64).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}

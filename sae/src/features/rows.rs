//! What features' weights alone tell: the tokens that they promote and their nearest neighbours.

use std::ops::Range;

use storage::features::HISTOGRAM_BINS;

use super::best::Best;
use kernels::pairs::{ROWS, fold_products};

/// Logits that a task keeps at a time, 16 MB.
const KEPT: usize = 4 << 20;

/// The tokens that a feature makes likelier and less likely, with logits.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Logits {
    /// Largest logits, descending.
    pub top: Vec<(u32, f32)>,
    /// Smallest logits, ascending.
    pub bottom: Vec<(u32, f32)>,
    /// Tokens of the whole vocabulary in [`HISTOGRAM_BINS`] equal bins from the smallest logit to the
    /// largest.
    pub histogram: Vec<u32>,
}

/// For each decoder row of `features`, the `count` largest and smallest of `decoder[F, d] · unembedding[V,
/// d]ᵀ`, and how all of them are spread.
pub fn logits(
    decoder: &[f32],
    unembedding: &[f32],
    d: usize,
    features: Range<usize>,
    count: usize,
) -> Vec<Logits> {
    let vocabulary = unembedding.len() / d;
    if vocabulary == 0 {
        return vec![Logits::default(); features.len()];
    }
    // The range of the bins is known only when all logits are, so a task keeps those of its features.
    fold_products(
        (decoder, unembedding, d),
        features,
        KEPT / vocabulary,
        |_| Vec::with_capacity(vocabulary),
        |logits, _, logit| logits.push(logit),
        |logits| summary(&logits, count),
    )
}

fn summary(logits: &[f32], count: usize) -> Logits {
    let (mut top, mut bottom) = (Best::new(count), Best::new(count));
    for (token, logit) in logits.iter().enumerate() {
        top.offer(token as u32, f64::from(*logit));
        bottom.offer(token as u32, -f64::from(*logit));
    }
    let list = |best: Best, sign: f64| {
        best.into_vec().into_iter().map(|(token, logit)| (token, (sign * logit) as f32)).collect()
    };
    Logits { top: list(top, 1.0), bottom: list(bottom, -1.0), histogram: spread(logits) }
}

/// Counts in equal bins from the smallest number to the largest, each open above but the last.
fn spread(numbers: &[f32]) -> Vec<u32> {
    let low = numbers.iter().copied().fold(f32::INFINITY, f32::min);
    let high = numbers.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let room = f64::from(high) - f64::from(low);
    let mut counts = vec![0; HISTOGRAM_BINS];
    for number in numbers {
        // One rounding only, so that what lies on an edge is not pushed below it. Where all are equal, 0 / 0 is cast to bin 0.
        let bin = (f64::from(*number) - f64::from(low)) * HISTOGRAM_BINS as f64 / room;
        counts[(bin as usize).min(HISTOGRAM_BINS - 1)] += 1;
    }
    counts
}

/// For each decoder row of `features`, the `count` other rows of `decoder[F, d]` of the largest cosine. Rows
/// of norm 0 have no neighbours and are nobody's.
pub fn neighbours(
    decoder: &[f32],
    norms: &[f32],
    d: usize,
    features: Range<usize>,
    count: usize,
) -> Vec<Vec<(u32, f32)>> {
    fold_products(
        (decoder, decoder, d),
        features,
        ROWS,
        |feature| (feature, Best::new(count)),
        |(feature, best), other, product| {
            let norms = f64::from(norms[*feature]) * f64::from(norms[other]);
            if *feature != other && norms > 0.0 {
                best.offer(other as u32, f64::from(product) / norms);
            }
        },
        |(_, best)| best.into_vec().into_iter().map(|(other, cosine)| (other, cosine as f32)).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::pairs::COLUMNS;

    /// Small integers, so that products are exact and ties happen.
    fn matrix(rows: usize, d: usize, salt: usize) -> Vec<f32> {
        (0..rows * d).map(|i| ((i * i * 7 + i * salt + salt) % 9) as f32 - 4.0).collect()
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(x, y)| x * y).sum()
    }

    #[test]
    fn logits_as_by_sorting() {
        let (features, vocabulary, d) = (150, COLUMNS + 300, 3);
        let (decoder, unembedding) = (matrix(features, d, 5), matrix(vocabulary, d, 11));
        let found = logits(&decoder, &unembedding, d, 10..features, 4);
        assert_eq!(found.len(), features - 10);
        for (feature, found) in (10..features).zip(&found) {
            let row = &decoder[feature * d..][..d];
            let mut all: Vec<(u32, f32)> =
                unembedding.chunks(d).enumerate().map(|(token, u)| (token as u32, dot(row, u))).collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            assert_eq!(found.top, all[..4]);
            all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
            assert_eq!(found.bottom, all[..4]);
            // Small integers: edges are crossed exactly where they are.
            let (low, high) = (all[0].1, all[all.len() - 1].1);
            let at_or_above = |edge: usize| {
                all.iter()
                    .filter(|(_, l)| f64::from(l - low) * 40.0 >= edge as f64 * f64::from(high - low))
                    .count()
            };
            for (bin, counted) in found.histogram.iter().enumerate() {
                let above = if bin == 39 { 0 } else { at_or_above(bin + 1) };
                assert_eq!(*counted as usize, at_or_above(bin) - above, "bin {bin} of feature {feature}");
            }
        }
    }

    #[test]
    fn blocks_of_a_large_vocabulary_are_small_and_give_the_same() {
        let (features, vocabulary, d) = (3, KEPT / 2 + 1, 1);
        let unembedding: Vec<f32> = (0..vocabulary).map(|t| (t % 81) as f32 - 40.0).collect();
        let found = logits(&[1.0, -1.0, 0.0], &unembedding, d, 0..features, 1);
        assert_eq!((found[0].top[0], found[0].bottom[0]), ((80, 40.0), (0, -40.0)));
        assert_eq!((found[1].top[0], found[1].bottom[0]), ((0, 40.0), (80, -40.0)));
        let sum = |l: &Logits| l.histogram.iter().map(|n| *n as usize).sum::<usize>();
        assert!(found.iter().all(|l| sum(l) == vocabulary));
        // A row of zeros has one logit.
        assert_eq!(found[2].histogram[0] as usize, vocabulary);
    }

    #[test]
    fn neighbours_as_by_sorting() {
        let (features, d) = (COLUMNS + 70, 3);
        let mut decoder = matrix(features, d, 3);
        decoder[7 * d..8 * d].fill(0.0);
        let norms: Vec<f32> = decoder.chunks(d).map(|row| dot(row, row).sqrt()).collect();
        let found = neighbours(&decoder, &norms, d, 0..features, 3);
        assert_eq!(found[7], []);
        for feature in [0, 1, 63, 64, 65, COLUMNS, features - 1] {
            let row = &decoder[feature * d..][..d];
            let cosine = |other: usize| {
                f64::from(dot(row, &decoder[other * d..][..d]))
                    / (f64::from(norms[feature]) * f64::from(norms[other]))
            };
            let mut all: Vec<(u32, f64)> = (0..features)
                .filter(|&other| other != feature && norms[other] > 0.0)
                .map(|other| (other as u32, cosine(other)))
                .collect();
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            let expected: Vec<(u32, f32)> = all[..3].iter().map(|&(other, c)| (other, c as f32)).collect();
            assert_eq!(found[feature], if norms[feature] > 0.0 { expected } else { vec![] });
        }
    }

    #[test]
    fn fewer_rows_than_asked_for() {
        let found = logits(&[1.0, 2.0], &[1.0, -1.0], 1, 0..2, 10);
        assert_eq!(found[1].top, [(0, 2.0), (1, -2.0)]);
        assert_eq!(found[1].bottom, [(1, -2.0), (0, 2.0)]);
        assert_eq!((found[1].histogram[0], found[1].histogram[39]), (1, 1));
        assert_eq!(logits(&[1.0], &[], 1, 0..1, 10), [Logits::default()]);
        assert_eq!(neighbours(&[1.0], &[1.0], 1, 0..1, 8), [vec![]]);
        assert!(neighbours(&[1.0], &[1.0], 1, 0..0, 8).is_empty());
    }
}

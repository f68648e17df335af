//! The k largest positive entries of a row of pre-activations.
//!
//! One pass with a running threshold: an entry enters a small buffer only if it beats the k-th best seen so far, and a full
//! buffer is cut back to its k best. For F entries about `k · ln(F / k)` enter, so the pass costs little more than reading.

/// Entries compared at once.
const BLOCK: usize = 16;

/// Buffer of [`select`]; keep one per thread and reuse it.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Value's bits above, complement of the index below: for positive floats a larger key is a larger value, and among
    /// equal values the lower index.
    keys: Vec<u64>,
}

fn key(value: f32, index: usize) -> u64 {
    (u64::from(value.to_bits()) << 32) | u64::from(!(index as u32))
}

fn value_of(key: u64) -> f32 {
    f32::from_bits((key >> 32) as u32)
}

fn index_of(key: u64) -> u32 {
    !(key as u32)
}

/// Cuts `keys` back to its `k` largest, and says what an entry must exceed from now on.
fn keep_best(keys: &mut Vec<u64>, k: usize) -> f32 {
    if keys.len() <= k {
        return 0.0;
    }
    let (_, kth, _) = keys.select_nth_unstable_by(k - 1, |a, b| b.cmp(a));
    let threshold = value_of(*kth);
    keys.truncate(k);
    threshold
}

for_this_processor! {
    /// Fills `keys` with at least the `k` best of the positive entries of `scores + bias`, and some more.
    pub fn collect / collect_portable(keys: &mut Vec<u64>, scores: &[f32], bias: &[f32], k: usize) {
        keys.clear();
        let capacity = 4 * k + 4 * BLOCK;
        let mut threshold = 0.0_f32;
        let (blocks, rest) = scores.as_chunks::<BLOCK>();
        let (bias_blocks, bias_rest) = bias.as_chunks::<BLOCK>();
        for (number, (block, bias)) in blocks.iter().zip(bias_blocks).enumerate() {
            let mut sums = [0.0_f32; BLOCK];
            let mut any = false;
            for i in 0..BLOCK {
                sums[i] = block[i] + bias[i];
                any |= sums[i] > threshold;
            }
            if any {
                for (i, &value) in sums.iter().enumerate() {
                    if value > threshold {
                        keys.push(key(value, number * BLOCK + i));
                    }
                }
                if keys.len() >= capacity {
                    threshold = keep_best(keys, k);
                }
            }
        }
        let done = blocks.len() * BLOCK;
        for (i, (score, bias)) in rest.iter().zip(bias_rest).enumerate() {
            let value = score + bias;
            if value > threshold {
                keys.push(key(value, done + i));
            }
        }
    }
}

/// The `k` largest positive entries of `scores[F] + bias[F]`, ties to the lower index, in ascending order of index.
///
/// Writes their indices and values to the front of `features` and `values` (both at least `k` long) and returns how many
/// there are: fewer than `k` if fewer are positive. NaN is never selected.
///
/// # Panics
/// If `bias` is shorter than `scores` or an output is shorter than `k`.
pub fn select(
    scores: &[f32],
    bias: &[f32],
    k: usize,
    candidates: &mut Candidates,
    features: &mut [u32],
    values: &mut [f32],
) -> usize {
    assert!(bias.len() >= scores.len() && features.len() >= k && values.len() >= k, "slices too short");
    if k == 0 {
        return 0;
    }
    let keys = &mut candidates.keys;
    collect(keys, scores, &bias[..scores.len()], k);
    keep_best(keys, k);
    keys.sort_unstable_by_key(|&key| index_of(key));
    for (slot, &key) in keys.iter().enumerate() {
        features[slot] = index_of(key);
        values[slot] = value_of(key);
    }
    keys.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn by_sorting(scores: &[f32], bias: &[f32], k: usize) -> Vec<(u32, f32)> {
        let mut all: Vec<(u32, f32)> =
            scores.iter().zip(bias).map(|(s, b)| s + b).enumerate().map(|(i, v)| (i as u32, v)).collect();
        all.retain(|(_, v)| *v > 0.0);
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(k);
        all.sort_by_key(|(i, _)| *i);
        all
    }

    fn selected(scores: &[f32], bias: &[f32], k: usize) -> Vec<(u32, f32)> {
        let (mut features, mut values) = (vec![0; k], vec![0.0; k]);
        let n = select(scores, bias, k, &mut Candidates::default(), &mut features, &mut values);
        features.into_iter().zip(values).take(n).collect()
    }

    proptest! {
        // Few distinct values, so that ties are everywhere.
        #[test]
        fn equals_sorting(scores in prop::collection::vec(-3_i8..6, 0..400), k in 0_usize..40, shift in -2_i8..3) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let bias = vec![f32::from(shift) / 2.0; scores.len()];
            prop_assert_eq!(selected(&scores, &bias, k), by_sorting(&scores, &bias, k));
        }

        #[test]
        fn equals_sorting_on_distinct_values(scores in prop::collection::vec(-1.0_f32..1.0, 0..2000), k in 1_usize..20) {
            let bias = vec![0.0; scores.len()];
            prop_assert_eq!(selected(&scores, &bias, k), by_sorting(&scores, &bias, k));
        }
    }

    #[test]
    fn rising_rows_fill_the_buffer_again_and_again() {
        let scores: Vec<f32> = (1..=5000).map(|i| i as f32).collect();
        let bias = vec![0.0; scores.len()];
        assert_eq!(selected(&scores, &bias, 3), vec![(4997, 4998.0), (4998, 4999.0), (4999, 5000.0)]);
    }

    #[test]
    fn nan_and_negative_entries_are_never_selected() {
        let scores = [f32::NAN, -1.0, 2.0, 0.0, f32::NAN];
        assert_eq!(selected(&scores, &[0.0; 5], 4), vec![(2, 2.0)]);
    }

    #[test]
    fn both_variants_agree() {
        let scores: Vec<f32> =
            (0..1003_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6 - 8.0).collect();
        let bias: Vec<f32> = (0..1003).map(|i| (i % 7) as f32 / 9.0).collect();
        let (mut a, mut b) = (Vec::new(), Vec::new());
        collect(&mut a, &scores, &bias, 8);
        collect_portable(&mut b, &scores, &bias, 8);
        assert_eq!(a, b);
    }
}

//! Whole budgets for feature choice: m_i tokens for feature i, with Σ m_i exactly what the batch may spend.
//!
//! Weights are multiplied by a common factor and clipped to [1, cap]; the factor is the one at which the clipped budgets add up to the
//! total (water-filling: what the cap takes from the frequent features goes to all others in proportion). Whole numbers come from
//! largest remainders, ties to the feature that comes first.

use super::law::Zipf;

/// Why budgets cannot be met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// Not every feature can have one token.
    TooFew,
    /// Even with every feature at its cap something is left over.
    TooMany,
}

/// Budgets in proportion to `weights[F]` (> 0), between 1 and `cap`, with the sum `total`.
///
/// # Errors
/// [`Unmet::TooFew`] for a total below 1 per feature, [`Unmet::TooMany`] for one above `cap` per feature.
pub fn whole(weights: &[f64], total: u64, cap: u32) -> Result<Vec<u32>, Unmet> {
    let features = weights.len() as u64;
    if total < features {
        return Err(Unmet::TooFew);
    }
    if total > features.saturating_mul(u64::from(cap)) {
        return Err(Unmet::TooMany);
    }
    let exact = filled(weights, total as f64, f64::from(cap));
    let mut budgets: Vec<u32> = exact.iter().map(|m| (m.floor() as u32).clamp(1, cap)).collect();
    let mut left = total as i64 - budgets.iter().map(|&m| i64::from(m)).sum::<i64>();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by(|&a, &b| exact[b].fract().total_cmp(&exact[a].fract()).then(a.cmp(&b)));
    // One round of remainders is enough but for rounding errors of the factor; more rounds, or the way back, only then.
    while left != 0 {
        for &i in &order {
            if left > 0 && budgets[i] < cap {
                budgets[i] += 1;
                left -= 1;
            } else if left < 0 && budgets[i] > 1 {
                budgets[i] -= 1;
                left += 1;
            }
        }
    }
    Ok(budgets)
}

/// `clamp(c·w, 1, cap)` with the c at which they add up to `total`.
fn filled(weights: &[f64], total: f64, cap: f64) -> Vec<f64> {
    let at = |c: f64| weights.iter().map(move |w| (c * w).clamp(1.0, cap));
    let (mut low, mut high) = (0.0, 1.0);
    while at(high).sum::<f64>() < total && high < f64::MAX / 4.0 {
        high *= 2.0;
    }
    // The sum rises with c; 200 halvings reach the resolution of f64 from any beginning.
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if at(middle).sum::<f64>() < total {
            low = middle;
        } else {
            high = middle;
        }
    }
    at(high).collect()
}

/// Budgets by `law` for features that fired at `rates[F]`: the most frequent has rank 1, ties to the lower feature.
///
/// # Errors
/// As [`whole`].
pub fn by_rank(rates: &[f32], law: Zipf, total: u64, cap: u32) -> Result<Vec<u32>, Unmet> {
    let weights: Vec<f64> = (1..=rates.len()).map(|rank| law.weight(rank)).collect();
    let by_rank = whole(&weights, total, cap)?;
    let mut budgets = vec![0; rates.len()];
    for (rank, feature) in order_of(rates).into_iter().enumerate() {
        budgets[feature] = by_rank[rank];
    }
    Ok(budgets)
}

/// Features from the most frequent to the least.
pub fn order_of(rates: &[f32]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..rates.len()).collect();
    order.sort_by(|&a, &b| rates[b].total_cmp(&rates[a]).then(a.cmp(&b)));
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn zipf(n: usize, exponent: f64) -> Vec<f64> {
        (1..=n).map(|r| Zipf { exponent, offset: 0.0 }.weight(r)).collect()
    }

    proptest! {
        #[test]
        fn budgets_add_up_exactly_and_keep_the_order(n in 1_usize..300, exponent in 0.0_f64..2.5, per_feature in 1.0_f64..40.0, cap in 1_u32..200) {
            let weights = zipf(n, exponent);
            let total = (n as f64 * per_feature) as u64;
            match whole(&weights, total, cap) {
                Err(unmet) => prop_assert_eq!((unmet, total > n as u64 * u64::from(cap)), (Unmet::TooMany, true)),
                Ok(budgets) => {
                    prop_assert_eq!(budgets.iter().map(|&m| u64::from(m)).sum::<u64>(), total);
                    prop_assert!(budgets.iter().all(|m| (1..=cap).contains(m)));
                    // A larger weight never has a smaller budget (largest remainders: by at most one token).
                    prop_assert!(budgets.windows(2).all(|w| w[0] + 1 >= w[1]), "{:?}", budgets);
                }
            }
        }
    }

    /// The figures of the research notes: B = 4096, k = 32, F = 12288.
    #[test]
    fn budgets_of_a_real_setting() {
        let (total, features, batch) = (4096 * 32, 12288, 4096);
        let of = |s| whole(&zipf(features, s), total, batch).unwrap();
        let uniform = of(0.0);
        assert!(uniform.iter().all(|m| (10..=11).contains(m)), "10.67 each");
        let half = of(0.5);
        assert_eq!((half[0], half[features - 1]), (595, 5));
        let steep = of(0.7);
        assert_eq!((steep[0], steep[features - 1]), (2454, 3));
        // At s = 1 the first rank would get 13116 tokens, more than the batch has: three ranks are capped, and the others gain.
        let capped = of(1.0);
        assert_eq!(capped.iter().filter(|m| **m == batch).count(), 3);
        assert_eq!(capped[features - 1], 1);
    }

    #[test]
    fn what_can_not_be_met_is_said() {
        assert_eq!(whole(&[1.0; 10], 9, 5), Err(Unmet::TooFew));
        assert_eq!(whole(&[1.0; 10], 51, 5), Err(Unmet::TooMany));
        assert_eq!(whole(&[1.0; 10], 50, 5), Ok(vec![5; 10]));
        assert_eq!(whole(&[1.0, 1e-300, 1e300], 7, 5).unwrap().iter().sum::<u32>(), 7);
    }

    #[test]
    fn remainders_go_to_the_largest_then_to_the_first() {
        assert_eq!(whole(&[1.0, 1.0, 1.0], 4, 9).unwrap(), [2, 1, 1]);
        assert_eq!(whole(&[3.0, 2.6, 2.4], 8, 9).unwrap(), [3, 3, 2]);
    }

    #[test]
    fn ranks_follow_the_rates() {
        let law = Zipf { exponent: 1.0, offset: 0.0 };
        let budgets = by_rank(&[0.1, 0.5, 0.2, 0.5], law, 25, 100).unwrap();
        assert_eq!(budgets, [3, 12, 4, 6]);
    }
}

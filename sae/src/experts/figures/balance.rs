//! How evenly a layer's slots are spread over its experts.
//!
//! A slot is one choice of one expert by one token: a router that gives every token k experts fills k slots a
//! token. With n_e the slots of expert e and f_e = n_e / Σ n its share, a perfectly balanced layer has f_e =
//! 1/E.

use storage::experts::{cold_share, dead_share};

/// The usual figures of balance of one layer (or one domain of a layer), all computed from its slot counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// Population standard deviation of the loads over their mean; 0 = balanced.
    pub cv: f64,
    /// `max f · E − 1`; 0 = balanced, E − 1 = everything goes to one expert.
    pub max_violation: f64,
    /// Gini coefficient of the loads; 0 = balanced, (E − 1)/E = everything goes to one expert.
    pub gini: f64,
    /// Entropy of the shares over ln E, in [0, 1]; 1 = balanced. 1 for a layer that has a single expert.
    pub load_entropy: f64,
    /// exp(entropy of the shares): how many equally used experts would have this entropy.
    pub effective_experts: f64,
    /// Experts whose share of the slots is below [`dead_share`].
    pub dead: usize,
    /// Experts whose share of the slots is below [`cold_share`].
    pub cold: usize,
}

impl Balance {
    /// Figures for `slots[e]` = choices of expert e. `None` when there are no experts or no slots.
    pub fn of(slots: &[u64]) -> Option<Self> {
        let total = total(slots);
        if total == 0 {
            return None;
        }
        let count = slots.len() as f64;
        let shares: Vec<f64> = slots.iter().map(|&n| n as f64 / total as f64).collect();
        let entropy = entropy(&shares);
        let variance = shares.iter().map(|f| (f - 1.0 / count).powi(2)).sum::<f64>() / count;
        let largest = shares.iter().copied().fold(0.0, f64::max);
        Some(Self {
            cv: variance.sqrt() * count,
            max_violation: largest * count - 1.0,
            gini: gini(slots),
            load_entropy: if slots.len() == 1 { 1.0 } else { entropy / count.ln() },
            effective_experts: entropy.exp(),
            dead: shares.iter().filter(|&&f| f < dead_share(slots.len())).count(),
            cold: shares.iter().filter(|&&f| f < cold_share(slots.len())).count(),
        })
    }
}

/// Sum of all slots.
pub fn total(slots: &[u64]) -> u64 {
    slots.iter().sum()
}

/// Entropy of a distribution in nats; terms with share 0 contribute nothing.
pub fn entropy(shares: &[f64]) -> f64 {
    // `0 −` would give −0 for a single expert.
    shares.iter().filter(|&&f| f > 0.0).map(|f| -f * f.ln()).sum::<f64>().max(0.0)
}

/// Gini coefficient by the sorted form `Σ (2i − E − 1) n_(i) / (E Σ n)`, i from 1, loads ascending.
fn gini(slots: &[u64]) -> f64 {
    let mut ascending = slots.to_vec();
    ascending.sort_unstable();
    let count = ascending.len() as f64;
    let weighted: f64 =
        ascending.iter().enumerate().map(|(i, &n)| (2.0 * (i as f64 + 1.0) - count - 1.0) * n as f64).sum();
    weighted / (count * total(slots) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn a_balanced_layer() {
        let b = Balance::of(&[50; 16]).unwrap();
        assert!(close(b.cv, 0.0) && close(b.max_violation, 0.0) && close(b.gini, 0.0));
        assert!(close(b.load_entropy, 1.0) && close(b.effective_experts, 16.0));
        assert_eq!(b.dead, 0);
    }

    #[test]
    fn one_expert_takes_all() {
        let b = Balance::of(&[0, 0, 900, 0]).unwrap();
        assert!(close(b.cv, 3f64.sqrt()), "{b:?}");
        assert!(close(b.max_violation, 3.0) && close(b.gini, 0.75));
        assert!(close(b.load_entropy, 0.0) && close(b.effective_experts, 1.0));
        assert_eq!((b.dead, b.cold), (3, 3));
    }

    #[test]
    fn a_layer_of_one_expert_is_balanced() {
        let b = Balance::of(&[7]).unwrap();
        assert!(close(b.cv, 0.0) && close(b.load_entropy, 1.0) && close(b.effective_experts, 1.0));
    }

    #[test]
    fn cold_is_not_yet_dead() {
        let b = Balance::of(&[996, 3, 1, 0]).unwrap();
        assert_eq!((b.dead, b.cold), (1, 3), "shares 0.003, 0.001 and 0");
    }

    /// Of 10,000 experts the uniform share is a tenth of what is dead among few.
    #[test]
    fn among_many_a_tenth_of_the_uniform_share_is_dead() {
        let slots: Vec<u64> = (0..10_000).map(|i| [0, 1, 10, 40, 200][i % 5]).collect();
        let b = Balance::of(&slots).unwrap();
        // The uniform share is 50.2 slots.
        assert_eq!((b.dead, b.cold), (4000, 6000));
    }

    #[test]
    fn nothing_routed_has_no_balance() {
        assert_eq!(Balance::of(&[]), None);
        assert_eq!(Balance::of(&[0, 0, 0]), None);
    }

    /// The definition: mean absolute difference of all pairs over twice the mean.
    #[test]
    fn gini_by_its_definition() {
        let slots = [3u64, 19, 0, 7, 7, 42, 1];
        let n = slots.len() as f64;
        let mean = total(&slots) as f64 / n;
        let differences: f64 = slots.iter().flat_map(|&a| slots.map(|b| (a as f64 - b as f64).abs())).sum();
        assert!(close(gini(&slots), differences / (2.0 * n * n * mean)));
    }
}

//! What a replacement at the hook does to a model's predictions: cross-entropy and divergence, summed over tokens.

use lm::model::ops::Compared;

/// What stands at the hook instead of the activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replacement {
    /// The dictionary's reconstruction.
    Reconstruction,
    /// Zeros.
    Zero,
    /// The mean activation.
    Mean,
}

impl Replacement {
    /// All of them, in the order of their sums.
    pub const ALL: [Self; 3] = [Self::Reconstruction, Self::Zero, Self::Mean];
}

/// Sums over tokens; see [`Behaviour::figures`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Behaviour {
    tokens: u64,
    clean: f64,
    loss: [f64; 3],
    divergence: [f64; 3],
}

/// Means over tokens, in nats. `None` where a figure is not defined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BehaviourFigures {
    /// Tokens whose prediction was compared.
    pub tokens: u64,
    /// Cross-entropy of the model as it is.
    pub ce_clean: f64,
    /// … with reconstructions at the hook.
    pub ce_reconstructed: f64,
    /// … with zeros.
    pub ce_zero: f64,
    /// … with the mean activation.
    pub ce_mean: f64,
    /// `(ce_zero − ce_reconstructed) / (ce_zero − ce_clean)`.
    pub loss_recovered: Option<f64>,
    /// `(ce_mean − ce_reconstructed) / (ce_mean − ce_clean)`.
    pub loss_recovered_mean_ablation: Option<f64>,
    /// KL(clean ‖ with reconstructions).
    pub kl: f64,
    /// KL(clean ‖ with zeros).
    pub kl_zero: f64,
    /// KL(clean ‖ with the mean).
    pub kl_mean: f64,
    /// `(kl_zero − kl) / kl_zero`.
    pub kl_score: Option<f64>,
}

impl Behaviour {
    /// Adds the positions that `counted` marks and that have a loss; `compared` has the `replacements` in order.
    pub fn add(&mut self, compared: &Compared, replacements: &[Replacement], counted: &[bool]) {
        let chosen = |i: &usize| counted[*i] && compared.clean[*i].is_some();
        let places: Vec<usize> = (0..counted.len()).filter(chosen).collect();
        self.tokens += places.len() as u64;
        self.clean += places.iter().filter_map(|&i| compared.clean[i]).map(f64::from).sum::<f64>();
        for (&replacement, other) in replacements.iter().zip(&compared.others) {
            let index = replacement as usize;
            for (loss, divergence) in places.iter().filter_map(|&i| other[i]) {
                self.loss[index] += f64::from(loss);
                self.divergence[index] += f64::from(divergence);
            }
        }
    }

    /// This one's reconstructions next to what `shared` has of the same tokens: the model as it is, zeros and the mean.
    #[must_use]
    pub fn with_shared(mut self, shared: &Self) -> Self {
        (self.tokens, self.clean) = (shared.tokens, shared.clean);
        for replacement in [Replacement::Zero, Replacement::Mean] {
            let index = replacement as usize;
            (self.loss[index], self.divergence[index]) = (shared.loss[index], shared.divergence[index]);
        }
        self
    }

    /// The figures; `None` before any token was added.
    pub fn figures(&self) -> Option<BehaviourFigures> {
        if self.tokens == 0 {
            return None;
        }
        let n = self.tokens as f64;
        let clean = self.clean / n;
        let [reconstructed, zero, mean] = self.loss.map(|sum| sum / n);
        let [kl, kl_zero, kl_mean] = self.divergence.map(|sum| sum / n);
        let ratio = |a: f64, b: f64| (b != 0.0).then(|| a / b);
        Some(BehaviourFigures {
            tokens: self.tokens,
            ce_clean: clean,
            ce_reconstructed: reconstructed,
            ce_zero: zero,
            ce_mean: mean,
            loss_recovered: ratio(zero - reconstructed, zero - clean),
            loss_recovered_mean_ablation: ratio(mean - reconstructed, mean - clean),
            kl,
            kl_zero,
            kl_mean,
            kl_score: ratio(kl_zero - kl, kl_zero),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_from_sums() {
        let mut sums = Behaviour::default();
        let with = |divergence: f32, a: f32, b: f32| {
            vec![Some((a, divergence)), Some((b, 0.0)), Some((1000.0, 9.0)), None]
        };
        let compared = Compared {
            clean: vec![Some(1.0), Some(2.0), Some(1000.0), None],
            others: vec![with(0.0, 1.5, 2.0), with(0.5, 5.0, 6.0), with(0.25, 3.0, 4.0)],
        };
        sums.add(&compared, &Replacement::ALL, &[true, true, false, true]);
        let f = sums.figures().unwrap();
        assert_eq!(
            (f.tokens, f.ce_clean, f.ce_reconstructed, f.ce_zero, f.ce_mean),
            (2, 1.5, 1.75, 5.5, 3.5)
        );
        assert_eq!((f.loss_recovered, f.loss_recovered_mean_ablation), (Some(3.75 / 4.0), Some(1.75 / 2.0)));
        assert_eq!((f.kl, f.kl_zero, f.kl_mean, f.kl_score), (0.0, 0.25, 0.125, Some(1.0)));
    }

    #[test]
    fn nothing_counted_has_no_figures() {
        let mut sums = Behaviour::default();
        let others = vec![vec![None, Some((1.0, 0.0))]; 3];
        sums.add(&Compared { clean: vec![None, Some(1.0)], others }, &Replacement::ALL, &[true, false]);
        assert_eq!(sums.figures(), None);
    }
}

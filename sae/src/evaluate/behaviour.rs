//! What a replacement at the hook does to a model's predictions: cross-entropy and divergence, summed over tokens.

use rayon::prelude::*;

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

/// Predictions of one batch: logits `[positions, vocabulary]` and, per position, the loss there is.
#[derive(Debug, Clone, Copy)]
pub struct Predictions<'a> {
    /// Logits, row by row.
    pub logits: &'a [f32],
    /// Cross-entropy of each position, nats.
    pub losses: &'a [Option<f32>],
}

impl Behaviour {
    /// Adds the positions that `counted` marks and that have a loss. Returns how many these were.
    pub fn add_clean(&mut self, clean: Predictions<'_>, counted: &[bool]) -> u64 {
        let losses = counted_losses(clean.losses, counted);
        self.clean += losses.iter().map(|&(_, loss)| loss).sum::<f64>();
        self.tokens += losses.len() as u64;
        losses.len() as u64
    }

    /// Adds the same positions with a replacement at the hook.
    pub fn add_replaced(
        &mut self,
        replacement: Replacement,
        clean: Predictions<'_>,
        replaced: Predictions<'_>,
        counted: &[bool],
    ) {
        let index = replacement as usize;
        let losses = counted_losses(replaced.losses, counted);
        self.loss[index] += losses.iter().map(|&(_, loss)| loss).sum::<f64>();
        let vocabulary = clean.logits.len() / counted.len().max(1);
        let row = |i: usize| i * vocabulary..(i + 1) * vocabulary;
        let divergences: Vec<f64> = losses
            .par_iter()
            .map(|&(i, _)| divergence(&clean.logits[row(i)], &replaced.logits[row(i)]))
            .collect();
        self.divergence[index] += divergences.iter().sum::<f64>();
    }

    /// This one's reconstructions beside what `shared` has of the same tokens: the model as it is, zeros and the mean.
    #[must_use]
    pub fn beside(mut self, shared: &Self) -> Self {
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

/// (position, loss) of positions that are counted and have a loss.
fn counted_losses(losses: &[Option<f32>], counted: &[bool]) -> Vec<(usize, f64)> {
    let pairs = losses.iter().zip(counted).enumerate();
    pairs
        .filter(|(_, (_, counted))| **counted)
        .filter_map(|(i, (loss, _))| Some((i, f64::from((*loss)?))))
        .collect()
}

/// `KL(softmax(a) ‖ softmax(b))` in nats.
pub fn divergence(a: &[f32], b: &[f32]) -> f64 {
    let (log_a, log_b) = (log_normaliser(a), log_normaliser(b));
    let terms = a.iter().zip(b).map(|(&a, &b)| {
        let log_p = f64::from(a) - log_a;
        log_p.exp() * (log_p - (f64::from(b) - log_b))
    });
    // Rounding can leave a sum of −1e−17 where both are equal.
    terms.sum::<f64>().max(0.0)
}

/// log Σ exp.
fn log_normaliser(logits: &[f32]) -> f64 {
    let largest = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest + logits.iter().map(|&l| (f64::from(l) - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn divergence_by_its_definition() {
        // p = (1/2, 1/4, 1/4), q = (1/4, 1/4, 1/2), logits shifted by constants that must not matter.
        let (a, b) = ([2f32.ln() + 100.0, 100.0, 100.0], [-3.0, -3.0, 2f32.ln() - 3.0]);
        assert!((divergence(&a, &b) - 0.25 * 2f64.ln()).abs() < 1e-5);
        assert_eq!(divergence(&a, &a), 0.0);
        // A large logit overflows exp in single precision.
        assert!(close(divergence(&[1000.0, 0.0], &[0.0, 0.0]), 2f64.ln()));
    }

    #[test]
    fn figures_from_sums() {
        let mut sums = Behaviour::default();
        let logits = [0.0f32; 8];
        let counted = [true, true, false, true];
        let losses = |a: f32, b: f32| [Some(a), Some(b), Some(1000.0), None];
        let clean_losses = losses(1.0, 2.0);
        let clean = Predictions { logits: &logits, losses: &clean_losses };
        assert_eq!(sums.add_clean(clean, &counted), 2);
        let skewed: Vec<f32> = (0..8).map(|i| if i % 2 == 0 { 3f32.ln() } else { 0.0 }).collect();
        for (replacement, l) in
            Replacement::ALL.into_iter().zip([losses(1.5, 2.0), losses(5.0, 6.0), losses(3.0, 4.0)])
        {
            let of = if replacement == Replacement::Reconstruction { &logits[..] } else { &skewed };
            sums.add_replaced(replacement, clean, Predictions { logits: of, losses: &l }, &counted);
        }
        let f = sums.figures().unwrap();
        assert_eq!(
            (f.tokens, f.ce_clean, f.ce_reconstructed, f.ce_zero, f.ce_mean),
            (2, 1.5, 1.75, 5.5, 3.5)
        );
        assert_eq!((f.loss_recovered, f.loss_recovered_mean_ablation), (Some(3.75 / 4.0), Some(1.75 / 2.0)));
        // KL of the uniform distribution on two to (3/4, 1/4).
        let expected = 0.5 * (0.5f64 / 0.75).ln() + 0.5 * (0.5f64 / 0.25).ln();
        assert!((f.kl_zero - expected).abs() < 1e-6 && close(f.kl_zero, f.kl_mean));
        assert_eq!((f.kl, f.kl_score), (0.0, Some(1.0)));
    }

    #[test]
    fn nothing_counted_has_no_figures() {
        let mut sums = Behaviour::default();
        let p = Predictions { logits: &[0.0; 4], losses: &[None, Some(1.0)] };
        assert_eq!(sums.add_clean(p, &[true, false]), 0);
        assert_eq!(sums.figures(), None);
    }
}

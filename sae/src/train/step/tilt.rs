//! The tilted loss: rows that are reconstructed badly count for more.
//!
//! With `ℓ_b` the loss of a row (of nested dictionaries their mean), the batch's loss is `Σ_b w_b ℓ_b` with
//! `w = softmax(t · ℓ / mean ℓ)`; with t = 0 it is the mean. Weights count as constants, so the gradient is that of
//! `mean ℓ / t · ln mean_b exp(t ℓ_b / mean ℓ)` at a given mean: tilted empirical risk (Li et al. 2020).

/// The weights of rows with these `losses`, which add up to 1, and the tilted loss.
pub fn tilt(losses: &[f64], t: f64) -> (Vec<f64>, f64) {
    let mean = losses.iter().sum::<f64>() / losses.len().max(1) as f64;
    // Without any loss there is nothing to tell rows apart by.
    let scale = if mean > 0.0 { t / mean } else { 0.0 };
    let most = losses.iter().fold(0.0_f64, |most, &loss| most.max(loss));
    let mut weights: Vec<f64> = losses.iter().map(|loss| (scale * (loss - most)).exp()).collect();
    let sum: f64 = weights.iter().sum();
    weights.iter_mut().for_each(|w| *w /= sum);
    let loss = weights.iter().zip(losses).map(|(w, loss)| w * loss).sum();
    (weights, loss)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed elsewhere, in double precision.
    #[test]
    fn golden_losses() {
        for (t, expected) in [(0.01, 2.3400068), (1.0, 3.0133588), (0.0, 7.0 / 3.0)] {
            let (weights, loss) = tilt(&[1.0, 2.0, 4.0], t);
            assert!((loss - expected).abs() < 5e-8, "{t}: {loss}");
            assert!((weights.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn rows_of_any_size_have_weights() {
        assert_eq!(tilt(&[0.0, 0.0], 0.5), (vec![0.5, 0.5], 0.0));
        let (weights, loss) = tilt(&[1e300, 1.0], 900.0);
        assert_eq!((weights, loss), (vec![1.0, 0.0], 1e300));
    }
}

//! What some dictionaries do to every row before they encode it, and undo after decoding.

use std::borrow::Cow;

use rayon::prelude::*;

/// Added to a standard deviation before dividing by it.
const EPSILON: f32 = 1e-5;

/// Scaling of every row by its own figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Normalisation {
    /// Rows stay as they are.
    #[default]
    None,
    /// `(x − mean) / (σ + 1e-5)`, with the σ of a sample: SAELens's `layer_norm`, OpenAI's dictionaries.
    LayerNorm,
    /// `x · √d / ‖x‖`: SAELens's `constant_norm_rescale`.
    ConstantNorm,
}

impl Normalisation {
    /// SAELens's word.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::LayerNorm => "layer_norm",
            Self::ConstantNorm => "constant_norm_rescale",
        }
    }

    /// By SAELens's word.
    pub fn named(name: &str) -> Option<Self> {
        [Self::None, Self::LayerNorm, Self::ConstantNorm].into_iter().find(|n| n.name() == name)
    }

    /// The rows that are encoded, `[n, d]`. A row without any spread is only centred; a row of zeros stays.
    pub fn apply(self, x: &[f32], d: usize) -> Cow<'_, [f32]> {
        if self == Self::None {
            return Cow::Borrowed(x);
        }
        let mut out = x.to_vec();
        out.par_chunks_exact_mut(d).for_each(|row| {
            let (shift, factor) = self.figures(row);
            row.iter_mut().for_each(|v| *v = (*v - shift) * factor);
        });
        Cow::Owned(out)
    }

    /// Brings reconstructions `out[n, d]` of normalised rows back to the units of `x[n, d]`.
    pub fn undo(self, out: &mut [f32], x: &[f32], d: usize) {
        if self == Self::None {
            return;
        }
        out.par_chunks_exact_mut(d).zip(x.par_chunks_exact(d)).for_each(|(out, x)| {
            let (shift, factor) = self.figures(x);
            // The two programs multiply by σ, without what was added to it before.
            let back = if self == Self::LayerNorm { deviation(x, shift) } else { factor.recip() };
            out.iter_mut().for_each(|v| *v = *v * back + shift);
        });
    }

    /// What is subtracted from a row, and what it is multiplied with.
    fn figures(self, row: &[f32]) -> (f32, f32) {
        match self {
            Self::None => (0.0, 1.0),
            Self::LayerNorm => {
                let mean = (row.iter().map(|&v| f64::from(v)).sum::<f64>() / row.len() as f64) as f32;
                (mean, (deviation(row, mean) + EPSILON).recip())
            }
            Self::ConstantNorm => {
                let norm = kernels::wide::norm(row);
                (0.0, if norm > 0.0 { ((row.len() as f64).sqrt() / norm) as f32 } else { 1.0 })
            }
        }
    }
}

/// The standard deviation of a sample.
fn deviation(row: &[f32], mean: f32) -> f32 {
    let sum: f64 = row.iter().map(|&v| f64::from(v - mean).powi(2)).sum();
    (sum / row.len().saturating_sub(1).max(1) as f64).sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_applied_is_undone() {
        let x = [1.0, 2.0, 3.0, 6.0, 0.5, -0.5, 0.0, 0.0];
        let ln = Normalisation::LayerNorm.apply(&x, 4);
        // Of the first row: mean 3, σ² (4 + 1 + 0 + 9) / 3.
        let sigma = (14.0_f32 / 3.0).sqrt();
        assert!((ln[0] + 2.0 / sigma).abs() < 1e-5 && (ln[3] - 3.0 / sigma).abs() < 1e-5);
        let unit = Normalisation::ConstantNorm.apply(&x, 4);
        assert!((unit[..4].iter().map(|v| v * v).sum::<f32>() - 4.0).abs() < 1e-5);
        for (kind, rows) in [(Normalisation::LayerNorm, &ln), (Normalisation::ConstantNorm, &unit)] {
            let mut back = rows.to_vec();
            kind.undo(&mut back, &x, 4);
            for (a, b) in back.iter().zip(&x) {
                assert!((a - b).abs() < 1e-4, "{kind:?} {a} {b}");
            }
            assert_eq!(Normalisation::named(kind.name()), Some(kind));
        }
        assert_eq!(Normalisation::ConstantNorm.apply(&[0.0; 4], 4).as_ref(), [0.0; 4]);
    }
}

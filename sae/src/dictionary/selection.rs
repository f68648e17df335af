//! Which pre-activations become codes.

use super::Codes;
use kernels::topk::{self, Candidates};

/// The rule that selects the active features of a token.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// The `k` largest positive pre-activations of each token, ties to the lower feature.
    TopK(usize),
    /// Every pre-activation above its feature's threshold `[F]` and above 0 (JumpReLU; all zeros is ReLU).
    Threshold(Vec<f32>),
}

impl Selection {
    /// The codes of `products[n, F] + b_enc[F]`.
    pub(super) fn select(&self, products: &[f32], b_enc: &[f32], candidates: &mut Candidates) -> Codes {
        let mut codes = Codes::default();
        match self {
            Self::TopK(k) => {
                let (mut features, mut values) = (vec![0; *k], vec![0.0; *k]);
                for row in products.chunks_exact(b_enc.len()) {
                    let n = topk::select(row, b_enc, *k, candidates, &mut features, &mut values);
                    codes.push_row(&features[..n], &values[..n]);
                }
            }
            Self::Threshold(thresholds) => {
                for row in products.chunks_exact(b_enc.len()) {
                    for (f, ((product, bias), threshold)) in row.iter().zip(b_enc).zip(thresholds).enumerate()
                    {
                        let z = product + bias;
                        if z > threshold.max(0.0) {
                            codes.features.push(f as u32);
                            codes.values.push(z);
                        }
                    }
                    codes.offsets.push(codes.features.len());
                }
            }
        }
        codes
    }
}

//! Which pre-activations become codes.

use super::allocation::blocks::Blocks;
use super::{Codes, Cosine, Refined, Shrunk};
use kernels::topk::{self, Candidates};

/// The rule that selects the active features of a token.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// The `k` largest positive pre-activations of each token, ties to the lower feature.
    TopK(usize),
    /// Every pre-activation above its feature's threshold `[F]` and above 0 (JumpReLU; all zeros is ReLU).
    Threshold(Vec<f32>),
    /// The `k` pre-activations of largest magnitude of each token with their sign, ties to the lower feature: codes may be negative.
    AbsTopK(usize),
    /// The largest positive pre-activations of each block of features of each token, ties to the lower feature.
    BlockTopK(Blocks),
    /// Every pre-activation above one threshold, shrunk: codes are not the pre-activations.
    Shrunk(Shrunk),
    /// By a mixture of cosine and inner product. Encoder rows have norm 1.
    Cosine(Cosine),
    /// Twice: codes of a first guess and what it leaves.
    Refined(Refined),
    /// Greedy: the feature whose decoder row has the largest product with what is left of the token, again and again. `W_enc` is
    /// `W_dec`, `b_enc` is zero.
    MatchingPursuit {
        /// Enough if the norm of what is left is below this; 0: never.
        residual_threshold: f32,
        /// Steps at most; `d_in` if none are given.
        max_iterations: Option<usize>,
        /// Enough if a step takes a feature again.
        stop_on_duplicate_support: bool,
    },
}

impl Selection {
    /// Whether codes may be negative.
    pub fn is_signed(&self) -> bool {
        matches!(self, Self::AbsTopK(_))
    }

    /// What no other program's format has, in words; none for a selection that some have.
    pub(super) fn only_here(&self) -> Option<String> {
        match self {
            Self::BlockTopK(_) => Some(
                "no blocks of features: it would take the largest of a token wherever they are".to_owned(),
            ),
            Self::Shrunk(shrunk) => Some(format!("no {} shrinkage of codes", shrunk.kind.name())),
            Self::Cosine(_) => Some("no score that is part cosine, part inner product".to_owned()),
            Self::Refined(_) => Some("no encoder that corrects its codes by what they leave".to_owned()),
            _ => None,
        }
    }

    /// `topk`, `jumprelu`, … in the words of SAELens.
    pub fn name(&self) -> &'static str {
        match self {
            Self::TopK(_) => "topk",
            Self::Threshold(thresholds) if thresholds.iter().all(|t| *t == 0.0) => "relu",
            Self::Threshold(_) => "jumprelu",
            Self::AbsTopK(_) => "abstopk",
            Self::BlockTopK(_) => "block_topk",
            Self::Shrunk(_) => "shrinkage",
            Self::Cosine(_) => "cosine",
            Self::Refined(_) => "refined",
            Self::MatchingPursuit { .. } => "matching_pursuit",
        }
    }

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
            Self::AbsTopK(k) => {
                let (mut features, mut values) = (vec![0; *k], vec![0.0; *k]);
                let (mut magnitudes, zeros) = (Vec::new(), vec![0.0; b_enc.len()]);
                for row in products.chunks_exact(b_enc.len()) {
                    let z = |f: usize| row[f] + b_enc[f];
                    magnitudes.clear();
                    magnitudes.extend((0..row.len()).map(|f| z(f).abs()));
                    let n = topk::select(&magnitudes, &zeros, *k, candidates, &mut features, &mut values);
                    values.iter_mut().zip(&features).take(n).for_each(|(v, f)| *v = z(*f as usize));
                    codes.push_row(&features[..n], &values[..n]);
                }
            }
            Self::BlockTopK(blocks) => {
                let (mut features, mut values) = (vec![0; blocks.k], vec![0.0; blocks.k]);
                for row in products.chunks_exact(b_enc.len()) {
                    let n = blocks.select(row, b_enc, candidates, &mut features, &mut values);
                    codes.push_row(&features[..n], &values[..n]);
                }
            }
            Self::Shrunk(shrunk) => {
                let threshold = shrunk.threshold().max(0.0);
                for row in products.chunks_exact(b_enc.len()) {
                    for (f, (product, bias)) in row.iter().zip(b_enc).enumerate() {
                        let z = product + bias;
                        let code = if z > threshold { shrunk.code(z) } else { 0.0 };
                        if code > 0.0 {
                            codes.features.push(f as u32);
                            codes.values.push(code);
                        }
                    }
                    codes.offsets.push(codes.features.len());
                }
            }
            // Need more than pre-activations: `Dictionary::encode_exact` does not come here.
            Self::MatchingPursuit { .. } | Self::Cosine(_) | Self::Refined(_) => {
                products.chunks_exact(b_enc.len()).for_each(|_| codes.push_row(&[], &[]));
            }
        }
        codes
    }
}

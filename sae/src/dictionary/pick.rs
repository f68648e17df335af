//! Which of a token's scores are taken: the k largest, or all above a number.

use serde::{Deserialize, Serialize};

use kernels::topk::{self, Candidates};

/// How the scores of a token are cut. Only scores above 0 are ever taken.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pick {
    /// The k largest, ties to the lower feature.
    Best(usize),
    /// All above this.
    Above(f32),
}

/// Memory to pick with.
#[derive(Debug, Default)]
pub(super) struct PickMemory {
    candidates: Candidates,
    zeros: Vec<f32>,
    values: Vec<f32>,
    /// What was picked.
    features: Vec<u32>,
}

impl Pick {
    /// The features of `scores`, ascending.
    pub(super) fn of<'a>(self, scores: &[f32], memory: &'a mut PickMemory) -> &'a [u32] {
        let PickMemory { candidates, zeros, values, features } = memory;
        features.clear();
        match self {
            Self::Best(k) => {
                zeros.resize(scores.len(), 0.0);
                values.resize(k, 0.0);
                features.resize(k, 0);
                let n = topk::select(scores, zeros, k, candidates, features, values);
                features.truncate(n);
            }
            Self::Above(least) => {
                let above = (0..).zip(scores).filter(|(_, score)| **score > least.max(0.0));
                features.extend(above.map(|(f, _)| f));
            }
        }
        features
    }

    /// The same for scores that are `factor` times as large.
    pub(super) fn scaled(self, factor: f32) -> Self {
        match self {
            Self::Best(k) => Self::Best(k),
            Self::Above(least) => Self::Above(least * factor),
        }
    }

    /// k, where that is what limits.
    pub(crate) fn k(self) -> Option<usize> {
        match self {
            Self::Best(k) => Some(k),
            Self::Above(_) => None,
        }
    }

    /// Whether a dictionary of `features` features can be cut like that.
    pub(super) fn is_sound(self, features: usize) -> bool {
        match self {
            Self::Best(k) => (1..=features).contains(&k),
            Self::Above(least) => least.is_finite(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_positive_scores_are_taken() {
        let (scores, mut memory) = ([0.5, -2.0, 3.0, 0.0, 3.0, 1.0], PickMemory::default());
        assert_eq!(Pick::Best(2).of(&scores, &mut memory), [2, 4]);
        assert_eq!(Pick::Best(5).of(&scores, &mut memory), [0, 2, 4, 5]);
        assert_eq!(Pick::Above(0.5).of(&scores, &mut memory), [2, 4, 5]);
        assert_eq!(Pick::Above(-3.0).of(&scores, &mut memory), [0, 2, 4, 5]);
        assert_eq!(Pick::Above(0.5).scaled(4.0).of(&scores, &mut memory), [2, 4]);
    }
}

//! The kind of scores that a routing table keeps.
//!
//! Fields called `router_logits` hold logits in some versions of transformers and probabilities in others, so
//! the kind is found from the numbers and only then compared with what is declared.

use crate::{Error, Result};

/// The kind of scores that a table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScoreKind {
    /// Before the softmax.
    Logits,
    /// After it: no z-loss can be had.
    Probabilities,
    /// Sigmoids, each for itself (DeepSeek-V3); shares of their sum stand for probabilities.
    Sigmoid,
}

/// Scores whose sum is this near to 1 are probabilities; they may have been stored in half precision.
const SUM_TOLERANCE: f64 = 1e-3;

/// All ≥ 0 and summing to 1.
pub fn is_distribution(scores: &[f32]) -> bool {
    let sum: f64 = scores.iter().map(|&s| f64::from(s)).sum();
    scores.iter().all(|&s| s >= 0.0) && (sum - 1.0).abs() <= SUM_TOLERANCE
}

impl ScoreKind {
    /// Reads the name that a dataset's settings give.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "logits" | "logit" => Some(Self::Logits),
            "probabilities" | "softmax" | "softmax_prob" => Some(Self::Probabilities),
            "sigmoid" | "sigmoid+bias" => Some(Self::Sigmoid),
            _ => None,
        }
    }

    /// What `rows` of scores are, whatever is `declared`, and a remark if they differ. Rows with a single
    /// expert say nothing.
    ///
    /// # Errors
    /// Scores from 0 to 1 that do not sum to 1, if no kind is declared.
    pub fn of(rows: &[&[f32]], declared: Option<Self>) -> Result<(Self, Option<String>)> {
        let telling: Vec<&&[f32]> = rows.iter().filter(|row| row.len() > 1).collect();
        if telling.is_empty() || declared == Some(Self::Sigmoid) {
            return Ok((declared.unwrap_or(Self::Logits), None));
        }
        if telling.iter().all(|row| is_distribution(row)) {
            let remark = "scores are probabilities already (none below 0, every sum 1): taken as such, z-loss is not available";
            let surprise = declared != Some(Self::Probabilities);
            return Ok((Self::Probabilities, surprise.then(|| remark.to_owned())));
        }
        let between = telling.iter().all(|row| row.iter().all(|s| (0.0..=1.0).contains(s)));
        if declared.is_none() && between && telling.len() >= 8 {
            return Err(Error::data(
                "scores lie between 0 and 1 but do not sum to 1: neither logits nor softmax",
            )
            .with_remedy(
                "put \"score_kind\": \"sigmoid\" (or \"logits\") into the settings of dataset.json",
            ));
        }
        Ok((declared.unwrap_or(Self::Logits), None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_seen_for_what_they_are() {
        let p: &[f32] = &[0.7, 0.2, 0.1];
        let z: &[f32] = &[1.5, -0.2, 0.1];
        let (kind, remark) = ScoreKind::of(&[p, p], Some(ScoreKind::Logits)).unwrap();
        assert_eq!(kind, ScoreKind::Probabilities);
        assert!(remark.unwrap().contains("probabilities already"));
        assert_eq!(ScoreKind::of(&[p, p], Some(ScoreKind::Probabilities)).unwrap().1, None);
        // A row of logits may look like probabilities by chance; not all of them.
        assert_eq!(ScoreKind::of(&[p, z], None).unwrap().0, ScoreKind::Logits);
        let sigmoid: &[f32] = &[0.7, 0.9, 0.1];
        let message = ScoreKind::of(&[sigmoid; 8], None).unwrap_err().to_string();
        assert!(message.contains("sigmoid"), "{message}");
        assert_eq!(ScoreKind::of(&[sigmoid; 8], Some(ScoreKind::Sigmoid)).unwrap().0, ScoreKind::Sigmoid);
    }
}

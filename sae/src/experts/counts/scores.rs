//! Sums that need the router's whole distribution: load-balance loss, z-loss, margins.

use crate::experts::figures::{entropy, total};
use crate::experts::routing::{Choice, ScoreKind, is_distribution};
use crate::{Error, Result};

/// Sums over the tokens of one layer (and domain).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ScoreSums {
    /// Tokens with scores.
    pub tokens: u64,
    /// Slots they filled, by expert.
    pub slots: Vec<u64>,
    /// Σ p_e over tokens.
    pub probability: Vec<f64>,
    /// Σ (ln Σ exp z)², for logits.
    z_squared: f64,
    /// Tokens of it.
    z_tokens: u64,
    top1: f64,
    choice: f64,
    choices: u64,
    entropy: f64,
    /// Tokens whose logits might be probabilities: none below 0, sum 1.
    like_probabilities: u64,
}

impl ScoreSums {
    /// Nothing added yet.
    pub fn new(experts: usize) -> Self {
        Self { slots: vec![0; experts], probability: vec![0.0; experts], ..Self::default() }
    }

    /// Adds a token. `kind` must be the same for all.
    ///
    /// # Errors
    /// Scores that are not one per expert, not finite or not of `kind`.
    pub fn add(&mut self, choice: &Choice<'_>, kind: ScoreKind) -> Result<()> {
        let scores = choice.scores;
        if scores.len() != self.probability.len() {
            return Err(Error::data(format!(
                "{}: {} scores, expected one for each of {} experts",
                choice.place(),
                scores.len(),
                self.probability.len()
            )));
        }
        if let Some(bad) = scores.iter().find(|s| !s.is_finite()) {
            return Err(Error::data(format!(
                "{}: a score is {bad}, expected a finite number",
                choice.place()
            )));
        }
        let (p, log_sum) = probabilities(choice, kind)?;
        self.tokens += 1;
        self.probability.iter_mut().zip(&p).for_each(|(sum, p)| *sum += p);
        choice.experts.iter().for_each(|&e| self.slots[e as usize] += 1);
        if let Some(z) = log_sum {
            self.like_probabilities += u64::from(scores.len() > 1 && is_distribution(scores));
            self.z_squared += z * z;
            self.z_tokens += 1;
        }
        self.entropy += entropy(&p);
        self.margins(choice, &p);
        Ok(())
    }

    fn margins(&mut self, choice: &Choice<'_>, p: &[f64]) {
        let (mut first, mut second) = (0.0, 0.0);
        let (mut least_chosen, mut most_left) = (f64::INFINITY, f64::NEG_INFINITY);
        for (e, &p) in p.iter().enumerate() {
            if p > first {
                (first, second) = (p, first);
            } else if p > second {
                second = p;
            }
            if choice.experts.iter().any(|&chosen| chosen as usize == e) {
                least_chosen = least_chosen.min(p);
            } else {
                most_left = most_left.max(p);
            }
        }
        self.top1 += first - second;
        if least_chosen.is_finite() && most_left.is_finite() {
            self.choice += least_chosen - most_left;
            self.choices += 1;
        }
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.slots.iter_mut().zip(&other.slots).for_each(|(a, b)| *a += b);
        self.probability.iter_mut().zip(&other.probability).for_each(|(a, b)| *a += b);
        self.z_squared += other.z_squared;
        self.z_tokens += other.z_tokens;
        self.top1 += other.top1;
        self.choice += other.choice;
        self.choices += other.choices;
        self.entropy += other.entropy;
        self.like_probabilities += other.like_probabilities;
    }

    /// Share of the tokens with logits whose logits look like probabilities; by chance nearly none do.
    pub fn like_probabilities(&self) -> f64 {
        if self.z_tokens == 0 { 0.0 } else { self.like_probabilities as f64 / self.z_tokens as f64 }
    }

    /// Load-balance loss `E Σ_e f_e P_e` with f_e the share of slots and P_e the mean probability (Switch's
    /// convention, for any k): 1 = balanced. `None` without slots.
    pub fn balance_loss(&self) -> Option<f64> {
        let slots = total(&self.slots);
        (slots > 0).then(|| self.product() * self.slots.len() as f64 / (slots as f64 * self.tokens as f64))
    }

    /// What `load_balancing_loss_func` of transformers gives for these tokens: k slots per token are summed,
    /// not averaged, so that k = balanced. It pools the tokens of all layers: merge them before.
    pub fn hugging_face_loss(&self) -> Option<f64> {
        (self.tokens > 0)
            .then(|| self.product() * self.slots.len() as f64 / (self.tokens as f64 * self.tokens as f64))
    }

    fn product(&self) -> f64 {
        self.slots.iter().zip(&self.probability).map(|(&n, p)| n as f64 * p).sum()
    }

    /// Mean (ln Σ exp z)²; `None` when the scores are not logits.
    pub fn z_loss(&self) -> Option<f64> {
        (self.z_tokens > 0).then(|| self.z_squared / self.z_tokens as f64)
    }

    /// Mean of the largest minus the second probability; `None` for a single expert.
    pub fn top1_margin(&self) -> Option<f64> {
        (self.tokens > 0 && self.probability.len() > 1).then(|| self.top1 / self.tokens as f64)
    }

    /// Mean of the smallest chosen minus the largest left-out probability; `None` where nothing is left out.
    pub fn choice_margin(&self) -> Option<f64> {
        (self.choices > 0).then(|| self.choice / self.choices as f64)
    }

    /// Mean entropy of the distribution, nats.
    pub fn router_entropy(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.entropy / self.tokens as f64)
    }
}

/// Probabilities of one token, and ln Σ exp z where the scores are logits.
fn probabilities(choice: &Choice<'_>, kind: ScoreKind) -> Result<(Vec<f64>, Option<f64>)> {
    let scores = choice.scores;
    if kind == ScoreKind::Logits {
        let largest = f64::from(scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let exp: Vec<f64> = scores.iter().map(|&s| (f64::from(s) - largest).exp()).collect();
        let sum: f64 = exp.iter().sum();
        return Ok((exp.iter().map(|e| e / sum).collect(), Some(largest + sum.ln())));
    }
    let sum: f64 = scores.iter().map(|&s| f64::from(s)).sum();
    let wrong = match kind {
        ScoreKind::Probabilities => !is_distribution(scores),
        _ => scores.iter().any(|s| !(0.0..=1.0).contains(s)) || sum <= 0.0,
    };
    if wrong {
        return Err(Error::data(format!(
            "{}: scores are not {} (sum {sum}), but those of the first rows are: a table holds one kind of score",
            choice.place(),
            if kind == ScoreKind::Probabilities { "probabilities" } else { "sigmoids" }
        )));
    }
    Ok((scores.iter().map(|&s| f64::from(s) / sum).collect(), None))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sums(rows: &[(&[u32], &[f32])], kind: ScoreKind) -> ScoreSums {
        let mut sums = ScoreSums::new(rows[0].1.len());
        for (experts, scores) in rows {
            sums.add(&Choice { experts, scores, ..Choice::default() }, kind).unwrap();
        }
        sums
    }

    #[test]
    fn a_balanced_layer_has_loss_one_and_k_by_hugging_face() {
        let flat: &[f32] = &[0.0; 4];
        let s =
            sums(&[(&[0, 1], flat), (&[2, 3], flat), (&[1, 2], flat), (&[0, 3], flat)], ScoreKind::Logits);
        assert!((s.balance_loss().unwrap() - 1.0).abs() < 1e-12);
        assert!((s.hugging_face_loss().unwrap() - 2.0).abs() < 1e-12);
        assert!((s.z_loss().unwrap() - 4f64.ln().powi(2)).abs() < 1e-12);
        assert!((s.router_entropy().unwrap() - 4f64.ln()).abs() < 1e-12);
        assert_eq!((s.top1_margin(), s.choice_margin()), (Some(0.0), Some(0.0)));
    }

    /// By hand: p = (1/2, 1/4, 1/4) twice, both choose expert 0: f = (1, 0, 0), P = p, loss 3 · 1/2.
    #[test]
    fn a_collapsed_layer() {
        let z: &[f32] = &[2f32.ln() + 3.0, 3.0, 3.0];
        let s = sums(&[(&[0], z), (&[0], z)], ScoreKind::Logits);
        assert!((s.balance_loss().unwrap() - 1.5).abs() < 1e-6);
        assert!((s.top1_margin().unwrap() - 0.25).abs() < 1e-6);
        assert!((s.choice_margin().unwrap() - 0.25).abs() < 1e-6);
        assert!((s.z_loss().unwrap() - (3.0 + 4f64.ln()).powi(2)).abs() < 1e-5);
        let p = sums(&[(&[0], &[0.5, 0.25, 0.25]), (&[0], &[0.5, 0.25, 0.25])], ScoreKind::Probabilities);
        assert!((p.balance_loss().unwrap() - 1.5).abs() < 1e-12);
        assert_eq!(p.z_loss(), None, "what the softmax took away does not come back");
    }

    /// Two layers with opposite imbalance: balanced when pooled, as the Hugging Face function does, not by
    /// themselves.
    #[test]
    fn pooling_layers_hides_imbalance() {
        let (to_0, to_1) = ([5f32, 0.0], [0f32, 5.0]);
        let a = sums(&[(&[0], &to_0), (&[0], &to_0)], ScoreKind::Logits);
        let b = sums(&[(&[1], &to_1), (&[1], &to_1)], ScoreKind::Logits);
        assert!(a.balance_loss().unwrap() > 1.9 && b.balance_loss().unwrap() > 1.9);
        let mut pooled = a;
        pooled.merge(&b);
        assert!((pooled.hugging_face_loss().unwrap() - 1.0).abs() < 1e-9);
    }

    #[test]
    fn a_row_of_another_kind_is_refused() {
        let z: &[f32] = &[1.5, -0.2, 0.1];
        let message = ScoreSums::new(3)
            .add(&Choice { document: 4, scores: z, ..Choice::default() }, ScoreKind::Probabilities)
            .unwrap_err()
            .to_string();
        assert!(message.contains("document 4") && message.contains("one kind"), "{message}");
    }

    #[test]
    fn damaged_scores_are_named() {
        let mut s = ScoreSums::new(3);
        for (scores, expected) in [(&[1.0f32, 2.0][..], "2 scores"), (&[1.0, f32::NAN, 0.0], "NaN")] {
            let choice = Choice { position: 9, scores, ..Choice::default() };
            let message = s.add(&choice, ScoreKind::Logits).unwrap_err().to_string();
            assert!(message.contains(expected) && message.contains("position 9"), "{message}");
        }
        assert_eq!((s.balance_loss(), s.z_loss(), s.top1_margin()), (None, None, None));
    }
}

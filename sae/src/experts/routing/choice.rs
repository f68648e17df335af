//! What one token was routed to in one layer, and whether that can be true.

use crate::{Error, Result};

/// What one token was routed to in one layer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Choice<'a> {
    /// Document of the token.
    pub document: u32,
    /// Position of the token in its document.
    pub position: u32,
    /// The token.
    pub token: u32,
    /// Layer of the router.
    pub layer: u16,
    /// Chosen experts, each at most once, the strongest first; empty when the token skipped the layer.
    pub experts: &'a [u32],
    /// Weight applied to each chosen expert's output, as long as `experts`.
    pub weights: &'a [f32],
    /// Entropy of the router's full distribution, nats.
    pub entropy: f32,
    /// The router's scores of all experts; empty when they were not kept.
    pub scores: &'a [f32],
}

/// What the applied weights of a token add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum WeightRule {
    /// Nobody says.
    #[default]
    Any,
    /// To this number.
    SumTo(f32),
    /// To no more than this number.
    AtMost(f32),
}

/// Weights may have been stored in half precision (bf16: 0.4 % a number).
const WEIGHT_TOLERANCE: f32 = 0.01;

impl WeightRule {
    /// The sum of `weights`, if it breaks the rule. A token without experts breaks none.
    pub fn broken(self, weights: &[f32]) -> Option<f32> {
        let sum: f32 = weights.iter().sum();
        let fits = match self {
            Self::Any => true,
            Self::SumTo(wanted) => (sum - wanted).abs() <= WEIGHT_TOLERANCE * wanted,
            Self::AtMost(most) => sum <= most * (1.0 + WEIGHT_TOLERANCE),
        };
        (!fits && !weights.is_empty()).then_some(sum)
    }
}

impl std::fmt::Display for WeightRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Any => f.write_str("any sum"),
            Self::SumTo(sum) => write!(f, "a sum of {sum}"),
            Self::AtMost(sum) => write!(f, "a sum of at most {sum}"),
        }
    }
}

impl Choice<'_> {
    /// The row as errors name it.
    pub fn place(&self) -> String {
        format!("routing of document {}, position {}, layer {}", self.document, self.position, self.layer)
    }

    /// The largest minus the second weight; `None` for a token with fewer than two experts.
    pub fn weight_margin(&self) -> Option<f32> {
        let (mut first, mut second) = (f32::NEG_INFINITY, f32::NEG_INFINITY);
        for &w in self.weights {
            if w > first {
                (first, second) = (w, first);
            } else {
                second = second.max(w);
            }
        }
        (self.weights.len() > 1).then_some(first - second)
    }

    /// An error that names the row when it cannot come from a layer of `experts` experts with this rule.
    ///
    /// # Errors
    /// What cannot be true: an expert that does not exist or is chosen twice, numbers that are not finite,
    /// weights that do not sum as `rule` says.
    pub fn check(&self, experts: usize, rule: WeightRule) -> Result<()> {
        if self.experts.len() != self.weights.len() {
            let (e, w) = (self.experts.len(), self.weights.len());
            return Err(Error::data(format!("{}: {e} experts but {w} weights", self.place())));
        }
        if let Some(&expert) = self.experts.iter().find(|&&e| e as usize >= experts) {
            let last = experts.saturating_sub(1);
            return Err(Error::data(format!(
                "{}: expert {expert}, but the model's experts are 0…{last}",
                self.place()
            ))
            .with_remedy("harvest the routing again with --routing"));
        }
        if let Some(i) = (1..self.experts.len()).find(|&i| self.experts[..i].contains(&self.experts[i])) {
            return Err(Error::data(format!("{}: expert {} is chosen twice", self.place(), self.experts[i])));
        }
        if let Some(w) = self.weights.iter().copied().chain([self.entropy]).find(|w| !w.is_finite()) {
            let place = self.place();
            return Err(Error::data(format!(
                "{place}: a weight or entropy is {w}, expected a finite number"
            )));
        }
        match rule.broken(self.weights) {
            Some(sum) => Err(Error::data(format!(
                "{}: the weights sum to {sum}, but the model's rule is {rule}; they are not the weights that were applied",
                self.place()
            )).with_remedy("harvest the routing again, or put \"weights\": \"any\" into the settings of dataset.json")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_weights() {
        let sum = WeightRule::SumTo(1.0);
        assert_eq!(sum.broken(&[0.6, 0.4]), None);
        assert_eq!(sum.broken(&[0.25, 0.5]), Some(0.75));
        assert_eq!(sum.broken(&[]), None, "a skipped token has no weights");
        assert_eq!(WeightRule::SumTo(2.5).broken(&[1.327_439, 1.172_561]), None);
        assert_eq!(WeightRule::AtMost(1.0).broken(&[0.38, 0.23]), None);
        assert_eq!(WeightRule::AtMost(1.0).broken(&[0.75, 0.5]), Some(1.25));
        assert_eq!(WeightRule::Any.broken(&[7.0]), None);
    }

    #[test]
    fn margins_do_not_depend_on_the_order() {
        let of = |weights: &[f32]| Choice { weights, ..Choice::default() }.weight_margin();
        assert_eq!((of(&[0.5, 0.25]), of(&[0.125, 0.25, 0.5])), (Some(0.25), Some(0.25)));
        assert_eq!((of(&[0.5]), of(&[])), (None, None));
    }
}

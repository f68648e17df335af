//! Counts of expert usage per layer and domain: one fold over the routing table, and nothing else is kept.

use std::collections::BTreeMap;

use crate::experts::figures::total;
use crate::experts::routing::{Choice, WeightRule};
use crate::{Error, Result};

/// Sums over the tokens of one domain (or of all) in one layer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Load {
    /// Tokens seen.
    pub tokens: u64,
    /// `slots[e]`: tokens that chose expert e.
    pub slots: Vec<u64>,
    /// `weights[e]`: sum of the weights with which e was applied.
    pub weights: Vec<f64>,
    /// Sum over tokens of the router's entropy, nats.
    pub entropy: f64,
    /// Largest number of experts that one token chose.
    pub k: usize,
    /// Tokens that chose any expert.
    pub used: u64,
    /// Sum of [`Choice::weight_margin`].
    pub margin: f64,
    /// Tokens that have such a margin.
    pub margins: u64,
}

impl Load {
    fn new(experts: usize) -> Self {
        Self { slots: vec![0; experts], weights: vec![0.0; experts], ..Self::default() }
    }

    fn add(&mut self, choice: &Choice<'_>) {
        self.tokens += 1;
        self.entropy += f64::from(choice.entropy);
        self.k = self.k.max(choice.experts.len());
        self.used += u64::from(!choice.experts.is_empty());
        if let Some(margin) = choice.weight_margin() {
            self.margin += f64::from(margin);
            self.margins += 1;
        }
        for (&expert, &weight) in choice.experts.iter().zip(choice.weights) {
            self.slots[expert as usize] += 1;
            self.weights[expert as usize] += f64::from(weight);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.entropy += other.entropy;
        self.k = self.k.max(other.k);
        self.used += other.used;
        self.margin += other.margin;
        self.margins += other.margins;
        self.slots.iter_mut().zip(&other.slots).for_each(|(sum, n)| *sum += n);
        self.weights.iter_mut().zip(&other.weights).for_each(|(sum, w)| *sum += w);
    }

    /// Share of all slots that went to each expert, 0 when there are no slots.
    pub fn shares(&self) -> impl Iterator<Item = f64> {
        let total = total(&self.slots).max(1) as f64;
        self.slots.iter().map(move |&slots| slots as f64 / total)
    }

    /// Mean weight with which `expert` was applied where it was chosen; `None` when it never was.
    pub fn mean_weight(&self, expert: usize) -> Option<f64> {
        (self.slots[expert] > 0).then(|| self.weights[expert] / self.slots[expert] as f64)
    }

    /// Mean entropy of the router over the tokens, nats; `None` without tokens.
    pub fn router_entropy(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.entropy / self.tokens as f64)
    }
}

impl Load {
    /// Share of the tokens that chose any expert; `None` without tokens. Below 1 only where a token may skip
    /// the layer.
    pub fn activation_density(&self) -> Option<f64> {
        (self.tokens > 0).then(|| self.used as f64 / self.tokens as f64)
    }

    /// Mean of the largest minus the second applied weight; `None` where no token has two.
    pub fn weight_margin(&self) -> Option<f64> {
        (self.margins > 0).then(|| self.margin / self.margins as f64)
    }
}

/// Usage of the experts of every layer, by domain.
#[derive(Debug, Clone)]
pub struct Usage {
    /// Experts per layer.
    experts: usize,
    rule: WeightRule,
    domains: Vec<String>,
    layers: BTreeMap<u16, Vec<Load>>,
}

impl Usage {
    /// Nothing counted yet, for a model with `experts` experts per layer and tokens of these `domains`.
    pub fn new(experts: usize, domains: Vec<String>) -> Self {
        Self { experts, rule: WeightRule::Any, domains, layers: BTreeMap::new() }
    }

    /// Rows whose weights break `rule` become errors.
    pub fn with_rule(self, rule: WeightRule) -> Self {
        Self { rule, ..self }
    }

    /// Counts one token's choice in one layer; `domain` is an index into the domains given to [`Usage::new`].
    ///
    /// # Errors
    /// A choice that cannot be true.
    pub fn add(&mut self, domain: usize, choice: &Choice<'_>) -> Result<()> {
        choice.check(self.experts, self.rule)?;
        let Self { experts, domains, layers, .. } = self;
        let loads = layers.entry(choice.layer).or_insert_with(|| vec![Load::new(*experts); domains.len()]);
        let load = loads.get_mut(domain).ok_or_else(|| {
            Error::data(format!("document {}: domain number {domain} is not in the table", choice.document))
        })?;
        load.add(choice);
        Ok(())
    }

    /// Experts per layer.
    pub fn experts(&self) -> usize {
        self.experts
    }

    /// Names of the domains, in the order of [`Usage::by_domain`].
    pub fn domains(&self) -> &[String] {
        &self.domains
    }

    /// Layers that were seen, ascending.
    pub fn layers(&self) -> impl Iterator<Item = u16> {
        self.layers.keys().copied()
    }

    /// Loads of `layer`, one per domain; empty when the layer was not seen.
    pub fn by_domain(&self, layer: u16) -> &[Load] {
        self.layers.get(&layer).map_or(&[], Vec::as_slice)
    }

    /// Load of `layer` over all domains.
    pub fn over_all(&self, layer: u16) -> Load {
        let mut sum = Load::new(self.experts);
        self.by_domain(layer).iter().for_each(|load| sum.merge(load));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choice<'a>(layer: u16, experts: &'a [u32], weights: &'a [f32]) -> Choice<'a> {
        Choice { document: 3, position: 5, layer, experts, weights, entropy: 0.5, ..Choice::default() }
    }

    fn usage() -> Usage {
        Usage::new(4, vec!["code".into(), "prose".into()])
    }

    #[test]
    fn counts_by_domain_add_up() {
        let mut usage = usage();
        usage.add(0, &choice(2, &[0, 3], &[0.75, 0.25])).unwrap();
        usage.add(1, &choice(2, &[3, 1], &[0.5, 0.5])).unwrap();
        usage.add(1, &choice(7, &[], &[])).unwrap();
        assert_eq!(usage.layers().collect::<Vec<_>>(), [2, 7]);
        let all = usage.over_all(2);
        assert_eq!((all.tokens, all.k, all.slots.as_slice()), (2, 2, [1, 1, 0, 2].as_slice()));
        assert_eq!(
            (all.shares().nth(3), all.mean_weight(3), all.mean_weight(2)),
            (Some(0.5), Some(0.375), None)
        );
        assert_eq!(all.router_entropy(), Some(0.5));
        assert_eq!(usage.by_domain(2)[1].slots, [0, 1, 0, 1]);
        let skipped = usage.over_all(7);
        assert_eq!((skipped.tokens, skipped.k, skipped.shares().next()), (1, 0, Some(0.0)));
        assert_eq!((skipped.activation_density(), all.activation_density()), (Some(0.0), Some(1.0)));
        assert_eq!((skipped.weight_margin(), all.weight_margin()), (None, Some(0.25)));
        assert_eq!(usage.over_all(9).router_entropy(), None);
    }

    #[test]
    fn damaged_rows_are_named() {
        let cases: [(&[u32], &[f32], &str); 4] = [
            (&[4], &[1.0], "expert 4, but the model's experts are 0…3"),
            (&[1, 2], &[1.0], "2 experts but 1 weights"),
            (&[1, 1], &[0.5, 0.5], "expert 1 is chosen twice"),
            (&[1], &[f32::NAN], "NaN"),
        ];
        for (experts, weights, expected) in cases {
            let message = usage().add(0, &choice(1, experts, weights)).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
            assert!(message.contains("document 3, position 5, layer 1"), "{message}");
        }
    }
}

//! Routers of mixture-of-experts layers: which experts a token goes to and with what weight.

use candle_core::{D, Tensor};
use rayon::prelude::*;

use super::Site;
use super::config::{Groups, RouterConfig, Score};
use super::load::Linear;
use super::sparsity::ExpectedSparsity;
use super::switches::{self, Switches};
use super::tap::Visitor;
use crate::Result;

/// The decisions of one layer's router over a batch of tokens: one record for every kind of router.
#[derive(Debug, Clone)]
pub struct Routing {
    /// Layer of the model.
    pub layer: usize,
    /// Experts per token, k.
    pub k: usize,
    /// Number of experts E.
    pub experts: usize,
    /// Chosen experts `[tokens, k]`, the best score first, ties to the lower number. See [`Routing::of`].
    pub chosen: Vec<u32>,
    /// Weights really multiplied into the experts' outputs, `[tokens, k]`; 0 for a dropped choice.
    pub weights: Vec<f32>,
    /// Entropy in nats of the router's whole distribution, `[tokens]`; of modules that are switched, the sum of
    /// their switches' entropies.
    pub entropy: Vec<f32>,
    /// What the logits become before the choice.
    pub score: Score,
    /// Whether every token also goes through a shared expert.
    pub shared: bool,
    /// Choices `[tokens, k]` that were dropped because their expert was full; empty if the router drops none.
    pub dropped: Vec<bool>,
    /// Router logits `[tokens, E]`, differentiable.
    pub logits: Tensor,
    /// The scores as a distribution `[tokens, E]`, differentiable: softmax of the logits, or sigmoids over
    /// their sum. Of modules that are switched, the probability that each is on.
    pub probabilities: Tensor,
    /// Of a router that is the product of two (Monet), their shape: then `logits` and `probabilities` are
    /// theirs, `[tokens, 2 · H · √E]`, and `chosen` are the experts of largest weight, not all that have one.
    pub product: Option<ProductOfRouters>,
    /// Whether the experts are modules that are switched on one by one: then `chosen` are all of them, and those
    /// that are off have weight 0.
    pub switched: bool,
}

impl Routing {
    /// The experts that token `t` goes to, and their weights: what was chosen, without the experts of weight 0 that
    /// fill up the lists of Monet and of modules that are switched. A choice that was dropped is among them.
    pub fn of(&self, t: usize) -> (&[u32], &[f32]) {
        let all = t * self.k..(t + 1) * self.k;
        let weights = &self.weights[all.clone()];
        let filled = self.product.is_some() || self.switched;
        // Both lists have the largest weights first.
        let n = if filled { weights.iter().take_while(|w| **w > 0.0).count() } else { self.k };
        (&self.chosen[all][..n], &weights[..n])
    }
}

/// The shape of Monet's two routers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProductOfRouters {
    /// Heads H of each.
    pub heads: usize,
    /// Halves that each chooses from, √E.
    pub side: usize,
}

/// What logits come from.
#[derive(Debug)]
pub(super) enum Gate {
    /// Rows `[E, d_model]`, with a bias in some families.
    Rows(Linear),
    /// The experts' own weights.
    Sparsity(ExpectedSparsity),
    /// A switch for every expert.
    Switches(Switches),
}

impl Gate {
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Rows(rows) => rows.forward(x),
            Self::Sparsity(of) => of.forward(x),
            Self::Switches(of) => of.forward(x),
        }
    }
}

/// A router.
#[derive(Debug)]
pub(super) struct Router {
    pub gate: Gate,
    /// Added to the scores for the choice alone, `[E]`.
    pub correction: Option<Vec<f32>>,
    /// What the weight of a choice is multiplied by, `[E]` (Gemma 4).
    pub expert_scale: Option<Tensor>,
    pub k: usize,
    pub experts: usize,
    pub config: RouterConfig,
    pub shared: bool,
}

impl Router {
    /// Routes `x [rows, len, d_model]`, shows the record to the tap; the weights are a differentiable
    /// `[tokens, k]`.
    ///
    /// `sequences [tokens]` tells what a capacity counts over; `used [E]`, what it counted before the first of
    /// them.
    ///
    /// # Errors
    /// An error of the tap; an `x` of a different width.
    pub fn route(
        &self,
        x: &Tensor,
        sequences: &[u32],
        used: Option<&mut Vec<usize>>,
        tap: &mut Visitor<'_>,
    ) -> Result<(Routing, Tensor)> {
        let (rows, len, _) = x.dims3()?;
        let tokens = rows * len;
        let logits = tap.visit(Site::RouterLogits, self.gate.forward(x)?)?.reshape((tokens, self.experts))?;
        let scores = match self.config.score {
            Score::Softmax => candle_nn::ops::softmax(&logits, D::Minus1)?,
            Score::Sigmoid => candle_nn::ops::sigmoid(&logits)?,
            Score::SoftmaxOfChosen => logits.clone(),
        };
        tap.show(Site::RouterScores, &scores.reshape((rows, len, self.experts))?)?;
        // Sigmoids round: two logits around 0 may have the same.
        let ranked = if self.config.switched { &logits } else { &scores };
        let chosen = self.choose(ranked, &logits)?;
        let ids = Tensor::from_slice(&chosen, (tokens, self.k), x.device())?;
        tap.show(Site::ExpertIndices, &ids.reshape((rows, len, self.k))?)?;
        let mut weights = self.weights(&scores.gather(&ids, 1)?)?;
        if self.config.switched {
            weights = (weights * switches::on(&logits.gather(&ids, 1)?)?)?;
        }
        if let Some(scale) = &self.expert_scale {
            weights = (weights * scale.index_select(&ids.flatten_all()?, 0)?.reshape((tokens, self.k))?)?;
        }
        let mut own = Vec::new();
        let dropped = match self.config.capacity {
            Some(capacity) => {
                let used = used.unwrap_or(&mut own);
                over_capacity(&chosen, self.k, self.experts, sequences, capacity, used)
            }
            None => Vec::new(),
        };
        if dropped.contains(&true) {
            let kept: Vec<f32> = dropped.iter().map(|&d| f32::from(u8::from(!d))).collect();
            weights = (weights * Tensor::from_vec(kept, (tokens, self.k), x.device())?)?;
        }
        let weights = tap.visit(Site::ExpertWeights, weights.reshape((rows, len, self.k))?)?;
        let weights = weights.reshape((tokens, self.k))?;
        let probabilities = match self.config.score {
            Score::Softmax => scores,
            Score::Sigmoid if self.config.switched => scores,
            Score::Sigmoid => scores.broadcast_div(&scores.sum_keepdim(1)?)?,
            Score::SoftmaxOfChosen => candle_nn::ops::softmax(&logits, D::Minus1)?,
        };
        let p = probabilities.flatten_all()?.to_vec1::<f32>()?;
        let entropy = if self.config.switched { switches::entropy } else { entropy };
        let routing = Routing {
            layer: tap.layer(),
            k: self.k,
            experts: self.experts,
            chosen,
            weights: weights.flatten_all()?.to_vec1()?,
            entropy: p.par_chunks(self.experts).map(entropy).collect(),
            score: self.config.score,
            shared: self.shared,
            dropped,
            logits,
            probabilities,
            product: None,
            switched: self.config.switched,
        };
        tap.routing(&routing)?;
        Ok((routing, weights))
    }

    /// The k best experts of every token, `[tokens, k]`. An expert whose logit a tap made −∞ is out of the
    /// question, also where a correction is added to its score, as long as k others are left.
    fn choose(&self, scores: &Tensor, logits: &Tensor) -> Result<Vec<u32>> {
        let scores = scores.flatten_all()?.to_vec1::<f32>()?;
        let logits = logits.flatten_all()?.to_vec1::<f32>()?;
        let choose = |(row, logits): (&[f32], &[f32])| {
            let mut row = row.to_vec();
            if let Some(correction) = &self.correction {
                row.iter_mut().zip(correction).for_each(|(s, c)| *s += c);
            }
            for (score, _) in row.iter_mut().zip(logits).filter(|(_, z)| **z == f32::NEG_INFINITY) {
                *score = f32::NEG_INFINITY;
            }
            if let Some(groups) = self.config.groups {
                only_best_groups(&mut row, groups);
            }
            best(&row, self.k)
        };
        let rows = scores.par_chunks(self.experts).zip(logits.par_chunks(self.experts));
        Ok(rows.flat_map_iter(choose).collect())
    }

    /// What the chosen scores `[tokens, k]` become as weights.
    fn weights(&self, chosen: &Tensor) -> Result<Tensor> {
        let mut weights = match self.config.score {
            Score::SoftmaxOfChosen => candle_nn::ops::softmax(chosen, D::Minus1)?,
            _ => chosen.clone(),
        };
        if self.config.normalise {
            // DeepSeek-V3 adds 10⁻²⁰, which keeps a sum of zeros from dividing and changes no other.
            weights = weights.broadcast_div(&(weights.sum_keepdim(1)? + 1e-20)?)?;
        }
        if self.config.scale != 1.0 {
            weights = (weights * self.config.scale)?;
        }
        Ok(weights)
    }
}

/// Numbers of the `k` largest entries, largest first, ties to the lower number.
fn best(row: &[f32], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..row.len() as u32).collect();
    order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
    order.truncate(k);
    order
}

/// Puts every expert outside the best groups out of the question. A group is worth the sum of its best
/// scores.
fn only_best_groups(row: &mut [f32], groups: Groups) {
    let size = row.len() / groups.count;
    let worth = |group: &[f32]| {
        let best = best(group, groups.best).into_iter().map(|e| group[e as usize]);
        // A group is not out of the question because one of its experts is.
        best.filter(|s| *s > f32::NEG_INFINITY).reduce(|a, b| a + b).unwrap_or(f32::NEG_INFINITY)
    };
    let worths: Vec<f32> = row.chunks(size).map(worth).collect();
    let kept = best(&worths, groups.keep);
    for (g, group) in row.chunks_mut(size).enumerate() {
        if !kept.contains(&(g as u32)) {
            group.fill(f32::NEG_INFINITY);
        }
    }
}

/// Which choices come after the first `capacity` ones of their expert in their sequence. `used` counts them, from
/// what the first sequence has used before.
fn over_capacity(
    chosen: &[u32],
    k: usize,
    experts: usize,
    sequences: &[u32],
    capacity: usize,
    used: &mut Vec<usize>,
) -> Vec<bool> {
    used.resize(experts, 0);
    let mut dropped = Vec::with_capacity(chosen.len());
    for (token, choices) in chosen.chunks(k).enumerate() {
        if token > 0 && sequences[token] != sequences[token - 1] {
            used.fill(0);
        }
        for &e in choices {
            used[e as usize] += 1;
            dropped.push(used[e as usize] > capacity);
        }
    }
    dropped
}

pub(super) fn entropy(row: &[f32]) -> f32 {
    -row.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::super::{Hook, NoTap, Tap};
    use super::*;
    use candle_core::{DType, Device};

    const PLAIN: RouterConfig = RouterConfig {
        score: Score::Softmax,
        bias: false,
        correction: false,
        groups: None,
        normalise: false,
        scale: 1.0,
        capacity: None,
        by_sparsity: false,
        switched: false,
    };

    /// The published vector z = (2, 1, .5, 0, −.5, −1, 1.5, .2) for every token: an input of ones makes the
    /// weight column the logits.
    fn route(config: RouterConfig, correction: Option<[f32; 8]>, k: usize, tokens: usize) -> Routing {
        let z = Tensor::new(&[2f32, 1.0, 0.5, 0.0, -0.5, -1.0, 1.5, 0.2], &Device::Cpu).unwrap();
        let gate = Gate::Rows(Linear::new(z.reshape((8, 1)).unwrap(), None));
        let correction = correction.map(|c| c.to_vec());
        let router = Router { gate, correction, expert_scale: None, k, experts: 8, config, shared: false };
        let x = Tensor::ones((1, tokens, 1), DType::F32, &Device::Cpu).unwrap();
        let sequences: Vec<u32> = (0..tokens as u32).map(|t| t / 3).collect();
        router.route(&x, &sequences, None, &mut Visitor::new(3, &mut NoTap)).unwrap().0
    }

    fn check(routing: &Routing, chosen: [u32; 2], weights: [f32; 2]) {
        assert_eq!((routing.layer, routing.chosen.as_slice()), (3, chosen.as_slice()));
        for (found, wanted) in routing.weights.iter().zip(weights) {
            assert!((found - wanted).abs() < 2e-6 * wanted.abs().max(1.0), "{found}, expected {wanted}");
        }
    }

    #[test]
    fn golden_vectors() {
        check(&route(PLAIN, None, 2, 1), [0, 6], [0.380_221, 0.230_616]);
        check(&route(RouterConfig { normalise: true, ..PLAIN }, None, 2, 1), [0, 6], [0.622_459, 0.377_541]);
        let of_chosen = RouterConfig { score: Score::SoftmaxOfChosen, ..PLAIN };
        check(&route(of_chosen, None, 2, 1), [0, 6], [0.622_459, 0.377_541]);
        let groups = |best| Some(Groups { count: 4, keep: 2, best });
        let v3 = RouterConfig {
            score: Score::Sigmoid,
            correction: true,
            groups: groups(2),
            normalise: true,
            scale: 2.5,
            ..PLAIN
        };
        let correction = [0.0, 0.0, 0.5, 0.0, 0.0, 0.9, 0.0, 0.3];
        let found = route(v3, Some(correction), 2, 1);
        check(&found, [2, 7], [1.327_439, 1.172_561]);
        let v2 = RouterConfig { groups: groups(1), scale: 16.0, ..PLAIN };
        check(&route(v2, None, 2, 1), [0, 6], [6.083_54, 3.689_86]);
    }

    #[test]
    fn a_full_expert_drops_what_comes_later_in_the_sequence() {
        let switch = RouterConfig { capacity: Some(2), ..PLAIN };
        let routing = route(switch, None, 1, 7);
        assert_eq!(routing.dropped, [false, false, true, false, false, true, false]);
        for (weight, dropped) in routing.weights.iter().zip(&routing.dropped) {
            assert_eq!(*weight == 0.0, *dropped);
        }
        assert!((routing.weights[0] - 0.380_221).abs() < 1e-6);
    }

    #[test]
    fn a_capacity_counts_what_was_chosen_before() {
        let mut used = Vec::new();
        let first = over_capacity(&[0, 1, 0], 1, 3, &[4, 4, 4], 2, &mut used);
        let rest = over_capacity(&[0, 1, 1, 0], 1, 3, &[4, 4, 4, 6], 2, &mut used);
        let whole = over_capacity(&[0, 1, 0, 0, 1, 1, 0], 1, 3, &[4, 4, 4, 4, 4, 4, 6], 2, &mut Vec::new());
        assert_eq!(whole, [false, false, false, true, false, true, false]);
        assert_eq!([first, rest].concat(), whole);
    }

    /// Replaces a layer's router logits.
    struct Without(Vec<usize>);

    impl Tap for Without {
        fn wants(&self, hook: &Hook) -> bool {
            hook.site == Site::RouterLogits
        }

        fn at(&mut self, _: &Hook, logits: &Tensor) -> Result<Option<Tensor>> {
            let z: Vec<f32> = logits.flatten_all()?.to_vec1()?;
            let masked = |(i, z)| if self.0.contains(&(i % 8)) { f32::NEG_INFINITY } else { z };
            let z: Vec<f32> = z.into_iter().enumerate().map(masked).collect();
            Ok(Some(Tensor::from_vec(z, logits.dims(), logits.device())?))
        }
    }

    /// An expert with logit −∞ is never chosen, whatever its correction, and the others share what it had.
    #[test]
    fn a_logit_of_minus_infinity_takes_an_expert_out() {
        let masked = |config, correction: Option<[f32; 8]>, out: &[usize]| {
            let z = Tensor::new(&[2f32, 1.0, 0.5, 0.0, -0.5, -1.0, 1.5, 0.2], &Device::Cpu).unwrap();
            let gate = Gate::Rows(Linear::new(z.reshape((8, 1)).unwrap(), None));
            let correction = correction.map(|c| c.to_vec());
            let router =
                Router { gate, correction, expert_scale: None, k: 2, experts: 8, config, shared: false };
            let x = Tensor::ones((1, 1, 1), DType::F32, &Device::Cpu).unwrap();
            let mut tap = Without(out.to_vec());
            router.route(&x, &[0], None, &mut Visitor::new(3, &mut tap)).unwrap().0
        };
        // Softmax of the seven others by hand.
        let sum: f32 = [1f32, 0.5, 0.0, -0.5, -1.0, 1.5, 0.2].iter().map(|z| z.exp()).sum();
        check(&masked(PLAIN, None, &[0]), [6, 1], [1.5f32.exp() / sum, 1f32.exp() / sum]);
        let sigmoid = RouterConfig { score: Score::Sigmoid, correction: true, normalise: true, ..PLAIN };
        let correction = Some([0.0, 0.0, 0.5, 0.0, 0.0, 9.0, 0.0, 0.3]);
        let unmasked = masked(sigmoid, correction, &[]);
        assert_eq!(unmasked.chosen, [5, 2]);
        // Without 5: 2 and 0 have the best corrected scores, σ(0.5) + 0.5 and σ(2).
        let s = |z: f32| 1.0 / (1.0 + (-z).exp());
        let both = s(0.5) + s(2.0);
        check(&masked(sigmoid, correction, &[5]), [2, 0], [s(0.5) / both, s(2.0) / both]);
        // Groups (0 1) (2 3) (4 5) (6 7), two best: without 0 and 7 those of 1 and of 6 are worth one score each.
        let groups = Some(Groups { count: 4, keep: 2, best: 2 });
        let grouped = masked(RouterConfig { groups, ..PLAIN }, None, &[0, 7, 2, 3]);
        assert_eq!(grouped.chosen, [6, 1]);
    }

    #[test]
    fn ties_go_to_the_lower_number() {
        assert_eq!(best(&[0.1, 0.3, 0.3, 0.3], 2), [1, 2]);
    }

    #[test]
    fn entropy_of_a_uniform_row_is_ln_e() {
        assert!((entropy(&[0.25; 4]) - 4f32.ln()).abs() < 1e-6);
        assert_eq!(entropy(&[1.0, 0.0]), 0.0);
    }
}

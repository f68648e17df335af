//! One layer's router: every predictor made, and measured on the other documents.

use storage::experts::{RouterExpertRow, RouterFeatureRow, RouterRow};

use super::baselines::Baselines;
use super::direct::DirectLayer;
use super::fit::{self, ExpertFit, Scorer};
use super::gather::{Choices, Gathered};
use super::recall::Recall;
use super::{ENOUGH, LADDER, all, rule};
use crate::dictionary::ByFeature;
use crate::experts::tables::number_of;
use kernels::chance::{Purpose, generator, shuffle};

/// Layers of a model are below this; it sets the draws of the shuffled control apart from others of the purpose.
const SHUFFLED: u64 = 1 << 32;

/// What one layer gave.
#[derive(Debug, Default)]
pub struct Explained {
    /// Predictors.
    pub predictors: Vec<RouterRow>,
    /// Experts.
    pub experts: Vec<RouterExpertRow>,
    /// Their features.
    pub features: Vec<RouterFeatureRow>,
}

/// Explains `layer`; `by_feature` are the codes that predictors are made from, by feature.
pub fn explain_layer(
    of: &Gathered,
    by_feature: &ByFeature,
    layer: u16,
    experts: usize,
    direct: Option<&DirectLayer>,
    seed: u64,
) -> Explained {
    let none = Choices::default();
    let of_layer = |choices: &std::collections::BTreeMap<u16, Choices>| choices.get(&layer).cloned();
    let made = of_layer(&of.made.choices).unwrap_or(none.clone());
    let measured = of_layer(&of.measured.choices).unwrap_or(none);
    let mut table = Table { layer, measured: &measured, experts, rows: Vec::new() };
    let baselines = Baselines::new(&of.made, &made, experts);
    let asked = &of.measured;
    table.add("prior", None, |_, s| baselines.prior(s));
    table.add("position", None, |t, s| baselines.position(asked, t, s));
    let unigram = table.add("unigram", None, |t, s| baselines.unigram(asked, t, s));
    table.add("bigram", None, |t, s| baselines.bigram(asked, t, s));
    let fits = fit::fit(&of.made.codes, by_feature, &made, experts);
    let features = by_feature.offsets.len() - 1;
    let mut rungs = Vec::new();
    for (rung, m) in LADDER.iter().enumerate() {
        let scorer = Scorer::of(&fits, rung, features);
        rungs.push(table.add("features", Some(*m as u32), |t, s| scorer.score(asked.codes.row(t), s)));
    }
    let fit_of_all = all::fit(&of.made.codes, by_feature, &made, experts);
    let whole = table.add("features", None, |t, s| fit_of_all.score(asked.codes.row(t), s));
    let (constants, coefficients) = of.moments.fit(layer);
    let d = coefficients.len() / experts.max(1);
    table.add("dense", None, |t, s| {
        let x = &asked.activations[t * d..(t + 1) * d];
        for ((s, constant), w) in s.iter_mut().zip(&constants).zip(coefficients.chunks_exact(d)) {
            *s = constant + w.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum::<f64>();
        }
    });
    let shuffled = shuffled(&made, layer, seed);
    let fits_of_shuffled = fit::fit(&of.made.codes, by_feature, &shuffled, experts);
    let last = LADDER.len() - 1;
    let scorer = Scorer::of(&fits_of_shuffled, last, features);
    table.add("shuffled", Some(LADDER[last] as u32), |t, s| scorer.score(asked.codes.row(t), s));
    let predictors = table.rows;
    let rules = rule::f1(&of.made, &of.measured, (&made, &measured), experts);
    let found = Found { unigram: &unigram, rungs: &rungs, whole: &whole, rules: &rules };
    Explained {
        predictors,
        experts: expert_rows(of, layer, &measured, experts, &found, direct),
        features: feature_rows(layer, &fits, direct),
    }
}

/// The choices of a layer given to other tokens.
fn shuffled(choices: &Choices, layer: u16, seed: u64) -> Choices {
    let mut order: Vec<usize> = (0..choices.len()).collect();
    shuffle(&mut order, &mut generator(seed, Purpose::Halves, SHUFFLED + u64::from(layer), 1));
    choices.reordered(&order)
}

struct Table<'a> {
    layer: u16,
    measured: &'a Choices,
    experts: usize,
    rows: Vec<RouterRow>,
}

impl Table<'_> {
    fn add(&mut self, name: &str, m: Option<u32>, score: impl Fn(usize, &mut [f64]) + Sync) -> Recall {
        let found = Recall::of(self.measured, self.experts, score);
        self.rows.push(RouterRow {
            layer: self.layer,
            predictor: name.to_owned(),
            features: m,
            tokens: found.tokens,
            recall: found.recall,
        });
        found
    }
}

struct Found<'a> {
    unigram: &'a Recall,
    rungs: &'a [Recall],
    whole: &'a Recall,
    rules: &'a [Option<f64>],
}

fn expert_rows(
    of: &Gathered,
    layer: u16,
    measured: &Choices,
    experts: usize,
    found: &Found<'_>,
    direct: Option<&DirectLayer>,
) -> Vec<RouterExpertRow> {
    let counts = measured.counts(experts);
    let mut domains = vec![vec![0u64; of.domains.len()]; experts];
    for t in 0..measured.len() {
        measured.of(t).iter().for_each(|&e| domains[e as usize][of.measured.domains[t]] += 1);
    }
    let row = |e: usize| {
        let tokens = counts[e];
        let share_of = |hits: u64| (tokens > 0).then(|| hits as f64 / tokens as f64);
        let enough = ENOUGH * found.whole.hits[e] as f64;
        let union = LADDER.iter().zip(found.rungs).find(|(_, rung)| rung.hits[e] as f64 >= enough);
        let most = domains[e].iter().enumerate().max_by_key(|(i, n)| (**n, std::cmp::Reverse(*i)));
        let most = most.filter(|(_, n)| **n > 0);
        RouterExpertRow {
            layer,
            expert: number_of(e),
            tokens,
            share: tokens as f64 / measured.len().max(1) as f64,
            recall: share_of(found.whole.hits[e]),
            recall_unigram: share_of(found.unigram.hits[e]),
            rule_f1: found.rules[e],
            union_size: union.filter(|_| found.whole.hits[e] > 0).map(|(m, _)| *m as u32),
            direct_share: direct.and_then(|d| d.share(e)),
            direct_of_chosen: direct.and_then(|d| d.of_chosen(e)),
            domain: most.map(|(i, _)| of.domains[i].clone()),
            domain_share: most.and_then(|(_, n)| share_of(*n)),
        }
    };
    (0..experts).map(row).collect()
}

fn feature_rows(layer: u16, fits: &[ExpertFit], direct: Option<&DirectLayer>) -> Vec<RouterFeatureRow> {
    let mut rows = Vec::new();
    for (e, fit) in fits.iter().enumerate() {
        let coefficients = fit.rungs.last().map_or(&[][..], |(_, w)| w.as_slice());
        for (rank, ((feature, correlation), coefficient)) in
            (0u32..).zip(fit.features.iter().zip(&fit.correlations).zip(coefficients))
        {
            rows.push(RouterFeatureRow {
                layer,
                expert: number_of(e),
                rank,
                feature: *feature,
                correlation: *correlation,
                coefficient: *coefficient,
                direct: direct.map(|d| d.of_feature(*feature, e)),
            });
        }
    }
    rows
}

//! Rows of the tables, from counts.

use storage::experts::{BalanceRow, ExpertLoadRow, PairRow, TransitionRow};

use super::counts::{Load, Pairs, ScoreSums, Transitions, Usage};
use super::figures::{Balance, total};

/// Layers are numbered in 16 bits on disk.
pub fn layer_number(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

/// Experts are numbered and counted in 32 bits on disk.
pub fn number_of(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// One row per (layer, domain, expert); all domains together first.
pub fn load(usage: &Usage) -> Vec<ExpertLoadRow> {
    let mut rows = Vec::new();
    for layer in usage.layers() {
        rows.extend(of_domain(layer, None, &usage.over_all(layer)));
        for (domain, load) in usage.domains().iter().zip(usage.by_domain(layer)) {
            rows.extend(of_domain(layer, Some(domain), load));
        }
    }
    rows
}

fn of_domain(layer: u16, domain: Option<&String>, load: &Load) -> impl Iterator<Item = ExpertLoadRow> {
    load.shares().enumerate().map(move |(expert, share)| ExpertLoadRow {
        layer,
        expert: number_of(expert),
        domain: domain.cloned(),
        tokens: load.slots[expert],
        share,
        // An expert that was never chosen has no mean weight; `tokens` is 0 then.
        weight: load.mean_weight(expert).unwrap_or(0.0),
    })
}

/// Figures that slot counts alone give. Those of a layer or domain without choices are gaps.
pub fn balance_of_slots(layer: u16, domain: Option<&str>, slots: &[u64]) -> BalanceRow {
    let balance = Balance::of(slots);
    BalanceRow {
        layer,
        domain: domain.map(str::to_owned),
        experts: number_of(slots.len()),
        slots: total(slots),
        cv: balance.map(|b| b.cv),
        max_violation: balance.map(|b| b.max_violation),
        gini: balance.map(|b| b.gini),
        load_entropy: balance.map(|b| b.load_entropy),
        effective_experts: balance.map(|b| b.effective_experts),
        dead: balance.map(|b| number_of(b.dead)),
        cold: balance.map(|b| number_of(b.cold)),
        ..BalanceRow::default()
    }
}

/// Figures that a routing table gives, with those of its scores if it has any.
pub fn balance(layer: u16, domain: Option<&str>, load: &Load, scores: Option<&ScoreSums>) -> BalanceRow {
    BalanceRow {
        k: Some(number_of(load.k)),
        tokens: Some(load.tokens),
        activation_density: load.activation_density(),
        router_entropy: load.router_entropy(),
        weight_margin: load.weight_margin(),
        top1_margin: scores.and_then(ScoreSums::top1_margin),
        choice_margin: scores.and_then(ScoreSums::choice_margin),
        balance_loss: scores.and_then(ScoreSums::balance_loss),
        z_loss: scores.and_then(ScoreSums::z_loss),
        ..balance_of_slots(layer, domain, &load.slots)
    }
}

/// All pairs of a layer; `load` is its load over all domains.
pub fn pairs(layer: u16, pairs: &Pairs, load: &Load) -> Vec<PairRow> {
    let row = |(a, b): (usize, usize)| {
        let (count, of_a, of_b) = (pairs.together(a, b), load.slots[a], load.slots[b]);
        PairRow {
            layer,
            a: number_of(a),
            b: number_of(b),
            count,
            rank_adjacent: pairs.adjacent(a, b),
            b_given_a: ratio(count as f64, of_a as f64),
            a_given_b: ratio(count as f64, of_b as f64),
            lift: ratio(count as f64 * load.tokens as f64, of_a as f64 * of_b as f64),
        }
    };
    pairs.all().map(row).collect()
}

/// All pairs of experts of neighbouring layers.
pub fn transitions(transitions: &Transitions, usage: &Usage) -> Vec<TransitionRow> {
    let experts = usage.experts();
    let mut rows = Vec::new();
    for ((layer, next_layer), counts) in transitions.all() {
        let (here, next) = (usage.over_all(layer), usage.over_all(next_layer));
        for (from, counts) in counts.chunks_exact(experts.max(1)).enumerate() {
            let all = total(counts) as f64;
            rows.extend(counts.iter().enumerate().map(|(to, &count)| TransitionRow {
                layer,
                next_layer,
                from: number_of(from),
                to: number_of(to),
                count,
                probability: ratio(count as f64, all),
                lift: ratio(
                    count as f64 * here.tokens as f64,
                    here.slots[from] as f64 * next.slots[to] as f64,
                ),
            }));
        }
    }
    rows
}

fn ratio(a: f64, b: f64) -> Option<f64> {
    (b > 0.0).then(|| a / b)
}

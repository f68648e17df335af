//! Hidden units and experts that a rule of tokens explains.
//!
//! Of every hidden unit of a model's MLPs or experts the tokens at which it is strongest count as firing, one in a
//! hundred at most: so units whose activation is hardly ever 0 (GELU, SiLU) are put to the same question as those of
//! ReLU. A rule, a set of tokens, is made from one set of documents and its F1 measured on another. Of an expert the
//! tokens that chose it count. The value of a unit is that after the activation (and the gate), times the weight of
//! its expert, without its sign. Monet's experts share the units of their halves: these are numbered through the layer,
//! and weighed by what their half is.

mod strongest;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use kernels::chance::{Purpose, generator};
use rayon::prelude::*;
use serde::Serialize;
use storage::experts::UnitRow;

use self::strongest::{Side, Watch};
use super::explain::RULED;
use super::tables::{layer_number, number_of};
use super::token_rule;
use crate::{Error, Progress, Result};
use lm::model::LanguageModel;
use lm::text::{Document, pack};

/// Of so many tokens one counts as firing.
pub const ONE_IN: u64 = 100;
/// Fewer firings say nothing about a rule.
pub const LEAST_FIRED: usize = 10;
/// Contexts through the model at a time.
const ROWS: usize = 8;

/// How much text, and how it is drawn.
#[derive(Debug, Clone, Copy)]
pub struct UnitsOptions {
    /// Tokens at most, one half to make rules from, one to measure them on, in whole documents.
    pub tokens: u64,
    /// Tokens a context, BOS included.
    pub context_length: usize,
    /// Draws the documents.
    pub seed: u64,
}

/// One layer.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct UnitsLayer {
    /// The block.
    pub layer: u16,
    /// Hidden units that fired often enough, and how many of them a rule explains (F1 of 0.8 or more).
    pub units: u64,
    /// See `units`.
    pub units_ruled: u64,
    /// Mean F1 of them.
    pub units_f1: Option<f64>,
    /// Mean density of all units that were ever not 0.
    pub density: Option<f64>,
    /// Experts that were chosen often enough, and how many of them a rule explains.
    pub experts: u64,
    /// See `experts`.
    pub experts_ruled: u64,
    /// Mean F1 of them.
    pub experts_f1: Option<f64>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnitsReport {
    /// Tokens that rules were made from.
    pub made: u64,
    /// Tokens that they were measured on.
    pub measured: u64,
    /// Whether these are of the held-out documents; else of half of the documents, drawn by seed.
    pub held_out: bool,
    /// Layer by layer.
    pub layers: Vec<UnitsLayer>,
    /// Every unit, and every expert that was chosen.
    #[serde(skip)]
    pub rows: Vec<UnitRow>,
}

/// Runs `model` over documents and finds how well rules of tokens explain its units and experts.
///
/// # Errors
/// Documents that the model cannot take, or too few for both sides; [`Error::Stopped`].
pub fn units(
    model: &LanguageModel,
    documents: &[Document],
    options: UnitsOptions,
    progress: &mut dyn Progress,
) -> Result<UnitsReport> {
    let drawn = draw(model, documents, options)?;
    let held_out = drawn.held_out;
    let most = (options.tokens / 2).div_ceil(ONE_IN).max(1) as usize;
    let mut watch = Watch::new(model, most)?;
    let total: usize = drawn.texts.iter().map(|(_, tokens, _)| tokens.len()).sum();
    let measured: BTreeMap<u32, bool> = drawn.texts.iter().map(|(id, _, side)| (*id, *side)).collect();
    let layers = model.config().num_hidden_layers;
    let mut done = 0;
    progress.begin("units", Some(total as u64), "tokens");
    let texts = drawn.texts.into_iter().map(|(id, tokens, _)| Ok((id, tokens)));
    for contexts in pack(texts, options.context_length, model.config().bos_token_id, ROWS)? {
        let contexts = contexts?;
        watch.begin(&contexts, &measured);
        model.decoder().residual(&contexts, layers, &mut watch)?;
        done += contexts.document_tokens() as u64;
        progress.advance(done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the units were not all seen, nothing was written"));
        }
    }
    progress.end(&format!("{done} tokens"));
    Ok(report(watch, held_out))
}

/// Documents' numbers, tokens, and whether they are measured.
struct Drawn {
    texts: Vec<(u32, Vec<u32>, bool)>,
    held_out: bool,
}

/// In an order drawn by seed, until each side has half of the tokens.
fn draw(model: &LanguageModel, documents: &[Document], options: UnitsOptions) -> Result<Drawn> {
    let marked = documents.iter().filter(|d| d.held_out == Some(true)).count();
    let held_out = marked > 0 && marked < documents.len();
    let by_chance = |i: usize| generator(options.seed, Purpose::Halves, i as u64, 1).next_u64();
    let mut order: Vec<(u64, usize)> = (0..documents.len()).map(|i| (by_chance(i), i)).collect();
    order.sort_unstable();
    let (mut texts, mut sides) = (Vec::new(), [0u64; 2]);
    for (place, (_, i)) in order.into_iter().enumerate() {
        let measured = if held_out { documents[i].held_out == Some(true) } else { place % 2 == 1 };
        let side = &mut sides[usize::from(measured)];
        if *side >= options.tokens / 2 {
            continue;
        }
        let tokens = model.tokenizer().encode_after_bos(&documents[i].text)?;
        *side += tokens.len() as u64;
        texts.push((i as u32, tokens, measured));
    }
    match sides.contains(&0) {
        false => Ok(Drawn { texts, held_out }),
        true => Err(Error::request(format!(
            "{} documents give {} tokens to make rules from and {} to measure them on",
            documents.len(),
            sides[0],
            sides[1]
        ))
        .with_remedy("take more documents, or more tokens (--tokens)")),
    }
}

/// Which tokens of both sides a thing fired at.
struct Fired<'a> {
    made: Vec<u32>,
    measured: Vec<u32>,
    sides: [&'a Side; 2],
}

impl Fired<'_> {
    /// F1 on the measured side of the rule that is best on the other; none where too little fired.
    fn f1(&self) -> Option<f64> {
        if self.made.len().min(self.measured.len()) < LEAST_FIRED {
            return None;
        }
        let mut hits: BTreeMap<u32, u64> = BTreeMap::new();
        for t in &self.made {
            *hits.entry(self.sides[0].tokens[*t as usize]).or_default() += 1;
        }
        let seen = |token: u32| self.sides[0].seen.get(&token).copied().unwrap_or(0);
        let rule = token_rule::best(hits.into_iter().map(|(token, n)| (token, seen(token), n)).collect());
        let matched = rule.iter().filter_map(|token| self.sides[1].seen.get(token)).sum();
        let of = |t: &&u32| rule.contains(&self.sides[1].tokens[**t as usize]);
        let hits = self.measured.iter().filter(of).count() as u64;
        Some(token_rule::f1(hits, matched, self.measured.len() as u64))
    }
}

fn report(watch: Watch, held_out: bool) -> UnitsReport {
    let Watch { sides, units, experts, .. } = watch;
    let sides = [&sides[0], &sides[1]];
    let fire = |side: usize| (sides[side].tokens.len() as u64).div_ceil(ONE_IN) as usize;
    let mut rows: Vec<UnitRow> = units
        .into_par_iter()
        .flat_map_iter(|((layer, expert), units)| {
            units
                .into_iter()
                .enumerate()
                .map(move |(unit, [made, measured])| (layer, expert, unit, made, measured))
        })
        .map(|(layer, expert, unit, made, measured)| {
            let density = measured.count as f64 / sides[1].tokens.len() as f64;
            let fired = Fired { made: made.strongest(fire(0)), measured: measured.strongest(fire(1)), sides };
            UnitRow {
                layer: layer_number(layer),
                expert: expert.map(|e| number_of(e as usize)),
                unit: Some(unit as u32),
                density,
                fired: fired.measured.len() as u64,
                rule_f1: fired.f1(),
            }
        })
        .collect();
    let of_experts = experts.into_par_iter().map(|((layer, expert), [made, measured])| {
        let fired = Fired { made, measured, sides };
        UnitRow {
            layer: layer_number(layer),
            expert: Some(number_of(expert as usize)),
            unit: None,
            density: fired.measured.len() as f64 / sides[1].tokens.len() as f64,
            fired: fired.measured.len() as u64,
            rule_f1: fired.f1(),
        }
    });
    rows.extend(of_experts.collect::<Vec<_>>());
    rows.sort_by_key(|row| (row.layer, row.expert, row.unit));
    UnitsReport {
        made: sides[0].tokens.len() as u64,
        measured: sides[1].tokens.len() as u64,
        held_out,
        layers: layers(&rows),
        rows,
    }
}

fn layers(rows: &[UnitRow]) -> Vec<UnitsLayer> {
    let mut layers: BTreeMap<u16, Vec<&UnitRow>> = BTreeMap::new();
    rows.iter().for_each(|row| layers.entry(row.layer).or_default().push(row));
    let mean =
        |values: &[f64]| (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64);
    let one = |(layer, rows): (u16, Vec<&UnitRow>)| {
        let f1s = |units: bool| -> Vec<f64> {
            rows.iter().filter(|row| row.unit.is_some() == units).filter_map(|row| row.rule_f1).collect()
        };
        let ruled = |f1s: &[f64]| f1s.iter().filter(|f1| **f1 >= RULED).count() as u64;
        let (units, experts) = (f1s(true), f1s(false));
        let densities: Vec<f64> = rows
            .iter()
            .filter(|row| row.unit.is_some() && row.density > 0.0)
            .map(|row| row.density)
            .collect();
        UnitsLayer {
            layer,
            units: units.len() as u64,
            units_ruled: ruled(&units),
            units_f1: mean(&units),
            density: mean(&densities),
            experts: experts.len() as u64,
            experts_ruled: ruled(&experts),
            experts_f1: mean(&experts),
        }
    };
    layers.into_iter().map(one).collect()
}

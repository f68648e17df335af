//! A model's pass over text: where each unit is strongest, and which tokens chose each expert.

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use crate::Result;
use lm::model::{Hook, LanguageModel, MonetExperts, Neurons, Routing, Site, Tap};
use lm::text::Contexts;

/// The largest values of one unit on one side, in bounded memory.
#[derive(Debug, Clone, Default)]
pub struct Strongest {
    /// Tokens at which it is not 0.
    pub count: u64,
    /// Values and tokens; all that may be among the largest.
    kept: Vec<(f32, u32)>,
    /// What is below it is not among them.
    floor: f32,
}

impl Strongest {
    /// Adds a value above 0 at token `t`; `most` are wanted in the end.
    pub fn add(&mut self, value: f32, t: u32, most: usize) {
        self.count += 1;
        if value < self.floor {
            return;
        }
        self.kept.push((value, t));
        if self.kept.len() >= 2 * most {
            self.prune(most);
            self.floor = self.kept.last().map_or(0.0, |(value, _)| *value);
        }
    }

    /// The largest first, of equals the earlier token.
    fn prune(&mut self, most: usize) {
        self.kept.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        self.kept.truncate(most);
    }

    /// Tokens of the `most` largest values.
    pub fn strongest(mut self, most: usize) -> Vec<u32> {
        self.prune(most);
        self.kept.into_iter().map(|(_, t)| t).collect()
    }
}

/// Tokens of one side.
#[derive(Debug, Default)]
pub struct Side {
    /// Every token, in the order in which the model saw them.
    pub tokens: Vec<u32>,
    /// How often each was seen.
    pub seen: HashMap<u32, u64>,
}

/// Layer and expert; none of an MLP that all tokens go through.
type Place = (usize, Option<u32>);

/// The tap: rules are made from side 0 and measured on side 1.
pub struct Watch {
    most: usize,
    /// Side and number of every token of the batch that belongs to a document.
    at: Vec<Option<(usize, u32)>>,
    pub sides: [Side; 2],
    /// Of every unit of every place.
    pub units: BTreeMap<Place, Vec<[Strongest; 2]>>,
    /// Tokens that chose each expert.
    pub experts: BTreeMap<(usize, u32), [Vec<u32>; 2]>,
    /// Of layers whose experts are Monet's: the weights of their halves, whose units no expert has for itself.
    monet: BTreeMap<usize, MonetExperts>,
    /// What goes into such a layer.
    input: Vec<f32>,
}

impl Watch {
    /// Of `model`; a unit fires at `most` tokens of a side at most.
    ///
    /// # Errors
    /// Weights of Monet's experts that cannot be copied.
    pub fn new(model: &LanguageModel, most: usize) -> Result<Self> {
        let layers = 0..model.config().num_hidden_layers;
        let monet = layers.filter_map(|layer| {
            model.decoder().monet_experts(layer).transpose().map(|experts| Ok((layer, experts?)))
        });
        Ok(Self {
            monet: monet.collect::<Result<_>>()?,
            input: Vec::new(),
            most,
            at: Vec::new(),
            sides: [Side::default(), Side::default()],
            units: BTreeMap::new(),
            experts: BTreeMap::new(),
        })
    }

    /// Counts the units of Monet's halves, whose numbers are those of [`MonetExperts::strengths`].
    fn halves(&mut self, routing: &Routing) -> Result<()> {
        let Some(monet) = self.monet.get(&routing.layer) else { return Ok(()) };
        let (tokens, width) = routing.probabilities.dims2()?;
        let gates: Vec<f32> = routing.probabilities.flatten_all()?.to_vec1()?;
        let d = self.input.len() / tokens.max(1);
        let of =
            |t: usize| monet.strengths(&self.input[t * d..(t + 1) * d], &gates[t * width..(t + 1) * width]);
        let found: Vec<Vec<(u32, f32)>> =
            self.at.par_iter().enumerate().map(|(t, at)| at.map_or_else(Vec::new, |_| of(t))).collect();
        let units = self.units.entry((routing.layer, None));
        let units = units.or_insert_with(|| vec![Default::default(); monet.hidden_units()]);
        for (at, found) in self.at.iter().zip(found) {
            let Some((side, t)) = *at else { continue };
            for (unit, strength) in found {
                units[unit as usize][side].add(strength.abs(), t, self.most);
            }
        }
        Ok(())
    }

    /// Takes the tokens of the batch that the model runs on next; `measured` says of which side documents are.
    pub fn begin(&mut self, contexts: &Contexts, measured: &BTreeMap<u32, bool>) {
        self.at.clear();
        for (token, origin) in contexts.tokens.iter().zip(&contexts.origin) {
            let at = origin.map(|(document, _)| {
                let side = usize::from(measured.get(&document) == Some(&true));
                let of = &mut self.sides[side];
                of.tokens.push(*token);
                *of.seen.entry(*token).or_default() += 1;
                (side, of.tokens.len() as u32 - 1)
            });
            self.at.push(at);
        }
    }
}

impl Tap for Watch {
    fn wants(&self, hook: &Hook) -> bool {
        hook.site == Site::MlpIn && self.monet.contains_key(&hook.layer)
    }

    fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        self.input = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        Ok(None)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        for (t, at) in self.at.iter().enumerate() {
            let Some((side, t_of_side)) = *at else { continue };
            for expert in routing.of(t).0 {
                let of = self.experts.entry((routing.layer, *expert)).or_default();
                of[side].push(t_of_side);
            }
        }
        self.halves(routing)
    }

    fn wants_neurons(&self) -> bool {
        true
    }

    fn neurons(&mut self, neurons: &Neurons<'_>) -> Result<Option<Tensor>> {
        let hidden = neurons.values.dim(1)?;
        let values: Vec<f32> = neurons.values.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        for (row, values) in values.chunks_exact(hidden).enumerate() {
            let Some((side, t)) = self.at[neurons.tokens[row] as usize] else { continue };
            let weight = neurons.weights.get(row).copied().unwrap_or(1.0);
            let place = (neurons.layer, neurons.experts.get(row).copied());
            let units = self.units.entry(place).or_insert_with(|| vec![Default::default(); hidden]);
            for (unit, value) in units.iter_mut().zip(values) {
                let strength = (value * weight).abs();
                if strength > 0.0 {
                    unit[side].add(strength, t, self.most);
                }
            }
        }
        Ok(None)
    }
}

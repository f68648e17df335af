//! The hidden units of a model's MLPs and experts, seen and left out.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use candle_core::{DType, Tensor};
use rayon::prelude::*;

use super::curve::Curve;
use crate::{Error, Result};
use lm::model::config::MlpConfig;
use lm::model::{Config, Neurons};
use lm::text::Contexts;

/// Tokens of a chunk: whatever the number of threads, sums are of the same chunks.
const CHUNK: usize = 16;

/// Output matrices with a row per unit.
#[derive(Debug)]
struct Outputs {
    d: usize,
    hidden: usize,
    /// `[experts, hidden, d]`.
    rows: Vec<f32>,
    /// Of each row, `[experts, hidden]`.
    norms: Vec<f32>,
}

impl Outputs {
    fn of(down: &Tensor) -> Result<Self> {
        let down = if down.rank() == 2 { down.unsqueeze(0)? } else { down.clone() };
        let (_, d, hidden) = down.dims3()?;
        let rows: Vec<f32> =
            down.transpose(1, 2)?.contiguous()?.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let norms = rows.chunks_exact(d).map(|row| kernels::wide::dot(row, row).sqrt() as f32).collect();
        Ok(Self { d, hidden, rows, norms })
    }

    /// Row of unit `i` of `expert` in [`Outputs::rows`].
    fn unit(&self, expert: u32, i: usize) -> usize {
        expert as usize * self.hidden + i
    }
}

/// Output matrices by layer, turned once.
#[derive(Debug, Default)]
pub struct Layers(BTreeMap<usize, Outputs>);

impl Layers {
    fn get(&mut self, neurons: &Neurons<'_>) -> Result<&Outputs> {
        if let Entry::Vacant(place) = self.0.entry(neurons.layer) {
            place.insert(Outputs::of(neurons.down)?);
        }
        Ok(&self.0[&neurons.layer])
    }
}

/// Whether all of the model's neurons can be seen.
///
/// # Errors
/// Experts of which all tokens go through some, and Monet's, with the layer.
pub fn readable(config: &Config) -> Result<()> {
    for (layer, block) in config.blocks.iter().enumerate() {
        let why = match &block.mlp {
            MlpConfig::Dense(_) => continue,
            MlpConfig::Experts(experts) if experts.shared.is_none() => continue,
            MlpConfig::Experts(_) => "has experts that all tokens go through",
            MlpConfig::Monet(_) => "is Monet's, whose experts share their units",
        };
        return Err(Error::request(format!(
            "block {layer} {why}: which neurons write what cannot be told apart"
        )));
    }
    Ok(())
}

/// Which of the batch's tokens count: those of documents.
fn counted(contexts: &Contexts) -> Vec<bool> {
    contexts.origin.iter().map(Option::is_some).collect()
}

/// Values `[n, hidden]` of the units.
fn values(neurons: &Neurons<'_>) -> Result<Vec<f32>> {
    Ok(neurons.values.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?)
}

/// Adds the units of a batch to the curve of their layer.
///
/// # Errors
/// Tensors that cannot be read.
pub fn measure(
    contexts: &Contexts,
    layers: &mut Layers,
    curves_of: &mut BTreeMap<usize, Curve>,
    neurons: &Neurons<'_>,
) -> Result<()> {
    let (values, counted) = (values(neurons)?, counted(contexts));
    let outputs = layers.get(neurons)?;
    let (hidden, d) = (outputs.hidden, outputs.d);
    // Rows of each token: one of an MLP, one per expert of a mixture.
    let mut of_token: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
    for (row, token) in neurons.tokens.iter().enumerate().filter(|(_, token)| counted[**token as usize]) {
        of_token.entry(*token).or_default().push(row);
    }
    let tokens: Vec<Vec<usize>> = of_token.into_values().collect();
    let chunk = |tokens: &[Vec<usize>]| {
        let mut curve = Curve::default();
        for rows in tokens {
            // (unit's row in the outputs, what it is multiplied by).
            let units: Vec<(usize, f32)> = rows
                .iter()
                .flat_map(|row| {
                    let (expert, weight) = part(neurons, *row);
                    let values = &values[row * hidden..(row + 1) * hidden];
                    values.iter().enumerate().map(move |(i, v)| (outputs.unit(expert, i), weight * v))
                })
                .collect();
            let norms: Vec<f32> = units.iter().map(|(unit, a)| a.abs() * outputs.norms[*unit]).collect();
            curve.add(&norms, d, |i, sum| {
                let (unit, a) = units[i];
                let row = &outputs.rows[unit * d..(unit + 1) * d];
                sum.iter_mut().zip(row).for_each(|(sum, w)| *sum += a * w);
            });
        }
        curve
    };
    let curves: Vec<Curve> = tokens.par_chunks(CHUNK).map(chunk).collect();
    let all = curves_of.entry(neurons.layer).or_default();
    curves.iter().for_each(|curve| all.merge(curve));
    Ok(())
}

/// The expert of a row and what its output is multiplied by.
fn part(neurons: &Neurons<'_>, row: usize) -> (u32, f32) {
    (neurons.experts.get(row).copied().unwrap_or_default(), neurons.weights.get(row).copied().unwrap_or(1.0))
}

/// The units without those below the threshold of their layer; (left out, all) is added to the layer's `counts`.
///
/// # Errors
/// Tensors that cannot be read.
pub fn prune(
    contexts: &Contexts,
    layers: &mut Layers,
    thresholds: &BTreeMap<usize, f32>,
    counts: &mut BTreeMap<usize, (u64, u64)>,
    neurons: &Neurons<'_>,
) -> Result<Tensor> {
    let least = thresholds.get(&neurons.layer).copied().unwrap_or_default();
    let (mut values, counted) = (values(neurons)?, counted(contexts));
    let outputs = layers.get(neurons)?;
    let count = counts.entry(neurons.layer).or_default();
    for (row, values) in values.chunks_exact_mut(outputs.hidden).enumerate() {
        if !counted[neurons.tokens[row] as usize] {
            continue;
        }
        let (expert, weight) = part(neurons, row);
        let norms = &outputs.norms[outputs.unit(expert, 0)..];
        for (value, norm) in values.iter_mut().zip(norms) {
            // The same product in the same order as in `measure`.
            if (weight * *value).abs() * norm < least {
                *value = 0.0;
                count.0 += 1;
            }
            count.1 += 1;
        }
    }
    let new = Tensor::from_vec(values, neurons.values.shape(), neurons.values.device())?;
    Ok(new.to_dtype(neurons.values.dtype())?)
}

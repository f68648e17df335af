//! A small random mixture of experts, whose hidden units are computed again from its weights in f64, and the definition, threshold by
//! threshold.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::super::tests::{World, alone};
use super::*;
use crate::Quiet;
use lm::model::{Hook, Routing, Site, Tap};
use storage::cett::CettRecord;

/// Matrices of a layer: `[E, 2 · hidden, d]` and `[E, d, hidden]`.
type Weights = (Vec<Vec<Vec<f64>>>, Vec<Vec<Vec<f64>>>);

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor.to_dtype(DType::F32).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn matrices(tensor: &Tensor) -> Vec<Vec<Vec<f64>>> {
    let all: Vec<Vec<Vec<f32>>> = tensor.to_vec3().unwrap();
    all.into_iter()
        .map(|m| m.into_iter().map(|row| row.into_iter().map(f64::from).collect()).collect())
        .collect()
}

fn norm(vector: &[f64]) -> f64 {
    vector.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn sum<'a>(d: usize, vectors: impl Iterator<Item = &'a Vec<f64>>) -> Vec<f64> {
    let mut all = vec![0.0; d];
    vectors.for_each(|v| all.iter_mut().zip(v).for_each(|(a, b)| *a += b));
    all
}

/// Computes what every unit adds to its layer's output, and replaces the output by the sum of the strong ones.
struct Oracle<'a> {
    contexts: &'a Contexts,
    weights: &'a BTreeMap<usize, Weights>,
    thresholds: BTreeMap<usize, f64>,
    input: Vec<f32>,
    /// `[tokens][units][d]` of the block that runs.
    units: Vec<Vec<Vec<f64>>>,
    /// Of document tokens, by layer.
    seen: BTreeMap<usize, Vec<Vec<Vec<f64>>>>,
}

impl Tap for Oracle<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        matches!(hook.site, Site::MlpIn | Site::MlpOut)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        let (gate_up, down) = &self.weights[&routing.layer];
        let (d, hidden) = (down[0].len(), down[0][0].len());
        self.units = self
            .input
            .chunks(d)
            .enumerate()
            .map(|(token, x)| {
                let times = |row: &[f64]| row.iter().zip(x).map(|(w, x)| w * f64::from(*x)).sum::<f64>();
                let choices = token * routing.k..(token + 1) * routing.k;
                let of_choice = |choice: usize| {
                    let expert = routing.chosen[choice] as usize;
                    let weight = f64::from(routing.weights[choice]);
                    (0..hidden).map(move |i| {
                        let gate = times(&gate_up[expert][i]);
                        let value = gate / (1.0 + (-gate).exp()) * times(&gate_up[expert][hidden + i]);
                        (0..d).map(|c| weight * value * down[expert][c][i]).collect()
                    })
                };
                choices.flat_map(of_choice).collect()
            })
            .collect();
        Ok(())
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let mut values = floats(value);
        if hook.site == Site::MlpIn {
            self.input = values;
            return Ok(None);
        }
        let d = value.dim(2).unwrap();
        let least = self.thresholds.get(&hook.layer).copied().unwrap_or_default();
        for (token, units) in
            self.units.iter().enumerate().filter(|(t, _)| self.contexts.origin[*t].is_some())
        {
            let whole = sum(d, units.iter());
            for (found, expected) in values[token * d..(token + 1) * d].iter().zip(&whole) {
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-3 * (1.0 + expected.abs()),
                    "{found} {expected}"
                );
            }
            let strong = sum(d, units.iter().filter(|unit| norm(unit) >= least));
            values[token * d..(token + 1) * d].iter_mut().zip(strong).for_each(|(v, s)| *v = s as f32);
            self.seen.entry(hook.layer).or_default().push(units.clone());
        }
        Ok(Some(Tensor::from_vec(values, value.shape(), value.device())?))
    }
}

/// Cross-entropy of the held-out documents with the units below the thresholds left out, and the units.
fn run(world: &World, thresholds: &BTreeMap<usize, f64>) -> (f64, BTreeMap<usize, Vec<Vec<Vec<f64>>>>) {
    let weights: BTreeMap<usize, Weights> = world
        .model
        .decoder()
        .moe_layers()
        .map(|layer| (layer.layer, (matrices(&layer.experts.gate_up), matrices(&layer.experts.down))))
        .collect();
    let (mut seen, mut losses) = (BTreeMap::<usize, Vec<_>>::new(), Vec::new());
    for text in world.texts.iter().filter(|text| text.held_out) {
        for contexts in alone(&world.model, &text.tokens) {
            let mut tap = Oracle {
                contexts: &contexts,
                weights: &weights,
                thresholds: thresholds.clone(),
                input: Vec::new(),
                units: Vec::new(),
                seen: BTreeMap::new(),
            };
            let logits = world.model.forward(&contexts, &mut tap).unwrap();
            losses.extend(cross_entropies(&logits, &contexts));
            tap.seen.into_iter().for_each(|(layer, units)| seen.entry(layer).or_default().extend(units));
        }
    }
    (losses.iter().sum::<f64>() / losses.len() as f64, seen)
}

/// −log softmax of the next token, of every document token that has one.
fn cross_entropies(logits: &Tensor, contexts: &Contexts) -> Vec<f64> {
    let v = logits.dim(2).unwrap();
    let rows = floats(logits);
    (0..contexts.tokens.len() - 1)
        .filter(|i| contexts.origin[*i].is_some() && contexts.origin[*i + 1].is_some())
        .map(|i| {
            let row: Vec<f64> = rows[i * v..(i + 1) * v].iter().map(|x| f64::from(*x)).collect();
            let most = row.iter().copied().fold(f64::MIN, f64::max);
            let all = row.iter().map(|x| (x - most).exp()).sum::<f64>().ln() + most;
            all - row[contexts.tokens[i + 1] as usize]
        })
        .collect()
}

fn cett_of(tokens: &[Vec<Vec<f64>>], least: f64) -> (f64, f64) {
    let d = tokens[0][0].len();
    let (mut error, mut left_out, mut all) = (0.0, 0, 0);
    for units in tokens {
        let weak: Vec<&Vec<f64>> = units.iter().filter(|unit| norm(unit) < least).collect();
        left_out += weak.len();
        all += units.len();
        error += norm(&sum(d, weak.into_iter())) / norm(&sum(d, units.iter()));
    }
    (error / tokens.len() as f64, left_out as f64 / all as f64)
}

/// The largest power of 2^(1/16) whose error is at most `cett`, or 0.
fn threshold(tokens: &[Vec<Vec<f64>>], cett: f64) -> f64 {
    let grid = (-640..=384).map(|step| (f64::from(step) / 16.0).exp2());
    grid.filter(|least| cett_of(tokens, *least).0 <= cett).fold(0.0, f64::max)
}

#[test]
fn a_models_neurons_are_those_of_the_definition() {
    let world = World::new();
    let path = world.run(&world.perfect());
    let record = cett(&path, &EvaluateOptions::default(), &mut Quiet).unwrap();
    let kept = CettRecord::read(&path).unwrap().unwrap();
    assert_eq!((kept.layers.len(), &kept.hook, kept.predicted), (2, &record.hook, record.predicted));
    let neurons = record.neurons.as_ref().unwrap();
    let (clean, seen) = run(&world, &BTreeMap::new());
    assert!((record.ce_clean - clean).abs() < 1e-3, "{} {clean}", record.ce_clean);
    assert_eq!((neurons.units, record.layers.len()), (2.0 * 2.0 * 8.0, 2));
    for (i, point) in neurons.by_error.iter().enumerate() {
        for (row, tokens) in record.layers.iter().zip(seen.values()) {
            let share = cett_of(tokens, threshold(tokens, point.cett)).1;
            // A unit at a threshold may fall on the other side in f32.
            assert!((row.by_error[i].left_out - share).abs() < 0.01, "{row:?}: {share} at {}", point.cett);
        }
    }
    for found in &neurons.by_loss {
        let thresholds: BTreeMap<usize, f64> =
            seen.iter().map(|(layer, tokens)| (*layer, threshold(tokens, found.cett))).collect();
        let (ce, pruned) = run(&world, &thresholds);
        let shares: Vec<f64> =
            pruned.iter().map(|(layer, tokens)| cett_of(tokens, thresholds[layer]).1).collect();
        let share = shares.iter().sum::<f64>() / shares.len() as f64;
        assert!(
            (found.ce - ce).abs() < 2e-3 && (found.left_out - share).abs() < 0.02,
            "{found:?}: {ce} {share}"
        );
        assert!(found.growth < found.percent / 100.0, "{found:?}");
        assert!((found.growth - ((found.ce - record.ce_clean).exp() - 1.0)).abs() < 1e-9);
    }
    assert!(neurons.by_loss[2].left_out >= neurons.by_loss[0].left_out);
}

/// Features that are coordinates: what is left out is what is small.
#[test]
fn a_dictionarys_codes_are_those_of_the_definition() {
    struct Small<'a>(Hook, f64, &'a Contexts);
    impl Tap for Small<'_> {
        fn wants(&self, hook: &Hook) -> bool {
            *hook == self.0
        }
        fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
            let (d, mut values) = (value.dim(2)?, floats(value));
            for (row, origin) in values.chunks_mut(d).zip(&self.2.origin) {
                let small = |v: &&mut f32| origin.is_some() && f64::from(v.abs()) < self.1;
                row.iter_mut().filter(small).for_each(|v| *v = 0.0);
            }
            Ok(Some(Tensor::from_vec(values, value.shape(), value.device())?))
        }
    }
    let world = World::new();
    let path = world.run(&world.perfect());
    let record = cett(&path, &EvaluateOptions::default(), &mut Quiet).unwrap();
    let hook: Hook = record.hook.parse().unwrap();
    let held_out = world.held_out();
    let tokens: Vec<Vec<Vec<f64>>> = held_out
        .iter()
        .map(|row| {
            (0..world.d)
                .filter(|i| row[*i] != 0.0)
                .map(|i| (0..world.d).map(|c| if c == i { f64::from(row[i]) } else { 0.0 }).collect())
                .collect()
        })
        .collect();
    assert!((record.codes.units - world.d as f64).abs() < 1e-9, "every coordinate is one active feature");
    for point in &record.codes.by_error {
        let share = cett_of(&tokens, threshold(&tokens, point.cett)).1;
        assert!((point.left_out - share).abs() < 0.01, "{point:?}: {share}");
    }
    for found in &record.codes.by_loss {
        let least = threshold(&tokens, found.cett);
        let mut losses = Vec::new();
        for text in world.texts.iter().filter(|text| text.held_out) {
            for contexts in alone(&world.model, &text.tokens) {
                let logits = world.model.forward(&contexts, &mut Small(hook, least, &contexts)).unwrap();
                losses.extend(cross_entropies(&logits, &contexts));
            }
        }
        let ce = losses.iter().sum::<f64>() / losses.len() as f64;
        assert!((found.ce - ce).abs() < 2e-3, "{found:?}: {ce}");
    }
    assert!((record.ce_reconstructed - record.ce_clean).abs() < 1e-4, "a perfect dictionary");
}

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::strongest::Strongest;
use super::*;
use crate::Quiet;
use lm::model::{Hook, ModelSource, Neurons, Routing, Tap};

#[test]
fn the_strongest_are_those_of_a_sort() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    // Few different values, so that there are ties.
    let values: Vec<f32> = (0..5000).map(|_| (rng.random_range(1..40) as f32) / 8.0).collect();
    let mut found = Strongest::default();
    values.iter().enumerate().for_each(|(t, v)| found.add(*v, t as u32, 70));
    let mut order: Vec<u32> = (0..5000).collect();
    order.sort_by(|a, b| values[*b as usize].total_cmp(&values[*a as usize]).then(a.cmp(b)));
    assert_eq!(found.count, 5000);
    assert_eq!(found.clone().strongest(70), order[..70]);
    assert_eq!(found.strongest(31), order[..31]);
}

fn document(text: String) -> Document {
    Document { name: String::new(), source: String::new(), domain: String::new(), held_out: None, text }
}

/// Sees every value of one unit and every choice, and nothing else.
struct Oracle {
    place: (usize, u32, usize),
    values: Vec<(usize, f32)>,
    chose: Vec<usize>,
    at: usize,
    rows: usize,
}

impl Tap for Oracle {
    fn wants(&self, _: &Hook) -> bool {
        false
    }

    fn at(&mut self, _: &Hook, _: &candle_core::Tensor) -> Result<Option<candle_core::Tensor>> {
        Ok(None)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        if routing.layer == self.place.0 {
            self.rows = routing.chosen.len() / routing.k;
            for (t, chosen) in routing.chosen.chunks(routing.k).enumerate() {
                if chosen.contains(&self.place.1) {
                    self.chose.push(self.at + t);
                }
            }
        }
        Ok(())
    }

    fn wants_neurons(&self) -> bool {
        true
    }

    fn neurons(&mut self, of: &Neurons<'_>) -> Result<Option<candle_core::Tensor>> {
        let values: Vec<Vec<f32>> = of.values.to_vec2()?;
        for (row, values) in values.iter().enumerate() {
            if (of.layer, of.experts[row]) == (self.place.0, self.place.1) {
                let value = values[self.place.2] * of.weights[row];
                self.values.push((self.at + of.tokens[row] as usize, value.abs()));
            }
        }
        Ok(None)
    }
}

/// The embedded mixture on a few documents: density, firings and F1 of a unit and of its expert as by the paper's
/// definition, all tokens at once.
#[test]
fn a_unit_and_its_expert_by_hand() {
    let model = LanguageModel::load(&ModelSource::Default).unwrap();
    let text = |i: usize| {
        let line = |j: usize| {
            format!("In {} the {} of chapter {j} was said to be {}.\n", 1900 + i, j % 7, i * j % 31)
        };
        (0..30).map(line).collect::<String>()
    };
    let documents: Vec<Document> =
        (0..12).map(|i| Document { held_out: Some(i % 2 == 1), ..document(text(i)) }).collect();
    let options = UnitsOptions { tokens: 100_000, context_length: 128, seed: 1 };
    let found = units(&model, &documents, options, &mut Quiet).unwrap();
    assert!(found.held_out && found.made > 2000 && found.measured > 2000, "{found:?}");

    let place = (1usize, 3u32, 5usize);
    let mut sides = Vec::new();
    for held_out in [false, true] {
        let (mut tokens, mut seen) = (Vec::new(), Vec::new());
        let mut oracle = Oracle { place, values: Vec::new(), chose: Vec::new(), at: 0, rows: 0 };
        for document in documents.iter().filter(|d| d.held_out == Some(held_out)) {
            let ids = model.tokenizer().encode_after_bos(&document.text).unwrap();
            for batch in pack([Ok((0, ids))], 128, model.config().bos_token_id, 1).unwrap() {
                let batch = batch.unwrap();
                oracle.at = tokens.len();
                model.decoder().residual(&batch, model.config().num_hidden_layers, &mut oracle).unwrap();
                tokens.extend(batch.tokens.iter().copied());
                seen.extend(batch.origin.iter().map(Option::is_some));
            }
        }
        let counted = seen.iter().filter(|s| **s).count();
        let mut values: Vec<(usize, f32)> =
            oracle.values.iter().copied().filter(|(t, v)| seen[*t] && *v > 0.0).collect();
        let density = values.len() as f64 / counted as f64;
        values.sort_by(|a, b| b.1.total_cmp(&a.1));
        values.truncate(counted.div_ceil(100));
        let fired: Vec<usize> = values.iter().map(|v| v.0).collect();
        let chose: Vec<usize> = oracle.chose.iter().copied().filter(|t| seen[*t]).collect();
        sides.push((tokens, seen, fired, chose, density));
    }
    let f1 = |of: fn(&(Vec<u32>, Vec<bool>, Vec<usize>, Vec<usize>, f64)) -> &Vec<usize>| {
        let count = |side: usize, token: u32| {
            let (tokens, seen, ..) = &sides[side];
            tokens.iter().zip(seen).filter(|(t, s)| **t == token && **s).count() as u64
        };
        let [made, measured] =
            [0, 1].map(|s| of(&sides[s]).iter().map(|t| sides[s].0[*t]).collect::<Vec<u32>>());
        let mut kinds = made.clone();
        kinds.sort_unstable();
        kinds.dedup();
        let hits = |token: u32| made.iter().filter(|t| **t == token).count() as u64;
        let rule = token_rule::best(kinds.iter().map(|t| (*t, count(0, *t), hits(*t))).collect());
        let matched: u64 = rule.iter().map(|t| count(1, *t)).sum();
        let hit = measured.iter().filter(|t| rule.contains(t)).count() as u64;
        2.0 * hit as f64 / (matched + measured.len() as u64) as f64
    };
    let row = |unit: Option<u32>| {
        found.rows.iter().find(|r| (r.layer, r.expert, r.unit) == (1, Some(3), unit)).unwrap().clone()
    };
    let (unit, expert) = (row(Some(5)), row(None));
    assert!((unit.density - sides[1].4).abs() < 1e-9 && unit.density > 0.0, "{unit:?}");
    assert_eq!((unit.fired, expert.fired), (sides[1].2.len() as u64, sides[1].3.len() as u64));
    assert!((unit.rule_f1.unwrap() - f1(|s| &s.2)).abs() < 1e-9, "{unit:?}");
    assert!((expert.rule_f1.unwrap() - f1(|s| &s.3)).abs() < 1e-9, "{expert:?}");
    let layer = &found.layers[1];
    let of_layer: Vec<f64> =
        found.rows.iter().filter(|r| r.layer == 1 && r.unit.is_some()).filter_map(|r| r.rule_f1).collect();
    assert_eq!(layer.units, of_layer.len() as u64);
    assert_eq!(layer.units_ruled, of_layer.iter().filter(|f| **f >= 0.8).count() as u64);
}

/// Monet's layers as the paper defines them, from the weights in the file: strengths of all units at one token after another.
struct Halves {
    weights: std::collections::HashMap<String, candle_core::Tensor>,
    vertical: bool,
    input: Vec<Vec<f32>>,
    /// By unit, over all tokens of the batches so far.
    strengths: Vec<Vec<f32>>,
}

const SIDE: usize = 4;
const WIDTH: usize = 6;

impl Tap for Halves {
    fn wants(&self, hook: &Hook) -> bool {
        hook.layer == 1 && hook.site == lm::model::Site::MlpIn
    }

    fn at(&mut self, _: &Hook, value: &candle_core::Tensor) -> Result<Option<candle_core::Tensor>> {
        self.input = value.flatten_to(1)?.to_vec2()?;
        Ok(None)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        if routing.layer != 1 {
            return Ok(());
        }
        let gates: Vec<Vec<f32>> = routing.probabilities.to_vec2()?;
        let heads = gates[0].len() / (2 * SIDE);
        let sets: &[&str] = if self.vertical { &["u1", "u2"] } else { &["u"] };
        let mut unit = 0;
        for (set, name) in sets.iter().enumerate() {
            let of = |part: &str| {
                self.weights[&format!("model.layers.1.moe.{name}.{part}")].to_dtype(candle_core::DType::F32)
            };
            let (w, bias): (Vec<Vec<f32>>, Vec<f32>) = (of("weight")?.to_vec2()?, of("bias")?.to_vec1()?);
            for (row, (w, bias)) in w.iter().zip(&bias).enumerate() {
                let half = row / (w_rows(sets) / SIDE);
                for (x, gates) in self.input.iter().zip(&gates) {
                    let z = w.iter().zip(x).map(|(w, x)| f64::from(w * x)).sum::<f64>() + f64::from(*bias);
                    let squared = z.max(0.0).powi(2);
                    let gate = |head: usize| f64::from(gates[set * heads * SIDE + head * SIDE + half]);
                    let weight: f64 = (0..heads).map(gate).sum();
                    self.strengths[unit].push((squared * weight) as f32);
                }
                unit += 1;
            }
        }
        Ok(())
    }
}

fn w_rows(sets: &[&str]) -> usize {
    SIDE * WIDTH / sets.len()
}

/// Density and firings of Monet's units, which experts share, in both of its forms.
#[test]
fn units_of_halves_are_weighed_by_their_gates() {
    use lm::pretrain::{Kind, PretrainConfig};
    let folder = tempfile::tempdir().unwrap();
    let text =
        |i: usize| (0..40).map(|j| format!("The {} of {j} walks to {}.\n", i % 7, i * j % 31)).collect();
    let documents: Vec<Document> =
        (0..8).map(|i| Document { held_out: Some(i % 2 == 1), ..document(text(i)) }).collect();
    let file = folder.path().join("text.txt");
    std::fs::write(&file, documents.iter().map(|d| d.text.as_str()).collect::<String>()).unwrap();
    for kind in [Kind::MonetHorizontal, Kind::MonetVertical] {
        let config = PretrainConfig {
            text: vec![file.clone()],
            tokens: 1000,
            vocab_size: 512,
            d_model: 16,
            layers: 2,
            heads: 2,
            experts: SIDE * SIDE,
            experts_per_token: 2,
            expert_width: WIDTH,
            router_topk: 2,
            router_groups: 1,
            context_length: 32,
            batch_rows: 4,
            ..PretrainConfig::of(kind)
        };
        let out = folder.path().join(format!("{kind:?}"));
        lm::pretrain::run(&config, &out, false, &mut Quiet).unwrap();
        let model = LanguageModel::load(&ModelSource::Folder(out.clone())).unwrap();
        let options = UnitsOptions { tokens: 100_000, context_length: 32, seed: 1 };
        let found = units(&model, &documents, options, &mut Quiet).unwrap();

        let device = candle_core::Device::Cpu;
        let mut oracle = Halves {
            weights: candle_core::safetensors::load(out.join("model.safetensors"), &device).unwrap(),
            vertical: kind == Kind::MonetVertical,
            input: Vec::new(),
            strengths: vec![Vec::new(); SIDE * WIDTH],
        };
        let mut counted = Vec::new();
        for document in documents.iter().filter(|d| d.held_out == Some(true)) {
            let ids = model.tokenizer().encode_after_bos(&document.text).unwrap();
            for batch in pack([Ok((0, ids))], 32, model.config().bos_token_id, 1).unwrap() {
                let batch = batch.unwrap();
                model.decoder().residual(&batch, 2, &mut oracle).unwrap();
                counted.extend(batch.origin.iter().map(Option::is_some));
            }
        }
        let tokens = counted.iter().filter(|c| **c).count();
        let mut fired = 0;
        for (unit, strengths) in oracle.strengths.iter().enumerate() {
            let n = strengths.iter().zip(&counted).filter(|(s, c)| **s > 0.0 && **c).count();
            let row = found.rows.iter().find(|r| (r.layer, r.expert, r.unit) == (1, None, Some(unit as u32)));
            let (density, shown) = row.map_or((0.0, 0), |row| (row.density, row.fired));
            assert!(
                (density - n as f64 / tokens as f64).abs() < 2.5 / tokens as f64,
                "{kind:?}, unit {unit}: {density} {n}"
            );
            assert!(shown <= (n as u64 + 2).min(tokens.div_ceil(100) as u64), "{kind:?}, unit {unit}");
            fired += shown;
        }
        assert!(fired > 20, "{kind:?}: {fired}");
    }
}

#[test]
fn one_document_cannot_be_both_sides() {
    let model = LanguageModel::load(&ModelSource::Default).unwrap();
    let documents = [document("A single text.".to_owned())];
    let options = UnitsOptions { tokens: 1000, context_length: 64, seed: 1 };
    let error = units(&model, &documents, options, &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("1 documents") && error.remedy().is_some(), "{error}");
}

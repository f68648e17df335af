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

#[test]
fn one_document_cannot_be_both_sides() {
    let model = LanguageModel::load(&ModelSource::Default).unwrap();
    let documents = [document("A single text.".to_owned())];
    let options = UnitsOptions { tokens: 1000, context_length: 64, seed: 1 };
    let error = units(&model, &documents, options, &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("1 documents") && error.remedy().is_some(), "{error}");
}

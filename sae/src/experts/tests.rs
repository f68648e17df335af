//! Whole tables through the whole room: known probabilities, scores, skipped tokens, the embedded model.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, ListArray, RecordBatch, UInt16Array, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::DataType;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use storage::documents::DocumentRow;
use storage::experts::{BalanceRow, PairRow};
use storage::{DatasetWriter, Layout, row, schema};

use super::{Summary, summarise, summarise_with};
use crate::harvest::HarvestConfig;
use crate::rows::fixture::{Routed, header};
use crate::{ModelChoice, Quiet, Result};
use lm::model::{LanguageModel, ModelSource};

/// Writes a routing table of one document, with scores.
fn with_scores(dir: &Path, settings: serde_json::Value, rows: &[Routed], scores: &[Vec<f32>]) {
    let mut head = header(4);
    head.settings = settings;
    let mut writer = DatasetWriter::begin(dir, head).unwrap();
    let columns_of = schema::routing_with_scores();
    let numbers =
        |get: fn(&Routed) -> u32| Arc::new(UInt32Array::from_iter_values(rows.iter().map(get))) as ArrayRef;
    let list = |name: &str, lengths: Vec<usize>, values: ArrayRef| -> ArrayRef {
        let DataType::List(inner) = columns_of.field_with_name(name).unwrap().data_type() else { panic!() };
        Arc::new(ListArray::new(inner.clone(), OffsetBuffer::from_lengths(lengths), values, None))
    };
    let floats = |values: Vec<f32>| -> ArrayRef { Arc::new(Float32Array::from(values)) };
    let k = || rows.iter().map(|r| r.4.len()).collect::<Vec<_>>();
    let experts = UInt32Array::from_iter_values(rows.iter().flat_map(|r| r.4.clone()));
    let columns = vec![
        numbers(|r| r.0),
        numbers(|r| r.1),
        numbers(|r| r.2),
        Arc::new(UInt16Array::from_iter_values(rows.iter().map(|r| r.3))),
        list("experts", k(), Arc::new(experts)),
        list("weights", k(), floats(rows.iter().flat_map(|r| r.5.clone()).collect())),
        floats(rows.iter().map(|r| r.6).collect()),
        list("scores", scores.iter().map(Vec::len).collect(), floats(scores.concat())),
    ];
    let mut part = writer.next_part(schema::ROUTING, columns_of.clone(), &Layout::routing()).unwrap();
    part.write(&RecordBatch::try_new(columns_of, columns).unwrap()).unwrap();
    let routing = part.finish().unwrap();
    let document = DocumentRow { document: 10, domain: "prose".into(), ..DocumentRow::default() };
    let other = DocumentRow { document: 11, domain: "nothing".into(), ..DocumentRow::default() };
    let mut part = writer.next_part(schema::DOCUMENTS, schema::documents(), &Layout::small_table()).unwrap();
    part.write(&storage::documents::to_batch(&[document, other]).unwrap()).unwrap();
    let parts =
        vec![(schema::ROUTING.to_owned(), routing), (schema::DOCUMENTS.to_owned(), part.finish().unwrap())];
    writer.commit(parts, serde_json::json!({})).unwrap();
    writer.finish().unwrap();
}

fn row_of(position: u32, layer: u16, experts: &[u32]) -> Routed {
    (10, position, position % 3, layer, experts.to_vec(), vec![0.25; experts.len()], 1.0)
}

fn over_all(found: &Summary, layer: u16) -> &BalanceRow {
    found.more.balance.iter().find(|b| b.layer == layer && b.domain.is_none()).unwrap()
}

fn summary(settings: serde_json::Value, rows: &[Routed], scores: &[Vec<f32>]) -> Result<Summary> {
    let folder = tempfile::tempdir().unwrap();
    with_scores(folder.path(), settings, rows, scores);
    summarise(folder.path(), &mut Quiet)
}

/// Softmax scores and logits of the same router: the same balance loss, but a z-loss from logits alone.
#[test]
fn scores_of_a_table() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let (mut rows, mut logits) = (Vec::new(), Vec::new());
    for position in 0..200 {
        let z: Vec<f32> = (0..6).map(|_| rng.random::<f32>() * 4.0 - 1.0).collect();
        let mut order: Vec<u32> = (0..6).collect();
        order.sort_by(|&a, &b| z[b as usize].total_cmp(&z[a as usize]));
        rows.push(row_of(position, 0, &order[..2]));
        logits.push(z);
    }
    let softmax = |z: &Vec<f32>| {
        let sum: f32 = z.iter().map(|v| v.exp()).sum();
        z.iter().map(|v| v.exp() / sum).collect::<Vec<f32>>()
    };
    let settings = serde_json::json!({ "experts": 6, "score_kind": "logits" });
    let found = summary(settings.clone(), &rows, &logits).unwrap();
    let of = over_all(&found, 0);
    // Both losses by their definitions.
    let p: Vec<Vec<f32>> = logits.iter().map(softmax).collect();
    let loss: f64 = (0..6u32)
        .map(|e| {
            let f = rows.iter().filter(|r| r.4.contains(&e)).count() as f64 / 400.0;
            f * p.iter().map(|p| f64::from(p[e as usize])).sum::<f64>() / 200.0
        })
        .sum::<f64>()
        * 6.0;
    assert!((of.balance_loss.unwrap() - loss).abs() < 1e-6);
    assert!((found.more.hugging_face_balance_loss.unwrap() - 2.0 * loss).abs() < 1e-6);
    let z: f64 = logits.iter().map(|z| f64::from(z.iter().map(|v| v.exp()).sum::<f32>().ln()).powi(2)).sum();
    assert!((of.z_loss.unwrap() - z / 200.0).abs() < 1e-5);
    assert!(of.top1_margin.unwrap() > 0.0 && of.choice_margin.unwrap() > 0.0);
    assert!(!found.gaps.iter().any(|gap| gap.contains("--model")), "{:?}", found.gaps);

    // The same field, probabilities in it: seen, said, and no z-loss.
    let found = summary(settings, &rows, &p).unwrap();
    let again = over_all(&found, 0);
    assert!((again.balance_loss.unwrap() - loss).abs() < 1e-6 && again.z_loss.is_none());
    assert!(found.gaps.iter().any(|gap| gap.contains("probabilities already")), "{:?}", found.gaps);
    // Half logits, half probabilities, which the first rows do not tell: said.
    let halves: Vec<Vec<f32>> = logits[..100].iter().chain(&p[100..]).cloned().collect();
    let mixed = summary(serde_json::json!({ "experts": 6 }), &rows, &halves).unwrap();
    assert!(mixed.gaps.iter().any(|gap| gap.contains("50.0 % of its rows")), "{:?}", mixed.gaps);
    // A domain without tokens is a gap, not zeros.
    let empty = found.more.balance.iter().find(|b| b.domain.as_deref() == Some("nothing")).unwrap();
    assert_eq!(
        (empty.cv, empty.balance_loss, empty.router_entropy, empty.tokens),
        (None, None, None, Some(0))
    );
    assert!(found.gaps.iter().any(|gap| gap.contains("domain nothing")));
}

#[test]
fn without_scores_nothing_is_made_up() {
    let scores = vec![Vec::new(); 2];
    let rows = [row_of(0, 0, &[1, 0]), row_of(1, 0, &[1, 2])];
    let message = summary(serde_json::json!({ "experts": 3 }), &rows, &scores).unwrap_err().to_string();
    assert!(message.contains("0 scores") && message.contains("position 0"), "{message}");
}

#[test]
fn weights_that_break_the_rule_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let config = r#"{"model_type":"mixtral","num_local_experts":3,"num_experts_per_tok":2}"#;
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    let attempt = |weights: &str| {
        let mut head = header(4);
        head.model.path = Some(folder.path().display().to_string());
        head.settings = serde_json::json!({ "weights": weights });
        let data = folder.path().join(weights);
        let rows = [row_of(0, 0, &[1, 0])];
        crate::rows::fixture::routing(&data, head, &crate::rows::fixture::texts(&[1], 5, 1), &rows);
        summarise(&data, &mut Quiet)
    };
    let message = attempt("applied").unwrap_err().to_string();
    assert!(message.contains("sum to 0.5") && message.contains("a sum of 1"), "{message}");
    assert_eq!(attempt("any").unwrap().layers().next().unwrap().experts, 3);
}

/// Tokens may skip a layer: density and balance count only what is there.
#[test]
fn skipped_tokens() {
    let rows: Vec<Routed> = (0..40)
        .flat_map(|p| [row_of(p, 0, if p % 4 == 0 { &[] } else { &[1] }), row_of(p, 1, &[])])
        .collect();
    let scores = vec![vec![0.5, -0.5]; rows.len()];
    let found = summary(serde_json::json!({ "experts": 2 }), &rows, &scores).unwrap();
    let first = over_all(&found, 0);
    assert_eq!(
        (first.activation_density, first.slots, first.k, first.cv),
        (Some(0.75), 30, Some(1), Some(1.0))
    );
    let second = over_all(&found, 1);
    assert_eq!((second.activation_density, second.cv, second.balance_loss), (Some(0.0), None, None));
    assert!(found.gaps.iter().any(|gap| gap.contains("layer 1: no token chose")));
    assert_eq!(found.layers().count(), 2);
}

#[test]
fn a_layer_of_one_expert() {
    let rows: Vec<Routed> = (0..20).map(|p| row_of(p, 3, &[0])).collect();
    let found = summary(serde_json::json!({ "experts": 1 }), &rows, &vec![vec![1.0]; 20]).unwrap();
    let of = over_all(&found, 3);
    assert_eq!(
        (of.load_entropy, of.cv, of.balance_loss, of.top1_margin),
        (Some(1.0), Some(0.0), Some(1.0), None)
    );
    assert!(found.gaps.iter().any(|gap| gap.contains("single expert")));
    assert_eq!((found.more.pairs.len(), found.more.transitions.len()), (0, 0));
}

/// Synthetic routing: the first expert is uniform over 6, the second its partner (0↔1, 2↔3, 4↔5) with
/// probability 0.6, else one of the other four; in the next layer the first expert is kept with probability
/// 0.7. The tables give all of it back.
#[test]
fn known_probabilities_come_back_from_the_tables() {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let tokens = 30_000u32;
    let draw = |first: u32, rng: &mut ChaCha8Rng| -> Vec<u32> {
        let others: Vec<u32> = (0..6).filter(|&e| e != first && e != first ^ 1).collect();
        let second =
            if rng.random::<f64>() < 0.6 { first ^ 1 } else { others[rng.random_range(0..others.len())] };
        let mut both = vec![first, second];
        // Whoever is stronger must not matter.
        both.shuffle(rng);
        both
    };
    let mut rows = Vec::new();
    for position in 0..tokens {
        let first = rng.random_range(0..6u32);
        rows.push(row_of(position, 0, &draw(first, &mut rng)));
        let next = if rng.random::<f64>() < 0.7 { first } else { (first + rng.random_range(1..6)) % 6 };
        rows.push(row_of(position, 1, &[next]));
    }
    let folder = tempfile::tempdir().unwrap();
    let settings = serde_json::json!({ "experts": 6, "score_kind": "logits" });
    with_scores(folder.path(), settings, &rows, &vec![vec![0.0; 6]; rows.len()]);
    let found = summarise(folder.path(), &mut Quiet).unwrap();
    let table = row::open::<PairRow>(&found.folder.join("pairs.parquet")).unwrap();
    let pairs: Vec<PairRow> = row::read(&table, Default::default()).unwrap();
    assert_eq!(pairs, found.more.pairs);
    let near = |found: f64, wanted: f64, n: f64| {
        assert!((found - wanted).abs() < 5.0 * (wanted * (1.0 - wanted) / n).sqrt(), "{found}, {wanted}");
    };
    let mut sums = [0.0; 6];
    for pair in pairs.iter().filter(|p| p.layer == 0) {
        // P(b | a): both are first with 1/6, and 2/6 of the tokens chose a.
        let wanted = if pair.a ^ 1 == pair.b { 0.6 } else { 0.1 };
        near(pair.b_given_a.unwrap(), wanted, f64::from(tokens) / 3.0);
        near(pair.a_given_b.unwrap(), wanted, f64::from(tokens) / 3.0);
        assert!((pair.lift.unwrap() - wanted * 3.0).abs() < 0.1, "{pair:?}");
        sums[pair.a as usize] += pair.b_given_a.unwrap();
        sums[pair.b as usize] += pair.a_given_b.unwrap();
        assert_eq!(pair.rank_adjacent, pair.count, "with two experts there is one pair");
    }
    assert!(sums.iter().all(|s| (s - 1.0).abs() < 1e-12), "rows sum to k − 1: {sums:?}");
    let t = &found.more.transitions;
    assert_eq!(t.len(), 36);
    for from in 0..6u32 {
        let row: Vec<f64> = t.iter().filter(|t| t.from == from).map(|t| t.probability.unwrap()).collect();
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        // Half of the tokens that chose `from` chose it first, the other half chose it with its partner (0.6) or a different one.
        let wanted = |to: u32| {
            let kept = |first: u32| if to == first { 0.7 } else { 0.06 };
            let beside = |first: u32| if first == from ^ 1 { 0.6 } else { 0.1 };
            0.5 * kept(from) + 0.5 * (0..6).filter(|&f| f != from).map(|f| beside(f) * kept(f)).sum::<f64>()
        };
        (0..6).for_each(|to| near(row[to as usize], wanted(to), f64::from(tokens) / 3.0));
    }
}

/// The embedded model run again gives what its harvest wrote, and the scores that the harvest did not keep.
#[test]
fn the_model_is_run_again_for_its_scores() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("text.jsonl");
    let lines: String = (0..6)
        .map(|i| {
            let body = "The court held that f(x) = x + 1, et la loi. ".repeat(4 + 9 * i);
            format!("{}\n", serde_json::json!({ "text": body, "domain": if i % 2 == 0 { "a" } else { "b" } }))
        })
        .collect();
    std::fs::write(&text, lines).unwrap();
    let config = HarvestConfig { text: vec![text], routing: true, ..HarvestConfig::default() };
    let model = LanguageModel::load(&ModelSource::Default).unwrap();
    let data = folder.path().join("data");
    crate::harvest::run(&config, &model, &data, &mut Quiet).unwrap();
    let plain = summarise(&data, &mut Quiet).unwrap();
    assert!(plain.gaps.iter().any(|gap| gap.contains("--model")));
    let choice = ModelChoice::Source(ModelSource::Default);
    let found = summarise_with(&data, &choice, &mut Quiet).unwrap();
    assert_eq!(found.more.pairs, plain.more.pairs);
    for (with, without) in found.more.balance.iter().zip(&plain.more.balance) {
        assert_eq!((without.balance_loss, without.z_loss, without.top1_margin), (None, None, None));
        let loss = with.balance_loss.unwrap();
        assert!(loss > 0.5 && loss < 16.0 && with.z_loss.unwrap() > 0.0, "{loss}");
        // OLMoE applies probabilities as they are, so the margin of the weights is that of the probabilities.
        assert!((with.top1_margin.unwrap() - with.weight_margin.unwrap()).abs() < 1e-5, "{with:?}");
    }
    assert!(found.more.hugging_face_balance_loss.unwrap() > 1.0);
}

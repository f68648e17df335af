use std::path::Path;

use super::*;
use crate::Quiet;
use crate::rows::fixture::{self, Routed, Text, components, header, texts};
use crate::rows::{ModelChoice, Subject};

const D: usize = 8;
const EXPERTS: usize = 4;

fn documents() -> Vec<Text> {
    let mut texts = texts(&[300, 280, 320, 290], 50, 1);
    texts.iter_mut().enumerate().for_each(|(i, text)| text.held_out = i % 2 == 1);
    texts
}

/// Eight features along the axes, each active where its component is positive; of four of them one is active, and
/// expert e is chosen where `features[e]` is, or where `other` says.
fn case(folder: &Path, features: [usize; 4], other: impl Fn(u64) -> Option<u32>) {
    let texts = documents();
    let tokens: usize = texts.iter().map(|t| t.tokens.len()).sum();
    let mut values = fixture::activations(tokens, D, 7);
    let mut routed: Vec<Routed> = Vec::new();
    let mut row = 0;
    for (document, text) in (10u32..).zip(&texts) {
        for (position, &token) in (0u32..).zip(&text.tokens) {
            let x = &mut values[row * D..(row + 1) * D];
            let best = (0..4u32)
                .max_by(|a, b| x[features[*a as usize]].total_cmp(&x[features[*b as usize]]))
                .unwrap();
            for e in 0..4u32 {
                let value = &mut x[features[e as usize]];
                *value = if e == best { value.abs() + 0.1 } else { -value.abs() };
            }
            let expert = other(row as u64).unwrap_or(best);
            routed.push((document, position, token, 0, vec![expert], vec![1.0], 0.5));
            row += 1;
        }
    }
    fixture::dataset(&folder.join("all/hook"), header(D), &texts, &values, 2);
    fixture::run(&folder.join("run"), &components(D), &folder.join("all/hook"));
    let mut head = header(D);
    head.settings = serde_json::json!({ "experts": EXPERTS });
    fixture::routing(&folder.join("all/routing"), head, &texts, &routed);
}

fn explained(folder: &Path) -> RouterLayer {
    let options = ExplainRoutersOptions { model: ModelChoice::Without, ..Default::default() };
    let found = explain(&folder.join("run"), &options, &mut Quiet).unwrap();
    assert!(found.held_out && found.made == 620 && found.measured == 570, "{found:?}");
    let table = folder.join("run/features/routers.parquet");
    let table = storage::row::open::<storage::experts::RouterRow>(&table).unwrap();
    let rows: Vec<storage::experts::RouterRow> = storage::row::read(&table, Default::default()).unwrap();
    assert_eq!(rows, found.layers[0].predictors);
    found.layers[0].clone()
}

fn recall(of: &RouterLayer, predictor: &str, features: Option<u32>) -> f64 {
    let row = of.predictors.iter().find(|row| row.predictor == predictor && row.features == features);
    row.unwrap_or_else(|| panic!("{predictor} {features:?}")).recall
}

/// One feature for each expert: it is found, predicts all that can be predicted, and nothing else does.
#[test]
fn a_planted_router_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let features = [5, 2, 7, 0];
    case(folder.path(), features, |_| None);
    let of = explained(folder.path());
    assert_eq!(recall(&of, "features", Some(1)), 1.0);
    // A linear fit by features that do not matter may miss a token whose best two nearly tie.
    assert!(recall(&of, "features", None) > 0.99 && recall(&of, "dense", None) > 0.9, "{:?}", of.predictors);
    for control in ["prior", "unigram", "bigram", "position"] {
        assert!(recall(&of, control, None) < 0.4, "{control} {:?}", of.predictors);
    }
    assert!(recall(&of, "shuffled", Some(64)) < 0.36);
    for (e, feature) in features.iter().enumerate() {
        let first = of.features.iter().find(|row| row.expert as usize == e && row.rank == 0).unwrap();
        assert_eq!(first.feature as usize, *feature);
        assert!(first.correlation > 0.3 && first.direct.is_none());
        assert_eq!(of.experts[e].union_size, Some(1));
    }
}

/// Choices that have nothing to do with the tokens: features do as well as the prior and no better.
#[test]
fn choices_by_chance_give_the_prior() {
    let folder = tempfile::tempdir().unwrap();
    use kernels::chance::{Purpose, below, generator};
    case(folder.path(), [0, 1, 2, 3], |row| {
        let die = below(10, &mut generator(3, Purpose::Samples, row, 0));
        Some([0u32, 0, 0, 0, 0, 1, 1, 2, 2, 3][die])
    });
    let of = explained(folder.path());
    let prior = recall(&of, "prior", None);
    assert!((prior - 0.5).abs() < 0.05, "{prior}");
    for m in [Some(1), Some(4), Some(16), Some(64), None] {
        assert!((recall(&of, "features", m) - prior).abs() < 0.03, "{m:?} {:?}", of.predictors);
    }
    assert!((recall(&of, "dense", None) - prior).abs() < 0.03);
}

/// The fit by all features against normal equations solved at once.
#[test]
fn conjugate_gradients_agree_with_normal_equations() {
    let folder = tempfile::tempdir().unwrap();
    case(folder.path(), [5, 2, 7, 0], |_| None);
    let subject = Subject::open(&folder.path().join("run"), None).unwrap();
    let source = crate::experts::routing::Source::open(&folder.path().join("all")).unwrap();
    let of = gather::gather(&subject, &source, (&[0], EXPERTS), (10_000, 1), &mut Quiet).unwrap();
    let by_feature = of.made.codes.transposed(D);
    let choices = &of.made.choices[&0];
    let whole = all::fit(&of.made.codes, &by_feature, choices, EXPERTS);
    let few = fit::fit(&of.made.codes, &by_feature, choices, EXPERTS);
    // All eight features are within the ladder's last rung.
    let scorer = fit::Scorer::of(&few, LADDER.len() - 1, D);
    for t in 0..of.measured.len() {
        let (mut a, mut b) = ([0.0; EXPERTS], [0.0; EXPERTS]);
        whole.score(of.measured.codes.row(t), &mut a);
        scorer.score(of.measured.codes.row(t), &mut b);
        a.iter().zip(&b).for_each(|(a, b)| assert!((a - b).abs() < 2e-3, "{a} {b}"));
    }
}

/// A model whose router rows are the directions of features, read where the router reads: the features carry
/// every logit; directions turned to other features carry none of it in the mean.
#[test]
fn the_direct_share_of_a_planted_router_is_one() {
    use crate::dictionary::{Dictionary, Selection};
    use lm::model::{Hook, LanguageModel, ModelSource, Site};
    let folder = tempfile::tempdir().unwrap();
    let model_folder = folder.path().join("model");
    fixture::model(&model_folder);
    let model = LanguageModel::load(&ModelSource::Folder(model_folder)).unwrap();
    let of = model.decoder().moe_layers().next().unwrap();
    let d = model.config().hidden_size;
    // Both directions of every axis: the codes add up to the input, whatever it is.
    let mut w = vec![0.0; 2 * d * d];
    for i in 0..d {
        w[i * d + i] = 1.0;
        w[(d + i) * d + i] = -1.0;
    }
    let dictionary = Dictionary {
        d_in: d,
        d_sae: 2 * d,
        w_enc: w.clone(),
        b_enc: vec![0.0; 2 * d],
        w_dec: w,
        b_dec: vec![0.0; d],
        selection: Selection::Threshold(vec![0.0; 2 * d]),
        prune_below: None,
        normalisation: Default::default(),
        target: None,
        info: Default::default(),
    };
    let texts = documents();
    let mut routed: Vec<Routed> = Vec::new();
    for (document, text) in (10u32..).zip(&texts) {
        for (position, &token) in (0u32..).zip(&text.tokens) {
            for layer in 0..2 {
                routed.push((document, position, token, layer, vec![0, 1], vec![0.5, 0.5], 0.5));
            }
        }
    }
    let mut head = header(d);
    head.settings = serde_json::json!({ "experts": 4 });
    head.model = fixture::model_ref(&model);
    fixture::routing(&folder.path().join("routing"), head, &texts, &routed);
    let source = crate::experts::routing::Source::open(folder.path()).unwrap();
    let experts = of.router.unwrap().dim(0).unwrap();
    let shares = |dictionary: &Dictionary, hook: Hook| -> std::collections::BTreeMap<u16, Vec<f64>> {
        let of = direct::direct(dictionary, hook, &source, &model, (&[0, 1], 600), &mut Quiet).unwrap();
        of.iter().map(|(l, of)| (*l, (0..experts).map(|e| of.share(e).unwrap()).collect())).collect()
    };
    // What the router reads itself, and the stream before the norm: all of it either way.
    for site in [Site::MlpIn, Site::ResidMid] {
        let found = shares(&dictionary, Hook::new(1, site));
        assert_eq!(found.keys().copied().collect::<Vec<_>>(), [1], "layer 0 is before the hook");
        found[&1].iter().for_each(|share| assert!((share - 1.0).abs() < 1e-4, "{site:?} {share}"));
    }
    // Decoder rows of other features: what they carry is not what the logits are.
    let mut turned = dictionary;
    turned.w_dec.rotate_left(d * 3);
    assert!(shares(&turned, Hook::new(1, Site::MlpIn))[&1].iter().all(|share| *share < 0.6));
}

//! The property that makes graphs exact, and small answers by hand. `tests/graphs.rs` has circuit-tracer's own graphs.

use std::path::PathBuf;

use super::*;
use crate::dictionary::{Dictionary, DictionaryInfo, Normalisation, Selection};
use crate::{Error, Quiet, Result};
use lm::model::{LanguageModel, ModelSource, Site};
use lm::text::{Contexts, pack};

#[test]
fn influence_and_edges_of_a_small_graph_worked_out_by_hand() {
    // Five features, errors of two layers at two tokens, two tokens, one logit.
    let mut nodes = Vec::new();
    for feature in 0..5 {
        nodes.push(NodeKind::Feature { layer: 0, position: 0, feature, activation: 1.0 });
    }
    for (layer, position) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
        nodes.push(NodeKind::Error { layer, position });
    }
    nodes.extend((0..2).map(|position| NodeKind::Token { position, token: 0 }));
    nodes.push(NodeKind::Logit { token: 0, probability: 1.0 });
    let mut graph = Graph {
        nodes: nodes.into_iter().map(|kind| Node { kind, value: 0.0 }).collect(),
        features: 5,
        errors: 4,
        tokens: 2,
        weights: vec![0.0; 6 * 12],
        left_out: 0,
    };
    for (row, sources) in [(5, &[1, 3, 6, 8][..]), (3, &[0, 1, 6]), (1, &[9, 10]), (0, &[9])] {
        sources.iter().for_each(|source| graph.weights[row * 12 + source] = 10.0);
    }
    let twelfths = [1.0, 4.0, 0.0, 3.0, 0.0, 0.0, 4.0, 0.0, 3.0, 3.0, 2.0, 0.0];
    for (own, wanted) in graph.influence().iter().zip(twelfths) {
        assert!((own * 12.0 - wanted).abs() < 1e-12, "{own} {wanted}");
    }
}

/// The rows of a graph add up: what all nodes give a target is its pre-activation, which the model computed. This is so
/// only if every norm, pattern and skip path of the way back is that of the way forth.
fn rows_add_up(graph: &Graph, tolerance: f32) {
    assert!(graph.features > 20, "{} features", graph.features);
    let scale = graph.nodes.iter().map(|node| node.value.abs()).fold(0.0, f32::max);
    for node in graph.receivers() {
        let sum: f32 = graph.row(node).unwrap().iter().sum();
        let value = graph.nodes[node].value;
        assert!((sum - value).abs() < tolerance * scale, "{:?}: {sum}, expected {value}", graph.nodes[node]);
    }
}

fn contexts(tokens: &[u32]) -> Contexts {
    let documents = [Ok::<_, Error>((0, tokens[1..].to_vec()))];
    pack(documents, tokens.len(), Some(tokens[0]), 1).unwrap().next().unwrap().unwrap()
}

#[test]
fn rows_of_the_embedded_mixture_of_experts_add_up() -> Result<()> {
    let model = LanguageModel::load(&ModelSource::Default)?;
    let tokens = model.tokenizer().encode_after_bos("The court held that the statute was void.")?;
    let d = model.config().hidden_size;
    let random = |n: usize, seed: u32| crate::dictionary::tests::numbers(n, seed);
    let of_layer = |layer: u32| Dictionary {
        d_in: d,
        d_sae: 64,
        w_enc: random(64 * d, 10 * layer + 1),
        b_enc: random(64, 10 * layer + 2),
        w_dec: random(64 * d, 10 * layer + 3),
        // A bias would be what no node gives.
        b_dec: vec![0.0; d],
        selection: Selection::TopK(5),
        prune_below: None,
        normalisation: Normalisation::None,
        target: Some(crate::dictionary::Target {
            d_out: d,
            skip: Some(random(d * d, 10 * layer + 4)),
            hook: None,
            norm_limit: None,
        }),
        info: DictionaryInfo::default(),
    };
    let mut all = Transcoders { layers: Default::default() };
    // Layer 1 has no transcoder: all its MLP writes is an error.
    for layer in [0, 2] {
        let transcoder = transcoders::LayerTranscoder {
            dictionary: of_layer(layer),
            site: Site::MlpIn,
            later: Vec::new(),
            from: PathBuf::new(),
        };
        all.layers.insert(layer as usize, transcoder);
    }
    let begun = model.bos().into_iter().chain(tokens).collect::<Vec<u32>>();
    let contexts = contexts(&begun);
    let targets = [
        Target::default(),
        Target::Router { layer: 2, expert: 3 },
        Target::Feature { layer: 2, feature: 7, position: Some(4) },
        Target::Direction { layer: 1, direction: random(d, 77) },
    ];
    for target in targets {
        let options = TraceOptions { target, skip_first: false, ..TraceOptions::default() };
        rows_add_up(&trace(model.decoder(), &contexts, &all, &options, &mut Quiet)?, 1e-4);
    }
    Ok(())
}

/// The same of a cross-layer transcoder of all layers, as it is written to disk and read again.
#[test]
fn rows_of_a_cross_layer_transcoder_add_up() -> Result<()> {
    let model = LanguageModel::load(&ModelSource::Default)?;
    let tokens = model.tokenizer().encode_after_bos("The court held that the statute was void.")?;
    let (d, layers) = (model.config().hidden_size, model.config().num_hidden_layers);
    let random = |n: usize, seed: usize| crate::dictionary::tests::numbers(n, seed as u32);
    let of_layer = |layer: usize| Dictionary {
        d_in: d,
        d_sae: 64,
        w_enc: random(64 * d, 10 * layer + 1),
        b_enc: random(64, 10 * layer + 2),
        w_dec: random(64 * d, 10 * layer + 3),
        // A bias would be what no node gives.
        b_dec: vec![0.0; d],
        selection: Selection::TopK(5),
        prune_below: None,
        normalisation: Normalisation::None,
        target: Some(crate::dictionary::Target { d_out: d, skip: None, hook: None, norm_limit: None }),
        info: DictionaryInfo::default(),
    };
    let later = |layer: usize| {
        (layer + 1..layers).map(|to| random(64 * d, 1000 + 10 * layer + to)).collect::<Vec<_>>()
    };
    let transcoder = crate::dictionary::CrossLayerTranscoder {
        layers: (0..layers).map(of_layer).collect(),
        later: (0..layers).map(later).collect(),
    };
    let folder = tempfile::tempdir().map_err(|e| Error::io("", e))?;
    transcoder.save(folder.path())?;
    let opened = crate::interop::dictionaries::open_path(folder.path())?;
    let all = Transcoders::new([(folder.path().to_owned(), opened)])?;
    all.check(model.config())?;
    let begun = model.bos().into_iter().chain(tokens).collect::<Vec<u32>>();
    for target in [Target::default(), Target::Feature { layer: 2, feature: 7, position: Some(4) }] {
        let options = TraceOptions { target, skip_first: false, ..TraceOptions::default() };
        let graph = trace(model.decoder(), &contexts(&begun), &all, &options, &mut Quiet)?;
        rows_add_up(&graph, 1e-4);
    }
    Ok(())
}

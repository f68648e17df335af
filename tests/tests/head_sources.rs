//! Features followed back through attention: parts against what `sae prompt` reads, and against the edges of a graph.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use sae::trace::GraphModel;
use serde_json::Value;
use storage::graph::{self, GraphEdgeRow, GraphNodeRow};
use tests::sae;

/// Words of a command line have no spaces.
const TEXT: &str = "Theauthorgrantsthelicensetoyou";

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is a number"))
}

/// What all parts of an answer give together.
fn sum(parts: &Value) -> f64 {
    let heads =
        parts["heads"].as_array().unwrap().iter().flat_map(|head| head["sources"].as_array().unwrap());
    let mlps = parts["mlps"].as_array().unwrap().iter();
    let all = heads.chain(mlps).map(|part| number(&part["value"])).sum::<f64>();
    all + parts["embedding"].as_f64().unwrap_or_default() + number(&parts["biases"])
}

/// The strongest feature of the last token, with its activation, as `sae prompt` reads it.
fn strongest(at: &Path, run: &str) -> (u64, u64, f64) {
    let json = sae(at, &format!("prompt {run} --json --text {TEXT}")).ok().json();
    let tokens = json["tokens"].as_array().unwrap();
    let features = tokens.last().unwrap()["features"].as_array().unwrap();
    let best = features.iter().max_by(|a, b| number(&a["activation"]).total_cmp(&number(&b["activation"])));
    let best = best.unwrap();
    (tokens.len() as u64 - 1, best["feature"].as_u64().unwrap(), number(&best["activation"]))
}

#[test]
fn parts_are_the_activation_that_the_prompt_reads() {
    let root = fixtures::sources();
    for run in ["heads", "below"] {
        let (token, feature, activation) = strongest(root, run);
        let command = format!("heads sources {run} --feature {feature} --json --text {TEXT}");
        let json = sae(root, &command).ok().json();
        assert_eq!((&json["token"], &json["feature"]), (&token.into(), &feature.into()));
        let parts = &json["parts"];
        assert!((number(&parts["whole"]) - activation).abs() < 1e-4 * activation, "{run}: {parts:#}");
        assert!((sum(parts) - activation).abs() < 1e-4 * activation.max(1.0), "{run}");
        // BOS is a source like the others, and has no number.
        let sources = parts["heads"][0]["sources"].as_array().unwrap();
        assert_eq!(sources.len() as u64, token + 2);
        assert_eq!((&sources[0]["token"], &sources[1]["token"]), (&Value::Null, &0.into()));
    }
}

#[test]
fn a_step_through_a_head_leads_to_the_features_there() {
    let root = fixtures::sources();
    let (_, feature, _) = strongest(root, "heads");
    let command = format!("heads sources heads --feature {feature} --json --text {TEXT}");
    let first = sae(root, &command).ok().json();
    let (head, value) = (2, &first["parts"]["heads"][2]["sources"][3]["value"]);
    let command = format!(
        "heads sources heads --feature {feature} --through 2.{head}@2 --with below --json --text {TEXT}"
    );
    let json = sae(root, &command).ok().json();
    let parts = &json["parts"];
    assert!((number(&parts["whole"]) - number(value)).abs() < 1e-5, "{parts:#}");
    assert!((sum(parts) - number(value)).abs() < 1e-4 * (1.0 + number(value).abs()));
    // The stream after layer 1 is the stream before layer 2, which the head read.
    let written = &json["written"][0]["parts"];
    assert_eq!(written["hook"], "blocks.1.hook_resid_post");
    let features =
        written["features"].as_array().unwrap().iter().map(|part| number(&part["value"])).sum::<f64>();
    let whole = number(&written["whole"]);
    assert!(
        (features + number(&written["bias"]) + number(&written["error"]) - whole).abs()
            < 1e-4 * (1.0 + whole.abs())
    );
    assert!(
        (whole - number(&parts["whole"])).abs() < 1e-4 * (1.0 + whole.abs()),
        "the embedded model has no biases"
    );

    let command =
        format!("heads sources heads --feature {feature} --through 2@BOS --with below --text {TEXT}");
    let said = sae(root, &command).ok().stdout;
    assert!(
        said.contains("all heads of layer 2 from token BOS") && said.contains("blocks.1.hook_resid_post"),
        "{said}"
    );
}

#[test]
fn what_leads_nowhere_is_refused() {
    let root = fixtures::sources();
    for (options, code, said) in [
        ("--feature 1 --through 3.0@1", 2, "do not write to what is read here"),
        ("--feature 1 --through 2.9@1", 2, "has no head 9"),
        ("--feature 1@77", 2, "has no token 77"),
        ("--feature 99999", 2, "no feature 99999"),
        ("--feature 1 --with nothing-there", 1, "nothing-there"),
    ] {
        sae(root, &format!("heads sources heads {options} --text {TEXT}")).refused(code, &[said]);
    }
}

#[test]
fn what_goes_through_all_heads_is_what_the_edges_of_a_graph_say() {
    let folder = fixtures::circuits().join("graph");
    let record = graph::Graph::read(&folder).unwrap();
    let model = GraphModel::open(&record, &[]).unwrap();
    let nodes: Vec<GraphNodeRow> = rows(&folder.join(graph::NODES));
    let edges: Vec<GraphEdgeRow> = rows(&folder.join(graph::EDGES));
    let strongest = |kind: &str| {
        let of_kind = nodes.iter().filter(|node| node.kind == kind && node.layer != Some(0));
        of_kind.max_by(|a, b| a.influence.total_cmp(&b.influence)).unwrap()
    };
    for node in [strongest(graph::FEATURE), strongest(graph::LOGIT)] {
        let parts = model.heads(&record, node).unwrap();
        assert!(
            (parts.whole - node.value).abs() < 1e-3 * node.value.abs().max(1.0),
            "{node:?}: {}",
            parts.whole
        );
        let place = node.position.map_or(record.tokens.len() - 1, |position| position as usize);
        let mut through = vec![0.0; nodes.len()];
        let layers: std::collections::BTreeSet<usize> = parts.heads.iter().map(|head| head.layer).collect();
        assert!(layers.len() >= 2);
        for (layer, source) in layers.iter().flat_map(|&layer| (0..=place).map(move |source| (layer, source)))
        {
            let way = (layer, None, source);
            let given = model.given_through(&record, &nodes, node.node as usize, way).unwrap();
            let all = given.nodes.iter().sum::<f32>() + given.rest;
            assert!((all - given.whole).abs() < 1e-4 * (1.0 + given.whole.abs()));
            through.iter_mut().zip(&given.nodes).for_each(|(sum, given)| *sum += given);
        }
        let (mut seen, mut largest) = (0, 0.0f32);
        for edge in edges.iter().filter(|edge| edge.target == node.node) {
            let source = &nodes[edge.source as usize];
            // What stands at the same token gives something without a head, too.
            if source.position == Some(place as u32) {
                continue;
            }
            let found = through[edge.source as usize];
            assert!(
                (found - edge.weight).abs() < 1e-3 * (1.0 + edge.weight.abs()),
                "{source:?}: {found}, {edge:?}"
            );
            (seen, largest) = (seen + 1, largest.max(edge.weight.abs()));
        }
        assert!(seen > 5 && largest > 1e-2, "{seen} edges, at most {largest}");
    }
}

fn rows<T: storage::row::Row>(path: &Path) -> Vec<T> {
    storage::row::read(&storage::row::open::<T>(path).unwrap(), storage::Scan::default()).unwrap()
}

#[test]
fn a_graph_explains_a_feature_of_attention() {
    let (heads, circuits) = (fixtures::sources(), fixtures::circuits());
    let (_, feature, activation) = strongest(heads, "heads");
    let folder = tempfile::tempdir().unwrap();
    let run = heads.join("heads");
    let transcoders = [0, 2].map(|layer| circuits.join(format!("transcoder-{layer}")).display().to_string());
    let trace = |out: &str, feature: u64| {
        let (run, transcoders) = (run.display(), transcoders.join(" "));
        let line = format!(
            "trace --out {out} --transcoders {transcoders} --target feature:{run}:{feature} --text {TEXT}"
        );
        sae(folder.path(), &line)
    };
    trace("graph", feature).ok();
    let nodes: Vec<GraphNodeRow> = rows(&folder.path().join("graph").join(graph::NODES));
    let edges: Vec<GraphEdgeRow> = rows(&folder.path().join("graph").join(graph::EDGES));
    let node = nodes.iter().find(|node| node.kind == graph::TARGET).unwrap();
    // Nothing after layer 2's attention gives it anything.
    let sources =
        edges.iter().filter(|edge| edge.target == node.node).map(|edge| &nodes[edge.source as usize]);
    assert!(sources.clone().count() > 5);
    assert!(sources.clone().all(|source| source.layer.is_none_or(|layer| layer < 2)));
    let dictionary = sae::dictionary::Dictionary::load(&run).unwrap();
    let encoder = dictionary.encoder_row(feature as usize);
    let subtracted: f32 = encoder.iter().zip(&dictionary.b_dec).map(|(w, b)| w * b).sum();
    let expected = activation as f32 - dictionary.b_enc[feature as usize] + subtracted;
    assert!((node.value - expected).abs() < 1e-3 * (1.0 + expected.abs()), "{node:?}, {expected}");
    trace("other", 99_999).refused(2, &["has no feature 99999"]);
}

#[test]
fn induction_of_the_embedded_model_is_a_share_for_every_head_and_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let command = "heads induction default --texts 4 --length 24 --longest 3 --json";
    let json = sae(folder.path(), command).ok().json();
    let heads = json["induction"]["heads"].as_array().unwrap();
    assert_eq!(heads.len(), 16);
    for scores in heads.iter().flat_map(|head| [&head["scores"], &head["controls"]]) {
        let scores = scores.as_array().unwrap();
        assert!(scores.len() == 3 && scores.iter().all(|score| (0.0..=1.0).contains(&number(score))));
    }
    assert_eq!(json, sae(folder.path(), command).ok().json());
    let short = sae(folder.path(), "heads induction default --length 10");
    short.refused(2, &["cannot hold a prefix of 9 twice", "--length 20"]);
}

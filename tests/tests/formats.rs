//! Every format of dictionaries through the commands that take one: in, evaluate, index, the run that the window opens, out, and in again.
//! What works is the table in docs/dictionaries.md, which this test writes (`UPDATE_DOCS=1`) or compares.
//!
//! The dictionaries are those that the other programs' own classes made; the rows are six components of what the embedded model computes
//! on the text of the fixtures.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

#[path = "../../sae/tests/dictionaries/mod.rs"]
mod golden;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sae::dictionary::{Codes, Dictionary};
use sae::interop::dictionaries::{Content, open_path};
use storage::{Dataset, Run};
use tests::{Ended, sae};

/// Width of the golden dictionaries.
const D: usize = 6;
/// Their features.
const FEATURES: u64 = 10;
/// Formats that weights go to, and where in an export the dictionary is.
const TO: [(&str, &str); 4] =
    [("saelens", ""), ("sparsify", "layers"), ("dictionary-learning", "trainer_0"), ("circuit-tracer", "")];
/// The documents with the table, and the lines around it.
const BEGIN: &str = "<!-- table: tests/tests/formats.rs -->\n";
const END: &str = "<!-- end of the table -->\n";

/// What came of one dictionary.
#[derive(Debug, Default)]
struct Outcome {
    evaluate: Cell,
    index: Cell,
    window: Cell,
    out: BTreeMap<&'static str, Cell>,
}

/// Whether something worked; if not, what was said.
#[derive(Debug, Default, Clone, PartialEq)]
enum Cell {
    #[default]
    NotTried,
    Works,
    /// A transcoder whose model is missing, which computes its target.
    WithModel,
    Refused(String),
}

impl Cell {
    /// A refusal must be one: an error with a sentence, not a fault.
    fn of(ended: &Ended) -> Self {
        match ended.code() {
            Some(0) => Self::Works,
            Some(1 | 2) if ended.stderr.contains("transcoder is measured on what its model computes") => {
                Self::WithModel
            }
            Some(1 | 2) => Self::Refused(ended.stderr.lines().last().unwrap_or_default().to_owned()),
            other => panic!("{other:?}: {ended}"),
        }
    }
}

/// Six components of the rows of the fixtures, as a dataset at `hook`, made when it is first asked for.
fn data(at: &Path, hook: &str) -> PathBuf {
    let name = format!("data-{}", if hook.is_empty() { "nowhere" } else { hook });
    let place = at.join(&name);
    if place.exists() {
        return place;
    }
    let table = Dataset::open(&fixtures::sample().join("data")).unwrap().table("activations").unwrap();
    let mut rows = Vec::new();
    for batch in table.scan(storage::Scan::default()).unwrap() {
        storage::vector::fixed_size_rows(&batch.unwrap(), "activation", &mut rows).unwrap();
    }
    let width = 128;
    let count = rows.len() / width;
    let header = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({count}, {D}), }}\n");
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend(header.as_bytes());
    rows.chunks_exact(width).for_each(|row| bytes.extend(row[..D].iter().flat_map(|x| x.to_le_bytes())));
    std::fs::write(at.join("rows.npy"), bytes).unwrap();
    let of = if hook.is_empty() { String::new() } else { format!("--hook {hook}") };
    sae(at, &format!("import rows.npy {of} --out {name} --dtype f32")).ok();
    place
}

/// A folder with a dataset for each of `hooks`.
fn of_layers(at: &Path, hooks: &[&str]) -> PathBuf {
    let place = at.join("layers");
    std::fs::create_dir_all(&place).unwrap();
    for hook in hooks {
        let made = data(at, hook);
        let moved = place.join(hook);
        if !moved.exists() {
            std::fs::rename(made, moved).unwrap();
        }
    }
    place
}

fn dense(codes: &Codes, features: usize) -> Vec<f32> {
    let mut out = vec![0.0; codes.rows() * features];
    for row in 0..codes.rows() {
        let (listed, values) = codes.row(row);
        listed.iter().zip(values).for_each(|(f, v)| out[row * features + *f as usize] = *v);
    }
    out
}

fn far(got: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(got.len(), expected.len());
    got.iter().zip(expected).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max)
}

/// Codes and outputs of two dictionaries on the same rows: equal but for the rounding of biases that are folded into one another.
#[track_caller]
fn same(a: &Dictionary, b: &Dictionary, x: &[f32], what: &str) {
    let (of_a, of_b) = (a.encode(x), b.encode(x));
    let features = far(&dense(&of_b, b.d_sae), &dense(&of_a, a.d_sae));
    let outputs = far(&b.decode_with(&of_b, x), &a.decode_with(&of_a, x));
    assert!(features <= 1e-5 && outputs <= 1e-4, "{what}: features {features:.1e}, outputs {outputs:.1e}");
}

/// What was exported, read again.
fn again(out: &Path, inside: &str) -> Dictionary {
    let place = match inside {
        // Named after the module.
        "layers" => {
            let mut folders = std::fs::read_dir(out).unwrap().flatten().map(|entry| entry.path());
            folders.find(|path| path.is_dir()).unwrap()
        }
        inside => out.join(inside),
    };
    open_path(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display())).dictionary().unwrap().0
}

fn through(at: &Path, number: usize, source: &Path) -> Outcome {
    let shown = source.display();
    let opened = open_path(source).unwrap_or_else(|error| panic!("{shown}: {error}"));
    let data = match &opened.content {
        Content::CrossLayer(transcoder) => {
            let hooks = transcoder.layers.iter().filter_map(|layer| layer.info.hook_name.as_deref());
            of_layers(at, &hooks.collect::<Vec<_>>())
        }
        _ => data(at, opened.reading.hook_in.as_deref().unwrap_or_default()),
    };
    let data = data.file_name().unwrap().to_string_lossy().into_owned();
    let run = format!("run-{number}");
    let evaluate = format!("evaluate {shown} --data {data} --no-model --all-documents --json");
    let mut outcome = Outcome { evaluate: Cell::of(&sae(at, &evaluate)), ..Outcome::default() };
    let indexed = sae(at, &format!("index {shown} --data {data} --no-model --out {run} --json"));
    outcome.index = Cell::of(&indexed);
    if let Content::CrossLayer(transcoder) = &opened.content
        && outcome.index == Cell::Works
    {
        let made = Run::open(&at.join(&run)).unwrap();
        let layers = transcoder.layers.len();
        assert_eq!((made.record().layers, made.record().d_sae), (Some(layers as u64), FEATURES as usize));
        assert_eq!(made.features().unwrap().unwrap().rows(), layers as u64 * FEATURES, "{shown}");
        outcome.window = Cell::Works;
        let hooks = transcoder.layers.iter().filter_map(|layer| layer.info.hook_name.as_deref());
        let x: Vec<Vec<f32>> =
            hooks.map(|hook| rows(&at.join("layers").join(hook))[..64 * D].to_vec()).collect();
        let Content::CrossLayer(again) = open_path(&at.join(&run)).unwrap().content else {
            panic!("{shown}")
        };
        let (codes, of_run) = (transcoder.encode(&x), again.encode(&x));
        assert_eq!(codes, of_run, "{shown}");
        let outputs = transcoder.decode_with(&codes, &x).into_iter().zip(again.decode_with(&of_run, &x));
        assert!(outputs.into_iter().all(|(a, b)| far(&b, &a) <= 1e-6), "{shown}");
    }
    let Ok((dictionary, _)) = opened.dictionary() else { return outcome };
    // An index may be refused; the run is there whatever came of it.
    let made = Run::open(&at.join(&run)).unwrap();
    assert!(made.record().imported.is_some(), "{shown}");
    let features = made.features().unwrap();
    assert_eq!(features.is_some(), outcome.index == Cell::Works, "{shown}: {indexed}");
    assert!(features.is_none_or(|table| table.rows() == FEATURES), "{shown}");
    outcome.window = Cell::Works;
    let x: Vec<f32> = rows(&at.join(&data));
    same(&dictionary, &Dictionary::load(&at.join(&run)).unwrap(), &x[..64 * D], &run);
    for (to, inside) in TO {
        let out = format!("out-{number}-{to}");
        let exported = sae(at, &format!("export {run} --to {to} --out {out}"));
        let cell = Cell::of(&exported);
        if cell == Cell::Works {
            same(&dictionary, &again(&at.join(&out), inside), &x[..64 * D], &format!("{shown} to {to}"));
        }
        outcome.out.insert(to, cell);
    }
    outcome
}

fn rows(data: &Path) -> Vec<f32> {
    let table = Dataset::open(data).unwrap().table("activations").unwrap();
    let mut rows = Vec::new();
    for batch in table.scan(storage::Scan::default()).unwrap() {
        storage::vector::fixed_size_rows(&batch.unwrap(), "activation", &mut rows).unwrap();
    }
    rows
}

/// The cell of several dictionaries of one format: all work, none, or those that do not are named.
fn cell(of: &[(String, &Cell)]) -> String {
    if of.iter().all(|(_, cell)| **cell == Cell::WithModel) {
        return "with its model".to_owned();
    }
    let refused: Vec<&str> =
        of.iter().filter(|(_, cell)| **cell != Cell::Works).map(|(name, _)| name.as_str()).collect();
    match refused.len() {
        0 => "yes".to_owned(),
        n if n == of.len() => "no".to_owned(),
        _ => format!("yes, not {}", refused.join(", ")),
    }
}

/// The formats that all, or some, of the dictionaries went to.
fn out(of: &[(String, &Outcome)]) -> String {
    let to: Vec<String> = TO
        .iter()
        .filter_map(|(to, _)| {
            let cells: Vec<(String, &Cell)> = of
                .iter()
                .map(|(name, outcome)| (name.clone(), outcome.out.get(to).unwrap_or(&Cell::NotTried)))
                .collect();
            match cell(&cells).as_str() {
                "yes" => Some((*to).to_owned()),
                "no" => None,
                some => Some(format!("{to} ({})", some.trim_start_matches("yes, "))),
            }
        })
        .collect();
    if to.is_empty() { "no".to_owned() } else { to.join(", ") }
}

#[test]
fn each_format_goes_through_all_commands_and_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let mut all: BTreeMap<(String, &str), Vec<(String, Outcome)>> = BTreeMap::new();
    for (number, golden) in golden::folders().iter().enumerate() {
        let source = golden::place(golden);
        let opened = open_path(&source).unwrap();
        let kind = match &opened.content {
            Content::Dictionary(dictionary) if dictionary.target.is_none() => "SAE",
            Content::CrossLayer(_) => "cross-layer",
            _ => "transcoder",
        };
        let inside = golden.strip_prefix(golden::root()).unwrap();
        // Of `dictionary_learning/topk/trainer_0` the part that tells it from the others.
        let name = inside.components().nth(1).unwrap_or(inside.components().next().unwrap());
        let name = name.as_os_str().to_string_lossy().into_owned();
        let outcome = through(at, number, &source);
        println!("{}: {outcome:?}", inside.display());
        all.entry((opened.reading.format.name().to_owned(), kind)).or_default().push((name, outcome));
    }
    let mut table = String::from(
        "| format | kind | in | evaluate | index | window | out, and in again |\n|---|---|---|---|---|---|---|\n",
    );
    for ((format, kind), outcomes) in &all {
        let column = |of: fn(&Outcome) -> &Cell| {
            let cells: Vec<(String, &Cell)> =
                outcomes.iter().map(|(name, outcome)| (name.clone(), of(outcome))).collect();
            cell(&cells)
        };
        let exported: Vec<(String, &Outcome)> =
            outcomes.iter().map(|(name, outcome)| (name.clone(), outcome)).collect();
        table += &format!(
            "| {format} | {kind} | yes | {} | {} | {} | {} |\n",
            column(|o| &o.evaluate),
            column(|o| &o.index),
            column(|o| &o.window),
            out(&exported)
        );
    }
    // SAEs of every format are evaluated and looked at; whatever is refused is refused for a reason that is named.
    for ((format, kind), outcomes) in &all {
        for (name, outcome) in outcomes {
            if *kind == "SAE" {
                assert_eq!(outcome.evaluate, Cell::Works, "{format}, {name}");
            }
            let cells = [&outcome.evaluate, &outcome.index].into_iter().chain(outcome.out.values());
            for cell in cells {
                if let Cell::Refused(said) = cell {
                    assert!(said.len() > 30, "{format}, {name}: {said}");
                }
            }
        }
    }
    documented(&table);
}

fn documented(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/dictionaries.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("the begin of the table");
    let (old, after) = rest.split_once(END).expect("the end of the table");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(old, table, "docs/dictionaries.md has a different table; UPDATE_DOCS=1 writes this one");
}

/// A transcoder in the layouts of other programs gives the figures of the run that it was exported from: its model computes the target.
#[test]
fn transcoders_of_other_programs_are_evaluated_with_their_model() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let text = "It was a bright cold day in April, and the clocks were striking thirteen. ".repeat(6);
    let lines: String =
        (0..8).map(|i| format!("{}\n", serde_json::json!({"text": format!("{i}. {text}")}))).collect();
    std::fs::write(at.join("t.jsonl"), lines).unwrap();
    let hooks = "--hook blocks.1.hook_mlp_in --hook blocks.1.hook_mlp_out";
    sae(at, &format!("harvest --text t.jsonl {hooks} --dtype f32 --out data")).ok();
    let (data, target) = ("data/blocks.1.hook_mlp_in", "data/blocks.1.hook_mlp_out");
    sae(
        at,
        &format!("train --data {data} --target {target} --d-sae 64 --k 8 --tokens 4000 --skip --out topk"),
    )
    .ok();
    let method = "--method mutual-choice --d-sae 64 --k 8 --tokens 4000";
    sae(at, &format!("train --data {data} --target {target} {method} --out thresholds")).ok();
    for (run, to, inside) in [
        ("topk", "saelens", ""),
        ("topk", "sparsify", "/layers.1.mlp"),
        ("thresholds", "saelens", ""),
        ("thresholds", "circuit-tracer", ""),
    ] {
        let out = format!("{run}-{to}");
        sae(at, &format!("export {run} --to {to} --out {out}")).ok();
        let of_run = sae(at, &format!("evaluate {run} --data {data} --json")).ok().json();
        let of_source = sae(at, &format!("evaluate {out}{inside} --data {data} --json")).ok().json();
        let near = |key: &str| {
            let [a, b] =
                [&of_run, &of_source].map(|e| e[key].as_f64().unwrap_or_else(|| panic!("{key}: {e}")));
            assert!((a - b).abs() <= 1e-4 * (1.0 + a.abs()), "{out}, {key}: {a} and {b}");
        };
        ["fve", "l0", "ce_reconstructed", "kl"].into_iter().for_each(near);
    }
}

/// The commands that need a run make one; the others print, and nothing is written next to foreign files.
#[test]
fn commands_take_a_source_as_they_take_a_run() {
    let copied = fixtures::copy(fixtures::sample());
    let at = &copied.path();
    sae(at, "export topk --to sparsify --out foreign").ok();
    let source = "foreign/layers.2";
    let files = || std::fs::read_dir(at.join(source)).unwrap().count();
    let before = files();
    let explained = sae(at, &format!("explain {source} --data data --no-model --out explained --json")).ok();
    assert!(explained.json()["explained"].as_u64().unwrap() > 0, "{explained}");
    assert!(at.join("explained/explanations/rules.parquet").exists());
    let mapped = sae(at, &format!("map {source} --data data --no-model --out mapped --json")).ok().json();
    assert!(mapped["features"].as_u64().unwrap() > 0 && at.join("mapped/features/map.parquet").exists());
    let of_run = sae(at, "experts --features topk --json").ok().json();
    let of_source = sae(at, &format!("experts --features {source} --data data --json")).ok().json();
    assert_eq!((&of_source["tests"], &of_source["table"]), (&of_run["tests"], &serde_json::Value::Null));
    let matched = sae(at, &format!("match {source} topk --json")).ok().json();
    assert_eq!(matched["mutual"], u64::from(fixtures::FEATURES));
    sae(at, &format!("match {source} topk --out matched")).ok();
    assert!(at.join("matched/matching/topk").is_dir());
    assert_eq!(files(), before);
    for line in ["explain", "map", "index"] {
        sae(at, &format!("{line} {source}")).refused(2, &["sae import dictionary", "--out RUN"]);
    }
    sae(at, &format!("experts --features {source}")).refused(2, &["--data"]);
}

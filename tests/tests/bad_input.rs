//! Bad input: a clear error that names the thing and the remedy, exit status 1 or 2, and nothing half-written that later passes for
//! whole.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use storage::{RunRecord, RunStatus};
use tests::{begun_dataset, dataset, dataset_with, sae, small_text};

/// Files whose presence says that something is whole.
const WHOLE: [&str; 7] = [
    "dataset.json",
    "cfg.json",
    "config.json",
    "core.json",
    "index.json",
    "features.parquet",
    "balance.parquet",
];

/// Those files below `folder`, with their contents.
fn whole(folder: &Path, found: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            whole(&path, found);
        } else if path.file_name().is_some_and(|name| WHOLE.iter().any(|whole| name == *whole)) {
            let content = fs::read(&path).unwrap();
            found.insert(path, content);
        }
    }
}

/// A line, its exit status, and what the error must say.
type Case<'a> = (&'a str, i32, &'a [&'a str]);

/// Each line, typed in `at`, must end with its status, say its parts, and leave nothing that is whole.
fn refused(at: &Path, cases: &[Case<'_>]) {
    let state = || {
        let mut found = BTreeMap::new();
        whole(at, &mut found);
        found
    };
    for (line, status, parts) in cases {
        let before = state();
        let ended = sae(at, line);
        ended.refused(*status, parts);
        assert_eq!(ended.stdout, "", "nothing is printed as a result: {ended}");
        assert!(state() == before, "something was made or changed: {ended}");
    }
}

const HOOK: &str = "--hook blocks.1.hook_resid_post --tokens 300";

#[test]
fn text() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("folder")).unwrap();
    let files: [(&str, &[u8]); 7] = [
        ("empty.txt", b""),
        ("empty.jsonl", b"{\"text\": \"\"}\n\n"),
        ("line.jsonl", b"{\"text\": \"a\"}\n{\"text\": \n"),
        ("content.jsonl", b"{\"content\": \"a\"}\n"),
        ("wide.txt", b"\xff\xfea\0"),
        ("table.parquet", b"PAR1 and then nothing"),
        ("text.docx", b"PK"),
    ];
    for (name, bytes) in files {
        fs::write(at.join(name), bytes).unwrap();
    }
    let cases: &[Case<'_>] = &[
        ("nowhere.txt", 2, &["nowhere.txt", "does not exist", "name a text file or a folder"]),
        ("empty.txt", 2, &["the text has no tokens", "empty"]),
        ("empty.jsonl", 2, &["the text has no tokens", "empty"]),
        ("folder", 2, &["no file of text", "folder", ".parquet"]),
        ("line.jsonl", 1, &["line.jsonl", "line 2", "expected an object"]),
        ("wide.txt", 1, &["wide.txt", "UTF-16", "iconv"]),
        ("table.parquet", 1, &["table.parquet", "not a readable Parquet file"]),
        ("content.jsonl", 1, &["content.jsonl", "its fields are content", "--text-column"]),
        ("text.docx", 1, &["text.docx", "expected .txt"]),
    ];
    for &(text, status, parts) in cases {
        let out = text.replace('.', "-");
        refused(at, &[(&format!("harvest --text {text} {HOOK} --out out/{out}"), status, parts)]);
        assert!(!at.join("out").join(&out).exists(), "{text}: a mended text can go to the same folder");
    }
    refused(
        at,
        &[
            ("pretrain --text nowhere.txt --out model", 2, &["nowhere.txt", "does not exist"]),
            ("pretrain --text empty.txt --out model --tokens 1000", 2, &["no documents"]),
        ],
    );
}

#[test]
fn harvest_options() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    small_text(&at.join("text"), 4);
    refused(
        at,
        &[
            (
                "harvest --text text --hook blocks.1.hook_nothing --out out",
                2,
                &["blocks.1.hook_nothing", "blocks.0.hook_resid_post", "blocks.0.hook_mlp_out", "hook_embed"],
            ),
            (
                "harvest --text text --hook blocks.99.hook_resid_post --out out",
                2,
                &["blocks.99.hook_resid_post", "4 layers", "blocks.3.hook_resid_post"],
            ),
            ("harvest --text text --out out", 2, &["nothing to harvest", "hook"]),
            ("harvest --text text --routing --gradients --out out", 2, &["gradients need a hook"]),
            ("harvest --text text --routing --tokens 0 --out out", 2, &["tokens must be more than 0"]),
            (
                "harvest --text text --routing --context-length 1 --out out",
                2,
                &["context length must be 2 to"],
            ),
            ("harvest --text text --routing --dtype f8 --out out", 2, &["f8", "f16", "f32"]),
            ("harvest --routing --out out", 2, &["--text"]),
        ],
    );
    assert!(!at.join("out").exists(), "what makes no sense begins nothing");

    let line = "harvest --text text --routing --tokens 300 --out data";
    sae(at, line).ok();
    refused(at, &[(line, 1, &["data", "already finished", "choose a different folder"])]);
}

/// The embedded model as a folder, with one file changed.
fn model(folder: &Path, changed: &str, change: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    fs::create_dir_all(folder).unwrap();
    let mut change = Some(change);
    for (name, bytes) in [
        ("config.json", lm::embedded::CONFIG),
        ("model.safetensors", lm::embedded::WEIGHTS),
        ("tokenizer.json", lm::embedded::TOKENIZER),
    ] {
        let bytes = match change.take_if(|_| name == changed) {
            Some(change) => change(bytes.to_vec()),
            None => bytes.to_vec(),
        };
        fs::write(folder.join(name), bytes).unwrap();
    }
}

#[test]
fn models() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    small_text(&at.join("text"), 4);
    let config = |change: fn(&mut serde_json::Value)| {
        move |bytes: Vec<u8>| {
            let mut config = serde_json::from_slice(&bytes).unwrap();
            change(&mut config);
            serde_json::to_vec(&config).unwrap()
        }
    };
    fs::create_dir(at.join("nothing")).unwrap();
    model(&at.join("bert"), "config.json", config(|c| c["model_type"] = "bert".into()));
    model(&at.join("clipped"), "config.json", config(|c| c["clip_qkv"] = (-8).into()));
    model(&at.join("wide"), "config.json", config(|c| c["hidden_size"] = 64.into()));
    model(&at.join("no-json"), "config.json", |_| b"{".to_vec());
    model(&at.join("short"), "model.safetensors", |bytes| bytes[..bytes.len() / 2].to_vec());
    model(&at.join("tokens"), "tokenizer.json", |bytes| bytes[..bytes.len() / 2].to_vec());
    let cases: &[Case<'_>] = &[
        ("nowhere", 2, &["nowhere is not a folder", "config.json", "`default`"]),
        ("nothing", 2, &["nothing has no config.json", "model.safetensors", "`default`"]),
        ("bert", 1, &["bert/config.json", "model_type is `bert`", "olmoe"]),
        ("clipped", 1, &["clipped/config.json", "clip_qkv"]),
        ("wide", 1, &["wide/model.safetensors", "has shape", "config.json asks for"]),
        ("no-json", 1, &["no-json/config.json", "not valid JSON"]),
        ("short", 1, &["short/model.safetensors", "tensor `", "data bytes", "where the file ends"]),
        ("tokens", 1, &["tokens/tokenizer.json", "is not a tokenizer"]),
    ];
    for &(model, status, parts) in cases {
        refused(
            at,
            &[
                (&format!("harvest --model {model} --text text {HOOK} --out out"), status, parts),
                (&format!("inspect {model}"), status, parts),
            ],
        );
    }
    assert!(!at.join("out").exists(), "without a model nothing is begun");
}

const TRAIN: &str = "--d-sae 64 --k 4 --batch 128 --tokens 512";

#[test]
fn data_to_train_on() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::create_dir(at.join("nothing")).unwrap();
    begun_dataset(&at.join("begun"));
    for name in ["cut", "lost", "newer", "foreign"] {
        dataset(&at.join(name), 1000, 8);
    }
    let part = at.join("cut/activations-00000.parquet");
    let bytes = fs::read(&part).unwrap();
    fs::write(&part, &bytes[..bytes.len() - 100]).unwrap();
    fs::remove_file(at.join("lost/documents.parquet")).unwrap();
    let manifest = |name: &str, from: &str, to: &str| {
        let path = at.join(name).join("dataset.json");
        fs::write(&path, fs::read_to_string(&path).unwrap().replacen(from, to, 1)).unwrap();
    };
    manifest("newer", "\"version\": 1", "\"version\": 99");
    manifest("foreign", "sae-workbench dataset", "something else");
    dataset_with(&at.join("all-held-out"), 1000, 8, |_, documents| {
        documents.iter_mut().for_each(|d| d.held_out = true);
    });
    let cases: &[Case<'_>] = &[
        ("nowhere", 1, &["nowhere", "not found", "check the path"]),
        ("nothing", 1, &["nothing", "not found", "a dataset is a folder with dataset.json"]),
        ("begun", 1, &["begun", "unfinished", "repeat the command"]),
        ("cut", 1, &["cut/activations-00000.parquet", "damaged", "expected"]),
        ("lost", 1, &["lost/documents.parquet", "not found", "restore the file"]),
        ("newer", 1, &["newer/dataset.json", "version 99", "update the program"]),
        ("foreign", 1, &["foreign/dataset.json", "something else", "expected"]),
        ("all-held-out", 2, &["all-held-out", "no rows to train on", "held out"]),
    ];
    for &(data, status, parts) in cases {
        refused(at, &[(&format!("train --data {data} {TRAIN} --out run"), status, parts)]);
        assert!(!at.join("run").exists(), "{data}: nothing is begun");
    }
}

#[test]
fn activations_that_are_not_finite() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (name, bad) in [("NaN", f32::NAN), ("inf", f32::INFINITY)] {
        dataset_with(&at.join(name), 1000, 8, |values, _| values[8 * 117 + 3] = bad);
        let parts = [name, "activation 3", "document 2", "position 17"];
        refused(at, &[(&format!("train --data {name} {TRAIN} --out run-{name}"), 1, &parts)]);
        assert_eq!(RunRecord::read(&at.join(format!("run-{name}"))).unwrap().status, RunStatus::Failed);
    }
    dataset_with(&at.join("zeros"), 1000, 8, |values, _| values.fill(0.0));
    refused(at, &[(&format!("train --data zeros {TRAIN} --out run-zeros"), 1, &["activations are 0"])]);
}

#[test]
fn training_options() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    dataset(&at.join("data"), 1000, 8);
    fs::write(at.join("unknown.toml"), "k = 4\nlr = 1e-3\n").unwrap();
    fs::write(at.join("broken.toml"), "k = \n").unwrap();
    refused(
        at,
        &[
            ("train --data data --d-sae 64 --k 65 --out run", 2, &["k is 65", "between 1 and d_sae = 64"]),
            ("train --data data --d-sae 64 --k 0 --out run", 2, &["k is 0"]),
            ("train --data data --d-sae 0 --out run", 2, &["d_sae is 0"]),
            ("train --data data --d-sae 64 --expansion 8 --k 4 --out run", 2, &["d_sae", "expansion"]),
            ("train --data data --k many --out run", 2, &["many", "--k"]),
            ("train --out run", 2, &["--data"]),
            ("train --data data --config unknown.toml --out run", 1, &["unknown.toml", "unknown field `lr`"]),
            ("train --data data --config broken.toml --out run", 1, &["broken.toml", "line 1"]),
            ("train --data data --config nowhere.toml --out run", 1, &["nowhere.toml"]),
            (
                "train --data data --d-sae 64 --k 4 --out none --resume",
                2,
                &["none", "not hold a run to resume"],
            ),
            ("train --out none --resume", 1, &["none"]),
        ],
    );
    assert!(!at.join("run").exists(), "what makes no sense begins nothing");

    sae(at, &format!("train --data data {TRAIN} --out run")).ok();
    refused(
        at,
        &[
            (&format!("train --data data {TRAIN} --out run"), 2, &["run", "already holds a run", "--resume"]),
            ("train --data data --d-sae 64 --k 5 --batch 128 --out run --resume", 2, &["k was 4, is 5"]),
        ],
    );
}

#[test]
fn what_is_analysed() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    dataset(&at.join("data"), 1000, 8);
    dataset(&at.join("wide"), 1000, 9);
    dataset_with(&at.join("bad"), 1000, 8, |values, _| values[8 * 470 + 3] = f32::NAN);
    dataset_with(&at.join("none-held-out"), 1000, 8, |_, documents| {
        documents.iter_mut().for_each(|d| d.held_out = false);
    });
    sae(at, &format!("train --data data {TRAIN} --out run")).ok();
    fs::create_dir(at.join("half")).unwrap();
    fs::copy(at.join("run/run.json"), at.join("half/run.json")).unwrap();
    fs::create_dir(at.join("cut")).unwrap();
    for name in ["run.json", "cfg.json"] {
        fs::copy(at.join("run").join(name), at.join("cut").join(name)).unwrap();
    }
    let weights = fs::read(at.join("run/sae_weights.safetensors")).unwrap();
    fs::write(at.join("cut/sae_weights.safetensors"), &weights[..weights.len() / 2]).unwrap();
    let cases: &[Case<'_>] = &[
        ("nowhere --no-model", 1, &["nowhere/run.json", "not found"]),
        ("data --no-model", 1, &["data/run.json", "a run is a folder with run.json"]),
        ("half --no-model", 1, &["half/cfg.json"]),
        ("cut --no-model", 1, &["cut/sae_weights.safetensors", "safetensors"]),
        ("run --no-model --data nowhere", 1, &["nowhere", "check the path"]),
        ("run --no-model --data wide", 2, &["wide: activations have width 9", "takes 8"]),
        ("run --no-model --data bad", 1, &["document 9, position 20", "NaN"]),
        ("run", 2, &["made up", "--model"]),
        ("run --model nowhere", 2, &["nowhere is not a folder", "`default`"]),
        ("run --model default", 2, &["made up", "harvest again"]),
    ];
    for command in ["evaluate", "index"] {
        for &(arguments, status, parts) in cases {
            refused(at, &[(&format!("{command} {arguments}"), status, parts)]);
        }
    }
    refused(
        at,
        &[
            (
                "evaluate run --no-model --data none-held-out",
                2,
                &["none-held-out", "no held-out documents", "--all-documents"],
            ),
            ("experts data", 2, &["data has no routing table", "--routing"]),
            ("experts nowhere", 1, &["nowhere", "check the path"]),
            ("experts run", 1, &["run", "a dataset is a folder with dataset.json"]),
        ],
    );
}

//! Dictionaries in the layouts of other programs give the features and outputs that those programs' own classes gave, and damaged or
//! hostile ones are refused.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used)]

#[path = "dictionaries/mod.rs"]
mod golden;

use std::path::Path;

use golden::{WEIGHTS, copied, folders, root, source};
use sae::dictionary::{Codes, Dictionary, Selection};
use sae::interop::dictionaries::{Content, Format, Opened, open_path};
use serde_json::Value;

fn expected(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("expected.json")).unwrap()).unwrap()
}

/// Numbers of nested lists, one after the other.
fn flat(value: &Value) -> Vec<f32> {
    match value {
        Value::Array(items) => items.iter().flat_map(flat).collect(),
        number => vec![number.as_f64().unwrap() as f32],
    }
}

fn dense(codes: &Codes, features: usize) -> Vec<f32> {
    let mut out = vec![0.0; codes.rows() * features];
    for row in 0..codes.rows() {
        let (listed, values) = codes.row(row);
        listed.iter().zip(values).for_each(|(f, v)| out[row * features + *f as usize] = *v);
    }
    out
}

fn far(got: &[f32], expected: &[f32], of: &str) -> f32 {
    assert_eq!(got.len(), expected.len(), "{of}");
    got.iter().zip(expected).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f32::max)
}

/// The one dictionary of a source, with the k that its small files stand for.
fn single(opened: Opened, expected: &Value) -> Dictionary {
    let (mut dictionary, _) = opened.dictionary().unwrap();
    if let Some(k) = expected["k_used_here"].as_u64() {
        dictionary.selection = Selection::TopK(k as usize);
    }
    dictionary
}

#[test]
fn every_format_gives_what_its_own_program_gives() {
    let found = folders();
    assert_eq!(found.len(), 46);
    for folder in &found {
        let name = folder.strip_prefix(root()).unwrap().display().to_string();
        let expected = expected(folder);
        let [x, features, output] = ["x", "features", "output"].map(|key| flat(&expected[key]));
        let opened = open_path(&golden::place(folder));
        let opened = opened.unwrap_or_else(|error| panic!("{name}: {error}"));
        let format = opened.reading.format;
        let (got, out) = if let Content::CrossLayer(transcoder) = &opened.content {
            let layers = transcoder.layers.len();
            let inputs: Vec<Vec<f32>> = x.chunks_exact(x.len() / layers).map(<[f32]>::to_vec).collect();
            let codes = transcoder.encode(&inputs);
            let out = transcoder.decode_with(&codes, &inputs).concat();
            (codes.iter().flat_map(|codes| dense(codes, 10)).collect(), out)
        } else {
            let dictionary = single(opened, &expected);
            let codes = dictionary.encode(&x);
            (dense(&codes, dictionary.d_sae), dictionary.decode_with(&codes, &x))
        };
        let (of_features, of_outputs) = (far(&got, &features, &name), far(&out, &output, &name));
        println!("{name}: {format}, features {of_features:.1e}, outputs {of_outputs:.1e}");
        assert!(of_features <= 1e-6, "{name}: features are {of_features} off: {got:?} {features:?}");
        assert!(of_outputs <= 1e-5, "{name}: outputs are {of_outputs} off");
        assert!(features.iter().any(|v| *v != 0.0), "{name}: nothing fires, so nothing was tested");
    }
}

#[test]
fn names_say_what_files_do_not() {
    let reading = |path: &str| open_path(&root().join(path)).unwrap().reading;
    let hooks = |path: &str| {
        let reading = reading(path);
        (
            reading.model.unwrap_or_default(),
            reading.hook_in.unwrap_or_default(),
            reading.hook_out.unwrap_or_default(),
        )
    };
    let of = |model: &str, hook_in: &str, hook_out: &str| {
        (model.to_owned(), hook_in.to_owned(), hook_out.to_owned())
    };
    for (path, expected) in [
        (
            "gemma-scope-2b-pt-res/layer_3/width_16k/average_l0_9",
            of("google/gemma-2-2b", "blocks.3.hook_resid_post", ""),
        ),
        (
            "google/gemma-scope-2-270m-pt/resid_post/layer_5_width_16k_l0_small",
            of("google/gemma-3-270m", "blocks.5.hook_resid_post", ""),
        ),
        (
            "google/gemma-scope-2-270m-pt/transcoder_all/layer_2_width_16k_l0_small",
            of("google/gemma-3-270m", "blocks.2.hook_mlp_in", "blocks.2.hook_mlp_out"),
        ),
        (
            "fnlp/Llama-Scope-R1-Distill/800M-Slimpajama-0-OpenR1-Math-220k/L2R",
            of("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "blocks.2.hook_resid_post", ""),
        ),
        (
            "Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50/layer0.sae.pt",
            of("Qwen/Qwen3-1.7B-Base", "blocks.0.hook_resid_post", ""),
        ),
        ("sparsify/sae/layers.2", of("", "blocks.2.hook_resid_post", "")),
        ("sparsify/skip/layers.2.mlp", of("", "blocks.2.hook_mlp_in", "blocks.2.hook_mlp_out")),
        (
            "mwhanna/qwen3-0.6b-transcoders-lowl0",
            of("Qwen/Qwen3-0.6B", "blocks.3.hook_mlp_in", "blocks.3.hook_mlp_out"),
        ),
        (
            "dictionary_learning/topk/trainer_0",
            of("EleutherAI/pythia-70m-deduped", "blocks.2.hook_resid_post", ""),
        ),
    ] {
        assert_eq!(hooks(path), expected, "{path}");
    }
    assert_eq!(reading("gemma-scope-2b-pt-res/layer_3/width_16k/average_l0_9").published_l0, Some(9.0));
    // Both readings of Llama Scope's threshold are kept.
    let llama = open_path(&root().join("fnlp/Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L4R-8x")).unwrap();
    let [other] = &llama.reading.alternatives[..] else { panic!("{:?}", llama.reading.alternatives) };
    let (dictionary, _) = llama.clone().dictionary().unwrap();
    let threshold = |dictionary: &Dictionary| match &dictionary.selection {
        Selection::Threshold(thresholds) => thresholds[0],
        other => panic!("{other:?}"),
    };
    assert!((threshold(&dictionary) - 0.169_831_29).abs() < 1e-6);
    assert!((threshold(&other.of(&dictionary)) - 0.52).abs() < 1e-6);
}

/// A set without its config.yaml, as some were published, gives the same.
#[test]
fn a_set_without_its_configuration_is_read() {
    let path = "mwhanna/qwen3-0.6b-transcoders-lowl0";
    let (with, _) = open_path(&root().join(path)).unwrap().dictionary().unwrap();
    let (_home, folder) = copied(path);
    std::fs::remove_file(folder.join("config.yaml")).unwrap();
    for place in [folder.clone(), folder.join("layer_3.safetensors")] {
        let (without, reading) = open_path(&place).unwrap().dictionary().unwrap();
        assert_eq!((&with.w_enc, &with.w_dec, &with.b_enc), (&without.w_enc, &without.w_dec, &without.b_enc));
        assert_eq!(reading.hook_in.as_deref(), Some("blocks.3.hook_mlp_in"));
        assert!(reading.decisions.iter().any(|d| d.why.contains("there is no config.yaml")));
    }
}

#[test]
fn damaged_weights_are_refused_by_name() {
    for (path, file) in WEIGHTS {
        let (_home, folder) = copied(path);
        let (weights, source) = (folder.join(file), source(&folder, file));
        let whole = std::fs::read(&weights).unwrap();
        let message = |bytes: &[u8]| {
            std::fs::write(&weights, bytes).unwrap();
            let error = open_path(&source).expect_err(file);
            assert!(error.remedy().is_some(), "{path}: {error} has no remedy");
            error.to_string()
        };
        let short = message(&whole[..whole.len() / 2]);
        assert!(short.contains(file.rsplit('/').next().unwrap()), "{path}: {short}");
        let empty = message(&[]);
        assert!(empty.contains(file.rsplit('/').next().unwrap()), "{path}: {empty}");
        // The last numbers of the file are weights, or a directory of where they are: NaN in all of the second half.
        if file.ends_with(".safetensors") {
            let mut spoiled = whole.clone();
            let at = whole.len() - 8;
            spoiled[at..].fill(0xff);
            let spoiled = message(&spoiled);
            assert!(spoiled.contains("NaN") && spoiled.contains("tensor `"), "{path}: {spoiled}");
        }
        // What remains of a download that is not there yet.
        std::fs::remove_file(&weights).unwrap();
        open_path(&source).expect_err(file);
    }
}

/// A name in the pickle of the same length, so that the file stays whole otherwise.
/// Files that belong together and of which one is missing, wrong, or only a pointer to what was not downloaded.
#[test]
fn scalers_and_pointers_are_not_passed_over() {
    let refused = |file: &str, content: Option<&str>, parts: &[&str]| {
        let (_home, folder) = copied("saelens_v6/whitened_topk");
        let path = folder.join(file);
        content.map_or_else(|| std::fs::remove_file(&path), |text| std::fs::write(&path, text)).unwrap();
        let error = open_path(&folder).unwrap_err();
        let said = format!("{error} {}", error.remedy().unwrap_or_default());
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    };
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    refused(
        "activation_whitening.safetensors",
        None,
        &["activation_whitening.safetensors", "bring that file"],
    );
    refused("activation_whitening.safetensors", Some("xx"), &["activation_whitening.safetensors", "whole"]);
    refused("activation_scaler.json", Some("{\"scaling_factor\": -1}"), &["scaling_factor", "above 0"]);
    refused("sae_weights.safetensors", Some(pointer), &["sae_weights.safetensors", "git lfs pull"]);
    for (folder, file) in
        [("dictionary_learning/topk/trainer_0", "ae.pt"), ("saelens_v6/topk", "sae_weights.safetensors")]
    {
        let (_home, folder) = copied(folder);
        std::fs::write(folder.join(file), pointer).unwrap();
        let error = open_path(&folder).unwrap_err();
        assert!(error.remedy().is_some_and(|remedy| remedy.contains("git lfs pull")), "{error}");
    }
}

#[test]
fn code_in_a_pickle_is_named_and_never_run() {
    let (_home, folder) = copied("dictionary_learning/topk/trainer_0");
    let file = folder.join("ae.pt");
    let bytes = std::fs::read(&file).unwrap();
    let (old, new) = (b"torch._utils\n_rebuild_tensor_v2\n", b"os__________\nsystem____________\n");
    let at = bytes.windows(old.len()).position(|window| window == old).unwrap();
    let mut hostile = bytes;
    hostile[at..at + new.len()].copy_from_slice(new);
    std::fs::write(&file, hostile).unwrap();
    let error = open_path(&folder).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("ae.pt") && message.contains("os__________.system____________"), "{message}");
    assert!(message.contains("nothing of it was executed"), "{message}");
}

#[test]
fn what_is_mixed_up_is_told_apart() {
    // Weights of a different kind under a name that is known.
    let (_home, folder) = copied("sparsify/sae/layers.2");
    std::fs::copy(root().join("saelens_v6/topk/sae_weights.safetensors"), folder.join("sae.safetensors"))
        .unwrap();
    let message = open_path(&folder).unwrap_err().to_string();
    assert!(message.contains("sae.safetensors") && message.contains("encoder.bias"), "{message}");
    // A skip path that only a transcoder can have, and a transcoder of a whole layer.
    let (_home, folder) = copied("sparsify/skip/layers.2.mlp");
    let layer = folder.with_file_name("layers.2");
    std::fs::rename(&folder, &layer).unwrap();
    let reading = open_path(&layer).unwrap().reading;
    assert_eq!(
        (reading.hook_in.as_deref(), reading.hook_out.as_deref()),
        (Some("blocks.2.hook_resid_pre"), Some("blocks.2.hook_resid_post"))
    );
    let config = std::fs::read_to_string(layer.join("cfg.json")).unwrap();
    std::fs::write(layer.join("cfg.json"), config.replace("\"transcode\": true", "\"transcode\": false"))
        .unwrap();
    let message = open_path(&layer).unwrap_err().to_string();
    assert!(message.contains("W_skip") && message.contains("transcode"), "{message}");
    // A layer that is missing.
    let (_home, folder) = copied("circuit_tracer/clt");
    std::fs::remove_file(folder.join("W_enc_1.safetensors")).unwrap();
    let message = open_path(&folder).unwrap_err().to_string();
    assert!(message.contains("W_enc_1.safetensors"), "{message}");
    // A folder of dictionaries says which there are.
    let error = open_path(&root().join("saelens_v6")).unwrap_err();
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("abstopk")), "{error}");
    // A folder of nothing says what is read.
    let empty = tempfile::tempdir().unwrap();
    let error = open_path(empty.path()).unwrap_err();
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("docs/dictionaries.md")), "{error}");
    assert_eq!(open_path(&root().join("sparsify/sae/layers.2")).unwrap().reading.format, Format::Sparsify);
}

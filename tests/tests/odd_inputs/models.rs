//! Models: folders that lack something, have something twice, or are of kinds that are not read.

use std::fs::{create_dir, write};
use std::path::Path;

use super::{Cell, Row, Table};

/// The embedded model as a folder, with these files changed or (None) left out.
fn folder(at: &Path, name: &str, changes: &[(&str, Option<&[u8]>)]) {
    let folder = at.join(name);
    create_dir(&folder).unwrap();
    let own: [(&str, &[u8]); 3] = [
        ("config.json", lm::embedded::CONFIG),
        ("model.safetensors", lm::embedded::WEIGHTS),
        ("tokenizer.json", lm::embedded::TOKENIZER),
    ];
    for (file, bytes) in own.iter().filter(|(file, _)| changes.iter().all(|(changed, _)| changed != file)) {
        write(folder.join(file), bytes).unwrap();
    }
    for (file, bytes) in changes {
        if let Some(bytes) = bytes {
            write(folder.join(file), bytes).unwrap();
        }
    }
}

fn config(change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let mut json = serde_json::from_slice(lm::embedded::CONFIG).unwrap();
    change(&mut json);
    json.to_string().into_bytes()
}

/// A GGUF file without tensors.
fn gguf_of(architecture: &str) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let counts = [0_u64, 1].map(u64::to_le_bytes).concat();
    let string = 8_u32.to_le_bytes();
    [&b"GGUF\x03\0\0\0"[..], &counts, &text("general.architecture"), &string, &text(architecture)].concat()
}

fn inputs(at: &Path) {
    write(at.join("model.txt"), "It was a bright cold day in April.").unwrap();
    folder(at, "m-tidy", &[]);
    let (weights, whole) = ("model.safetensors", lm::embedded::WEIGHTS);
    folder(at, "m-renamed", &[(weights, None), ("model-00001-of-00001.safetensors", Some(whole))]);
    folder(at, "m-shard", &[(weights, None), ("model-00001-of-00002.safetensors", Some(whole))]);
    folder(at, "m-cut", &[(weights, Some(&whole[..whole.len() - 100]))]);
    folder(at, "m-pickled", &[(weights, None), ("pytorch_model.bin", Some(b"PK"))]);
    folder(at, "m-no-config", &[("config.json", None)]);
    folder(at, "m-no-tokenizer", &[("tokenizer.json", None)]);
    folder(at, "m-sentencepiece", &[("tokenizer.json", None), ("tokenizer.model", Some(b"\x0a"))]);
    folder(at, "m-cut-tokenizer", &[("tokenizer.json", Some(&lm::embedded::TOKENIZER[..1000]))]);
    let changed = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        folder(at, name, &[("config.json", Some(&config(change)))]);
    };
    changed("m-recurrent", &|json| json["model_type"] = "mamba2".into());
    changed("m-assistant", &|json| json["model_type"] = "gemma4_assistant".into());
    changed("m-quantised", &|json| json["quantization_config"] = serde_json::json!({"quant_method": "gptq"}));
    changed("m-wider", &|json| json["intermediate_size"] = 999.into());
    write(at.join("cut.gguf"), b"GGUF\x03\0\0\0").unwrap();
    write(at.join("hybrid.gguf"), gguf_of("falcon-h1")).unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
    folder(at, "m-pointer", &[(weights, Some(pointer.as_bytes()))]);
}

pub fn table(at: &Path) -> Table {
    inputs(at);
    let row = |what: &'static str, model: &str, cells: [Cell; 3]| {
        let [inspect, harvest, score] = cells;
        let cells = vec![
            (format!("inspect {model}"), inspect),
            (
                format!(
                    "harvest --model {model} --text model.txt --hook blocks.0.hook_resid_post --out of-{model}"
                ),
                harvest,
            ),
            (format!("score --model {model} --text model.txt"), score),
        ];
        Row { what, cells }
    };
    let works = |parts: &[&str]| Cell::Right("works", parts.iter().map(|s| (*s).to_owned()).collect());
    let working =
        || [works(&["blocks.0.hook_resid_post"]), works(&["rows       13\n"]), works(&["13 tokens"])];
    let mut made = vec![
        row("a folder as transformers writes it", "m-tidy", working()),
        row("one shard, no index", "m-renamed", working()),
    ];
    // Status, and words of every command.
    let refused: [(&'static str, &str, i32, &'static [&'static str]); 13] = [
        ("one of two shards", "m-shard", 2, &["m-shard lacks model-00002-of-00002.safetensors"]),
        ("weights that end too early", "m-cut", 1, &["model.safetensors"]),
        ("pickled weights", "m-pickled", 2, &["pytorch_model.bin is not read", "save_pretrained"]),
        ("no `config.json`", "m-no-config", 2, &["has no config.json"]),
        ("no tokenizer", "m-no-tokenizer", 2, &["m-no-tokenizer", "tokenizer.json"]),
        ("`tokenizer.model` alone", "m-sentencepiece", 2, &["tokenizer.model", "save_pretrained"]),
        ("a tokenizer that ends too early", "m-cut-tokenizer", 1, &["tokenizer.json"]),
        ("a recurrent model", "m-recurrent", 1, &["`mamba2`", "is a recurrent model", "sae import"]),
        ("Gemma 4's assistant", "m-assistant", 1, &["`gemma4_assistant`", "drafts tokens"]),
        ("quantised weights", "m-quantised", 1, &["quantised by gptq", "f32, f16 or bf16"]),
        ("a GGUF file that ends too early", "cut.gguf", 1, &["cut.gguf"]),
        ("a GGUF file of a hybrid model", "hybrid.gguf", 1, &["`falcon-h1`", "linear-attention layers"]),
        ("weights that are a pointer of Git LFS", "m-pointer", 1, &["model.safetensors", "git lfs pull"]),
    ];
    for (what, model, code, parts) in refused {
        made.push(row(what, model, [0; 3].map(|_| Cell::Refused(code, parts))));
    }
    let parts: &[&str] = &["config.json asks for"];
    made.push(row("weights of a different shape", "m-wider", [0; 3].map(|_| Cell::Refused(1, parts))));
    Table { title: "Models", columns: &["inspect", "harvest", "score"], rows: made }
}

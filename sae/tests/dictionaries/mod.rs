//! The golden dictionaries of other programs, and copies of them to be damaged.

#![allow(dead_code, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

/// Where they are, for the tests of `sae` and for those of the whole workspace.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = here.join("tests/dictionaries");
    if own.exists() { own } else { here.join("../sae/tests/dictionaries") }
}

/// A copy of a golden folder, under the same name, which may be what says what it is.
pub fn copied(path: &str) -> (tempfile::TempDir, PathBuf) {
    fn copy(from: &Path, to: &Path) {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let from = entry.unwrap().path();
            let to = to.join(from.file_name().unwrap());
            if from.is_dir() { copy(&from, &to) } else { std::fs::copy(&from, &to).map(|_| ()).unwrap() }
        }
    }
    let home = tempfile::tempdir().unwrap();
    let to = home.path().join(path);
    copy(&root().join(path), &to);
    (home, to)
}

/// Files of weights, relative to the golden root, with what is opened.
pub const WEIGHTS: [(&str, &str); 15] = [
    ("saelens_v6/gated", "sae_weights.safetensors"),
    ("saelens_v5/topk", "sae_weights.safetensors"),
    ("gemma-scope-2b-pt-res/layer_3/width_16k/average_l0_9", "params.npz"),
    ("google/gemma-scope-2-270m-pt/transcoder_all/layer_2_width_16k_l0_small_affine", "params.safetensors"),
    ("fnlp/Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L4R-8x", "checkpoints/final.safetensors"),
    ("Qwen/SAE-Res-Qwen3-1.7B-Base-W32K-L0_50", "layer0.sae.pt"),
    ("dictionary_learning/matryoshka/trainer_0", "ae.pt"),
    ("sparsify/skip/layers.2.mlp", "sae.safetensors"),
    ("mwhanna/qwen3-0.6b-transcoders-lowl0", "layer_3.safetensors"),
    ("circuit_tracer/plt_jumprelu", "layer_0.safetensors"),
    ("circuit_tracer/clt", "W_dec_1.safetensors"),
    ("google/gemma-scope-2-270m-pt/clt/width_262k_l0_medium_affine", "params_layer_1.safetensors"),
    ("openai/relu", "autoencoder.pt"),
    ("openai/topk", "autoencoder.pt"),
    ("goodfire", "Llama-3.1-8B-Instruct-SAE-l19.pth"),
];

/// Every golden folder, ascending: those with an `expected.json`.
pub fn folders() -> Vec<PathBuf> {
    fn walk(from: &Path, found: &mut Vec<PathBuf>) {
        let mut entries: Vec<PathBuf> =
            std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        if entries.iter().any(|path| path.ends_with("expected.json")) {
            found.push(from.to_path_buf());
        }
        entries.iter().filter(|path| path.is_dir()).for_each(|path| walk(path, found));
    }
    let mut found = Vec::new();
    walk(&root(), &mut found);
    found
}

/// What is opened of a golden folder: the folder, or its one file of a format whose dictionaries are single files.
pub fn place(folder: &Path) -> PathBuf {
    let single = ["layer0.sae.pt", "autoencoder.pt", "Llama-3.1-8B-Instruct-SAE-l19.pth"];
    single
        .map(|file| folder.join(file))
        .into_iter()
        .find(|file| file.exists())
        .unwrap_or(folder.to_path_buf())
}

/// What is opened: the folder, or the file where a folder has one for each layer.
pub fn source(folder: &Path, file: &str) -> PathBuf {
    let alone = file.ends_with(".pth") || (file.ends_with(".pt") && file != "ae.pt");
    if alone { folder.join(file) } else { folder.to_path_buf() }
}

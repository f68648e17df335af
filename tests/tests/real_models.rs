//! A real GGUF file: SmolLM2-135M, which `tests/models/fetch.sh` fetches into `target/models`, or every `*.gguf` in the folder that
//! `SAE_MODELS` names.
//!
//! Every tensor must be taken, and every line of `lines.json` next to a model (a list of texts), or of a few of our own, must come
//! back from its tokens. With `SAE_MODELS` the tokens are written to `NAME.tokens.json`, to be compared with another program's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::path::{Path, PathBuf};
use std::time::Instant;

use lm::model::Gguf;

const TEXTS: [&str; 12] = [
    "The capital of France is Paris.",
    "  two spaces, \ttabs\t\tand\n\n\nnewlines \r\n",
    "fn main() {\n    let x = vec![1, 22, 333, 4444];\n}\n",
    "naïve café — “quotes” … ½ Ａ ﬁ",
    "日本語のテキスト。中文，한국어 조선말",
    "🙂👩‍👩‍👧‍👦🏳️‍🌈 and 👍🏽",
    "Привет, мир! Ελληνικά עברית العربية हिन्दी ไทย",
    "a\u{0301} e\u{0308} \u{200b}zero\u{feff}width",
    "1234567890 3.14159 -1e-10 0xDEADBEEF",
    "don't DON'T we'll they've I'm",
    "                                                  fifty spaces",
    "x\u{1F9FF}\u{10FFFF}\u{0} end",
];

/// Name and number of parameters of the model that `tests/models/fetch.sh` fetches.
const FETCHED: (&str, usize) = ("SmolLM2-135M-Instruct.Q4_1.gguf", 134_515_008);

/// The models of the folder, none of them only where that was reported as skipped.
fn models(what: &str) -> Vec<PathBuf> {
    let test = std::env::current_exe().unwrap();
    // target/PROFILE/deps/TEST
    let fetched = test.ancestors().nth(3).unwrap().join("models");
    let folder = std::env::var_os("SAE_MODELS").map_or(fetched, PathBuf::from);
    let entries = std::fs::read_dir(&folder).into_iter().flatten();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut models: Vec<PathBuf> = paths.filter(|p| p.extension().is_some_and(|e| e == "gguf")).collect();
    models.sort();
    if models.is_empty() {
        let why = format!("no .gguf file in {}; tests/models/fetch.sh fetches one", folder.display());
        fixtures::skip(what, &why);
    }
    models
}

fn texts(model: &Path) -> Vec<String> {
    match std::fs::read(model.with_file_name("lines.json")) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap(),
        Err(_) => TEXTS.map(str::to_owned).to_vec(),
    }
}

#[test]
fn every_tensor_is_taken() {
    for path in models("tensors of a real model") {
        let gguf = Gguf::open(&path).unwrap();
        println!("{}: {}", path.display(), gguf.config().unwrap());
        let mut weights = gguf.into_weights().unwrap();
        let names: Vec<String> = weights.names().map(str::to_owned).collect();
        let (started, mut numbers) = (Instant::now(), 0);
        for name in &names {
            let shape = weights.shape_of(name).unwrap().to_vec();
            numbers += weights.take(name, &shape).unwrap().elem_count();
        }
        println!("{} tensors, {numbers} numbers, {:.2} s", names.len(), started.elapsed().as_secs_f64());
        assert_eq!(weights.unused().count(), 0);
        if path.ends_with(FETCHED.0) {
            assert_eq!(numbers, FETCHED.1);
        }
    }
}

#[test]
fn texts_come_back_from_their_tokens() {
    for path in models("the tokenizer of a real model") {
        let started = Instant::now();
        let tokenizer = Gguf::open(&path).unwrap().tokenizer().unwrap();
        println!("{}: tokenizer in {:.2} s", path.display(), started.elapsed().as_secs_f64());
        let mut all = Vec::new();
        let mut different = 0;
        for text in texts(&path) {
            let tokens = tokenizer.encode_fast(text.as_str(), false).unwrap().get_ids().to_vec();
            let back = tokenizer.decode(&tokens, false).unwrap();
            // SentencePiece cannot tell this sign from a space.
            if back != text && !text.contains('▁') {
                different += 1;
                println!("{text:?}\n  came back as {back:?}");
            }
            all.push(tokens);
        }
        println!("{} texts, {different} came back changed", all.len());
        if std::env::var_os("SAE_MODELS").is_some() {
            std::fs::write(path.with_extension("tokens.json"), serde_json::to_vec(&all).unwrap()).unwrap();
        }
        assert_eq!(different, 0);
    }
}

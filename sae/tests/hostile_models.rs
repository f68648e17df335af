//! Damaged and hostile model files: reading them ends in success or an error, never in a panic and never in memory that the file
//! does not justify. Small whole files are changed at random, a few thousand times in a normal run.
//!
//!     SAE_FUZZ_CASES=1000000 cargo test --test hostile_models -- --nocapture

#![allow(clippy::panic, clippy::print_stdout, clippy::needless_pass_by_value)]

#[path = "../src/model/weights/gguf/fixture.rs"]
mod fixture;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use fixture::File;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sae::model::{Gguf, Weights};

/// Memory that a file of a few kilobytes may cost beyond what the first cases took, in kilobytes.
const ALLOWED_KB: u64 = 16 * 1024;

fn cases() -> u64 {
    std::env::var("SAE_FUZZ_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(4000)
}

/// A llama-like model with two experts, a byte-level tokenizer and every group of encodings.
fn gguf() -> Vec<u8> {
    let blocks = |bytes: usize, count: usize| vec![0x11; bytes * count];
    model("llama", "gpt2")
        .text("tokenizer.ggml.pre", "smollm")
        .texts("tokenizer.ggml.merges", &["a b", "ab c"])
        .size("llama.expert_count", 2)
        .size("llama.expert_used_count", 1)
        .counted("token_embd.weight", &[8, 32], 0.0)
        .counted("blk.0.attn_q.weight", &[8, 32], 0.0)
        .counted("blk.0.attn_q.bias", &[8], 0.0)
        .tensor("blk.0.ffn_gate_exps.weight", &[2, 4, 32], 8, blocks(34, 8))
        .tensor("blk.0.ffn_down.1.weight", &[2, 32], 2, blocks(18, 2))
        .tensor("blk.0.attn_output.weight", &[2, 256], 12, blocks(144, 2))
        .tensor("blk.0.attn_v.weight", &[1, 256], 14, blocks(210, 1))
        .tensor("output_norm.weight", &[32], 1, blocks(2, 32))
        .bytes()
}

/// A Gemma-like model with a scored tokenizer.
fn gemma() -> Vec<u8> {
    model("gemma3", "llama")
        .size("gemma3.attention.key_length", 16)
        .size("gemma3.attention.sliding_window", 16)
        .counted("token_embd.weight", &[8, 32], 0.0)
        .counted("blk.0.attn_q_norm.weight", &[16], 1.0)
        .bytes()
}

/// Put together rarely: fused and turned experts.
fn oss() -> Vec<u8> {
    model("gpt-oss", "gpt2")
        .size("gpt-oss.attention.sliding_window", 8)
        .size("gpt-oss.expert_count", 2)
        .size("gpt-oss.expert_used_count", 1)
        .size("gpt-oss.expert_feed_forward_length", 4)
        .text("tokenizer.ggml.pre", "gpt-2")
        .texts("tokenizer.ggml.merges", &["a b"])
        .counted("token_embd.weight", &[8, 32], 0.0)
        .tensor("blk.0.ffn_gate_exps.weight", &[2, 4, 32], 39, vec![0x21; 17 * 8])
        .tensor("blk.0.ffn_up_exps.weight", &[2, 4, 32], 39, vec![0x12; 17 * 8])
        .counted("blk.0.ffn_down_exps.weight", &[2, 4, 4], 0.0)
        .bytes()
}

fn model(architecture: &str, tokenizer: &str) -> File {
    let key = |name: &str| format!("{architecture}.{name}");
    let tokens = ["<unk>", "<|end|>", "a", "b", "c", "ab", "abc", "▁a"];
    File::of(architecture)
        .size(&key("embedding_length"), 32)
        .size(&key("block_count"), 1)
        .size(&key("attention.head_count"), 2)
        .size(&key("attention.head_count_kv"), 1)
        .size(&key("context_length"), 64)
        .size(&key("feed_forward_length"), 4)
        .float(&key("attention.layer_norm_rms_epsilon"), 1e-6)
        .text("tokenizer.ggml.model", tokenizer)
        .texts("tokenizer.ggml.tokens", &tokens)
        .integers("tokenizer.ggml.token_type", &[2, 3, 1, 1, 1, 1, 1, 4])
        .floats("tokenizer.ggml.scores", &[0.0, 0.0, -1.0, -2.0, -3.0, -4.0, -5.0, -6.0])
}

fn safetensors() -> Vec<u8> {
    let json = r#"{"__metadata__": {"format": "pt"},
        "a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]},
        "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]},
        "mask": {"dtype": "BOOL", "shape": [1, 1, 3], "data_offsets": [32, 35]},
        "c": {"dtype": "F64", "shape": [], "data_offsets": [35, 43]},
        "e": {"dtype": "F16", "shape": [0, 7], "data_offsets": [43, 43]}}"#;
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.extend([0x3D; 43]);
    bytes
}

/// Numbers at which arithmetic goes wrong.
fn nasty(rng: &mut ChaCha8Rng, len: usize) -> u64 {
    let some = [
        0,
        1,
        2,
        7,
        8,
        12,
        31,
        32,
        33,
        255,
        256,
        1 << 16,
        1 << 24,
        1 << 31,
        u64::from(u32::MAX),
        1 << 32,
        1 << 40,
    ];
    let more =
        [1 << 62, 1 << 63, u64::MAX, u64::MAX - 7, u64::MAX - 31, u64::MAX / 2, len as u64, len as u64 * 8];
    match rng.random_range(0..4) {
        0 => some[rng.random_range(0..some.len())],
        1 => more[rng.random_range(0..more.len())],
        2 => rng.random_range(0..2 * len as u64),
        _ => rng.next_u64() >> rng.random_range(0..64),
    }
}

/// One change somewhere; `header` bytes at the front are changed most.
fn change(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>, header: usize) {
    if bytes.is_empty() {
        return;
    }
    let end = header.clamp(1, bytes.len());
    let front = end == bytes.len() || rng.random_bool(0.8);
    let at = if front { rng.random_range(0..end) } else { rng.random_range(end..bytes.len()) };
    let number = nasty(rng, bytes.len());
    match rng.random_range(0..9) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at] = rng.random(),
        2 => bytes.truncate(rng.random_range(0..bytes.len())),
        3 => overwrite(bytes, at, &number.to_le_bytes()),
        4 => overwrite(bytes, at, &(number as u32).to_le_bytes()),
        5 => {
            let from = rng.random_range(0..bytes.len());
            let piece = bytes[from..(from + rng.random_range(1..64)).min(bytes.len())].to_vec();
            overwrite(bytes, at, &piece);
        }
        6 => {
            let piece: Vec<u8> =
                (0..rng.random_range(1..32)).map(|_| bytes[rng.random_range(0..end)]).collect();
            bytes.splice(at..at, piece);
        }
        7 => {
            bytes.drain(at..(at + rng.random_range(1..32)).min(bytes.len()));
        }
        // A number in text, if there is one from here on.
        _ => {
            let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|i| at + i) else { return };
            let digits = bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
            bytes.splice(start..start + digits, number.to_string().into_bytes());
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, new: &[u8]) {
    let len = new.len().min(bytes.len() - at);
    bytes[at..at + len].copy_from_slice(&new[..len]);
}

/// Takes every tensor; gives how many there were.
fn take_all(mut weights: Weights) -> usize {
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    for name in &names {
        let shape = weights.shape_of(name).map(<[usize]>::to_vec).unwrap_or_default();
        if let Ok(tensor) = weights.take(name, &shape) {
            assert_eq!(tensor.dims(), shape);
        }
    }
    names.len()
}

/// True if the file was read.
fn read_gguf(bytes: Vec<u8>) -> bool {
    let Ok(gguf) = Gguf::from_bytes(bytes, Path::new("m.gguf")) else { return false };
    let _ = gguf.config();
    if let Ok(tokenizer) = gguf.tokenizer() {
        let _ =
            tokenizer.encode_fast("abcab <|end|>é 12", false).map(|e| tokenizer.decode(e.get_ids(), false));
    }
    gguf.into_weights().map(take_all).is_ok()
}

fn read_safetensors(bytes: Vec<u8>) -> bool {
    Weights::from_safetensors(&bytes, Path::new("m.safetensors")).map(take_all).is_ok()
}

/// The most address space this process ever had, in kilobytes; 0 where the system does not tell.
fn peak_kb() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmPeak:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn hostile(what: &str, whole: &[Vec<u8>], header: usize, read: fn(Vec<u8>) -> bool) {
    for bytes in whole {
        assert!(read(bytes.clone()), "{what}: the file that is to be changed must be whole");
    }
    // Every thread reserves address space at its first allocation: now, not while it is measured.
    rayon::broadcast(|_| drop(std::hint::black_box(vec![0u8; 4096])));
    let started = Instant::now();
    let (mut good, mut before) = (0, 0);
    for case in 0..cases() {
        let mut rng = ChaCha8Rng::seed_from_u64(case);
        let mut bytes = whole[rng.random_range(0..whole.len())].clone();
        let changes = [1, 1, 2, 4][rng.random_range(0..4)];
        for _ in 0..changes {
            change(&mut rng, &mut bytes, header);
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| read(bytes)));
        good += u64::from(outcome.unwrap_or_else(|_| panic!("{what}: case {case} panicked")));
        if case == 500 {
            before = peak_kb();
        }
        if case % 500 == 0 && case > 500 {
            let more = peak_kb() - before;
            assert!(more <= ALLOWED_KB, "{what}: by case {case} a small file had cost {more} kB");
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    println!("{what}: {} cases, {good} of them read, {seconds:.1} s", cases());
    // Some changes do no harm and most do some; a run where one of the two never comes tests nothing.
    assert!(good > 0 && good < cases());
}

/// One test: its memory is that of the process.
#[test]
fn damaged_files_are_refused_or_read() {
    hostile("safetensors", &[safetensors()], safetensors().len() - 43, read_safetensors);
    hostile("gguf", &[gguf(), gemma(), oss()], 1200, read_gguf);
}

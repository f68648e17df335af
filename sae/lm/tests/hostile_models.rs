//! Damaged and hostile model files: reading them ends in success or an error, never in a panic and never in
//! memory that the file does not justify. Small whole files are changed at random, a few thousand times in a
//! normal run; what one costs is counted by the allocator.
//!
//!     SAE_FUZZ_CASES=1000000 cargo test --test hostile_models -- --nocapture
//!     SAE_FUZZ_READER=gguf …                    one reader alone: safetensors, gguf, config.json, "chat template", chats
//!     SAE_FUZZ_CASE=4711 cargo test --test hostile_models -- --nocapture         # one case of each reader

#![allow(clippy::panic, clippy::print_stdout, clippy::needless_pass_by_value, clippy::unwrap_used)]

mod common;
#[path = "../src/model/weights/gguf/fixture.rs"]
mod fixture;

use std::path::{Path, PathBuf};

use common::{Subject, cases, hostile, only_own_panics};
use fixture::File;
use lm::model::{Config, Decoder, Gguf, Weights};
use lm::text::{Chat, ChatTemplate};

/// A llama-like model with two experts, a byte-level tokenizer and every group of encodings.
fn gguf() -> Vec<u8> {
    let blocks = |bytes: usize, count: usize| vec![0x11; bytes * count];
    model("llama", "gpt2")
        .text("tokenizer.ggml.pre", "smollm")
        .texts("tokenizer.ggml.merges", &["a b", "ab c"])
        .size("llama.expert_count", 2)
        .size("llama.expert_used_count", 1)
        .counted("rope_freqs.weight", &[8], 1.0)
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

/// Keys and values in two tensors that become one.
fn deepseek() -> Vec<u8> {
    model("deepseek2", "gpt2")
        .text("tokenizer.ggml.pre", "deepseek-v3")
        .texts("tokenizer.ggml.merges", &["a b"])
        .counted("token_embd.weight", &[8, 32], 0.0)
        .counted("blk.0.attn_k_b.weight", &[2, 4, 3], 0.0)
        .counted("blk.0.attn_v_b.weight", &[2, 2, 4], 0.0)
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

/// Half of a safetensors file is its experts in MXFP4.
fn packed() -> Vec<u8> {
    let json = r#"{"e_blocks": {"dtype": "U8", "shape": [1, 2, 1, 16], "data_offsets": [0, 32]},
        "e_scales": {"dtype": "U8", "shape": [1, 2, 1], "data_offsets": [32, 34]}}"#;
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend(json.as_bytes());
    bytes.extend([0x79; 34]);
    bytes
}

/// The families that transformers was compared with: config.json and the weights.
fn families() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/families");
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found.into_iter().map(|path| (path.clone(), std::fs::read(path.join("config.json")).unwrap())).collect()
}

/// A configuration alone; of every twentieth also the model, with the weights of the family it was before.
fn read_config(bytes: &[u8], weights: &Path, whole_model: bool) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Ok(config) = Config::parse(&text, Path::new("config.json")) else { return false };
    if !whole_model {
        return true;
    }
    let weights = Weights::open_safetensors(&weights.join("model.safetensors")).unwrap();
    Decoder::new(config, weights).is_ok()
}

/// Templates with all that published ones use.
const TEMPLATES: [&str; 3] = [
    "{%- set ns = namespace(last=0, system='') %}{%- for m in messages %}{%- if m.role == 'system' %}{%- set ns.system = m['content'] | trim %}\
     {%- elif m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}{{- bos_token }}\
     {%- if tools is not none and tools is iterable %}{{ tools | tojson(indent=2) }}{%- endif %}\
     {%- for m in messages if m.role != 'system' %}{{- '<|' ~ m.role ~ '|>' }}{%- if loop.index0 > ns.last and m.reasoning is defined %}\
     {{- m.reasoning.strip('\\n') }}{%- endif %}{{- m['content'] + eos_token }}{%- endfor %}",
    "{%- macro part(c) -%}{%- if c is string -%}{{ c }}{%- elif c is mapping -%}{% for k, v in c.items() %}{{ k }}={{ v }}{% endfor %}\
     {%- elif c is none -%}{%- else -%}{% for p in c %}{{ p.text | default('?') }}{% endfor %}{%- endif -%}{%- endmacro -%}\
     {%- if messages[0]['role'] == 'system' %}{%- set rest = messages[1:] %}{%- else %}{%- set rest = messages %}{%- endif %}\
     {%- for m in rest %}{% generation %}{{ part(m.content).split('</think>')[-1].lstrip() }}{% endgeneration %}\
     {%- if m.get('tool_calls') %}{{ m.tool_calls[0] | tojson }}{% endif %}{% if not loop.last %}{{ '-' * 3 }}{% else %}{% break %}{% endif %}{% endfor %}",
    "{{ strftime_now('%d %b %Y') }}{% set all = messages | selectattr('role', 'equalto', 'user') | list %}{{ all | length }}\
     {% for i in range(messages | length) %}{% set m = messages[i] %}{{ m.role | upper }}{{ m.content | string | replace('a', 'b') | first }}\
     {{ loop.cycle('x', 'y') }}{% endfor %}{{ messages | map(attribute='role') | join(',') }}",
];

const CHATS: [&str; 3] = [
    r#"[{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi <you>"}, {"role": "assistant", "content": "Hello.", "reasoning": "\nHm.\n"}]"#,
    r#"[{"role": "user", "content": [{"type": "text", "text": "漢字 🙂"}, {"type": "image"}]}, {"role": "assistant", "content": null, "tool_calls": [{"name": "add", "arguments": {"a": 1, "b": [2.5, null, true]}}]}]"#,
    r#"[{"role": "user", "content": "a\ud83d\ude00<think>b</think>c"}]"#,
];

/// A template at every chat: true if it writes one of them.
fn render(template: &str, chats: &[&str]) -> bool {
    let template = ChatTemplate::new(template, "<s>", "</s>");
    let texts = chats.iter().filter_map(|chat| template.render(&Chat::from_json(chat).ok()?).ok());
    texts.count() > 0
}

/// One test: memory is counted for the process.
#[test]
fn damaged_files_are_refused_or_read() {
    only_own_panics();
    let files = [safetensors(), packed()];
    let subject = Subject { name: "safetensors", whole: &files, header: 400, fixed: 64 << 10, each: 64 };
    hostile(&subject, cases(4000), read_safetensors);
    let files = [gguf(), gemma(), oss(), deepseek()];
    let subject = Subject { name: "gguf", whole: &files, header: 1200, fixed: 1 << 20, each: 64 };
    hostile(&subject, cases(4000), read_gguf);

    let families = families();
    let configs: Vec<Vec<u8>> = families.iter().map(|(_, config)| config.clone()).collect();
    // The weights, some hundred kilobytes, are part of the file here.
    let subject = Subject { name: "config.json", whole: &configs, header: 1 << 20, fixed: 8 << 20, each: 64 };
    let mut turn = 0usize;
    hostile(&subject, cases(4000), |bytes| {
        turn += 1;
        let family = families
            .iter()
            .find(|(_, config)| config[..config.len().min(90)] == bytes[..bytes.len().min(90)]);
        let (folder, _) = family.unwrap_or(&families[turn % families.len()]);
        read_config(&bytes, folder, turn.is_multiple_of(20))
    });
    // Twice what a template may make of a chat; see `FUEL` in `text/chat.rs`.
    let (fixed, each) = (32 << 20, 4096);
    let templates = TEMPLATES.map(|template| template.as_bytes().to_vec());
    let subject = Subject { name: "chat template", whole: &templates, header: 1 << 20, fixed, each };
    hostile(&subject, cases(4000), |bytes| render(&String::from_utf8_lossy(&bytes), &CHATS));
    let chats = CHATS.map(|chat| chat.as_bytes().to_vec());
    let subject = Subject { name: "chats", whole: &chats, header: 1 << 20, fixed, each };
    hostile(&subject, cases(4000), |bytes| {
        TEMPLATES.iter().any(|template| render(template, &[&String::from_utf8_lossy(&bytes)]))
    });
}

use std::path::Path;

use candle_core::Tensor;
use candle_core::quantized::gguf_file::Content;

use super::Gguf;
use super::fixture::File;
use crate::model::Weights;
use crate::model::config::{Config, RopeConfig, Scaling};

fn open(bytes: Vec<u8>) -> crate::Result<Gguf> {
    Gguf::from_bytes(bytes, Path::new("m.gguf"))
}

fn weights(file: &File) -> Weights {
    open(file.bytes()).unwrap().into_weights().unwrap()
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn counted(n: usize, from: f32) -> Vec<f32> {
    (0..n).map(|i| from + i as f32).collect()
}

/// Two heads of queries, one of keys; `d` 8.
fn llama() -> File {
    File::of("llama")
        .size("llama.embedding_length", 8)
        .size("llama.block_count", 1)
        .size("llama.attention.head_count", 2)
        .size("llama.attention.head_count_kv", 1)
        .size("llama.context_length", 64)
        .size("llama.feed_forward_length", 12)
        .float("llama.attention.layer_norm_rms_epsilon", 1e-6)
        .float("llama.rope.freq_base", 1e5)
        .counted("token_embd.weight", &[5, 8], 0.0)
        .counted("blk.0.attn_q.weight", &[8, 8], 0.0)
        .counted("blk.0.attn_k.weight", &[4, 8], 100.0)
        .counted("blk.0.attn_q.bias", &[8], 0.0)
}

#[test]
fn candle_reads_the_fixture_as_we_do() {
    let file = llama();
    let content = Content::read(&mut std::io::Cursor::new(file.bytes())).unwrap();
    let gguf = open(file.bytes()).unwrap();
    assert_eq!(content.metadata.len(), gguf.header.metadata.len());
    for (name, theirs) in &content.tensor_infos {
        let ours = &gguf.header.tensors[name];
        assert_eq!(theirs.shape.dims(), ours.shape);
        assert_eq!(content.tensor_data_offset + theirs.offset, ours.at);
    }
}

#[test]
fn queries_and_keys_come_back_in_half_split_order() {
    let mut weights = weights(&llama());
    assert_eq!(
        weights.names().collect::<Vec<_>>(),
        [
            "model.embed_tokens.weight",
            "model.layers.0.self_attn.k_proj.weight",
            "model.layers.0.self_attn.q_proj.bias",
            "model.layers.0.self_attn.q_proj.weight",
        ]
    );
    // Heads of four rows, stored as pairs (0, 2), (1, 3): stored rows 0 2 1 3.
    let bias = weights.take("model.layers.0.self_attn.q_proj.bias", &[8]).unwrap();
    assert_eq!(numbers(&bias), [0.0, 2.0, 1.0, 3.0, 4.0, 6.0, 5.0, 7.0]);
    let k = weights.take("model.layers.0.self_attn.k_proj.weight", &[4, 8]).unwrap();
    let rows: Vec<f32> = k.to_vec2::<f32>().unwrap().iter().map(|row| row[0]).collect();
    assert_eq!(rows, [100.0, 116.0, 108.0, 124.0]);
    assert_eq!(weights.unused().count(), 2);
}

#[test]
fn stacked_experts_are_taken_one_by_one() {
    let file = File::of("qwen3moe")
        .size("qwen3moe.attention.head_count", 2)
        .counted("blk.3.ffn_gate_inp.weight", &[2, 4], 0.0)
        .counted("blk.3.ffn_gate_exps.weight", &[2, 6, 4], 1000.0)
        .counted("blk.3.ffn_down_exps.weight", &[2, 4, 6], 2000.0);
    let mut weights = weights(&file);
    let gate = weights.take("model.layers.3.mlp.experts.1.gate_proj.weight", &[6, 4]).unwrap();
    assert_eq!(numbers(&gate), counted(24, 1024.0));
    let names = (0..2).map(|e| format!("model.layers.3.mlp.experts.{e}.down_proj.weight"));
    let down = weights.take_stacked(names, &[4, 6]).unwrap();
    assert_eq!(numbers(&down), counted(48, 2000.0));
    assert!(weights.has("model.layers.3.mlp.gate.weight"));
    assert!(weights.take("model.layers.3.mlp.experts.2.gate_proj.weight", &[6, 4]).is_err());
}

#[test]
fn experts_of_a_quantised_tensor_are_cut_at_whole_blocks() {
    // Two experts of one row of 32 numbers, Q8_0 with scale 1: bytes 1…32 and 33…64.
    let block = |from: u8| [&[0x00, 0x3C][..], &(from..from + 32).collect::<Vec<u8>>()].concat();
    let file = File::of("llama").size("llama.attention.head_count", 2).size("llama.expert_count", 2).tensor(
        "blk.0.ffn_up_exps.weight",
        &[2, 1, 32],
        8,
        [block(1), block(33)].concat(),
    );
    let mut weights = weights(&file);
    let second = weights.take("model.layers.0.block_sparse_moe.experts.1.w3.weight", &[1, 32]).unwrap();
    assert_eq!(numbers(&second), counted(32, 33.0));
}

#[test]
fn gate_and_up_are_put_together_where_hugging_face_has_them_so() {
    let experts = |architecture: &str| {
        File::of(architecture)
            .size(&format!("{architecture}.attention.head_count"), 2)
            .counted("blk.0.ffn_gate_exps.weight", &[2, 4, 5], 0.0)
            .counted("blk.0.ffn_up_exps.weight", &[2, 4, 5], 1000.0)
    };
    let granite = weights(&experts("granitemoe"))
        .take("model.layers.0.block_sparse_moe.input_linear.weight", &[2, 8, 5])
        .unwrap();
    let expected = [counted(20, 0.0), counted(20, 1000.0), counted(20, 20.0), counted(20, 1020.0)].concat();
    assert_eq!(numbers(&granite), expected);
    let oss =
        weights(&experts("gpt-oss")).take("model.layers.0.mlp.experts.gate_up_proj", &[2, 5, 8]).unwrap();
    let oss = oss.to_vec3::<f32>().unwrap();
    // [expert, input, 2 · unit + (0 gate, 1 up)].
    assert_eq!(oss[1][2], [22.0, 1022.0, 27.0, 1027.0, 32.0, 1032.0, 37.0, 1037.0]);
}

#[test]
fn gemma_norms_lose_their_one_and_gpt2_matrices_are_turned() {
    let gemma = File::of("gemma3")
        .size("gemma3.attention.head_count", 2)
        .counted("blk.0.attn_q_norm.weight", &[4], 1.0)
        .counted("blk.0.ffn_norm.weight", &[4], 1.0);
    let mut weights = weights(&gemma);
    for name in ["self_attn.q_norm.weight", "pre_feedforward_layernorm.weight"] {
        let norm = weights.take(&format!("model.layers.0.{name}"), &[4]).unwrap();
        assert_eq!(numbers(&norm), counted(4, 0.0));
    }
    let gpt2 = File::of("gpt2")
        .size("gpt2.attention.head_count", 2)
        .counted("blk.0.attn_qkv.weight", &[6, 2], 0.0)
        .counted("blk.0.attn_qkv.bias", &[6], 0.0);
    let mut weights = self::weights(&gpt2);
    let qkv = weights.take("transformer.h.0.attn.c_attn.weight", &[2, 6]).unwrap();
    assert_eq!(qkv.to_vec2::<f32>().unwrap()[1], [1.0, 3.0, 5.0, 7.0, 9.0, 11.0]);
    assert_eq!(numbers(&weights.take("transformer.h.0.attn.c_attn.bias", &[6]).unwrap()), counted(6, 0.0));
}

#[test]
fn what_is_not_known_is_named() {
    let error = |file: &File| open(file.bytes()).and_then(Gguf::into_weights).unwrap_err().to_string();
    for (architecture, why) in [
        ("mamba2", "recurrent model"),
        ("rwkv6qwen2", "recurrent model"),
        ("falcon-h1", "linear-attention layers"),
        ("qwen35moe", "linear-attention layers"),
        ("granitehybrid", "linear-attention layers"),
        ("jina-bert-v2", "is an encoder"),
        ("t5encoder", "encoder with a decoder"),
        ("gemma4", "from a folder in safetensors"),
        ("brand-new", "is not read"),
    ] {
        let error = error(&File::of(architecture));
        assert!(error.contains(&format!("`{architecture}`")) && error.contains(why), "{error}");
    }
    let odd = error(&llama().counted("blk.0.ssm_in.weight", &[8], 0.0));
    assert!(odd.starts_with("m.gguf: ") && odd.contains("`blk.0.ssm_in.weight`"), "{odd}");
    let leading = error(&llama().counted("blk.00.attn_v.weight", &[8], 0.0));
    assert!(leading.contains("`blk.00.attn_v.weight`"), "{leading}");
}

#[test]
fn a_damaged_header_is_refused() {
    let whole = llama().bytes();
    // Every file cut short, wherever.
    for len in 0..whole.len() - 32 {
        assert!(open(whole[..len].to_vec()).is_err(), "cut to {len} bytes");
    }
    let changed = |at: usize, bytes: &[u8]| {
        let mut file = whole.clone();
        file[at..at + bytes.len()].copy_from_slice(bytes);
        open(file).unwrap_err().to_string()
    };
    assert!(changed(0, b"g").contains("not a GGUF"));
    assert!(changed(4, &[1]).contains("version 1"));
    assert!(changed(4, &[0, 0, 0, 3]).contains("big-endian"));
    assert!(changed(8, &u64::MAX.to_le_bytes()).contains("tensors"));
    assert!(changed(16, &u64::MAX.to_le_bytes()).contains("keys"));
    let name = b"blk.0.attn_k.weight";
    let at = whole.windows(name.len()).position(|w| w == name).unwrap() + name.len();
    assert!(changed(at, &9u32.to_le_bytes()).contains("9 dimensions"));
    assert!(changed(at + 4, &u64::MAX.to_le_bytes()).contains("`blk.0.attn_k.weight`"));
    assert!(changed(at + 4, &0u64.to_le_bytes()).contains("empty"));
    assert!(changed(at + 20, &77u32.to_le_bytes()).contains("type 77"));
    assert!(changed(at + 24, &4u64.to_le_bytes()).contains("alignment"));
    assert!(changed(at + 24, &(u64::MAX - 31).to_le_bytes()).contains("is it whole"));
    assert!(changed(at + 24, &0u64.to_le_bytes()).contains("share bytes"));
}

fn configured(file: &File) -> Config {
    let json = open(file.bytes()).unwrap().config().unwrap();
    Config::from_json(&json, Path::new("m.gguf")).unwrap()
}

/// Llama 3.1's rotation is a tensor of divisors; transformers computes the same from four numbers.
#[test]
fn the_rotation_of_llama_3_1_is_that_of_its_config_json() {
    let scaled = RopeConfig {
        theta: 1e5,
        dims: 4,
        interleaved: false,
        scaling: Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 512.0 },
    };
    let plain = RopeConfig { scaling: Scaling::None, ..scaled };
    let divisors: Vec<f32> = plain.rates().iter().zip(scaled.rates()).map(|(a, b)| (a / b) as f32).collect();
    assert_ne!(divisors, [1.0, 1.0], "a test of nothing");
    let bytes = divisors.iter().flat_map(|d| d.to_le_bytes()).collect();
    let file = llama().tensor("rope_freqs.weight", &[2], 0, bytes);
    let config = configured(&file);
    let rope = config.blocks[0].attention.rope.clone().unwrap();
    for (ours, theirs) in rope.rates().iter().zip(scaled.rates()) {
        assert!((ours / theirs - 1.0).abs() < 1e-6, "{ours} {theirs}");
    }
    assert_eq!((rope.attention_factor(), config.max_position_embeddings), (1.0, 64));
    assert!(!weights(&file).has("rope_freqs.weight"));
    let wrong = llama().counted("rope_freqs.weight", &[3], 1.0);
    let json = open(wrong.bytes()).unwrap().config().unwrap();
    let error = Config::from_json(&json, Path::new("m.gguf")).unwrap_err().to_string();
    assert!(error.contains("3 divisors; expected 2"), "{error}");
}

#[test]
fn what_a_file_leaves_out_is_not_the_default_of_a_class() {
    // Mistral's class has a window, Llama's a begin token; files of both name them or have none.
    let config = configured(&llama());
    assert_eq!((config.bos_token_id, config.eos_token_id), (None, None));
    assert_eq!(config.blocks[0].attention.window, None);
}

/// Keys `[heads, rank, nope]` and values `[heads, value, rank]` are the two parts of Hugging Face's matrix,
/// keys turned.
#[test]
fn keys_and_values_of_deepseek_come_together() {
    let (heads, rank, nope, value) = (2, 4, 3, 2);
    let file = File::of("deepseek2")
        .size("deepseek2.attention.head_count", heads)
        .counted("blk.0.attn_k_b.weight", &[2, 4, 3], 0.0)
        .counted("blk.0.attn_v_b.weight", &[2, 2, 4], 1000.0);
    let name = "model.layers.0.self_attn.kv_b_proj.weight";
    let joined = weights(&file).take(name, &[2 * (nope + value), rank]).unwrap();
    let rows = joined.to_vec2::<f32>().unwrap();
    for head in 0..2 {
        for i in 0..nope {
            let expected: Vec<f32> = (0..rank).map(|r| (head * rank * nope + r * nope + i) as f32).collect();
            assert_eq!(rows[head * (nope + value) + i], expected, "key {i} of head {head}");
        }
        for i in 0..value {
            let expected = counted(rank, 1000.0 + ((head * value + i) * rank) as f32);
            assert_eq!(rows[head * (nope + value) + nope + i], expected, "value {i} of head {head}");
        }
    }
    let both = file.counted("blk.0.attn_kv_b.weight", &[10, 4], 5.0);
    let both = weights(&both).take(name, &[10, 4]).unwrap();
    assert_eq!(numbers(&both), counted(40, 5.0));
    let alone = File::of("deepseek2").size("deepseek2.attention.head_count", heads).counted(
        "blk.0.attn_k_b.weight",
        &[2, 4, 3],
        0.0,
    );
    let error = open(alone.bytes()).and_then(Gguf::into_weights).unwrap_err().to_string();
    assert!(error.contains("`blk.0.attn_v_b.weight` is missing"), "{error}");
}

#[test]
fn olmo_3_and_phi_3_are_told_by_their_keys() {
    let base = |architecture: &str| {
        let key = |name: &str| format!("{architecture}.{name}");
        File::of(architecture)
            .size(&key("embedding_length"), 8)
            .size(&key("block_count"), 4)
            .size(&key("attention.head_count"), 2)
            .size(&key("context_length"), 64)
            .size(&key("feed_forward_length"), 12)
            .float(&key("attention.layer_norm_rms_epsilon"), 1e-6)
            .counted("token_embd.weight", &[5, 8], 0.0)
            .counted("output_norm.weight", &[8], 0.0)
            .counted("output.weight", &[5, 8], 0.0)
            .counted("blk.0.attn_q_norm.weight", &[8], 0.0)
    };
    let windows = |config: &Config| -> Vec<Option<usize>> {
        config.blocks.iter().map(|block| block.attention.window).collect()
    };
    let two = configured(&base("olmo2"));
    assert_eq!((two.model_type.as_str(), windows(&two)), ("olmo2", vec![None; 4]));
    let three = configured(&base("olmo2").size("olmo2.attention.sliding_window", 16));
    assert_eq!(three.model_type, "olmo3");
    assert_eq!(windows(&three), [Some(16), Some(16), Some(16), None]);
    let phi = configured(
        &base("phi3")
            .size("phi3.rope.dimension_count", 2)
            .size("phi3.rope.scaling.original_context_length", 32)
            .float("phi3.rope.scaling.attn_factor", 1.25)
            .tensor("rope_factors_short.weight", &[1], 0, 1.5f32.to_le_bytes().to_vec())
            .tensor("rope_factors_long.weight", &[1], 0, 9f32.to_le_bytes().to_vec()),
    );
    let rope = phi.blocks[0].attention.rope.as_ref().unwrap();
    assert_eq!((rope.dims, rope.rates(), rope.attention_factor()), (2, vec![1.0 / 1.5], 1.25));
    assert_eq!(phi.max_position_embeddings, 32, "the long factors are not used");
}

/// YaRN's factor on cosines cancels where a file has DeepSeek's multiplier, and the scores are scaled
/// instead.
#[test]
fn yarn_of_deepseek_scales_scores() {
    let file = llama()
        .text("llama.rope.scaling.type", "yarn")
        .float("llama.rope.scaling.factor", 40.0)
        .size("llama.rope.scaling.original_context_length", 32);
    let plain = configured(&file).blocks[0].attention.rope.clone().unwrap();
    assert!((plain.attention_factor() - (0.1 * 40f64.ln() + 1.0)).abs() < 1e-9);
    let cancelled = file.float("llama.rope.scaling.yarn_log_multiplier", 0.0707);
    let rope = configured(&cancelled).blocks[0].attention.rope.clone().unwrap();
    assert!((rope.attention_factor() - 1.0).abs() < 1e-9);
}

#[test]
fn parts_are_one_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = |number: usize| folder.path().join(format!("m-{number:05}-of-00002.gguf"));
    let part = |file: File, number: u32| {
        let file = file.size("split.no", number).size("split.count", 2).size("split.tensors.count", 5);
        std::fs::write(path(number as usize + 1), file.bytes()).unwrap();
    };
    part(llama(), 0);
    let error = Gguf::open(&path(1)).unwrap_err().to_string();
    assert!(error.contains("m-00002-of-00002.gguf is not next to it"), "{error}");
    let rest = |number| part(File::default().counted("blk.0.attn_v.weight", &[4, 8], 500.0), number);
    rest(1);
    for number in [1, 2] {
        let gguf = Gguf::open(&path(number)).unwrap();
        assert_eq!(gguf.path(), path(1));
        let mut weights = gguf.into_weights().unwrap();
        let v = weights.take("model.layers.0.self_attn.v_proj.weight", &[4, 8]).unwrap();
        assert_eq!(numbers(&v), counted(32, 500.0));
        assert_eq!(weights.names().count(), 5);
    }
    let fails = |what: &str| {
        let error = Gguf::open(&path(1)).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    };
    // A part of another model, the same part twice, a tensor twice.
    part(llama(), 1);
    fails("in another file of this model too");
    std::fs::copy(path(1), path(2)).unwrap();
    fails("is part 1 of 2");
    // A part whose name was changed.
    rest(1);
    let renamed = folder.path().join("renamed.gguf");
    std::fs::copy(path(1), &renamed).unwrap();
    let error = Gguf::open(&renamed).unwrap_err();
    assert!(error.to_string().contains("is part 1 of 2 of a model; 1 were found"), "{error}");
    assert!(error.remedy().is_some_and(|remedy| remedy.contains("--merge")));
}

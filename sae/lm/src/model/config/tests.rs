use super::*;

fn olmoe(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let mut json = serde_json::json!({
        "model_type": "olmoe", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 8,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu",
        "max_position_embeddings": 64, "num_experts": 4, "num_experts_per_tok": 2
    });
    change(&mut json);
    json.to_string()
}

fn parse(text: &str) -> Config {
    Config::parse(text, Path::new("config.json")).unwrap()
}

#[test]
fn defaults_are_those_of_the_family() {
    let config = parse(&olmoe(|_| {}));
    let attention = &config.blocks[1].attention;
    assert_eq!((config.final_norm.eps, attention.d_head, config.experts()), (1e-5, 4, Some((4, 2))));
    assert_eq!(attention.rope.as_ref().unwrap().theta, 1e4);
    let MlpConfig::Experts(experts) = &config.blocks[0].mlp else { panic!("no experts") };
    assert!(!experts.router.normalise && experts.shared.is_none());
}

#[test]
fn names_of_transformers_4_and_5_say_the_same() {
    let newer = parse(&olmoe(|json| {
        json["rope_parameters"] =
            serde_json::json!({"rope_theta": 500.0, "rope_type": "linear", "factor": 2.0});
        json["eos_token_id"] = serde_json::json!([7, 8]);
    }));
    let older = parse(&olmoe(|json| {
        json["rope_theta"] = 500.0.into();
        json["rope_scaling"] = serde_json::json!({"type": "linear", "factor": 2.0});
        json["eos_token_id"] = 7.into();
    }));
    assert_eq!(newer, older);
    assert_eq!(newer.eos_token_id, Some(7));
}

/// Gemma 3 as transformers 4 wrote it: a base of their own for local layers, a pattern instead of a list.
#[test]
fn gemma_3_of_transformers_4() {
    let config = parse(
        &serde_json::json!({
            "model_type": "gemma3_text", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 7,
            "num_attention_heads": 4, "num_key_value_heads": 1, "head_dim": 8, "max_position_embeddings": 64,
            "sliding_window": 16, "sliding_window_pattern": 6, "rope_theta": 1e6, "rope_local_base_freq": 1e4,
            "rope_scaling": {"rope_type": "linear", "factor": 8.0}
        })
        .to_string(),
    );
    let of = |layer: usize| {
        let attention = &config.blocks[layer].attention;
        let rope = attention.rope.as_ref().unwrap();
        (attention.window, rope.theta, rope.scaling.clone())
    };
    assert_eq!(of(4), (Some(16), 1e4, Scaling::None));
    assert_eq!(of(5), (None, 1e6, Scaling::Linear { factor: 8.0 }));
    assert_eq!((config.embedding_scale, config.tie_word_embeddings), (4.0, true));
}

/// The 4B's published file says the shape alone; the rest is its class's.
#[test]
fn gemma_3_that_sees_pictures_leaves_most_to_its_class() {
    let json = |more: &str| {
        format!(
            r#"{{"model_type": "gemma3", "eos_token_id": [1, 106], "vision_config": {{"hidden_size": 8}}, "text_config":
                {{"hidden_size": 2560, "intermediate_size": 10240, "model_type": "gemma3_text", "num_hidden_layers": 34,
                "rope_scaling": {{"factor": 8.0, "rope_type": "linear"}}, "sliding_window": 1024{more}}}}}"#
        )
    };
    let config = parse(&json(""));
    let attention = &config.blocks[5].attention;
    assert_eq!((attention.heads, attention.kv_heads, attention.d_head, attention.window), (8, 4, 256, None));
    assert_eq!(config.blocks[0].attention.window, Some(1024));
    assert_eq!((config.vocab_size, config.max_position_embeddings), (262_208, 131_072));
    assert_eq!((config.bos_token_id, config.eos_token_id), (Some(2), Some(1)));
    assert!(config.tie_word_embeddings);
    // What is there and null is none, not the default.
    assert_eq!(parse(&json(r#", "bos_token_id": null"#)).bos_token_id, None);
    assert_eq!(parse(&json(r#", "num_attention_heads": 4"#)).blocks[0].attention.heads, 4);
}

#[test]
fn another_name_of_a_field_keeps_its_default_away() {
    let gpt2 = parse(r#"{"model_type": "gpt2", "n_ctx": 99}"#);
    assert_eq!((gpt2.max_position_embeddings, gpt2.num_hidden_layers, gpt2.vocab_size), (99, 12, 50257));
    let mistral = parse(r#"{"model_type": "mistral", "sliding_window": null}"#);
    assert_eq!(mistral.blocks[0].attention.window, None);
    let mistral = parse(r#"{"model_type": "mistral"}"#);
    assert_eq!(mistral.blocks[0].attention.window, Some(4096));
}

#[test]
fn models_of_other_kinds_are_refused_with_the_reason() {
    let cases = [
        ("mamba2", "recurrent"),
        ("jamba", "between its attention layers"),
        ("qwen3_next", "linear-attention"),
        ("granitemoehybrid", "linear-attention"),
        ("gemma4_assistant", "drafts tokens"),
        ("gemma4_unified_assistant", "drafts tokens"),
        ("bert", "depends on the tokens after it"),
        ("t5", "encoder with a decoder"),
        ("never_heard_of", "not read"),
    ];
    for (kind, reason) in cases {
        let error =
            Config::parse(&format!(r#"{{"model_type": "{kind}"}}"#), Path::new("c.json")).unwrap_err();
        assert!(
            error.to_string().contains(&format!("`{kind}`")) && error.to_string().contains(reason),
            "{error}"
        );
        assert!(error.remedy().is_some_and(|remedy| remedy.contains("olmo2")));
    }
}

#[test]
fn what_is_not_supported_is_named() {
    let cases: [(&str, serde_json::Value); 13] = [
        ("model_type", "bert".into()),
        ("model_type", "switch_transformers".into()),
        ("hidden_act", "mish".into()),
        ("clip_qkv", (-8.0).into()),
        ("num_experts_per_tok", 5.into()),
        ("hidden_size", 0.into()),
        ("hidden_size", "many".into()),
        ("num_key_value_heads", 3.into()),
        ("num_hidden_layers", (1u64 << 40).into()),
        ("rope_scaling", serde_json::json!({"rope_type": "dynamic"})),
        ("quantization_config", serde_json::json!({"quant_method": "mxfp4"})),
        ("tie_word_embeddings", 1.into()),
        ("use_bidirectional_attention", true.into()),
    ];
    for (key, value) in cases {
        let error = Config::parse(&olmoe(|json| json[key] = value), Path::new("x/config.json")).unwrap_err();
        let message = error.to_string();
        assert!(message.starts_with("x/config.json: ") && message.contains(key), "{key}: {message}");
    }
    assert!(Config::parse("{", Path::new("c")).is_err());
    assert!(Config::parse("[]", Path::new("c")).is_err());
}

/// The published ramp of YaRN at a dimension inside it, at both ends, and Llama 3's three regions.
#[test]
fn stretched_rates() {
    let yarn = RopeConfig {
        theta: 1e4,
        dims: 64,
        interleaved: false,
        scaling: Scaling::Yarn {
            factor: 4.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original: 2048.0,
            truncate: true,
            attention_factor: 1.0,
        },
    };
    let plain = |i: usize| 1e4f64.powf(-2.0 * i as f64 / 64.0);
    let rates = yarn.rates();
    // Turns in 2048 positions: dimension 0 has 326, 31 has 0.04.
    assert_eq!(rates[0], 1.0);
    assert!((rates[31] - plain(31) / 4.0).abs() < 1e-12);
    // 32 turns at dimension 8.07, one at 20.1: the ramp goes from 8 to 21.
    let share = (12.0 - 8.0) / (21.0 - 8.0);
    assert!((rates[12] - plain(12) * (1.0 - share + share / 4.0)).abs() < 1e-12);
    let llama = RopeConfig {
        scaling: Scaling::Llama3 { factor: 8.0, low: 1.0, high: 4.0, original: 2048.0 },
        ..yarn
    };
    let rates = llama.rates();
    assert_eq!((rates[0], rates[31]), (1.0, plain(31) / 8.0));
    let turns = 2048.0 * plain(18) / std::f64::consts::TAU;
    assert!((1.0..4.0).contains(&turns));
    let kept = (turns - 1.0) / 3.0;
    assert!((rates[18] - plain(18) * (kept + (1.0 - kept) / 8.0)).abs() < 1e-12);
}

//! Metadata → Hugging Face's `config.json` of the model.

use serde_json::{Map, Value as Json, json};

use super::Gguf;
use super::families::Family;
use crate::Result;
use crate::model::config::names_with_defaults;

/// See [`Gguf::config`].
pub(super) fn build(gguf: &Gguf) -> Result<Json> {
    let family = Family::of(gguf)?;
    let prefix = gguf.architecture()?.to_owned();
    let mut config = Builder { gguf, prefix, json: Map::new() };
    config.put("model_type", family.model_type());
    config.sizes()?;
    match family {
        Family::Gpt2 => config.gpt2()?,
        Family::GptNeoX => config.gpt_neox()?,
        _ => config.llama_like(family)?,
    }
    config.special_tokens()?;
    config.leave_nothing_open();
    Ok(Json::Object(config.json))
}

struct Builder<'a> {
    gguf: &'a Gguf,
    /// What the keys of this architecture begin with.
    prefix: String,
    json: Map<String, Json>,
}

impl Builder<'_> {
    fn put(&mut self, name: &str, value: impl Into<Json>) {
        self.json.insert(name.to_owned(), value.into());
    }

    fn key(&self, key: &str) -> String {
        format!("{}.{key}", self.prefix)
    }

    fn size(&self, key: &str) -> Result<Option<u64>> {
        self.gguf.size(&self.key(key))
    }

    fn float(&self, key: &str) -> Result<Option<f64>> {
        Ok(self.gguf.float(&self.key(key))?.map(as_written))
    }

    fn need(&self, key: &str) -> Result<u64> {
        self.gguf.required(&self.key(key), self.size(key)?)
    }

    fn need_float(&self, key: &str) -> Result<f64> {
        self.gguf.required(&self.key(key), self.float(key)?)
    }

    fn put_size(&mut self, name: &str, key: &str) -> Result<()> {
        let size = self.need(key)?;
        self.put(name, size);
        Ok(())
    }

    fn put_float(&mut self, name: &str, key: &str) -> Result<()> {
        let number = self.need_float(key)?;
        self.put(name, number);
        Ok(())
    }

    fn has_tensor(&self, name: &str) -> bool {
        self.gguf.header.tensors.contains_key(name)
    }

    /// A file says all that there is to say: what it leaves out is absent, not the default of Hugging Face's
    /// class.
    fn leave_nothing_open(&mut self) {
        let family = self.json.get("model_type").and_then(Json::as_str).unwrap_or_default().to_owned();
        for name in names_with_defaults(&family) {
            self.json.entry(name).or_insert(Json::Null);
        }
    }

    /// What every family has.
    fn sizes(&mut self) -> Result<()> {
        let embedding = self.gguf.header.tensors.get("token_embd.weight");
        let embedding = embedding.ok_or_else(|| self.gguf.problem("has no tensor `token_embd.weight`"))?;
        let vocab_size = embedding.shape[0];
        self.put("vocab_size", vocab_size);
        self.put("tie_word_embeddings", !self.has_tensor("output.weight"));
        let [hidden, layers, heads, context] = match Family::of(self.gguf)? {
            Family::Gpt2 => ["n_embd", "n_layer", "n_head", "n_positions"],
            _ => ["hidden_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings"],
        };
        self.put_size(hidden, "embedding_length")?;
        self.put_size(layers, "block_count")?;
        self.put_size(heads, "attention.head_count")?;
        self.put_size(context, "context_length")
    }

    fn gpt2(&mut self) -> Result<()> {
        self.put_size("n_inner", "feed_forward_length")?;
        self.put_float("layer_norm_epsilon", "attention.layer_norm_epsilon")?;
        self.put("activation_function", "gelu_new");
        Ok(())
    }

    fn gpt_neox(&mut self) -> Result<()> {
        self.put_size("intermediate_size", "feed_forward_length")?;
        self.put_float("layer_norm_eps", "attention.layer_norm_epsilon")?;
        let d_head = self.need("embedding_length")? as f64 / self.need("attention.head_count")?.max(1) as f64;
        let rotated = self.size("rope.dimension_count")?.map_or(d_head, |n| n as f64);
        self.put("rotary_pct", rotated / d_head);
        let base = self.float("rope.freq_base")?.unwrap_or(10_000.0);
        self.put("rotary_emb_base", base);
        let parallel = self.gguf.flag(&self.key("use_parallel_residual"))?.unwrap_or(true);
        self.put("use_parallel_residual", parallel);
        self.put("hidden_act", "gelu");
        self.put("attention_bias", self.has_tensor("blk.0.attn_qkv.bias"));
        Ok(())
    }

    /// Everything with RMS norms, rotations and gated MLPs.
    fn llama_like(&mut self, family: Family) -> Result<()> {
        let heads = self.need("attention.head_count")?;
        let kv_heads = self.size("attention.head_count_kv")?.unwrap_or(heads);
        self.put("num_key_value_heads", kv_heads);
        self.put_float("rms_norm_eps", "attention.layer_norm_rms_epsilon")?;
        let base = self.float("rope.freq_base")?.unwrap_or(10_000.0);
        self.put("rope_theta", base);
        self.put("hidden_act", "silu");
        self.put(
            "attention_bias",
            self.has_tensor("blk.0.attn_q.bias") || self.has_tensor("blk.0.attn_qkv.bias"),
        );
        self.put("mlp_bias", self.has_tensor("blk.0.ffn_up.bias"));
        if let Some(ff) = self.size("feed_forward_length")? {
            self.put("intermediate_size", ff);
        }
        if family != Family::DeepseekV2 {
            let default = self.need("embedding_length")? / heads.max(1);
            let d_head = self.size("attention.key_length")?.unwrap_or(default);
            self.put("head_dim", d_head);
        }
        self.scaled_rotation(family)?;
        if self.size("expert_count")?.is_some_and(|n| n > 0) {
            self.experts(family)?;
        }
        match family {
            Family::Gemma2 | Family::Gemma3 => self.gemma(family),
            Family::GptOss => self.gpt_oss(),
            Family::Granite | Family::GraniteMoe => self.granite(),
            Family::DeepseekV2 => self.deepseek(),
            Family::Qwen2 | Family::Qwen2Moe | Family::Qwen3 | Family::Qwen3Moe => {
                self.put("use_sliding_window", false);
                Ok(())
            }
            Family::Olmo2 => self.olmo(),
            Family::Phi3 => self.phi(),
            Family::SmolLm3 => {
                self.put("no_rope_layer_interval", 4);
                self.put("use_sliding_window", false);
                Ok(())
            }
            Family::Olmoe => {
                let clip = self.float("attention.clamp_kqv")?;
                self.put("clip_qkv", clip);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// `rope_scaling`. Llama 3's and LongRoPE's are stored as tensors of divisors.
    fn scaled_rotation(&mut self, family: Family) -> Result<()> {
        if let Some(scaling) = self.divisors()? {
            self.put("rope_scaling", scaling);
            return Ok(());
        }
        let factor = self.float("rope.scaling.factor")?;
        let kind = self.gguf.text(&self.key("rope.scaling.type"))?.unwrap_or("none").to_owned();
        let original = self.size("rope.scaling.original_context_length")?;
        let scaling = match (kind.as_str(), factor) {
            ("none", _) | ("linear", None) => Json::Null,
            ("linear", Some(factor)) => json!({"rope_type": "linear", "factor": factor}),
            ("yarn", Some(factor)) => {
                let mut scaling = json!({
                    "rope_type": "yarn", "factor": factor, "original_max_position_embeddings": original,
                });
                // The multiplier is a tenth of mscale_all_dim, which DeepSeek's models have equal to mscale.
                if let Some(multiplier) = self.float("rope.scaling.yarn_log_multiplier")? {
                    scaling["mscale"] = json!(as_written(multiplier * 10.0));
                    scaling["mscale_all_dim"] = json!(as_written(multiplier * 10.0));
                }
                if family == Family::GptOss {
                    scaling["beta_fast"] = json!(32.0);
                    scaling["beta_slow"] = json!(1.0);
                    scaling["truncate"] = json!(false);
                }
                scaling
            }
            (other, factor) => {
                let text = format!(
                    "rope.scaling.type is `{other}` with factor {factor:?}; expected none, linear or yarn"
                );
                return Err(self.gguf.problem(text));
            }
        };
        self.put("rope_scaling", scaling);
        Ok(())
    }

    /// Divisors of the rotation's rates in the words of LongRoPE; none if the file has none.
    fn divisors(&mut self) -> Result<Option<Json>> {
        let divisors = |name: &str| -> Result<Option<Vec<f32>>> { self.gguf.vector(name) };
        if let Some(all) = divisors("rope_freqs.weight")? {
            let all = decimal(&all);
            return Ok(Some(json!({
                "rope_type": "longrope", "short_factor": all, "long_factor": all, "attention_factor": 1.0,
            })));
        }
        let (short, long) = (divisors("rope_factors_short.weight")?, divisors("rope_factors_long.weight")?);
        let (Some(short), Some(long)) = (short, long) else { return Ok(None) };
        let original = self.need("rope.scaling.original_context_length")?;
        let factor = self.float("rope.scaling.attn_factor")?;
        Ok(Some(json!({
            "rope_type": "longrope", "short_factor": decimal(&short), "long_factor": decimal(&long),
            "original_max_position_embeddings": original, "attention_factor": factor,
        })))
    }

    fn experts(&mut self, family: Family) -> Result<()> {
        let count = match family {
            Family::Mixtral | Family::GptOss | Family::GraniteMoe => "num_local_experts",
            Family::DeepseekV2 => "n_routed_experts",
            _ => "num_experts",
        };
        self.put_size(count, "expert_count")?;
        self.put_size("num_experts_per_tok", "expert_used_count")?;
        let width = self.size("expert_feed_forward_length")?;
        match family {
            Family::Qwen2Moe | Family::Qwen3Moe => {
                let width = self.gguf.required(&self.key("expert_feed_forward_length"), width)?;
                self.put("moe_intermediate_size", width);
                self.put("norm_topk_prob", family == Family::Qwen3Moe);
                self.put("decoder_sparse_step", 1);
                self.put("mlp_only_layers", json!([]));
                if let Some(shared) = self.size("expert_shared_feed_forward_length")? {
                    self.put("shared_expert_intermediate_size", shared);
                }
            }
            Family::Olmoe => self.put("norm_topk_prob", false),
            Family::GptOss => {
                let width = self.gguf.required(&self.key("expert_feed_forward_length"), width)?;
                self.put("intermediate_size", width);
            }
            _ => {}
        }
        Ok(())
    }

    /// Gemma 2 and 3: windowed and full attention in turn, scores scaled by a number of their own.
    fn gemma(&mut self, family: Family) -> Result<()> {
        let layers = self.need("block_count")?;
        let d_head = self.need("attention.key_length")?;
        // Only the 27B models scale by a width other than the head's.
        let largest = if family == Family::Gemma2 { 46 } else { 62 };
        let heads = self.need("attention.head_count")?.max(1);
        let scalar = if layers == largest { self.need("embedding_length")? / heads } else { d_head };
        self.put("query_pre_attn_scalar", scalar);
        self.json.remove("hidden_act");
        self.put("hidden_activation", "gelu_pytorch_tanh");
        self.put_size("sliding_window", "attention.sliding_window")?;
        let attention = self.float("attn_logit_softcapping")?;
        self.put("attn_logit_softcapping", attention);
        let last = self.float("final_logit_softcapping")?;
        self.put("final_logit_softcapping", last);
        let period = if family == Family::Gemma2 { 2 } else { 6 };
        self.put_layer_types(layers, period);
        if family == Family::Gemma3 {
            self.put("sliding_window_pattern", period);
            let local = self.float("rope.freq_base_swa")?.unwrap_or(10_000.0);
            self.put("rope_local_base_freq", local);
        }
        Ok(())
    }

    /// Every `period`-th layer sees everything.
    fn put_layer_types(&mut self, layers: u64, period: u64) {
        let kind = |layer: u64| {
            if (layer + 1).is_multiple_of(period) { "full_attention" } else { "sliding_attention" }
        };
        // More layers than tensors make no model; the list must not be longer than the file.
        let layers = layers.min(self.gguf.header.tensors.len() as u64);
        self.put("layer_types", (0..layers).map(kind).collect::<Vec<_>>());
    }

    /// OLMo 3's files say `olmo2` and have a window.
    fn olmo(&mut self) -> Result<()> {
        if let Some(window) = self.size("attention.sliding_window")?.filter(|n| *n > 0) {
            self.put("model_type", "olmo3");
            self.put("sliding_window", window);
            let layers = self.need("block_count")?;
            self.put_layer_types(layers, 4);
        }
        Ok(())
    }

    fn phi(&mut self) -> Result<()> {
        let window = self.size("attention.sliding_window")?.filter(|n| *n > 0);
        self.put("sliding_window", window);
        let d_head = match self.size("attention.key_length")? {
            Some(length) => length,
            None => self.need("embedding_length")? / self.need("attention.head_count")?.max(1),
        };
        if let Some(rotated) = self.size("rope.dimension_count")? {
            self.put("partial_rotary_factor", rotated as f64 / d_head.max(1) as f64);
        }
        Ok(())
    }

    fn gpt_oss(&mut self) -> Result<()> {
        self.put_size("sliding_window", "attention.sliding_window")?;
        let layers = self.need("block_count")?;
        self.put_layer_types(layers, 2);
        self.put("swiglu_limit", 7.0);
        Ok(())
    }

    fn granite(&mut self) -> Result<()> {
        for (name, key) in [
            ("embedding_multiplier", "embedding_scale"),
            ("residual_multiplier", "residual_scale"),
            ("attention_multiplier", "attention.scale"),
            ("logits_scaling", "logit_scale"),
        ] {
            let number = self.float(key)?.unwrap_or(1.0);
            self.put(name, number);
        }
        Ok(())
    }

    fn deepseek(&mut self) -> Result<()> {
        let rotated = self.need("rope.dimension_count")?;
        let key = match self.size("attention.key_length_mla")? {
            Some(length) => length,
            None => self.need("attention.key_length")?,
        };
        let plain = key.checked_sub(rotated).ok_or_else(|| {
            self.gguf.problem(format!("keys of {key} numbers, of which {rotated} are rotated"))
        })?;
        self.put("qk_rope_head_dim", rotated);
        self.put("qk_nope_head_dim", plain);
        let value = match self.size("attention.value_length_mla")? {
            Some(length) => length,
            None => self.need("attention.value_length")?,
        };
        self.put("v_head_dim", value);
        self.put_size("kv_lora_rank", "attention.kv_lora_rank")?;
        let rank = self.size("attention.q_lora_rank")?.filter(|rank| *rank > 0);
        self.put("q_lora_rank", rank);
        let heads = self.need("attention.head_count")?;
        self.put("num_key_value_heads", heads);
        self.put_size("moe_intermediate_size", "expert_feed_forward_length")?;
        for (name, key) in [
            ("n_shared_experts", "expert_shared_count"),
            ("first_k_dense_replace", "leading_dense_block_count"),
            ("n_group", "expert_group_count"),
            ("topk_group", "expert_group_used_count"),
        ] {
            let size = self.size(key)?;
            self.put(name, size);
        }
        let scale = self.float("expert_weights_scale")?.unwrap_or(1.0);
        self.put("routed_scaling_factor", scale);
        let normalised = self.gguf.flag(&self.key("expert_weights_norm"))?.unwrap_or(false);
        self.put("norm_topk_prob", normalised);
        // llama.cpp numbers the functions: 1 softmax, 2 sigmoid. The latter is DeepSeek-V3's.
        if self.size("expert_gating_func")? == Some(2) {
            self.put("model_type", "deepseek_v3");
            self.put("scoring_func", "sigmoid");
        } else {
            self.put("scoring_func", "softmax");
        }
        Ok(())
    }

    /// The begin token is named only if texts begin with it.
    fn special_tokens(&mut self) -> Result<()> {
        let begins = self.gguf.begins_texts()?;
        for (name, key) in [("bos", "bos"), ("eos", "eos"), ("pad", "padding")] {
            let token = self.gguf.size(&format!("tokenizer.ggml.{key}_token_id"))?;
            let token = token.filter(|_| name != "bos" || begins);
            if let Some(token) = token {
                self.put(&format!("{name}_token_id"), token);
            }
        }
        Ok(())
    }
}

/// Numbers of a tensor as JSON has them.
fn decimal(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|n| as_written(f64::from(*n))).collect()
}

/// A number that was written as f32, as it was before that: 1e-6 and not 9.999999974752427e-7.
fn as_written(number: f64) -> f64 {
    let narrow = number as f32;
    if f64::from(narrow) == number { narrow.to_string().parse().unwrap_or(number) } else { number }
}

//! A model's `config.json`, read into one checked form.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Shape and switches of a decoder. Field names are Hugging Face's; what other families call the same is an alias.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Family, e.g. `olmoe`.
    pub model_type: String,
    /// Class names, as `transformers` wants them.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// Number of tokens V.
    pub vocab_size: usize,
    /// d_model.
    pub hidden_size: usize,
    /// Hidden units of one expert.
    pub intermediate_size: usize,
    /// Blocks.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub num_key_value_heads: usize,
    /// Activation of the MLP; `silu`.
    pub hidden_act: String,
    /// Longest context the model was made for.
    pub max_position_embeddings: usize,
    /// ε of the norms.
    #[serde(default = "default_eps")]
    pub rms_norm_eps: f64,
    /// Base of the rotary embedding.
    #[serde(default = "default_theta")]
    pub rope_theta: f64,
    /// Anything but null is not supported.
    #[serde(default)]
    pub rope_scaling: Option<serde_json::Value>,
    /// True if the output matrix is the embedding.
    #[serde(default)]
    pub tie_word_embeddings: bool,
    /// Experts a layer, E.
    #[serde(alias = "num_local_experts")]
    pub num_experts: usize,
    /// Experts a token, k.
    pub num_experts_per_tok: usize,
    /// True if the k weights are divided by their sum.
    #[serde(default)]
    pub norm_topk_prob: bool,
    /// Clipping of q, k, v; anything but null is not supported.
    #[serde(default)]
    pub clip_qkv: Option<f64>,
    /// Biases in attention; true is not supported.
    #[serde(default)]
    pub attention_bias: bool,
    /// Token that begins a context, if the model has one.
    #[serde(default)]
    pub bos_token_id: Option<u32>,
    /// Token that ends a document.
    #[serde(default)]
    pub eos_token_id: Option<u32>,
    /// Token that fills up a batch.
    #[serde(default)]
    pub pad_token_id: Option<u32>,
    /// Weight of the load-balancing loss in pretraining.
    #[serde(default)]
    pub router_aux_loss_coef: f64,
    /// Type of the stored weights.
    #[serde(default, alias = "dtype", skip_serializing_if = "Option::is_none")]
    pub torch_dtype: Option<String>,
}

fn default_eps() -> f64 {
    1e-5
}

fn default_theta() -> f64 {
    10_000.0
}

/// transformers 5 writes the rotary embedding as one object, which comes first there, and allows several end tokens.
fn newer_names(json: &mut serde_json::Value) {
    let Some(config) = json.as_object_mut() else { return };
    if let Some(serde_json::Value::Object(rope)) = config.remove("rope_parameters") {
        if let Some(theta) = rope.get("rope_theta") {
            config.insert("rope_theta".into(), theta.clone());
        }
        if rope.get("rope_type").is_some_and(|kind| kind != "default") {
            config.insert("rope_scaling".into(), rope.into());
        }
    }
    if let Some(serde_json::Value::Array(ends)) = config.get("eos_token_id") {
        let first = ends.first().cloned().unwrap_or_default();
        config.insert("eos_token_id".into(), first);
    }
}

impl Config {
    /// Reads and checks the text of a `config.json`; `path` is named in errors.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let mut json: serde_json::Value =
            serde_json::from_str(text).map_err(|e| Error::format(path, format!("is no valid JSON: {e}")))?;
        newer_names(&mut json);
        let family = json.get("model_type").and_then(|v| v.as_str()).unwrap_or("(none)").to_owned();
        if family != "olmoe" {
            return Err(Error::format(
                path,
                format!("model_type is `{family}`; this version reads `olmoe` (OlmoeForCausalLM)"),
            ));
        }
        let config: Self = serde_json::from_value(json).map_err(|e| Error::format(path, e.to_string()))?;
        config.check(path)?;
        Ok(config)
    }

    /// Number of numbers in a head.
    pub fn d_head(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    fn check(&self, path: &Path) -> Result<()> {
        let problem = |ok: bool, text: &str| if ok { Ok(()) } else { Err(Error::format(path, text)) };
        let sizes = [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("max_position_embeddings", self.max_position_embeddings),
            ("num_experts", self.num_experts),
            ("num_experts_per_tok", self.num_experts_per_tok),
        ];
        for (name, size) in sizes {
            problem((1..=1 << 24).contains(&size), &format!("{name} is {size}; expected 1 to 2^24"))?;
        }
        let heads = self.num_attention_heads;
        problem(
            self.hidden_size.is_multiple_of(2 * heads),
            "hidden_size must be an even multiple of num_attention_heads",
        )?;
        problem(
            heads.is_multiple_of(self.num_key_value_heads),
            "num_attention_heads must be a multiple of num_key_value_heads",
        )?;
        problem(
            self.num_experts_per_tok <= self.num_experts,
            "num_experts_per_tok is more than num_experts",
        )?;
        problem(self.num_experts <= 1 << 16, "num_experts is more than 65536")?;
        problem(self.hidden_act == "silu", &format!("hidden_act is `{}`; expected `silu`", self.hidden_act))?;
        problem(self.clip_qkv.is_none(), "clip_qkv is set; this version does not clip")?;
        problem(self.rope_scaling.is_none(), "rope_scaling is set; this version does not scale")?;
        problem(!self.attention_bias, "attention_bias is true; this version has none")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(change: impl FnOnce(&mut serde_json::Value)) -> String {
        let mut json = serde_json::json!({
            "model_type": "olmoe", "vocab_size": 32, "hidden_size": 16, "intermediate_size": 8,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "hidden_act": "silu",
            "max_position_embeddings": 64, "num_experts": 4, "num_experts_per_tok": 2
        });
        change(&mut json);
        json.to_string()
    }

    #[test]
    fn defaults_are_those_of_the_family() {
        let config = Config::parse(&text(|_| {}), Path::new("c")).unwrap();
        assert_eq!((config.rms_norm_eps, config.rope_theta, config.norm_topk_prob), (1e-5, 1e4, false));
        assert_eq!(config.d_head(), 4);
    }

    #[test]
    fn names_of_transformers_5_are_read() {
        let newer = |kind: &str| {
            let rope = serde_json::json!({"rope_theta": 500.0, "rope_type": kind});
            text(|json| {
                json["rope_parameters"] = rope;
                json["eos_token_id"] = serde_json::json!([7, 8]);
            })
        };
        let config = Config::parse(&newer("default"), Path::new("c")).unwrap();
        assert_eq!((config.rope_theta, config.eos_token_id), (500.0, Some(7)));
        let error = Config::parse(&newer("yarn"), Path::new("c")).unwrap_err().to_string();
        assert!(error.contains("rope_scaling"), "{error}");
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let cases: [(&str, serde_json::Value); 6] = [
            ("model_type", "gpt2".into()),
            ("hidden_act", "gelu".into()),
            ("clip_qkv", 8.0.into()),
            ("num_experts_per_tok", 5.into()),
            ("hidden_size", 0.into()),
            ("num_key_value_heads", 3.into()),
        ];
        for (key, value) in cases {
            let error =
                Config::parse(&text(|json| json[key] = value), Path::new("x/config.json")).unwrap_err();
            let message = error.to_string();
            assert!(message.starts_with("x/config.json: ") && message.contains(key), "{message}");
        }
        assert!(Config::parse("{", Path::new("c")).is_err());
    }
}

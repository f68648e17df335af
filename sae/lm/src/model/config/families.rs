//! What each family's `config.json` says and leaves unsaid. Defaults are those of the family's class in transformers 5.23.

use std::path::Path;

use serde_json::Value;

use super::fields::Fields;
use super::moe::ExpertNaming;
use super::rope::RopeFields;
use super::{
    Activation, AttentionConfig, BlockConfig, BlockForm, Config, DenseConfig, ExpertsConfig, Groups,
    LatentConfig, MlpConfig, NormConfig, NormKind, QkNorm, RopeConfig, RouterConfig, Score, Shared,
    TensorLayout,
};
use crate::Result;

/// Families that are read, as `model_type` names them.
const FAMILIES: [&str; 19] = [
    "deepseek_v2",
    "deepseek_v3",
    "gemma2",
    "gemma3",
    "gemma3_text",
    "gpt2",
    "gpt_neox",
    "gpt_oss",
    "granite",
    "granitemoe",
    "granitemoeshared",
    "llama",
    "mistral",
    "mixtral",
    "olmoe",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
];

/// Blocks of a model at most; the largest known have fewer than 200.
const MOST_BLOCKS: usize = 4096;

/// One family's reading of one file.
struct Family<'a> {
    kind: &'a str,
    fields: Fields<'a>,
    d_model: usize,
    layers: usize,
}

/// Reads a configuration; shapes are not yet checked against each other.
pub(super) fn read(json: &Value, path: &Path) -> Result<Config> {
    let mut fields = Fields::new(json, path)?;
    let mut kind = fields.text(&["model_type"])?.unwrap_or("(none)");
    if kind == "gemma3" {
        // The model that also sees pictures keeps the language model's configuration inside its own.
        fields = fields.object("text_config")?.ok_or_else(|| fields.error("has no text_config"))?;
        kind = "gemma3_text";
    }
    if kind == "switch_transformers" {
        return Err(fields.error(
            "model_type is `switch_transformers`, an encoder with a decoder; this program reads decoder-only models",
        ));
    }
    if !FAMILIES.contains(&kind) {
        return Err(
            fields.error(format!("model_type is `{kind}`; this version reads {}", FAMILIES.join(", ")))
        );
    }
    if let Some((_, quantised)) = fields.get(&["quantization_config"]) {
        let method = quantised.get("quant_method").and_then(Value::as_str).unwrap_or("some method");
        // The experts of GPT-OSS, which are dequantised when they are taken.
        if (kind, method) != ("gpt_oss", "mxfp4") {
            let remedy = "take the same model in f32, f16 or bf16, or as a GGUF file";
            return Err(fields
                .error(format!("the weights are quantised by {method} (quantization_config); {remedy}")));
        }
    }
    let d_model = fields.needed(&["hidden_size", "n_embd"])?;
    let layers = fields.needed(&["num_hidden_layers", "n_layer"])?;
    if layers == 0 || layers > MOST_BLOCKS {
        return Err(fields.error(format!("num_hidden_layers is {layers}; expected 1 to {MOST_BLOCKS}")));
    }
    Family { kind, fields, d_model, layers }.config()
}

impl<'a> Family<'a> {
    fn is(&self, kinds: &[&str]) -> bool {
        kinds.contains(&self.kind)
    }

    fn is_gemma(&self) -> bool {
        self.is(&["gemma2", "gemma3_text"])
    }

    fn is_granite(&self) -> bool {
        self.is(&["granite", "granitemoe", "granitemoeshared"])
    }

    fn config(&self) -> Result<Config> {
        let f = &self.fields;
        let granite = |name| if self.is_granite() { f.number(&[name]) } else { Ok(None) };
        let tied = self.is_gemma() || self.kind == "gpt2";
        let root = if self.is_gemma() { (self.d_model as f64).sqrt() } else { 1.0 };
        Ok(Config {
            model_type: self.kind.to_owned(),
            layout: match self.kind {
                "gpt2" => TensorLayout::Gpt2,
                "gpt_neox" => TensorLayout::NeoX,
                _ => TensorLayout::Llama,
            },
            vocab_size: f.needed(&["vocab_size"])?,
            hidden_size: self.d_model,
            num_hidden_layers: self.layers,
            max_position_embeddings: f.needed(&["max_position_embeddings", "n_positions", "n_ctx"])?,
            learned_positions: self.kind == "gpt2",
            embedding_scale: granite("embedding_multiplier")?.unwrap_or(root),
            tie_word_embeddings: f.flag("tie_word_embeddings", tied)?,
            final_norm: self.norm()?,
            logit_scale: 1.0 / granite("logits_scaling")?.unwrap_or(1.0),
            logit_cap: f.number(&["final_logit_softcapping"])?,
            bos_token_id: f.token("bos_token_id")?,
            eos_token_id: f.token("eos_token_id")?,
            blocks: (0..self.layers).map(|layer| self.block(layer)).collect::<Result<_>>()?,
        })
    }

    fn norm(&self) -> Result<NormConfig> {
        let kind = match self.kind {
            "gpt2" | "gpt_neox" => NormKind::Layer,
            _ if self.is_gemma() => NormKind::RmsPlusOne,
            _ => NormKind::Rms,
        };
        let default = match self.kind {
            "gpt2" | "gpt_neox" | "olmoe" | "mixtral" | "gpt_oss" => 1e-5,
            _ => 1e-6,
        };
        let eps = self.fields.number(&["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"])?;
        Ok(NormConfig { kind, eps: eps.unwrap_or(default) })
    }

    fn block(&self, layer: usize) -> Result<BlockConfig> {
        let form = match self.kind {
            "gpt_neox" if self.fields.flag("use_parallel_residual", true)? => BlockForm::Parallel,
            _ if self.is_gemma() => BlockForm::Sandwich,
            _ => BlockForm::Sequential,
        };
        let scale = if self.is_granite() { self.fields.number(&["residual_multiplier"])? } else { None };
        Ok(BlockConfig {
            norm: self.norm()?,
            form,
            residual_scale: scale.unwrap_or(1.0),
            attention: self.attention(layer)?,
            mlp: self.mlp(layer)?,
        })
    }

    /// Whether the layer sees a window only: said layer by layer, or by the family's rule.
    fn slides(&self, layer: usize) -> Result<bool> {
        if let Some(kinds) = self.fields.list("layer_types")? {
            return match kinds.get(layer).and_then(Value::as_str) {
                Some("sliding_attention") => Ok(true),
                Some("full_attention") => Ok(false),
                other => Err(self.fields.error(format!(
                    "layer_types has {other:?} for layer {layer}; expected sliding_attention or full_attention"
                ))),
            };
        }
        let chosen = self.fields.flag("use_sliding_window", false)?;
        let first = self.fields.size(&["max_window_layers"])?.unwrap_or(28);
        let pattern = self.fields.size(&["sliding_window_pattern", "_sliding_window_pattern"])?.unwrap_or(6);
        Ok(match self.kind {
            "mistral" | "mixtral" => true,
            "qwen2" | "qwen3" => chosen && layer >= first,
            "qwen2_moe" => chosen && layer < first && layer.is_multiple_of(2),
            "qwen3_moe" => chosen,
            "gemma2" | "gpt_oss" => layer.is_multiple_of(2),
            "gemma3_text" => pattern == 0 || !(layer + 1).is_multiple_of(pattern),
            _ => false,
        })
    }

    fn attention(&self, layer: usize) -> Result<AttentionConfig> {
        let f = &self.fields;
        let heads = f.needed(&["num_attention_heads", "n_head"])?;
        let latent = self.latent()?;
        let default = match self.kind {
            "qwen3" => 128,
            "gemma2" | "gemma3_text" => 256,
            "gpt_oss" => 64,
            _ => self.d_model / heads.max(1),
        };
        let own = f.size(&["head_dim"])?.unwrap_or(default);
        let d_head = latent.map_or(own, |l| l.d_nope + l.d_rope);
        let slides = self.slides(layer)?;
        let bias = match self.kind {
            "gpt2" => true,
            "qwen2" => true,
            "qwen2_moe" => f.flag("qkv_bias", true)?,
            "gpt_neox" | "gpt_oss" => f.flag("attention_bias", true)?,
            _ => f.flag("attention_bias", false)?,
        };
        let one_kv_head_a_head = self.is(&["gpt2", "gpt_neox", "deepseek_v2", "deepseek_v3"]);
        let kv_heads = if one_kv_head_a_head { None } else { f.size(&["num_key_value_heads"])? };
        Ok(AttentionConfig {
            heads,
            kv_heads: kv_heads.unwrap_or(heads),
            d_head,
            d_value: if latent.is_some() { f.needed(&["v_head_dim"])? } else { d_head },
            scale: self.attention_scale(layer, d_head)?,
            soft_cap: f.number(&["attn_logit_softcapping"])?,
            window: if slides { f.size(&["sliding_window"])? } else { None },
            sinks: self.kind == "gpt_oss",
            qkv_bias: bias && latent.is_none(),
            out_bias: bias && !self.is(&["qwen2", "qwen2_moe"]),
            clip: f.number(&["clip_qkv"])?,
            qk_norm: self.qk_norm()?,
            rope: self.rope(slides, d_head, latent)?,
            latent,
        })
    }

    fn attention_scale(&self, layer: usize, d_head: usize) -> Result<f64> {
        let f = &self.fields;
        let root = |n: f64| 1.0 / n.sqrt();
        Ok(match self.kind {
            "gpt2" => {
                f.only("scale_attn_weights", true)?;
                let inverse = f.flag("scale_attn_by_inverse_layer_idx", false)?;
                root(d_head as f64) / if inverse { (layer + 1) as f64 } else { 1.0 }
            }
            "gemma2" | "gemma3_text" => root(f.number(&["query_pre_attn_scalar"])?.unwrap_or(256.0)),
            "deepseek_v2" | "deepseek_v3" => {
                root(d_head as f64) * RopeFields::new(self.fields, None)?.scale_correction()?
            }
            _ if self.is_granite() => f.number(&["attention_multiplier"])?.unwrap_or(1.0),
            _ => root(d_head as f64),
        })
    }

    fn qk_norm(&self) -> Result<Option<QkNorm>> {
        let norm = self.norm()?;
        Ok(match self.kind {
            "olmoe" => Some(QkNorm { per_head: false, norm }),
            "qwen3" | "qwen3_moe" | "gemma3_text" => Some(QkNorm { per_head: true, norm }),
            _ => None,
        })
    }

    fn latent(&self) -> Result<Option<LatentConfig>> {
        if !self.is(&["deepseek_v2", "deepseek_v3"]) {
            return Ok(None);
        }
        let f = &self.fields;
        if f.flag("attention_bias", false)? {
            return Err(f.error("attention_bias is true; this version reads latent attention without biases"));
        }
        Ok(Some(LatentConfig {
            q_rank: f.size(&["q_lora_rank"])?,
            kv_rank: f.needed(&["kv_lora_rank"])?,
            d_nope: f.needed(&["qk_nope_head_dim"])?,
            d_rope: f.needed(&["qk_rope_head_dim"])?,
            // Not rms_norm_eps: the class's own default.
            eps: 1e-6,
        }))
    }

    fn rope(&self, slides: bool, d_head: usize, latent: Option<LatentConfig>) -> Result<Option<RopeConfig>> {
        if self.kind == "gpt2" {
            return Ok(None);
        }
        let f = self.fields;
        let layer_kind = if slides { "sliding_attention" } else { "full_attention" };
        let of_kind = (self.kind == "gemma3_text").then_some(layer_kind);
        let rope = RopeFields::new(f, of_kind)?;
        // Gemma 3 as transformers 4 wrote it: local layers have a base of their own and are not stretched.
        if of_kind.is_some() && slides && f.object("rope_parameters")?.is_none() {
            let theta = f.number(&["rope_local_base_freq"])?.unwrap_or(1e4);
            return Ok(Some(RopeConfig {
                theta,
                dims: d_head,
                interleaved: false,
                scaling: super::Scaling::None,
            }));
        }
        let default = match (self.kind, slides) {
            ("gemma3_text", true) => 1e4,
            ("gemma3_text", false) | ("mixtral", _) => 1e6,
            ("gpt_oss", _) => 150_000.0,
            _ => 1e4,
        };
        let share = match (rope.number("partial_rotary_factor")?, self.kind) {
            (Some(share), _) => share,
            (None, "gpt_neox") => f.number(&["rotary_pct"])?.unwrap_or(0.25),
            (None, _) => 1.0,
        };
        Ok(Some(RopeConfig {
            theta: rope.theta(&["rope_theta", "rotary_emb_base"], default)?,
            dims: latent.map_or((d_head as f64 * share) as usize, |l| l.d_rope),
            interleaved: match self.kind {
                "deepseek_v2" => true,
                "deepseek_v3" => f.flag("rope_interleave", true)?,
                _ => false,
            },
            scaling: rope.scaling()?,
        }))
    }

    fn activation(&self) -> Result<Activation> {
        let names = ["hidden_activation", "hidden_act", "activation_function"];
        let default = match self.kind {
            "gpt2" => "gelu_new",
            "gpt_neox" => "gelu",
            "gemma2" | "gemma3_text" => "gelu_pytorch_tanh",
            _ => "silu",
        };
        match self.fields.text(&names)?.unwrap_or(default) {
            "silu" | "swish" => Ok(Activation::Silu),
            // Gemma's first configurations say `gelu` and mean the approximation; their hidden_activation says so.
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            other => Err(self.fields.error(format!(
                "hidden_act is `{other}`; this version reads silu, gelu, gelu_new, gelu_pytorch_tanh and relu"
            ))),
        }
    }

    /// A dense MLP of `hidden` units.
    fn dense(&self, hidden: usize, bias: bool) -> Result<DenseConfig> {
        let gated = !self.is(&["gpt2", "gpt_neox"]);
        Ok(DenseConfig { hidden, activation: self.activation()?, gated, bias, joined: false })
    }

    fn mlp(&self, layer: usize) -> Result<MlpConfig> {
        let f = &self.fields;
        if self.has_experts(layer)? {
            return Ok(MlpConfig::Experts(self.experts()?));
        }
        let hidden = match self.kind {
            "gpt2" => f.size(&["n_inner"])?.unwrap_or(4 * self.d_model),
            _ => f.needed(&["intermediate_size"])?,
        };
        let bias = !self.is(&["gpt2", "gpt_neox"]);
        let bias = if bias { f.flag("mlp_bias", false)? } else { true };
        Ok(MlpConfig::Dense(self.dense(hidden, bias)?))
    }

    fn has_experts(&self, layer: usize) -> Result<bool> {
        let f = &self.fields;
        Ok(match self.kind {
            "olmoe" | "mixtral" | "gpt_oss" | "granitemoe" | "granitemoeshared" => true,
            "qwen2_moe" | "qwen3_moe" => {
                let dense = f.list("mlp_only_layers")?.unwrap_or_default();
                let step = f.size(&["decoder_sparse_step"])?.unwrap_or(1);
                let named = dense.iter().any(|l| l.as_u64() == Some(layer as u64));
                !named && step > 0 && (layer + 1).is_multiple_of(step)
            }
            "deepseek_v2" | "deepseek_v3" => {
                let default = if self.kind == "deepseek_v3" { 3 } else { 0 };
                if f.size(&["moe_layer_freq"])?.is_some_and(|n| n != 1) {
                    return Err(f.error("moe_layer_freq is not 1; this version reads 1 only"));
                }
                layer >= f.size(&["first_k_dense_replace"])?.unwrap_or(default)
            }
            _ => false,
        })
    }

    fn experts(&self) -> Result<ExpertsConfig> {
        let f = &self.fields;
        let names = ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"];
        let hidden = match self.is(&["qwen2_moe", "qwen3_moe", "deepseek_v2", "deepseek_v3"]) {
            true => f.needed(&["moe_intermediate_size"])?,
            false => f.needed(&["intermediate_size"])?,
        };
        let clamped = || -> Result<Activation> {
            Ok(Activation::ClampedSwiglu {
                alpha: f.number(&["swiglu_alpha"])?.unwrap_or(1.702),
                limit: f.number(&["swiglu_limit"])?.unwrap_or(7.0),
            })
        };
        let gpt_oss = self.kind == "gpt_oss";
        Ok(ExpertsConfig {
            experts: f.needed(&names)?,
            k: f.needed(&["num_experts_per_tok", "moe_topk", "moe_top_k"])?,
            hidden,
            activation: if gpt_oss { clamped()? } else { self.activation()? },
            bias: gpt_oss,
            router: self.router()?,
            shared: self.shared(hidden)?,
            naming: match self.kind {
                "mixtral" => ExpertNaming::Mixtral,
                "gpt_oss" => ExpertNaming::GptOss,
                "granitemoe" | "granitemoeshared" => ExpertNaming::Granite,
                _ => ExpertNaming::Mlp,
            },
        })
    }

    fn router(&self) -> Result<RouterConfig> {
        let f = &self.fields;
        let plain = RouterConfig {
            score: Score::Softmax,
            bias: false,
            correction: false,
            groups: None,
            normalise: f.flag("norm_topk_prob", self.is(&["mixtral", "deepseek_v3"]))?,
            scale: 1.0,
            capacity: None,
        };
        let scale = f.number(&["routed_scaling_factor"])?;
        Ok(match self.kind {
            "mixtral" => RouterConfig { normalise: true, ..plain },
            "gpt_oss" => {
                RouterConfig { score: Score::SoftmaxOfChosen, bias: true, normalise: false, ..plain }
            }
            "granitemoe" | "granitemoeshared" => {
                RouterConfig { score: Score::SoftmaxOfChosen, normalise: false, ..plain }
            }
            "deepseek_v2" => {
                f.only("norm_topk_prob", false)?;
                self.said("scoring_func", "softmax")?;
                let groups = match f.text(&["topk_method"])?.unwrap_or("greedy") {
                    "greedy" => None,
                    "group_limited_greedy" => Some(self.groups(1)?),
                    other => {
                        let known = "greedy and group_limited_greedy";
                        return Err(f.error(format!("topk_method is `{other}`; this version reads {known}")));
                    }
                };
                RouterConfig { groups, scale: scale.unwrap_or(1.0), normalise: false, ..plain }
            }
            "deepseek_v3" => {
                self.said("scoring_func", "sigmoid")?;
                self.said("topk_method", "noaux_tc")?;
                RouterConfig {
                    score: Score::Sigmoid,
                    correction: true,
                    groups: Some(self.groups(2)?),
                    scale: scale.unwrap_or(2.5),
                    ..plain
                }
            }
            _ => plain,
        })
    }

    /// A switch that this program knows in one position.
    fn said(&self, name: &'a str, only: &str) -> Result<()> {
        match self.fields.text(&[name])? {
            Some(other) if other != only => {
                Err(self.fields.error(format!("{name} is `{other}`; this version reads `{only}`")))
            }
            _ => Ok(()),
        }
    }

    fn groups(&self, best: usize) -> Result<Groups> {
        let v3 = self.kind == "deepseek_v3";
        let or = |value: Option<usize>, default: usize| value.unwrap_or(if v3 { default } else { 1 });
        Ok(Groups {
            count: or(self.fields.size(&["n_group"])?, 8),
            keep: or(self.fields.size(&["topk_group"])?, 4),
            best,
        })
    }

    fn shared(&self, hidden: usize) -> Result<Option<Shared>> {
        let f = &self.fields;
        let shared = match self.kind {
            "qwen2_moe" => f.size(&["shared_expert_intermediate_size"])?.or(Some(5632)),
            "deepseek_v2" | "deepseek_v3" => {
                let default = if self.kind == "deepseek_v3" { 1 } else { 2 };
                Some(f.size(&["n_shared_experts"])?.unwrap_or(default).saturating_mul(hidden))
            }
            "granitemoeshared" => f.size(&["shared_intermediate_size"])?,
            _ => None,
        };
        let Some(hidden) = shared.filter(|n| *n > 0) else { return Ok(None) };
        let joined = self.kind == "granitemoeshared";
        let mlp = DenseConfig { joined, ..self.dense(hidden, false)? };
        Ok(Some(Shared { mlp, gated: self.kind == "qwen2_moe" }))
    }
}

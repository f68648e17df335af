//! What each family's attention is.

use serde_json::Value;

use super::families::Family;
use super::rope::RopeFields;
use super::{AttentionConfig, LatentConfig, QkNorm, RopeConfig, Scaling};
use crate::Result;

impl Family<'_> {
    /// Whether the layer sees a window only: given layer by layer, or by the family's rule.
    pub fn slides(&self, layer: usize) -> Result<bool> {
        // transformers makes the last layer see everything, whatever its configuration has.
        if self.is_gemma_4() && layer + 1 == self.layers {
            return Ok(false);
        }
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
        let pattern = self.fields.size(&["sliding_window_pattern", "_sliding_window_pattern"])?;
        let every = |n: usize| n == 0 || !(layer + 1).is_multiple_of(n);
        Ok(match self.kind {
            "mistral" | "ministral" | "ministral3" | "mixtral" | "phi3" => true,
            "qwen2" | "qwen3" => chosen && layer >= first,
            "qwen2_moe" => chosen && layer < first && layer.is_multiple_of(2),
            "qwen3_moe" => chosen,
            "smollm3" => chosen && !self.rotates(layer)?,
            "gemma2" | "gpt_oss" => layer.is_multiple_of(2),
            "gemma3_text" => every(pattern.unwrap_or(6)),
            "gemma3n_text" => every(5),
            "gemma4_text" | "gemma4_unified_text" => every(6),
            "olmo3" => every(4),
            _ => false,
        })
    }

    /// Whether the layer turns queries and keys by their position: SmolLM3 leaves every fourth layer alone.
    fn rotates(&self, layer: usize) -> Result<bool> {
        match self.kind {
            "gpt2" => Ok(false),
            "smollm3" => {
                if let Some(list) = self.fields.list("no_rope_layers")? {
                    return match list.get(layer).and_then(Value::as_u64) {
                        Some(rotates) => Ok(rotates != 0),
                        None => {
                            Err(self.fields.error(format!("no_rope_layers says nothing of layer {layer}")))
                        }
                    };
                }
                let interval = self.fields.size(&["no_rope_layer_interval"])?.unwrap_or(4);
                Ok(interval == 0 || !(layer + 1).is_multiple_of(interval))
            }
            _ => Ok(true),
        }
    }

    /// Attention of a layer.
    ///
    /// # Errors
    /// A field that is missing, has the wrong type or a value that this version does not read, with its name.
    pub fn attention(&self, layer: usize) -> Result<AttentionConfig> {
        let f = &self.fields;
        let heads = f.needed(&["num_attention_heads", "n_head"])?;
        let latent = self.latent()?;
        let default = match self.kind {
            "qwen3" => 128,
            _ if self.is_gemma() => 256,
            "gpt_oss" => 64,
            "ministral3" => 128,
            _ => self.d_model / heads.max(1),
        };
        let own = f.size(&["head_dim"])?.unwrap_or(default);
        let of_layer = |name| if self.is_gemma_4() { self.of_layer(layer, name) } else { Ok(None) };
        let own = of_layer("head_dim")?.unwrap_or(own);
        let d_head = latent.map_or(own, |l| l.d_nope + l.d_rope);
        let slides = self.slides(layer)?;
        let bias = match self.kind {
            "gpt2" => true,
            "qwen2" => true,
            "qwen2_moe" => f.flag("qkv_bias", true)?,
            "gpt_neox" | "gpt_oss" => f.flag("attention_bias", true)?,
            _ => f.flag("attention_bias", false)?,
        };
        let one_kv_head_a_head = self.is(&["gpt2", "gpt_neox"]) || latent.is_some();
        let kv_heads = if one_kv_head_a_head { None } else { f.size(&["num_key_value_heads"])? };
        let kv_heads = of_layer("num_key_value_heads")?.or(kv_heads);
        let shares = self.shares(layer)?;
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
            rope: if self.rotates(layer)? { Some(self.rope(slides, d_head, latent)?) } else { None },
            latent,
            value_norm: self.is_gemma_3n() || self.is_gemma_4(),
            keys_are_values: self.is_gemma_4() && !slides && f.flag("attention_k_eq_v", false)?,
            shares,
            lends: self.lends(layer)?,
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
            "deepseek_v2" | "deepseek_v3" | "mistral4" => {
                root(d_head as f64) * RopeFields::new(self.fields, None)?.scale_correction()?
            }
            _ if self.is_granite() => f.number(&["attention_multiplier"])?.unwrap_or(1.0),
            // Their queries are normed.
            _ if self.is_gemma_3n() || self.is_gemma_4() => 1.0,
            _ => root(d_head as f64),
        })
    }

    fn qk_norm(&self) -> Result<Option<QkNorm>> {
        let norm = self.norm()?;
        Ok(match self.kind {
            "olmo2" | "olmo3" | "olmoe" => Some(QkNorm { per_head: false, norm }),
            "qwen3" | "qwen3_moe" | "gemma3_text" => Some(QkNorm { per_head: true, norm }),
            _ if self.is_gemma_3n() || self.is_gemma_4() => Some(QkNorm { per_head: true, norm }),
            _ => None,
        })
    }

    fn latent(&self) -> Result<Option<LatentConfig>> {
        if !self.is(&["deepseek_v2", "deepseek_v3", "mistral4"]) {
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

    /// The longest context, as far as it is computed as transformers does.
    ///
    /// # Errors
    /// None of `max_position_embeddings`, `n_positions` and `n_ctx`, or one that is not a size; LongRoPE's
    /// lists.
    pub fn positions(&self) -> Result<usize> {
        let all = self.fields.needed(&["max_position_embeddings", "n_positions", "n_ctx"])?;
        // Beyond its first context, LongRoPE turns by other rates, and Ministral 3 scales queries by their position.
        let Some(limit) = RopeFields::new(self.fields, None)?.first_context()? else { return Ok(all) };
        Ok(all.min(limit))
    }

    fn rope(&self, slides: bool, d_head: usize, latent: Option<LatentConfig>) -> Result<RopeConfig> {
        let f = self.fields;
        let layer_kind = if slides { "sliding_attention" } else { "full_attention" };
        let later_gemma = self.is(&["gemma3_text"]) || self.is_gemma_3n() || self.is_gemma_4();
        let of_kind = (later_gemma || self.is(&["olmo3"])).then_some(layer_kind);
        let rope = RopeFields::new(f, of_kind)?;
        let default = match (self.kind, slides) {
            _ if later_gemma => {
                if slides {
                    1e4
                } else {
                    1e6
                }
            }
            ("mixtral" | "ministral3", _) => 1e6,
            ("gpt_oss", _) => 150_000.0,
            ("olmo3", _) => 500_000.0,
            ("smollm3", _) => 2_000_000.0,
            _ => 1e4,
        };
        // As transformers 4 wrote it: local layers are not stretched, and Gemma's have a base of their own.
        if of_kind.is_some() && slides && f.object(&["rope_parameters"])?.is_none() {
            let names: &[&str] = if later_gemma { &["rope_local_base_freq"] } else { &["rope_theta"] };
            let theta = f.number(names)?.unwrap_or(default);
            return Ok(RopeConfig { theta, dims: d_head, interleaved: false, scaling: Scaling::None });
        }
        let scaling = match rope.scaling()? {
            // What its class makes where the configuration has nothing.
            Scaling::None if self.is_gemma_4() && !slides && !rope.is_given() => {
                Scaling::Proportional { share: 0.25, factor: 1.0 }
            }
            given => given,
        };
        let share = match (rope.number("partial_rotary_factor")?, self.kind) {
            // Their class turns a whole head; what is not to turn has the rate 0.
            _ if self.is_gemma_4() || matches!(scaling, Scaling::Proportional { .. }) => 1.0,
            (Some(share), _) => share,
            (None, "gpt_neox") => f.number(&["rotary_pct"])?.unwrap_or(0.25),
            (None, "phi3") => f.number(&["partial_rotary_factor"])?.unwrap_or(1.0),
            (None, _) => 1.0,
        };
        Ok(RopeConfig {
            theta: rope.theta(&["rope_theta", "rotary_emb_base"], default)?,
            dims: latent.map_or((d_head as f64 * share) as usize, |l| l.d_rope),
            interleaved: match self.kind {
                "deepseek_v2" => true,
                "deepseek_v3" | "mistral4" => f.flag("rope_interleave", true)?,
                _ => false,
            },
            scaling,
        })
    }
}

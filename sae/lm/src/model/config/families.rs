//! What each family's `config.json` says and leaves unsaid. What it leaves to the family's class is in
//! `defaults.json`, which `tests/parity/defaults.py` writes from transformers 5.23.

use std::path::Path;

use serde_json::Value;

use super::fields::Fields;
use super::refused;
use super::text_part::text_part;
use super::{
    Activation, BlockConfig, BlockForm, Config, DenseConfig, MlpConfig, NormConfig, NormKind, TensorLayout,
};
use crate::Result;

/// Families that are read, as `model_type` names them.
pub(super) const FAMILIES: [&str; 32] = [
    "arcee",
    "deepseek_v2",
    "deepseek_v3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "gemma3n_text",
    "gemma4_text",
    "gemma4_unified_text",
    "gpt2",
    "gpt_neox",
    "gpt_oss",
    "granite",
    "granitemoe",
    "granitemoeshared",
    "llama",
    "ministral",
    "ministral3",
    "mistral",
    "mistral4",
    "mixtral",
    "monet",
    "olmo2",
    "olmo3",
    "olmoe",
    "phi3",
    "plain_moe",
    "qwen2",
    "qwen2_moe",
    "qwen3",
    "qwen3_moe",
    "smollm3",
];

/// Language models inside others that are built like one of the families; only the defaults of their classes
/// are their own. With text alone, the three positions of Qwen's rotary embedding are one.
const BUILT_LIKE: [(&str, &str); 3] =
    [("qwen2_vl_text", "qwen2"), ("qwen2_5_vl_text", "qwen2"), ("qwen3_vl_text", "qwen3")];

/// Blocks of a model at most; the largest known have fewer than 200.
const MOST_BLOCKS: usize = 4096;

/// One family's reading of one file.
pub(super) struct Family<'a> {
    pub kind: &'a str,
    pub fields: Fields<'a>,
    pub d_model: usize,
    pub layers: usize,
}

/// Reads a configuration; shapes are not yet checked against each other.
pub(super) fn read(json: &Value, path: &Path) -> Result<Config> {
    let json = text_part(json, path)?;
    let fields = Fields::new(&json, path)?;
    let own = fields.text(&["model_type"])?.unwrap_or("(none)");
    let kind = BUILT_LIKE.iter().find(|(name, _)| *name == own).map_or(own, |(_, like)| like);
    if !FAMILIES.contains(&kind) {
        return Err(refused::error(kind, &FAMILIES, path));
    }
    let fields = fields.with_defaults_of(own);
    if let Some((_, quantised)) = fields.get(&["quantization_config"]) {
        let method = quantised.get("quant_method").and_then(Value::as_str).unwrap_or("some method");
        // The experts of GPT-OSS, which are dequantised when they are taken.
        if (kind, method) != ("gpt_oss", "mxfp4") {
            return Err(fields
                .error(format!("the weights are quantised by {method} (quantization_config)"))
                .with_remedy("take the same model in f32, f16 or bf16, or as a GGUF file"));
        }
    }
    let d_model = fields.needed(&["hidden_size", "n_embd"])?;
    let layers = fields.needed(&["num_hidden_layers", "n_layer"])?;
    if layers == 0 || layers > MOST_BLOCKS {
        return Err(fields.error(format!("num_hidden_layers is {layers}; expected 1 to {MOST_BLOCKS}")));
    }
    Family { kind, fields, d_model, layers }.config()
}

impl Family<'_> {
    pub fn is(&self, kinds: &[&str]) -> bool {
        kinds.contains(&self.kind)
    }

    pub fn is_gemma(&self) -> bool {
        self.is(&["gemma", "gemma2", "gemma3_text"]) || self.is_gemma_3n() || self.is_gemma_4()
    }

    pub fn is_granite(&self) -> bool {
        self.is(&["granite", "granitemoe", "granitemoeshared"])
    }

    fn config(&self) -> Result<Config> {
        let f = &self.fields;
        let granite = |name| if self.is_granite() { f.number(&[name]) } else { Ok(None) };
        let tied = self.is_gemma() || self.is(&["gpt2", "smollm3"]);
        let root = if self.is_gemma() { (self.d_model as f64).sqrt() } else { 1.0 };
        self.only_causal()?;
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
            max_position_embeddings: self.positions()?,
            learned_positions: self.kind == "gpt2",
            embedding_scale: granite("embedding_multiplier")?.unwrap_or(root),
            tie_word_embeddings: f.flag("tie_word_embeddings", tied)?,
            final_norm: self.norm()?,
            logit_scale: 1.0 / granite("logits_scaling")?.unwrap_or(1.0),
            logit_cap: f.number(&["final_logit_softcapping"])?,
            bos_token_id: f.token("bos_token_id")?,
            eos_token_id: f.token("eos_token_id")?,
            streams: self.streams()?,
            per_layer: self.per_layer()?,
            blocks: (0..self.layers).map(|layer| self.block(layer)).collect::<Result<_>>()?,
        })
    }

    /// EmbeddingGemma: every token sees every other, so a row would depend on what follows. Gemma 4 lets the
    /// parts of a picture do so (`vision`), which no text has.
    fn only_causal(&self) -> Result<()> {
        let name = "use_bidirectional_attention";
        match self.fields.get(&[name]) {
            Some((_, Value::String(who))) if who == "vision" => Ok(()),
            Some((_, Value::String(who))) => Err(self
                .fields
                .error(format!("{name} is `{who}`: a token's activation depends on the tokens after it"))),
            _ => self.fields.only(name, false),
        }
    }

    /// The norms' kind and ε.
    ///
    /// # Errors
    /// An ε that is not a finite number.
    pub fn norm(&self) -> Result<NormConfig> {
        let kind = match self.kind {
            "gpt2" | "gpt_neox" => NormKind::Layer,
            "gemma" | "gemma2" | "gemma3_text" => NormKind::RmsPlusOne,
            _ => NormKind::Rms,
        };
        let eps = self.fields.number(&["rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon"])?;
        Ok(NormConfig { kind, eps: eps.unwrap_or(1e-6) })
    }

    fn block(&self, layer: usize) -> Result<BlockConfig> {
        let form = match self.kind {
            "gpt_neox" if self.fields.flag("use_parallel_residual", true)? => BlockForm::Parallel,
            "olmo2" | "olmo3" => BlockForm::PostNorm,
            "gemma" => BlockForm::Sequential,
            _ if self.is_gemma() => BlockForm::Sandwich,
            _ => BlockForm::Sequential,
        };
        let scale = if self.is_granite() { self.fields.number(&["residual_multiplier"])? } else { None };
        Ok(BlockConfig {
            norm: self.norm()?,
            form,
            residual_scale: scale.unwrap_or(1.0),
            laurel: self.laurel()?,
            scaled: self.is_gemma_4(),
            attention: self.attention(layer)?,
            mlp: self.mlp(layer)?,
        })
    }

    /// The activation of the MLP.
    ///
    /// # Errors
    /// A name that is not one of those below, and which they are.
    pub fn activation(&self) -> Result<Activation> {
        let names = ["hidden_activation", "hidden_act", "activation_function"];
        match self.fields.text(&names)?.unwrap_or("silu") {
            "silu" | "swish" => Ok(Activation::Silu),
            // Gemma's first configurations have `gelu` and mean the approximation.
            "gelu" if self.kind == "gemma" => Ok(Activation::GeluTanh),
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" | "gelu_fast" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "relu2" => Ok(Activation::SquaredRelu),
            other => Err(self.fields.error(format!(
                "hidden_act is `{other}`; this version reads silu, gelu, gelu_new, gelu_pytorch_tanh, relu and relu2"
            ))),
        }
    }

    /// A dense MLP of `hidden` units.
    ///
    /// # Errors
    /// As [`Family::activation`].
    pub fn dense(&self, hidden: usize, bias: bool) -> Result<DenseConfig> {
        let gated = !self.is(&["gpt2", "gpt_neox", "arcee"]);
        Ok(DenseConfig { hidden, activation: self.activation()?, gated, bias, joined: false, sparsity: 0.0 })
    }

    fn mlp(&self, layer: usize) -> Result<MlpConfig> {
        let f = &self.fields;
        if self.has_experts(layer)? {
            return Ok(MlpConfig::Experts(self.experts(layer)?));
        }
        if self.kind == "monet" {
            return Ok(MlpConfig::Monet(self.monet(layer)?));
        }
        let hidden = match self.kind {
            "gpt2" => f.size(&["n_inner"])?.unwrap_or(4 * self.d_model),
            _ => self.intermediate(layer)?,
        };
        let bias = !self.is(&["gpt2", "gpt_neox"]);
        let bias = if bias { f.flag("mlp_bias", false)? } else { true };
        let sparsity = self.sparsity(layer)?;
        Ok(MlpConfig::Dense(DenseConfig { sparsity, ..self.dense(hidden, bias)? }))
    }
}

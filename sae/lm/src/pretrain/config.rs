//! Options of a pretraining run.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Architecture, Kind, ModelConfig, Schedule, Units};
use crate::{Error, Result};

/// Options of a pretraining run. Everything that decides the result is here and is written next to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PretrainConfig {
    /// The architecture; what an option means depends on it.
    pub architecture: Kind,
    /// Text files and folders; documents marked as held out are never trained on.
    pub text: Vec<PathBuf>,
    /// Tokens to train on, document tokens only.
    pub tokens: u64,
    /// Vocabulary of the byte-level BPE.
    pub vocab_size: usize,
    /// d_model.
    pub d_model: usize,
    /// Blocks.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// Experts a layer; of Monet a square.
    pub experts: usize,
    /// Experts per token.
    pub experts_per_token: usize,
    /// Hidden units of an expert; a dense model has `experts_per_token` times as many.
    pub expert_width: usize,
    /// Activation of the hidden units of a dense model, of EvoMoE and of modules; the others have their own.
    pub activation: Option<Units>,
    /// Dense: whether the MLP is `W_down (act(W_gate x) ∘ W_up x)`; else it is `W_down act(W_up x)`.
    pub gated: bool,
    /// Monet: heads of the routers.
    pub router_heads: usize,
    /// Monet: halves of experts that a head keeps on average.
    pub router_topk: usize,
    /// Monet: consecutive layers that share routers.
    pub router_groups: usize,
    /// Monet: weight of the loss that is least when all halves are used alike.
    pub uniformity: f64,
    /// Monet: weight of the loss that is least when a head decides for one half.
    pub ambiguity: f64,
    /// MoE-X and EvoMoE: folder of a dense model without a gate that the experts are made of.
    pub start: Option<PathBuf>,
    /// Fine-tuning: folder of a model of the same architecture and sizes, or `default`, whose weights and tokenizer the run begins with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<PathBuf>,
    /// EvoMoE: share of the weights that each expert made of a dense model has set to 0.
    pub diversity: f64,
    /// EvoMoE: how its gate becomes sparse.
    pub gate: Schedule,
    /// Modular: the temperature of the switches begins with this times √d_model.
    pub temperature_scale: f64,
    /// Tokens a context, BOS included.
    pub context_length: usize,
    /// Rows a batch.
    pub batch_rows: usize,
    /// Highest learning rate.
    pub learning_rate: f64,
    /// Steps over which the learning rate grows from 0.
    pub warm_up_steps: u64,
    /// Share of the tokens, at the end, over which it falls to 0 in a straight line.
    pub decay_share: f64,
    /// AdamW's decay of matrices; gains are left alone.
    pub weight_decay: f64,
    /// Weight of the load-balancing loss (1.0 = balanced, mean over layers).
    pub balance: f64,
    /// Weight of the router z-loss.
    pub z_loss: f64,
    /// How often a domain is seen in one pass over the text; 1 where it is not named.
    pub repeat: BTreeMap<String, u32>,
    /// Seed of the weights and of the order of the text.
    pub seed: u64,
    /// Steps between checkpoints.
    pub checkpoint_every: u64,
    /// Steps between log lines.
    pub log_every: u64,
}

impl Default for PretrainConfig {
    fn default() -> Self {
        Self {
            architecture: Kind::TopK,
            text: Vec::new(),
            tokens: 20_000_000,
            vocab_size: 4096,
            d_model: 128,
            layers: 4,
            heads: 4,
            experts: 16,
            experts_per_token: 2,
            expert_width: 112,
            activation: None,
            gated: true,
            router_heads: 2,
            router_topk: 8,
            router_groups: 1,
            uniformity: 1e-3,
            ambiguity: 1e-3,
            start: None,
            from: None,
            diversity: 0.1,
            gate: Schedule::default(),
            temperature_scale: 0.3,
            context_length: 256,
            batch_rows: 16,
            learning_rate: 4e-3,
            warm_up_steps: 200,
            decay_share: 0.3,
            weight_decay: 0.1,
            balance: 0.01,
            z_loss: 0.001,
            repeat: BTreeMap::new(),
            seed: 1,
            checkpoint_every: 200,
            log_every: 10,
        }
    }
}

impl PretrainConfig {
    /// The model's `config.json`. `<|endoftext|>` is token 0, `<|padding|>` token 1.
    pub fn model(&self) -> ModelConfig {
        match self.architecture {
            Kind::TopK => ModelConfig::TopK(self.olmoe()),
            _ => self.llama(self.experts_per_token),
        }
    }

    /// The same in OLMoE's form.
    pub fn olmoe(&self) -> Architecture {
        Architecture {
            model_type: "olmoe".into(),
            architectures: vec!["OlmoeForCausalLM".into()],
            vocab_size: self.vocab_size,
            hidden_size: self.d_model,
            intermediate_size: self.expert_width,
            num_hidden_layers: self.layers,
            num_attention_heads: self.heads,
            num_key_value_heads: self.heads,
            hidden_act: "silu".into(),
            max_position_embeddings: self.context_length,
            rms_norm_eps: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: None,
            tie_word_embeddings: true,
            num_experts: self.experts,
            num_experts_per_tok: self.experts_per_token,
            norm_topk_prob: false,
            clip_qkv: None,
            attention_bias: false,
            bos_token_id: Some(0),
            eos_token_id: Some(0),
            pad_token_id: Some(1),
            router_aux_loss_coef: self.balance,
            torch_dtype: "float16".into(),
        }
    }

    /// Tokens a step, padding and BOS included.
    pub fn batch_tokens(&self) -> usize {
        self.batch_rows * self.context_length
    }

    /// An error if the numbers make no sense together.
    ///
    /// # Errors
    /// No text; the first number that is out of its range, with that range.
    pub fn check(&self) -> Result<()> {
        let ok = |ok: bool, problem: &str| if ok { Ok(()) } else { Err(Error::request(problem)) };
        ok(!self.text.is_empty(), "no text given: name files or folders")?;
        ok(
            self.from.is_none() || self.start.is_none(),
            "from and start are both given: a run begins with one model",
        )?;
        ok(self.tokens > 0, "tokens must be more than 0")?;
        ok(
            self.vocab_size >= 512,
            "vocab_size must be at least 512: 256 bytes, two special tokens and some merges",
        )?;
        ok(
            self.heads > 0 && self.d_model.is_multiple_of(2 * self.heads),
            "d_model must be an even multiple of heads",
        )?;
        ok((1..=self.experts).contains(&self.experts_per_token), "experts_per_token must be 1 to experts")?;
        ok(
            self.context_length >= 2 && self.batch_rows > 0,
            "context_length must be at least 2, batch_rows at least 1",
        )?;
        ok((0.0..=1.0).contains(&self.decay_share), "decay_share must be between 0 and 1")?;
        ok(
            self.learning_rate > 0.0 && self.learning_rate.is_finite(),
            "learning_rate must be a positive number",
        )?;
        self.check_architecture()
    }

    /// The learning rate after `done` tokens, in step `step`: straight up, flat, straight down.
    pub fn rate(&self, step: u64, done: u64) -> f64 {
        let up = ((step + 1) as f64 / self.warm_up_steps.max(1) as f64).min(1.0);
        let left = 1.0 - done as f64 / self.tokens as f64;
        let down = if self.decay_share > 0.0 { (left / self.decay_share).clamp(0.0, 1.0) } else { 1.0 };
        self.learning_rate * up * down
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_stays_and_falls() {
        let c = PretrainConfig {
            tokens: 1000,
            warm_up_steps: 4,
            decay_share: 0.5,
            learning_rate: 1.0,
            ..Default::default()
        };
        assert_eq!(
            [c.rate(0, 0), c.rate(3, 30), c.rate(9, 500), c.rate(20, 750), c.rate(30, 1000)],
            [0.25, 1.0, 1.0, 0.5, 0.0]
        );
    }
}

//! Whether the numbers of a configuration fit each other.

use std::path::Path;

use super::{
    Activation, AttentionConfig, BlockConfig, Config, Decomposition, DenseConfig, ExpertsConfig, MlpConfig,
    MonetConfig, Scaling,
};
use crate::{Error, Result};

/// Larger sizes are taken for damage.
const LARGEST: usize = 1 << 24;

struct Check<'a> {
    path: &'a Path,
}

impl Check<'_> {
    fn that(&self, ok: bool, problem: impl FnOnce() -> String) -> Result<()> {
        if ok { Ok(()) } else { Err(Error::format(self.path, problem())) }
    }

    fn size(&self, name: &str, size: usize) -> Result<()> {
        self.that((1..=LARGEST).contains(&size), || format!("{name} is {size}; expected 1 to 2^24"))
    }

    fn positive(&self, name: &str, value: Option<f64>) -> Result<()> {
        self.that(value.is_none_or(|v| v > 0.0 && v.is_finite()), || {
            format!("{name} is {}; expected a positive number", value.unwrap_or(f64::NAN))
        })
    }

    fn attention(&self, a: &AttentionConfig) -> Result<()> {
        self.size("num_attention_heads", a.heads)?;
        self.size("num_key_value_heads", a.kv_heads)?;
        self.size("head_dim", a.d_head)?;
        self.size("v_head_dim", a.d_value)?;
        self.that(a.heads.is_multiple_of(a.kv_heads), || {
            format!(
                "num_attention_heads is {}, not a multiple of num_key_value_heads {}",
                a.heads, a.kv_heads
            )
        })?;
        for size in [a.heads.saturating_mul(a.d_head), a.heads.saturating_mul(a.d_value)] {
            self.size("num_attention_heads · head_dim", size)?;
        }
        if let Some(window) = a.window {
            self.size("sliding_window", window)?;
        }
        if let Some(rope) = &a.rope {
            let inside = rope.dims >= 2 && rope.dims <= a.d_head && rope.dims.is_multiple_of(2);
            self.that(inside, || {
                format!(
                    "{} of a head's {} numbers are to be rotated; expected an even number",
                    rope.dims, a.d_head
                )
            })?;
            if let Scaling::Divided { divisors, .. } = &rope.scaling {
                self.that(divisors.len() == rope.dims / 2, || {
                    let half = rope.dims / 2;
                    format!("the rotary embedding has {} divisors; expected {half}", divisors.len())
                })?;
            }
        }
        if let Some(latent) = a.latent {
            self.size("kv_lora_rank", latent.kv_rank)?;
            self.size("q_lora_rank", latent.q_rank.unwrap_or(1))?;
        }
        self.positive("attn_logit_softcapping", a.soft_cap)?;
        self.positive("the attention's scale", Some(a.scale))?;
        self.positive("clip_qkv", a.clip)
    }

    fn dense(&self, d: &DenseConfig) -> Result<()> {
        self.size("intermediate_size", d.hidden)
    }

    fn experts(&self, e: &ExpertsConfig) -> Result<()> {
        self.size("moe_intermediate_size", e.hidden)?;
        self.that((1..=1 << 16).contains(&e.experts), || {
            format!("num_experts is {}; expected 1 to 65536", e.experts)
        })?;
        self.that((1..=e.experts).contains(&e.k), || {
            format!("num_experts_per_tok is {}; expected 1 to num_experts {}", e.k, e.experts)
        })?;
        if let Some(g) = e.router.groups {
            let fits = g.count > 0 && e.experts.is_multiple_of(g.count) && (1..=g.count).contains(&g.keep);
            self.that(fits, || {
                format!("n_group {} and topk_group {} do not fit {} experts", g.count, g.keep, e.experts)
            })?;
            let size = e.experts / g.count;
            self.that(g.best <= size && e.k <= g.keep * size, || {
                format!(
                    "groups of {size} experts, {} kept, are too small for {} experts per token",
                    g.keep, e.k
                )
            })?;
        }
        self.that(!e.router.by_sparsity || (e.activation == Activation::Relu && !e.gated), || {
            "router is expected_sparsity, which is defined for plain ReLU experts (hidden_act relu)"
                .to_owned()
        })?;
        self.that(!e.router.switched || e.k == e.experts, || {
            format!(
                "router is switched and num_experts_per_tok {}; expected num_experts, {}: each has a switch of its own",
                e.k, e.experts
            )
        })?;
        e.shared.map_or(Ok(()), |shared| self.dense(&shared.mlp))
    }

    fn monet(&self, m: &MonetConfig, d_model: usize) -> Result<()> {
        self.size("moe_dim", m.hidden)?;
        self.that((1..=1 << 12).contains(&m.side), || {
            format!("moe_experts, the halves of each kind, is {}; expected 1 to 4096", m.side)
        })?;
        self.that((1..=1 << 10).contains(&m.heads), || {
            format!("moe_heads is {}; expected 1 to 1024", m.heads)
        })?;
        self.that((1..=m.side).contains(&m.topk), || {
            format!("moe_topk is {}; expected 1 to moe_experts {}", m.topk, m.side)
        })?;
        let halves = m.decomposition == Decomposition::Horizontal
            || (m.hidden.is_multiple_of(2) && d_model.is_multiple_of(2));
        self.that(halves, || {
            format!(
                "moe_dim {} and hidden_size {d_model} must be even: a vertical decomposition halves both",
                m.hidden
            )
        })
    }

    fn block(&self, block: &BlockConfig, d_model: usize) -> Result<()> {
        self.attention(&block.attention)?;
        self.size("laurel_rank", block.laurel.unwrap_or(1))?;
        match &block.mlp {
            MlpConfig::Dense(dense) => self.dense(dense),
            MlpConfig::Experts(experts) => self.experts(experts),
            MlpConfig::Monet(monet) => self.monet(monet, d_model),
        }
    }
}

/// Checks sizes and what has to divide what.
pub(super) fn check(config: &Config, path: &Path) -> Result<()> {
    let check = Check { path };
    check.size("vocab_size", config.vocab_size)?;
    check.size("hidden_size", config.hidden_size)?;
    check.size("max_position_embeddings", config.max_position_embeddings)?;
    check.positive("final_logit_softcapping", config.logit_cap)?;
    check.positive("logits_scaling", Some(config.logit_scale))?;
    check.positive("the norms' epsilon", Some(config.final_norm.eps))?;
    if let Some(own) = config.per_layer {
        check.size("vocab_size_per_layer_input", own.vocab_size)?;
        check.size("hidden_size_per_layer_input", own.width)?;
        check.size(
            "num_hidden_layers · hidden_size_per_layer_input",
            own.width.saturating_mul(config.blocks.len()),
        )?;
    }
    config.blocks.iter().try_for_each(|block| check.block(block, config.hidden_size))?;
    let shared =
        config.blocks.iter().filter_map(|block| Some((block, config.blocks.get(block.attention.shares?)?)));
    for (block, source) in shared {
        let shape = |a: &AttentionConfig| (a.kv_heads, a.d_head, a.d_value);
        let (own, of_source) = (shape(&block.attention), shape(&source.attention));
        check.that(own == of_source, || {
            format!(
                "a layer reads keys and values (heads, numbers per key and value) {of_source:?} as {own:?}"
            )
        })?;
    }
    Ok(())
}

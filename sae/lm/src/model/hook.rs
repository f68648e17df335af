//! Places of a model that can be read or replaced, under the names that TransformerLens gives them.

use std::fmt;
use std::str::FromStr;

use super::Config;
use super::config::{BlockConfig, BlockForm, MlpConfig};
use crate::{Error, Result};

/// A kind of place inside a decoder block, or the embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// Token embedding, `[B, T, d_model]`. Belongs to no block.
    Embed,
    /// Learned positions (GPT-2), `[B, T, d_model]`. Belongs to no block.
    PosEmbed,
    /// Residual stream before the block, `[B, T, d_model]`.
    ResidPre,
    /// Queries before the rotary embedding, heads concatenated, `[B, T, heads · d_head]`.
    Q,
    /// Keys before the rotary embedding, `[B, T, kv_heads · d_head]`.
    K,
    /// Values, `[B, T, kv_heads · d_value]`.
    V,
    /// Queries after the rotary embedding.
    RotQ,
    /// Keys after the rotary embedding.
    RotK,
    /// Attention pattern, `[B, heads, T, T]`; computed only when a tap wants it.
    Pattern,
    /// Heads' outputs before W_O, heads concatenated, `[B, T, heads · d_value]`.
    AttnZ,
    /// Attention's output, `[B, T, d_model]`.
    AttnOut,
    /// Residual stream between attention and MLP, `[B, T, d_model]`. A parallel block (GPT-NeoX) has none.
    ResidMid,
    /// The MLP's (or router's and experts') input after its norm, `[B, T, d_model]`.
    MlpIn,
    /// Logits of the router, `[B, T, E]`; of Monet's two routers, heads and halves, `[B, T, 2 · H · √E]`.
    RouterLogits,
    /// What the router chooses by: softmax, sigmoid or the logits themselves, `[B, T, E]`. Read only.
    RouterScores,
    /// The experts chosen, `[B, T, k]`, u32. Read only.
    ExpertIndices,
    /// What the experts' outputs are multiplied by, `[B, T, k]`. Read only in Monet, where it follows from the
    /// scores.
    ExpertWeights,
    /// Hidden units of a dense MLP after the activation (and the gate), `[B, T, d_mlp]`.
    MlpPost,
    /// The MLP's (or MoE's) output, `[B, T, d_model]`.
    MlpOut,
    /// Residual stream after the block, `[B, T, d_model]`.
    ResidPost,
}

impl Site {
    /// All sites that blocks have, in the order a forward pass meets them.
    pub const OF_BLOCKS: [Self; 18] = [
        Self::ResidPre,
        Self::Q,
        Self::K,
        Self::V,
        Self::RotQ,
        Self::RotK,
        Self::Pattern,
        Self::AttnZ,
        Self::AttnOut,
        Self::ResidMid,
        Self::MlpIn,
        Self::RouterLogits,
        Self::RouterScores,
        Self::ExpertIndices,
        Self::ExpertWeights,
        Self::MlpPost,
        Self::MlpOut,
        Self::ResidPost,
    ];

    /// What a hook's name ends in, e.g. `hook_resid_post`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "hook_embed",
            Self::PosEmbed => "hook_pos_embed",
            Self::ResidPre => "hook_resid_pre",
            Self::Q => "attn.hook_q",
            Self::K => "attn.hook_k",
            Self::V => "attn.hook_v",
            Self::RotQ => "attn.hook_rot_q",
            Self::RotK => "attn.hook_rot_k",
            Self::Pattern => "attn.hook_pattern",
            Self::AttnZ => "attn.hook_z",
            Self::AttnOut => "hook_attn_out",
            Self::ResidMid => "hook_resid_mid",
            Self::MlpIn => "hook_mlp_in",
            Self::RouterLogits => "mlp.hook_router_logits",
            Self::RouterScores => "mlp.hook_router_scores",
            Self::ExpertIndices => "mlp.hook_expert_indices",
            Self::ExpertWeights => "mlp.hook_expert_weights",
            Self::MlpPost => "mlp.hook_post",
            Self::MlpOut => "hook_mlp_out",
            Self::ResidPost => "hook_resid_post",
        }
    }

    /// True if the value is a vector of numbers for every token, which is what dictionaries are made of.
    pub fn is_vector(self) -> bool {
        !matches!(self, Self::Pattern | Self::ExpertIndices)
    }

    /// True if directions at this site are directions of the residual stream, which the output matrix reads.
    pub fn writes_to_the_stream(self) -> bool {
        matches!(
            self,
            Self::Embed
                | Self::PosEmbed
                | Self::ResidPre
                | Self::AttnOut
                | Self::ResidMid
                | Self::MlpOut
                | Self::ResidPost
        )
    }

    /// Numbers of a token (of a query, for a pattern) at this site of `block`; none if the block has no such
    /// place.
    fn width(self, d_model: usize, block: &BlockConfig) -> Option<usize> {
        let a = &block.attention;
        let experts = match &block.mlp {
            MlpConfig::Experts(experts) => Some(experts),
            MlpConfig::Dense(_) | MlpConfig::Monet(_) => None,
        };
        if let MlpConfig::Monet(monet) = &block.mlp {
            let of_monet = match self {
                Self::RouterLogits | Self::RouterScores if monet.owns_router => {
                    Some(2 * monet.heads * monet.side)
                }
                Self::ExpertIndices | Self::ExpertWeights => Some(monet.recorded()),
                _ => None,
            };
            if of_monet.is_some() {
                return of_monet;
            }
        }
        match self {
            Self::Embed | Self::PosEmbed => None,
            Self::Q => Some(a.heads * a.d_head),
            Self::RotQ => a.rope.as_ref().map(|_| a.heads * a.d_head),
            // Those of an earlier layer.
            Self::K | Self::RotK | Self::V if a.shares.is_some() => None,
            Self::K => Some(a.kv_heads * a.d_head),
            Self::RotK => a.rope.as_ref().map(|_| a.kv_heads * a.d_head),
            Self::V => Some(a.kv_heads * a.d_value),
            Self::Pattern => Some(a.heads),
            Self::AttnZ => Some(a.heads * a.d_value),
            Self::ResidMid => (block.form != BlockForm::Parallel).then_some(d_model),
            Self::RouterLogits | Self::RouterScores => experts.map(|e| e.experts),
            Self::ExpertIndices | Self::ExpertWeights => experts.map(|e| e.k),
            Self::MlpPost => match &block.mlp {
                MlpConfig::Dense(dense) => Some(dense.hidden),
                MlpConfig::Experts(_) | MlpConfig::Monet(_) => None,
            },
            Self::ResidPre | Self::AttnOut | Self::MlpIn | Self::MlpOut | Self::ResidPost => Some(d_model),
        }
    }
}

/// A named place in a model, e.g. `blocks.2.hook_resid_post`.
///
/// ```
/// use lm::model::{Hook, Site};
/// let hook: Hook = "blocks.2.hook_resid_post".parse()?;
/// assert_eq!((hook.layer, hook.site), (2, Site::ResidPost));
/// assert_eq!(hook.to_string(), "blocks.2.hook_resid_post");
/// # Ok::<(), lm::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hook {
    /// Block, counted from 0; 0 for the embedding.
    pub layer: usize,
    /// Place inside the block.
    pub site: Site,
}

impl Hook {
    /// The hook at `site` of block `layer`.
    pub fn new(layer: usize, site: Site) -> Self {
        Self { layer, site }
    }

    /// The first block of a model that the value here enters as the whole residual stream: replacing it is
    /// running the model from that block on. None of a model whose blocks read more than that stream.
    pub fn enters(&self, config: &Config) -> Option<usize> {
        match self.site {
            _ if !config.is_one_stream() => None,
            Site::ResidPre => Some(self.layer),
            Site::ResidPost => Some(self.layer + 1),
            _ => None,
        }
    }

    /// Every hook of a model and the numbers a token has there, in the order a forward pass meets them.
    pub fn of(config: &Config) -> Vec<(Self, usize)> {
        let d = config.hidden_size;
        let mut hooks = vec![(Self::new(0, Site::Embed), d)];
        if config.learned_positions {
            hooks.push((Self::new(0, Site::PosEmbed), d));
        }
        for (layer, block) in config.blocks.iter().enumerate() {
            let at = |site: Site| site.width(d, block).map(|width| (Self::new(layer, site), width));
            hooks.extend(Site::OF_BLOCKS.into_iter().filter_map(at));
        }
        hooks
    }

    /// Numbers a token has at this hook, or an error that names the model's hooks.
    ///
    /// # Errors
    /// A hook that a model of this `config` does not have.
    pub fn width(&self, config: &Config) -> Result<usize> {
        let hooks = Self::of(config);
        let found = hooks.iter().find(|(hook, _)| hook == self).map(|(_, width)| *width);
        found.ok_or_else(|| {
            let names: Vec<String> = hooks
                .iter()
                .filter(|(hook, _)| hook.layer == self.layer.min(config.num_hidden_layers - 1))
                .map(|(hook, _)| hook.to_string())
                .collect();
            let layers = config.num_hidden_layers;
            Error::request(format!("this model of {layers} layers has no hook `{self}`")).with_remedy(format!(
                "there are {}, and the like in its other blocks; `sae inspect` lists them with their widths",
                names.join(", ")
            ))
        })
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.site {
            Site::Embed | Site::PosEmbed => f.write_str(self.site.name()),
            site => write!(f, "blocks.{}.{}", self.layer, site.name()),
        }
    }
}

impl FromStr for Hook {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let unknown = || {
            let names: Vec<_> = Site::OF_BLOCKS.iter().map(|&site| Self::new(0, site).to_string()).collect();
            let names = format!("hooks are hook_embed, {} and the same for other blocks", names.join(", "));
            let remedy = match meant(name) {
                Some(hook) => format!("perhaps `{hook}` is meant; {names}"),
                None => names,
            };
            Error::request(format!("unknown hook `{name}`")).with_remedy(remedy)
        };
        if let Some(site) = [Site::Embed, Site::PosEmbed].into_iter().find(|s| s.name() == name) {
            return Ok(Self::new(0, site));
        }
        let rest = name.strip_prefix("blocks.").ok_or_else(unknown)?;
        let (layer, suffix) = rest.split_once('.').ok_or_else(unknown)?;
        // `parse` takes a sign.
        let digits = layer.bytes().all(|b| b.is_ascii_digit());
        let layer = layer.parse().ok().filter(|_| digits).ok_or_else(unknown)?;
        let site = Site::OF_BLOCKS.into_iter().find(|s| s.name() == suffix).ok_or_else(unknown)?;
        Ok(Self { layer, site })
    }
}

/// The hook that other tools' names stand for: module paths of Hugging Face (`model.layers.2.mlp`, whose
/// output is meant), SAELens's and dictionary_learning's short forms (`resid_post_2`).
fn meant(name: &str) -> Option<Hook> {
    let number = name.split(|c: char| !c.is_ascii_digit()).find(|digits| !digits.is_empty())?;
    let has = |part: &str| name.contains(part);
    let site = match () {
        () if has("hook_normalized") || has("post_attention_layernorm") => Site::MlpIn,
        () if has("resid_pre") => Site::ResidPre,
        () if has("resid_mid") => Site::ResidMid,
        () if has("hook_z") => Site::AttnZ,
        () if has("mlp") => Site::MlpOut,
        () if has("attn") || has("attention") => Site::AttnOut,
        () if has("resid") || has("layers") || has("blocks") || has(".h.") => Site::ResidPost,
        () => return None,
    };
    Some(Hook::new(number.parse().ok()?, site))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        let of_blocks = (0..13).flat_map(|layer| Site::OF_BLOCKS.map(|site| Hook::new(layer, site)));
        for hook in [Hook::new(0, Site::Embed), Hook::new(0, Site::PosEmbed)].into_iter().chain(of_blocks) {
            assert_eq!(hook.to_string().parse::<Hook>().unwrap(), hook);
        }
    }

    #[test]
    fn names_of_other_tools_are_translated() {
        for (name, hook) in [
            ("model.layers.2", "blocks.2.hook_resid_post"),
            ("gpt_neox.layers.12", "blocks.12.hook_resid_post"),
            ("transformer.h.2", "blocks.2.hook_resid_post"),
            ("blocks.2", "blocks.2.hook_resid_post"),
            ("resid_post_2", "blocks.2.hook_resid_post"),
            ("layers.2.mlp", "blocks.2.hook_mlp_out"),
            ("model.layers.2.self_attn", "blocks.2.hook_attn_out"),
            ("blocks.2.ln2.hook_normalized", "blocks.2.hook_mlp_in"),
            ("blocks.+2.hook_resid_post", "blocks.2.hook_resid_post"),
        ] {
            let error = name.parse::<Hook>().unwrap_err();
            assert!(error.remedy().is_some_and(|r| r.contains(&format!("`{hook}`"))), "{error}");
        }
    }

    #[test]
    fn unknown_names_list_the_hooks_there_are() {
        for bad in ["", "blocks.1", "blocks.x.hook_resid_post", "blocks.1.hook_nothing", "hook_resid_post"] {
            let message = bad.parse::<Hook>().unwrap_err().to_string();
            assert!(message.contains("blocks.0.hook_resid_post"), "{message}");
        }
    }
}

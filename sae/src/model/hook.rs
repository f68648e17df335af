//! Places of a model that can be read or replaced, under the names that TransformerLens gives them.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Result};

/// A kind of place inside a decoder block, or the embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// Token embedding, `[B, T, d_model]`. Belongs to no block.
    Embed,
    /// Residual stream before the block, `[B, T, d_model]`.
    ResidPre,
    /// Heads' outputs before W_O, heads concatenated, `[B, T, heads · d_head]`.
    AttnZ,
    /// Attention's output, `[B, T, d_model]`.
    AttnOut,
    /// Residual stream between attention and MLP, `[B, T, d_model]`.
    ResidMid,
    /// The MLP's (or MoE's) input after its norm, `[B, T, d_model]`.
    MlpIn,
    /// The MLP's (or MoE's) output, `[B, T, d_model]`.
    MlpOut,
    /// Residual stream after the block, `[B, T, d_model]`.
    ResidPost,
}

impl Site {
    /// All sites that a block has, in the order a forward pass meets them.
    pub const OF_A_BLOCK: [Self; 7] = [
        Self::ResidPre,
        Self::AttnZ,
        Self::AttnOut,
        Self::ResidMid,
        Self::MlpIn,
        Self::MlpOut,
        Self::ResidPost,
    ];

    fn suffix(self) -> &'static str {
        match self {
            Self::Embed => "hook_embed",
            Self::ResidPre => "hook_resid_pre",
            Self::AttnZ => "attn.hook_z",
            Self::AttnOut => "hook_attn_out",
            Self::ResidMid => "hook_resid_mid",
            Self::MlpIn => "hook_mlp_in",
            Self::MlpOut => "hook_mlp_out",
            Self::ResidPost => "hook_resid_post",
        }
    }
}

/// A named place in a model, e.g. `blocks.2.hook_resid_post`.
///
/// ```
/// use sae::model::{Hook, Site};
/// let hook: Hook = "blocks.2.hook_resid_post".parse()?;
/// assert_eq!((hook.layer, hook.site), (2, Site::ResidPost));
/// assert_eq!(hook.to_string(), "blocks.2.hook_resid_post");
/// # Ok::<(), sae::Error>(())
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

    /// Every hook of a model with `layers` blocks, in the order a forward pass meets them.
    pub fn all(layers: usize) -> Vec<Self> {
        let blocks = (0..layers).flat_map(|layer| Site::OF_A_BLOCK.map(|site| Self { layer, site }));
        std::iter::once(Self::new(0, Site::Embed)).chain(blocks).collect()
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.site {
            Site::Embed => f.write_str(self.site.suffix()),
            site => write!(f, "blocks.{}.{}", self.layer, site.suffix()),
        }
    }
}

impl FromStr for Hook {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let unknown = || {
            let names: Vec<_> = Hook::all(1).iter().map(ToString::to_string).collect();
            Error::request(format!(
                "unknown hook `{name}`; the hooks of a model are {} and the same for its other blocks",
                names.join(", ")
            ))
        };
        if name == Site::Embed.suffix() {
            return Ok(Self::new(0, Site::Embed));
        }
        let rest = name.strip_prefix("blocks.").ok_or_else(unknown)?;
        let (layer, suffix) = rest.split_once('.').ok_or_else(unknown)?;
        let layer = layer.parse().map_err(|_| unknown())?;
        let site = Site::OF_A_BLOCK.into_iter().find(|s| s.suffix() == suffix).ok_or_else(unknown)?;
        Ok(Self { layer, site })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for hook in Hook::all(13) {
            assert_eq!(hook.to_string().parse::<Hook>().unwrap(), hook);
        }
        assert_eq!(Hook::all(13).len(), 1 + 13 * 7);
    }

    #[test]
    fn unknown_names_list_the_hooks_there_are() {
        for bad in ["", "blocks.1", "blocks.x.hook_resid_post", "blocks.1.hook_nothing", "hook_resid_post"] {
            let message = bad.parse::<Hook>().unwrap_err().to_string();
            assert!(message.contains("blocks.0.hook_resid_post"), "{message}");
        }
    }
}

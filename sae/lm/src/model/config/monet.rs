//! What a layer of Monet (Park et al. 2024) is.

use serde::Serialize;

use super::Activation;
use super::families::Family;
use crate::Result;

/// Experts that are recorded for a token: those with the largest weights. How many have a weight at all
/// differs from token to token.
const RECORDED: usize = 32;

/// E = √E · √E experts, each put together of one half from each of two sets of √E. Two routers choose the
/// halves independently, head by head; an expert's weight is the product of its halves' weights, summed over
/// heads.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MonetConfig {
    /// Halves in each set, √E (`moe_experts`).
    pub side: usize,
    /// Heads H of the routers.
    pub heads: usize,
    /// Hidden units m of an expert (`moe_dim`).
    pub hidden: usize,
    /// Halves of each set that a head keeps on average; the threshold is the quantile of a normal
    /// distribution that lets so many pass.
    pub topk: usize,
    /// How experts are cut in halves.
    pub decomposition: Decomposition,
    /// Activation.
    pub activation: Activation,
    /// The layer whose router decides here.
    pub router_layer: usize,
    /// Whether that is this layer.
    pub owns_router: bool,
}

/// How experts are cut in halves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Decomposition {
    /// One half reads, the other writes: `E_ij(x) = V_j σ(U_i x + b_i) + c_j` (HD).
    Horizontal,
    /// Each half has half of the hidden units and writes half of the output (VD).
    Vertical,
}

impl MonetConfig {
    /// Number of experts E.
    pub fn experts(&self) -> usize {
        self.side * self.side
    }

    /// Experts recorded for a token.
    pub fn recorded(&self) -> usize {
        self.experts().min(RECORDED)
    }
}

impl Family<'_> {
    /// Monet's experts in `layer`.
    ///
    /// # Errors
    /// A size that is missing, groups of 0 layers, a decomposition that is not read.
    pub fn monet(&self, layer: usize) -> Result<MonetConfig> {
        let f = &self.fields;
        let groups = f.needed(&["moe_groups"])?;
        if groups == 0 {
            return Err(f.error("moe_groups is 0; expected the layers that share a router, 1 or more"));
        }
        Ok(MonetConfig {
            side: f.needed(&["moe_experts"])?,
            heads: f.needed(&["moe_heads"])?,
            hidden: f.needed(&["moe_dim"])?,
            topk: f.needed(&["moe_topk"])?,
            decomposition: match f.text(&["moe_decompose"])?.unwrap_or("vertical") {
                "vertical" => Decomposition::Vertical,
                "horizontal" => Decomposition::Horizontal,
                other => {
                    let known = "vertical and horizontal";
                    return Err(f.error(format!("moe_decompose is `{other}`; this version reads {known}")));
                }
            },
            activation: self.activation()?,
            router_layer: layer - layer % groups,
            owns_router: layer.is_multiple_of(groups),
        })
    }
}

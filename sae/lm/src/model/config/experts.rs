//! What each family's mixture of experts is.

use super::families::Family;
use super::moe::ExpertNaming;
use super::{Activation, DenseConfig, ExpertsConfig, Groups, RouterConfig, Score, Shared};
use crate::Result;

/// Families whose experts have a size of their own next to that of a dense MLP.
const OWN_SIZE: [&str; 6] =
    ["qwen2_moe", "qwen3_moe", "deepseek_v2", "deepseek_v3", "mistral4", "gemma4_text"];

impl<'a> Family<'a> {
    /// Whether a layer has experts.
    ///
    /// # Errors
    /// A `moe_layer_freq` other than 1, fields of the wrong type.
    pub fn has_experts(&self, layer: usize) -> Result<bool> {
        let f = &self.fields;
        Ok(match self.kind {
            "olmoe" | "mixtral" | "gpt_oss" | "granitemoe" | "granitemoeshared" | "plain_moe" => true,
            "gemma4_text" => f.flag("enable_moe_block", false)?,
            "qwen2_moe" | "qwen3_moe" => {
                let dense = f.list("mlp_only_layers")?.unwrap_or_default();
                let step = f.size(&["decoder_sparse_step"])?.unwrap_or(1);
                let named = dense.iter().any(|l| l.as_u64() == Some(layer as u64));
                !named && step > 0 && (layer + 1).is_multiple_of(step)
            }
            "deepseek_v2" | "deepseek_v3" | "mistral4" => {
                let default = if self.kind == "deepseek_v3" { 3 } else { 0 };
                if f.size(&["moe_layer_freq"])?.is_some_and(|n| n != 1) {
                    return Err(f.error("moe_layer_freq is not 1; this version reads 1 only"));
                }
                layer >= f.size(&["first_k_dense_replace"])?.unwrap_or(default)
            }
            _ => false,
        })
    }

    /// The experts of a layer that has some.
    ///
    /// # Errors
    /// No number of experts, of experts per token or of hidden units; a router or an activation that is not
    /// read.
    pub fn experts(&self, layer: usize) -> Result<ExpertsConfig> {
        let f = &self.fields;
        let names = ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"];
        let hidden = match self.is(&OWN_SIZE) {
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
            k: f.needed(&["num_experts_per_tok", "moe_topk", "moe_top_k", "top_k_experts"])?,
            hidden,
            activation: if gpt_oss { clamped()? } else { self.activation()? },
            bias: gpt_oss,
            gated: self.kind != "plain_moe",
            router: self.router()?,
            shared: self.shared(layer, hidden)?,
            naming: match self.kind {
                "mixtral" => ExpertNaming::Mixtral,
                "gpt_oss" => ExpertNaming::GptOss,
                "gemma4_text" => ExpertNaming::Gemma4,
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
            normalise: f.flag("norm_topk_prob", self.is(&["mixtral", "deepseek_v3", "mistral4"]))?,
            scale: 1.0,
            capacity: None,
            by_sparsity: false,
            switched: false,
        };
        let scale = f.number(&["routed_scaling_factor"])?;
        Ok(match self.kind {
            "mixtral" | "gemma4_text" => RouterConfig { normalise: true, ..plain },
            "gpt_oss" => {
                RouterConfig { score: Score::SoftmaxOfChosen, bias: true, normalise: false, ..plain }
            }
            "granitemoe" | "granitemoeshared" => {
                RouterConfig { score: Score::SoftmaxOfChosen, normalise: false, ..plain }
            }
            "plain_moe" => match f.text(&["router"])?.unwrap_or("learned") {
                "learned" => plain,
                "expected_sparsity" => RouterConfig {
                    score: Score::SoftmaxOfChosen,
                    normalise: false,
                    by_sparsity: true,
                    ..plain
                },
                "switched" => RouterConfig {
                    score: Score::Sigmoid,
                    bias: true,
                    normalise: false,
                    switched: true,
                    ..plain
                },
                other => {
                    let known = "learned, expected_sparsity and switched";
                    return Err(f.error(format!("router is `{other}`; this version reads {known}")));
                }
            },
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
            "mistral4" => {
                RouterConfig { groups: Some(self.groups(2)?), scale: scale.unwrap_or(1.0), ..plain }
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

    fn shared(&self, layer: usize, hidden: usize) -> Result<Option<Shared>> {
        let f = &self.fields;
        let shared = match self.kind {
            "qwen2_moe" => f.size(&["shared_expert_intermediate_size"])?.or(Some(5632)),
            "deepseek_v2" | "deepseek_v3" | "mistral4" => {
                let default = if self.kind == "deepseek_v2" { 2 } else { 1 };
                Some(f.size(&["n_shared_experts"])?.unwrap_or(default).saturating_mul(hidden))
            }
            "granitemoeshared" => f.size(&["shared_intermediate_size"])?,
            "gemma4_text" => Some(self.intermediate(layer)?),
            _ => None,
        };
        let Some(hidden) = shared.filter(|n| *n > 0) else { return Ok(None) };
        let joined = self.kind == "granitemoeshared";
        let mlp = DenseConfig { joined, ..self.dense(hidden, false)? };
        Ok(Some(Shared { mlp, gated: self.kind == "qwen2_moe" }))
    }
}

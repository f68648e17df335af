//! What a dataset or its model says about the router: a table alone does not tell of experts that nobody ever
//! chose, nor what its weights should add up to.

use std::path::Path;

use serde_json::Value;
use storage::Dataset;

use super::choice::WeightRule;
use super::score_kind::ScoreKind;
use crate::rows::source_of;
use crate::{Error, Result};

/// What is known of the router before the first row is read.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Declared {
    /// Experts per layer.
    pub experts: Option<usize>,
    /// What a token's weights add up to.
    pub rule: WeightRule,
    /// What the column of scores holds.
    pub scores: Option<ScoreKind>,
    /// Why its experts have no scores of their own, if that is so.
    pub without_scores: Option<&'static str>,
}

/// Names of the number of experts in a config, most common first.
const EXPERTS: [&str; 4] = ["num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"];

impl Declared {
    /// Settings of the dataset (`experts`, `weights`, `score_kind`), else the config of its model if that is
    /// still there.
    ///
    /// # Errors
    /// A `score_kind` that is not known, and which are.
    pub fn of(dataset: &Dataset) -> Result<Self> {
        let settings = &dataset.manifest().settings;
        let config = config(dataset);
        let of_config = config.as_ref().map(Self::of_config).unwrap_or_default();
        let number = |key: &str| settings.get(key).and_then(Value::as_u64);
        let experts = number("experts").and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        let any = settings.get("weights").and_then(Value::as_str) == Some("any");
        let scores = match settings.get("score_kind").and_then(Value::as_str) {
            None => None,
            Some(name) => Some(ScoreKind::parse(name).ok_or_else(|| unknown_kind(dataset.dir(), name))?),
        };
        Ok(Self {
            experts: experts.or(of_config.experts),
            rule: if any { WeightRule::Any } else { of_config.rule },
            scores,
            without_scores: of_config.without_scores,
        })
    }

    /// From a model's `config.json`.
    pub fn of_config(config: &Value) -> Self {
        let experts = EXPERTS.iter().find_map(|name| config.get(name)?.as_u64());
        // Monet's configuration has the halves of each kind; an expert is a pair of them.
        let halves = config.get("moe_experts").and_then(Value::as_u64);
        let experts = experts.or(halves.map(|n| n.saturating_mul(n)));
        let experts = experts.and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
        Self { experts, rule: rule(config), scores: None, without_scores: without_scores(config) }
    }
}

fn without_scores(config: &Value) -> Option<&'static str> {
    let of = |key: &str| config.get(key).and_then(Value::as_str);
    match of("model_type") {
        Some("monet") => Some("Monet's experts are products of two routers' gates"),
        Some("plain_moe") if of("router") == Some("switched") => Some("modules are switched on one by one"),
        _ => None,
    }
}

/// What the families of transformers do with the k weights.
fn rule(config: &Value) -> WeightRule {
    let flag = |default: bool| config.get("norm_topk_prob").and_then(Value::as_bool).unwrap_or(default);
    let scale = config.get("routed_scaling_factor").and_then(Value::as_f64).unwrap_or(1.0) as f32;
    let normalised = |yes: bool| if yes { WeightRule::SumTo(1.0) } else { WeightRule::AtMost(1.0) };
    match config.get("model_type").and_then(Value::as_str).unwrap_or_default() {
        "mixtral" | "gpt_oss" | "granitemoe" | "granitemoeshared" => WeightRule::SumTo(1.0),
        "plain_moe" if config.get("router").and_then(Value::as_str) == Some("expected_sparsity") => {
            WeightRule::SumTo(1.0)
        }
        // Each module's weight is the probability that it is on.
        "plain_moe" if config.get("router").and_then(Value::as_str) == Some("switched") => {
            WeightRule::AtMost(config.get("num_experts").and_then(Value::as_u64).unwrap_or(1) as f32)
        }
        "plain_moe" => normalised(flag(false)),
        // Every head's weights sum to 1; only the largest are recorded.
        "monet" => WeightRule::AtMost(config.get("moe_heads").and_then(Value::as_u64).unwrap_or(8) as f32),
        "olmoe" | "qwen2_moe" | "qwen3_moe" => normalised(flag(false)),
        "qwen3_next" => normalised(flag(true)),
        "deepseek_v2" => WeightRule::AtMost(scale),
        "deepseek_v3" if flag(true) => WeightRule::SumTo(scale),
        _ => WeightRule::Any,
    }
}

fn config(dataset: &Dataset) -> Option<Value> {
    serde_json::from_str(&source_of(dataset.manifest()).ok()?.config_text().ok()?).ok()
}

fn unknown_kind(dir: &Path, name: &str) -> Error {
    Error::format(
        dir.join("dataset.json"),
        format!("score_kind is `{name}`, expected logits, probabilities or sigmoid"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn families_have_their_rules() {
        let of = |config: Value| Declared::of_config(&config);
        let mixtral = of(json!({"model_type": "mixtral", "num_local_experts": 8}));
        assert_eq!((mixtral.experts, mixtral.rule), (Some(8), WeightRule::SumTo(1.0)));
        let olmoe = of(json!({"model_type": "olmoe", "num_experts": 64}));
        assert_eq!((olmoe.experts, olmoe.rule), (Some(64), WeightRule::AtMost(1.0)));
        let monet = of(json!({"model_type": "monet", "moe_experts": 32, "moe_heads": 4}));
        assert_eq!((monet.experts, monet.rule), (Some(1024), WeightRule::AtMost(4.0)));
        let plain =
            |router: &str| of(json!({"model_type": "plain_moe", "num_experts": 3, "router": router})).rule;
        let rules = ["switched", "learned", "expected_sparsity"].map(plain);
        assert_eq!(rules, [WeightRule::AtMost(3.0), WeightRule::AtMost(1.0), WeightRule::SumTo(1.0)]);
        let qwen = of(json!({"model_type": "qwen3_moe", "norm_topk_prob": true}));
        assert_eq!((qwen.experts, qwen.rule), (None, WeightRule::SumTo(1.0)));
        let v3 =
            of(json!({"model_type": "deepseek_v3", "n_routed_experts": 256, "routed_scaling_factor": 2.5}));
        assert_eq!((v3.experts, v3.rule), (Some(256), WeightRule::SumTo(2.5)));
        assert_eq!(of(json!({"model_type": "new"})), Declared::default());
    }
}

//! The methods: rows of one table, score × allocation, and the baselines that they are compared with.

use std::fmt;
use std::str::FromStr;

use kernels::shrink::Shrinkage;
use serde::{Deserialize, Serialize};

use super::keys::nearest;

/// Which features are active while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Method {
    /// TopK: the `k` largest positive pre-activations of each token (Gao et al. 2024; token choice, Ayonrinde 2024).
    Topk,
    /// AbsTopK: the `k` pre-activations of largest magnitude of each token, with their sign (Zhu et al. 2025).
    AbsTopk,
    /// BatchTopK: the B·k largest of the batch (Bussmann et al. 2024; mutual choice, Ayonrinde 2024).
    MutualChoice,
    /// BatchTopK first, then for each feature its m_i best tokens (feature choice, Ayonrinde 2024).
    FeatureChoice,
    /// The `k`/`blocks` largest of each token in each block of features (winner-take-all, as in Sparsey, Rinkus 2010).
    BlockChoice,
    /// `topk` by a score with the gradient of the model's loss (g-SAE, Olmo et al. 2024).
    Gradient,
    /// BatchTopK by that score.
    GradientMutual,
    /// Feature choice by that score.
    GradientFeature,
    /// `topk` by a score between cosine and inner product.
    Cosine,
    /// BatchTopK by that score.
    CosineMutual,
    /// At most `k` features of each token, one at a time, by what the ones before it left.
    MatchingPursuit,
    /// Every positive pre-activation, with an L1 penalty (Bricken et al. 2023).
    Relu,
    /// Every pre-activation above a learned threshold (Rajamanoharan et al. 2024b).
    Jumprelu,
    /// A gate next to a magnitude (Rajamanoharan et al. 2024a).
    Gated,
    /// Nested dictionaries over BatchTopK (Bussmann et al. 2025).
    Matryoshka,
    /// Pre-activations shrunk by the proximal operator of the penalty that codes cost (Rentzeperis et al. 2023).
    Shrinkage,
    /// ReLU with a penalty Σ v^p whose p falls from 1 (Karvonen et al. 2024).
    PAnneal,
}

/// How a trained dictionary selects codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inference {
    /// The k best of each token, or of its blocks.
    Best,
    /// One threshold, fitted after training.
    OneThreshold,
    /// A threshold for each feature, fitted after training.
    ThresholdEach,
    /// Thresholds that training itself made (0 for ReLU), or a shrinkage.
    Learned,
}

impl Method {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 17] = [
        Self::Topk,
        Self::AbsTopk,
        Self::MutualChoice,
        Self::FeatureChoice,
        Self::BlockChoice,
        Self::Gradient,
        Self::GradientMutual,
        Self::GradientFeature,
        Self::Cosine,
        Self::CosineMutual,
        Self::MatchingPursuit,
        Self::Relu,
        Self::Jumprelu,
        Self::Gated,
        Self::Matryoshka,
        Self::PAnneal,
        Self::Shrinkage,
    ];

    /// The name in `train.toml` and `run.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Topk => "topk",
            Self::AbsTopk => "abs-topk",
            Self::MutualChoice => "mutual-choice",
            Self::FeatureChoice => "feature-choice",
            Self::BlockChoice => "block-choice",
            Self::Gradient => "gradient",
            Self::GradientMutual => "gradient-mutual",
            Self::GradientFeature => "gradient-feature",
            Self::Cosine => "cosine",
            Self::CosineMutual => "cosine-mutual",
            Self::MatchingPursuit => "matching-pursuit",
            Self::Relu => "relu",
            Self::Jumprelu => "jumprelu",
            Self::Gated => "gated",
            Self::Matryoshka => "matryoshka",
            Self::PAnneal => "p-anneal",
            Self::Shrinkage => "shrinkage",
        }
    }

    /// Other names that are read as this one: those of SAELens and `dictionary_learning`.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Topk => &["top-k", "token-choice"],
            Self::AbsTopk => &["abstopk"],
            Self::MutualChoice => &["batch-topk", "batchtopk"],
            Self::BlockChoice => &["block-topk", "winner-take-all"],
            Self::Jumprelu => &["jump-relu"],
            Self::Relu => &["standard"],
            _ => &[],
        }
    }

    /// The name with what else the method is called, for people: `mutual-choice (BatchTopK)`.
    pub fn label(self) -> String {
        match self {
            Self::Topk => "topk (TopK, token choice)".to_owned(),
            Self::AbsTopk => "abs-topk (TopK of either sign)".to_owned(),
            Self::MutualChoice => "mutual-choice (BatchTopK)".to_owned(),
            Self::BlockChoice => "block-choice (TopK in blocks)".to_owned(),
            Self::GradientMutual => "gradient-mutual (BatchTopK by gradients)".to_owned(),
            Self::CosineMutual => "cosine-mutual (BatchTopK by cosine and norm)".to_owned(),
            other => other.name().to_owned(),
        }
    }

    /// Whether its score is between cosine and inner product.
    pub fn scores_cosines(self) -> bool {
        matches!(self, Self::Cosine | Self::CosineMutual)
    }

    /// Whether its score looks at gradients of the model's loss.
    pub fn scores_gradients(self) -> bool {
        matches!(self, Self::Gradient | Self::GradientMutual | Self::GradientFeature)
    }

    /// Whether it ends in feature choice.
    pub fn is_feature_choice(self) -> bool {
        matches!(self, Self::FeatureChoice | Self::GradientFeature)
    }

    /// Whether a penalty decides how many features a token has, instead of a budget of k.
    pub fn is_penalised(self) -> bool {
        matches!(self, Self::Relu | Self::Jumprelu | Self::Gated | Self::PAnneal | Self::Shrinkage)
    }

    /// Whether thresholds are fitted after training, because its allocation needs a whole batch.
    pub fn fits_thresholds(self) -> bool {
        matches!(self.inference(), Inference::OneThreshold | Inference::ThresholdEach)
    }

    pub(crate) fn inference(self) -> Inference {
        match self {
            Self::Topk
            | Self::AbsTopk
            | Self::Gradient
            | Self::Cosine
            | Self::BlockChoice
            | Self::MatchingPursuit => Inference::Best,
            Self::MutualChoice | Self::GradientMutual | Self::CosineMutual | Self::Matryoshka => {
                Inference::OneThreshold
            }
            Self::FeatureChoice | Self::GradientFeature => Inference::ThresholdEach,
            Self::Relu | Self::Jumprelu | Self::Gated | Self::PAnneal | Self::Shrinkage => Inference::Learned,
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Method {
    type Err = String;

    /// Reads a name or an alias; `_` is `-`.
    fn from_str(text: &str) -> Result<Self, String> {
        let name = text.replace('_', "-").to_ascii_lowercase();
        let is_called = |method: &Self| method.name() == name || method.aliases().contains(&name.as_str());
        Self::ALL.into_iter().find(is_called).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL
                .into_iter()
                .flat_map(|method| [&[method.name()], method.aliases()].concat())
                .collect();
            let near = nearest(text, &names).map_or(String::new(), |name| format!("did you mean `{name}`? "));
            let labels = Self::ALL.map(Self::label);
            format!("there is no method `{text}`; {near}There are {}", labels.join(", "))
        })
    }
}

impl TryFrom<String> for Method {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Method> for &'static str {
    fn from(method: Method) -> Self {
        method.name()
    }
}

/// The auxiliary loss of features that fire too rarely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuxLoss {
    /// Dead features reconstruct the residual (Gao et al. 2024).
    Auxk,
    /// Dead and under-used ones do (Ayonrinde 2024, our reading).
    Zipf,
    /// None.
    None,
}

/// What `shrinkage` does to pre-activations: the proximal operator of a penalty ([`Shrinkage`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// Of λ|v|.
    Soft,
    /// Of λ where v ≠ 0.
    Hard,
    /// Of λ√|v|.
    Half,
    /// Of CEL0, the minimax concave penalty.
    Firm,
    /// Of λ ln(1 + 2|v|).
    LogSum,
}

impl Activation {
    /// The shrinkage.
    pub fn shrinkage(self) -> Shrinkage {
        match self {
            Self::Soft => Shrinkage::Soft,
            Self::Hard => Shrinkage::Hard,
            Self::Half => Shrinkage::Half,
            Self::Firm => Shrinkage::Firm,
            Self::LogSum => Shrinkage::LogSum,
        }
    }
}

/// What the codes of `jumprelu` cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JumpPenalty {
    /// Their number.
    L0,
    /// Σ tanh(4·v) (Conerly et al. 2025).
    Tanh,
}

/// Who has an α of the cosine score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CosineAlpha {
    /// All features one.
    Shared,
    /// Each feature its own.
    Each,
}

/// How far decoder rows may leave the directions that they begin as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FrozenDecoder {
    /// Random directions of norm 1: those that every run begins with (the baseline of Makelov et al. 2024).
    Random,
    /// Random directions that training may turn by no more than the angle whose cosine is 0.8.
    Soft,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for method in Method::ALL {
            assert_eq!(method.name().parse::<Method>().unwrap(), method);
            assert_eq!(serde_json::to_value(method).unwrap(), method.name());
        }
        for name in ["batch-topk", "batchtopk", "batch_topk", "BatchTopK", "mutual_choice"] {
            assert_eq!(name.parse::<Method>().unwrap(), Method::MutualChoice);
            let config: crate::train::TrainConfig = toml::from_str(&format!("method = \"{name}\"")).unwrap();
            assert_eq!(config.method, Method::MutualChoice);
        }
        let message = "btach-topk".parse::<Method>().unwrap_err();
        assert!(message.contains("did you mean `batch-topk`"), "{message}");
        assert!(message.contains("mutual-choice (BatchTopK)"), "{message}");
        let all: Vec<&str> = Method::ALL
            .into_iter()
            .flat_map(|method| [&[method.name()], method.aliases()].concat())
            .collect();
        assert!((0..all.len()).all(|i| !all[..i].contains(&all[i])), "a name names one method");
    }
}

//! What a mixture-of-experts layer is.

use serde::Serialize;

use super::{Activation, DenseConfig};

/// A mixture of experts.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExpertsConfig {
    /// Number of experts E.
    pub experts: usize,
    /// Experts per token, k.
    pub k: usize,
    /// Hidden units of an expert.
    pub hidden: usize,
    /// Activation of the gate.
    pub activation: Activation,
    /// Biases of the experts.
    pub bias: bool,
    /// Whether an expert is `W_down (act(W_gate x) ∘ W_up x)`; else it is `W_down act(W_up x)`.
    pub gated: bool,
    /// How tokens choose.
    pub router: RouterConfig,
    /// An MLP that every token goes through besides its experts.
    pub shared: Option<Shared>,
    /// Prefix of the layer's tensors inside the block, e.g. `mlp`.
    pub naming: ExpertNaming,
}

/// How checkpoints store experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExpertNaming {
    /// `mlp.gate`, `mlp.experts.0.{gate,up,down}_proj`.
    Mlp,
    /// `block_sparse_moe.gate`, `block_sparse_moe.experts.0.{w1,w3,w2}` (Mixtral).
    Mixtral,
    /// `mlp.router`, stacked `[E, in, out]` with gate and up in turn (GPT-OSS).
    GptOss,
    /// `block_sparse_moe.router.layer`, stacked `input_linear` and `output_linear` (Granite).
    Granite,
    /// `router.proj`, `experts.{gate_up,down}_proj` stacked; the router and the experts read the stream through
    /// norms of their own, and the shared MLP is `mlp` (Gemma 4).
    Gemma4,
}

/// A shared MLP.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Shared {
    /// Its shape.
    pub mlp: DenseConfig,
    /// Whether its output is multiplied by σ(w·x) (Qwen2-MoE).
    pub gated: bool,
}

/// How a router chooses k of E experts and what it multiplies their outputs by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RouterConfig {
    /// What logits become.
    pub score: Score,
    /// Whether the logits have a bias.
    pub bias: bool,
    /// Whether the choice (not the weight) goes by score + a stored correction (DeepSeek-V3).
    pub correction: bool,
    /// Experts are chosen from the best groups only.
    pub groups: Option<Groups>,
    /// Whether the k weights are divided by their sum.
    pub normalise: bool,
    /// What the weights are multiplied by.
    pub scale: f64,
    /// Choices of one expert and one sequence beyond this many are dropped (Switch).
    pub capacity: Option<usize>,
    /// Whether logits are computed from the experts' own weights, so that tokens go to the experts that are
    /// expected to be sparsest for them (MoE-X), not from rows of a router.
    pub by_sparsity: bool,
    /// Whether each expert is a module with a switch of its own, on or off for every token (sparse modular
    /// activation): a token has as many as are on.
    pub switched: bool,
}

/// What a router's logits z become.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// Softmax over all experts.
    Softmax,
    /// σ(z).
    Sigmoid,
    /// The k largest logits are chosen, softmax over those.
    SoftmaxOfChosen,
}

/// Group-limited routing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Groups {
    /// Groups of neighbouring experts.
    pub count: usize,
    /// How many groups a token may choose from.
    pub keep: usize,
    /// A group's worth: the sum of its best this many scores.
    pub best: usize,
}

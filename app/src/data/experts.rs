//! How the tokens of a dataset were shared among the experts of a mixture-of-experts model.

/// The load of all layers.
#[derive(Clone, Debug, Default)]
pub struct ExpertUsage {
    /// One entry a layer, ascending.
    pub layers: Vec<LayerUsage>,
    /// Kinds of text that are counted apart.
    pub domains: Vec<String>,
}

/// One layer.
#[derive(Clone, Debug, Default)]
pub struct LayerUsage {
    /// Which layer of the model.
    pub layer: u16,
    /// Experts a token goes to.
    pub k: u16,
    /// Tokens counted.
    pub tokens: u64,
    /// Coefficient of variation of the load.
    pub cv: f64,
    /// max load / mean load − 1.
    pub max_violation: f64,
    /// Gini coefficient of the load.
    pub gini: f64,
    /// Entropy of the load, nats.
    pub load_entropy: f64,
    /// exp(load_entropy).
    pub effective_experts: f64,
    /// Mean entropy of the router's distribution, nats.
    pub router_entropy: f64,
    /// Experts that no token went to.
    pub dead: u16,
    /// All text first, then each domain in the order of [`ExpertUsage::domains`].
    pub loads: Vec<Vec<ExpertLoad>>,
}

/// One expert's load, index = expert.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ExpertLoad {
    /// Tokens that went to it.
    pub tokens: u64,
    /// Its share of the slots (k a token).
    pub share: f64,
    /// Mean weight that was applied.
    pub weight: f64,
}

impl ExpertUsage {
    /// Largest number of experts of a layer.
    pub fn experts(&self) -> usize {
        self.layers.iter().flat_map(|l| l.loads.first()).map(Vec::len).max().unwrap_or(0)
    }
}

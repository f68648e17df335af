//! A tap that takes experts out of the routers' choice.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::Result;
use lm::model::{Hook, Site, Tap};

/// Makes the logits of experts −∞: the router then neither chooses them nor gives them any probability, see
/// [`Routing`](lm::model::Routing).
#[derive(Debug, Clone, Default)]
pub struct ExpertMask {
    /// Experts by layer.
    pub(super) layers: BTreeMap<usize, Vec<u32>>,
}

impl ExpertMask {
    /// Of (layer, expert).
    pub fn new(experts: &[(u16, u16)]) -> Self {
        let mut layers: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
        for &(layer, expert) in experts {
            layers.entry(layer.into()).or_default().push(expert.into());
        }
        Self { layers }
    }
}

impl Tap for ExpertMask {
    fn wants(&self, hook: &Hook) -> bool {
        hook.site == Site::RouterLogits && self.layers.contains_key(&hook.layer)
    }

    fn at(&mut self, hook: &Hook, logits: &Tensor) -> Result<Option<Tensor>> {
        let Some(masked) = self.layers.get(&hook.layer) else { return Ok(None) };
        let mut add = vec![0.0f32; logits.dims().last().copied().unwrap_or(0)];
        masked.iter().for_each(|&expert| add[expert as usize] = f32::NEG_INFINITY);
        Ok(Some(logits.broadcast_add(&Tensor::new(add, logits.device())?)?))
    }
}

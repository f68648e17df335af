//! The experts that the tokens of a text are routed to.

use candle_core::Tensor;
use serde::Serialize;

use super::batch::Batch;
use crate::Result;
use lm::model::{Hook, Routing, Tap};

/// What the router of one layer chose for the `n` tokens of a text; BOS is not among them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerExperts {
    /// Layer of the model.
    pub layer: usize,
    /// Number of experts E.
    pub experts: usize,
    /// Experts per token, k.
    pub k: usize,
    /// Chosen experts `[n, k]`, the best score first.
    pub chosen: Vec<u32>,
    /// Weights of their outputs, `[n, k]`; 0 for a choice that was dropped.
    pub weights: Vec<f32>,
}

impl LayerExperts {
    /// Experts of `token` with their weights, the best score first.
    pub fn of(&self, token: usize) -> impl Iterator<Item = (u32, f32)> + '_ {
        let row = token * self.k..(token + 1) * self.k;
        row.filter_map(|i| Some((*self.chosen.get(i)?, *self.weights.get(i)?)))
    }
}

/// A tap that keeps the value at a hook and the routers' choices for the text's tokens.
pub(super) struct CleanTap<'a> {
    pub hook: Hook,
    pub batch: &'a Batch,
    pub value: Option<Tensor>,
    pub experts: Vec<LayerExperts>,
}

impl Tap for CleanTap<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        *hook == self.hook
    }

    fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        self.value = Some(value.clone());
        Ok(None)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        let Routing { layer, experts, k, .. } = *routing;
        let tokens = self.batch.first * k..(self.batch.first + self.batch.tokens) * k;
        self.experts.push(LayerExperts {
            layer,
            experts,
            k,
            chosen: routing.chosen[tokens.clone()].to_vec(),
            weights: routing.weights[tokens].to_vec(),
        });
        Ok(())
    }
}

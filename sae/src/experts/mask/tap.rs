//! A tap that takes experts out of a model.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::Result;
use lm::model::{Hook, LanguageModel, MonetExperts, Routing, Site, Tap};

/// Makes the logits of experts −∞: the router then neither chooses them nor gives them any probability, see
/// [`Routing`]. Of Monet's experts it takes what they add off the layer's output.
#[derive(Debug, Default)]
pub struct ExpertMask {
    /// Experts by layer.
    pub(super) layers: BTreeMap<usize, Vec<u32>>,
    /// Of layers that are Monet's.
    monet: BTreeMap<usize, MonetExperts>,
    /// Input of the Monet layer that is running, and what is to be taken off its output.
    input: Vec<f32>,
    part: Vec<f32>,
}

impl ExpertMask {
    /// Of (layer, expert).
    ///
    /// # Errors
    /// Weights of Monet's experts that cannot be copied.
    pub fn new(experts: &[(u16, u32)], model: &LanguageModel) -> Result<Self> {
        let mut masked = Self::default();
        for &(layer, expert) in experts {
            masked.layers.entry(layer.into()).or_default().push(expert);
        }
        for &layer in masked.layers.keys() {
            if let Some(monet) = model.decoder().monet_experts(layer)? {
                masked.monet.insert(layer, monet);
            }
        }
        Ok(masked)
    }
}

impl Tap for ExpertMask {
    fn wants(&self, hook: &Hook) -> bool {
        match self.monet.contains_key(&hook.layer) {
            true => matches!(hook.site, Site::MlpIn | Site::MlpOut),
            false => hook.site == Site::RouterLogits && self.layers.contains_key(&hook.layer),
        }
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        match hook.site {
            Site::MlpIn => {
                self.input = value.flatten_all()?.to_vec1()?;
                Ok(None)
            }
            Site::MlpOut => {
                let part = std::mem::take(&mut self.part);
                Ok(Some((value - Tensor::from_vec(part, value.dims(), value.device())?)?))
            }
            _ => {
                let Some(masked) = self.layers.get(&hook.layer) else { return Ok(None) };
                let mut add = vec![0.0f32; value.dims().last().copied().unwrap_or(0)];
                masked.iter().for_each(|&expert| add[expert as usize] = f32::NEG_INFINITY);
                Ok(Some(value.broadcast_add(&Tensor::new(add, value.device())?)?))
            }
        }
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        let (Some(monet), Some(masked)) = (self.monet.get(&routing.layer), self.layers.get(&routing.layer))
        else {
            return Ok(());
        };
        let (tokens, width) = routing.probabilities.dims2()?;
        let gates: Vec<f32> = routing.probabilities.flatten_all()?.to_vec1()?;
        let d = self.input.len() / tokens.max(1);
        self.part = vec![0.0; self.input.len()];
        for (t, part) in self.part.chunks_exact_mut(d.max(1)).enumerate() {
            monet.add(&self.input[t * d..(t + 1) * d], &gates[t * width..(t + 1) * width], masked, part);
        }
        Ok(())
    }
}

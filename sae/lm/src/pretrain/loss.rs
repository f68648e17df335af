//! The pretraining loss: next-token cross-entropy, and what keeps the routers healthy.

use candle_core::{Device, Tensor};

use crate::Result;
use crate::model::{Decoder, Hook, Routing, Tap, summed_loss};
use crate::text::Contexts;

/// Collects the routers' losses of every layer while the model runs.
struct RouterLosses {
    /// 1 for tokens, 0 for padding, `[tokens, 1]`.
    mask: Tensor,
    tokens: f64,
    real: Vec<bool>,
    balance: Vec<Tensor>,
    z: Vec<Tensor>,
}

impl RouterLosses {
    fn new(contexts: &Contexts) -> Result<Self> {
        let real: Vec<bool> = contexts.segments.iter().map(|&s| s != 0).collect();
        let mask: Vec<f32> = real.iter().map(|&r| f32::from(u8::from(r))).collect();
        let tokens = mask.iter().map(|m| f64::from(*m)).sum::<f64>().max(1.0);
        let mask = Tensor::from_vec(mask, (real.len(), 1), &Device::Cpu)?;
        Ok(Self { mask, tokens, real, balance: Vec::new(), z: Vec::new() })
    }
}

impl Tap for RouterLosses {
    fn wants(&self, _: &Hook) -> bool {
        false
    }

    fn at(&mut self, _: &Hook, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    // Switch Transformers' loss, E · Σ_e F_e P_e with F_e the share of choices and P_e the mean probability: 1 when balanced.
    fn routing(&mut self, routing: &Routing) -> Result<()> {
        let mut share = vec![0f32; routing.experts];
        let one = (1.0 / (self.tokens * routing.k as f64)) as f32;
        for (chosen, _) in routing.chosen.chunks_exact(routing.k).zip(&self.real).filter(|(_, real)| **real) {
            chosen.iter().for_each(|&e| share[e as usize] += one);
        }
        let share = Tensor::from_vec(share, routing.experts, &Device::Cpu)?;
        let mean = (routing.probabilities.broadcast_mul(&self.mask)?.sum(0)? / self.tokens)?;
        self.balance.push(((mean * share)?.sum_all()? * routing.experts as f64)?);
        let z = routing.logits.log_sum_exp(1)?.sqr()?;
        self.z.push(((z * self.mask.squeeze(1)?)?.sum_all()? / self.tokens)?);
        Ok(())
    }
}

/// The parts of a batch's loss.
#[derive(Debug)]
pub struct Loss {
    /// What is minimised; differentiable.
    pub total: Tensor,
    /// Cross-entropy in nats, mean over the targets.
    pub cross_entropy: f32,
    /// Load balance, mean over layers; 1 is balanced.
    pub balance: f32,
}

/// Runs the model and gives its loss: `mean cross-entropy + balance_weight · balance + z_weight · z`.
///
/// # Errors
/// As [`Decoder::residual`]; a model without routers.
pub fn loss(decoder: &Decoder, contexts: &Contexts, balance_weight: f64, z_weight: f64) -> Result<Loss> {
    let mut routers = RouterLosses::new(contexts)?;
    let logits = decoder.forward(contexts, &mut routers)?;
    let targets = contexts.targets().iter().flatten().count().max(1);
    let cross_entropy = (summed_loss(&logits, contexts)? / targets as f64)?;
    let mean = |parts: &[Tensor]| -> Result<Tensor> { Ok(Tensor::stack(parts, 0)?.mean_all()?) };
    let (balance, z) = (mean(&routers.balance)?, mean(&routers.z)?);
    let total = ((&cross_entropy + (&balance * balance_weight)?)? + (z * z_weight)?)?;
    Ok(Loss { total, cross_entropy: cross_entropy.to_scalar()?, balance: balance.to_scalar()? })
}

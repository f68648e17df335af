//! The pretraining loss: next-token cross-entropy, and what keeps the routers healthy.

use candle_core::{D, Device, Tensor};

use super::gate::DenseGate;
use super::{Kind, PretrainConfig};
use crate::Result;
use crate::model::{Decoder, Hook, Routing, Site, Tap, summed_loss};
use crate::text::Contexts;

/// Keeps the logarithm of a share that is 0 finite.
const LEAST_SHARE: f64 = 1e-9;

/// Collects the routers' losses of every layer while the model runs.
struct RouterLosses {
    kind: Kind,
    /// Halves of Monet's experts.
    side: usize,
    /// 1 for tokens, 0 for padding, `[tokens, 1]`.
    mask: Tensor,
    tokens: f64,
    real: Vec<bool>,
    balance: Vec<Tensor>,
    z: Vec<Tensor>,
    uniformity: Vec<Tensor>,
    ambiguity: Vec<Tensor>,
    used: Vec<(usize, Vec<u64>)>,
    logits: Vec<HeadMoments>,
    gate: Option<DenseGate>,
    /// Entropies of the routers, and experts that ran, summed over tokens and layers; and how many were summed.
    entropy: f64,
    ran: u64,
    routed: u64,
}

/// Mean and variance of the logits of Monet's two routers in a layer, head by head.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadMoments {
    /// The layer.
    pub layer: usize,
    /// Of the first router, then of the second: means and variances `[H]`.
    pub routers: [(Vec<f32>, Vec<f32>); 2],
}

impl RouterLosses {
    fn new(config: &PretrainConfig, contexts: &Contexts, gate: Option<DenseGate>) -> Result<Self> {
        let real: Vec<bool> = contexts.segments.iter().map(|&s| s != 0).collect();
        let mask: Vec<f32> = real.iter().map(|&r| f32::from(u8::from(r))).collect();
        let tokens = mask.iter().map(|m| f64::from(*m)).sum::<f64>().max(1.0);
        let mask = Tensor::from_vec(mask, (real.len(), 1), &Device::Cpu)?;
        Ok(Self {
            kind: config.architecture,
            side: config.experts.isqrt(),
            mask,
            tokens,
            real,
            balance: Vec::new(),
            z: Vec::new(),
            uniformity: Vec::new(),
            ambiguity: Vec::new(),
            used: Vec::new(),
            logits: Vec::new(),
            gate,
            entropy: 0.0,
            ran: 0,
            routed: 0,
        })
    }

    /// Monet's losses from the gates of both routers, `[rows, len, 2 · H · √E]`. Uniformity is the mean of −ln ĝ,
    /// with ĝ a half's mean gate over the tokens: ln √E where all are used alike. Ambiguity is the mean of one
    /// less the largest gate.
    fn monet(&mut self, layer: usize, gates: &Tensor) -> Result<()> {
        let width = gates.dim(D::Minus1)?;
        let gates = gates.reshape((self.real.len(), width))?;
        let mean = (gates.broadcast_mul(&self.mask)?.sum(0)? / self.tokens)?;
        self.uniformity.push((mean + LEAST_SHARE)?.log()?.mean_all()?.neg()?);
        let heads = width / self.side;
        let largest = gates.reshape((self.real.len(), heads, self.side))?.max(D::Minus1)?;
        let largest = (largest.broadcast_mul(&self.mask)?.sum_all()? / (self.tokens * heads as f64))?;
        self.ambiguity.push((1.0 - largest)?);
        let mut used = vec![0; 2 * self.side];
        let numbers = gates.flatten_all()?.to_vec1::<f32>()?;
        for (row, _) in numbers.chunks_exact(width).zip(&self.real).filter(|(_, real)| **real) {
            for (at, _) in row.iter().enumerate().filter(|(_, gate)| **gate > 0.0) {
                // Heads of the first router, then of the second.
                used[at / (width / 2) * self.side + at % self.side] += 1;
            }
        }
        self.used.push((layer, used));
        Ok(())
    }

    /// Moments of the logits `[rows, len, 2 · H · √E]` over tokens and halves.
    fn moments(&mut self, layer: usize, logits: &Tensor) -> Result<()> {
        let width = logits.dim(D::Minus1)?;
        let numbers = logits.flatten_all()?.to_vec1::<f32>()?;
        let side = self.side;
        let of_head = |head: usize| {
            let rows = numbers.chunks_exact(width).zip(&self.real).filter(|(_, real)| **real);
            let values =
                rows.flat_map(|(row, _)| &row[head * side..(head + 1) * side]).map(|v| f64::from(*v));
            let n = self.tokens * side as f64;
            let mean = values.clone().sum::<f64>() / n;
            // Torch keeps the variance of a sample.
            let variance = values.map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
            (mean as f32, variance as f32)
        };
        let heads = width / side / 2;
        let router = |which: usize| (which * heads..(which + 1) * heads).map(of_head).unzip();
        self.logits.push(HeadMoments { layer, routers: [router(0), router(1)] });
        Ok(())
    }
}

impl Tap for RouterLosses {
    fn wants(&self, hook: &Hook) -> bool {
        match self.kind {
            _ if self.gate.is_some() => DenseGate::wants(hook),
            kind if kind.is_monet() => matches!(hook.site, Site::RouterLogits | Site::RouterScores),
            _ => false,
        }
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        if let Some(gate) = &mut self.gate {
            return gate.at(hook, value);
        }
        match hook.site {
            Site::RouterLogits => self.moments(hook.layer, value)?,
            _ => self.monet(hook.layer, value)?,
        }
        Ok(None)
    }

    fn wants_routing(&self) -> bool {
        !self.kind.is_monet()
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        let mut used = vec![0u64; routing.experts];
        for t in (0..self.real.len()).filter(|t| self.real[*t]) {
            let (chosen, weights) = routing.of(t);
            chosen.iter().zip(weights).filter(|(_, w)| **w > 0.0).for_each(|(&e, _)| used[e as usize] += 1);
            self.entropy += f64::from(routing.entropy[t]);
            self.routed += 1;
        }
        self.ran += used.iter().sum::<u64>();
        self.used.push((routing.layer, used));
        match self.kind {
            Kind::Modular => Ok(()),
            _ => self.spread(routing),
        }
    }
}

impl RouterLosses {
    // Switch Transformers' loss, E · Σ_e F_e P_e with F_e the share of choices and P_e the mean probability: 1 when balanced.
    fn spread(&mut self, routing: &Routing) -> Result<()> {
        let mut share = vec![0f32; routing.experts];
        let one = (1.0 / (self.tokens * routing.k as f64)) as f32;
        let choices = routing.chosen.chunks_exact(routing.k);
        for (chosen, _) in choices.zip(&self.real).filter(|(_, real)| **real) {
            chosen.iter().for_each(|&e| share[e as usize] += one);
        }
        if let Some(balance) = self.gate.as_mut().map(|gate| gate.balance(&self.real)).transpose()?.flatten()
        {
            self.balance.push(balance);
        } else {
            let share = Tensor::from_vec(share, routing.experts, &Device::Cpu)?;
            let mean = (routing.probabilities.broadcast_mul(&self.mask)?.sum(0)? / self.tokens)?;
            self.balance.push(((mean * share)?.sum_all()? * routing.experts as f64)?);
        }
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
    /// The routers' losses by name, means over layers; balance is 1 where experts are used alike.
    pub routers: Vec<(&'static str, f32)>,
    /// How often each expert (Monet: half of experts) was used, layer by layer.
    pub used: Vec<(usize, Vec<u64>)>,
    /// Tokens of the batch.
    pub tokens: u64,
    /// Monet: moments of the routers' logits.
    pub logits: Vec<HeadMoments>,
}

/// Runs the model and gives its loss: mean cross-entropy + each of the routers' losses times its weight. `gate`
/// is EvoMoE's while it is dense.
///
/// # Errors
/// As [`Decoder::residual`].
pub fn loss(
    decoder: &Decoder,
    contexts: &Contexts,
    config: &PretrainConfig,
    gate: Option<DenseGate>,
) -> Result<Loss> {
    let mut routers = RouterLosses::new(config, contexts, gate)?;
    let logits = decoder.forward(contexts, &mut routers)?;
    let targets = contexts.targets().iter().flatten().count().max(1);
    let cross_entropy = (summed_loss(&logits, contexts)? / targets as f64)?;
    let mut total = cross_entropy.clone();
    let mut shown = Vec::new();
    let parts = [
        ("balance", &routers.balance, config.balance),
        ("z", &routers.z, config.z_loss),
        ("uniformity", &routers.uniformity, config.uniformity),
        ("ambiguity", &routers.ambiguity, config.ambiguity),
    ];
    for (name, parts, weight) in parts {
        if parts.is_empty() {
            continue;
        }
        let mean = Tensor::stack(parts, 0)?.mean_all()?;
        if weight != 0.0 {
            total = (total + (&mean * weight)?)?;
        }
        if name != "z" {
            shown.push((name, mean.to_scalar()?));
        }
    }
    if routers.routed > 0 {
        let of_tokens = |sum: f64| (sum / routers.routed as f64) as f32;
        shown.push(("experts per token", of_tokens(routers.ran as f64)));
        shown.push(("router entropy", of_tokens(routers.entropy)));
    }
    if let Some(gate) = &routers.gate {
        shown.push(("temperature", gate.temperature as f32));
    }
    Ok(Loss {
        total,
        cross_entropy: cross_entropy.to_scalar()?,
        routers: shown,
        used: routers.used,
        tokens: routers.tokens as u64,
        logits: routers.logits,
    })
}

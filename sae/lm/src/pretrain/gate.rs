//! EvoMoE's gate (Nie et al. 2021): dense at first, sparse as its temperature falls, one expert at the end.
//!
//! While it is dense, the gates of a token are the softmax of its logits with Gumbel noise, divided by the
//! temperature. Experts whose gate is above 0.001 run, and their outputs are weighed by the softmax of the
//! logits as they are, which is not normalised again. After `dense_share` of the tokens the expert with the
//! largest logit runs alone. There is no noise outside of training.

use candle_core::{D, Tensor};
use kernels::chance::{Purpose, generator, uniform};
use serde::{Deserialize, Serialize};

use crate::model::{Hook, Site};
use crate::{Error, Result};

/// An expert runs only if its gate is larger.
const LEAST: f32 = 0.001;

/// How the gate becomes sparse.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Schedule {
    /// Temperature in the first step.
    pub highest: f64,
    /// Temperature at the end of the fall.
    pub lowest: f64,
    /// Steps of the fall.
    pub steps: u64,
    /// Whether it falls in a straight line; else by the same factor in every step.
    pub linear: bool,
    /// Share of the tokens after which one expert runs alone.
    pub dense_share: f64,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { highest: 1.0, lowest: 0.1, steps: 1000, linear: false, dense_share: 0.5 }
    }
}

impl Schedule {
    /// The temperature of step `step`, counted from 0.
    pub fn temperature(&self, step: u64) -> f64 {
        let way = step as f64 / self.steps.max(1) as f64;
        let at = match self.linear {
            true => self.highest - way * (self.highest - self.lowest),
            false => self.highest * (self.lowest / self.highest).powf(way),
        };
        at.max(self.lowest)
    }

    /// An error for temperatures that cannot be.
    pub(super) fn check(&self) -> Result<()> {
        match self.lowest > 0.0 && self.lowest <= self.highest && self.highest.is_finite() {
            true => Ok(()),
            false => Err(Error::request(format!(
                "the gate's temperatures are {} to {}; expected positive numbers, the highest first",
                self.highest, self.lowest
            ))),
        }
    }
}

/// The gate of one training step.
#[derive(Debug)]
pub(super) struct DenseGate {
    pub seed: u64,
    pub step: u64,
    pub temperature: f64,
    /// Of the layer that is running: its logits as they are, and the experts in the order of their gates.
    raw: Option<Tensor>,
    order: Option<Tensor>,
    gates: Option<Tensor>,
}

impl DenseGate {
    pub fn new(seed: u64, step: u64, temperature: f64) -> Self {
        Self { seed, step, temperature, raw: None, order: None, gates: None }
    }

    pub fn wants(hook: &Hook) -> bool {
        matches!(
            hook.site,
            Site::RouterLogits | Site::RouterScores | Site::ExpertIndices | Site::ExpertWeights
        )
    }

    /// The value that takes the place of `value`.
    ///
    /// # Errors
    /// A value of a shape that the router's logits did not have.
    pub fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        match hook.site {
            Site::RouterLogits => {
                self.raw = Some(value.clone());
                // Positions of the weights' stream: 0 is the first weights, 1 what a dense model becomes.
                let mut rng = generator(self.seed, Purpose::Weights, hook.layer as u64, 2 + self.step);
                let gumbel = || -(-uniform(&mut rng).ln()).ln() as f32;
                let noise: Vec<f32> = std::iter::repeat_with(gumbel).take(value.elem_count()).collect();
                let noise = Tensor::from_vec(noise, value.dims(), value.device())?;
                Ok(Some(((value + noise)? / self.temperature)?))
            }
            Site::RouterScores => {
                self.gates = Some(value.clone());
                Ok(None)
            }
            Site::ExpertIndices => {
                self.order = Some(value.clone());
                Ok(None)
            }
            Site::ExpertWeights => self.weights(value).map(Some),
            _ => Ok(None),
        }
    }

    /// `gates [rows, len, E]`, in the order of the experts → softmax of the logits of those that run.
    fn weights(&mut self, gates: &Tensor) -> Result<Tensor> {
        let (Some(raw), Some(order)) = (self.raw.take(), self.order.take()) else {
            return Err(Error::data("a gate's weights came before its logits".to_owned()));
        };
        let numbers = gates.flatten_all()?.to_vec1::<f32>()?;
        let runs: Vec<f32> = numbers.iter().map(|g| f32::from(u8::from(*g > LEAST))).collect();
        let runs = Tensor::from_vec(runs, gates.dims(), gates.device())?;
        let plain = candle_nn::ops::softmax(&raw, D::Minus1)?;
        Ok((plain.gather(&order.contiguous()?, D::Minus1)? * runs)?)
    }

    /// EvoMoE's load-balancing loss of the layer that has just run: E² times the mean over experts of (mean gate
    /// · share of tokens that it ran for). `real [tokens]` tells padding from tokens.
    ///
    /// # Errors
    /// Numbers of tokens that are not those of `real`.
    pub fn balance(&mut self, real: &[bool]) -> Result<Option<Tensor>> {
        let Some(gates) = self.gates.take() else { return Ok(None) };
        let experts = gates.dim(D::Minus1)?;
        let gates = gates.reshape((real.len(), experts))?;
        let tokens = real.iter().filter(|r| **r).count().max(1) as f64;
        let mask: Vec<f32> = real.iter().map(|r| f32::from(u8::from(*r))).collect();
        let numbers = gates.flatten_all()?.to_vec1::<f32>()?;
        let mut share = vec![0f32; experts];
        for (row, _) in numbers.chunks_exact(experts).zip(real).filter(|(_, real)| **real) {
            share.iter_mut().zip(row).for_each(|(s, g)| *s += f32::from(u8::from(*g > LEAST)));
        }
        let share = (Tensor::from_vec(share, experts, gates.device())? / tokens)?;
        let mask = Tensor::from_vec(mask, (real.len(), 1), gates.device())?;
        let mean = (gates.broadcast_mul(&mask)?.sum(0)? / tokens)?;
        Ok(Some(((mean * share)?.sum_all()? * experts as f64)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temperatures_fall_by_factor_or_in_a_line_and_stay() {
        let by = |linear| Schedule { highest: 2.0, lowest: 0.5, steps: 10, linear, dense_share: 0.5 };
        assert_eq!([0, 5, 10, 99].map(|s| by(false).temperature(s)), [2.0, 1.0, 0.5, 0.5]);
        assert_eq!([0, 5, 10, 99].map(|s| by(true).temperature(s)), [2.0, 1.25, 0.5, 0.5]);
        assert!(Schedule { lowest: 0.0, ..Schedule::default() }.check().is_err());
    }
}

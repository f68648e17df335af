//! AdamW over all parameters, with the gradient clipped to a global norm.

use std::collections::BTreeMap;

use candle_core::Tensor;
use candle_core::backprop::GradStore;
use rayon::prelude::*;

use super::Parameters;
use crate::{Error, Result};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.95;
const EPSILON: f64 = 1e-8;
const LARGEST_NORM: f64 = 1.0;
/// Numbers updated together by one thread.
const CHUNK: usize = 1 << 14;

/// First and second moment of one parameter.
#[derive(Debug, Clone, Default)]
pub struct Moments {
    /// Mean of the gradient.
    pub first: Vec<f32>,
    /// Mean of its square.
    pub second: Vec<f32>,
}

/// The state of AdamW (Loshchilov and Hutter 2019).
#[derive(Debug)]
pub struct AdamW {
    /// Moments by the parameter's name.
    pub moments: BTreeMap<String, Moments>,
    weight_decay: f64,
}

impl AdamW {
    /// All moments zero.
    pub fn new(parameters: &Parameters, weight_decay: f64) -> Self {
        let zeros = |n| Moments { first: vec![0.0; n], second: vec![0.0; n] };
        let moments =
            parameters.iter().map(|(name, var)| (name.to_owned(), zeros(var.elem_count()))).collect();
        Self { moments, weight_decay }
    }

    /// One update; `step` counts from 0. Gives the gradient's norm before clipping.
    ///
    /// # Errors
    /// A parameter that no gradient reached; a gradient that is not finite, with the step.
    pub fn step(&mut self, parameters: &Parameters, grads: &GradStore, step: u64, rate: f64) -> Result<f64> {
        let mut gradients = Vec::new();
        for (name, var) in parameters.iter() {
            // Silence would mean a parameter that never learns: candle gives none when an operation has no backward pass.
            let grad = grads.get(var).ok_or_else(|| Error::data(format!("no gradient reached `{name}`")))?;
            gradients.push(grad.flatten_all()?.to_vec1::<f32>()?);
        }
        let squares = |g: &Vec<f32>| -> f64 {
            let chunks: Vec<f64> =
                g.par_chunks(CHUNK).map(|c| c.iter().map(|v| f64::from(*v) * f64::from(*v)).sum()).collect();
            chunks.iter().sum()
        };
        let norm = gradients.iter().map(squares).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Err(Error::data(format!(
                "the gradient is not finite in step {step}; try a lower learning rate"
            )));
        }
        let clip = (LARGEST_NORM / norm.max(1e-12)).min(1.0);
        for ((name, var), grad) in parameters.iter().zip(&gradients) {
            let Some(moments) = self.moments.get_mut(name) else { continue };
            let decay = if var.rank() > 1 { rate * self.weight_decay } else { 0.0 };
            let mut weights = var.flatten_all()?.to_vec1::<f32>()?;
            update(&mut weights, grad, moments, step, rate, decay, clip);
            var.set(&Tensor::from_vec(weights, var.dims(), var.device())?)?;
        }
        Ok(norm)
    }
}

fn update(w: &mut [f32], g: &[f32], moments: &mut Moments, step: u64, rate: f64, decay: f64, clip: f64) {
    let t = (step + 1) as i32;
    let (c1, c2) = (1.0 - BETA1.powi(t), 1.0 - BETA2.powi(t));
    let (b1, b2, clip, keep) = (BETA1 as f32, BETA2 as f32, clip as f32, (1.0 - decay) as f32);
    let (size, root, eps) = ((rate / c1) as f32, (1.0 / c2.sqrt()) as f32, EPSILON as f32);
    w.par_chunks_mut(CHUNK)
        .zip(g.par_chunks(CHUNK))
        .zip(moments.first.par_chunks_mut(CHUNK))
        .zip(moments.second.par_chunks_mut(CHUNK))
        .for_each(|(((w, g), m), v)| {
            for (((w, g), m), v) in w.iter_mut().zip(g).zip(m).zip(v) {
                let g = g * clip;
                *m = b1 * *m + (1.0 - b1) * g;
                *v = b2 * *v + (1.0 - b2) * g * g;
                *w = keep * *w - size * *m / (v.sqrt() * root + eps);
            }
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_updates_by_hand() {
        let (mut w, g) = (vec![1.0f32], [0.5f32]);
        let mut moments = Moments { first: vec![0.0], second: vec![0.0] };
        update(&mut w, &g, &mut moments, 0, 0.1, 0.01, 1.0);
        // The first corrected moment is the gradient itself: the step has the size of the rate.
        assert!((w[0] - (0.99 - 0.1)).abs() < 1e-6);
        update(&mut w, &[-0.5], &mut moments, 1, 0.1, 0.0, 1.0);
        let (m, v) = (0.9 * 0.05 - 0.1 * 0.5, 0.95 * 0.0125 + 0.05 * 0.25f64);
        let wanted = 0.89 - 0.1 * (m / (1.0 - 0.81)) / ((v / (1.0 - 0.95f64.powi(2))).sqrt() + 1e-8);
        assert!((f64::from(w[0]) - wanted).abs() < 1e-6);
    }
}

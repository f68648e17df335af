//! Modules that are switched on token by token (sparse modular activation, Ren et al. 2023).
//!
//! Each module has a configurator of two ways: logits u = W h + b in R², off and on, divided by a learned
//! temperature exp(θ). The module runs for a token iff the softmax of the two is larger for on, and its output is
//! multiplied by that probability, which is how a gradient reaches the configurator: without noise, and without
//! a loss that spreads the load. The softmax of two numbers is the sigmoid of their difference, so that one logit a module
//! says all:
//!
//! ```text
//! z = (u_on − u_off) / exp(θ),    p = σ(z),    the module runs iff z > 0
//! ```
//!
//! A router of these logits then differs from others in that a token has as many modules as are on, also none.

use candle_core::{DType, Tensor};

use super::load::{BlockLoader, Linear};
use super::ops::linear;
use crate::Result;

/// The configurators of a layer's modules.
#[derive(Debug)]
pub(super) struct Switches {
    /// W and b, `[2 · M, d_model]` and `[2 · M]`: all modules off, then all modules on.
    both: Linear,
    /// θ `[M]`.
    temperature: Tensor,
    /// Rows that give z, `[M, d_model]`, as they are when the weights are loaded.
    rows: Tensor,
}

impl Switches {
    /// Takes the configurators of `modules` modules.
    ///
    /// # Errors
    /// A tensor that is missing or has a different shape, with its name.
    pub fn load(
        loader: &mut BlockLoader<'_, '_>,
        name: &str,
        modules: usize,
        d_model: usize,
    ) -> Result<Self> {
        let both = loader.linear(name, 2 * modules, d_model, true)?;
        let temperature = loader.take(&format!("{name}.temperature"), &[modules])?;
        let rows = difference(&both.weight, &temperature)?.detach();
        Ok(Self { both, temperature, rows })
    }

    /// Logits z `[.., M]` of `x [.., d_model]`.
    ///
    /// # Errors
    /// An `x` of a different width.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let rows = match self.both.is_trained() {
            true => difference(&self.both.weight, &self.temperature)?,
            false => self.rows.clone(),
        };
        let bias = self.both.bias.as_ref().map(|bias| difference(bias, &self.temperature)).transpose()?;
        Ok(linear(x, &rows, bias.as_ref())?)
    }

    /// The rows of the logits, `[M, d_model]`, of a model that is not in training.
    pub fn rows(&self) -> &Tensor {
        &self.rows
    }
}

/// (second half − first half) / exp(θ) of `[2 · M, ..]`.
fn difference(both: &Tensor, temperature: &Tensor) -> Result<Tensor> {
    let modules = temperature.dim(0)?;
    let off_to_on = (both.narrow(0, modules, modules)? - both.narrow(0, 0, modules)?)?;
    let mut shape = vec![1; both.rank()];
    shape[0] = modules;
    Ok(off_to_on.broadcast_div(&temperature.exp()?.reshape(shape)?)?)
}

/// 1 for modules that are on, 0 for those that are off, of their logits. No gradient passes.
///
/// # Errors
/// Logits that are not floating-point numbers.
pub(super) fn on(logits: &Tensor) -> Result<Tensor> {
    Ok(logits.gt(0f32)?.to_dtype(DType::F32)?)
}

/// Entropy in nats of a token's switches, from the probabilities `[M]` that they are on.
pub(super) fn entropy(on: &[f32]) -> f32 {
    let part = |p: f32| if p > 0.0 { -p * p.ln() } else { 0.0 };
    on.iter().map(|p| part(*p) + part(1.0 - p)).sum()
}

#[cfg(test)]
mod tests;

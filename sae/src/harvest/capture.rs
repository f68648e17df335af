//! One batch through the model, and what is wanted of it.

use candle_core::{Tensor, Var};

use crate::{Error, Result};
use lm::model::{Decoder, Hook, Routing, Tap};
use lm::text::Contexts;

/// What one batch gave. Rows are tokens of the batch, BOS and padding included.
#[derive(Debug, Default)]
pub(super) struct Captured {
    /// For each wanted hook the values `[rows · len, width]`.
    pub values: Vec<Vec<f32>>,
    /// For each wanted hook the gradients, if asked for.
    pub gradients: Vec<Vec<f32>>,
    /// For each layer that has experts.
    pub routing: Vec<Routing>,
}

struct Capture<'a> {
    hooks: &'a [Hook],
    values: Vec<Option<Tensor>>,
    /// Zeros added to each value: their gradient is the gradient of the value, whatever comes before and
    /// after.
    shifts: Option<Vec<Option<Var>>>,
    routing: Option<Vec<Routing>>,
}

impl Tap for Capture<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        self.hooks.contains(hook)
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let Some(i) = self.hooks.iter().position(|h| h == hook) else { return Ok(None) };
        self.values[i] = Some(value.clone());
        let Some(shifts) = &mut self.shifts else { return Ok(None) };
        let shift = Var::zeros(value.shape(), value.dtype(), value.device())?;
        let shifted = (value + shift.as_tensor())?;
        shifts[i] = Some(shift);
        Ok(Some(shifted))
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        if let Some(all) = &mut self.routing {
            all.push(routing.clone());
        }
        Ok(())
    }
}

/// Runs the model over `contexts`, no further than the last thing that is wanted.
pub(super) fn capture(
    decoder: &Decoder,
    contexts: &Contexts,
    hooks: &[Hook],
    routing: bool,
    gradients: bool,
) -> Result<Captured> {
    let none = || hooks.iter().map(|_| None).collect();
    let mut tap = Capture {
        hooks,
        values: hooks.iter().map(|_| None).collect(),
        shifts: gradients.then(none),
        routing: routing.then(Vec::new),
    };
    if gradients {
        let residual = decoder.residual(contexts, decoder.config().num_hidden_layers, &mut tap)?;
        let grads = decoder.summed_loss(&residual, contexts)?.backward()?;
        let gradients = tap.shifts.take().unwrap_or_default().into_iter().zip(hooks).map(|(shift, hook)| {
            let missing = || Error::data(format!("no gradient reached {hook}"));
            let shift = shift.ok_or_else(missing)?;
            numbers(grads.get(&shift).ok_or_else(missing)?)
        });
        let gradients = gradients.collect::<Result<_>>()?;
        return Ok(Captured { gradients, ..finish(tap)? });
    }
    let layers = decoder.config().num_hidden_layers;
    let last = hooks.iter().map(|hook| (hook.layer + 1).min(layers)).max().unwrap_or(0);
    decoder.residual(contexts, if routing { layers } else { last }, &mut tap)?;
    finish(tap)
}

fn finish(tap: Capture<'_>) -> Result<Captured> {
    let values = tap.values.iter().zip(tap.hooks).map(|(value, hook)| {
        numbers(value.as_ref().ok_or_else(|| Error::data(format!("the model never reached {hook}")))?)
    });
    let values = values.collect::<Result<_>>()?;
    Ok(Captured { values, gradients: Vec::new(), routing: tap.routing.unwrap_or_default() })
}

fn numbers(tensor: &Tensor) -> Result<Vec<f32>> {
    Ok(tensor.flatten_all()?.to_vec1()?)
}

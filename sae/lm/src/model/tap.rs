//! Reading and replacing a model's values while it runs.

use candle_core::Tensor;

use super::{Hook, Routing, Site};
use crate::{Error, Result};

/// Is shown the values at the hooks it wants and may replace them.
///
/// ```
/// use lm::model::{Hook, Tap};
///
/// /// Keeps the value at one hook.
/// struct Keep(Hook, Option<candle_core::Tensor>);
///
/// impl Tap for Keep {
///     fn wants(&self, hook: &Hook) -> bool {
///         *hook == self.0
///     }
///     fn at(&mut self, _: &Hook, value: &candle_core::Tensor) -> lm::Result<Option<candle_core::Tensor>> {
///         self.1 = Some(value.clone());
///         Ok(None)
///     }
/// }
/// ```
pub trait Tap {
    /// True if [`Tap::at`] should be called for `hook`.
    fn wants(&self, hook: &Hook) -> bool;

    /// The value at a wanted hook, `[rows, len, width]` (a pattern is `[rows, heads, len, len]`). A tensor of
    /// the same shape in return takes its place.
    ///
    /// # Errors
    /// Whatever the tap cannot do with the value; the model then stops.
    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>>;

    /// False if [`Tap::routing`] does nothing with what it is shown, which may be dear to list.
    fn wants_routing(&self) -> bool {
        true
    }

    /// True if [`Tap::neurons`] should be called.
    fn wants_neurons(&self) -> bool {
        false
    }

    /// The hidden units of a block's MLP, or of a mixture's experts (not of those that all tokens go through). A tensor of the shape
    /// of [`Neurons::values`] in return takes their place.
    ///
    /// # Errors
    /// As [`Tap::at`].
    fn neurons(&mut self, _neurons: &Neurons<'_>) -> Result<Option<Tensor>> {
        Ok(None)
    }

    /// What the router of a mixture-of-experts layer decided, for every token of the batch (padding
    /// included).
    ///
    /// # Errors
    /// As [`Tap::at`].
    fn routing(&mut self, _routing: &Routing) -> Result<()> {
        Ok(())
    }
}

/// The hidden units of an MLP, or of the experts that tokens chose, with what makes them a part of the block's output: unit i of a row
/// adds `weight · value · down[:, i]` to the output at the row's token.
#[derive(Debug, Clone, Copy)]
pub struct Neurons<'a> {
    /// Block.
    pub layer: usize,
    /// After the activation and the gate, `[n, hidden]`: a row per token, or per choice of an expert.
    pub values: &'a Tensor,
    /// Which token of the batch each row is of, `row · len + position`; `[n]`.
    pub tokens: &'a [u32],
    /// Which expert each row is of, `[n]`; empty of an MLP.
    pub experts: &'a [u32],
    /// What the expert's output is multiplied by, `[n]`; empty of an MLP, whose output is taken as it is.
    pub weights: &'a [f32],
    /// The output matrix, `[d_model, hidden]`, or those of all experts, `[E, d_model, hidden]`.
    pub down: &'a Tensor,
}

/// Looks at nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoTap;

impl Tap for NoTap {
    fn wants(&self, _: &Hook) -> bool {
        false
    }

    fn wants_routing(&self) -> bool {
        false
    }

    fn at(&mut self, _: &Hook, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// A tap that sees hidden units and nothing else.
#[derive(Debug)]
pub struct NeuronTap<F>(pub F);

impl<F: FnMut(&Neurons<'_>) -> Result<Option<Tensor>>> Tap for NeuronTap<F> {
    fn wants(&self, _: &Hook) -> bool {
        false
    }

    fn wants_routing(&self) -> bool {
        false
    }

    fn at(&mut self, _: &Hook, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    fn wants_neurons(&self) -> bool {
        true
    }

    fn neurons(&mut self, neurons: &Neurons<'_>) -> Result<Option<Tensor>> {
        (self.0)(neurons)
    }
}

/// A tap as one block sees it.
pub(super) struct Visitor<'a> {
    layer: usize,
    tap: &'a mut dyn Tap,
}

impl<'a> Visitor<'a> {
    pub fn new(layer: usize, tap: &'a mut dyn Tap) -> Self {
        Self { layer, tap }
    }

    pub fn layer(&self) -> usize {
        self.layer
    }

    pub fn wants(&self, site: Site) -> bool {
        self.tap.wants(&Hook::new(self.layer, site))
    }

    /// True if the tap wants any of `sites`.
    pub fn wants_any(&self, sites: &[Site]) -> bool {
        sites.iter().any(|&site| self.wants(site))
    }

    /// Shows `value` to the tap and takes its replacement, if it gives one.
    ///
    /// # Errors
    /// An error of the tap; a replacement of a different shape.
    pub fn visit(&mut self, site: Site, value: Tensor) -> Result<Tensor> {
        let hook = Hook::new(self.layer, site);
        if !self.tap.wants(&hook) {
            return Ok(value);
        }
        match self.tap.at(&hook, &value)? {
            Some(new) if new.dims() == value.dims() => Ok(new),
            Some(new) => {
                let (found, wanted) = (new.dims(), value.dims());
                Err(Error::data(format!(
                    "the replacement at {hook} has shape {found:?}; expected {wanted:?}"
                )))
            }
            None => Ok(value),
        }
    }

    pub fn wants_neurons(&self) -> bool {
        self.tap.wants_neurons()
    }

    /// Shows hidden units to the tap and takes their replacement, if it gives one.
    ///
    /// # Errors
    /// An error of the tap; a replacement of a different shape.
    pub fn neurons(&mut self, neurons: &Neurons<'_>) -> Result<Tensor> {
        let values = neurons.values;
        match self.tap.neurons(neurons)? {
            Some(new) if new.dims() == values.dims() => Ok(new),
            Some(new) => Err(Error::data(format!(
                "the replacement of the hidden units of block {} has shape {:?}; expected {:?}",
                neurons.layer,
                new.dims(),
                values.dims()
            ))),
            None => Ok(values.clone()),
        }
    }

    /// Shows a value that follows from others and cannot be replaced.
    ///
    /// # Errors
    /// An error of the tap; a replacement, which this value does not take.
    pub fn show(&mut self, site: Site, value: &Tensor) -> Result<()> {
        let hook = Hook::new(self.layer, site);
        if self.tap.wants(&hook) && self.tap.at(&hook, value)?.is_some() {
            return Err(Error::request(format!(
                "the value at {hook} cannot be replaced; replace the router's logits or its experts' weights"
            )));
        }
        Ok(())
    }

    pub fn wants_routing(&self) -> bool {
        self.tap.wants_routing()
    }

    /// Shows what a layer's router chose.
    ///
    /// # Errors
    /// An error of the tap.
    pub fn routing(&mut self, routing: &Routing) -> Result<()> {
        self.tap.routing(routing)
    }
}

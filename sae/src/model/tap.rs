//! Reading and replacing a model's values while it runs.

use candle_core::Tensor;

use super::{Hook, Routing};
use crate::Result;

/// Is shown the values at the hooks it wants and may replace them.
///
/// ```
/// use sae::model::{Hook, Tap};
///
/// /// Keeps the value at one hook.
/// struct Keep(Hook, Option<candle_core::Tensor>);
///
/// impl Tap for Keep {
///     fn wants(&self, hook: &Hook) -> bool {
///         *hook == self.0
///     }
///     fn at(&mut self, _: &Hook, value: &candle_core::Tensor) -> sae::Result<Option<candle_core::Tensor>> {
///         self.1 = Some(value.clone());
///         Ok(None)
///     }
/// }
/// ```
pub trait Tap {
    /// True if [`Tap::at`] should be called for `hook`.
    fn wants(&self, hook: &Hook) -> bool;

    /// The value at a wanted hook, `[rows, len, width]`. A tensor of the same shape in return takes its place.
    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>>;

    /// What the router of a mixture-of-experts layer decided, for every token of the batch (padding included).
    fn routing(&mut self, _routing: &Routing) -> Result<()> {
        Ok(())
    }
}

/// Looks at nothing.
#[derive(Debug, Clone, Copy)]
pub struct NoTap;

impl Tap for NoTap {
    fn wants(&self, _: &Hook) -> bool {
        false
    }

    fn at(&mut self, _: &Hook, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

//! A norm whose divisor is held.

use candle_core::{D, Tensor};

use crate::Result;
use crate::model::load::Norm;

/// A norm whose divisor is that of the text.
#[derive(Debug)]
pub(in crate::model) struct FrozenNorm {
    /// gain / divisor, `[len, d]`.
    factor: Tensor,
    /// Whether the mean is taken off.
    centred: bool,
}

impl FrozenNorm {
    /// `x [1, len, d]`: what the norm reads at the text.
    ///
    /// # Errors
    /// An `x` of several rows, or of a different width than the norm.
    pub fn new(norm: &Norm, x: &Tensor) -> Result<Self> {
        let x = x.squeeze(0)?;
        let centred = norm.bias.is_some();
        let x = if centred { x.broadcast_sub(&x.mean_keepdim(D::Minus1)?)? } else { x };
        let divisor = (x.sqr()?.mean_keepdim(D::Minus1)? + norm.eps)?.sqrt()?;
        Ok(Self { factor: norm.gain.unsqueeze(0)?.broadcast_div(&divisor)?, centred })
    }

    /// The same for one token alone.
    ///
    /// # Errors
    /// A token that the text does not have.
    pub fn at(&self, token: usize) -> Result<Self> {
        Ok(Self { factor: self.factor.narrow(0, token, 1)?, centred: self.centred })
    }

    /// The gradient at what it reads, `[n, len, d]`, of one at what it gives.
    pub fn back(&self, gradient: &Tensor) -> Result<Tensor> {
        let scaled = gradient.broadcast_mul(&self.factor.unsqueeze(0)?)?;
        match self.centred {
            true => Ok(scaled.broadcast_sub(&scaled.mean_keepdim(D::Minus1)?)?),
            false => Ok(scaled),
        }
    }
}

/// The same for a norm that a model may not have.
pub(super) fn back(norm: Option<&FrozenNorm>, gradient: &Tensor) -> Result<Tensor> {
    norm.map_or_else(|| Ok(gradient.clone()), |norm| norm.back(gradient))
}

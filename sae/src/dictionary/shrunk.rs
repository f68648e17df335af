//! Codes that are shrunk pre-activations: v = u · prox(z / u), a step of sparse coding as an encoder.
//!
//! With tied rows of norm 1 the first step of iterative thresholding from nothing gives prox(η·W(x − b_dec)); here the encoder learns its
//! rows and biases. η is fixed: at 1 the firm threshold would be the hard one.

use kernels::shrink::Shrinkage;

/// η of every encoder that shrinks.
pub const STEP: f64 = 0.5;

/// Which shrinkage, how strong, and in which unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shrunk {
    /// The penalty whose proximal operator it is.
    pub kind: Shrinkage,
    /// λ, in the units of training.
    pub lambda: f32,
    /// u: what 1 of training is in the units of z.
    pub unit: f32,
}

impl Shrunk {
    /// z above which a code is above 0.
    pub fn threshold(&self) -> f32 {
        (f64::from(self.unit) * self.kind.threshold(f64::from(self.lambda), STEP)) as f32
    }

    /// The code of a pre-activation; 0 up to the threshold.
    pub fn code(&self, z: f32) -> f32 {
        if z <= 0.0 {
            return 0.0;
        }
        let unit = f64::from(self.unit);
        (unit * self.kind.prox(f64::from(z) / unit, f64::from(self.lambda), STEP)) as f32
    }
}

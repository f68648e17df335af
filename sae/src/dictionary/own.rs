//! What `cfg.json` says of selections that only this program has.

use serde::{Deserialize, Serialize};

use super::{Cosine, Pick, Refined, Shrunk};
use kernels::shrink::Shrinkage;

/// How pre-activations are shrunk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ShrinkageConfig {
    kind: String,
    lambda: f32,
    unit: f32,
}

impl From<Shrunk> for ShrinkageConfig {
    fn from(shrunk: Shrunk) -> Self {
        Self { kind: shrunk.kind.name().to_owned(), lambda: shrunk.lambda, unit: shrunk.unit }
    }
}

impl ShrinkageConfig {
    /// The shrinkage; `None` for a name that does not exist or numbers that mean nothing.
    pub(super) fn read(&self) -> Option<Shrunk> {
        let kind = Shrinkage::named(&self.kind)?;
        let sound = self.lambda >= 0.0 && self.lambda.is_finite() && self.unit > 0.0 && self.unit.is_finite();
        sound.then_some(Shrunk { kind, lambda: self.lambda, unit: self.unit })
    }
}

/// How scores between cosine and inner product are cut.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CosineConfig {
    unit: f32,
    pick: Pick,
}

impl CosineConfig {
    /// The selection of `features` features, with `alpha`; `None` for numbers that mean nothing.
    pub(super) fn read(&self, features: usize, alpha: Vec<f32>) -> Option<Cosine> {
        let sound = self.unit > 0.0 && self.unit.is_finite() && self.pick.is_sound(features);
        sound.then_some(Cosine { alpha, unit: self.unit, pick: self.pick })
    }
}

impl From<&Cosine> for CosineConfig {
    fn from(cosine: &Cosine) -> Self {
        Self { unit: cosine.unit, pick: cosine.pick }
    }
}

/// How codes are corrected.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RefinedConfig {
    step: f32,
    first: Pick,
    then: Pick,
}

impl RefinedConfig {
    /// The selection of `features` features; `None` for numbers that mean nothing.
    pub(super) fn read(&self, features: usize) -> Option<Refined> {
        let Self { step, first, then } = *self;
        let sound = step.is_finite() && first.is_sound(features) && then.is_sound(features);
        sound.then_some(Refined { step, first, then })
    }
}

impl From<&Refined> for RefinedConfig {
    fn from(refined: &Refined) -> Self {
        Self { step: refined.step, first: refined.first, then: refined.then }
    }
}

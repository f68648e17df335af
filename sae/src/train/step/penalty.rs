//! What codes cost, and the slope of that.

use super::context::Context;
use super::options::Penalty;
use super::select::ActivePairs;
use crate::dictionary::shrunk::STEP;
use crate::train::pairs::Pairs;

/// ε of (v + ε)^p: keeps the slope of small codes finite when p < 1. The paper of p-annealing (Karvonen et al. 2024) has none.
pub const POWER_OFFSET: f64 = 1e-3;

impl Penalty {
    /// The cost of a code, without λ, which shapes that of a shrinkage all the same.
    fn cost(self, v: f64, power: f64, lambda: f64) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Sum => v,
            Self::Power => (v + POWER_OFFSET).powf(power),
            Self::Tanh(steepness) => (f64::from(steepness) * v).tanh(),
            Self::Count => f64::from(u8::from(v > 0.0)),
            Self::Shrunk(_) if lambda <= 0.0 || v <= 0.0 => 0.0,
            Self::Shrunk(kind) => 2.0 * kind.penalty(v, lambda) / lambda,
        }
    }

    /// Its derivative.
    fn slope(self, v: f64, power: f64, lambda: f64) -> f64 {
        match self {
            Self::None | Self::Count => 0.0,
            Self::Sum => 1.0,
            Self::Shrunk(_) if lambda <= 0.0 || v <= 0.0 => 0.0,
            Self::Shrunk(kind) => 2.0 * kind.penalty_slope(v, lambda) / lambda,
            Self::Power => power * (v + POWER_OFFSET).powf(power - 1.0),
            Self::Tanh(steepness) => {
                let c = f64::from(steepness);
                c * (1.0 - (c * v).tanh().powi(2))
            }
        }
    }
}

/// What the codes of a step cost.
#[derive(Debug, Clone, Copy)]
pub struct CodeCost {
    pub penalty: Penalty,
    /// λ of the step, times [`Self::scale`].
    pub lambda: f64,
    pub power: f64,
    /// [`crate::train::state::TrainState::penalty_scale`] as it is after the step.
    pub scale: f32,
}

impl CodeCost {
    /// What the codes of `pairs` cost.
    ///
    /// While the power p falls, λ is multiplied by Σ v^(p before) / Σ v^p over the batch, so that the fall itself does not change what
    /// codes cost. (The paper averages over the last batches and anneals in stages; we adapt at every step, on the batch at hand.)
    pub fn of(context: &Context<'_>, pairs: &ActivePairs) -> Self {
        let Context { state, options, plan, .. } = context;
        let mut scale = state.penalty_scale;
        if options.penalty == Penalty::Power && plan.power != plan.power_before {
            let total = |power: f64| -> f64 {
                let codes = pairs.chunks.iter().flat_map(|chunk| &chunk.main.codes.values);
                codes.map(|&v| Penalty::Power.cost(f64::from(v), power, 1.0)).sum()
            };
            let (before, now) = (total(plan.power_before), total(plan.power));
            if before > 0.0 && now > 0.0 {
                scale = (f64::from(state.penalty_scale) * before / now) as f32;
            }
        }
        let lambda = plan.sparsity * f64::from(scale);
        Self { penalty: options.penalty, lambda, power: plan.power, scale }
    }

    /// Turns slopes by codes into slopes by pre-activations, where codes are shrunk.
    pub fn by_pre_activations(&self, pairs: &mut Pairs) {
        let Penalty::Shrunk(kind) = self.penalty else { return };
        for (slope, &v) in pairs.slopes.iter_mut().zip(&pairs.codes.values) {
            *slope *= kind.prox_slope(f64::from(v), self.lambda, STEP) as f32;
        }
    }

    /// Adds the slopes of the penalty to those of `pairs`, and returns the sum of costs without λ. Slopes are multiplied by 2/B later,
    /// the penalty has 1/B.
    pub fn apply(&self, pairs: &mut Pairs) -> f64 {
        if self.penalty == Penalty::None {
            return 0.0;
        }
        let mut sum = 0.0;
        for (slope, &v) in pairs.slopes.iter_mut().zip(&pairs.codes.values) {
            sum += self.penalty.cost(f64::from(v), self.power, self.lambda);
            *slope += (0.5 * self.lambda * self.penalty.slope(f64::from(v), self.power, self.lambda)) as f32;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::shrink::Shrinkage;

    #[test]
    fn slopes_are_derivatives() {
        let shrunk = Shrinkage::ALL.map(Penalty::Shrunk);
        let others = [Penalty::Sum, Penalty::Power, Penalty::Tanh(4.0), Penalty::Count, Penalty::None];
        for penalty in others.into_iter().chain(shrunk) {
            for v in [0.01, 0.3, 2.0] {
                let step = 1e-6;
                let difference =
                    (penalty.cost(v + step, 0.4, 0.7) - penalty.cost(v - step, 0.4, 0.7)) / (2.0 * step);
                let slope = penalty.slope(v, 0.4, 0.7);
                assert!((slope - difference).abs() < 1e-6 * (1.0 + slope), "{penalty:?} at {v}");
            }
        }
    }
}

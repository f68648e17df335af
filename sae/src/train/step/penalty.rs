//! What codes cost, and the slope of that.

use super::Stepper;
use super::options::{Penalty, Plan};
use crate::train::matches::Matches;
use crate::train::state::TrainState;

/// ε of (v + ε)^p: keeps the slope of small codes finite when p < 1. The paper of p-annealing (Karvonen et al. 2024) has none.
pub(super) const POWER_OFFSET: f64 = 1e-3;

impl Penalty {
    /// The cost of a code, without λ.
    fn cost(self, v: f64, power: f64) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Sum => v,
            Self::Power => (v + POWER_OFFSET).powf(power),
            Self::Tanh(steepness) => (f64::from(steepness) * v).tanh(),
            Self::Count => f64::from(u8::from(v > 0.0)),
        }
    }

    /// Its derivative.
    fn slope(self, v: f64, power: f64) -> f64 {
        match self {
            Self::None | Self::Count => 0.0,
            Self::Sum => 1.0,
            Self::Power => power * (v + POWER_OFFSET).powf(power - 1.0),
            Self::Tanh(steepness) => {
                let c = f64::from(steepness);
                c * (1.0 - (c * v).tanh().powi(2))
            }
        }
    }
}

/// Adds the slopes of the penalty, with the factor `lambda`, to those of `matches`, and returns the sum of costs without it. Slopes are
/// multiplied by 2/B later, the penalty has 1/B.
pub(super) fn apply(matches: &mut Matches, penalty: Penalty, lambda: f64, power: f64) -> f64 {
    if penalty == Penalty::None {
        return 0.0;
    }
    let mut sum = 0.0;
    for (slope, &v) in matches.slopes.iter_mut().zip(&matches.codes.values) {
        sum += penalty.cost(f64::from(v), power);
        *slope += (0.5 * lambda * penalty.slope(f64::from(v), power)) as f32;
    }
    sum
}

impl Stepper {
    /// While the power p falls, λ is multiplied by Σ v^(p before) / Σ v^p over the batch, so that the fall itself does not change what
    /// codes cost. (The paper averages over the last batches and anneals in stages; we adapt at every step, on the batch at hand.)
    pub(super) fn adapt_penalty(&mut self, state: &TrainState, plan: &Plan) {
        self.penalty_scale = state.penalty_scale;
        if self.options.penalty != Penalty::Power || plan.power == plan.power_before {
            return;
        }
        let total = |power: f64| -> f64 {
            let codes = self.chunks.iter().flat_map(|chunk| &chunk.main.codes.values);
            codes.map(|&v| Penalty::Power.cost(f64::from(v), power)).sum()
        };
        let (before, now) = (total(plan.power_before), total(plan.power));
        if before > 0.0 && now > 0.0 {
            self.penalty_scale = (f64::from(state.penalty_scale) * before / now) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_derivatives() {
        for penalty in [Penalty::Sum, Penalty::Power, Penalty::Tanh(4.0), Penalty::Count, Penalty::None] {
            for v in [0.01, 0.3, 2.0] {
                let step = 1e-6;
                let difference = (penalty.cost(v + step, 0.4) - penalty.cost(v - step, 0.4)) / (2.0 * step);
                let slope = penalty.slope(v, 0.4);
                assert!((slope - difference).abs() < 1e-6 * (1.0 + slope), "{penalty:?} at {v}");
            }
        }
    }
}

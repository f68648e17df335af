//! Before a step: budgets, the rates that features should have, and which features get help.

use super::dense_aux::DENSE;
use super::options::Rule;
use super::{Helped, Stepper};
use crate::dictionary::allocation::budget::{self, Unmet};
use crate::dictionary::allocation::law::{BudgetLaw, Zipf};
use crate::train::state::TrainState;
use crate::{Error, Result};
use kernels::bf16;

/// Steps between two looks at the law of aux-zipf.
const REFRESH: u64 = 50;

impl Stepper {
    /// Makes the budgets when feature choice begins, and now and then the rates that aux-zipf expects.
    pub(super) fn prepare(&mut self, state: &mut TrainState, rows: u64) -> Result<()> {
        let t = state.step + 1;
        let plan = self.options.plan(t);
        if plan.rule == Rule::Feature && state.budgets.is_empty() {
            state.budgets = self.budgets(state, plan.per_batch(rows as usize, 1.0) as u64, rows)?;
        }
        let Some((law, _)) = self.options.aux.zipf else { return Ok(()) };
        if !state.budgets.is_empty() {
            // What a feature may fire on is what is expected of it.
            if state.expected_rates.is_empty() || plan.rule == Rule::Feature {
                state.expected_rates = state.budgets.iter().map(|&m| m as f32 / rows as f32).collect();
            }
        } else if t > 1 && (t - 1).is_multiple_of(REFRESH) {
            state.expected_rates = expected_rates(&self.rates(state, rows), law, plan.k);
        }
        Ok(())
    }

    /// The moving averages without the bias that their beginning at 0 has.
    fn rates(&self, state: &TrainState, rows: u64) -> Vec<f32> {
        let seen = 1.0 - (1.0 - self.options.rate_share(rows)).powf(state.step as f64);
        state.rates.iter().map(|&r| if seen > 0.0 { (f64::from(r) / seen) as f32 } else { 0.0 }).collect()
    }

    fn budgets(&self, state: &TrainState, total: u64, rows: u64) -> Result<Vec<u32>> {
        let Some(options) = self.options.budgets else { return Ok(Vec::new()) };
        let rates = self.rates(state, rows);
        let law = match options.law {
            BudgetLaw::Uniform => Zipf { exponent: 0.0, offset: 0.0 },
            BudgetLaw::Zipf { exponent, offset } => Zipf { exponent, offset },
            BudgetLaw::Fit => {
                let fitted = Zipf::fit(&rates).ok_or_else(|| {
                    Error::data(format!(
                        "step {}: fewer than three features fire, there is no law of their rates to fit; give budget_law as \
                         zipf:s,q, or train longer before feature choice begins",
                        state.step + 1
                    ))
                })?;
                fitted.0
            }
        };
        let cap = cap(options.cap, rows);
        budget::by_rank(&rates, law, total, cap)
            .map_err(|unmet| unmet_budgets(unmet, total, rows, cap, rates.len()))
    }

    /// Finds the dead and the under-used features.
    pub(super) fn find_helped(&mut self, state: &TrainState, rows: u64) {
        // Before a whole window was seen, a low rate may be chance.
        let known =
            state.step.saturating_mul(rows) >= self.options.rate_window && !state.expected_rates.is_empty();
        let rates = if known { self.rates(state, rows) } else { Vec::new() };
        let Self { options, helped, prefilter, .. } = self;
        let Helped { features, bias, encoder, packed_encoder, decoder, packed_decoder, dense, coarse, dead } =
            helped;
        features.clear();
        *dead = state.dead(options.dead_after).count();
        let rho = options.aux.zipf.map_or(0.0, |(_, rho)| rho);
        let under_used = |f: usize| known && f64::from(rates[f]) < rho * f64::from(state.expected_rates[f]);
        features.extend(
            (0..state.features as u32)
                .filter(|&f| state.since_fired[f as usize] >= options.dead_after || under_used(f as usize)),
        );
        bias.clear();
        bias.extend(features.iter().map(|&f| state.b_enc.value[f as usize]));
        let rows = features.iter().map(|&f| f as usize * state.d);
        *dense = features.len() <= DENSE * options.aux.k;
        match *dense && options.coarse_help && bf16::available() {
            true => *coarse = Some(coarse.take().unwrap_or_default()),
            false => *coarse = None,
        }
        decoder.clear();
        if *dense && options.aux.coefficient > 0.0 {
            rows.clone().for_each(|at| decoder.extend_from_slice(&state.w_dec.value[at..at + state.d]));
            match &mut *coarse {
                Some(coarse) => coarse.set_decoder(decoder, state.d),
                None => packed_decoder.set(decoder, state.d),
            }
        }
        encoder.clear();
        let apart = options.plan(state.step + 1).rule == Rule::Feature || prefilter.is_some();
        if apart && options.aux.coefficient > 0.0 {
            rows.for_each(|at| encoder.extend_from_slice(&state.w_enc.value[at..at + state.d]));
            match coarse {
                Some(coarse) => coarse.set_encoder(encoder, state.d),
                None => packed_encoder.set(encoder, state.d),
            }
        }
    }
}

/// Most tokens of a batch for one feature.
pub(crate) fn cap(share: f64, rows: u64) -> u32 {
    ((share * rows as f64).round() as u64).clamp(1, rows) as u32
}

/// The rates that `law` gives to features that fire at `rates`, k a token all together; none if there is no law to be fitted.
fn expected_rates(rates: &[f32], law: BudgetLaw, k: f64) -> Vec<f32> {
    let spread = |law: Zipf| {
        let total: f64 = (1..=rates.len()).map(|rank| law.weight(rank)).sum();
        (law, k / total)
    };
    let law = match law {
        BudgetLaw::Uniform => Some(spread(Zipf { exponent: 0.0, offset: 0.0 })),
        BudgetLaw::Zipf { exponent, offset } => Some(spread(Zipf { exponent, offset })),
        BudgetLaw::Fit => Zipf::fit(rates),
    };
    let Some((law, factor)) = law else { return Vec::new() };
    let mut expected = vec![0.0; rates.len()];
    for (rank, feature) in (1..).zip(budget::order_of(rates)) {
        expected[feature] = (factor * law.weight(rank)).min(1.0) as f32;
    }
    expected
}

/// Says which batch would do.
pub(crate) fn unmet_budgets(unmet: Unmet, total: u64, rows: u64, cap: u32, features: usize) -> Error {
    let k = total as f64 / rows as f64;
    match unmet {
        Unmet::TooFew => Error::request(format!(
            "feature choice gives each of {features} features at least one token of a batch, but batch · k = {rows} · {k} = {total} \
             matches are fewer than features; a batch of {} or more would do (of {} for eight tokens a feature, where budgets are \
             no longer coarse)",
            (features as f64 / k).ceil(),
            (8.0 * features as f64 / k).ceil(),
        )),
        Unmet::TooMany => Error::request(format!(
            "feature choice can not spend batch · k = {total} matches on {features} features of at most {cap} tokens each; \
             raise budget_cap (a share of the batch) or d_sae, or lower k"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expected_rates_follow_rank_and_law() {
        let rates = [0.1, 0.4, 0.2, 0.0];
        let uniform = expected_rates(&rates, BudgetLaw::Uniform, 2.0);
        assert_eq!(uniform, [0.5; 4]);
        let zipf = expected_rates(&rates, BudgetLaw::Zipf { exponent: 1.0, offset: 0.0 }, 25.0 / 12.0 * 0.4);
        for (got, expected) in zipf.iter().zip([0.4 / 3.0, 0.4, 0.2, 0.1]) {
            assert!((got - expected).abs() < 1e-6, "{zipf:?}");
        }
        assert!(expected_rates(&[0.5, 0.0, 0.0, 0.0], BudgetLaw::Fit, 2.0).is_empty());
    }

    #[test]
    fn budgets_that_can_not_be_met_say_which_batch_would_do() {
        let message = unmet_budgets(Unmet::TooFew, 512 * 32, 512, 256, 20_000).to_string();
        assert!(
            message.contains("a batch of 625 or more") && message.contains("of 5000 for eight"),
            "{message}"
        );
        assert!(unmet_budgets(Unmet::TooMany, 100, 10, 5, 4).to_string().contains("budget_cap"));
    }
}

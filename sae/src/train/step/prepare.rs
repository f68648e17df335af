//! Before a step: budgets of feature choice, and the rates that features should have.

use super::options::{Rule, StepOptions};
use crate::dictionary::allocation::budget::{self, Unmet};
use crate::dictionary::allocation::law::{BudgetLaw, Zipf};
use crate::train::state::TrainState;
use crate::{Error, Result};

/// Steps between two looks at the law of aux-zipf.
const REFRESH: u64 = 50;

/// Makes the budgets when feature choice begins, and now and then the rates that aux-zipf expects, for a batch of `tokens`.
///
/// # Errors
/// If the budgets cannot be met, or there is no law of the rates to fit.
pub fn prepare(state: &mut TrainState, options: &StepOptions, tokens: u64) -> Result<()> {
    let t = state.step + 1;
    let plan = options.plan(t);
    if plan.rule == Rule::Feature && state.budgets.is_empty() {
        state.budgets = budgets(state, options, plan.per_batch(tokens as usize, 1.0) as u64, tokens)?;
    }
    let Some((law, _)) = options.aux.zipf else { return Ok(()) };
    if !state.budgets.is_empty() {
        // What a feature may fire on is what is expected of it.
        if state.expected_rates.is_empty() || plan.rule == Rule::Feature {
            state.expected_rates = state.budgets.iter().map(|&m| m as f32 / tokens as f32).collect();
        }
    } else if t > 1 && (t - 1).is_multiple_of(REFRESH) {
        state.expected_rates = expected_rates(&rates(state, options, tokens), law, plan.k);
    }
    Ok(())
}

/// The moving averages of `state` without the bias that their beginning at 0 has.
pub fn rates(state: &TrainState, options: &StepOptions, tokens: u64) -> Vec<f32> {
    let seen = 1.0 - (1.0 - options.rate_share(tokens)).powf(state.step as f64);
    state.rates.iter().map(|&r| if seen > 0.0 { (f64::from(r) / seen) as f32 } else { 0.0 }).collect()
}

fn budgets(state: &TrainState, options: &StepOptions, total: u64, tokens: u64) -> Result<Vec<u32>> {
    let Some(budgets) = options.budgets else { return Ok(Vec::new()) };
    let rates = rates(state, options, tokens);
    let law = match budgets.law {
        BudgetLaw::Uniform => Zipf { exponent: 0.0, offset: 0.0 },
        BudgetLaw::Zipf { exponent, offset } => Zipf { exponent, offset },
        BudgetLaw::Fit => {
            let fitted = Zipf::fit(&rates).ok_or_else(|| {
                Error::data(format!(
                    "step {}: fewer than three features fire, so there is no law of their rates to fit",
                    state.step + 1
                ))
                .with_remedy(
                    "give budget_law as zipf:s,q, or train longer before feature choice begins (mutual_share)",
                )
            })?;
            fitted.0
        }
    };
    let cap = cap(budgets.cap, tokens);
    budget::by_rank(&rates, law, total, cap)
        .map_err(|unmet| unmet_budgets(unmet, total, tokens, cap, rates.len()))
}

/// Most tokens of a batch for one feature.
pub fn cap(share: f64, rows: u64) -> u32 {
    ((share * rows as f64).round() as u64).clamp(1, rows) as u32
}

/// The rates that `law` gives to features that fire at `rates`, k per token all together; none if there is no law to be fitted.
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
pub fn unmet_budgets(unmet: Unmet, total: u64, rows: u64, cap: u32, features: usize) -> Error {
    let k = total as f64 / rows as f64;
    match unmet {
        Unmet::TooFew => Error::request(format!(
            "feature choice gives each of {features} features at least one token of a batch, but batch · k = {rows} · {k} = {total} \
             active pairs are fewer than features"
        ))
        .with_remedy(format!(
            "use a batch of {} or more ({} gives eight tokens per feature, where budgets are no longer coarse)",
            (features as f64 / k).ceil(),
            (8.0 * features as f64 / k).ceil(),
        )),
        Unmet::TooMany => Error::request(format!(
            "feature choice cannot spend batch · k = {total} active pairs on {features} features of at most {cap} tokens each"
        ))
        .with_remedy("raise budget_cap (a share of the batch) or d_sae, or lower k"),
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
    fn budgets_that_cannot_be_met_say_which_batch_would_do() {
        let message = unmet_budgets(Unmet::TooFew, 512 * 32, 512, 256, 20_000).to_string();
        assert!(
            message.contains("a batch of 625 or more") && message.contains("5000 gives eight"),
            "{message}"
        );
        assert!(unmet_budgets(Unmet::TooMany, 100, 10, 5, 4).to_string().contains("budget_cap"));
    }
}

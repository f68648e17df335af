//! From changes as a person gives them to a plan that was checked.

use super::change::{Change, Edit, Maximum, MaximumSource, Plan, Scope};
use super::prompter::Prompter;
use super::reading::Reading;
use crate::{Error, Result};

impl Prompter {
    /// Checks `changes` against a reading and looks up the maxima that their strengths are shares of.
    ///
    /// # Errors
    /// A feature or a token that does not exist, a strength that is not a finite number, a feature whose
    /// maximum is not known.
    pub fn plan(&self, reading: &Reading, changes: &[Change]) -> Result<Plan> {
        let mut plan = Plan::default();
        for change in changes {
            self.check_change(reading, change)?;
            let edit = match change.edit {
                Edit::Ablate => Edit::Ablate,
                Edit::Clamp(0.0) => Edit::Clamp(0.0),
                Edit::Add(0.0) => Edit::Add(0.0),
                Edit::Clamp(share) => Edit::Clamp(share * self.unit(reading, change.feature, &mut plan)?),
                Edit::Add(share) => Edit::Add(share * self.unit(reading, change.feature, &mut plan)?),
            };
            plan.changes.push(Change { edit, ..change.clone() });
        }
        Ok(plan)
    }

    fn check_change(&self, reading: &Reading, change: &Change) -> Result<()> {
        let (feature, features) = (change.feature, self.dictionary.d_sae);
        if feature as usize >= features {
            return Err(Error::request(format!(
                "there is no feature {feature}: the dictionary's {features} features are numbered from 0"
            )));
        }
        if let Edit::Clamp(strength) | Edit::Add(strength) = change.edit
            && !strength.is_finite()
        {
            return Err(Error::request(format!(
                "feature {feature}: the strength is {strength}, expected a finite number"
            ))
            .with_remedy("give strengths as shares of the feature's maximum: 1 is the maximum"));
        }
        let n = reading.len();
        match &change.at {
            Scope::Tokens(tokens) if tokens.iter().any(|&token| token >= n) => Err(Error::request(format!(
                "feature {feature} cannot be changed at token {}: the text's {n} tokens are numbered from 0",
                tokens.iter().max().copied().unwrap_or_default()
            ))),
            _ => Ok(()),
        }
    }

    /// The feature's maximum, noted in the plan.
    fn unit(&self, reading: &Reading, feature: u32, plan: &mut Plan) -> Result<f32> {
        if let Some(known) = plan.maxima.iter().find(|maximum| maximum.feature == feature) {
            return Ok(known.value);
        }
        let maximum = self.maximum(reading, feature)?;
        plan.maxima.push(maximum);
        Ok(maximum.value)
    }

    /// The activation that a strength of 1 stands for: the feature's maximum in the index, or without an
    /// index on the text.
    ///
    /// # Errors
    /// A feature that never fired there.
    pub fn maximum(&self, reading: &Reading, feature: u32) -> Result<Maximum> {
        let of = if self.maxima.is_some() { MaximumSource::Index } else { MaximumSource::Text };
        let value = match &self.maxima {
            Some(maxima) => maxima.get(feature as usize).copied(),
            None => reading.maximum(feature),
        };
        match value.filter(|value| *value > 0.0) {
            Some(value) => Ok(Maximum { feature, value, of }),
            None => Err(match of {
                MaximumSource::Index => Error::request(format!(
                    "feature {feature} fired on none of the indexed tokens, so it has no maximum to scale a strength by"
                )),
                MaximumSource::Text => Error::request(format!(
                    "feature {feature} does not fire on this text, and the run has no index that knows its maximum"
                ))
                .with_remedy("make an index with `sae index`"),
            }),
        }
    }
}

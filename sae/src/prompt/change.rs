//! Changes of features, in units of what a feature's own maximum is.

use serde::Serialize;

use super::prompter::Prompter;
use super::reading::Reading;
use crate::{Error, Result};

/// What is done to a feature's code c; strengths are shares of the feature's own maximum m.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Edit {
    /// c' = 0.
    Ablate,
    /// c' = s · m, whether it fires or not. Below 0 it is a step against the feature's direction.
    Clamp(f32),
    /// c' = c + s · m. Below 0 it takes away.
    Add(f32),
}

/// Which tokens of a text are changed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum At {
    /// All, and those of the continuation too.
    #[default]
    Everywhere,
    /// These of the text, counted from 0.
    Tokens(Vec<usize>),
}

/// A change of one feature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The feature.
    pub feature: u32,
    /// What is done to it.
    pub edit: Edit,
    /// Where.
    pub at: At,
}

/// Where a feature's maximum is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MaximumOf {
    /// The index of the run: the strongest activation over the indexed tokens.
    Index,
    /// The text, where the run has no index: the strongest activation on it.
    Text,
}

/// What a strength of 1 is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Maximum {
    /// Of which feature.
    pub feature: u32,
    /// The activation.
    pub value: f32,
    /// Where it is from.
    pub of: MaximumOf,
}

/// Changes that were checked against a reading, with strengths in units of activations.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    changes: Vec<Change>,
    /// The maxima that strengths are shares of, a feature once.
    pub maxima: Vec<Maximum>,
}

impl Plan {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Features whose code at token `token` changes, ascending, and c' − c, given what fires there. Several changes of one feature
    /// follow one another in order.
    pub(super) fn differences(&self, features: &[u32], values: &[f32], token: usize) -> (Vec<u32>, Vec<f32>) {
        let code = |feature| features.binary_search(&feature).map_or(0.0, |i| values[i]);
        let mut changed = std::collections::BTreeMap::new();
        for change in &self.changes {
            let here = match &change.at {
                At::Everywhere => true,
                At::Tokens(tokens) => tokens.contains(&token),
            };
            if here {
                let now = changed.entry(change.feature).or_insert_with(|| code(change.feature));
                *now = match change.edit {
                    Edit::Ablate => 0.0,
                    Edit::Clamp(to) => to,
                    Edit::Add(more) => *now + more,
                };
            }
        }
        let differences = changed.into_iter().map(|(feature, now)| (feature, now - code(feature)));
        differences.filter(|(_, difference)| *difference != 0.0).unzip()
    }
}

impl Prompter {
    /// Checks `changes` of a reading and looks up what their strengths are shares of.
    ///
    /// # Errors
    /// A feature or a token that is not there, a strength that is no number, a feature whose maximum nobody knows.
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
                "there is no feature {feature}; the dictionary's {features} features are numbered from 0"
            )));
        }
        if let Edit::Clamp(strength) | Edit::Add(strength) = change.edit
            && !strength.is_finite()
        {
            return Err(Error::request(format!(
                "feature {feature}: the strength is {strength}; expected a number, 1 is the feature's maximum"
            )));
        }
        let n = reading.len();
        match &change.at {
            At::Tokens(tokens) if tokens.iter().any(|&token| token >= n) => Err(Error::request(format!(
                "feature {feature} is to be changed at token {}; the text's {n} tokens are numbered from 0",
                tokens.iter().max().copied().unwrap_or_default()
            ))),
            _ => Ok(()),
        }
    }

    /// The feature's maximum, which the plan then knows.
    fn unit(&self, reading: &Reading, feature: u32, plan: &mut Plan) -> Result<f32> {
        if let Some(known) = plan.maxima.iter().find(|maximum| maximum.feature == feature) {
            return Ok(known.value);
        }
        let maximum = self.maximum(reading, feature)?;
        plan.maxima.push(maximum);
        Ok(maximum.value)
    }

    /// What a strength of 1 is for `feature`: the index's maximum, or without an index that of the text.
    ///
    /// # Errors
    /// A feature that never fired there.
    pub fn maximum(&self, reading: &Reading, feature: u32) -> Result<Maximum> {
        let of = if self.maxima.is_some() { MaximumOf::Index } else { MaximumOf::Text };
        let value = match &self.maxima {
            Some(maxima) => maxima.get(feature as usize).copied(),
            None => reading.maximum(feature),
        };
        match value.filter(|value| *value > 0.0) {
            Some(value) => Ok(Maximum { feature, value, of }),
            None => Err(Error::request(match of {
                MaximumOf::Index => format!(
                    "feature {feature} fired on none of the indexed tokens: it has no maximum that a strength could be a share of"
                ),
                MaximumOf::Text => format!(
                    "feature {feature} does not fire on this text and the run has no index that knows its maximum; make one \
                     with `sae index`"
                ),
            })),
        }
    }
}

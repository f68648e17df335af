//! Changes of features, with strengths as shares of each feature's own maximum.

use serde::Serialize;

/// What happens to a feature's code c; strengths are shares s of the feature's own maximum m.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Edit {
    /// c' = 0.
    Ablate,
    /// c' = s · m, whether it fires or not. A negative strength is a step against the feature's direction.
    Clamp(f32),
    /// c' = c + s · m. A negative strength subtracts.
    Add(f32),
}

/// The tokens of a text that a change applies to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All tokens, those of a continuation included.
    #[default]
    Everywhere,
    /// These tokens of the text, counted from 0.
    Tokens(Vec<usize>),
}

/// A change of one feature.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The feature.
    pub feature: u32,
    /// What happens to its code.
    pub edit: Edit,
    /// The tokens where it happens.
    pub at: Scope,
}

/// Where a feature's maximum comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MaximumSource {
    /// The index of the run: the strongest activation over the indexed tokens.
    Index,
    /// The text, if the run has no index: the strongest activation on it.
    Text,
}

/// The activation that a strength of 1 stands for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Maximum {
    /// The feature.
    pub feature: u32,
    /// The activation.
    pub value: f32,
    /// Where it comes from.
    pub of: MaximumSource,
}

/// Changes that were checked against a reading (by [`plan`]), with strengths in units of activations.
///
/// [`plan`]: super::Prompter::plan
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    pub(super) changes: Vec<Change>,
    /// The maxima that strengths are shares of, each feature once.
    pub maxima: Vec<Maximum>,
}

impl Plan {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Features whose code at token `token` changes, ascending, and c' − c, given what fires there. Several
    /// changes of one feature are applied in order.
    pub(super) fn differences(&self, features: &[u32], values: &[f32], token: usize) -> (Vec<u32>, Vec<f32>) {
        let code = |feature| features.binary_search(&feature).map_or(0.0, |i| values[i]);
        let mut changed = std::collections::BTreeMap::new();
        for change in &self.changes {
            let here = match &change.at {
                Scope::Everywhere => true,
                Scope::Tokens(tokens) => tokens.contains(&token),
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
        // A change that comes to nothing is left out: an empty list says that the token stays as it is.
        let differences = changed.into_iter().map(|(feature, now)| (feature, now - code(feature)));
        differences.filter(|(_, difference)| *difference != 0.0).unzip()
    }
}

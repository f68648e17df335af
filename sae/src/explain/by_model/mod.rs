//! Explanations by a language model that a server runs, and honest scores of them.
//!
//! ```text
//! documents ─┬─ first half ──▶ passages ─▶ prompt ─▶ model ─▶ explanation ┐
//!            └─ second half ─▶ passages ─▶ detection, fuzzing ◀───────────┴─▶ words ─▶ simulation
//!                                 ▲ the same passages for every source:
//!                                 │ model, rule, other feature, shuffled, top tokens
//!                                 └─▶ RUN/explanations/NAME.parquet and NAME/{answers.jsonl, judgements, scores}
//! ```
//!
//! Documents are parted before anything is drawn, by the halves of the rules: no text that an explanation was made from is one that it
//! is scored on. Passages are consecutive pieces of [`LanguageModelOptions::window`] tokens; of the second half those are left out that
//! read like a passage that was shown.
//!
//! | test | question | a rule answers |
//! |---|---|---|
//! | detection | does the feature fire in this passage? | whether it applies to a token of it |
//! | fuzzing | are these the tokens that it fires on? | whether it applies to half of them or more |
//! | simulation | – | where it applies |
//!
//! For the simulation the model names words on which it expects the feature to fire, from the explanation alone; they are looked for
//! in all texts of the second half and correlated with the activation, as rules are. That is one request per explanation and needs
//! neither log-probabilities nor embeddings.
//!
//! Controls are judged on the same passages: the explanation of a different feature; an explanation made from passages whose
//! marks were shuffled; the tokens of largest activation as a list. Balanced accuracy has an interval over documents.

mod ask;
mod consent;
mod delphi;
mod draw;
mod options;
mod parse;
mod predict;
mod prompts;
mod results;
mod run;
mod scores;
#[cfg(test)]
mod tests;

pub use options::LanguageModelOptions;
pub use results::{Difference, LanguageModelSummary, SourceMeans};
pub use run::explain;
pub use scores::Interval;

pub(super) use delphi::read as read_delphi;

/// Who made the explanation that is scored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    /// The language model.
    Model,
    /// The rule of tokens that `sae explain` finds. No model judges by it: it answers itself.
    Rule,
    /// Control: the language model, about a different feature.
    OtherFeature,
    /// Control: the language model, from passages whose marks were shuffled.
    Shuffled,
    /// Control: the list of the tokens of largest activation.
    TopTokens,
}

impl Source {
    /// All of them; the order of tables.
    pub const ALL: [Self; 5] = [Self::Model, Self::Rule, Self::OtherFeature, Self::Shuffled, Self::TopTokens];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Rule => "rule",
            Self::OtherFeature => "other feature",
            Self::Shuffled => "shuffled",
            Self::TopTokens => "top tokens",
        }
    }

    /// Whether it is a control.
    pub fn is_control(self) -> bool {
        !matches!(self, Self::Model | Self::Rule)
    }
}

/// What is asked of a passage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Test {
    Detection,
    Fuzzing,
}

impl Test {
    pub const ALL: [Self; 2] = [Self::Detection, Self::Fuzzing];

    pub fn name(self) -> &'static str {
        match self {
            Self::Detection => "detection",
            Self::Fuzzing => "fuzzing",
        }
    }
}

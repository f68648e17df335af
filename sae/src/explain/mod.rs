//! Explanations of features, with scores: rules found in the index, and explanations imported from other
//! tools.
//!
//! ```text
//! RUN/features/activations ──┐ by feature
//! RUN/features/codes ─▶ which rows   ├─▶ rule of each feature, from one half of the documents
//! DATASET tokens, domains ───┘       └─▶ measured on the other half ─▶ RUN/explanations/rules.parquet
//! a file of another tool ─▶ import ──────────────────────────────────▶ RUN/explanations/NAME.parquet
//! ```
//!
//! A rule says where a feature fires: on tokens of a set T, after tokens of a set P, on tokens of T after
//! tokens of P, or in texts of some domains. Where h tokens are matched by the rule and fired on, m are
//! matched and f are fired on, F1 = 2h / (m + f). The rule of largest F1 is chosen, each name after the first
//! costing [`NAME_PENALTY`]; sets have at most [`MAX_NAMES`] names. Scores are those of the other half:
//! [`Measured`] has the formulas. A rule whose F1 or correlation is below [`ExplainOptions::least`] there is
//! not kept: the feature has no explanation. F1 alone would not do, since a feature that fires at random on
//! half of all tokens has an F1 of 2/3 with a rule that always applies; its correlation is 0.
//!
//! Explanations by a language model are in [`by_model`], scored next to the rules on the same passages.
//! Rules that people write are in [`claims`]; those that were kept are scored here too, as explanations.
//!
//! One pass over the tokens and one over the activations by feature. Memory: 8 bytes per token, like the
//! index that it is made from, and 12 bytes for every different pair of adjacent tokens (and as much per
//! token while these are counted); activations one feature at a time.

pub mod by_model;
mod choose;
pub mod claims;
mod counts;
pub mod import;
mod measure;
mod rule;
mod run;
mod shards;
#[cfg(test)]
mod tests;
mod text;

pub use choose::{MAX_NAMES, NAME_PENALTY};
pub use measure::Measured;
pub use run::{Best, ExplainOptions, ExplainSummary, explain};
pub use shards::{explain_merge, explain_shard};

/// The source whose explanations are rules; no import may have its name.
pub const RULES: &str = "rules";

/// The source whose explanations are claims that people kept, scored like rules.
pub const CLAIMS: &str = "claims";

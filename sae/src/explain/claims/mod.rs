//! A claim about a feature, tested over every activation in the data.
//!
//! A claim is a rule that a person writes ([`Rule`]): the tokens, what comes before and after them, domains, regular expressions, joined by
//! `and`, `or` and `not`. It is made by looking at one half of the documents and scored on the other, the halves of `sae explain`:
//!
//! ```text
//! Evidence::open   tokens of the indexed documents, in memory: 8 bytes each
//! Evidence::test   rule ─▶ where it applies, a chunk of documents at a time ─┬▶ Tally of both halves, with intervals
//!                  activations of the feature, sorted as the documents are ──┘  hits, misses, false alarms, by place
//! keep             claim + scores + counter-examples ─▶ RUN/claims.json ─▶ `sae explain` scores it as an explanation
//! ```

mod compiled;
mod evidence;
mod figure;
mod keep;
mod parse;
mod rule;
mod score;
#[cfg(test)]
mod tests;

pub(super) use compiled::{Compiled, TokenTexts};
pub(super) use evidence::Tester;
pub use evidence::{ClaimTest, Evidence, EvidenceOptions, MOST_FALSE_ALARMS, Outcome, TestedPlace};
pub use figure::{Figure, Line};
pub(super) use keep::explanations;
pub use keep::{keep, withdraw};
pub use rule::{Condition, Name, Rule, Side, quoted};
pub(super) use score::interval_of_share;
pub use score::{Estimate, Scores, Tally};

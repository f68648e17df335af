//! How a mixture of experts is used: from a dataset's routing table, or from imported counts, to figures that can be trusted.
//!
//! ```text
//! routing table ─ read ─ Choice ─ tally ─┬ usage ──────────── load, balance, specialisation (by domain, in bits)
//!                                        ├ pairs, transitions ─ who is chosen together, all pairs
//!                                        ├ vocabulary, kinds ─ which tokens, and what they look like
//!                                        └ scores ─────────── load-balance loss, z-loss, margins (or the model is run: rescore)
//! COUNTS.csv ──── counts ── balance, specialisation
//! two tables ──── against ── router saturation
//! a run, routing ─ features ── which features live in which expert
//! a model ──────── weights ─── similar experts, their sparsity, cells of one set in another
//! a model, routing mask ────── loss of each domain without some experts
//! ```
//!
//! One pass, memory by layers × experts². A figure that the data cannot give is a named gap, never a number.

mod against;
mod balance;
mod choice;
mod counts;
mod declared;
pub mod features;
mod figures;
#[cfg(test)]
mod golden;
mod kinds;
pub mod mask;
mod pairs;
mod read;
mod rescore;
mod scores;
mod specialisation;
mod summarise;
mod tally;
#[cfg(test)]
mod tests;
mod transitions;
mod usage;
mod vocabulary;
pub mod weights;

pub use against::{Against, against};
pub use balance::{Balance, COLD_SHARE, DEAD_SHARE};
pub use choice::{Choice, WeightRule};
pub use counts::{CountsModel, read_counts, summarise_counts, write_counts};
pub use kinds::{Kind, Kinds};
pub use pairs::Pairs;
pub use scores::{ScoreKind, ScoreSums};
pub use specialisation::{InDomain, LEAST_COUNT, SKEW, specialisation};
pub use summarise::{Figures, Summary, summarise, summarise_with};
pub use transitions::Transitions;
pub use usage::{Load, Usage};
pub use vocabulary::{Concentration, LEAST_TOKENS, LISTED, Vocabulary};

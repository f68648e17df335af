//! How a mixture of experts is used: from a dataset's routing table, or from imported counts, to figures that
//! can be trusted.
//!
//! ```text
//! routing table ─ routing/ ─ Choice ─ counts/ ─┬ usage ── load, balance, specialisation by domain (figures/)
//!                                              ├ pairs, transitions ── experts chosen together, all pairs
//!                                              ├ vocabulary, kinds ── tokens by expert, and what they look like
//!                                              └ scores ── load-balance loss, z-loss, margins (or the model is run: rescore)
//!                                  summarise: counts → rows (tables) → experts/*.parquet
//! COUNTS.csv ──── imported ── balance, specialisation
//! two tables ──── against ── router saturation
//! a run, routing ─ features/ ── which features live in which expert
//! a run, routing ─ explain/ ─── what routers know: their choices predicted from features
//! a model ──────── weights/ ─── similar experts, their sparsity, cells of one set in another
//! a model, routing mask/ ────── loss of each domain without some experts; written ── what experts write, as tokens
//! a model, text ── units ────── hidden units and experts that a rule of tokens explains
//! ```
//!
//! One pass, memory by layers × experts². A figure that the data cannot give is a named gap, never a number.

mod against;
mod counts;
pub mod explain;
pub mod features;
mod figures;
#[cfg(test)]
mod golden;
mod imported;
pub mod mask;
mod rescore;
mod routing;
mod summarise;
mod tables;
#[cfg(test)]
mod tests;
mod token_rule;
pub mod units;
pub mod weights;
pub mod written;

pub use against::{RouterAgreement, against};
pub use counts::{
    Concentration, Kind, Kinds, LEAST_TOKENS, LISTED, Load, Pairs, ScoreSums, Transitions, Usage, Vocabulary,
};
pub use figures::{Balance, InDomain, LEAST_COUNT, SKEW, specialisation};
pub use imported::{CountsModel, read_counts, summarise_counts, write_counts};
pub use routing::{Choice, ScoreKind, WeightRule};
pub use summarise::{Figures, Summary, summarise, summarise_with};

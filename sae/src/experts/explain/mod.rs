//! What routers know: their choices explained by features.
//!
//! Features of a dictionary are put next to the routing of the same tokens, in three ways:
//!
//! ```text
//! direct   the part of a router's logit that active features carry: Σ_i f_i (d_i ∘ γ)·r_e / σ, nothing fitted
//! fitted   per expert the m features of largest correlation, a linear fit on one set of documents, the experts
//!          that it would choose on another: recall at k, for m = 1, 2, 4, … 64 and for all features
//! controls the most chosen experts (prior), the position, the token, the token and the one before it, all
//!          dimensions of the activation, and features fitted to choices of other tokens (shuffled)
//! ```
//!
//! An expert's *union size* is the fewest features with which nine tenths of what all features predict is
//! predicted: how many different things send tokens to it.

mod all;
mod baselines;
mod dense;
mod direct;
mod fit;
mod gather;
mod layer;
mod recall;
mod rule;
mod run;
#[cfg(test)]
mod tests;
mod words;

pub use run::{ExplainRoutersOptions, RouterLayer, RoutersExplained, explain};
pub use words::{about, in_words};

/// Features per expert that are tried.
pub const LADDER: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// The most of them.
const MOST: usize = 64;
/// An expert whose token rule has this F1 or more counts as explained by tokens alone.
pub const RULED: f64 = 0.8;
/// The share of the recall of all features that counts as explained.
pub const ENOUGH: f64 = 0.9;

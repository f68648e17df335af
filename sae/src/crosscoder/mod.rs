//! Crosscoders: one dictionary over several values of the same tokens, of layers or of two models, and what it finds of their difference.
//!
//! ```text
//! datasets of the same tokens ── join ──▶ one dataset, rows [A | B | …], every site scaled to vary alike
//!                                              └── train::run ──▶ a dictionary over joined rows
//! joined dataset + dictionary ── difference ──▶ RUN/difference/: norms, cosines, latent scaling, a class for each feature
//! ```
//!
//! A crosscoder is a dictionary over rows joined end to end whose decoder rows have norms that add up to 1 over the sites, instead of a
//! norm of 1. So a code is what the literature ranks by, f · Σ‖w‖, and every kernel of training and inference is the one that
//! there is. `docs/circuits.md` says what follows from that.

mod difference;
mod join;
mod scaling;
#[cfg(test)]
mod tests;

pub use difference::{DifferenceOptions, difference};
pub use join::{Joined, join};
pub use scaling::{EXCLUSIVE, PRESENT, ROTATED};

//! Probabilistic sparse coding: models with latent variables, learned by expectation truncation (Lücke & Eggert 2010).
//!
//! ```text
//! rows y ─ candidates: the H′ likeliest latents ─▶ states: none, each latent alone, 2 to γ of the candidates
//!       ─▶ posterior over those, at a temperature ─▶ sums ─▶ parameters ─┐
//!       ◀───────────────────────── next iteration ◀──────────────────────┘
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `parameters` | the six models, their parameters and where they begin |
//! | `states` | the states that a posterior is truncated to |
//! | `posterior` | the posterior of a row |
//! | `expectation`, `maximisation` | the two steps |
//! | `schedule` | temperature, noise and the cut of rows |
//! | `learn` | the iterations, on rows in memory |
//! | `run` | the same as a run on disk that can be stopped and continued |
//! | `bars` | made-up bars, whose W is known |
//!
//! It is not a method of [`crate::train`]: there are no batches, gradients or steps of an optimiser, and a model's posterior, not an
//! encoder, gives a row's codes.

mod bars;
mod expectation;
mod learn;
mod maximisation;
mod parameters;
mod posterior;
mod run;
mod schedule;
mod solve;
mod states;
// Definitions are written down there index by index, as papers have them.
#[cfg(test)]
#[allow(clippy::needless_range_loop)]
mod tests;

pub use bars::{BarsOptions, WrittenBars, write as write_bars};
pub use expectation::Score;
pub use learn::{Iteration, Model, ModelOptions};
pub use parameters::{Kind, Parameters};
pub use run::{LatentOptions, Learned, run};
pub use schedule::Schedule;

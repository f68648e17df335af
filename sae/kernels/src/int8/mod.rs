//! A product of many rows with many columns in 8-bit integers, and from it the few pairs that can be among the largest.
//!
//! The encoder's product is most of the arithmetic of a training step, and nearly all of its results are thrown away: of F
//! pre-activations k are used. So it is made in 8 bits, four times faster than in `f32` where a processor has the instructions,
//! with a margin for what rounding may have done; whoever might be among the best is on a short list and is computed again in `f32`.
//!
//! ```text
//! rows x[n, d]    ── quantise ──▶ Rows    i8, a scale a row          ┐
//! columns w[F, d] ── quantise ──▶ Panels  u8, a scale a column,      ├─ tile: 6 rows × 64 columns of sums in i32
//!                                         64 columns side by side    ┘      │
//!                      bounds of z, or of z weighted by a second product ◀──┘
//!                                     Shortlist: those whose upper bound reaches the k-th largest lower bound
//! ```
//!
//! # The margin
//! With `x = x̂ + δx`, `w = ŵ + δw` (hats are what the 8 bits stand for) the error of a product is exactly
//! `x·w − x̂·ŵ = δx·w + x̂·δw`. Roundings of different dimensions have no common sign, so each part has a standard deviation of
//! `‖δx‖‖w‖/√d` and `‖x̂‖‖δw‖/√d`. The margin is [`MARGIN`] times their sum. A pair is lost only if the errors of both it and of the
//! pair that took its place conspire beyond it: the distance is twice the margin. That is not a proof (the bound that holds whatever the
//! roundings is √d times as wide, and would keep everything), so training measures the recall and logs it.
//!
//! Both factors may be scaled by dimension before ([`Fold`]): activations of language models have a few dimensions that are a hundred
//! times as large as the others, and one scale a row would leave no bits for the rest.

pub mod panels;
pub mod rows;
pub mod shortlist;
pub mod tile;

mod bounds;
mod quantise;

pub use panels::Panels;
pub use quantise::Fold;
pub use rows::Rows;
pub use shortlist::{Pairs, Shortlist, Weights};

/// Standard deviations that bounds are away from an estimate.
pub const MARGIN: f32 = 3.0;

/// Dimensions whose products are summed at once.
const GROUP: usize = 4;

/// Longest rows: sums of 2¹⁶ products of 8 bits fit 32 bits.
pub const MAX_WIDTH: usize = 1 << 16;

#[cfg(test)]
mod tests;

//! A text of one's own: what its tokens fire, what that does, and what happens if it is changed.
//!
//! ```text
//! text ─ tokens ─ model ──▶ x at the hook ── encode ──▶ Reading: codes and experts of every token, what is predicted behind it
//!                   │            │
//!                   │            ├─ one backward pass ──▶ Attribution: c · (W_dec · ∂target/∂x) of every code
//!                   ▼            ▼
//!              predictions   x' = x + Σ (c' − c) · W_dec  ──▶ Effect: KL, ‖δ‖/‖x‖, losses; random directions beside it
//!                                                         └─▶ Continuation: what the model goes on to say
//! ```
//!
//! What the dictionary misses stays where it is: a change is added to the true activation, never to the reconstruction. BOS has no
//! row in a dataset, so no dictionary was trained on it: it has no codes and is never changed, and neither are tokens whose norm is
//! above the limit of training. Positions count the text's own tokens from 0, as in a dataset.

mod attribution;
mod change;
mod continuation;
mod effect;
mod experts;
mod pass;
mod predictions;
mod prompter;
mod reading;
#[cfg(test)]
mod tests;

pub use attribution::{Attribution, Target};
pub use change::{At, Change, Edit, Maximum, MaximumOf, Plan};
pub use continuation::{Continuation, Sampling};
pub use effect::{Effect, Outcome, Spread};
pub use experts::LayerExperts;
pub use pass::{Direction, With};
pub use predictions::{Prediction, Shift};
pub use prompter::{Opened, Prompter};
pub use reading::Reading;

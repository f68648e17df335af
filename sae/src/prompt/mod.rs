//! Prompting: what the tokens of a text fire, what that does, and what happens if features are changed.
//!
//! ```text
//! text ─ tokens ─ model ──▶ x at the hook ── encode ──▶ Reading: codes and experts of every token, what is predicted after it
//!                   │            │
//!                   │            ├─ one backward pass ──▶ Attribution: c · (W_dec · ∂target/∂x) of every code
//!                   ▼            ▼
//!              predictions   x' = x + Σ (c' − c) · W_dec  ──▶ Effect: KL, ‖δ‖/‖x‖, losses; random directions to compare
//!                                                         └─▶ Continuation: the tokens that the model adds
//!                      codes that go, many sets to a pass  ──▶ SufficientSet: few codes that keep a prediction
//! ```
//!
//! What the dictionary misses is kept: a change is added to the true activation, never to the reconstruction.
//! BOS has no row in a dataset, so no dictionary was trained on it: it has no codes and is never changed, and
//! neither are tokens whose norm is above the limit of training. Positions count the text's own tokens from
//! 0, as in a dataset.
//!
//! Values know nothing of the model: [`change`], [`predictions`], [`batch`], [`experts`], then [`reading`].
//! [`prompter`] holds model and dictionary; its methods are where their subjects are: [`pass`], [`read`],
//! [`plan`], [`effect`], [`attribution`], [`continuation`], [`subsets`], [`sufficient`], [`lens`]. None of the files imports one that imports it.

mod attribution;
mod batch;
mod change;
mod continuation;
mod effect;
mod experts;
mod lens;
mod pass;
mod plan;
mod predictions;
mod prompter;
mod read;
mod reading;
mod subsets;
mod sufficient;
#[cfg(test)]
mod tests;

pub use attribution::{Attribution, Target};
pub use change::{Change, Edit, Maximum, MaximumSource, Plan, Scope};
pub use continuation::{Continuation, Sampling};
pub use effect::{Effect, Outcome, Spread};
pub use experts::LayerExperts;
pub use pass::{Direction, Intervention};
pub(crate) use predictions::Logits;
pub use predictions::{Prediction, Shift};
pub use prompter::{Prompter, PrompterInfo};
pub use reading::Reading;
pub use sufficient::{Measure, Member, Rest, SubsetValue, SufficientOptions, SufficientSet};

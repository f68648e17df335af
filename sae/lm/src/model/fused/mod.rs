//! A branch of a block as one operation on the residual stream: norm, products, all between them, and the
//! sum.
//!
//! ```text
//! x ─┬─ norm ─ q, k, v ─ norms, rotation ─ attention ─ out ─ (norm) ─ + ─▶      attention.rs
//!    └──────────────────────────────────────────────────────────────┘
//! x ─┬─ norm ─ up ─ activation ─ down ─ (norm) ─ + ─▶                          mlp.rs
//!    └───────────────────────────────────────────┘
//! ```
//!
//! Operation by operation, candle writes every result to memory, adds gradients on one thread and keeps all
//! that a gradient might need. Here some dozens of tokens go through the branch while their numbers are in
//! the cache, only what the backward pass reads is kept, and only when there will be one; weights are frozen
//! and get no gradient. [`Block`](super::block::Block) takes this way where no hook inside the branch is
//! looked at; the way operation by operation is the twin that tests compare it with.

mod attention;
mod mlp;
mod parts;
#[cfg(test)]
mod tests;

pub(super) use attention::AttentionBranch;
pub(super) use mlp::MlpBranch;
pub(super) use parts::Join;

//! Jacobian lenses: what a vector at a hook does, on average, to the final residual stream.
//!
//! `J = mean over texts and tokens t of Σ_{t' ≥ t} ∂h_final[t'] / ∂h[t]`, `[d_model, width]`. So `unembedding · J · w` says which tokens a
//! direction w at the hook makes likelier, now and later, with everything that later layers do to it, where the logit lens (J = 1) has the
//! direct path alone. The first tokens of a text are left out, because their norm is far from that of others in most models, and so
//! is the last, after which nothing is predicted.

mod file;
mod jacobian;
#[cfg(test)]
mod tests;

pub use file::Lens;
pub use jacobian::{LensOptions, run};

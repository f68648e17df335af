//! Where a feature's value on a token comes from: what attention heads moved there, from which tokens, and which features of
//! those tokens it was; then where those came from, as far back as one asks.
//!
//! ```text
//! model + text ─ freeze ─▶ HeldText: patterns and norms' divisors held, so everything between MLPs is linear
//! feature at a token ─▶ Reader ─ parts ───▶ Parts: heads × source tokens, MLPs, embedding, biases; they add up
//!                       Reader ─ through ─▶ Reader of what one head moved from one token
//!                       Reader ─ written ─▶ Written: features of a dictionary below, and what each of them gives
//! ```
//!
//! This is recursive direct feature attribution (Kissane et al. 2024, arXiv 2406.17759): a pre-activation of a feature at
//! `hook_z` is a sum over heads and source tokens; the stream at a source is a sum of features of a dictionary there; and a
//! feature of the stream is again a sum over the heads of all earlier layers. It is exact for what is held: which tokens
//! heads look at, and how norms scale, is taken as given. Nothing leads through an MLP: what one wrote is a part of its own.
//!
//! [`induction`] asks what makes a head look back: how long a repeated prefix must be.

mod induction;
mod placed;
mod reader;
#[cfg(test)]
mod tests;
mod written;

pub use induction::{HeadInduction, Induction, InductionOptions, induction};
pub use placed::{PlacedDictionary, PlacedInModel};
pub use reader::{HeadParts, HeldText, MlpPart, Parts, Reader};
pub use written::{FeaturePart, Written};

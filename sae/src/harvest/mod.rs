//! Activations, gradients and routing of a language model on text, written to datasets.
//!
//! ```text
//! documents ── tokens ── packed Contexts ── Decoder + Capture ──▶ Rows ──channel──▶ Sink ── parts, journal, manifest
//!                                            (this thread)                (writer thread)
//! ```
//!
//! A dataset has one row for every token of every document, in (document, position) order; BOS and padding have none. The order of
//! batches is a function of the options, so a harvest that was interrupted counts batches and goes on where whole parts end.

mod capture;
mod config;
mod merge;
mod run;
mod shard;
mod sink;
mod source;
mod tables;

pub use config::{CONTEXT_LENGTH, HarvestConfig};
pub use merge::merge;
pub use run::{Harvested, run};
pub use shard::Shard;
pub(crate) use sink::Sink;
pub(crate) use source::is_held_out;

//! Activations, gradients and routing of a language model on text, written to datasets.
//!
//! ```text
//! documents ── sequences of tokens ── packed Contexts ── Decoder + Capture ──▶ Rows ──channel──▶ Sink ── parts, journal
//!                                                        (this thread)                (writer thread)
//! ```
//!
//! A dataset has one row for every token of every document, in (document, position) order; BOS and padding
//! have none, nor have tokens of roles that nobody asked for. The order of batches is a function of the
//! options, so a harvest that was interrupted counts batches and continues where whole parts end. What is
//! known of a document goes with its first context.

mod capture;
mod config;
mod merge;
mod run;
mod sequences;
mod share;
mod sink;
mod source;
mod tables;

pub use config::{CONTEXT_LENGTH, HarvestConfig};
pub use merge::merge;
pub use run::{Harvested, run};
pub(crate) use sink::{Sink, TableRows};
pub(crate) use source::{is_held_out, with_lengths};

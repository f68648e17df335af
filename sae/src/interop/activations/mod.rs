//! Activations that were computed elsewhere, as a dataset. `docs/imports.md` says what is read and how
//! columns are recognised.
//!
//! ```text
//! .npy ────────────── npy ┐
//! .safetensors ── tensors ┤
//! .arrow, folder ── arrow ┼─ Source: chunks of rows [n, d], ─ Ledger: documents, ─ Sink ── parts, journal,
//! .parquet ────── parquet ┘  tokens, documents, positions     held-out marks              manifest
//! ```
//!
//! A chunk is some megabytes, so memory does not grow with the files; of Arrow files one record batch is in
//! memory, as large as its writer made it. What an array of three dimensions or a list of lists holds is
//! sequences: each is a document. Rows without documents are cut into runs, so that some can be held out.
//! Rows without tokens stay without: nothing is made up for them.
//!
//! An interrupted import counts chunks and continues where whole parts end, as a harvest does.

mod arrow;
mod arrow_messages;
mod batch;
mod chunk;
mod columns;
mod fixed_shape;
mod integers;
mod ledger;
mod lists;
mod npy;
mod parquet;
mod parquet_limits;
mod parquet_shapes;
mod run;
mod source;
mod tensors;
#[cfg(test)]
mod tests;
mod thrift;

pub(super) use batch::{Columns, Run, guarded};
pub(super) use npy::Header as NumpyHeader;
pub use run::{ImportConfig, Imported, Plan, check, plan, run};

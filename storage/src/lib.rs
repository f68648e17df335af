//! Everything that SAE Workbench keeps on disk.
#![warn(missing_docs)]

pub mod atomic;
pub mod column;
pub mod dataset;
pub mod documents;
mod error;
pub mod examples;
pub mod experts;
pub mod feature_activations;
pub mod features;
mod find;
mod json;
mod layout;
mod lock;
pub mod manifest;
pub mod metrics;
mod part;
pub mod run;
pub mod schema;
mod table;
pub mod vector;
pub mod vocabulary;

pub use dataset::{Dataset, DatasetWriter};
pub use error::{Error, Result};
pub use find::{Found, FoundKind, find_folders};
pub use json::read_json;
pub use layout::Layout;
pub use lock::Lock;
pub use manifest::{Dtype, Manifest, ModelRef, Part, Table, TextSource};
pub use part::PartWriter;
pub use run::{Run, RunRecord, RunStatus};
pub use table::{Batches, Scan, TableReader};

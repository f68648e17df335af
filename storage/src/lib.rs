//! What SAE Workbench keeps on disk: datasets of activations, records of training runs, feature tables.
//!
//! This crate knows Arrow, Parquet and JSON, and nothing of tensors, models or windows. It promises three things:
//!
//! - **Whole or not there.** A file is written next to its place, fsynced and renamed; a dataset's manifest comes last. What
//!   was interrupted has a journal, and continues where whole parts end.
//! - **Only what is asked.** Reads stream; parts, row groups and pages that cannot hold the wanted rows are not read.
//! - **Plain files.** DuckDB, pyarrow and Polars open every table as it is; Spark does, if activations are f32 or not asked for.
//!
//! ```text
//!   Manifest (header) ─▶ DatasetWriter ─ next_part ─▶ PartWriter ◀─ RecordBatch
//!                             │  ▲                        │ finish: checksum, fsync, rename
//!                      finish │  └──── commit ◀── Part ───┘        (journal.json)
//!                             ▼
//!                        dataset.json
//!                             │
//!                       Dataset::open ─ table ─▶ TableReader ─ scan ─▶ batches of some rows and columns
//!                                                            ─ take ─▶ scattered row ranges
//! ```
//!
//! A run is simpler: [`RunRecord`] is `run.json`, [`Run`] opens the tables next to it, and [`metrics`], [`features`],
//! [`examples`], [`feature_activations`], [`codes`], [`token_features`], [`experts`], [`explanations`], [`history`], [`documents`], [`vocabulary`] turn tables into Rust values and back.
//! Tables are declared as structs ([`row`]) and so are JSON files ([`record`]); [`catalogue`] lists all of them, and
//! `docs/on-disk.md` is made from it.
//!
//! A dataset written and read back:
//!
//! ```
//! use std::sync::Arc;
//! use arrow::array::{ArrayRef, DictionaryArray, UInt32Array};
//! use arrow::datatypes::Int32Type;
//! use arrow::record_batch::RecordBatch;
//! use storage::{Dataset, DatasetWriter, Dtype, Layout, Manifest, ModelRef, Scan, schema, vector};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! # let dir = folder.path().join("data");
//! let model = ModelRef { id: "tiny".into(), path: None, sha256: "00".into() };
//! let header = Manifest::new(model, Some("blocks.0.hook_resid_post".into()), 2, Dtype::F16);
//! let mut writer = DatasetWriter::begin(&dir, header)?;
//!
//! // Three tokens of one document, with activations of width 2.
//! let (activation, bad) = vector::column_from_rows(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 2, Dtype::F16)?;
//! assert_eq!(bad.count, 0);
//! let numbers = |n: [u32; 3]| Arc::new(UInt32Array::from_iter_values(n)) as ArrayRef;
//! let domain: DictionaryArray<Int32Type> = ["prose"; 3].into_iter().collect();
//! let columns = vec![
//!     numbers([0, 0, 0]), // document
//!     numbers([0, 1, 2]), // position
//!     numbers([7, 8, 9]), // token
//!     Arc::new(domain),
//!     Arc::new(activation),
//! ];
//! let columns_of = schema::activations(2, Dtype::F16, false);
//! let mut part = writer.next_part(schema::ACTIVATIONS, columns_of.clone(), &Layout::activations())?;
//! part.write(&RecordBatch::try_new(columns_of, columns)?)?;
//! let part = part.finish()?;
//! // From here on the part counts, and a later `begin` would give this cursor back.
//! writer.commit(vec![(schema::ACTIVATIONS.into(), part)], serde_json::json!({ "document": 1 }))?;
//! writer.finish()?;
//!
//! let dataset = Dataset::open(&dir)?;
//! let table = dataset.table(schema::ACTIVATIONS)?;
//! let mut rows = Vec::new();
//! for batch in table.scan(Scan { rows: Some(1..3), ..Scan::default() })? {
//!     vector::fixed_size_rows(&batch?, schema::activations::ACTIVATION, &mut rows)?;
//! }
//! assert_eq!(rows, [2.0, 3.0, 4.0, 5.0]);
//! # Ok(())
//! # }
//! ```

#![forbid(unsafe_code)]

pub mod atomic;
pub mod attention;
pub mod audit;
pub mod bucket;
pub mod catalogue;
pub mod certificates;
pub mod cett;
pub mod check;
pub mod claims;
pub mod clock;
pub mod codes;
pub mod coding;
pub mod column;
pub mod comparison;
pub mod dataset;
pub mod difference;
pub mod documents;
mod error;
pub mod evaluation;
pub mod examples;
pub mod experts;
pub mod explanations;
pub mod feature_activations;
pub mod features;
mod field;
pub mod fields;
mod find;
pub mod graph;
pub mod graph_marks;
pub mod history;
pub mod index;
mod json;
pub mod judged;
mod layered;
pub mod layers;
mod layout;
pub mod lens;
mod lock;
pub mod manifest;
pub mod map;
pub mod matching;
pub mod metrics;
pub mod notes;
mod part;
pub mod pretraining;
pub mod probe;
pub mod record;
pub mod routing;
pub mod row;
pub mod run;
pub mod schema;
pub mod similar;
pub mod sweep;
mod table;
pub mod task;
pub mod token_features;
pub mod truncation;
pub mod truth;
pub mod vector;
pub mod vocabulary;
pub mod whitening;
pub mod work;

pub use check::Check;
pub use dataset::{Dataset, DatasetWriter, JOURNAL, MANIFEST};
pub use error::{Error, Result};
pub use evaluation::Evaluation;
pub use find::{Found, FoundKind, find_folders};
pub use index::IndexRecord;
pub use json::read_json;
pub use layered::Layered;
pub use layout::Layout;
pub use lock::Lock;
pub use manifest::{Bos, Dtype, Manifest, ModelRef, Part, RowsAre, Table, TextSource};
pub use part::PartWriter;
pub use run::{Decision, ExactSearch, Imported, ImportedFile, LeftOut, Run, RunRecord, RunStatus};
pub use table::{Batches, Scan, TableReader};

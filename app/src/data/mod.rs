//! What the window knows of files: plain values for views, made from `storage`'s readers.
//!
//! The only room that names `storage`. Every function here may block and is called from worker threads alone; every
//! failure comes out as a [`Problem`](crate::load::Problem) that names the file and the remedy.

pub mod dataset;
pub mod experts;
pub mod features;
pub mod folder;
pub mod run;
pub mod vocabulary;

pub use dataset::{DatasetInfo, DocumentRow, DocumentText, Documents};
pub use experts::{ExpertUsage, LayerUsage};
pub use features::{Columns, Example, FeaturePage, FeatureRow, TokenLists};
pub use folder::{DatasetEntry, Folder, RunEntry};
pub use run::{Metrics, RunInfo, Status};
pub use vocabulary::Vocabulary;

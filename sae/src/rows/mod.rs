//! What an analysis of a run works on: its dataset, the chosen rows, and the model that made them.

mod choice;
mod documents;
#[cfg(test)]
pub mod fixture;
mod in_model;
mod layers;
mod model;
mod reader;
mod source;
mod subject;
mod whole;

pub use choice::{Choice, DocumentRows, choose};
pub use documents::documents;
pub use in_model::InModel;
pub use layers::{Layers, datasets_of, folder_of_layers};
pub use model::{COMPUTE, ModelChoice, compute_of, load_model, manifest_for, source_of};
pub use reader::{RowBatch, RowReader};
pub use source::{Source, dataset_of, find_dataset, is_cross_layer_run, is_run, must_be_one, must_be_run};
pub use subject::{Subject, load_with_sha256, weights_sha256};
pub use whole::{read_whole, subtract};

//! Which rows of a dataset an analysis looks at, and reading them in batches.

mod choice;
mod reader;

pub use choice::{Choice, Which, choose};
pub use reader::{RowBatch, RowReader};

//! Sparse autoencoders for language models.

mod error;
pub mod experts;
pub mod features;
pub mod model;
mod progress;

pub use error::{Error, Result};
pub use progress::{Progress, Quiet};

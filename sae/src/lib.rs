//! Sparse autoencoders for language models.

pub mod dictionary;
mod error;
pub mod experts;
pub mod features;
pub mod kernels;
pub mod model;
mod progress;
mod rows;

pub use error::{Error, Result};
pub use progress::{Progress, Quiet};

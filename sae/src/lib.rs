//! Sparse autoencoders for language models.

pub mod dictionary;
mod error;
pub mod kernels;
pub mod model;
mod progress;
pub mod train;

pub use error::{Error, Result};
pub use progress::{Progress, Quiet};

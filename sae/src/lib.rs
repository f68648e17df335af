//! Sparse autoencoders for language models.

pub mod cli;
pub mod demo;
pub mod dictionary;
mod error;
pub mod harvest;
pub mod kernels;
pub mod model;
pub mod pretrain;
mod progress;
pub mod text;
pub mod train;

pub use error::{Error, Result};
pub use progress::{Progress, Quiet};

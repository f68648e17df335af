//! Sparse autoencoders for language models.

pub mod cli;
pub mod demo;
pub mod dictionary;
mod error;
pub mod evaluate;
pub mod experts;
pub mod features;
pub mod harvest;
pub mod kernels;
pub mod model;
pub mod pretrain;
mod progress;
mod rows;
pub mod text;
pub mod train;

pub use error::{Error, Result};
pub use progress::{Progress, Quiet};
pub use rows::ModelChoice;

//! Sparse autoencoders for language models.

pub mod cli;
pub mod demo;
mod error;
pub mod kernels;
pub mod model;
pub mod pretrain;
mod progress;
pub mod text;

pub use error::{Error, Result};
pub use progress::{Progress, Quiet};

//! Training.

mod config;
mod matches;
mod order;
mod pools;
mod random;
mod rows;
mod schedule;
mod state;
mod step;

pub use config::{InputNormalisation, Method, TrainConfig, default_learning_rate};

//! Test helpers: the program as a user starts it, a small text, a made-up dataset. They panic where a test should fail.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod chance;
mod made_up;
mod program;
mod small_text;

pub use chance::Chance;
pub use made_up::{begun_dataset, dataset, dataset_with};
pub use program::{Ended, Started, sae, sae_with, sae_within, start, start_with};
pub use small_text::{Document, small_text};

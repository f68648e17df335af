//! Decoder-only language models with taps at named hooks.

mod hook;

pub use hook::{Hook, Site};

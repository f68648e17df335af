//! Figures of slot counts alone: how even a layer is, and how specialised its experts are.

mod balance;
mod specialisation;

pub use balance::{Balance, entropy, total};
pub use specialisation::{InDomain, LEAST_COUNT, SKEW, specialisation};

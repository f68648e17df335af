//! How a mixture of experts is used.
mod balance;
#[cfg(test)]
mod golden;
mod usage;
pub use balance::{Balance, DEAD_SHARE};
pub use usage::{Choice, Load, Usage};

//! How a mixture of experts is used: from a dataset's routing table to the load of every expert and the balance of every
//! layer, overall and by domain.
//!
//! [`Usage`] is the one fold over routing rows, [`Balance`] the figures of a layer from its counts; [`summarise`] streams
//! a table through both and writes `experts/` beside it.

mod balance;
#[cfg(test)]
mod golden;
mod summarise;
mod usage;

pub use balance::{Balance, DEAD_SHARE};
pub use summarise::{Summary, summarise};
pub use usage::{Choice, Load, Usage};

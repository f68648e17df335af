//! A dataset's routing table: what one token was routed to, what is declared about the router, and the
//! reader.

mod choice;
mod declared;
mod read;
mod score_kind;

pub use choice::{Choice, WeightRule};
pub use read::{Overview, Rows, Source};
pub use score_kind::{ScoreKind, is_distribution};

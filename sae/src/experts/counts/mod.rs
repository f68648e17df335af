//! What one pass over a routing table counts; [`tally`] runs it.

mod kinds;
mod pairs;
mod scores;
mod tally;
mod transitions;
mod usage;
mod vocabulary;

pub use kinds::{Kind, Kinds};
pub use pairs::Pairs;
pub use scores::ScoreSums;
pub use tally::{Scores, Tally, tally};
pub use transitions::Transitions;
pub use usage::{Load, Usage};
pub use vocabulary::{Concentration, LEAST_TOKENS, LISTED, Vocabulary};

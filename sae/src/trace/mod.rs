//! Which features of which tokens lead to a prediction: attribution graphs over transcoders.
//!
//! ```text
//! model + text ─ freeze ─▶ Frozen: patterns and norms' divisors held, linear between the MLPs
//! transcoders ─ encode ─▶ features that fire, errors, tokens: what writes into the stream    } nodes
//! logits (or a feature, a router, a direction)                  : what is asked about        }
//! each target ─ one backward pass ─▶ a row of the adjacency: what every node gives it
//! adjacency ─ influence ─▶ kept nodes and edges ─▶ Parquet, JSON of Neuronpedia
//! graph + changed features ─ predict ─▶ what should change       } to be compared
//!                          ─ measure, with the model ─▶ what does }
//! ```
//!
//! The method is that of Ameisen et al. 2025, "Circuit Tracing: Revealing Computational Graphs in Language Models",
//! as circuit-tracer has it. A row adds up: what all nodes give a target, and what the biases give it, is its
//! pre-activation. `docs/circuits.md` says what the numbers mean.

mod attribute;
mod change;
mod graph;
mod heads;
mod import;
mod influence;
mod marks;
mod merge;
mod neuronpedia;
mod picture;
mod predict;
mod run;
mod save;
mod sources;
mod target;
#[cfg(test)]
mod tests;
mod transcoders;

pub use attribute::{TraceOptions, trace};
pub use change::{ChangeOptions, GraphChange, GraphModel};
pub use graph::{Graph, Node, NodeKind};
pub use heads::GivenThrough;
pub use import::import;
pub use influence::{Pruned, Scores, Thresholds};
pub use marks::{Exported, export, with_marks};
pub use merge::{GraphRows, Merged, MergedEdge, comparable, identity, merge, merge_rows};
pub use neuronpedia::Prompt;
pub use picture::{PictureOptions, svg};
pub use predict::{NodeChange, predict};
pub(crate) use run::one_row;
pub use run::{TraceJob, run};
pub use save::{GraphSubject, may_be_written, read};
pub use target::Target;
pub(crate) use target::logit_directions;
pub use transcoders::Transcoders;

//! The feature index: what every feature of a dictionary does, in tables that a viewer can page through.
//!
//! ```text
//! rows of a dataset ── encode ──▶ codes ── Spill ──▶ buckets of features ── sorted ──▶ activations-00000.parquet
//!        │                          └── sampled rows ──▶ Coactivity ─┐       │ Summary, examples, Inverted ──▶ token_features.parquet
//!        └──▶ Tokens (8 bytes per row, in memory)                    ├───────┴──▶ features.parquet, examples.parquet
//!                    decoder, unembedding ──▶ logits, neighbours ────┘
//! ```
//!
//! A dictionary of attention heads gets two tables more, and the model runs once more over the contexts of
//! the strongest examples (`heads`).
//!
//! Of a cross-layer transcoder the features of all layers are indexed together (`layers`).
//!
//! One streamed pass over the dataset, then one over the features; reading, computing and writing happen at the
//! same time (`encode`, `write`). Memory: the dictionary, 8 bytes per token, three batches of rows, one bucket of
//! activations (about 100 MB; two while one follows the other), later one range of tokens (64 MB), the sample for
//! co-activation (at most 400 MB), and the unembedding.

mod best;
mod buckets;
mod coactive;
mod describe;
mod encode;
mod examples;
mod find;
mod heads;
mod index;
mod inverted;
mod layers;
mod map;
mod rows;
mod shards;
mod summary;
mod tally;
#[cfg(test)]
mod tests;
pub(crate) mod tokens;
mod weights;
mod write;

pub use examples::{ExampleOptions, INTERVALS, RANDOM};
pub use find::{FoundBy, FoundFeature, FoundFeatures, find};
pub use index::{IndexOptions, index};
pub(crate) use layers::described;
pub use map::map;
pub use shards::{index_merge, index_shard};
pub use storage::IndexRecord;

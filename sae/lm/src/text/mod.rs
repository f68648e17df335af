//! Text in: documents from files, packed into the contexts that a model runs on.
//!
//! ```text
//! .txt .jsonl .parquet folder ── documents ── Document { text, domain, held_out … } ── tokenizer ── pack ── Contexts
//! ```

mod contexts;
mod documents;

pub use contexts::{Contexts, Packer, pack};
pub use documents::{Document, Documents, files, open};

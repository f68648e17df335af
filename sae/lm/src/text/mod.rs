//! Text in: documents from files, packed into the contexts that a model runs on.
//!
//! ```text
//! files, folders ── records ── Document { text, domain, held_out … } ── tokenizer ── pack ── Contexts
//! ```
//!
//! What is read, what is skipped and who is held out: `docs/text.md`.

mod chat;
mod contexts;
mod csv;
mod documents;
mod files;
mod json;
mod plain;
mod python;
mod reader;
mod record;
mod split;
mod table;

pub use chat::{Chat, ChatTemplate};
pub use contexts::{Contexts, Packer, Sequence, pack, pack_with};
pub use documents::{Content, Document, Documents, Texts, documents, files, open, texts, whole};
pub use reader::TextOptions;
pub use record::Report;
pub use split::held_out;

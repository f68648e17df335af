//! What the window knows of files: plain values for views, made from `storage`'s readers.
//!
//! The only room that names `storage`. Every function here may block and is called from worker threads alone; every
//! failure comes out as a [`Problem`] that names the file and the remedy.

pub mod codes;
pub mod compare;
pub mod dataset;
pub mod experts;
pub mod explanations;
pub mod export;
pub mod features;
pub mod folder;
pub mod heads;
pub mod history;
pub mod notes;
pub mod routing;
pub mod rows;
pub mod run;
pub mod search;
pub mod vocabulary;

pub use compare::Comparison;
pub use dataset::{DatasetInfo, DocumentRow, DocumentText, Documents};
pub use experts::{ExpertLoad, ExpertUsage, LayerUsage};
pub use explanations::Explanations;
pub use features::{Columns, Example, FeaturePage, FeatureRow, Number, Points, TokenLists};
pub use folder::{DatasetEntry, Folder, RunEntry};
pub use heads::{HeadWeights, Sources};
pub use notes::Notes;
pub use routing::{LayerRouting, Routing};
pub use rows::{RowFacts, Rows};
pub use run::{Metrics, RunInfo, Status};
pub use storage::experts::{AgainstRow, FeatureExpertRow, InformationRow, SpecialisationRow, VocabularyRow};
pub use vocabulary::Vocabulary;

use crate::load::Problem;

/// A storage error in the window's words. Its messages put the remedy behind the last semicolon.
pub(crate) fn problem(error: impl std::fmt::Display) -> Problem {
    let text = error.to_string();
    match text.rsplit_once("; ") {
        Some((what, remedy)) => Problem::new(sentence(what)).with_remedy(sentence(remedy)),
        None => Problem::new(sentence(&text)),
    }
}

/// With a capital and a full stop; a path at the beginning stays as it is.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().unwrap_or_default();
    let is_path = text.split([':', ' ']).next().is_some_and(|word| word.contains(['/', '\\']));
    let begun = if is_path { text.to_owned() } else { first.to_uppercase().chain(chars).collect() };
    if begun.ends_with(['.', '!', '?']) { begun } else { format!("{begun}.") }
}

/// Something that the run should have and does not: `what` is missing, `remedy` makes it.
fn missing(path: &std::path::Path, what: &str, remedy: &str) -> Problem {
    Problem::new(format!("{} has no {what}.", path.display())).with_remedy(remedy)
}

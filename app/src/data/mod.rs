//! What the window knows of files: plain values for views, made from `storage`'s readers.
//!
//! The room that reads files. Every function here may block and is called from worker threads alone; every
//! failure comes out as a [`Problem`] that names the file and the remedy.

pub mod agreement;
pub mod audit;
pub mod claims;
pub mod codes;
pub mod dataset;
pub mod experts;
pub mod explanations;
pub mod export;
pub mod features;
pub mod fields;
pub mod firing;
pub mod firings;
pub mod folder;
pub mod graph;
pub mod heads;
pub mod history;
pub mod kept;
pub mod kinds;
mod layers;
pub mod matching;
pub mod notes;
pub mod plane;
pub mod pretraining;
pub mod probes;
pub mod remote;
pub mod routing;
pub mod rows;
pub mod run;
pub mod search;
pub mod similar;
pub mod truth;
pub mod vocabulary;

pub use agreement::{Agreement, AgreementReader};
pub use audit::Audit;
pub use dataset::{DatasetInfo, DocumentRow, DocumentText, Documents};
pub use experts::{ExpertLoadRow, ExpertUsage, LayerUsage};
pub use explanations::Explanations;
pub use features::{
    Columns, Example, ExampleRow, FeatureColumns, FeaturePage, FeatureRow, Points, TokenLists,
};
pub use firing::Firing;
pub use folder::{DatasetEntry, Folder, GraphEntry, ModelEntry, ProbesEntry, RunEntry};
pub use heads::{AttributionRow, HeadsRow};
pub use kept::{GraphMarks, Kept, MarkEdit};
pub use kinds::Kinds;
pub use layers::LayerRun;
pub use matching::Matching;
pub use notes::Notes;
pub use routing::{LayerRouting, Routing};
pub use rows::{RowFacts, Rows};
pub use run::{DeadFeatures, Metrics, MetricsColumns, RunInfo, Status};
pub use storage::experts::{AgainstRow, FeatureExpertRow, InformationRow, SpecialisationRow, VocabularyRow};
pub use storage::{Evaluation, Layered};
pub use vocabulary::Vocabulary;

/// A column of a log as a curve; none without a finite value.
pub fn curve(column: &[Option<f32>]) -> Option<&[Option<f32>]> {
    column.iter().flatten().any(|value| value.is_finite()).then_some(column)
}

pub use crate::words::Number;

use crate::load::Problem;

/// A storage error in the window's words.
#[allow(clippy::needless_pass_by_value)] // `map_err` gives it by value.
pub(crate) fn problem(error: storage::Error) -> Problem {
    in_sentences(&error.to_string(), error.remedy())
}

/// An error's message and its remedy as sentences. A message ends with its remedy, which is shown apart and so only once.
pub(crate) fn in_sentences(message: &str, remedy: Option<&str>) -> Problem {
    let Some(remedy) = remedy else { return Problem::new(sentence(message)) };
    let what = message.strip_suffix(remedy).and_then(|what| what.strip_suffix("; ")).unwrap_or(message);
    Problem::new(sentence(what)).with_remedy(sentence(remedy))
}

/// With a capital and a full stop; a path or an address at the beginning stays as it is.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().unwrap_or_default();
    let is_path = text.split([':', ' ']).next().is_some_and(|word| word.contains(['/', '\\']));
    let begun = if is_path || storage::bucket::Address::is_meant(text) {
        text.to_owned()
    } else {
        first.to_uppercase().chain(chars).collect()
    };
    if begun.ends_with(['.', '!', '?']) { begun } else { format!("{begun}.") }
}

/// Something that the run should have and does not: `what` is missing, `remedy` makes it.
fn missing(path: &std::path::Path, what: &str, remedy: &str) -> Problem {
    Problem::new(format!("{} has no {what}.", path.display())).with_remedy(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_is_what_the_error_calls_so_and_stands_once() {
        let path = std::path::PathBuf::from("/no/such/run.json");
        let error =
            storage::Error::Missing { path: path.clone(), remedy: "check the path; or make it".into() };
        let shown = problem(error);
        assert_eq!(shown.what, "/no/such/run.json: not found.");
        assert_eq!(shown.remedy.as_deref(), Some("Check the path; or make it."));
        assert_eq!(in_sentences("s3://lake: no", None), Problem::new("s3://lake: no."));
        // A semicolon alone makes no remedy.
        let error = storage::Error::Argument { path, message: "two rows; expected one".into() };
        assert_eq!(problem(error), Problem::new("/no/such/run.json: two rows; expected one."));
    }
}

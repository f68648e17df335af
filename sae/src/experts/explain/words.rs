//! What sends tokens to an expert, in words.

use std::collections::HashMap;
use std::path::Path;

use storage::explanations;

use super::RouterLayer;
use crate::Result;
use crate::explain::RULES;

/// Features that are named of an expert at most.
const NAMED: usize = 4;

/// What the run in `dir` says that its features are about: rules where there are some, else what was imported.
///
/// # Errors
/// Explanations that cannot be read.
pub fn about(dir: &Path) -> Result<HashMap<u32, String>> {
    let mut sources = explanations::sources(dir)?;
    sources.sort_by_key(|source| (source != RULES, source.clone()));
    let mut about = HashMap::new();
    for source in sources {
        for row in explanations::read(dir, &source)? {
            about.entry(row.feature).or_insert(row.text);
        }
    }
    Ok(about)
}

/// The features that send tokens to `expert` of a layer, as many as its union size (four at most), those that
/// keep tokens away left out; `about` says what features are about.
pub fn in_words(of: &RouterLayer, expert: u32, about: &HashMap<u32, String>) -> String {
    let union = of.experts.iter().find(|row| row.expert == expert).and_then(|row| row.union_size);
    let most = union.map_or(NAMED, |n| (n as usize).min(NAMED));
    let calls = of.features.iter().filter(|row| row.expert == expert && row.correlation > 0.0);
    let one = |row: &storage::experts::RouterFeatureRow| match about.get(&row.feature) {
        Some(text) => format!("feature {} ({:.2}: {text})", row.feature, row.correlation),
        None => format!("feature {} ({:.2})", row.feature, row.correlation),
    };
    calls.take(most).map(one).collect::<Vec<_>>().join(", ")
}

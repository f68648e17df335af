//! What the routers chose for the tokens of a document, layer by layer.

use std::path::{Path, PathBuf};

use storage::routing::Choices;
use storage::schema::{DOCUMENT, ROUTING};
use storage::{Dataset, MANIFEST, Scan, TableReader, routing};

use super::problem;
use crate::load::Problem;

/// The routing of some tokens of one document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// Position of the first token.
    pub start: u32,
    /// Layers with experts, ascending.
    pub layers: Vec<LayerRouting>,
}

/// One layer's choices, a token after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LayerRouting {
    /// The block.
    pub layer: u16,
    ends: Vec<usize>,
    experts: Vec<u32>,
    weights: Vec<f32>,
}

impl LayerRouting {
    /// Experts and weights of the `i`-th token, the strongest first; empty where it skipped the layer.
    pub fn at(&self, i: usize) -> (&[u32], &[f32]) {
        let Some(end) = self.ends.get(i) else { return (&[], &[]) };
        let span = if i == 0 { 0 } else { self.ends[i - 1] }..*end;
        (&self.experts[span.clone()], &self.weights[span])
    }

    /// Number of tokens.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many tokens have each expert as their strongest, index = expert.
    pub fn firsts(&self) -> Vec<usize> {
        let mut counts = Vec::new();
        for first in (0..self.len()).filter_map(|i| self.at(i).0.first()) {
            let at = *first as usize;
            if counts.len() <= at {
                counts.resize(at + 1, 0);
            }
            counts[at] += 1;
        }
        counts
    }

    /// Adds the next token.
    pub fn push(&mut self, experts: &[u32], weights: &[f32]) {
        self.experts.extend_from_slice(experts);
        self.weights.extend_from_slice(weights);
        self.ends.push(self.experts.len());
    }
}

impl Routing {
    /// The choices of `layer`.
    pub fn layer(&self, layer: u16) -> Option<&LayerRouting> {
        self.layers.iter().find(|l| l.layer == layer)
    }
}

/// The folder whose table has the routing of the dataset in `dir`: its own, or `routing` next to the hooks of one harvest.
pub fn folder_of(dir: &Path) -> Option<PathBuf> {
    let has = |dir: &Path| Dataset::open(dir).is_ok_and(|dataset| dataset.has_table(ROUTING));
    if has(dir) {
        return Some(dir.to_owned());
    }
    let beside = dir.parent()?.join(ROUTING);
    (beside.join(MANIFEST).exists() && has(&beside)).then_some(beside)
}

/// The routing table of the dataset in `dir`.
pub(super) fn table(dir: &Path) -> Result<TableReader, Problem> {
    let folder = folder_of(dir).ok_or_else(|| {
        Problem::new(format!("{} has no routing table.", dir.display()))
            .with_remedy("Harvest a mixture-of-experts model with `sae harvest --routing`.")
    })?;
    Dataset::open(&folder).and_then(|dataset| dataset.table(ROUTING)).map_err(problem)
}

/// Reads what was chosen for the tokens of `document` at `positions`.
///
/// # Errors
/// A dataset without routing; a table that cannot be read or whose columns have the wrong type.
pub fn read(dir: &Path, document: u32, positions: std::ops::Range<u32>) -> Result<Routing, Problem> {
    let table = table(dir)?;
    let range = Some((DOCUMENT.to_owned(), u64::from(document), u64::from(document)));
    let mut found = Routing { start: positions.start, layers: Vec::new() };
    for batch in table.scan(Scan { range, ..Scan::of(&routing::COLUMNS) }).map_err(problem)? {
        let batch = batch.map_err(problem)?;
        for choice in Choices::of(&batch).map_err(|e| in_file(&table, e))?.iter() {
            if !positions.contains(&choice.position) {
                continue;
            }
            let at = (choice.position - positions.start) as usize;
            let layer = match found.layers.binary_search_by_key(&choice.layer, |l| l.layer) {
                Ok(i) => &mut found.layers[i],
                Err(i) => {
                    found.layers.insert(i, LayerRouting { layer: choice.layer, ..LayerRouting::default() });
                    &mut found.layers[i]
                }
            };
            // A token without a row skipped the layer.
            while layer.len() < at {
                layer.push(&[], &[]);
            }
            if layer.len() == at {
                layer.push(choice.experts, choice.weights);
            }
        }
    }
    Ok(found)
}

/// What is wrong with a column, with the file's name before it.
pub(super) fn in_file(table: &TableReader, error: storage::Error) -> Problem {
    let said = problem(error);
    Problem { what: format!("{}: {}", table.path().display(), said.what), remedy: said.remedy }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_keep_their_own_choices() {
        let mut layer = LayerRouting::default();
        layer.push(&[3, 1], &[0.75, 0.25]);
        layer.push(&[], &[]);
        layer.push(&[1], &[1.0]);
        assert_eq!(layer.at(0), (&[3, 1][..], &[0.75, 0.25][..]));
        assert_eq!(layer.at(1), (&[][..], &[][..]));
        assert_eq!(layer.at(2).0, [1]);
        assert_eq!(layer.at(3).0, [0u32; 0]);
        assert_eq!(layer.firsts(), [0, 1, 0, 1]);
    }
}

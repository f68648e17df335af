//! Every firing of a feature, and the text around each: not the examples of the index alone.

use std::path::Path;

use arrow::datatypes::UInt32Type;
pub use storage::feature_activations::ActivationRow;
use storage::schema::{POSITION, TOKEN};
use storage::{Dataset, Run, column};

use super::dataset::Documents;
use super::search::token_table;
use super::{missing, problem};
use crate::load::Problem;

/// Firings that are kept in memory at most, 16 bytes each.
const MOST: u64 = 8 << 20;

/// All firings of one feature.
#[derive(Clone, Debug, Default)]
pub struct Firings {
    /// By document and position.
    pub rows: Vec<ActivationRow>,
    /// How many there are; more than `rows` where those had no room.
    pub total: u64,
}

/// In which order they are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FiringOrder {
    /// The strongest first.
    #[default]
    Strength,
    /// As in the text.
    Document,
    /// Anyhow, but always the same way.
    Random,
}

impl FiringOrder {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Strength, Self::Document, Self::Random];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strength => "strongest first",
            Self::Document => "as in the text",
            Self::Random => "random order",
        }
    }
}

/// The text around a firing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FiringContext {
    /// Position of the first token.
    pub start: u32,
    /// The tokens.
    pub tokens: Vec<u32>,
}

impl Firings {
    /// The activation at a place; 0 where the feature does not fire.
    pub fn value(&self, document: u32, position: u32) -> f32 {
        let at = self.rows.binary_search_by_key(&(document, position), |row| (row.document, row.position));
        at.map_or(0.0, |at| self.rows[at].value)
    }

    /// Numbers of the rows in this order. Equal ones stay as in the text.
    pub fn order(&self, order: FiringOrder) -> Vec<u32> {
        let mut all: Vec<u32> = (0..self.rows.len() as u32).collect();
        let value = |i: &u32| self.rows[*i as usize].value;
        match order {
            FiringOrder::Strength => all.sort_by(|a, b| value(b).total_cmp(&value(a)).then(a.cmp(b))),
            FiringOrder::Document => {}
            // A bijection of 32 bits: no two rows have the same key.
            FiringOrder::Random => all.sort_by_key(|i| i.wrapping_mul(0x9e37_79b1).swap_bytes()),
        }
        all
    }
}

/// Reads the firings of `feature` of the run in `dir`.
///
/// # Errors
/// A run without an index, a table of activations or that feature; files that cannot be read.
pub fn read(dir: &Path, feature: u32) -> Result<Firings, Problem> {
    const AGAIN: &str = "Make the index again with `sae index`.";
    let run = Run::open(dir).map_err(problem)?;
    let features = run.features().map_err(problem)?.ok_or_else(|| missing(dir, "feature index", AGAIN))?;
    let table = run.activations().map_err(problem)?;
    let table = table.ok_or_else(|| missing(dir, "table of activations", AGAIN))?;
    let at = u64::from(feature);
    let row = storage::features::read(&features, at..at + 1).map_err(problem)?.into_iter().next();
    let row = row.ok_or_else(|| missing(dir, "such feature", "Choose a different one."))?;
    let end = row.first_row + row.count.min(MOST);
    let rows = storage::feature_activations::read_rows(&table, row.first_row..end).map_err(problem)?;
    Ok(Firings { rows, total: row.count })
}

/// The text around places (document, position) of the dataset in `dir`: up to `before` tokens before each and `after` after it.
///
/// # Errors
/// A dataset without activations; a place that it does not have; a document that has rows left out.
pub fn contexts(
    dir: &Path,
    documents: &Documents,
    places: &[(u32, u32)],
    (before, after): (u32, u32),
) -> Result<Vec<FiringContext>, Problem> {
    let dataset = Dataset::open(dir).map_err(problem)?;
    let (table, by_layer) = token_table(&dataset)?;
    if by_layer {
        return Err(Problem::new(format!("{} holds no activations.", dir.display())));
    }
    let mut ranges = Vec::with_capacity(places.len());
    for (document, position) in places {
        let of = documents.get(*document).filter(|of| *position < of.tokens).ok_or_else(|| {
            Problem::new(format!("{} has no position {position} in document {document}.", dir.display()))
                .with_remedy("Its index is of a different dataset; make it again with `sae index`.")
        })?;
        let from = position.saturating_sub(before);
        let to = position.saturating_add(after + 1).min(of.tokens);
        ranges.push(of.first_row + u64::from(from)..of.first_row + u64::from(to));
    }
    let mut found = Vec::with_capacity(places.len());
    for (batch, (document, position)) in
        table.take(&ranges, &[POSITION, TOKEN]).map_err(problem)?.iter().zip(places)
    {
        let numbers = |name: &str| {
            column::primitive::<UInt32Type>(batch, name)
                .map(arrow::array::PrimitiveArray::values)
                .map_err(problem)
        };
        let (positions, tokens) = (numbers(POSITION)?, numbers(TOKEN)?);
        // Where rows were left out of a dataset, positions are not row numbers: then no text is better than a wrong one.
        if !positions.contains(position) {
            return Err(Problem::new(format!(
                "The rows of document {document} are not all of its positions."
            )));
        }
        found.push(FiringContext { start: positions.first().copied().unwrap_or(0), tokens: tokens.to_vec() });
    }
    Ok(found)
}

/// Tokens of the contexts in which the activations of the dataset in `dir` were made, BOS included.
///
/// # Errors
/// A folder that is not a finished dataset.
pub fn context_length(dir: &Path) -> Result<u32, Problem> {
    let dataset = Dataset::open(dir).map_err(problem)?;
    Ok(dataset.manifest().context_length as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_firing_is_in_every_order_once() {
        let row = |document, position, value| ActivationRow { feature: 7, document, position, value };
        let rows = vec![row(0, 1, 2.0), row(0, 4, 5.0), row(3, 0, 2.0), row(3, 9, 9.0)];
        let firings = Firings { total: 4, rows };
        assert_eq!(firings.order(FiringOrder::Strength), [3, 1, 0, 2]);
        assert_eq!(firings.order(FiringOrder::Document), [0, 1, 2, 3]);
        let mut random = firings.order(FiringOrder::Random);
        assert_eq!(random, firings.order(FiringOrder::Random));
        random.sort_unstable();
        assert_eq!(random, [0, 1, 2, 3]);
        assert_eq!((firings.value(0, 4), firings.value(0, 5)), (5.0, 0.0));
    }
}

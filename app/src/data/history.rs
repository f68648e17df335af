//! What became of a feature in training, at the snapshots that the run has kept.

use std::path::Path;

use storage::history::History;
pub use storage::history::{EventsRow, HistoryRow};

use super::problem;
use crate::load::Problem;

/// A feature's history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureHistory {
    /// Its snapshots in order.
    pub snapshots: Vec<HistoryRow>,
    /// What became of it.
    pub events: EventsRow,
    /// Tokens of silence after which it is dead.
    pub dead_after: u64,
    /// Cosine from which on a direction is the final one.
    pub same_cosine: f64,
}

/// The history of `feature`.
///
/// # Errors
/// A table that cannot be read; no such feature.
pub fn of_feature(history: &History, feature: u32) -> Result<FeatureHistory, Problem> {
    let (snapshots, events) = history.of(feature).map_err(problem)?;
    let record = history.record();
    Ok(FeatureHistory { snapshots, events, dead_after: record.dead_after, same_cosine: record.same_cosine })
}

/// Events of all features as numbers to sort by; not a number where there was none. Empty where the run has no history.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// Tokens by which each had fired first.
    pub born: Vec<f32>,
    /// Tokens from which on each has its final direction.
    pub settled: Vec<f32>,
    /// Sum of the movements of each.
    pub moved: Vec<f32>,
}

/// Reads the events of all `features` of the run in `dir`.
///
/// # Errors
/// A table that cannot be read, or whose rows are not the features of the index.
pub fn read_events(dir: &Path, features: usize) -> Result<Events, Problem> {
    let Some(history) = History::open(dir).map_err(problem)? else { return Ok(Events::default()) };
    let rows: Vec<EventsRow> =
        storage::row::read(history.events(), storage::Scan::default()).map_err(problem)?;
    let in_order = rows.iter().zip(0..).all(|(row, feature)| row.feature == feature);
    if !in_order || rows.len() != features {
        return Err(Problem::new(format!(
            "{}: its {} rows are not those of the {features} features of the index.",
            history.events().path().display(),
            rows.len()
        ))
        .with_remedy("Remove the run's folder `history`."));
    }
    let tokens = |get: fn(&EventsRow) -> Option<u64>| -> Vec<f32> {
        rows.iter().map(|row| get(row).map_or(f32::NAN, |tokens| tokens as f32)).collect()
    };
    Ok(Events {
        born: tokens(|row| row.born),
        settled: tokens(|row| row.settled),
        moved: rows.iter().map(|row| row.moved.unwrap_or(f32::NAN)).collect(),
    })
}

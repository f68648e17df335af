//! What became of a feature in training, at the snapshots that the run has kept.

use std::path::Path;

use storage::history::{EventsRow, History, HistoryRow};

use super::problem;
use crate::load::Problem;

/// A feature at a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// Tokens trained on.
    pub tokens: u64,
    /// Share of the tokens since the snapshot before that it fired on; none at the beginning.
    pub rate: Option<f64>,
    /// Whether it was dead.
    pub dead: bool,
    /// 1 − cosine of its decoder row with the one before.
    pub moved: Option<f32>,
    /// Cosine of its decoder row with its last one.
    pub final_cosine: Option<f32>,
}

/// A feature's history.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FeatureHistory {
    /// Its snapshots in order.
    pub moments: Vec<Moment>,
    /// Tokens by which it had fired first.
    pub born: Option<u64>,
    /// Tokens from which on it was dead to the end.
    pub died: Option<u64>,
    /// How often it fired after it had been dead.
    pub revivals: u32,
    /// Tokens from which on its direction is its final one.
    pub settled: Option<u64>,
    /// The largest movement and the tokens by which it had happened.
    pub largest_move: Option<(f32, u64)>,
    /// Tokens of silence after which it is dead.
    pub dead_after: u64,
    /// Cosine from which on a direction is the final one.
    pub same_cosine: f64,
}

impl FeatureHistory {
    /// From the rows and the events of one feature.
    fn new(rows: &[HistoryRow], events: &EventsRow, history: &History) -> Self {
        let moment = |row: &HistoryRow| Moment {
            tokens: row.tokens,
            rate: row.rate(),
            dead: row.dead,
            moved: row.moved,
            final_cosine: row.cosine_final,
        };
        Self {
            moments: rows.iter().map(moment).collect(),
            born: events.born,
            died: events.died,
            revivals: events.revivals,
            settled: events.settled,
            largest_move: events.largest_move.zip(events.largest_move_at),
            dead_after: history.record().dead_after,
            same_cosine: history.record().same_cosine,
        }
    }
}

/// The history of `feature`.
pub fn of_feature(history: &History, feature: u32) -> Result<FeatureHistory, Problem> {
    let (rows, events) = history.of(feature).map_err(problem)?;
    Ok(FeatureHistory::new(&rows, &events, history))
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

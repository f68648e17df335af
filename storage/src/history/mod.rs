//! What became of each feature in training: `RUN/history/`.
//!
//! While a run is trained, every snapshot is a file of its own, `STEP.parquet`, with the features' counts and their decoder rows in 8 bits
//! ([`Snapshot`]). When the last step is done they become two tables and a record, and are removed: `snapshots.parquet` has a row per feature
//! and snapshot ([`HistoryRow`]), `events.parquet` a row per feature ([`EventsRow`]), and `history.json`, which is written last, says which
//! snapshots there are ([`HistoryRecord`]).

use std::path::{Path, PathBuf};

use crate::atomic;
use crate::error::{Error, Result};
use crate::json::read_versioned;
use crate::record::record;
use crate::row::{self, row};
use crate::schema::FEATURE;
use crate::table::{Scan, TableReader};

mod snapshot;

pub(crate) use snapshot::columns as snapshot_columns;
pub use snapshot::{Snapshot, SnapshotWriter, open_snapshot, read_snapshot};

/// `format` of the record.
pub const FORMAT: &str = "sae-workbench history";
/// Newest version that this program reads and the one that it writes.
pub const VERSION: u64 = 1;
/// The folder of a run that holds its history.
pub const FOLDER: &str = "history";
/// The record; it is written last.
pub const FILE: &str = "history.json";
/// A row per feature and snapshot, sorted by both.
pub const SNAPSHOTS: &str = "snapshots.parquet";
/// A row per feature, sorted, every feature present.
pub const EVENTS: &str = "events.parquet";

row! {
    /// A feature at a snapshot. Cosines are of decoder rows as they were kept, in 8 bits; null where a row is all zeros.
    HistoryRow {
        /// The feature.
        feature: u32,
        /// Steps done.
        step: u64,
        /// Tokens trained on.
        tokens: u64,
        /// Tokens that `fired` is counted over: those since the snapshot before, or since counting began.
        over: u64,
        /// Tokens of those that it fired on.
        fired: u64,
        /// Whether it had not fired for `dead_after` tokens.
        dead: bool,
        /// Bias of its encoder as it was trained, for scaled activations.
        bias: f32,
        /// Norm of its encoder row.
        encoder_norm: f32,
        /// Cosine of its encoder row and its decoder row.
        encoder_decoder_cosine: f32,
        /// 1 − cosine with its decoder row at the snapshot before; null at the first.
        moved: Option<f32>,
        /// Cosine with its decoder row at the first snapshot.
        cosine_first: Option<f32>,
        /// Cosine with its decoder row at the last snapshot, which is that of the dictionary.
        cosine_final: Option<f32>,
    }
}

impl HistoryRow {
    /// Share of the tokens since the snapshot before that it fired on; none at the beginning of a run.
    pub fn rate(&self) -> Option<f64> {
        (self.over > 0).then(|| self.fired as f64 / self.over as f64)
    }
}

row! {
    /// What became of a feature. Times are tokens trained on, those of snapshots: what happened, happened after the snapshot before.
    EventsRow {
        /// The feature.
        feature: u32,
        /// Born: the first snapshot by which it had fired; null if it never did.
        born: Option<u64>,
        /// Died: the first of the snapshots at which it was dead to the end; null if it is alive at the end or never fired.
        died: Option<u64>,
        /// How often it fired again after a snapshot at which it was dead.
        revivals: u32,
        /// The first snapshot from which on the cosine with its last decoder row stays at `same_cosine` of the record or above.
        settled: Option<u64>,
        /// Sum of its movements from snapshot to snapshot.
        moved: Option<f32>,
        /// The largest of them.
        largest_move: Option<f32>,
        /// The snapshot at the end of the largest.
        largest_move_at: Option<u64>,
        /// Cosine of its first and its last decoder row.
        cosine_first: Option<f32>,
    }
}

record! {
    /// When a snapshot was taken.
    #[derive(Copy, Default, Eq)]
    Moment {
        /// Steps done.
        step: u64,
        /// Tokens trained on.
        tokens: u64,
    }
}

record! {
    /// Tokens by which a tenth, a quarter, half, three quarters and nine tenths of some features had come to something.
    #[derive(Copy, Default, Eq)]
    Quantiles {
        /// A tenth.
        q10: u64,
        /// A quarter.
        q25: u64,
        /// Half.
        q50: u64,
        /// Three quarters.
        q75: u64,
        /// Nine tenths.
        q90: u64,
    }
}

record! {
    /// All features of a run together.
    #[derive(Default)]
    HistorySummary {
        /// Features.
        features: u64,
        /// Those that never fired.
        never_fired: u64,
        /// Those that fired and are dead at the end.
        died: u64,
        /// Those that were dead at a snapshot and fired again.
        revived: u64,
        /// When those that fired were born; `None` if none did.
        born: Option<Quantiles>,
        /// When those that are alive at the end got the direction that they have at the end.
        settled: Option<Quantiles>,
        /// Mean over features of the cosine of their first and last decoder rows.
        mean_cosine_first: Option<f64>,
    }
}

record! {
    /// `history.json`.
    #[derive(Default)]
    HistoryRecord {
        /// Always [`FORMAT`].
        format: String,
        /// See [`VERSION`].
        version: u64,
        /// Snapshots in order; the last is the end of training.
        snapshots: Vec<Moment>,
        /// Tokens of silence after which a feature is dead.
        dead_after: u64,
        /// From this cosine on, a direction counts as the one that it became.
        same_cosine: f64,
        /// All features together.
        summary: HistorySummary,
    }
}

impl HistoryRecord {
    /// A record with the format and version of this program and everything else empty.
    pub fn new() -> Self {
        Self { format: FORMAT.to_owned(), version: VERSION, ..Self::default() }
    }

    /// Writes `RUN/history/history.json`.
    ///
    /// # Errors
    /// [`Error::Io`] for a file that cannot be written.
    pub fn write(&self, run: &Path) -> Result<()> {
        atomic::write_json(&run.join(FOLDER).join(FILE), self)
    }

    /// Reads it; `None` where the run in `run` has no history.
    ///
    /// # Errors
    /// A file that cannot be read, is not a history, or is of a newer version.
    pub fn read(run: &Path) -> Result<Option<Self>> {
        let path = run.join(FOLDER).join(FILE);
        if path.exists() { read_versioned(&path, FORMAT, VERSION).map(Some) } else { Ok(None) }
    }
}

/// `RUN/history/STEP.parquet`, which a run in training keeps.
pub fn snapshot_path(run: &Path, step: u64) -> PathBuf {
    run.join(FOLDER).join(format!("{step}.parquet"))
}

/// Steps of the snapshots that a run in training keeps, ascending.
///
/// # Errors
/// [`Error::Io`] for a folder that cannot be listed.
pub fn snapshot_steps(run: &Path) -> Result<Vec<u64>> {
    let folder = run.join(FOLDER);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(&folder)(e)),
    };
    let mut steps = Vec::new();
    for entry in entries {
        let name = entry.map_err(Error::io(&folder))?.file_name();
        let step = name.to_str().and_then(|name| name.strip_suffix(".parquet")?.parse::<u64>().ok());
        steps.extend(step);
    }
    steps.sort_unstable();
    Ok(steps)
}

/// A run's history, opened for single features.
#[derive(Debug, Clone)]
pub struct History {
    record: HistoryRecord,
    snapshots: TableReader,
    events: TableReader,
}

impl History {
    /// Opens the history of the run in `run`; `None` where it has none.
    ///
    /// # Errors
    /// As [`HistoryRecord::read`]; tables that are missing or lack a column.
    pub fn open(run: &Path) -> Result<Option<Self>> {
        let Some(record) = HistoryRecord::read(run)? else { return Ok(None) };
        let folder = run.join(FOLDER);
        let snapshots = row::open::<HistoryRow>(&folder.join(SNAPSHOTS))?;
        let events = row::open::<EventsRow>(&folder.join(EVENTS))?;
        Ok(Some(Self { record, snapshots, events }))
    }

    /// What the record says.
    pub fn record(&self) -> &HistoryRecord {
        &self.record
    }

    /// The events of all features: a row per feature.
    pub fn events(&self) -> &TableReader {
        &self.events
    }

    /// One feature at every snapshot, and what became of it. Only its pages are read.
    ///
    /// # Errors
    /// Tables that cannot be read; [`Error::Damaged`] where rows of the feature are missing.
    pub fn of(&self, feature: u32) -> Result<(Vec<HistoryRow>, EventsRow)> {
        let range = Some((FEATURE.to_owned(), u64::from(feature), u64::from(feature)));
        let rows: Vec<HistoryRow> = row::read(&self.snapshots, Scan { range, ..Scan::default() })?;
        let at = u64::from(feature)..u64::from(feature) + 1;
        let events: Vec<EventsRow> = row::read(&self.events, Scan { rows: Some(at), ..Scan::default() })?;
        let found = events.into_iter().next().filter(|events| events.feature == feature);
        match found {
            Some(events) if rows.len() == self.record.snapshots.len() => Ok((rows, events)),
            _ => Err(Error::Damaged {
                path: self.snapshots.path().to_owned(),
                part: format!("feature {feature}"),
                expected: format!("{} snapshots and its events in {EVENTS}", self.record.snapshots.len()),
                found: format!("{} snapshots", rows.len()),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(feature: u32) -> Vec<HistoryRow> {
        let row = |step: u64| HistoryRow {
            feature,
            step,
            tokens: step * 10,
            over: if step > 0 { 10 } else { 0 },
            fired: u64::from(feature) % 7,
            dead: feature.is_multiple_of(5),
            moved: (step > 0).then_some(0.25 / (step as f32 + feature as f32)),
            cosine_final: Some(step as f32 / 3.0),
            ..HistoryRow::default()
        };
        (0..4).map(row).collect()
    }

    #[test]
    fn one_feature_is_found_among_many_without_reading_all() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join(FOLDER);
        std::fs::create_dir(&folder).unwrap();
        assert!(History::open(run.path()).unwrap().is_none());
        let features = 0..20_000u32;
        let all: Vec<HistoryRow> = features.clone().flat_map(rows).collect();
        let mut writer =
            row::RowWriter::create_as(&folder.join(SNAPSHOTS), &crate::Layout::feature_rows()).unwrap();
        writer.append(&all).unwrap();
        let bytes = writer.finish().unwrap().bytes;
        let events = |feature: u32| EventsRow { feature, born: Some(7), ..EventsRow::default() };
        row::write(&folder.join(EVENTS), &features.map(events).collect::<Vec<_>>()).unwrap();
        assert!(History::open(run.path()).unwrap().is_none(), "without its record it is none");
        let snapshots = (0..4).map(|step| Moment { step, tokens: step * 10 }).collect();
        let record = HistoryRecord { snapshots, ..HistoryRecord::new() };
        record.write(run.path()).unwrap();
        let history = History::open(run.path()).unwrap().unwrap();
        assert_eq!(history.record(), &record);
        let before = history.snapshots.bytes_read();
        for feature in [0, 9_999, 19_999] {
            assert_eq!(history.of(feature).unwrap(), (rows(feature), events(feature)));
        }
        let read = history.snapshots.bytes_read() - before;
        assert!(read < bytes / 4, "{read} of {bytes} bytes");
        assert!(history.of(20_000).is_err());
        assert_eq!(rows(3)[0].rate(), None);
        assert_eq!(rows(3)[1].rate(), Some(0.3));
    }

    #[test]
    fn a_table_with_too_few_snapshots_is_named() {
        let run = tempfile::tempdir().unwrap();
        let folder = run.path().join(FOLDER);
        std::fs::create_dir(&folder).unwrap();
        row::write(&folder.join(SNAPSHOTS), &rows(0)[1..]).unwrap();
        row::write(&folder.join(EVENTS), &[EventsRow::default()]).unwrap();
        let snapshots = vec![Moment::default(); 4];
        HistoryRecord { snapshots, ..HistoryRecord::new() }.write(run.path()).unwrap();
        let error = History::open(run.path()).unwrap().unwrap().of(0).unwrap_err().to_string();
        assert!(error.contains("snapshots.parquet") && error.contains("3 snapshots"), "{error}");
    }
}

//! The tables of a history, from its snapshots, when training is over.

use std::ops::Range;
use std::path::Path;

use rayon::ThreadPool;
use rayon::prelude::*;
use storage::history::{
    EVENTS, EventsRow, FOLDER, HistoryRecord, HistoryRow, Moment, SNAPSHOTS, Snapshot, open_snapshot,
    read_snapshot, snapshot_path, snapshot_steps,
};
use storage::row::RowWriter;
use storage::{Layout, TableReader};

use super::direction::cosine;
use super::events::{SAME_COSINE, events, summary};
use crate::train::config::Resolved;
use crate::{Error, Progress, Result};

/// Bytes of decoder rows, of all snapshots, in memory at once.
const PIECE: usize = 32 << 20;

/// Makes the tables of the run in `run` and writes its record. The snapshots stay: until the run is over, a resumed one needs them.
pub(crate) fn finish(
    resolved: &Resolved,
    run: &Path,
    threads: &ThreadPool,
    progress: &mut dyn Progress,
) -> Result<()> {
    let steps = snapshot_steps(run)?;
    if resolved.config.history == Some(0) || steps.is_empty() {
        return Ok(());
    }
    let d = resolved.d_in;
    let open = |&step: &u64| open_snapshot(&snapshot_path(run, step), d);
    let snapshots = steps.iter().map(open).collect::<storage::Result<Vec<_>>>()?;
    check(&snapshots, resolved.d_sae)?;
    let folder = run.join(FOLDER);
    let mut table = RowWriter::create_as(&folder.join(SNAPSHOTS), &Layout::feature_rows())?;
    let features = resolved.d_sae as u32;
    let piece = (PIECE / (d * snapshots.len())).max(1) as u32;
    let mut all: Vec<EventsRow> = Vec::with_capacity(resolved.d_sae);
    progress.begin("history", Some(u64::from(features)), "features");
    for first in (0..features).step_by(piece as usize) {
        if progress.stop_requested() {
            return Err(Error::stopped("training was over but its history was not written yet")
                .with_remedy("continue with --resume"));
        }
        let range = first..features.min(first.saturating_add(piece));
        let read = |table: &TableReader| read_snapshot(table, range.clone());
        let read = snapshots.iter().map(read).collect::<storage::Result<Vec<_>>>()?;
        let rows: Vec<Vec<HistoryRow>> = threads
            .install(|| range.clone().into_par_iter().map(|feature| of_feature(&read, feature, d)).collect());
        all.extend(rows.iter().map(|rows| events(rows)));
        table.append(&rows.concat())?;
        progress.advance(u64::from(range.end), "");
    }
    table.finish()?;
    storage::row::write(&folder.join(EVENTS), &all)?;
    let batch = resolved.config.batch as u64;
    HistoryRecord {
        snapshots: steps.iter().map(|&step| Moment { step, tokens: step * batch }).collect(),
        dead_after: resolved.dead_after,
        same_cosine: (f64::from(SAME_COSINE) * 1e6).round() / 1e6,
        summary: summary(&all),
        ..HistoryRecord::new()
    }
    .write(run)?;
    progress.end(&format!("{features} features at {} snapshots", steps.len()));
    Ok(())
}

fn check(snapshots: &[TableReader], features: usize) -> Result<()> {
    match snapshots.iter().find(|table| table.rows() != features as u64) {
        None => Ok(()),
        Some(table) => Err(Error::format(
            table.path(),
            format!("holds {} features; expected {features}, as the run has", table.rows()),
        )
        .with_remedy("remove the file and continue with --resume")),
    }
}

/// `feature` at every snapshot; `read` are pieces of all snapshots that have it.
fn of_feature(read: &[Snapshot], feature: u32, d: usize) -> Vec<HistoryRow> {
    let at = |snapshot: &Snapshot| (feature - snapshot.first) as usize;
    let direction = |i: usize| {
        let snapshot: &Snapshot = &read[i];
        let row: Range<usize> = at(snapshot) * d..(at(snapshot) + 1) * d;
        &snapshot.directions[row]
    };
    let row = |(i, snapshot): (usize, &Snapshot)| {
        let f = at(snapshot);
        HistoryRow {
            feature,
            step: snapshot.step,
            tokens: snapshot.tokens,
            over: snapshot.over,
            fired: snapshot.fired[f],
            dead: snapshot.dead[f],
            bias: snapshot.bias[f],
            encoder_norm: snapshot.encoder_norm[f],
            encoder_decoder_cosine: snapshot.encoder_decoder_cosine[f],
            moved: i.checked_sub(1).and_then(|before| Some(1.0 - cosine(direction(before), direction(i))?)),
            cosine_first: cosine(direction(0), direction(i)),
            cosine_final: cosine(direction(i), direction(read.len() - 1)),
        }
    };
    read.iter().enumerate().map(row).collect()
}

//! Taking snapshots of a run in training.

use std::path::{Path, PathBuf};

use rayon::ThreadPool;
use rayon::prelude::*;
use storage::history::{
    EVENTS, FILE, FOLDER, SNAPSHOTS, Snapshot, SnapshotWriter, snapshot_path, snapshot_steps,
};

use super::{direction, schedule};
use crate::train::config::Resolved;
use crate::train::state::TrainState;
use crate::{Error, Result};
use kernels::vector::{dot, squared_norm};

/// Bytes of the decoder rows that are made and written at once.
const PIECE: usize = 4 << 20;

/// Takes the snapshots of one run.
#[derive(Debug)]
pub(crate) struct Keeper {
    run: PathBuf,
    /// Steps of snapshots; none if no history is kept.
    steps: Vec<u64>,
    batch: u64,
    dead_after: u64,
    /// Step at which counting began: that of the last snapshot, or the one at which an older program's run is resumed.
    counted_from: u64,
}

impl Keeper {
    /// For the run in `run`, whose state is `state` and whose checkpoint says that counting began at `counted_from`. What lies after
    /// the state is dropped: it will come again.
    pub(crate) fn open(
        resolved: &Resolved,
        run: &Path,
        state: &mut TrainState,
        counted_from: Option<u64>,
    ) -> Result<Self> {
        let steps = schedule::steps(resolved.config.history.unwrap_or(0), resolved.steps);
        let keeper = Self {
            run: run.to_owned(),
            batch: resolved.config.batch as u64,
            dead_after: resolved.dead_after,
            counted_from: counted_from.filter(|_| !state.fired.is_empty()).unwrap_or(state.step),
            steps,
        };
        if keeper.steps.is_empty() {
            state.fired = Vec::new();
            clean(run)?;
            return Ok(keeper);
        }
        state.fired.resize(state.features, 0);
        let folder = run.join(FOLDER);
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        // Tables of a run that was over and is trained again from a checkpoint: the record goes first, without it they are none.
        for name in [FILE, SNAPSHOTS, EVENTS] {
            remove(&folder.join(name))?;
        }
        for step in snapshot_steps(run)?.into_iter().filter(|&step| step > state.step) {
            remove(&snapshot_path(run, step))?;
        }
        Ok(keeper)
    }

    /// Step at which counting began, for the checkpoint; none if nothing is counted.
    pub(crate) fn counted_from(&self) -> Option<u64> {
        (!self.steps.is_empty()).then_some(self.counted_from)
    }

    /// Whether `step` steps done are a snapshot.
    pub(crate) fn is_due(&self, step: u64) -> bool {
        self.steps.binary_search(&step).is_ok()
    }

    /// Writes a snapshot of `state`, and begins to count anew.
    pub(crate) fn take(&mut self, state: &mut TrainState, threads: &ThreadPool) -> Result<()> {
        let mut writer = SnapshotWriter::create(&snapshot_path(&self.run, state.step), state.d)?;
        let features = (PIECE / state.d.max(1)).max(1);
        for first in (0..state.features).step_by(features) {
            let piece = first..state.features.min(first + features);
            writer.append(threads.install(|| self.piece(state, piece)))?;
        }
        writer.finish()?;
        state.fired.fill(0);
        self.counted_from = state.step;
        Ok(())
    }

    fn piece(&self, state: &TrainState, features: std::ops::Range<usize>) -> Snapshot {
        let d = state.d;
        let rows = features.start * d..features.end * d;
        let (encoder, decoder) = (&state.w_enc.value[rows.clone()], &state.w_dec.value[rows]);
        let mut directions = vec![0; decoder.len()];
        let of_rows: Vec<(f32, f32)> =
            (encoder.par_chunks(d), decoder.par_chunks(d), directions.par_chunks_mut(d))
                .into_par_iter()
                .map(|(encoder, decoder, direction)| {
                    direction::quantise(decoder, direction);
                    let norm = squared_norm(encoder).sqrt();
                    let norms = norm * squared_norm(decoder).sqrt();
                    (norm, if norms > 0.0 { dot(encoder, decoder) / norms } else { 0.0 })
                })
                .collect();
        let (encoder_norm, encoder_decoder_cosine) = of_rows.into_iter().unzip();
        Snapshot {
            first: features.start as u32,
            step: state.step,
            tokens: state.step * self.batch,
            over: (state.step - self.counted_from) * self.batch,
            fired: state.fired[features.clone()].to_vec(),
            dead: state.since_fired[features.clone()].iter().map(|&since| since >= self.dead_after).collect(),
            bias: state.b_enc.value[features].to_vec(),
            encoder_norm,
            encoder_decoder_cosine,
            directions,
        }
    }
}

/// Removes the snapshots of the run in `run`; tables that were made of them stay.
pub(crate) fn clean(run: &Path) -> Result<()> {
    for step in snapshot_steps(run)? {
        remove(&snapshot_path(run, step))?;
    }
    Ok(())
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(path, e)),
        _ => Ok(()),
    }
}

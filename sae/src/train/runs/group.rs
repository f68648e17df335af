//! Runs that see the same batches: read once, stepped by all.
//!
//! ```text
//! stream ──▶ a turn of TURN batches ──▶ run 1: TURN steps ──▶ run 2: TURN steps ──▶ … ──▶ the next turn
//! ```
//!
//! A run's steps depend on its configuration and its batches alone, so it ends in the same bits as trained by itself: a single run is a
//! group of one. Turns are there because a dictionary with its moments fills the caches: a step after another run's has to fetch
//! them again. A turn's batches are little compared with that.
//!
//! Runs keep their own logs and checkpoints. After an interruption they may stand at different steps: the stream is resumed from the one
//! that is furthest behind, and the others wait for it.

use std::path::Path;
use std::time::{Duration, Instant};

use rayon::ThreadPool;
use storage::{RunRecord, RunStatus};

use super::board::{Board, Substage};
use super::job::{self, Job};
use super::record;
use super::trainer::{Kept, Start, Trainer};
use crate::train::TrainOutcome;
use crate::train::config::Resolved;
use crate::train::statistics::{self, SAMPLE_ROWS};
use crate::train::stream::ahead::Ahead;
use crate::train::stream::batches::{Batch, Batches};
use crate::train::stream::source::Source;
use crate::{Error, Progress, Result};

/// Batches that a run of several is given before the next one's turn.
pub const TURN: u64 = 8;
/// Time between two writes of `metrics.parquet` and `run.json`, for each run of a group.
const FLUSH_EVERY: Duration = Duration::from_secs(5);

/// A run of the group.
struct Member<'a> {
    resolved: &'a Resolved,
    out: &'a Path,
    record: &'a mut RunRecord,
    /// `None` when it is over.
    trainer: Option<Trainer<'a>>,
    result: Option<Result<TrainOutcome>>,
}

impl Member<'_> {
    /// Ends the run with `error`, which its folder will tell.
    fn fail(&mut self, error: Error, threads: &ThreadPool) {
        if let Some(trainer) = &mut self.trainer {
            record::update(self.record, trainer, threads.current_num_threads());
            // What was logged until then helps to see why.
            let _ = trainer.flush_log();
        }
        // What fails after the dictionary is there undoes nothing; the same command again does what was left. As a failed run it would be
        // resumed from its last checkpoint, without the snapshots that were removed by then.
        if self.record.status != RunStatus::Finished {
            record::end_with(self.record, &error);
            // The disk may be what failed: the first error is the one to tell.
            let _ = self.record.write(self.out);
        }
        self.trainer = None;
        self.result = Some(Err(error));
    }
}

/// Trains `jobs`, all on the same stream of `source`; what came of each, in their order. With a `board`, progress is shown there.
pub fn train(
    source: &Source,
    jobs: &mut [Job],
    threads: &ThreadPool,
    mut board: Option<&mut Board>,
    progress: &mut dyn Progress,
) -> Vec<Result<TrainOutcome>> {
    let mut members: Vec<Member<'_>> = Vec::new();
    let mut resumed = Vec::new();
    for Job { resolved, out, record, resumed: may, .. } in jobs {
        resumed.push(*may);
        members.push(Member { resolved, out, record, trainer: None, result: None });
    }
    let whole = Group::start(source, members.as_mut_slice(), &resumed, threads, progress).and_then(|group| {
        let Some(mut group) = group else { return Ok(()) };
        group.run(&mut board, progress)
    });
    // What concerns the data or the whole set ends every run that is still going.
    if let Err(error) = whole {
        let message = error.to_string();
        let mut error = Some(error);
        for member in members.iter_mut().filter(|member| member.result.is_none()) {
            member.fail(error.take().unwrap_or_else(|| Error::data(message.clone())), threads);
        }
    }
    let ended = |member: Member<'_>| {
        member.result.unwrap_or_else(|| Err(Error::data("a run of the set was not looked at")))
    };
    members.into_iter().map(ended).collect()
}

/// Has other machines see the checkpoint that was just written, where the run is in a store. A store that stays away stops no training.
fn share(out: &Path, progress: &mut dyn Progress) {
    if let Err(error) = storage::bucket::keep(out) {
        progress.remark(&format!("this checkpoint was not uploaded, the next one will be tried: {error}"));
    }
}

struct Group<'a, 'b> {
    source: &'b Source,
    threads: &'b ThreadPool,
    members: &'b mut [Member<'a>],
    /// `None` when no run needs any more: thresholds are fitted and dictionaries written without its memory.
    batches: Option<Ahead>,
    turn: Vec<Batch>,
    /// The step, counted from 0, that the next batch is for.
    next: u64,
}

impl<'a, 'b> Group<'a, 'b> {
    /// Opens the stream where the run that is furthest behind stands; none if no run can begin.
    fn start(
        source: &'b Source,
        members: &'b mut [Member<'a>],
        resumed: &[bool],
        threads: &'b ThreadPool,
        progress: &mut dyn Progress,
    ) -> Result<Option<Self>> {
        let rows = source.training_rows();
        let mut starts: Vec<Option<Start>> = Vec::new();
        for (member, &resumed) in members.iter_mut().zip(resumed) {
            let found = if resumed { Start::newest(member.resolved, rows, member.out) } else { Ok(None) };
            starts.push(found.unwrap_or_else(|error| {
                member.fail(error, threads);
                None
            }));
        }
        let going = |member: &Member<'_>| member.result.is_none();
        let Some(first) = members.iter().find(|member| going(member)).map(|member| member.resolved) else {
            return Ok(None);
        };
        let gradients = members.iter().any(|member| member.resolved.needs_gradients());
        let behind = members.iter().zip(&starts).filter(|(member, _)| going(member)).map(|(_, start)| {
            start
                .as_ref()
                .map_or((0, 0, 0), |start| (start.record.step, start.record.position, start.record.left_out))
        });
        let (next, position, left_out) = behind.min().unwrap_or_default();
        let mut pools = source.pools(first, gradients, position)?;
        let measured = match starts.iter().flatten().next() {
            Some(start) if next > 0 => (start.record.statistics.clone(), Vec::new()),
            _ => {
                let config = &first.config;
                let mut sample = pools.peek(SAMPLE_ROWS, source.row_width(first.d_in))?;
                let (d, normalisation, multiple) =
                    (first.d_in, config.input_normalisation, config.max_norm.multiple());
                threads.install(|| match config.target {
                    None if first.layers > 1 => {
                        statistics::measure_layers(&sample, (first.layers, d), normalisation, multiple)
                    }
                    None => statistics::measure(&mut sample, d, normalisation, multiple),
                    Some(_) => statistics::measure_pairs(&sample, d, normalisation, multiple),
                })?
            }
        };
        let (statistics, b_dec) = measured;
        let alone = members.len() == 1;
        for (member, start) in members.iter_mut().zip(starts) {
            if member.result.is_some() {
                continue;
            }
            if let Some(start) = start.as_ref().filter(|_| alone) {
                let steps = member.resolved.steps;
                progress.remark(&format!("resuming from step {} of {steps}", start.record.step));
            }
            let start = start
                .map_or_else(|| Start::first(member.resolved, rows, statistics.clone(), b_dec.clone()), Ok);
            let begun = start.and_then(|start| match start.record.statistics == statistics {
                true => Trainer::new(member.resolved, member.out, start),
                false => Err(Error::format(
                    member.out,
                    format!(
                        "its checkpoint has the input scale {}, but this dataset gives {}: the dataset was changed",
                        start.record.statistics.input_scale, statistics.input_scale
                    ),
                )
                .with_remedy("begin a new run")),
            });
            match begun {
                Ok(trainer) => member.trainer = Some(trainer),
                Err(error) => member.fail(error, threads),
            }
        }
        let batches = Batches::new(pools, first.d_in, &statistics, rows, left_out);
        let ahead = if alone { 1 } else { TURN as usize };
        let batches = Some(Ahead::start(batches, first.config.batch, ahead)?);
        Ok(Some(Self { source, threads, members, batches, turn: Vec::new(), next }))
    }

    /// Turn after turn until every run is over.
    fn run(&mut self, board: &mut Option<&mut Board>, progress: &mut dyn Progress) -> Result<()> {
        let alone = board.is_none();
        if let (true, [member]) = (alone, &*self.members) {
            let tokens = member.resolved.steps * member.resolved.config.batch as u64;
            progress.begin("train", Some(tokens), "tokens");
        }
        let flush_every = FLUSH_EVERY * self.members.len() as u32;
        loop {
            let going = self.members.iter().filter(|member| member.trainer.is_some());
            let Some(last) = going.map(|member| member.resolved.steps).max() else { return Ok(()) };
            let batches = (if alone { 1 } else { TURN }).min(last.saturating_sub(self.next));
            self.read(batches as usize)?;
            for i in 0..self.members.len() {
                for number in 0..self.turn.len() {
                    if progress.stop_requested() {
                        self.stop(progress);
                        return Ok(());
                    }
                    self.step(i, number, flush_every, progress);
                    self.show(i, board, progress);
                }
                self.finish_if_done(i, alone, progress);
            }
            self.next += batches;
        }
    }

    /// Reads the batches of a turn. All runs that are still going wait for them, so each is charged a part of the time.
    fn read(&mut self, batches: usize) -> Result<()> {
        let began = Instant::now();
        self.turn.resize_with(batches, Batch::default);
        if let Some(ahead) = &mut self.batches {
            self.turn.iter_mut().try_for_each(|batch| ahead.next(batch))?;
        }
        let going = || self.members.iter().filter(|member| member.trainer.is_some());
        let part = began.elapsed() / going().count().max(1) as u32;
        self.members.iter_mut().filter_map(|member| member.trainer.as_mut()).for_each(|t| t.spend(part));
        Ok(())
    }

    /// Run `i` does its step with batch `number` of the turn, if it is the one that comes next for it.
    fn step(&mut self, i: usize, number: usize, flush_every: Duration, progress: &mut dyn Progress) {
        let alone = self.members.len() == 1;
        let Member { trainer, record, out, .. } = &mut self.members[i];
        let Some(trainer) = trainer.as_mut() else { return };
        if trainer.state().step != self.next + number as u64 || trainer.is_done() {
            return;
        }
        let stepped = trainer.step(&self.turn[number], self.threads).and_then(|remark| {
            match remark {
                Some(remark) if alone => progress.remark(&remark),
                Some(remark) => progress.remark(&format!("{}: {remark}", out.display())),
                None => {}
            }
            let kept = trainer.keep(flush_every)?;
            if kept != Kept::Nothing {
                job::note(record, trainer, self.threads, out)?;
            }
            if kept == Kept::Checkpoint {
                share(out, progress);
            }
            Ok(())
        });
        if let Err(error) = stepped {
            self.members[i].fail(error, self.threads);
        }
    }

    /// Tells how far run `i` is.
    fn show(&self, i: usize, board: &mut Option<&mut Board>, progress: &mut dyn Progress) {
        let Some(trainer) = &self.members[i].trainer else { return };
        match board {
            Some(board) => board.show(i, trainer, progress),
            None => progress.advance(trainer.tokens_done(), &trainer.note()),
        }
    }

    fn finish_if_done(&mut self, i: usize, alone: bool, progress: &mut dyn Progress) {
        let ready = |member: &Member<'_>| member.trainer.as_ref().is_none_or(Trainer::is_done);
        if self.members.iter().all(ready) {
            self.batches = None;
            self.turn.clear();
        }
        let Member { trainer, record, out, resolved, result } = &mut self.members[i];
        let Some(trained) = trainer.as_ref().filter(|trainer| trainer.is_done()) else { return };
        let mut within = Substage(progress);
        let progress: &mut dyn Progress = if alone {
            within.0.end(&format!("trained {} steps: {}", trained.state().step, trained.note()));
            within.0
        } else {
            &mut within
        };
        let finished = job::finish(trained, (resolved, record, out), self.source, self.threads, progress);
        match finished {
            Ok(outcome) => {
                *result = Some(Ok(outcome));
                // Its memory is free for what comes.
                *trainer = None;
            }
            Err(error) => self.members[i].fail(error, self.threads),
        }
    }

    /// Every run that is still going writes a checkpoint.
    fn stop(&mut self, progress: &mut dyn Progress) {
        for member in &mut *self.members {
            let Some(trainer) = &mut member.trainer else { continue };
            let error = trainer.stop().unwrap_or_else(|error| error);
            member.fail(error, self.threads);
            share(member.out, progress);
        }
    }
}

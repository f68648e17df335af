//! One sweep by several processes that share nothing but its folder.
//!
//! Run number r of the file belongs to shard r mod n: neighbours in a crossed list cost about the same, so every shard gets its share of
//! the dear ones. Runs that are trained apart read the data once each shard; their bits are the same. A shard locks a folder of its own
//! in `shards/`, where it leaves a record of its work, and every run locks its own folder. Nothing of the sweep's own is written before
//! the merge, so shards cannot get into each other's way, with or without locks.

use std::path::{Path, PathBuf};

use storage::{Lock, RunRecord, RunStatus};

use super::file::NamedConfig;
use super::plan::{Plan, PlannedRun, of_run};
use super::run::{Sweep, SweepOutcome, begun_files, train_all};
use crate::dictionary::Dictionary;
use crate::interop::dictionaries::{Content, open_path};
use crate::shards::{Begun, Job, SHARDS, Shard, Work, WorkStatus};
use crate::train::runs::job::{Resume, previous_run};
use crate::train::runs::record;
use crate::{Error, Progress, Result};

/// The runs of `asked` that are `shard`'s, in their order.
pub fn share(asked: &[NamedConfig], shard: Shard) -> Vec<NamedConfig> {
    asked.iter().skip(shard.index).step_by(shard.count).cloned().collect()
}

/// Trains the runs of one shard: those of `plan`, made of [`share`]. Finished runs stay as they are and begun ones are resumed, so the
/// same call may be given again however it ended.
///
/// # Errors
/// [`storage::Error::Busy`] while a different process works on the shard; as [`super::run`].
pub fn run_shard(plan: &Plan, shard: Shard, out: &Path, progress: &mut dyn Progress) -> Result<SweepOutcome> {
    if begun_files(out) {
        return Err(Error::request(format!("{} holds a whole sweep already", out.display()))
            .with_remedy("choose a different folder"));
    }
    for planned in &plan.runs {
        previous_run(&planned.resolved, &out.join(&planned.name), Resume::May)
            .map_err(|error| of_run(&planned.name, error))?;
    }
    // Whether its runs are those of the file is seen by the runs themselves.
    let job = Job::new("sweep", out.join(SHARDS), serde_json::Value::Null);
    let pieces = plan.runs.iter().map(|run| run.name.clone()).collect();
    let working = match job.begin(shard, pieces, progress)? {
        Begun::Done(_) => None,
        Begun::Working(working) => Some(working),
    };
    // Of a finished shard the outcomes are read; what was lost since is trained again.
    let result = train_all(&mut Sweep::new(plan, out, Resume::May)?, plan, progress, false);
    let status = match &result {
        Ok(outcome) if outcome.failures().is_none() => WorkStatus::Done,
        Err(Error::Stopped(_)) => WorkStatus::Stopped,
        _ => WorkStatus::Failed,
    };
    let closed = working.map_or(Ok(()), |working| working.close(status).map(drop));
    // The first error is the one to tell.
    let outcome = result?;
    closed?;
    Ok(outcome)
}

/// Makes one sweep of what the shards trained: checks that every run of `plan` is there, finished, of the configuration that the file
/// asks for and with a dictionary that can be read, then writes `sweep.toml` and `sweep.parquet`. Nothing is trained. The shards' records
/// of work stay. May be given again.
///
/// # Errors
/// [`Error::Request`] with the runs that are not finished and whose they are; a run of a different configuration; a dictionary that cannot
/// be read.
pub fn merge(plan: &Plan, out: &Path, progress: &mut dyn Progress) -> Result<SweepOutcome> {
    let works = works(out)?;
    let mut missing = Vec::new();
    for planned in &plan.runs {
        let folder = out.join(&planned.name);
        let found = previous_run(&planned.resolved, &folder, Resume::May)
            .map_err(|error| of_run(&planned.name, error))?;
        match found {
            Some(record) if record.status == RunStatus::Finished => {}
            found => missing.push(describe(&planned.name, found.as_ref(), &folder, &works)),
        }
    }
    if !missing.is_empty() {
        let (n, all) = (missing.len(), plan.runs.len());
        return Err(Error::request(format!(
            "{n} of {all} runs are not finished:\n  {}",
            missing.join("\n  ")
        ))
        .with_remedy("give the commands of their shards again, then merge"));
    }
    let lock = Lock::take(out)?;
    lock.note().iter().for_each(|note| progress.remark(note));
    progress.begin("check", Some(plan.runs.len() as u64), "runs");
    let mut sweep = Sweep::new(plan, out, Resume::May)?;
    for (i, planned) in plan.runs.iter().enumerate() {
        check(planned, &out.join(&planned.name))?;
        let record = RunRecord::read(&out.join(&planned.name))?;
        let outcome = record::outcome(&record, &out.join(&planned.name), &planned.resolved);
        sweep.settle(i, planned, Ok(outcome));
        progress.advance(i as u64 + 1, "");
        if progress.stop_requested() {
            return Err(Error::stopped("nothing was written; give the same command again"));
        }
    }
    progress.end(&format!("{} runs are finished and whole", plan.runs.len()));
    sweep.write(plan)?;
    Ok(sweep.outcome())
}

/// Reads a run's dictionary: what a disk lost after the run had ended is found here, not weeks later.
fn check(planned: &PlannedRun, folder: &Path) -> Result<()> {
    let resolved = &planned.resolved;
    let expected = (resolved.d_in, resolved.d_sae);
    let dictionaries = match resolved.layers {
        1 => vec![Dictionary::load(folder)?],
        layers => match open_path(folder)?.content {
            Content::CrossLayer(transcoder) if transcoder.layers.len() == layers => transcoder.layers,
            _ => {
                let what = format!("is not a cross-layer transcoder of {layers} layers");
                return Err(Error::format(folder, what));
            }
        },
    };
    let shapes = dictionaries.iter().map(|dictionary| (dictionary.d_in, dictionary.d_sae));
    if let Some(found) = shapes.into_iter().find(|found| *found != expected) {
        return Err(Error::format(
            folder,
            format!("its dictionary has [d_in, d_sae] = {found:?}; expected {expected:?}"),
        ));
    }
    Ok(())
}

/// `topk-k16: not begun; shard 1/8, failed on node3`.
fn describe(name: &str, record: Option<&RunRecord>, folder: &Path, works: &[Work]) -> String {
    let state = match record {
        None => "not begun".to_owned(),
        Some(_) if Lock::holder(folder).is_some() => "being trained".to_owned(),
        Some(record) => format!(
            "{} at step {} of {}",
            format!("{:?}", record.status).to_lowercase(),
            record.step,
            record.steps_total
        ),
    };
    let whose = works.iter().find(|work| work.pieces.iter().any(|run| run == name));
    let whose = whose.map_or("no shard has taken it".to_owned(), |work| {
        format!("shard {}/{}, {} on {}", work.shard, work.of, work.status.name(), work.host)
    });
    format!("{name}: {state}; {whose}")
}

/// The records of all shards, in order of their folders' names.
fn works(out: &Path) -> Result<Vec<Work>> {
    let folder = out.join(SHARDS);
    let entries = match std::fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(&folder, e)),
    };
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in entries {
        paths.push(entry.map_err(|e| Error::io(&folder, e))?.path());
    }
    paths.sort();
    let mut works = Vec::new();
    for path in paths {
        works.extend(Work::read(&path)?);
    }
    Ok(works)
}

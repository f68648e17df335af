//! Probes by several processes: set number s is shard s mod n's, so that every shard has its share of large and small sets. What is probed
//! of one set does not depend on another.

use std::path::{Path, PathBuf};

use serde_json::json;
use storage::Scan;
use storage::probe::ProbeRow;

use super::activations::stop;
use super::{FINISHED, LabelledSet, Prepared, ProbeOptions, Probed, file_of, read_prompts, rows_of};
use crate::shards::{Begun, Job, SHARDS, Shard, Work, Working};
use crate::{Error, Progress, Result};

/// Probes the sets of `shard`, in `OUT/shards`; the activations of their prompts are kept as [`super::run`] keeps them.
///
/// # Errors
/// As [`super::run`]; a shard that a different process works on, or that was begun with other sets.
pub fn run_shard(
    paths: &[PathBuf],
    out: &Path,
    options: &ProbeOptions,
    shard: Shard,
    progress: &mut dyn Progress,
) -> Result<Work> {
    let prepared = Prepared::open(paths, out, options, progress)?;
    let own: Vec<&LabelledSet> = prepared.sets.iter().skip(shard.index).step_by(shard.count).collect();
    let pieces = own.iter().map(|set| set.name.clone()).collect();
    let mut working = match job(&prepared, out).begin(shard, pieces, progress)? {
        Begun::Done(work) => return Ok(work),
        Begun::Working(working) => working,
    };
    let made = probe(&mut working, &prepared, &own, options, progress);
    working.end(made)
}

fn probe(
    working: &mut Working,
    prepared: &Prepared,
    own: &[&LabelledSet],
    options: &ProbeOptions,
    progress: &mut dyn Progress,
) -> Result<()> {
    let readings = prepared.readings(options);
    read_prompts(&readings, own, progress)?;
    progress.begin("probe", Some(own.len() as u64), "sets");
    for (done, set) in own.iter().enumerate() {
        stop(progress)?;
        working.file(&file_of(set), |path| {
            Ok(storage::row::write(path, &rows_of(&prepared.subjects, &readings, set, options)?)?)
        })?;
        progress.advance(done as u64 + 1, &set.name);
    }
    progress.end(&format!("{} sets", own.len()));
    Ok(())
}

/// Makes the folder of what the shards probed: the bytes that [`super::run`] writes. May be given again.
///
/// # Errors
/// As [`super::run`]; shards that are not finished, or of other sets.
pub fn merge(
    paths: &[PathBuf],
    out: &Path,
    options: &ProbeOptions,
    progress: &mut dyn Progress,
) -> Result<Probed> {
    let prepared = Prepared::open(paths, out, options, progress)?;
    let shards = job(&prepared, out).finished(progress)?;
    let folder = out.join(FINISHED);
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    for path in shards.shards.iter().flat_map(|shard| shard.files("")) {
        let table = storage::row::open::<ProbeRow>(&path)?;
        let rows = storage::row::read::<ProbeRow>(&table, Scan::default())?;
        storage::row::write(&folder.join(path.file_name().unwrap_or_default()), &rows)?;
    }
    let probed = prepared.finish(&prepared.readings(options), out, options, progress)?;
    shards.merged(false)?;
    Ok(probed)
}

fn job(prepared: &Prepared, out: &Path) -> Job {
    let files: Vec<String> = prepared.sets.iter().map(file_of).collect();
    Job::new("probe", out.join(SHARDS), json!({ "question": prepared.request, "sets": files }))
}

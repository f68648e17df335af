//! Checkpoints of a training at `s3://…`. What a command makes is uploaded when it has ended well; a training that another machine is to
//! continue must be in the store before. So each checkpoint is uploaded as soon as it is whole, with the run's other files, and
//! the one before is removed.
//!
//! Copies of checkpoints have no records, so that nothing removes a file of one to make room.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::address::Address;
use super::mirror::Mirror;
use super::objects::Object;
use super::record::{self, Record, is_content};
use super::store::{self, Store};
use crate::error::{Error, Result};
use crate::run::{self, RunRecord, RunStatus};

/// Where a run has its checkpoints: a folder for each, called by its step.
const FOLDER: &str = "checkpoints";
/// The file of a checkpoint that is written last.
const RECORD: &str = "checkpoint.json";
/// What a run was told: with the same, its steps give the same bits on every machine.
const CONFIGURATION: &str = "train.toml";

/// Uploads the newest checkpoint of the run in `run` and what else another machine needs to resume it, where the run is in a store that
/// is written. Whether it is.
///
/// # Errors
/// As [`Mirror::upload`]. The checkpoint that was there before stays.
pub fn keep(run: &Path) -> Result<bool> {
    for store in store::connected().iter().filter(|store| store.is_written()) {
        if let Some(address) = store.address_of(run) {
            store.keep(run, address)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// Fetches the newest checkpoint that the store has of the run in `run`, unless this machine's is as new.
///
/// # Errors
/// A store that refuses or stays away, a checkpoint that arrives damaged; a disk that is full or fails.
pub fn restore(run: &Path) -> Result<()> {
    for store in store::connected().iter().filter(|store| store.is_written()) {
        if let Some(address) = store.address_of(run) {
            return store.restore(run, &address);
        }
    }
    Ok(())
}

/// The step and the file that the key of an object in a checkpoint of `run` names.
fn parts<'a>(run: &Address, key: &'a str) -> Option<(u64, &'a str)> {
    let below = key.strip_prefix(&run.key)?.strip_prefix('/')?.strip_prefix(FOLDER)?.strip_prefix('/')?;
    let (step, name) = below.split_once('/')?;
    (is_content(name) && !name.contains(['/', '\\'])).then_some((step.parse().ok()?, name))
}

/// The newest checkpoint in the folder of a run.
fn newest(run: &Path) -> Result<Option<u64>> {
    let folder = run.join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(&folder)(error)),
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(names.max())
}

impl Store {
    fn keep(self: &Arc<Self>, run: &Path, address: Address) -> Result<()> {
        let Some(step) = newest(run)? else { return Ok(()) };
        let mirror = Mirror::of(self, address, run);
        let mut there = mirror.there()?;
        let mut files = mirror.changed()?;
        // Whether the key is of this checkpoint, and then whether it is its record.
        let of_step = |key: &str| {
            parts(&mirror.address, key).and_then(|(of, name)| (of == step).then_some(name == RECORD))
        };
        if !there.keys().any(|key| of_step(key) == Some(true)) {
            files.extend(record::files(&run.join(FOLDER).join(step.to_string()), &is_content)?);
            // What an attempt left that did not come to its end.
            for key in there.extract_if(.., |key, _| of_step(key).is_some()).map(|(key, _)| key) {
                self.client().delete(&mirror.address.with_key(&key))?;
            }
        }
        let sent = mirror.send_all(&mirror.jobs(&files, &there)?, &|_, _| false);
        self.forget_records(run)?;
        sent?;
        let old = there.keys().filter(|key| parts(&mirror.address, key).is_some_and(|(of, _)| of != step));
        old.map(|key| mirror.address.with_key(key)).try_for_each(|old| self.client().delete(&old))
    }

    fn restore(self: &Arc<Self>, run: &Path, address: &Address) -> Result<()> {
        let mut objects = self.client().list(address, &format!("{}/", address.join(FOLDER).key))?;
        // Without its record it is not whole.
        let whole = objects.iter().filter_map(|object| parts(address, &object.key));
        let Some(step) = whole.filter(|(_, name)| *name == RECORD).map(|(step, _)| step).max() else {
            return Ok(());
        };
        if newest(run)?.is_some_and(|own| own >= step) {
            return Ok(());
        }
        objects.retain(|object| parts(address, &object.key).is_some_and(|(of, _)| of == step));
        let folder = run.join(FOLDER);
        let (partial, place) = (folder.join(format!(".{step}.partial")), folder.join(step.to_string()));
        let wanted: Vec<(&Object, PathBuf)> = objects
            .iter()
            .filter_map(|object| Some((object, partial.join(parts(address, &object.key)?.1))))
            .collect();
        fs::create_dir_all(&partial).map_err(Error::io(&partial))?;
        let fetched = self.fetch(address, &wanted, &|_, _| false);
        self.forget_records(run)?;
        fetched?;
        fs::rename(&partial, &place).map_err(Error::io(&place))?;
        if cfg!(unix) {
            File::open(&folder).and_then(|folder| folder.sync_all()).map_err(Error::io(&folder))?;
        }
        Ok(())
    }

    fn forget_records(&self, run: &Path) -> Result<()> {
        let records = record::place(self.root(), &run.join(FOLDER))?.with_extension("");
        match fs::remove_dir_all(&records) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&records)(error)),
            _ => Ok(()),
        }
    }

    /// Runs whose training another machine has continued: what this machine has of them is older, and its steps are made again with the
    /// same bits. Gives the objects to fetch in place of what is here; a run that was told something else stays as it is.
    ///
    /// # Errors
    /// A store that refuses or stays away; a folder that cannot be removed.
    pub(super) fn outdated<'a>(
        &self,
        address: &Address,
        objects: &'a [Object],
        left: &mut Vec<PathBuf>,
    ) -> Result<Vec<(&'a Object, PathBuf)>> {
        let there: BTreeMap<PathBuf, &Object> =
            objects.iter().map(|object| (self.path_of(&address.with_key(&object.key)), object)).collect();
        let records = left.iter().filter(|path| path.file_name().is_some_and(|name| name == run::FILE));
        let runs: BTreeSet<PathBuf> = records.filter_map(|path| Some(path.parent()?.to_path_buf())).collect();
        let mut wanted = Vec::new();
        for run in &runs {
            if !self.has_moved_on(address, run, &there)? {
                continue;
            }
            let checkpoints = run.join(FOLDER);
            if checkpoints.exists() {
                fs::remove_dir_all(&checkpoints).map_err(Error::io(&checkpoints))?;
            }
            let here = left.extract_if(.., |path| path.starts_with(run) && there.contains_key(path));
            wanted.extend(here.filter_map(|path| Some((*there.get(&path)?, path))));
        }
        Ok(wanted)
    }

    /// Whether a training that this machine began was continued elsewhere, with the same configuration.
    fn has_moved_on(
        &self,
        address: &Address,
        run: &Path,
        there: &BTreeMap<PathBuf, &Object>,
    ) -> Result<bool> {
        let (record, told) = (run.join(run::FILE), run.join(CONFIGURATION));
        let (Some(record), Some(configuration)) = (there.get(&record), there.get(&told)) else {
            return Ok(false);
        };
        let known = Record::read(self.root(), &run.join(run::FILE)).map(|known| known.etag);
        let is_training = RunRecord::read(run).is_ok_and(|record| record.status != RunStatus::Finished);
        if !is_training || known.is_none_or(|known| known == record.etag) {
            return Ok(false);
        }
        let Ok(own) = fs::read(&told) else { return Ok(false) };
        if own.len() as u64 != configuration.bytes {
            return Ok(false);
        }
        let place = address.with_key(&configuration.key);
        Ok(self.client().range(&place, &configuration.etag, 0..configuration.bytes)?.body == own)
    }

    /// Removes checkpoints of finished runs from what the store has `there`: they were for a training that has ended.
    pub(super) fn clear(&self, address: &Address, there: &BTreeMap<String, String>) -> Result<()> {
        let infix = format!("/{FOLDER}/");
        for (at, key) in there.keys().filter_map(|key| Some((key.rfind(&infix)?, key))) {
            let run = address.with_key(&key[..at]);
            let is_one = parts(&run, key).is_some();
            if is_one
                && RunRecord::read(&self.path_of(&run))
                    .is_ok_and(|record| record.status == RunStatus::Finished)
            {
                self.client().delete(&address.with_key(key))?;
            }
        }
        Ok(())
    }
}

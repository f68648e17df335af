//! A shard at work: its lock, its record, its files one after the other.

use std::path::{Path, PathBuf};

use storage::work::{self, Work, WorkStatus};
use storage::{Lock, Part, clock};

use super::{Job, Shard};
use crate::{Error, Progress, Result};

/// A shard that was asked for.
#[derive(Debug)]
pub enum Begun {
    /// It was finished before.
    Done(Work),
    /// It is this process's now.
    Working(Working),
}

/// A shard that this process works on.
#[derive(Debug)]
pub struct Working {
    folder: PathBuf,
    work: Work,
    /// Held until the shard is closed.
    _lock: Lock,
}

impl Job {
    /// Begins a shard of this job, which consists of `pieces`, or continues it where it ended.
    ///
    /// # Errors
    /// [`storage::Error::Busy`] while a different process works on it; [`storage::Error::Differs`] if it was begun with other input or options; a
    /// folder that cannot be written.
    pub fn begin(&self, shard: Shard, pieces: Vec<String>, progress: &mut dyn Progress) -> Result<Begun> {
        self.begin_elsewhere(shard, pieces, true, progress)
    }

    /// As [`Job::begin`] of a shard that makes its files in a place of its own; `there` if they are whole.
    ///
    /// # Errors
    /// As [`Job::begin`].
    pub fn begin_elsewhere(
        &self,
        shard: Shard,
        pieces: Vec<String>,
        there: bool,
        progress: &mut dyn Progress,
    ) -> Result<Begun> {
        let folder = shard.folder(&self.folder);
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
        let lock = Lock::take(&folder)?;
        lock.note().iter().for_each(|note| progress.remark(note));
        let mut before = Work::read(&folder)?;
        match before.as_ref().and_then(|work| work.difference(&self.settings)) {
            None => {}
            // Its files are in a result already: this is a new job in the same place.
            Some(_) if before.as_ref().is_some_and(|work| work.status == WorkStatus::Merged) => before = None,
            Some(difference) => {
                let remedy = format!("give the same options, or remove {}", folder.display());
                let path = folder.join(work::FILE);
                return Err(storage::Error::Differs { path, difference, remedy }.into());
            }
        }
        let is_done = |work: &&Work| there && work.pieces == pieces && is_finished(work, &folder);
        if let Some(work) = before.as_ref().filter(is_done) {
            progress.remark(&format!("shard {}/{} is already finished", shard.index, shard.count));
            return Ok(Begun::Done(work.clone()));
        }
        let now = clock::now();
        let before = before.unwrap_or_default();
        let kept: Vec<Part> = before.files.iter().filter(|f| before.has(&folder, &f.file)).cloned().collect();
        if !kept.is_empty() {
            progress.remark(&format!("continuing: {} files of {} are whole", kept.len(), folder.display()));
        }
        let work = Work {
            job: self.name.to_owned(),
            shard: shard.index,
            of: shard.count,
            pieces,
            settings: self.settings.clone(),
            files: kept,
            host: work::host(),
            process: std::process::id(),
            starts: before.starts + 1,
            started: if before.starts == 0 { now.clone() } else { before.started },
            updated: now,
            status: WorkStatus::Working,
            ..Work::new()
        };
        work.write(&folder)?;
        Ok(Begun::Working(Working { folder, work, _lock: lock }))
    }
}

/// Files that a merge removed are not missed.
fn is_finished(work: &Work, folder: &Path) -> bool {
    let whole = || work.files.iter().all(|part| work.has(folder, &part.file));
    work.status == WorkStatus::Merged || work.status == WorkStatus::Done && whole()
}

impl Working {
    /// Makes `file` with `make`, which is given its path, and records it; passed over if it is recorded already.
    ///
    /// # Errors
    /// As `make`; a record that cannot be written.
    pub fn file(&mut self, file: &str, make: impl FnOnce(&Path) -> Result<Part>) -> Result<()> {
        if self.work.has(&self.folder, file) {
            return Ok(());
        }
        let part = make(&self.folder.join(file))?;
        self.work.files.retain(|known| known.file != file);
        self.work.files.push(part);
        self.work.updated = clock::now();
        Ok(self.work.write(&self.folder)?)
    }

    /// Records how the work ended and lets go of the shard. The first error is the one that is returned.
    ///
    /// # Errors
    /// That of `result`; a record that cannot be written.
    pub fn end(self, result: Result<()>) -> Result<Work> {
        let status = match &result {
            Ok(()) => WorkStatus::Done,
            Err(Error::Stopped(_)) => WorkStatus::Stopped,
            Err(_) => WorkStatus::Failed,
        };
        let closed = self.close(status);
        result?;
        closed
    }

    /// As [`Working::end`] for a job that tells otherwise how it ended.
    ///
    /// # Errors
    /// A record that cannot be written.
    pub fn close(mut self, status: WorkStatus) -> Result<Work> {
        self.work.status = status;
        self.work.updated = clock::now();
        self.work.write(&self.folder)?;
        Ok(self.work)
    }
}

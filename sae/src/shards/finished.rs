//! What a merge begins with: every shard there, finished, of the same input and options, with the bytes that were recorded.

use std::path::{Path, PathBuf};

use storage::work::{self, Work, WorkStatus};
use storage::{Lock, clock};

use super::{Job, Shard, division};
use crate::{Error, Progress, Result};

/// A shard that is finished.
#[derive(Debug, Clone)]
pub struct Finished {
    /// Its folder.
    pub folder: PathBuf,
    /// Its record.
    pub work: Work,
}

impl Finished {
    /// The paths of its files whose names begin with `prefix`, by name: one that was lost was made after the others.
    pub fn files(&self, prefix: &str) -> Vec<PathBuf> {
        let own = self.work.files.iter().filter(|part| part.file.starts_with(prefix));
        let mut paths: Vec<PathBuf> = own.map(|part| self.folder.join(&part.file)).collect();
        paths.sort();
        paths
    }
}

/// All shards of a job, in order.
#[derive(Debug)]
pub struct Shards {
    /// The shards.
    pub shards: Vec<Finished>,
    /// Whether they were merged and their files removed.
    pub removed: bool,
    /// One merge at a time.
    _lock: Lock,
}

impl Job {
    /// The shards of this job.
    ///
    /// # Errors
    /// [`Error::Request`] with the shards that are not finished and who had them; a shard of other input or options; a file that is not what
    /// was recorded; [`storage::Error::Busy`] during a different merge.
    pub fn finished(&self, progress: &mut dyn Progress) -> Result<Shards> {
        let Some((count, _)) = division(&self.folder)? else {
            return Err(Error::request(format!("{} has no folders shard-I-of-N", self.folder.display()))
                .with_remedy("give the same command with --shard 0/n to n-1/n in place of --merge first"));
        };
        let lock = Lock::take(&self.folder)?;
        lock.note().iter().for_each(|note| progress.remark(note));
        let (mut shards, mut missing) = (Vec::new(), Vec::new());
        for index in 0..count {
            let folder = Shard { index, count }.folder(&self.folder);
            match Work::read(&folder)? {
                Some(work) if work.status.is_done() => shards.push(Finished { folder, work }),
                found => missing.push(format!("{index}/{count}: {}", describe(found.as_ref(), &folder))),
            }
        }
        if !missing.is_empty() {
            return Err(Error::request(format!(
                "{} of {count} shards of this {} are not finished:\n  {}",
                missing.len(),
                self.name,
                missing.join("\n  ")
            ))
            .with_remedy("give the commands of these shards again, then merge"));
        }
        shards.iter().try_for_each(|shard| self.check_settings(shard))?;
        let merged = |shard: &Finished| shard.work.status == WorkStatus::Merged;
        let gone =
            |shard: &Finished| shard.work.files.iter().any(|part| !shard.folder.join(&part.file).exists());
        let removed = shards.iter().all(merged) && shards.iter().any(gone);
        if !removed {
            check_files(&shards, progress)?;
        }
        Ok(Shards { shards, removed, _lock: lock })
    }

    fn check_settings(&self, shard: &Finished) -> Result<()> {
        let path = shard.folder.join(work::FILE);
        if shard.work.job != self.name {
            let problem = format!("is a shard of the job `{}`; expected `{}`", shard.work.job, self.name);
            return Err(Error::format(&path, problem));
        }
        let Some(difference) = shard.work.difference(&self.settings) else { return Ok(()) };
        Err(Error::format(
            &path,
            format!("this shard has other input or options than the merge: {difference}"),
        )
        .with_remedy("give the merge the options of its shards, or make the shard again"))
    }
}

impl Shards {
    /// Records that the shards are in the job's result; with `remove` their files go, once all of them are recorded.
    ///
    /// # Errors
    /// A record that cannot be written, a file that cannot be removed.
    pub fn merged(self, remove: bool) -> Result<()> {
        for Finished { folder, work } in &self.shards {
            if work.status != WorkStatus::Merged {
                let status = WorkStatus::Merged;
                Work { status, updated: clock::now(), ..work.clone() }.write(folder)?;
            }
            Lock::tidy(folder);
        }
        for shard in self.shards.iter().filter(|_| remove) {
            for path in shard.files("").iter().filter(|path| path.exists()) {
                std::fs::remove_file(path).map_err(|e| Error::io(path, e))?;
            }
        }
        Ok(())
    }
}

/// `working on node3 since 2026-…`.
fn describe(work: Option<&Work>, folder: &Path) -> String {
    let Some(work) = work else { return "not begun".to_owned() };
    let state = match work.status {
        WorkStatus::Working if Lock::holder(folder).is_some() => "at work",
        WorkStatus::Working => "at work, or killed,",
        other => other.name(),
    };
    let whole = work.files.len();
    format!("{state} on {}, process {}, {}; {whole} files are whole", work.host, work.process, work.updated)
}

/// Reads every file and compares it with what was recorded of it.
fn check_files(shards: &[Finished], progress: &mut dyn Progress) -> Result<()> {
    let all = shards.iter().map(|shard| shard.work.files.len() as u64).sum();
    progress.begin("check", Some(all), "files");
    let mut done = 0;
    for Finished { folder, work } in shards {
        for part in &work.files {
            let path = folder.join(&part.file);
            let remedy = "remove the shard's folder and make the shard again";
            if !path.exists() {
                let problem = format!("is missing; shard {}/{} made it", work.shard, work.of);
                return Err(Error::format(&path, problem).with_remedy(remedy));
            }
            let found = work::recorded(folder, &part.file, part.rows)?;
            if found != *part {
                let said = |bytes: u64, sha256: &str| format!("{bytes} bytes with SHA-256 {sha256}");
                let problem = format!(
                    "is not what shard {}/{} made: {}; expected {}",
                    work.shard,
                    work.of,
                    said(found.bytes, &found.sha256),
                    said(part.bytes, &part.sha256)
                );
                return Err(Error::format(&path, problem).with_remedy(remedy));
            }
            done += 1;
            progress.advance(done, "");
            if progress.stop_requested() {
                return Err(Error::stopped("nothing was written; give the same command again"));
            }
        }
    }
    progress.end(&format!("{all} files of {} shards are whole", shards.len()));
    Ok(())
}

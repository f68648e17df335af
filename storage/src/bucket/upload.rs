//! What was made or changed on this machine goes to the store: data first, the records that vouch for it last.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::address::Address;
use super::md5::Md5;
use super::mirror::{Mirror, Told};
use super::objects::Condition;
use super::parallel::each;
use super::positioned;
use super::record::{self, Record, is_content};
use super::store::Store;
use crate::error::{Error, Result};
use crate::part::hexadecimal;

/// Files that are longer are sent in parts of this length. S3 takes ten thousand of them: 160 GB; longer files have longer parts.
const PART: u64 = 16 << 20;
const MOST_PARTS: u64 = 9000;

/// What was uploaded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Uploaded {
    /// Objects that were written.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were removed: their files are not part of the work any more.
    pub removed: usize,
}

/// One file on its way.
pub(super) struct Job<'a> {
    path: &'a Path,
    address: Address,
    bytes: u64,
    /// The ETag of what it replaces.
    replaces: Option<String>,
    /// In order of being sent: data, records of folders, records further up.
    turn: (bool, usize),
}

impl Mirror {
    /// Whether the files changed since the mirror was opened.
    ///
    /// # Errors
    /// A folder that cannot be listed.
    pub fn has_changed(&self) -> Result<bool> {
        let again = self.left.iter().zip(&self.left_as).any(|(path, then)| !then.fits(path));
        Ok(again || self.changed()? != self.left || !self.removed().is_empty())
    }

    /// Files that the store does not have as they are.
    pub(super) fn changed(&self) -> Result<Vec<PathBuf>> {
        let mut all = if self.path.is_file() {
            vec![self.path.clone()]
        } else {
            record::files(&self.path, &is_content)?
        };
        all.retain(|path| Record::read(self.store.root(), path).is_none_or(|record| !record.fits(path)));
        Ok(all)
    }

    /// Keys of objects that were there, whose files are not.
    fn removed(&self) -> Vec<Address> {
        self.before
            .keys()
            .map(|key| self.address.with_key(key))
            .filter(|address| !self.store.path_of(address).exists())
            .collect()
    }

    /// Sends what was made or changed here. Objects that somebody else has written since the mirror was opened are not replaced.
    ///
    /// # Errors
    /// [`Error::Bucket`]: something that somebody else wrote meanwhile, a store that refuses or stays away; files that change while they
    /// are sent. What was sent stays; a record is never there before what it vouches for.
    pub fn upload(&self, told: Told<'_>) -> Result<Uploaded> {
        let (changed, removed) = (self.changed()?, self.removed());
        if !self.store.is_written() {
            let problem = "addresses of this kind are only read";
            let remedy = "what was made is kept on this machine; copy it, or work on s3://… or a folder of this machine";
            return Err(Error::bucket(&self.address.to_string(), problem, Some(remedy)));
        }
        let there = self.there()?;
        let mut jobs = self.jobs(&changed, &there)?;
        self.withdraw(&mut jobs)?;
        let bytes = self.send_all(&jobs, told)?;
        for address in &removed {
            self.store.client().delete(address)?;
            let record = record::place(self.store.root(), &self.store.path_of(address))?;
            let _ = fs::remove_file(record);
        }
        self.store.clear(&self.address, &there)?;
        Ok(Uploaded { files: jobs.len(), bytes, removed: removed.len() })
    }

    /// Keys and ETags of what the store has there now.
    pub(super) fn there(&self) -> Result<BTreeMap<String, String>> {
        let prefix = if self.path.is_file() || self.address.key.is_empty() {
            self.address.key.clone()
        } else {
            format!("{}/", self.address.key)
        };
        let there = self.store.client().list(&self.address, &prefix)?;
        Ok(there.into_iter().map(|object| (object.key, object.etag)).collect())
    }

    /// What is to be done about `files`, in the order of being sent.
    pub(super) fn jobs<'a>(
        &self,
        files: &'a [PathBuf],
        there: &BTreeMap<String, String>,
    ) -> Result<Vec<Job<'a>>> {
        let mut jobs = Vec::new();
        for path in files {
            jobs.extend(self.job(path, there)?);
        }
        jobs.sort_by(|a, b| (a.turn, a.path).cmp(&(b.turn, b.path)));
        Ok(jobs)
    }

    /// Sends files in this order; their bytes.
    pub(super) fn send_all(&self, jobs: &[Job<'_>], told: Told<'_>) -> Result<u64> {
        let total: u64 = jobs.iter().map(|job| job.bytes).sum();
        let done = AtomicU64::new(0);
        let advance = |bytes: u64| match told(done.fetch_add(bytes, Ordering::Relaxed) + bytes, total) {
            true => {
                Err(Error::bucket(&self.address.to_string(), "stopped", Some("try again to upload the rest")))
            }
            false => Ok(()),
        };
        for turn in jobs.chunk_by(|a, b| a.turn == b.turn) {
            let (large, small): (Vec<_>, Vec<_>) = turn.iter().partition(|job| job.bytes > PART);
            each(small.len(), &|i| self.send(small[i]).and_then(|()| advance(small[i].bytes)))?;
            large.iter().try_for_each(|job| self.send_in_parts(job, &advance))?;
        }
        Ok(total)
    }

    /// What is to be done about a file; nothing if the store has these bytes already.
    fn job<'a>(&self, path: &'a Path, there: &BTreeMap<String, String>) -> Result<Option<Job<'a>>> {
        let root = self.store.root();
        let address = self.store.address_of(path).ok_or_else(|| Error::Argument {
            path: path.to_owned(),
            message: "has a name that cannot be a key".to_owned(),
        })?;
        let bytes = fs::metadata(path).map_err(Error::io(path))?.len();
        let replaces = there.get(&address.key).cloned();
        let known = Record::read(root, path)
            .map(|record| record.etag)
            .or_else(|| self.before.get(&address.key).cloned());
        if let Some(now) = replaces.as_ref().filter(|now| known.as_ref() != Some(now)) {
            if *now == etag_of(path, bytes)? {
                Record::of(path, now, false)?.write(root, path)?;
                return Ok(None);
            }
            return Err(elsewhere(&address));
        }
        let is_record = path.extension().is_some_and(|suffix| suffix == "json");
        let depth = address.key.matches('/').count();
        // Records further down are vouched for by those further up.
        let turn = (is_record, if is_record { usize::MAX - depth } else { 0 });
        Ok(Some(Job { path, address, bytes, replaces, turn }))
    }

    /// Removes records whose data is about to be replaced: nobody reads the new data with the old record.
    fn withdraw(&self, jobs: &mut [Job<'_>]) -> Result<()> {
        let folder = |job: &Job<'_>| job.path.parent().map(Path::to_path_buf);
        let replaced: BTreeSet<_> =
            jobs.iter().filter(|job| !job.turn.0 && job.replaces.is_some()).filter_map(folder).collect();
        for job in jobs.iter_mut().filter(|job| job.turn.0 && job.replaces.is_some()) {
            if folder(job).is_some_and(|folder| replaced.contains(&folder)) {
                self.store.client().delete(&job.address)?;
                job.replaces = None;
            }
        }
        Ok(())
    }

    fn send(&self, job: &Job<'_>) -> Result<()> {
        let record = Record::of(job.path, "", false)?;
        let body = fs::read(job.path).map_err(Error::io(job.path))?;
        let condition = job.replaces.as_deref().map_or(Condition::Absent, Condition::Unchanged);
        let etag = self.store.client().put(&job.address, &body, condition)?;
        self.sent(job, record, etag)
    }

    fn send_in_parts(&self, job: &Job<'_>, advance: &(dyn Fn(u64) -> Result<()> + Sync)) -> Result<()> {
        let client = self.store.client();
        let record = Record::of(job.path, "", false)?;
        let file = File::open(job.path).map_err(Error::io(job.path))?;
        let part = part_of(job.bytes);
        let count = job.bytes.div_ceil(part) as usize;
        let upload = client.begin(&job.address)?;
        let etags = Mutex::new(vec![String::new(); count]);
        let sent = each(count, &|i| {
            let start = i as u64 * part;
            let body = read(&file, start, part.min(job.bytes - start)).map_err(Error::io(job.path))?;
            let etag = client.part(&job.address, &upload, i + 1, &body)?;
            etags.lock().unwrap_or_else(PoisonError::into_inner)[i] = etag;
            advance(body.len() as u64)
        });
        let completed = sent.and_then(|()| {
            if !record.fits(job.path) {
                return Err(changing(job.path));
            }
            let etags = etags.into_inner().unwrap_or_else(PoisonError::into_inner);
            let condition = job.replaces.as_deref().map_or(Condition::Absent, Condition::Unchanged);
            client.complete(&job.address, &upload, &etags, condition)
        });
        if completed.as_ref().is_ok_and(Option::is_some) {
            return self.sent(job, record, completed?);
        }
        client.abandon(&job.address, &upload);
        self.sent(job, record, completed?)
    }

    /// Records that the store has the file; `etag` is `None` where something else was in its place.
    fn sent(&self, job: &Job<'_>, mut record: Record, etag: Option<String>) -> Result<()> {
        record.etag = match etag {
            Some(etag) => etag,
            // A request that was repeated because its answer was lost finds what it wrote itself.
            None => self
                .store
                .client()
                .head(&job.address)?
                .map(|object| object.etag)
                .filter(|now| etag_of(job.path, job.bytes).is_ok_and(|own| own == *now))
                .ok_or_else(|| elsewhere(&job.address))?,
        };
        if !record.fits(job.path) {
            return Err(changing(job.path));
        }
        record.write(self.store.root(), job.path)
    }
}

impl Store {
    /// Sends one file of the mirror, if it is not in the store as it is.
    ///
    /// # Errors
    /// As [`Mirror::upload`].
    pub(super) fn publish(self: &Arc<Self>, path: &Path, address: Address) -> Result<()> {
        let mirror = Mirror::of(self, address, path);
        if !mirror.changed()?.is_empty() {
            mirror.upload(&|_, _| false)?;
        }
        Ok(())
    }
}

fn elsewhere(address: &Address) -> Error {
    let problem = "somebody else has written it since it was opened here, with different contents";
    let remedy = "give a different --out, or remove it from the store or from the cache, whichever is wrong";
    Error::bucket(&address.to_string(), problem, Some(remedy))
}

fn changing(path: &Path) -> Error {
    Error::Argument { path: path.to_owned(), message: "changes while it is uploaded; try again".to_owned() }
}

fn part_of(bytes: u64) -> u64 {
    PART.max(bytes.div_ceil(MOST_PARTS))
}

/// What the ETag of these bytes is when they are sent as this program sends them.
fn etag_of(path: &Path, bytes: u64) -> Result<String> {
    let file = File::open(path).map_err(Error::io(path))?;
    let sum = |bytes: &[u8]| {
        let mut sum = Md5::new();
        sum.update(bytes);
        sum.finish()
    };
    if bytes <= PART {
        return Ok(hexadecimal(&sum(&read(&file, 0, bytes).map_err(Error::io(path))?)));
    }
    let part = part_of(bytes);
    let mut sums = Vec::new();
    for start in (0..bytes).step_by(part as usize) {
        sums.extend(sum(&read(&file, start, part.min(bytes - start)).map_err(Error::io(path))?));
    }
    Ok(format!("{}-{}", hexadecimal(&sum(&sums)), sums.len() / 16))
}

fn read(file: &File, start: u64, length: u64) -> std::io::Result<Vec<u8>> {
    let mut buffer = vec![0; length as usize];
    let mut done = 0;
    while done < buffer.len() {
        match positioned::read(file, &mut buffer[done..], start + done as u64)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => done += read,
        }
    }
    Ok(buffer)
}

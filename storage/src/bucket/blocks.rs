//! A file of which only the blocks that were read are on this machine. The rest is fetched when it is read.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};

use super::ahead::Streams;
use super::parallel::{CONNECTIONS, each};
use super::record::{self, Record};
use super::store::Store;
use super::{Address, positioned};
use crate::error::{Error, Result};

/// Blocks of one request at most: 2 MiB.
const PIECE: usize = 8;
/// Blocks that are fetched with the last one: what a table's footer has before its last bytes.
const FOOTER: usize = 2;
/// Fetches ahead that run at the same time in one file.
const AT_ONCE: usize = 3;
/// How often blocks are fetched that are forgotten before they are read.
const FORGOTTEN: usize = 20;

/// One file of the mirror, open. There is one value for each file in a process, shared by all who read it.
#[derive(Debug)]
pub struct Blocks {
    store: Arc<Store>,
    address: Address,
    path: PathBuf,
    record: Record,
    data: File,
    /// The record's file and where in it the bytes of the blocks begin.
    map: Mutex<File>,
    map_at: u64,
    /// Locked, shared, while the file is open, so that no other process forgets blocks that this one counts on.
    in_use: File,
    /// Taken for writing by who forgets the blocks.
    gate: RwLock<()>,
    state: Mutex<State>,
    arrived: Condvar,
    running: AtomicUsize,
}

#[derive(Debug)]
struct State {
    present: Vec<bool>,
    coming: BTreeSet<usize>,
    streams: Streams,
}

impl Blocks {
    /// Opens `path` if it is fetched in blocks; `None` for a file that is whole.
    ///
    /// # Errors
    /// Files that cannot be opened.
    pub(super) fn open(store: &Arc<Store>, path: &Path, address: Address) -> Result<Option<Self>> {
        let Some((record, mut map, map_at)) = Record::open(store.root(), path) else { return Ok(None) };
        if record.block == 0 || !record.fits(path) {
            return Ok(None);
        }
        let data = File::options().read(true).write(true).open(path).map_err(Error::io(path))?;
        let place = record::place(store.root(), path)?;
        let lock = place.with_extension("use");
        let in_use =
            File::options().create(true).truncate(false).write(true).open(&lock).map_err(Error::io(&lock))?;
        // Where the file system has no locks, the worst is that a different process forgets blocks at the wrong moment.
        let _ = in_use.lock_shared();
        // The newest use counts when room is made.
        let _ = map.set_modified(std::time::SystemTime::now());
        let present = record::present(&mut map, map_at, record.blocks()).map_err(Error::io(&place))?;
        let state = State { present, coming: BTreeSet::new(), streams: Streams::default() };
        Ok(Some(Self {
            store: store.clone(),
            address,
            path: path.to_owned(),
            record,
            data,
            map: Mutex::new(map),
            map_at,
            in_use,
            gate: RwLock::default(),
            state: Mutex::new(state),
            arrived: Condvar::new(),
            running: AtomicUsize::new(0),
        }))
    }

    /// Reads at a position, after fetching what is not there.
    ///
    /// # Errors
    /// A store that refuses, stays away or has a different object there now; a disk that fails.
    pub fn read_at(self: &Arc<Self>, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let end = (offset + buffer.len() as u64).min(self.record.bytes);
        if offset >= end {
            return Ok(0);
        }
        let blocks = (offset / self.record.block) as usize..end.div_ceil(self.record.block) as usize;
        for _ in 0..FORGOTTEN {
            self.need(blocks.clone()).map_err(io::Error::other)?;
            let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
            // Between the two lines above they may have been forgotten again.
            if self.state().present[blocks.clone()].iter().all(|there| *there) {
                return positioned::read(&self.data, &mut buffer[..(end - offset) as usize], offset);
            }
        }
        let problem = format!("{} bytes at once do not fit into the cache", buffer.len());
        let remedy = Some("give the cache more room: SAE_CACHE_SIZE=50GB");
        Err(io::Error::other(Error::bucket(&self.address.to_string(), &problem, remedy)))
    }

    /// Whether the file of that name is still this one.
    pub(super) fn is_in(&self, path: &Path) -> bool {
        self.record.fits(path)
    }

    /// Fetches everything that is not there.
    ///
    /// # Errors
    /// As [`Blocks::read_at`].
    pub(super) fn fill(self: &Arc<Self>) -> Result<()> {
        let all = 0..self.record.blocks();
        for first in all.clone().step_by(PIECE * CONNECTIONS) {
            self.need(first..(first + PIECE * CONNECTIONS).min(all.end))?;
        }
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when all of `blocks` are there.
    fn need(self: &Arc<Self>, blocks: Range<usize>) -> Result<()> {
        let mut state = self.state();
        let mut reach = blocks.clone();
        if blocks.end == self.record.blocks() && !state.present[blocks.end - 1] {
            reach.start = reach.start.min(blocks.end.saturating_sub(FOOTER));
        }
        let ahead = state.streams.read(&blocks, self.record.blocks());
        if self.running.load(Ordering::Relaxed) < AT_ONCE {
            self.fetch_ahead(&mut state, ahead);
        }
        loop {
            let missing = self.missing(&mut state, reach.clone())?;
            if missing.is_empty() && !blocks.clone().any(|block| state.coming.contains(&block)) {
                return Ok(());
            }
            if missing.is_empty() {
                state = self.arrived.wait(state).unwrap_or_else(PoisonError::into_inner);
                // What was coming may not have come.
                reach = blocks.clone();
                continue;
            }
            state.coming.extend(missing.iter().copied());
            drop(state);
            self.fetch(&missing)?;
            state = self.state();
        }
    }

    /// Blocks of `range` that are neither there nor coming; what a different process has fetched is there.
    fn missing(&self, state: &mut State, range: Range<usize>) -> Result<Vec<usize>> {
        let lacks = |state: &State| -> Vec<usize> {
            range.clone().filter(|block| !state.present[*block] && !state.coming.contains(block)).collect()
        };
        if !lacks(state).is_empty() {
            let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
            let found = record::present(&mut map, self.map_at, self.record.blocks())
                .map_err(Error::io(&self.path))?;
            state.present = found;
        }
        Ok(lacks(state))
    }

    /// Fetches a range in the background; whoever needs it before it is there waits for it.
    fn fetch_ahead(self: &Arc<Self>, state: &mut State, range: Range<usize>) {
        let wanted: Vec<usize> =
            range.filter(|block| !state.present[*block] && !state.coming.contains(block)).collect();
        if wanted.is_empty() {
            return;
        }
        state.coming.extend(wanted.iter().copied());
        self.running.fetch_add(1, Ordering::Relaxed);
        let me = self.clone();
        std::thread::spawn(move || {
            // Whoever reads these blocks tries again and reports what is wrong.
            let _ = me.fetch(&wanted);
            me.running.fetch_sub(1, Ordering::Relaxed);
        });
    }

    /// Fetches blocks that were marked as coming, neighbours together.
    fn fetch(&self, blocks: &[usize]) -> Result<()> {
        let mut pieces: Vec<Range<usize>> = Vec::new();
        for block in blocks.iter().copied() {
            match pieces.last_mut() {
                Some(last) if last.end == block && last.len() < PIECE => last.end += 1,
                _ => pieces.push(block..block + 1),
            }
        }
        let fetched = each(pieces.len(), &|i| self.fetch_piece(pieces[i].clone()));
        let mut state = self.state();
        for block in blocks {
            state.coming.remove(block);
        }
        self.arrived.notify_all();
        drop(state);
        fetched?;
        self.store.make_room();
        Ok(())
    }

    fn fetch_piece(&self, piece: Range<usize>) -> Result<()> {
        let block = self.record.block;
        let bytes = piece.start as u64 * block..(piece.end as u64 * block).min(self.record.bytes);
        let answer = self.store.client().range(&self.address, &self.record.etag, bytes.clone())?;
        positioned::write(&self.data, &answer.body, bytes.start).map_err(Error::io(&self.path))?;
        // A block that is marked must be there after a crash, too.
        self.data.sync_data().map_err(Error::io(&self.path))?;
        self.mark(piece.clone(), true)?;
        let mut state = self.state();
        state.present[piece].fill(true);
        self.store.spend(bytes.end - bytes.start);
        Ok(())
    }

    fn mark(&self, blocks: Range<usize>, there: bool) -> Result<()> {
        let marks = vec![u8::from(there); blocks.len()];
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        record::mark(&mut map, self.map_at, blocks.start, &marks).map_err(Error::io(&self.path))
    }

    /// Gives the room of all blocks back: the file stays, with its length. Bytes that were freed; 0 while somebody fetches, or a
    /// different process has the file open.
    ///
    /// # Errors
    /// A disk that fails.
    pub(super) fn forget(&self) -> Result<u64> {
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        if !state.coming.is_empty() {
            return Ok(0);
        }
        let alone = self.in_use.try_lock().is_ok();
        let mut freed = 0;
        if alone && state.present.contains(&true) {
            freed = held(&state.present, &self.record);
            let blocks = self.record.blocks();
            self.mark(0..blocks, false)?;
            self.data
                .set_len(0)
                .and_then(|()| self.data.set_len(self.record.bytes))
                .map_err(Error::io(&self.path))?;
            state.present.fill(false);
        }
        let _ = self.in_use.lock_shared();
        if !alone {
            // For a moment there was no lock.
            let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
            state.present = record::present(&mut map, self.map_at, self.record.blocks())
                .map_err(Error::io(&self.path))?;
        }
        Ok(freed)
    }
}

/// Bytes that the blocks which are there take.
pub(super) fn held(present: &[bool], record: &Record) -> u64 {
    let there = present.iter().filter(|there| **there).count() as u64;
    // The last block is as long as the file ends.
    let missing = match present.last() {
        Some(true) => present.len() as u64 * record.block - record.bytes,
        _ => 0,
    };
    there * record.block - missing
}

/// Makes the file in `path` as long as the object, with nothing in it, and its record.
///
/// # Errors
/// A disk that is full or fails.
pub(super) fn create(root: &Path, path: &Path, bytes: u64, etag: &str) -> Result<()> {
    let partial = super::mirror::partial(path);
    let file = File::create(&partial).map_err(Error::io(&partial))?;
    file.set_len(bytes).map_err(Error::io(&partial))?;
    fs::rename(&partial, path).map_err(Error::io(path))?;
    Record::of(path, etag, true)?.write(root, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_block_is_as_long_as_the_file_ends() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let block = Record::of(&touch(&path, 0), "", true).unwrap().block;
        let record = Record::of(&touch(&path, 2 * block + 5), "", true).unwrap();
        assert_eq!(held(&[true, false, false], &record), block);
        assert_eq!(held(&[false, false, true], &record), 5);
        assert_eq!(held(&[true, true, true], &record), record.bytes);
        let even = Record::of(&touch(&path, 2 * block), "", true).unwrap();
        assert_eq!(held(&[false, true], &even), block);
    }

    fn touch(path: &Path, bytes: u64) -> PathBuf {
        File::create(path).unwrap().set_len(bytes).unwrap();
        path.to_owned()
    }
}

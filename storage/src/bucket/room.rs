//! The cache takes no more than it may: what was used least lately leaves first.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::blocks::held;
use super::record::{self, Record};
use super::store::Store;
use crate::error::{Error, Result};

/// Whole files that were used since are left: somebody may be about to open them.
const RECENT: Duration = Duration::from_secs(3600);

/// A copy that could leave.
struct Copy {
    used: SystemTime,
    path: PathBuf,
    bytes: u64,
    in_blocks: bool,
}

/// Bytes that all copies take.
///
/// # Errors
/// A folder that cannot be listed.
pub(super) fn measured(root: &Path) -> Result<u64> {
    Ok(copies(root)?.iter().map(|copy| copy.bytes).sum())
}

fn copies(root: &Path) -> Result<Vec<Copy>> {
    let mut found = Vec::new();
    for place in Store::records(root)? {
        let Some(path) = record::path_of(root, &place) else { continue };
        let Some((record, mut map, at)) = Record::open(root, &path).filter(|(record, ..)| record.fits(&path))
        else {
            continue;
        };
        let used = map.metadata().and_then(|found| found.modified()).map_err(Error::io(&place))?;
        let in_blocks = record.block > 0;
        let bytes = match in_blocks {
            true => {
                held(&record::present(&mut map, at, record.blocks()).map_err(Error::io(&place))?, &record)
            }
            false => record.bytes,
        };
        found.push(Copy { used, path, bytes, in_blocks });
    }
    Ok(found)
}

impl Store {
    /// Where the copies take more than they may, some leave: blocks of tables first, which come back when they are read, then
    /// files that nobody has opened in this process or in the last hour. What was changed here and not uploaded never leaves.
    pub(super) fn make_room(self: &Arc<Self>) {
        if !self.is_full() {
            return;
        }
        // One at a time; whoever comes meanwhile need not wait. Best effort: a full disk reports itself.
        if let Ok(_turn) = self.making_room.try_lock() {
            let _ = self.leave();
        }
    }

    fn leave(self: &Arc<Self>) -> Result<()> {
        let counted = self.held();
        let mut copies = copies(self.root())?;
        let mut held: u64 = copies.iter().map(|copy| copy.bytes).sum();
        // Other processes fetch, too; and what this one fetches meanwhile is counted on top.
        self.correct(counted, held);
        let target = self.client().settings().limit / 10 * 9;
        copies.sort_by_key(|copy| (!copy.in_blocks, copy.used));
        for copy in copies.iter().filter(|copy| copy.bytes > 0) {
            if held <= target {
                break;
            }
            let freed = match copy.in_blocks {
                true => self.blocks(&copy.path)?.map_or(Ok(0), |blocks| blocks.forget())?,
                false if self.may_leave(copy) => remove(self.root(), copy)?,
                false => 0,
            };
            self.correct(freed, 0);
            held = held.saturating_sub(freed);
        }
        Ok(())
    }

    fn may_leave(&self, copy: &Copy) -> bool {
        let opened = self.opened.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let is_open = opened.iter().any(|address| copy.path.starts_with(self.path_of(address)));
        !is_open && copy.used.elapsed().is_ok_and(|age| age > RECENT)
    }
}

fn remove(root: &Path, copy: &Copy) -> Result<u64> {
    fs::remove_file(&copy.path).map_err(Error::io(&copy.path))?;
    let record = record::place(root, &copy.path)?;
    fs::remove_file(&record).map_err(Error::io(&record))?;
    Ok(copy.bytes)
}

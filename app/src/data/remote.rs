//! Folders of a store: opened as copies on this machine, which everything else reads.

use std::path::{Path, PathBuf};

use storage::bucket::{self, Address, Store};

use super::problem;
use crate::load::Problem;

/// Opens what is at the address `name`: where its copy is. `told` hears bytes done and bytes in all, and answers whether to stop.
///
/// # Errors
/// An address that is not one, a store that refuses or stays away, an address with nothing there.
pub fn open(name: &Path, told: &(dyn Fn(u64, u64) -> bool + Sync)) -> Result<PathBuf, Problem> {
    let address = Address::parse(&name.to_string_lossy()).map_err(problem)?;
    let mirror = Store::of(&address).and_then(|store| store.open(&address, told)).map_err(problem)?;
    if mirror.exists() {
        return Ok(mirror.path);
    }
    Err(Problem::new(format!("There is nothing at {address}.")).with_remedy("Check the address."))
}

/// Sends a file that a person changed in a copy to its store; nothing is done for other files.
///
/// # Errors
/// A store that refuses or stays away: the file stays changed on this machine.
pub(super) fn publish(path: &Path) -> Result<(), Problem> {
    bucket::publish(path).map_err(|error| {
        let told = problem(error);
        let kept = Problem::new(format!("Kept on this machine, not in the store. {}", told.what));
        match told.remedy {
            Some(remedy) => kept.with_remedy(remedy),
            None => kept,
        }
    })
}

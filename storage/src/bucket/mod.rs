//! Datasets and runs in an object store, or on a web server.
//!
//! What is at `s3://bucket/prefix`, `gs://…`, `az://…` or `https://host/folder` is opened as a *mirror*: a folder of the cache in which every object is a file, so that everything that
//! works on paths works on it. Tables are files of the right length whose blocks are fetched when they are read; all else is fetched
//! when the mirror is opened. What a command made or changed in the folder is uploaded afterwards.
//!
//! ```text
//!   Settings ─▶ Store ─ open(Address) ─▶ Mirror ─ path ─▶ any command ─▶ Mirror::upload
//!   (~/.aws)      │                                         │ reads a table
//!                 └─ Client (signed, repeated) ◀── Blocks ◀─┘
//! ```
//!
//! The `object_store` crate would bring 50 crates that nothing else here uses; this room needs none, on `ureq` and `sha2`.

mod address;
mod ahead;
mod azure;
mod blocks;
#[cfg(test)]
mod checkpoint_tests;
mod checkpoints;
mod client;
mod credentials;
mod google;
mod md5;
mod mirror;
mod objects;
mod parallel;
mod positioned;
mod record;
mod room;
#[cfg(test)]
mod scripted;
mod settings;
mod sign;
mod store;
#[cfg(test)]
mod tests;
mod upload;
mod web;
#[cfg(test)]
mod web_tests;
mod xml;

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};

pub use address::{Address, SCHEME, Scheme};
pub use blocks::Blocks;
pub use checkpoints::{keep, restore};
pub use client::Figures;
pub use credentials::Credentials;
pub use mirror::{Mirror, Told};
pub use settings::{DEFAULT_LIMIT, Settings};
pub use store::Store;
pub use upload::Uploaded;

pub(crate) use positioned::read as read_at;

use crate::error::{Error, Result};

/// The file in `path` as something that fetches what is read of it; `None` for a file that is whole.
///
/// # Errors
/// A copy of a store's object that is not whole, of a store that the environment does not name.
pub fn blocks(path: &Path) -> Result<Option<Arc<Blocks>>> {
    match store::of(path)? {
        Some((store, path)) => store.blocks(&path),
        None => Ok(None),
    }
}

/// Fetches what is missing of the file in `path`: for whoever reads it otherwise than as a table.
///
/// # Errors
/// As [`blocks`]; a store that refuses or stays away.
pub fn fill(path: &Path) -> Result<()> {
    blocks(path)?.map_or(Ok(()), |blocks| blocks.fill())
}

/// The path of a folder that a record or a person names: that of its copy for an address, which need not be there.
///
/// # Errors
/// As [`Address::parse`] and [`Settings::of`].
pub fn local(name: &str) -> Result<PathBuf> {
    if !Address::is_meant(name) {
        return Ok(PathBuf::from(name));
    }
    let address = Address::parse(name)?;
    Ok(match store::connected().iter().find(|store| store.client().settings().holds(&address)) {
        Some(store) => store.path_of(&address),
        None => store::path_below(&Settings::of(&address)?.root(), &address),
    })
}

/// `text` with addresses in place of paths of the cache, in a process that uses a store.
pub fn readable(text: &str) -> Cow<'_, str> {
    let mut text = Cow::Borrowed(text);
    for store in store::connected() {
        text = store.readable(&text).into();
    }
    text
}

/// `bytes` of a record with addresses in place of paths of the cache: they mean the same on every machine.
pub(crate) fn portable<'a>(path: &Path, bytes: &'a [u8]) -> Cow<'a, [u8]> {
    let is_record = path.extension().is_some_and(|suffix| suffix == "json" || suffix == "toml");
    match std::str::from_utf8(bytes) {
        Ok(text) if is_record && !store::connected().is_empty() => match readable(text) {
            Cow::Borrowed(_) => Cow::Borrowed(bytes),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        },
        _ => Cow::Borrowed(bytes),
    }
}

/// What the file or folder in `path` is a copy of; `None` for a path of this machine.
pub fn address_of(path: &Path) -> Option<Address> {
    store::connected().iter().find_map(|store| store.address_of(path))
}

/// Sends a file that was changed in a copy to its store. Nothing is done for files of this machine, and for stores that are only read.
///
/// # Errors
/// As [`Mirror::upload`].
pub fn publish(path: &Path) -> Result<()> {
    for store in store::connected().iter().filter(|store| store.is_written()) {
        if let Some(address) = store.address_of(path) {
            store.publish(path, address)?;
        }
    }
    Ok(())
}

/// Opens the folder that `dir` means, where that is one of a store: its address itself, or the path of a copy that is not there yet and
/// whose bucket this process was told to use. The folder to work with.
///
/// # Errors
/// A bucket that only a record names: nothing is asked of a store that nobody named. As [`Store::open`].
pub fn at(dir: &Path) -> Result<Cow<'_, Path>> {
    if let Some(text) = dir.to_str().filter(|text| Address::is_meant(text)) {
        let address = Address::parse(text)?;
        let mirror = Store::of(&address)?.open(&address, &|_, _| false)?;
        return Ok(Cow::Owned(mirror.path));
    }
    if dir.exists() {
        return Ok(Cow::Borrowed(dir));
    }
    for store in store::connected() {
        let Some(address) = store.address_of(dir) else { continue };
        let told_of = {
            let opened = store.opened.lock().unwrap_or_else(PoisonError::into_inner);
            if opened.iter().any(|open| dir.starts_with(store.path_of(open))) {
                return Ok(Cow::Borrowed(dir));
            }
            opened.iter().any(|open| open.bucket == address.bucket)
        };
        if !told_of {
            let problem = "only a record names this address, so it was not opened";
            return Err(Error::bucket(
                &address.to_string(),
                problem,
                Some(&format!("give it: --data {address}")),
            ));
        }
        store.open(&address, &|_, _| false)?;
    }
    Ok(Cow::Borrowed(dir))
}

//! What folders are called: a copy of something in a store by its address, everything else by its path.

use std::path::{Path, PathBuf};

use storage::bucket::{self, Address};

/// The path as people know it.
pub fn path(path: &Path) -> String {
    text(&path.display().to_string())
}

/// `text` with addresses in place of the paths of copies.
pub fn text(text: &str) -> String {
    bucket::readable(text).into_owned()
}

/// Whether it is the address of something in a store.
pub fn is_address(name: &Path) -> bool {
    name.to_str().is_some_and(Address::is_meant)
}

/// A folder's name as it is remembered: an address without its last slash, a path that does not depend on where the program was
/// started.
pub fn whole(name: &Path) -> PathBuf {
    match name.to_str().filter(|text| Address::is_meant(text)) {
        // What cannot be read is opened as it is, which tells why.
        Some(text) => {
            Address::parse(text).map_or_else(|_| name.to_owned(), |address| address.to_string().into())
        }
        None => std::path::absolute(name).unwrap_or_else(|_| name.to_owned()),
    }
}

/// Where what a person writes about the copy in `path` goes, in words; `None` for a folder of this machine.
pub fn written_to(path: &Path) -> Option<String> {
    let address = bucket::address_of(path)?;
    Some(match address.scheme.is_written() {
        true => format!("Kept on this machine and uploaded to {address}"),
        false => format!("Kept on this machine only: {address} is only read"),
    })
}

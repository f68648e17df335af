//! Some files of a repository, chosen by whoever knows what they are for.

use std::path::PathBuf;

use super::Hub;
use crate::{Error, Progress, Result};

/// A file of a repository, as the hub lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    /// Its path inside the repository, e.g. `layer_3/params.npz`.
    pub path: String,
    /// Its size in bytes, if the hub says it.
    pub size: Option<u64>,
}

impl Hub {
    /// Fetches those files of a repository that `choose` names among all that it has, in that order, and nothing else; the folder
    /// of the commit in Hugging Face's cache. What is there already is not fetched again.
    ///
    /// # Errors
    /// As [`Hub::fetch`]; what `choose` refuses; a name that is not listed or leads out of the folder.
    pub fn fetch_files(
        &self,
        name: &str,
        revision: Option<&str>,
        choose: &dyn Fn(&[HubFile]) -> Result<Vec<String>>,
        progress: &mut dyn Progress,
    ) -> Result<PathBuf> {
        self.bring(name, revision, progress, |fetcher, listing, progress| {
            let all: Vec<HubFile> =
                listing.files.iter().map(|f| HubFile { path: f.file.clone(), size: f.size }).collect();
            let chosen = choose(&all)?;
            let files = chosen.iter().map(|path| {
                let found = listing.find(path).filter(|_| stays_inside(path));
                found.ok_or_else(|| Error::network(format!("{name} has no file `{path}` that can be kept")))
            });
            fetcher.all(&files.collect::<Result<Vec<_>>>()?, progress)
        })
    }
}

/// Whether a path of a repository stays in its folder on any system.
fn stays_inside(path: &str) -> bool {
    let good =
        |part: &str| !part.is_empty() && part != "." && part != ".." && !part.contains(['\\', ':', '\0']);
    path.split('/').all(good)
}

/// A path as a part of an address.
pub(super) fn encoded(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' => {
                text.push(byte as char);
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

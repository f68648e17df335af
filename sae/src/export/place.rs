//! Where an export goes: made next to its place, moved there when it is whole, and never over what is not an export.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::partial::Partial;
use crate::{Error, Result};

/// The file by which an export is known.
pub(super) const RECORD: &str = "export.json";
/// `format` of the record.
pub(super) const FORMAT: &str = "sae-workbench export";
/// The lock of a folder in the making.
const LOCK: &str = ".lock";
/// What a single file that was exported has in its first lines.
pub(super) const MARK: &str = "sae-workbench export";

/// The record of an export: what it was made of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Provenance {
    pub format: String,
    pub version: u64,
    pub to: String,
    /// The run's folder.
    pub run: PathBuf,
    pub model: Option<String>,
    pub hook: Option<String>,
    /// SHA-256 of the weights that were exported.
    pub dictionary_sha256: String,
    /// The program that made it.
    pub by: String,
    /// Its files, ascending: a later export replaces these and no others.
    pub files: Vec<String>,
}

/// A folder in the making. Dropped before it is published, it is removed.
#[derive(Debug)]
pub(super) struct Place {
    out: PathBuf,
    partial: Partial,
}

impl Place {
    /// Begins a folder for `out`. What an interrupted attempt left is removed.
    pub(super) fn begin(out: &Path) -> Result<Self> {
        let out = plain(out)?;
        may_be_replaced(&out)?;
        let partial = Partial::begin_as(&out, hidden(&out, "partial"), hidden(&out, "old"))?;
        Ok(Self { out, partial })
    }

    /// The folder to write into.
    pub(super) fn folder(&self) -> &Path {
        self.partial.folder()
    }

    /// Puts the folder in its place; the number of its files and their size.
    pub(super) fn publish(self, mut record: Provenance) -> Result<(u64, u64)> {
        record.files = files(self.folder())?;
        storage::atomic::write_json(&self.folder().join(RECORD), &record)?;
        let size = size(self.folder())?;
        // Again: an export takes minutes, and somebody may have put a file there meanwhile.
        may_be_replaced(&self.out)?;
        self.partial.publish()?;
        Ok(size)
    }
}

/// A single file, whole or absent.
#[derive(Debug)]
pub(super) struct PlacedFile(PathBuf);

impl PlacedFile {
    /// Refuses a path that holds something that is not an export.
    pub(super) fn begin(out: &Path) -> Result<Self> {
        if !out.exists() {
            if let Some(parent) = out.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                fs::create_dir_all(parent).map_err(|e| Error::io(parent, e))?;
            }
            return Ok(Self(out.to_owned()));
        }
        let ours = out.is_file() && {
            let mut head = Vec::new();
            let file = fs::File::open(out).map_err(|e| Error::io(out, e))?;
            file.take(400).read_to_end(&mut head).map_err(|e| Error::io(out, e))?;
            String::from_utf8_lossy(&head).contains(MARK)
        };
        if ours { Ok(Self(out.to_owned())) } else { Err(foreign(out)) }
    }

    /// Writes it.
    pub(super) fn write(self, content: &[u8]) -> Result<()> {
        Ok(storage::atomic::write(&self.0, content)?)
    }
}

/// `out` without a slash at its end, so that names can be put next to it.
fn plain(out: &Path) -> Result<PathBuf> {
    let out: PathBuf = out.components().collect();
    if out.file_name().is_none() {
        return Err(Error::request(format!("`{}` is not the name of a new folder", out.display()))
            .with_remedy("give the path of a folder to make"));
    }
    Ok(out)
}

fn may_be_replaced(out: &Path) -> Result<()> {
    if !out.exists() {
        return Ok(());
    }
    if !out.is_dir() {
        return Err(foreign(out));
    }
    let empty = fs::read_dir(out).map_err(|e| Error::io(out, e))?.next().is_none();
    if empty {
        return Ok(());
    }
    let text = fs::read(out.join(RECORD)).unwrap_or_default();
    let Ok(record) = serde_json::from_slice::<Provenance>(&text) else { return Err(foreign(out)) };
    if record.format != FORMAT {
        return Err(foreign(out));
    }
    let known = |file: &String| record.files.contains(file) || file == RECORD;
    let added: Vec<String> = files(out)?.into_iter().filter(|file| !known(file)).collect();
    match &added[..] {
        [] => Ok(()),
        [first, ..] => Err(Error::request(format!(
            "{} has {} that the export did not make, such as {first}, and would be removed as a whole",
            out.display(),
            if added.len() == 1 { "a file".to_owned() } else { format!("{} files", added.len()) }
        ))
        .with_remedy("move what you added elsewhere, or choose a new path")),
    }
}

/// The files of a folder but its lock, by their paths inside it with `/`, ascending. A link is a file, whatever it leads to.
fn files(folder: &Path) -> Result<Vec<String>> {
    fn walk(folder: &Path, inside: &str, found: &mut Vec<String>) -> Result<()> {
        for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
            let entry = entry.map_err(|e| Error::io(folder, e))?;
            let name = format!("{inside}{}", entry.file_name().to_string_lossy());
            let kind = entry.file_type().map_err(|e| Error::io(entry.path(), e))?;
            match kind.is_dir() {
                true => walk(&entry.path(), &format!("{name}/"), found)?,
                false => found.push(name),
            }
        }
        Ok(())
    }
    let mut found = Vec::new();
    walk(folder, "", &mut found)?;
    found.retain(|name| name != LOCK);
    found.sort();
    Ok(found)
}

fn foreign(out: &Path) -> Error {
    Error::request(format!("{} exists and is not an export of this program", out.display()))
        .with_remedy("choose a new path, or remove it yourself")
}

/// A hidden name next to `out`, which no person would choose.
fn hidden(out: &Path, what: &str) -> PathBuf {
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    out.with_file_name(format!(".{name}.sae-export-{what}"))
}

fn size(folder: &Path) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0);
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, e))? {
        let entry = entry.map_err(|e| Error::io(folder, e))?;
        let metadata = entry.metadata().map_err(|e| Error::io(entry.path(), e))?;
        if entry.file_name() == LOCK {
            continue;
        }
        if metadata.is_dir() {
            let (n, size) = size(&entry.path())?;
            (files, bytes) = (files + n, bytes + size);
        } else {
            (files, bytes) = (files + 1, bytes + metadata.len());
        }
    }
    Ok((files, bytes))
}

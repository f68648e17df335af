//! Pointers of Git LFS: what a clone without `git-lfs` has in place of large files.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::{Error, Result};

const BEGIN: &[u8] = b"version https://git-lfs.github.com/spec/";

/// Refuses a file that begins with `begin` if it is a pointer: its content was not downloaded.
///
/// # Errors
/// [`Error::Format`] with the command that brings the content.
pub fn refuse(path: &Path, begin: &[u8]) -> Result<()> {
    if !begin.starts_with(BEGIN) {
        return Ok(());
    }
    Err(Error::format(
        path,
        "is a pointer of Git LFS, not the file itself: the repository was cloned without it",
    )
    .with_remedy("run `git lfs pull` in the repository, or download the file"))
}

/// The same of a file that is not open yet; one that cannot be opened is left to whoever reads it.
///
/// # Errors
/// As [`refuse`].
pub fn refuse_file(path: &Path) -> Result<()> {
    let mut begin = Vec::new();
    let read = File::open(path).and_then(|file| file.take(BEGIN.len() as u64).read_to_end(&mut begin));
    if read.is_ok() { refuse(path, &begin) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_are_refused_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n";
        std::fs::write(&path, pointer).unwrap();
        let error = refuse_file(&path).unwrap_err();
        assert!(
            error.to_string().contains("model.safetensors")
                && error.remedy().unwrap().contains("git lfs pull")
        );
        for other in ["", "version", "version https://example.org"] {
            std::fs::write(&path, other).unwrap();
            refuse_file(&path).unwrap();
        }
        refuse_file(&folder.path().join("nowhere")).unwrap();
    }
}

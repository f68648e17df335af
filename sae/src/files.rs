//! What a file is told by.

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use crate::{Error, Result};
use lm::model::hexadecimal;

/// SHA-256 of `files`, one after the other.
///
/// # Errors
/// A file that cannot be read.
pub fn files_sha256(files: &[PathBuf]) -> Result<String> {
    let mut hash = Sha256::new();
    for path in files {
        storage::bucket::fill(path)?;
        let mut file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        std::io::copy(&mut file, &mut hash).map_err(|e| Error::io(path, e))?;
    }
    Ok(hexadecimal(&hash.finalize()))
}

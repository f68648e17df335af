//! Checksums of a whole dataset.

use std::fs::File;
use std::io::Read as _;

use sha2::{Digest as _, Sha256};

use super::{Dataset, check_length};
use crate::error::{Error, Result};
use crate::part::hexadecimal;

const CHUNK: usize = 1 << 20;

impl Dataset {
    /// Reads every part and compares its SHA-256 with the manifest's. `progress` gets bytes done and bytes in all.
    ///
    /// # Errors
    /// A part that is missing or cannot be read; [`Error::Damaged`] for one with a different length or SHA-256.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let total = self.manifest().bytes();
        let mut done = 0;
        let mut buffer = vec![0; CHUNK];
        for part in self.manifest().tables.values().flat_map(|table| &table.parts) {
            check_length(self.dir(), part)?;
            let path = self.dir().join(&part.file);
            crate::bucket::fill(&path)?;
            let mut file = File::open(&path).map_err(Error::io(&path))?;
            let mut hash = Sha256::new();
            loop {
                let read = file.read(&mut buffer).map_err(Error::io(&path))?;
                if read == 0 {
                    break;
                }
                hash.update(&buffer[..read]);
                done += read as u64;
                progress(done, total);
            }
            let found = hexadecimal(&hash.finalize());
            if found != part.sha256 {
                return Err(Error::Damaged {
                    path,
                    part: part.file.clone(),
                    expected: format!("SHA-256 {}", part.sha256),
                    found: format!("SHA-256 {found}"),
                });
            }
        }
        Ok(())
    }
}

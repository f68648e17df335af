//! What tells one model from another: a hash of every file that its numbers and tokens depend on.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::folder::ModelFiles;
use super::weights::gguf;
use crate::{Error, Result};

/// Files next to the weights that make tokens of text. Only those that are there count.
const TOKENIZER: [&str; 4] = ["tokenizer.json", "vocab.json", "merges.txt", "added_tokens.json"];

/// Files that decide which tokens begin a context and how a chat becomes text. Only those that are there
/// count.
const SETTINGS: [&str; 2] = ["tokenizer_config.json", "chat_template.jinja"];

/// SHA-256 values, in hexadecimal, of what a model consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint {
    /// Of every file that numbers and tokens depend on.
    pub whole: String,
    /// The same without [`SETTINGS`]: what datasets have that were made before those files counted. It
    /// equals `whole` where there are no such files.
    pub without_settings: String,
}

/// Hashes configuration, tokenizer, weights and settings, each with its name and length before it: weights
/// alone do not tell two models apart that differ in their rotary embedding, their vocabulary or the token
/// that begins their contexts. Of a GGUF model, all its files.
///
/// # Errors
/// A file that cannot be read.
pub(super) fn fingerprint(files: &ModelFiles) -> Result<Fingerprint> {
    let mut hash = Hash(Sha256::new());
    match files {
        ModelFiles::Embedded => {
            hash.bytes("config.json", crate::embedded::CONFIG);
            hash.bytes("tokenizer.json", crate::embedded::TOKENIZER);
            hash.bytes("model.safetensors", crate::embedded::WEIGHTS);
        }
        ModelFiles::Folder(folder, weights) => {
            hash.file(&folder.join("config.json"))?;
            let has_json = folder.join(TOKENIZER[0]).is_file();
            let read = if has_json { &TOKENIZER[..1] } else { &TOKENIZER[1..] };
            for path in read.iter().map(|name| folder.join(name)).filter(|path| path.is_file()) {
                hash.file(&path)?;
            }
            weights.iter().try_for_each(|path| hash.file(path))?;
        }
        ModelFiles::Gguf(first) => gguf::parts(first)?.iter().try_for_each(|path| hash.file(path))?,
    }
    let without_settings = hexadecimal(&hash.0.clone().finalize());
    if let ModelFiles::Folder(folder, _) = files {
        let settings = SETTINGS.iter().map(|name| folder.join(name)).filter(|path| path.is_file());
        settings.into_iter().try_for_each(|path| hash.file(&path))?;
    }
    Ok(Fingerprint { whole: hexadecimal(&hash.0.finalize()), without_settings })
}

/// Bytes in hexadecimal, two digits each.
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

struct Hash(Sha256);

impl Hash {
    fn begin(&mut self, name: &str, bytes: u64) {
        self.0.update(name.as_bytes());
        self.0.update([0]);
        self.0.update(bytes.to_le_bytes());
    }

    fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.begin(name, bytes.len() as u64);
        self.0.update(bytes);
    }

    /// A file is not held in memory.
    fn file(&mut self, path: &Path) -> Result<()> {
        let failed = |e| Error::io(path, e);
        let mut file = std::fs::File::open(path).map_err(failed)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        self.begin(&name, file.metadata().map_err(failed)?.len());
        std::io::copy(&mut file, &mut self.0).map(drop).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_matters_counts() {
        let folder = tempfile::tempdir().unwrap();
        let weights = folder.path().join("model.safetensors");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            write(name, name);
        }
        let found = || {
            let files = ModelFiles::Folder(folder.path().to_path_buf(), vec![weights.clone()]);
            fingerprint(&files).unwrap()
        };
        let before = found();
        assert_eq!(before, found());
        assert_eq!(before.whole, before.without_settings);
        write("README.md", "x");
        write("merges.txt", "not read next to tokenizer.json");
        assert_eq!(before, found());
        for name in ["config.json", "tokenizer.json", "model.safetensors"] {
            write(name, "different");
            assert_ne!(before, found(), "{name}");
            write(name, name);
        }
        for name in SETTINGS {
            write(name, "{}");
            let with = found();
            write(name, r#"{"add_bos_token": true}"#);
            assert_ne!(with.whole, found().whole, "{name}");
            assert_ne!(before.whole, found().whole, "{name}");
            assert_eq!(before.without_settings, found().without_settings, "{name}");
            std::fs::remove_file(folder.path().join(name)).unwrap();
        }
        // Bytes that move from one file to the next make a different model.
        write("config.json", "config.jsont");
        write("tokenizer.json", "okenizer.json");
        assert_ne!(before, found());
    }
}

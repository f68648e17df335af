//! Models in one GGUF file, as llama.cpp keeps them: weights, shape and tokenizer.
//!
//! | file | subject |
//! |---|---|
//! | `header` | the file's structure, checked |
//! | `metadata` | typed access to its keys |
//! | `dequantise` | blocks of quantised numbers → f32 |
//! | `families` | which architectures, and what their tensors are called in Hugging Face's files |
//! | `names` | tensors by Hugging Face name: rearranged, cut into experts, put together |
//! | `config` | metadata → `config.json` |
//! | `tokenizer` | metadata → a tokenizer |
//!
//! Format: <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>.

mod config;
mod dequantise;
mod families;
mod header;
mod metadata;
mod names;
mod pretokeniser;
mod tokenizer;

use std::path::Path;

use self::header::Header;
use super::{Bytes, Weights};
use crate::Result;

/// A GGUF file whose header was read and checked.
#[derive(Debug)]
pub struct Gguf {
    bytes: Bytes,
    header: Header,
}

impl Gguf {
    /// Opens `path` and reads its header.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) if the file is no whole GGUF file of version 2 or 3.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(Bytes::open(path)?)
    }

    /// From the bytes of a file; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self> {
        Self::new(Bytes::memory(bytes, path))
    }

    fn new(bytes: Bytes) -> Result<Self> {
        let header = header::read(&bytes)?;
        Ok(Self { bytes, header })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        self.bytes.path()
    }

    /// What Hugging Face's `config.json` of this model would say, as far as a decoder needs it.
    ///
    /// # Errors
    /// An architecture this program does not know; metadata that is missing or of the wrong type.
    pub fn config(&self) -> Result<serde_json::Value> {
        config::build(self)
    }

    /// The tokenizer, rebuilt from the metadata.
    ///
    /// # Errors
    /// A kind of tokenizer or pre-tokeniser this program does not know; metadata that contradicts itself.
    pub fn tokenizer(&self) -> Result<tokenizers::Tokenizer> {
        tokenizer::build(self)
    }

    /// The tensors under Hugging Face's names; nothing is read yet.
    ///
    /// # Errors
    /// An architecture or a tensor this program does not know.
    pub fn into_weights(self) -> Result<Weights> {
        let tensors = names::entries(&self)?;
        Ok(Weights { path: self.bytes.path().to_path_buf(), files: vec![self.bytes], tensors })
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

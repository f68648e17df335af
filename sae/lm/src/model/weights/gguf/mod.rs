//! Models in GGUF files, as llama.cpp keeps them: weights, shape and tokenizer in one file or several.
//!
//! | file | subject |
//! |---|---|
//! | `parts` | the files of a model |
//! | `header` | a file's structure, checked |
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
mod parts;
mod pretokeniser;
mod tokenizer;

use std::path::Path;
use std::sync::Arc;

pub(in crate::model) use parts::{Part, parts};

use self::header::Header;
use super::{Bytes, Weights};
use crate::Result;

/// A model in GGUF files whose headers were read and checked.
#[derive(Debug)]
pub struct Gguf {
    /// In order; of most models one.
    files: Vec<Bytes>,
    /// Of the first file, with the tensors of all.
    header: Header,
}

impl Gguf {
    /// Opens the model that `path` is a part of and reads its headers.
    ///
    /// # Errors
    /// [`Error::Format`](crate::Error::Format) if a file is not a whole GGUF file of version 2 or 3, or the
    /// files do not belong together; [`Error::Request`](crate::Error::Request) if one is missing.
    pub fn open(path: &Path) -> Result<Self> {
        Self::new(parts(path)?.iter().map(|file| Bytes::open(file)).collect::<Result<_>>()?)
    }

    /// From the bytes of a file; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`Gguf::open`].
    pub fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self> {
        Self::new(vec![Bytes::memory(bytes, path)])
    }

    fn new(files: Vec<Bytes>) -> Result<Self> {
        let mut headers = Vec::new();
        for (number, bytes) in files.iter().enumerate() {
            headers.push(header::read(bytes, number)?);
        }
        let header = header::join(headers, &files)?;
        Ok(Self { files, header })
    }

    /// The file, or the first of them.
    pub fn path(&self) -> &Path {
        self.files[0].path()
    }

    /// Hugging Face's `config.json` of this model, as far as a decoder needs it.
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
        Ok(Weights {
            path: self.path().to_path_buf(),
            files: self.files.into_iter().map(Arc::new).collect(),
            tensors,
        })
    }
}

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod tests;

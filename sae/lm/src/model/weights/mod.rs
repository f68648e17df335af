//! Named weight tensors, read from their files and checked as they are taken.
//!
//! ```text
//! tensors in memory ────────────────────┐
//! *.safetensors ─ header, conversion ───┼─ Weights ── take(name, shape) ──▶ f32 tensor, checked
//! *.gguf ──────── header, names, blocks ┘
//! ```
//!
//! Opening reads and checks headers only. A tensor is read and turned into f32 when it is taken, piece by
//! piece, so a model is in memory once: a file is never held whole next to the tensors made of it.

mod bytes;
mod change;
pub mod encoding;
pub mod gguf;
mod mxfp4;
mod rows;
pub mod safetensors;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;

use crate::{Error, Result};
pub use bytes::Bytes;
use change::Change;
pub use encoding::Encoding;
pub(super) use rows::Rows;

/// The tensors of a checkpoint, as f32 on the CPU.
#[derive(Debug)]
pub struct Weights {
    path: PathBuf,
    files: Vec<Arc<Bytes>>,
    tensors: BTreeMap<String, Entry>,
}

/// A tensor's shape and where it is; `None` once it is taken.
#[derive(Debug)]
struct Entry {
    shape: Vec<usize>,
    stored: Option<Stored>,
}

#[derive(Debug)]
enum Stored {
    Tensor(Tensor),
    /// Numbers one after another, then what has to be done to them.
    Pieces(Vec<Piece>, Change),
    /// In two parts, of which there are entries too until they are joined.
    Packed(mxfp4::Packed),
    /// There, but no floating-point numbers; the type's name and where it is.
    Other(String, mxfp4::Place),
}

/// A run of numbers in a file.
#[derive(Debug, Clone)]
struct Piece {
    /// Index of the file.
    file: usize,
    /// First byte in the file.
    at: u64,
    /// How many numbers; a multiple of the encoding's block.
    numbers: usize,
    encoding: &'static Encoding,
}

impl Weights {
    /// From tensors in memory; `path` is what errors call them.
    pub fn new(tensors: HashMap<String, Tensor>, path: impl Into<PathBuf>) -> Self {
        let entry = |(name, tensor): (String, Tensor)| {
            (name, Entry { shape: tensor.dims().to_vec(), stored: Some(Stored::Tensor(tensor)) })
        };
        Self { path: path.into(), files: Vec::new(), tensors: tensors.into_iter().map(entry).collect() }
    }

    /// From the bytes of a safetensors file.
    ///
    /// # Errors
    /// As [`Weights::open_safetensors`].
    pub fn from_safetensors(bytes: &[u8], path: &Path) -> Result<Self> {
        Self::from_bytes(Bytes::memory(bytes.to_vec(), path))
    }

    /// From the bytes of a safetensors file inside the program, which are not copied.
    pub(super) fn embedded(bytes: &'static [u8], path: &Path) -> Result<Self> {
        Self::from_bytes(Bytes::memory(bytes, path))
    }

    fn from_bytes(bytes: Bytes) -> Result<Self> {
        let mut weights = Self::empty(bytes.path());
        weights.add_safetensors(bytes)?;
        weights.join_parts()?;
        Ok(weights)
    }

    /// One `.safetensors` file.
    ///
    /// # Errors
    /// A file that cannot be read, or whose header does not describe it exactly.
    pub fn open_safetensors(path: &Path) -> Result<Self> {
        Self::from_bytes(Bytes::open(path)?)
    }

    /// Several `.safetensors` files that make one model; `path`, the folder or index, is what errors call it.
    ///
    /// # Errors
    /// As [`Weights::open_safetensors`], and a name that two files have.
    pub fn open_shards(files: &[PathBuf], path: &Path) -> Result<Self> {
        let mut weights = Self::empty(path);
        for file in files {
            weights.add_safetensors(Bytes::open(file)?)?;
        }
        weights.join_parts()?;
        Ok(weights)
    }

    fn empty(path: &Path) -> Self {
        Self { path: path.to_path_buf(), files: Vec::new(), tensors: BTreeMap::new() }
    }

    fn add_safetensors(&mut self, bytes: Bytes) -> Result<()> {
        let file = self.files.len();
        for found in safetensors::read_header(&bytes)? {
            let stored = match found.encoding {
                Ok(encoding) => {
                    let numbers = found.shape.iter().product();
                    Stored::Pieces(vec![Piece { file, at: found.at, numbers, encoding }], Change::None)
                }
                Err(dtype) => Stored::Other(dtype, mxfp4::Place { file, at: found.at }),
            };
            let entry = Entry { shape: found.shape, stored: Some(stored) };
            if self.tensors.insert(found.name.clone(), entry).is_some() {
                let problem = format!("tensor `{}` is in another file of this model too", found.name);
                return Err(Error::format(bytes.path(), problem));
            }
        }
        self.files.push(Arc::new(bytes));
        Ok(())
    }

    /// Makes one entry of the two parts of every MXFP4 tensor, which may be in different files.
    fn join_parts(&mut self) -> Result<()> {
        let bases = self.tensors.keys().filter_map(|name| name.strip_suffix(mxfp4::PARTS[0]));
        let bases: Vec<String> = bases.map(str::to_owned).collect();
        for base in bases {
            let [blocks, scales] = mxfp4::PARTS.map(|part| format!("{base}{part}"));
            let part = |name: &str| match self.tensors.get(name) {
                Some(Entry { shape, stored: Some(Stored::Other(dtype, place)) }) if dtype == "U8" => {
                    Some((*place, shape.as_slice()))
                }
                _ => None,
            };
            // Names may end so for other reasons.
            let (Some(first), Some(second)) = (part(&blocks), part(&scales)) else { continue };
            let packed = mxfp4::Packed::new(first, second)
                .map_err(|e| self.problem(format!("tensor `{base}`: {e}")))?;
            let entry = Entry { shape: packed.shape(), stored: Some(Stored::Packed(packed)) };
            self.tensors.remove(&blocks);
            self.tensors.remove(&scales);
            if self.tensors.insert(base.clone(), entry).is_some() {
                return Err(self.problem(format!("tensor `{base}` is there twice: as it is and in MXFP4")));
            }
        }
        Ok(())
    }

    /// What errors call it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tensor `name` as f32; its shape must be `shape` and its numbers finite.
    ///
    /// # Errors
    /// [`Error::Format`] naming the tensor: it is not there, was taken already, or has a different shape or
    /// type, NaN or infinite numbers; [`Error::Io`].
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let entry = self.tensors.get_mut(name).filter(|entry| entry.stored.is_some());
        let Some(entry) = entry else {
            return Err(self.problem(format!("has no tensor `{name}` of shape {shape:?}")));
        };
        if entry.shape != shape {
            let found = &entry.shape;
            let problem = format!("tensor `{name}` has shape {found:?}; config.json asks for {shape:?}");
            return Err(self.problem(problem));
        }
        match entry.stored.take() {
            Some(Stored::Tensor(tensor)) => self.checked(name, &tensor),
            Some(Stored::Pieces(pieces, change)) => {
                let numbers = self.read(name, &pieces)?;
                let numbers = change.apply(numbers, shape);
                Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
            }
            Some(Stored::Packed(packed)) => {
                let numbers = packed.read(&self.files)?;
                self.check_finite(name, &numbers)?;
                Ok(Tensor::from_vec(numbers, shape, &Device::Cpu)?)
            }
            Some(Stored::Other(dtype, _)) => {
                let problem = format!("tensor `{name}` has type {dtype}; expected F32, F16, BF16 or F64");
                Err(self.problem(problem))
            }
            None => Err(self.problem(format!("tensor `{name}` was taken already"))),
        }
    }

    /// As [`Weights::take`], None if there is no tensor of this name.
    ///
    /// # Errors
    /// As [`Weights::take`], but for a tensor that is not there.
    pub fn take_optional(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        if self.has(name) { self.take(name, shape).map(Some) } else { Ok(None) }
    }

    /// `names` of one shape, stacked along a new first dimension.
    ///
    /// # Errors
    /// As [`Weights::take`].
    pub fn take_stacked(&mut self, names: impl Iterator<Item = String>, shape: &[usize]) -> Result<Tensor> {
        let tensors: Vec<Tensor> = names.map(|name| self.take(&name, shape)).collect::<Result<_>>()?;
        Ok(Tensor::stack(&tensors, 0)?)
    }

    /// True if there is a tensor of this name that was not taken yet.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.get(name).is_some_and(|entry| entry.stored.is_some())
    }

    /// All names in order, taken or not.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, taken or not.
    pub fn shape_of(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|entry| entry.shape.as_slice())
    }

    /// Names of the tensors that nobody took, in order: what is left after a model is built, the model does
    /// not know.
    pub fn unused(&self) -> impl Iterator<Item = &str> {
        self.tensors.iter().filter(|(_, entry)| entry.stored.is_some()).map(|(name, _)| name.as_str())
    }

    fn problem(&self, problem: String) -> Error {
        Error::format(&self.path, problem)
    }

    /// A tensor that is f32 already is passed on as it is: in pretraining it is a variable.
    fn checked(&self, name: &str, tensor: &Tensor) -> Result<Tensor> {
        let tensor =
            if tensor.dtype() == DType::F32 { tensor.clone() } else { tensor.to_dtype(DType::F32)? };
        let sum = tensor.abs()?.sum_all()?.to_scalar::<f32>()?;
        if sum.is_finite() { Ok(tensor) } else { Err(self.not_finite(name)) }
    }

    fn not_finite(&self, name: &str) -> Error {
        self.problem(format!("tensor `{name}` holds NaN or infinite numbers"))
    }

    fn read(&self, name: &str, pieces: &[Piece]) -> Result<Vec<f32>> {
        let mut numbers = vec![0f32; pieces.iter().map(|piece| piece.numbers).sum()];
        let mut rest = numbers.as_mut_slice();
        for piece in pieces {
            let (out, after) = rest.split_at_mut(piece.numbers);
            piece.encoding.read(&self.files[piece.file], piece.at, out)?;
            rest = after;
        }
        self.check_finite(name, &numbers)?;
        Ok(numbers)
    }

    fn check_finite(&self, name: &str, numbers: &[f32]) -> Result<()> {
        let finite = numbers.par_chunks(1 << 16).all(|chunk| chunk.iter().all(|x| x.is_finite()));
        if finite { Ok(()) } else { Err(self.not_finite(name)) }
    }
}

#[cfg(test)]
mod tests;

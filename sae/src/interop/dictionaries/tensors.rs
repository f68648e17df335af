//! The tensors of a file, whatever its kind, with the shapes that a format expects of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Reading;
use crate::dictionary::weights::{Weights, transposed};
use crate::{Error, Result};

/// Numbers in rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Tensor {
    pub shape: Vec<usize>,
    pub numbers: Vec<f32>,
}

/// Tensors by name.
pub(super) struct Tensors {
    path: PathBuf,
    held: Held,
}

enum Held {
    /// A safetensors file; numbers are made when they are asked for.
    File(Weights),
    Loaded(BTreeMap<String, Tensor>),
}

impl Tensors {
    /// Reads a safetensors file.
    ///
    /// # Errors
    /// A file that cannot be read or is not safetensors.
    pub fn safetensors(path: &Path) -> Result<Self> {
        Ok(Self { path: path.to_path_buf(), held: Held::File(Weights::read(path)?) })
    }

    /// Tensors that were read from `path`.
    pub fn loaded(path: &Path, tensors: BTreeMap<String, Tensor>) -> Self {
        Self { path: path.to_path_buf(), held: Held::Loaded(tensors) }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All names, ascending.
    pub fn names(&self) -> Vec<String> {
        match &self.held {
            Held::File(weights) => weights.names(),
            Held::Loaded(tensors) => tensors.keys().cloned().collect(),
        }
    }

    /// The shape of `name`, if there is such a tensor.
    pub fn shape(&self, name: &str) -> Option<Vec<usize>> {
        match &self.held {
            Held::File(weights) => weights.shape(name),
            Held::Loaded(tensors) => tensors.get(name).map(|tensor| tensor.shape.clone()),
        }
    }

    /// Whether there is a tensor `name`.
    pub fn has(&self, name: &str) -> bool {
        self.shape(name).is_some()
    }

    /// The first of `names` that is there.
    pub fn first<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.has(name))
    }

    /// Tensor `name`, which is taken out; all its numbers must be finite.
    ///
    /// # Errors
    /// No such tensor, and which there are; a number that is not finite, with its index.
    pub fn take(&mut self, name: &str) -> Result<Tensor> {
        let missing = |names: Vec<String>| {
            Error::format(&self.path, format!("has no tensor `{name}`; it has {}", names.join(", ")))
                .with_remedy("the file is of a different kind, or incomplete: download or copy it again")
        };
        match &mut self.held {
            Held::File(weights) => {
                let Some(shape) = weights.shape(name) else { return Err(missing(weights.names())) };
                Ok(Tensor { numbers: weights.tensor(name, &shape)?, shape })
            }
            Held::Loaded(tensors) => {
                let names = tensors.keys().cloned().collect();
                let tensor = tensors.remove(name).ok_or_else(|| missing(names))?;
                match tensor.numbers.iter().position(|v| !v.is_finite()) {
                    None => Ok(tensor),
                    Some(i) => Err(Error::format(
                        &self.path,
                        format!(
                            "tensor `{name}` holds {} at index {i}; all must be finite",
                            tensor.numbers[i]
                        ),
                    )
                    .with_remedy("download or copy the file again")),
                }
            }
        }
    }

    /// A tensor of exactly `shape`.
    ///
    /// # Errors
    /// As [`Tensors::take`], and a different shape.
    pub fn shaped(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let tensor = self.take(name)?;
        match tensor.shape == shape {
            true => Ok(tensor.numbers),
            false => Err(self.wrong(name, &tensor.shape, &format!("{shape:?}"))),
        }
    }

    /// A vector, `[n]` with n ≥ 1.
    ///
    /// # Errors
    /// As [`Tensors::take`], and a different shape.
    pub fn vector(&mut self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.take(name)?;
        match tensor.shape[..] {
            [n] if n > 0 => Ok(tensor.numbers),
            _ => Err(self.wrong(name, &tensor.shape, "one dimension")),
        }
    }

    /// A matrix as `[rows, columns]`. On disk it may lie the other way round, which only its shape says; where both are equal it lies as
    /// the format is `documented`.
    ///
    /// # Errors
    /// As [`Tensors::take`], and a shape that is neither way round.
    pub fn matrix(
        &mut self,
        name: &str,
        [rows, columns]: [usize; 2],
        documented: Lies,
        reading: &mut Reading,
    ) -> Result<Vec<f32>> {
        let tensor = self.take(name)?;
        let (as_here, other) = (tensor.shape == [rows, columns], tensor.shape == [columns, rows]);
        let expected = match documented {
            Lies::AsHere => format!("[{rows}, {columns}]"),
            Lies::Transposed => format!("[{columns}, {rows}]"),
        };
        let lies = match (as_here, other) {
            (true, true) => documented,
            (true, false) => Lies::AsHere,
            (false, true) => Lies::Transposed,
            (false, false) => return Err(self.wrong(name, &tensor.shape, &expected)),
        };
        let how = if lies == Lies::AsHere { "as it is" } else { "transposed" };
        let why = if as_here && other {
            "square: it lies as the format documents".to_owned()
        } else if lies == documented {
            format!("the biases have {rows} and {columns} numbers, and the format is documented so")
        } else {
            format!("the biases have {rows} and {columns} numbers; the format is documented as {expected}")
        };
        reading.decide(format!("orientation of {name}"), format!("{:?} on disk, {how}", tensor.shape), why);
        Ok(match lies {
            Lies::AsHere => tensor.numbers,
            Lies::Transposed => transposed(&tensor.numbers, columns, rows),
        })
    }

    /// The error about a shape.
    pub fn wrong(&self, name: &str, shape: &[usize], expected: &str) -> Error {
        Error::format(&self.path, format!("tensor `{name}` has shape {shape:?}; expected {expected}"))
            .with_remedy("the file is of a different kind, or files of several dictionaries are mixed up")
    }
}

/// How a matrix lies on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lies {
    /// As it is held here: one row per feature.
    AsHere,
    /// One column per feature.
    Transposed,
}

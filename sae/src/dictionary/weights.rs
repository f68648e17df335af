//! Named f32 matrices in a safetensors file: checked on reading, whole or absent after writing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::{Error, Result};

/// A tensor to be written.
pub(crate) struct Named<'a> {
    name: &'a str,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: &'a [u8],
}

impl<'a> Named<'a> {
    /// Numbers of shape `shape`.
    pub(crate) fn f32(name: &'a str, shape: &[usize], numbers: &'a [f32]) -> Self {
        Self { name, dtype: Dtype::F32, shape: shape.to_vec(), bytes: bytemuck::cast_slice(numbers) }
    }

    /// Numbers of shape `shape` that come back to the last bit.
    pub(crate) fn f64(name: &'a str, shape: &[usize], numbers: &'a [f64]) -> Self {
        Self { name, dtype: Dtype::F64, shape: shape.to_vec(), bytes: bytemuck::cast_slice(numbers) }
    }

    /// Counts, `[n]`.
    pub(crate) fn u64(name: &'a str, counts: &'a [u64]) -> Self {
        Self { name, dtype: Dtype::U64, shape: vec![counts.len()], bytes: bytemuck::cast_slice(counts) }
    }
}

/// Writes `tensors` to `path`; after a crash there is the old file or the new one.
pub(crate) fn write(path: &Path, tensors: &[Named<'_>]) -> Result<()> {
    let mut views = BTreeMap::new();
    for Named { name, dtype, shape, bytes } in tensors {
        let view = TensorView::new(*dtype, shape.clone(), bytes)
            .map_err(|e| Error::format(path, format!("tensor `{name}` of shape {shape:?}: {e}")))?;
        views.insert(*name, view);
    }
    let bytes = safetensors::serialize(views, None).map_err(|e| Error::format(path, e.to_string()))?;
    storage::atomic::write(path, &bytes)?;
    Ok(())
}

/// The contents of a safetensors file.
pub(crate) struct Weights {
    path: PathBuf,
    bytes: Vec<u8>,
}

impl Weights {
    /// Reads the whole file.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        lm::pointer::refuse(path, &bytes)?;
        let weights = Self { path: path.to_path_buf(), bytes };
        weights.tensors()?;
        Ok(weights)
    }

    fn tensors(&self) -> Result<SafeTensors<'_>> {
        SafeTensors::deserialize(&self.bytes).map_err(|e| {
            Error::format(&self.path, format!("is not a whole safetensors file ({e})"))
                .with_remedy("copy or train it again")
        })
    }

    /// Tensor `name` as f32. It must have `shape` and be finite.
    pub(crate) fn tensor(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let view = self.view(name, shape)?;
        let numbers = self.numbers(name, &view)?;
        match numbers.iter().position(|v| !v.is_finite()) {
            Some(i) => Err(self
                .problem(format!("tensor `{name}` holds {} at index {i}; all must be finite", numbers[i]))
                .with_remedy("copy or download the file again; a training that diverged has to run again")),
            None => Ok(numbers),
        }
    }

    /// Tensor `name` as f64, to the last bit. It must have `shape` and be finite.
    pub(crate) fn wide(&self, name: &str, shape: &[usize]) -> Result<Vec<f64>> {
        let view = self.view(name, shape)?;
        if view.dtype() != Dtype::F64 {
            return Err(self.problem(format!("tensor `{name}` is {:?}; expected F64", view.dtype())));
        }
        let numbers: Vec<f64> = view.data().as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect();
        match numbers.iter().position(|v| !v.is_finite()) {
            Some(i) => Err(self.problem(format!("tensor `{name}` holds {} at index {i}", numbers[i]))),
            None => Ok(numbers),
        }
    }

    /// Tensor `name` of counts, `[n]`.
    pub(crate) fn counts(&self, name: &str, n: usize) -> Result<Vec<u64>> {
        let view = self.view(name, &[n])?;
        match view.dtype() {
            Dtype::U64 => Ok(view.data().as_chunks().0.iter().map(|&b| u64::from_le_bytes(b)).collect()),
            other => Err(self.problem(format!("tensor `{name}` is {other:?}; expected U64"))),
        }
    }

    /// The names of all tensors, ascending.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .tensors()
            .map(|tensors| tensors.names().into_iter().map(ToString::to_string).collect())
            .unwrap_or_default();
        names.sort();
        names
    }

    /// The shape of tensor `name`, if there is one.
    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        let tensors = self.tensors().ok()?;
        tensors.tensor(name).ok().map(|view| view.shape().to_vec())
    }

    fn view(&self, name: &str, shape: &[usize]) -> Result<TensorView<'_>> {
        let tensors = self.tensors()?;
        let Ok(view) = tensors.tensor(name) else {
            let there = tensors.names().join(", ");
            return Err(self
                .problem(format!("has no tensor `{name}`; it has {there}"))
                .with_remedy(MIXED_UP));
        };
        if view.shape() != shape {
            return Err(self
                .problem(format!("tensor `{name}` has shape {:?}; expected {shape:?}", view.shape()))
                .with_remedy(MIXED_UP));
        }
        Ok(view)
    }

    fn numbers(&self, name: &str, view: &TensorView<'_>) -> Result<Vec<f32>> {
        let bytes = view.data();
        // Tensors lie at any byte offset, so numbers are copied out rather than reinterpreted.
        Ok(match view.dtype() {
            Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
            Dtype::F16 => bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            Dtype::BF16 => bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
            other => {
                return Err(
                    self.problem(format!("tensor `{name}` is {other:?}; expected F32, F16, BF16 or F64"))
                );
            }
        })
    }

    fn problem(&self, problem: String) -> Error {
        Error::format(&self.path, problem)
    }
}

const MIXED_UP: &str =
    "weights and configuration are of different dictionaries, or incomplete: copy or download them again";

/// `[cols, rows]` from `[rows, cols]`, in blocks that stay in cache.
pub(crate) fn transposed(matrix: &[f32], rows: usize, cols: usize) -> Vec<f32> {
    const BLOCK: usize = 32;
    let mut out = vec![0.0; matrix.len()];
    for first_row in (0..rows).step_by(BLOCK) {
        for first_col in (0..cols).step_by(BLOCK) {
            for r in first_row..(first_row + BLOCK).min(rows) {
                for c in first_col..(first_col + BLOCK).min(cols) {
                    out[c * rows + r] = matrix[r * cols + c];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transposing_twice_is_nothing() {
        let matrix: Vec<f32> = (0..70 * 45).map(|i| i as f32).collect();
        let once = transposed(&matrix, 70, 45);
        assert_eq!(once[3 * 70 + 2], matrix[2 * 45 + 3]);
        assert_eq!(transposed(&once, 45, 70), matrix);
    }

    #[test]
    fn other_number_types_are_read_as_f32() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.safetensors");
        let half: Vec<u8> = [1.5_f32, -2.0].iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect();
        let brain: Vec<u8> = [0.5_f32, 4.0].iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect();
        let views = BTreeMap::from([
            ("half", TensorView::new(Dtype::F16, vec![2], &half).unwrap()),
            ("brain", TensorView::new(Dtype::BF16, vec![2], &brain).unwrap()),
        ]);
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        let weights = Weights::read(&path).unwrap();
        assert_eq!(weights.tensor("half", &[2]).unwrap(), [1.5, -2.0]);
        assert_eq!(weights.tensor("brain", &[2]).unwrap(), [0.5, 4.0]);
    }
}

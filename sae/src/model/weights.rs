//! Named weight tensors, checked as they are taken.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};

use crate::{Error, Result};

/// All tensors of a checkpoint, as f32 on the CPU.
#[derive(Debug)]
pub struct Weights {
    tensors: HashMap<String, Tensor>,
    path: PathBuf,
}

impl Weights {
    /// From tensors in memory; `path` is what errors call them.
    pub fn new(tensors: HashMap<String, Tensor>, path: impl Into<PathBuf>) -> Self {
        Self { tensors, path: path.into() }
    }

    /// From the bytes of a safetensors file.
    pub fn from_safetensors(bytes: &[u8], path: &Path) -> Result<Self> {
        let tensors = candle_core::safetensors::load_buffer(bytes, &Device::Cpu)
            .map_err(|e| Error::format(path, format!("is no valid safetensors file: {e}")))?;
        Ok(Self::new(tensors, path))
    }

    /// The tensor `name` as f32; its shape must be `shape` and its numbers finite.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Tensor> {
        let tensor = self
            .tensors
            .remove(name)
            .ok_or_else(|| Error::format(&self.path, format!("has no tensor `{name}` of shape {shape:?}")))?;
        if tensor.dims() != shape {
            let found = tensor.dims();
            let problem = format!("tensor `{name}` has shape {found:?}; config.json asks for {shape:?}");
            return Err(Error::format(&self.path, problem));
        }
        // A tensor that is f32 already is passed on as it is: in pretraining it is a variable.
        let tensor = if tensor.dtype() == DType::F32 { tensor } else { tensor.to_dtype(DType::F32)? };
        let sum = tensor.abs()?.sum_all()?.to_scalar::<f32>()?;
        if !sum.is_finite() {
            return Err(Error::format(&self.path, format!("tensor `{name}` holds NaN or infinite numbers")));
        }
        Ok(tensor)
    }

    /// `names` of one shape, stacked along a new first dimension.
    pub fn take_stacked(&mut self, names: impl Iterator<Item = String>, shape: &[usize]) -> Result<Tensor> {
        let tensors: Vec<Tensor> = names.map(|name| self.take(&name, shape)).collect::<Result<_>>()?;
        Ok(Tensor::stack(&tensors, 0)?)
    }

    /// True if there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }
}

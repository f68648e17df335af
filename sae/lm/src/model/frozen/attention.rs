//! What attention moves from token to token once its pattern is held.

use candle_core::{D, Device, Tensor};

use super::norm::{FrozenNorm, back};
use crate::Result;

/// What attention of a block moves at a text.
#[derive(Debug)]
pub(in crate::model) struct FrozenAttention {
    pub input_norm: Option<FrozenNorm>,
    pub output_norm: Option<FrozenNorm>,
    /// `[kv_heads · d_value, d_model]`.
    pub values: Tensor,
    /// `[d_model, heads · d_value]`.
    pub out: Tensor,
    /// What the branch is multiplied by.
    pub scale: f64,
    /// `[heads, len (key), len (query)]`.
    pub pattern: Tensor,
    pub heads: usize,
    pub kv_heads: usize,
}

impl FrozenAttention {
    /// Numbers of a value.
    pub fn d_value(&self) -> Result<usize> {
        Ok(self.out.dim(1)? / self.heads)
    }

    /// The gradient at the stream that attention reads, `[n, len, d_model]`, of one at the stream it writes to;
    /// without that of the stream itself.
    pub fn back(&self, gradient: &Tensor) -> Result<Tensor> {
        let (n, len, d) = gradient.dims3()?;
        let gradient = back(self.output_norm.as_ref(), &(gradient * self.scale)?)?;
        self.back_from_z(&gradient.reshape((n * len, d))?.matmul(&self.out)?.reshape((n, len, ()))?)
    }

    /// The gradient at the stream that attention reads of one at the heads' outputs, `[n, len, heads · d_value]`.
    pub fn back_from_z(&self, z: &Tensor) -> Result<Tensor> {
        let (n, len, width) = z.dims3()?;
        let d_value = width / self.heads;
        // All targets of a head side by side: the pattern is the same for each of them.
        let by_head = z.reshape((n, len, self.heads, d_value))?.permute((2, 1, 0, 3))?.contiguous()?;
        let values = self.pattern.matmul(&by_head.reshape((self.heads, len, n * d_value))?)?;
        let shared = self.heads / self.kv_heads;
        let values = values.reshape((self.kv_heads, shared, len, n * d_value))?.sum(1)?;
        let values = values.reshape((self.kv_heads, len, n, d_value))?.permute((2, 1, 0, 3))?.contiguous()?;
        let read = values.reshape((n * len, self.kv_heads * d_value))?.matmul(&self.values)?;
        let d = read.dim(D::Minus1)?;
        back(self.input_norm.as_ref(), &read.reshape((n, len, d))?)
    }

    /// The gradient at the heads' outputs of token `query`, `[heads · d_value]`, of one at the stream that attention writes
    /// to there, `[d_model]`.
    pub fn to_z(&self, query: usize, gradient: &[f32]) -> Result<Vec<f32>> {
        let gradient = (Tensor::from_slice(gradient, (1, 1, gradient.len()), &Device::Cpu)? * self.scale)?;
        let gradient = match &self.output_norm {
            Some(norm) => norm.at(query)?.back(&gradient)?,
            None => gradient,
        };
        Ok(gradient.squeeze(0)?.matmul(&self.out)?.flatten_all()?.to_vec1()?)
    }

    /// Where each head looks from token `query`: `[heads, len]`.
    pub fn looks(&self, query: usize) -> Result<Vec<Vec<f32>>> {
        Ok(self.pattern.narrow(2, query, 1)?.squeeze(2)?.to_vec2()?)
    }

    /// The key and value head that a query head reads.
    pub fn group(&self, head: usize) -> usize {
        head * self.kv_heads / self.heads
    }

    /// The gradient at the stream that attention reads at `source`, `[d_model]`, of one at its values there,
    /// `[kv_heads · d_value]`.
    pub fn back_from_values(&self, source: usize, values: Vec<f32>) -> Result<Vec<f32>> {
        let width = values.len();
        let read = Tensor::from_vec(values, (1, width), &Device::Cpu)?.matmul(&self.values)?.unsqueeze(0)?;
        let read = match &self.input_norm {
            Some(norm) => norm.at(source)?.back(&read)?,
            None => read,
        };
        Ok(read.flatten_all()?.to_vec1()?)
    }
}

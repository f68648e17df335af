//! Gradients of one token's reading, head by head: what each head moves to it from each token.

use std::ops::Range;

use candle_core::{Device, Tensor};

use super::{Frozen, FrozenBlock};
use crate::model::Site;
use crate::{Error, Result};

impl Frozen {
    /// Query heads of a layer.
    ///
    /// # Errors
    /// A layer that the model does not have.
    pub fn heads(&self, layer: usize) -> Result<usize> {
        Ok(self.block(layer)?.attention.heads)
    }

    /// The gradient at the heads' outputs of a token, `[heads · d_value]`, of one at the stream that attention of the layer
    /// writes to there, `[d_model]`.
    ///
    /// # Errors
    /// A layer or a token that does not exist, a gradient of a different width.
    pub fn at_heads(&self, layer: usize, token: usize, gradient: &[f32]) -> Result<Vec<f32>> {
        self.block(layer)?.attention.to_z(token, gradient)
    }

    /// What each head of a layer moves to what reads its outputs at a token by `reads [heads · d_value]`, from every token:
    /// `[heads, len]`. Pattern · (reads · value), with the values of the model's `hook_v`.
    ///
    /// # Errors
    /// A layer or a token that does not exist; a model that does not show its values.
    pub fn moved(&self, layer: usize, token: usize, reads: &[f32]) -> Result<Vec<Vec<f32>>> {
        let block = self.block(layer)?;
        let attention = &block.attention;
        let values: Vec<Vec<f32>> = block.seen.at(Site::V)?.squeeze(0)?.to_vec2()?;
        let d_value = attention.d_value()?;
        let mut moved = attention.looks(token)?;
        for (head, sources) in moved.iter_mut().enumerate() {
            let reads = &reads[head * d_value..(head + 1) * d_value];
            let at = attention.group(head) * d_value;
            for (part, value) in sources.iter_mut().zip(&values) {
                *part *= kernels::vector::dot(reads, &value[at..at + d_value]);
            }
        }
        Ok(moved)
    }

    /// The gradient at the stream before a layer at token `source`, `[d_model]`, of what `heads` of the layer move from there
    /// to what reads their outputs at `token` by `reads [heads · d_value]`.
    ///
    /// # Errors
    /// A layer or a token that does not exist.
    pub fn through(
        &self,
        layer: usize,
        (source, token): (usize, usize),
        reads: &[f32],
        heads: Range<usize>,
    ) -> Result<Vec<f32>> {
        let attention = &self.block(layer)?.attention;
        let (d_value, looks) = (attention.d_value()?, attention.looks(token)?);
        let mut values = vec![0.0; attention.kv_heads * d_value];
        for head in heads {
            let weight = looks[head][source];
            let at = attention.group(head) * d_value;
            let reads = &reads[head * d_value..(head + 1) * d_value];
            values[at..at + d_value].iter_mut().zip(reads).for_each(|(value, read)| *value += weight * read);
        }
        attention.back_from_values(source, values)
    }

    /// The gradient at the stream at a token, `[d_model]`, of what reads the MLP's input of a layer there by `reads`. In a
    /// parallel block that is the stream before the block, in others the stream after its attention.
    ///
    /// # Errors
    /// A layer or a token that does not exist.
    pub fn before_mlp_norm(&self, layer: usize, token: usize, reads: &[f32]) -> Result<Vec<f32>> {
        let Some(norm) = &self.block(layer)?.mlp_norm else { return Ok(reads.to_vec()) };
        let reads = Tensor::from_slice(reads, (1, 1, reads.len()), &Device::Cpu)?;
        Ok(norm.at(token)?.back(&reads)?.flatten_all()?.to_vec1()?)
    }

    /// Whether attention and MLP of a layer both read the stream before it.
    ///
    /// # Errors
    /// A layer that the model does not have.
    pub fn is_parallel(&self, layer: usize) -> Result<bool> {
        Ok(self.block(layer)?.parallel)
    }

    pub(super) fn block(&self, layer: usize) -> Result<&FrozenBlock> {
        self.blocks.get(layer).ok_or_else(|| {
            Error::request(format!("there is no layer {layer}: the model has {}", self.blocks.len()))
        })
    }
}

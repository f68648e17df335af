//! A matrix of which a batch reads few rows: they are read from the file when they are asked for.

use std::sync::Arc;

use candle_core::{Device, Tensor};

use super::{Bytes, Encoding, Stored, Weights};
use crate::{Error, Result};

/// A matrix `[rows, width]` that stays where it is stored. Gemma's embeddings of every block are half of the
/// model or more, and a token has one row.
#[derive(Debug)]
pub struct Rows {
    shape: [usize; 2],
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory(Tensor),
    File { bytes: Arc<Bytes>, at: u64, encoding: &'static Encoding },
}

impl Weights {
    /// As [`Weights::take`], for a matrix of which single rows are read. Its numbers are checked when they are.
    ///
    /// # Errors
    /// As [`Weights::take`], but for NaN and infinite numbers.
    pub(in crate::model) fn take_rows(&mut self, name: &str, shape: [usize; 2]) -> Result<Rows> {
        if let Some(entry) = self.tensors.get_mut(name).filter(|entry| entry.shape == shape)
            && let Some(Stored::Pieces(pieces, super::Change::None)) = &entry.stored
            && let [piece] = &pieces[..]
            && shape[1].is_multiple_of(piece.encoding.numbers)
        {
            let bytes = self.files[piece.file].clone();
            let place = Place::File { bytes, at: piece.at, encoding: piece.encoding };
            entry.stored = None;
            return Ok(Rows { shape, place });
        }
        Ok(Rows { shape, place: Place::Memory(self.take(name, &shape)?) })
    }
}

impl Rows {
    /// The rows `ids`, `[ids, width]`.
    ///
    /// # Errors
    /// A number outside the matrix, NaN or infinite numbers; [`Error::Io`].
    pub fn gather(&self, ids: &[u32]) -> Result<Tensor> {
        let [rows, width] = self.shape;
        if let Some(id) = ids.iter().find(|id| **id as usize >= rows) {
            return Err(Error::data(format!("row {id} of a matrix of {rows} rows")));
        }
        match &self.place {
            Place::Memory(all) => {
                Ok(all.index_select(&Tensor::from_slice(ids, ids.len(), &Device::Cpu)?, 0)?)
            }
            Place::File { bytes, at, encoding } => {
                let row = (width / encoding.numbers * encoding.bytes) as u64;
                let mut numbers = vec![0f32; ids.len() * width];
                for (id, out) in ids.iter().zip(numbers.chunks_exact_mut(width)) {
                    encoding.read(bytes, at + u64::from(*id) * row, out)?;
                    if !out.iter().all(|x| x.is_finite()) {
                        let text = format!(
                            "row {id} of a matrix that is read by rows holds NaN or infinite numbers"
                        );
                        return Err(Error::format(bytes.path(), text));
                    }
                }
                Ok(Tensor::from_vec(numbers, (ids.len(), width), &Device::Cpu)?)
            }
        }
    }
}

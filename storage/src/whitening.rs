//! A linear map that was applied to activations, and the way back: `whitening.parquet`.

use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, UInt32Array};
use arrow::datatypes::Float32Type;
use arrow::record_batch::RecordBatch;

use crate::Dtype;
use crate::column::{self, primitive};
use crate::error::{Error, Result};
use crate::schema::{self, MEAN, RESTORE, WHITEN};
use crate::table::{Scan, TableReader};
use crate::vector::{column_from_rows, fixed_size_rows};

/// Activations are `W (x − mean)`; `x = W⁻¹ activation + mean`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Whitening {
    /// `[d]`.
    pub mean: Vec<f32>,
    /// W, `[d, d]` row by row.
    pub whiten: Vec<f32>,
    /// W⁻¹, `[d, d]` row by row.
    pub restore: Vec<f32>,
}

/// As a batch of [`schema::whitening()`], for a [`crate::PartWriter`].
///
/// # Errors
/// Matrices that are not `[d, d]`.
pub fn to_batch(whitening: &Whitening) -> Result<RecordBatch> {
    let d = whitening.mean.len();
    let matrix =
        |values: &[f32]| -> Result<ArrayRef> { Ok(Arc::new(column_from_rows(values, d, Dtype::F32)?.0)) };
    let columns = vec![
        Arc::new(UInt32Array::from_iter_values(0..d as u32)) as ArrayRef,
        Arc::new(Float32Array::from(whitening.mean.clone())),
        matrix(&whitening.whiten)?,
        matrix(&whitening.restore)?,
    ];
    column::batch(schema::whitening(d), columns)
}

/// Reads it.
///
/// # Errors
/// A table that cannot be read, or whose matrices are not `[d, d]`.
pub fn read(reader: &TableReader) -> Result<Whitening> {
    let mut read = Whitening::default();
    reader.each(Scan::default(), |batch| {
        read.mean.extend_from_slice(primitive::<Float32Type>(batch, MEAN)?.values());
        fixed_size_rows(batch, WHITEN, &mut read.whiten)?;
        fixed_size_rows(batch, RESTORE, &mut read.restore)?;
        Ok(())
    })?;
    let d = read.mean.len();
    if read.whiten.len() != d * d || read.restore.len() != d * d {
        return Err(Error::column(WHITEN, format!("{d} rows of {d} numbers"), read.whiten.len().to_string()));
    }
    Ok(read)
}

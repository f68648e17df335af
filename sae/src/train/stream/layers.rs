//! What a cross-layer transcoder is trained on: what the MLP of every layer reads, and what it writes, of the same tokens.

use std::ops::Range;

use arrow::array::AsArray as _;
use arrow::datatypes::UInt32Type;
use storage::Dataset;
use storage::schema::{ACTIVATIONS, TOKEN};

use super::dataset_rows::{DatasetRows, RANGES_AT_ONCE};
use super::rows::RowSource;
use crate::rows::Layers;
use crate::{Error, Result};

/// Rows at the beginning and at the end of a dataset whose tokens are compared.
const COMPARED: u64 = 1 << 16;

/// An error unless all have one model, one width and the same tokens.
///
/// # Errors
/// Two datasets that do not, and in what they differ.
pub fn must_agree(layers: &Layers) -> Result<()> {
    let Some(first) = layers.inputs.first() else { return Ok(()) };
    let (rows, tokens) = (DatasetRows::open(first)?, tokens(first)?);
    for other in layers.inputs.iter().chain(&layers.targets).skip(1) {
        let (a, b) = (first.manifest(), other.manifest());
        let both = || format!("{} and {}", first.dir().display(), other.dir().display());
        if a.model.sha256 != b.model.sha256 {
            return Err(Error::request(format!("{} were made with different models", both()))
                .with_remedy("harvest all hooks in one pass"));
        }
        if a.d_model != b.d_model {
            return Err(Error::request(format!(
                "{} are {} and {} wide: the layers of a cross-layer transcoder have one width",
                both(),
                a.d_model,
                b.d_model
            )));
        }
        rows.must_be_aligned(&DatasetRows::open(other)?)?;
        if let Some((row, ours, theirs)) = differing(&tokens, &self::tokens(other)?) {
            return Err(Error::request(format!(
                "row {row} is token {ours} in {} and token {theirs} in {}",
                first.dir().display(),
                other.dir().display()
            ))
            .with_remedy("harvest all hooks in one pass"));
        }
    }
    Ok(())
}

/// The first and the last tokens of a dataset, with their rows; none if it does not say its tokens.
fn tokens(dataset: &Dataset) -> Result<Vec<(u64, u32)>> {
    let table = dataset.table(ACTIVATIONS)?;
    if !table.has_column(TOKEN) {
        return Ok(Vec::new());
    }
    let rows = table.rows();
    let ranges = match rows <= 2 * COMPARED {
        true => vec![0..rows],
        false => vec![0..COMPARED, rows - COMPARED..rows],
    };
    let mut tokens = Vec::new();
    for batch in table.take(&ranges, &[TOKEN])? {
        let column = batch.column_by_name(TOKEN).and_then(|column| column.as_primitive_opt::<UInt32Type>());
        tokens.extend(column.into_iter().flat_map(|column| column.values().iter().copied()));
    }
    Ok(ranges.into_iter().flatten().zip(tokens).collect())
}

/// The first row whose tokens differ, and both.
fn differing(a: &[(u64, u32)], b: &[(u64, u32)]) -> Option<(u64, u32, u32)> {
    a.iter().zip(b).find(|(a, b)| a.1 != b.1).map(|(a, b)| (a.0, a.1, b.1))
}

/// Rows of what all layers read, each followed by what all layers write at the same token.
#[derive(Debug, Clone)]
pub struct LayerRows {
    /// By layer.
    pub inputs: Vec<DatasetRows>,
    /// Of the same width.
    pub targets: Vec<DatasetRows>,
}

impl LayerRows {
    fn all(&self) -> impl Iterator<Item = &DatasetRows> {
        self.inputs.iter().chain(&self.targets)
    }
}

impl RowSource for LayerRows {
    fn width(&self) -> usize {
        self.all().map(RowSource::width).sum()
    }

    fn read(&mut self, ranges: &[Range<u64>], out: &mut Vec<f32>) -> Result<()> {
        let width = self.width();
        out.clear();
        let mut part = Vec::new();
        // A few ranges at a time: what is read of a layer is in memory besides the pool.
        for some in ranges.chunks(RANGES_AT_ONCE) {
            let (begin, mut column) = (out.len(), 0);
            let rows: u64 = some.iter().map(|range| range.end - range.start).sum();
            out.resize(begin + rows as usize * width, 0.0);
            for source in self.inputs.iter_mut().chain(&mut self.targets) {
                source.read(some, &mut part)?;
                let d = source.width();
                for (row, values) in out[begin..].chunks_exact_mut(width).zip(part.chunks_exact(d)) {
                    row[column..column + d].copy_from_slice(values);
                }
                column += d;
            }
        }
        Ok(())
    }

    fn name(&self, column: usize) -> String {
        let (d, layers) = (self.width() / (2 * self.inputs.len()).max(1), self.inputs.len());
        let (block, column) = (column / d.max(1), column % d.max(1));
        match block < layers {
            true => format!("activation {column} of layer {block}"),
            false => format!("target {column} of layer {}", block - layers),
        }
    }

    fn describe(&mut self, row: u64) -> String {
        self.inputs.first_mut().map_or_else(|| format!("row {row}"), |first| first.describe(row))
    }
}

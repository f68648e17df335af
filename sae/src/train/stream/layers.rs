//! What a cross-layer transcoder is trained on: what the MLP of every layer reads, and what it writes, of the same tokens.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use arrow::array::AsArray as _;
use arrow::datatypes::UInt32Type;
use storage::schema::{ACTIVATIONS, TOKEN};
use storage::{Dataset, MANIFEST};

use super::dataset_rows::{DatasetRows, RANGES_AT_ONCE};
use super::rows::RowSource;
use crate::{Error, Result};
use lm::model::{Hook, Site};

/// Rows at the beginning and at the end of a dataset whose tokens are compared.
const COMPARED: u64 = 1 << 16;

/// The datasets of a harvest, by layer.
#[derive(Debug)]
pub struct Layers {
    /// Of what each layer's MLP reads, from layer 0 on.
    pub inputs: Vec<Dataset>,
    /// Of what it writes.
    pub targets: Vec<Dataset>,
}

impl Layers {
    /// Finds the datasets of `hook_mlp_in` and `hook_mlp_out` in `folder`, by the hooks that they name, from layer 0 on.
    ///
    /// # Errors
    /// A folder without such datasets; a layer that is missing, or there twice; datasets of different models, widths or tokens.
    pub fn open(folder: &Path) -> Result<Self> {
        let folder = &*storage::bucket::at(folder)?;
        let mut found: [BTreeMap<usize, Dataset>; 2] = Default::default();
        for path in datasets(folder)? {
            let dataset = Dataset::open(&path)?;
            let hook = dataset.manifest().hook.as_deref().and_then(|hook| hook.parse::<Hook>().ok());
            let (side, layer) = match hook {
                Some(Hook { layer, site: Site::MlpIn }) => (0, layer),
                Some(Hook { layer, site: Site::MlpOut }) => (1, layer),
                _ => continue,
            };
            if let Some(other) = found[side].insert(layer, dataset) {
                return Err(Error::request(format!(
                    "{} and {} are both of {}",
                    other.dir().display(),
                    path.display(),
                    other.manifest().hook.as_deref().unwrap_or_default()
                ))
                .with_remedy("leave the datasets of one harvest in the folder"));
            }
        }
        let layers = found.iter().filter_map(|side| side.keys().max()).max().map_or(0, |last| last + 1);
        for layer in 0..layers.max(1) {
            for (side, site) in found.iter().zip([Site::MlpIn, Site::MlpOut]) {
                if !side.contains_key(&layer) {
                    return Err(missing(folder, layer, site));
                }
            }
        }
        let [inputs, targets] = found.map(|side| side.into_values().collect::<Vec<_>>());
        let all = Self { inputs, targets };
        all.must_agree()?;
        Ok(all)
    }

    /// An error unless all have one model, one width and the same tokens.
    fn must_agree(&self) -> Result<()> {
        let Some(first) = self.inputs.first() else { return Ok(()) };
        let (rows, tokens) = (DatasetRows::open(first)?, tokens(first)?);
        for other in self.inputs.iter().chain(&self.targets).skip(1) {
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
}

/// The folders with a dataset in `folder`, by name.
fn datasets(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| Error::io(folder, e))?.path();
        if path.join(MANIFEST).is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn missing(folder: &Path, layer: usize, site: Site) -> Error {
    let hook = Hook::new(layer, site);
    Error::request(format!(
        "{} has no dataset of {hook}: a cross-layer transcoder is trained on what the MLPs of all layers read and write",
        folder.display()
    ))
    .with_remedy(
        "name the folder that `sae harvest --out` made with --hook blocks.0.hook_mlp_in --hook blocks.0.hook_mlp_out and so on \
         for every layer",
    )
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

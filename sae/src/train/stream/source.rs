//! A dataset as training reads it: rows to train on, rows that are held out, and the streams over both.

use std::ops::Range;
use std::path::{Path, PathBuf};

use storage::Dataset;

use super::batches::Batches;
use super::dataset_rows::{DatasetRows, PairedRows};
use super::layers::{LayerRows, must_agree};
use super::order::Order;
use super::pools::Pools;
use super::rows::RowSource;
use crate::dictionary::Dictionary;
use crate::rows::Layers;
use crate::train::config::{Resolved, TrainConfig};
use crate::train::statistics::Statistics;
use crate::{Error, Result};

/// An open dataset. Everything that reads from it starts at a position that it is given: nothing here moves.
pub struct Source {
    dataset: Dataset,
    path: PathBuf,
    rows: DatasetRows,
    target: Option<Target>,
    /// Of a cross-layer transcoder; `dataset` and `rows` are then of what its first layer reads.
    layers: Option<LayerRows>,
    training: Vec<Range<u64>>,
    held_out: Vec<Range<u64>>,
}

/// Bytes of a pool of rows of all layers.
const POOL_BYTES: u64 = 256 << 20;
/// Where the targets of the first layer of a cross-layer transcoder are.
const FIRST_TARGET: &str = "blocks.0.hook_mlp_out";

/// What a transcoder's targets are read from.
struct Target {
    path: PathBuf,
    hook: Option<String>,
    rows: DatasetRows,
}

fn total(ranges: &[Range<u64>]) -> u64 {
    ranges.iter().map(|range| range.end - range.start).sum()
}

impl Source {
    /// Opens what `config` is trained on: the dataset in `data`, which must have rows to train on, and that of a transcoder's target; or
    /// the datasets of all layers in `data`, of a cross-layer transcoder.
    ///
    /// # Errors
    /// A folder that is not a finished dataset, or that has no rows to train on; layers that are missing or do not belong together.
    pub fn open(data: &Path, config: &TrainConfig) -> Result<Self> {
        match config.cross_layer {
            false => Self::new(data, Dataset::open(data)?, config.target.as_deref(), None),
            true => {
                let found = Layers::open(data)?;
                must_agree(&found)?;
                let Layers { inputs, targets } = found;
                let rows = |all: &[Dataset]| all.iter().map(DatasetRows::open).collect::<Result<Vec<_>>>();
                let layers = LayerRows { inputs: rows(&inputs)?, targets: rows(&targets)? };
                let first = inputs.into_iter().next();
                let first = first.ok_or_else(|| Error::request("there is no layer to train on"))?;
                Self::new(data, first, config.target.as_deref(), Some(layers))
            }
        }
    }

    fn new(data: &Path, dataset: Dataset, target: Option<&Path>, layers: Option<LayerRows>) -> Result<Self> {
        let rows = DatasetRows::open(&dataset)?;
        let (training, held_out) = (rows.training_ranges(), rows.held_out_ranges());
        if total(&training) == 0 {
            return Err(Error::request(format!(
                "{} has no rows to train on: it is empty or all its documents are held out",
                data.display()
            )));
        }
        // Of all layers, the folder that holds their datasets.
        let folder = if layers.is_some() { &*storage::bucket::at(data)? } else { dataset.path() };
        let path = std::path::absolute(folder).map_err(|e| Error::io(data, e))?;
        let target = target.map(|target| Target::open(target, &dataset, &rows)).transpose()?;
        Ok(Self { dataset, path, rows, target, layers, training, held_out })
    }

    /// The hook of a transcoder's target, if it is known; of a cross-layer transcoder that of its first layer.
    pub fn target_hook(&self) -> Option<&str> {
        match &self.layers {
            Some(_) => Some(FIRST_TARGET),
            None => self.target.as_ref()?.hook.as_deref(),
        }
    }

    /// Layers of a cross-layer transcoder; 1 for anything else.
    pub fn layers(&self) -> usize {
        self.layers.as_ref().map_or(1, |layers| layers.inputs.len())
    }

    /// Numbers of a row of the stream without gradients, whose activations are `d_in` wide.
    pub fn row_width(&self, d_in: usize) -> usize {
        match (&self.layers, &self.target) {
            (Some(layers), _) => 2 * layers.inputs.len() * d_in,
            (None, Some(_)) => 2 * d_in,
            (None, None) => d_in,
        }
    }

    /// What layer `layer` reads.
    fn rows_of(&self, layer: usize) -> DatasetRows {
        let rows = self.layers.as_ref().and_then(|layers| layers.inputs.get(layer));
        rows.unwrap_or(&self.rows).clone()
    }

    /// The dataset.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// Rows of an epoch.
    pub fn training_rows(&self) -> u64 {
        total(&self.training)
    }

    /// Rows of held-out documents.
    pub fn held_out_rows(&self) -> u64 {
        total(&self.held_out)
    }

    /// `config` with everything filled in that depends on this dataset. Says what makes no sense, and what the dataset lacks.
    ///
    /// # Errors
    /// Options that make no sense, alone or with this dataset; a dictionary to begin from that cannot be
    /// read; gradients that the method needs and the dataset lacks.
    pub fn resolve(&self, config: &TrainConfig) -> Result<Resolved> {
        config.check_cross_layer()?;
        let target = self.target.as_ref().map(|target| target.path.clone());
        let mut config = TrainConfig { data: Some(self.path.clone()), target, ..config.clone() };
        if let Some(from) = &config.from {
            let from = &storage::bucket::at(from)?;
            let from = std::path::absolute(from).map_err(|e| Error::io(from, e))?;
            if config.expansion.is_none() {
                config.d_sae = config.d_sae.or(Some(Dictionary::load(&from)?.d_sae));
            }
            config.from = Some(from);
        }
        let manifest = self.dataset.manifest();
        if config.cross_layer {
            // A row is as wide as all that is read and written.
            let bytes = 4 * self.row_width(manifest.d_model) as u64;
            config.pool_rows.get_or_insert((POOL_BYTES / bytes).clamp(1 << 14, 1 << 31));
        }
        let mut resolved = config.resolve(manifest.d_model, self.training_rows())?;
        resolved.sites = manifest.sites.len().max(1);
        resolved.layers = self.layers();
        if resolved.config.cross_layer && resolved.layers < 2 {
            return Err(Error::request(format!(
                "{} has what the MLP of one layer reads and writes; a cross-layer transcoder has at least two layers",
                self.path.display()
            ))
            .with_remedy("train a transcoder of the one layer, with --data and --target"));
        }
        resolved.check_sites()?;
        if resolved.needs_gradients() {
            // Of what features write: of a transcoder, the target.
            let written = self.target.as_ref().map_or(&self.rows, |target| &target.rows);
            written.clone().with_gradients(config.method.name())?;
        }
        Ok(resolved)
    }

    /// The order of training rows.
    pub fn order(&self, resolved: &Resolved) -> Order {
        order_of(&self.training, resolved)
    }

    /// The stream of training rows from `position` on, with targets if there are any, and with or without gradients after that.
    ///
    /// # Errors
    /// As [`DatasetRows::with_gradients`] and [`Pools::start`].
    pub fn pools(&self, resolved: &Resolved, gradients: bool, position: u64) -> Result<Pools> {
        let (rows, method) = (self.rows.clone(), resolved.config.method.name());
        let rows: Box<dyn RowSource> = match (&self.layers, &self.target) {
            (Some(layers), _) => Box::new(layers.clone()),
            (None, Some(target)) => {
                let targets = target.rows.clone();
                let targets = if gradients { targets.with_gradients(method)? } else { targets };
                Box::new(PairedRows { inputs: rows, targets })
            }
            (None, None) if gradients => Box::new(rows.with_gradients(method)?),
            (None, None) => Box::new(rows),
        };
        Pools::start(rows, &self.order(resolved), position)
    }

    /// What layer `layer` reads (0 for anything but a cross-layer transcoder) of the same rows in batches, of a stream from which nothing was
    /// left out yet. `statistics` are the layer's.
    ///
    /// # Errors
    /// As [`Source::pools`].
    pub fn training(
        &self,
        resolved: &Resolved,
        (layer, statistics): (usize, &Statistics),
        position: u64,
    ) -> Result<Batches> {
        let pools = Pools::start(Box::new(self.rows_of(layer)), &self.order(resolved), position)?;
        Ok(Batches::new(pools, resolved.d_in, statistics, self.training_rows(), 0))
    }

    /// The same of rows of held-out documents.
    ///
    /// # Errors
    /// As [`Pools::start`].
    pub fn held_out(
        &self,
        resolved: &Resolved,
        (layer, statistics): (usize, &Statistics),
    ) -> Result<Batches> {
        let rows = Box::new(self.rows_of(layer));
        let pools = Pools::start(rows, &order_of(&self.held_out, resolved), 0)?;
        Ok(Batches::new(pools, resolved.d_in, statistics, self.held_out_rows(), 0))
    }
}

impl Target {
    /// An error unless it has the same tokens, the same model and the same width as the input.
    fn open(path: &Path, input: &Dataset, rows: &DatasetRows) -> Result<Self> {
        let dataset = Dataset::open(path)?;
        let (ours, theirs) = (input.manifest(), dataset.manifest());
        if ours.model.sha256 != theirs.model.sha256 {
            return Err(Error::request(format!(
                "{} was made with a different model than {}",
                path.display(),
                input.path().display()
            ))
            .with_remedy("harvest both hooks in one pass: sae harvest --hook HOOK --hook TARGET-HOOK"));
        }
        if ours.d_model != theirs.d_model {
            return Err(Error::request(format!(
                "{} is {} wide, its target {} is {}: transcoders between different widths are not trained",
                input.path().display(),
                ours.d_model,
                path.display(),
                theirs.d_model
            )));
        }
        let target = DatasetRows::open(&dataset)?;
        rows.must_be_aligned(&target)?;
        let path = std::path::absolute(dataset.path()).map_err(|e| Error::io(path, e))?;
        Ok(Self { path, hook: theirs.hook.clone(), rows: target })
    }
}

fn order_of(ranges: &[Range<u64>], resolved: &Resolved) -> Order {
    let config = &resolved.config;
    Order::new(ranges, config.block_rows, resolved.pool_rows, config.order_seed())
}

//! A dataset as training reads it: rows to train on, rows that are held out, and the streams over both.

use std::ops::Range;
use std::path::{Path, PathBuf};

use storage::Dataset;

use super::batches::Batches;
use super::dataset_rows::{DatasetRows, PairedRows};
use super::order::Order;
use super::pools::Pools;
use super::rows::RowSource;
use crate::dictionary::Dictionary;
use crate::train::config::{Resolved, TrainConfig};
use crate::train::statistics::Statistics;
use crate::{Error, Result};

/// An open dataset. Everything that reads from it starts at a position that it is given: nothing here moves.
pub struct Source {
    dataset: Dataset,
    path: PathBuf,
    rows: DatasetRows,
    target: Option<Target>,
    training: Vec<Range<u64>>,
    held_out: Vec<Range<u64>>,
}

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
    /// Opens the dataset in `data`, which must have rows to train on, and that of a transcoder's `target`.
    ///
    /// # Errors
    /// A folder that is not a finished dataset, or that has no rows to train on.
    pub fn open(data: &Path, target: Option<&Path>) -> Result<Self> {
        let dataset = Dataset::open(data)?;
        let rows = DatasetRows::open(&dataset)?;
        let (training, held_out) = (rows.training_ranges(), rows.held_out_ranges());
        if total(&training) == 0 {
            return Err(Error::request(format!(
                "{} has no rows to train on: it is empty or all its documents are held out",
                data.display()
            )));
        }
        let path = std::path::absolute(dataset.path()).map_err(|e| Error::io(data, e))?;
        let target = target.map(|target| Target::open(target, &dataset, &rows)).transpose()?;
        Ok(Self { dataset, path, rows, target, training, held_out })
    }

    /// The hook of a transcoder's target, if it is known.
    pub fn target_hook(&self) -> Option<&str> {
        self.target.as_ref()?.hook.as_deref()
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
        let mut resolved = config.resolve(manifest.d_model, self.training_rows())?;
        resolved.sites = manifest.sites.len().max(1);
        resolved.check_sites()?;
        if resolved.needs_gradients() {
            self.rows.clone().with_gradients(config.method.name())?;
        }
        Ok(resolved)
    }

    /// The order of training rows.
    pub fn order(&self, resolved: &Resolved) -> Order {
        order_of(&self.training, resolved)
    }

    /// The stream of training rows from `position` on, with or without gradients after the activations; with targets if there are any.
    ///
    /// # Errors
    /// As [`DatasetRows::with_gradients`] and [`Pools::start`].
    pub fn pools(&self, resolved: &Resolved, gradients: bool, position: u64) -> Result<Pools> {
        let rows = self.rows.clone();
        let rows: Box<dyn RowSource> = match &self.target {
            Some(target) => Box::new(PairedRows { inputs: rows, targets: target.rows.clone() }),
            None if gradients => Box::new(rows.with_gradients(resolved.config.method.name())?),
            None => Box::new(rows),
        };
        Pools::start(rows, &self.order(resolved), position)
    }

    /// The same in batches, of a stream from which nothing was left out yet.
    ///
    /// # Errors
    /// As [`Source::pools`].
    pub fn training(
        &self,
        resolved: &Resolved,
        statistics: &Statistics,
        gradients: bool,
        position: u64,
    ) -> Result<Batches> {
        let pools = self.pools(resolved, gradients, position)?;
        Ok(Batches::new(pools, resolved.d_in, statistics, self.training_rows(), 0))
    }

    /// Rows of held-out documents, in batches, without gradients and targets.
    ///
    /// # Errors
    /// As [`Pools::start`].
    pub fn held_out(&self, resolved: &Resolved, statistics: &Statistics) -> Result<Batches> {
        let pools = Pools::start(Box::new(self.rows.clone()), &order_of(&self.held_out, resolved), 0)?;
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

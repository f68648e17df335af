//! The rows of a dataset that are made when they are read, and what such a dataset says of them.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize as _;
use storage::Dataset;
use storage::schema::ACTIVATIONS;

use super::World;
use super::dataset::{FOLDER, Settings};
use super::loss::{LossOptions, PlantedLoss};
use crate::{Error, Result};

/// The rows of a dataset that are made when they are read.
#[derive(Debug, Clone)]
pub struct GeneratedRows {
    world: Arc<World>,
    loss: Option<LossOptions>,
    seed: u64,
    rows: u64,
    rows_per_document: u64,
}

impl GeneratedRows {
    /// Those of `dataset`; `None` if its rows are on disk.
    ///
    /// # Errors
    /// A world that cannot be read, settings that are not those of a world.
    pub fn of(dataset: &Dataset) -> Result<Option<Self>> {
        let Some(settings) = settings_of(dataset)?.filter(|_| !dataset.has_table(ACTIVATIONS)) else {
            return Ok(None);
        };
        let (manifest, path) = (dataset.manifest(), dataset.dir().join(storage::MANIFEST));
        let world = World::read(&dataset.dir().join(FOLDER))?;
        if world.d != manifest.d_model || !settings.generated || settings.rows_per_document == 0 {
            let problem = format!(
                "names rows of width {} that are on disk or of a world of width {}; there is a world of width {} and no rows",
                manifest.d_model, manifest.d_model, world.d
            );
            return Err(
                Error::format(&path, problem).with_remedy("write the dataset again with `sae synth rows`")
            );
        }
        if World::sha256(&dataset.dir().join(FOLDER))? != manifest.model.sha256 {
            return Err(Error::format(&path, format!("names a different world than the one in {FOLDER}/"))
                .with_remedy(
                    "put the files of the world back, or write the dataset again with `sae synth rows`",
                ));
        }
        let Settings { seed, rows, rows_per_document, loss, .. } = settings;
        Ok(Some(Self { world: Arc::new(world), loss, seed, rows, rows_per_document }))
    }

    /// How many there are.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Width of a row.
    pub fn d(&self) -> usize {
        self.world.d
    }

    /// The activations `[n, d]` of rows `range`.
    pub fn activations(&self, range: Range<u64>) -> Vec<f32> {
        self.world.rows(self.seed, range).activations
    }

    /// The loss that the dataset plants, if it does; its readers are fitted.
    pub fn loss(&self) -> Option<PlantedLoss> {
        self.loss.as_ref().map(|loss| PlantedLoss::new(&self.world, loss))
    }

    /// The activations `[n, d]` of rows `range` and the gradients `[n, d]` of `loss` at them.
    pub fn with_gradients(&self, range: Range<u64>, loss: &PlantedLoss) -> (Vec<f32>, Vec<f32>) {
        let sample = self.world.rows(self.seed, range);
        let gradients = loss.gradients(&sample.activations, &sample.codes);
        (sample.activations, gradients)
    }

    /// Document and position of a row.
    pub fn place(&self, row: u64) -> (u32, u32) {
        ((row / self.rows_per_document) as u32, (row % self.rows_per_document) as u32)
    }
}

/// What a dataset says of the rows of its world; `None` if it is of none.
fn settings_of(dataset: &Dataset) -> Result<Option<Settings>> {
    let Some(settings) = dataset.manifest().settings.get("world") else { return Ok(None) };
    let path = dataset.dir().join(storage::MANIFEST);
    let settings = Settings::deserialize(settings)
        .map_err(|e| Error::format(&path, format!("does not say what rows its world has: {e}")))?;
    if let Some(loss) = &settings.loss {
        loss.check().map_err(|e| Error::format(&path, format!("plants a loss that cannot be: {e}")))?;
    }
    Ok(Some(settings))
}

/// The loss that is planted in the dataset in `dir`, whose world is `world`; `None` if there is none.
///
/// # Errors
/// A dataset that cannot be read, settings that are not those of a world.
pub fn loss_of(dir: &Path, world: &World) -> Result<Option<PlantedLoss>> {
    let settings = settings_of(&Dataset::open(dir)?)?;
    Ok(settings.and_then(|settings| settings.loss).map(|loss| PlantedLoss::new(world, &loss)))
}

/// How many rows of activations a dataset has, on disk or generated.
///
/// # Errors
/// A dataset that has none.
pub fn activation_rows(dataset: &Dataset) -> Result<u64> {
    match settings_of(dataset)?.filter(|_| !dataset.has_table(ACTIVATIONS)) {
        Some(settings) => Ok(settings.rows),
        None => Ok(dataset.table(ACTIVATIONS)?.rows()),
    }
}

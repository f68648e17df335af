//! The pass over the features: descriptions made by all threads, tables written by two threads of their own.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use storage::examples::{ExampleRow, ExampleWriter};
use storage::feature_activations::{ActivationWriter, FeatureActivations};
use storage::features::{FeatureRow, FeatureWriter};

use super::buckets::{Bucket, Buckets};
use super::describe::{Describer, Description};
use super::encode::{begin, joined};
use super::inverted::Inverted;
use super::tokens::Tokens;
use super::weights::{CHUNK, Neighbours, WeightsInOrder};
use crate::{Error, Progress, Result};

/// Chunks that wait to be written.
const AHEAD: usize = 1;

/// What the pass is made from.
pub struct FeaturePass<'a> {
    pub describer: Describer<'a>,
    pub weights: WeightsInOrder<'a>,
    pub buckets: &'a Buckets,
    /// Of the index that is replaced, by feature.
    pub labels: &'a [Option<String>],
    pub folder: &'a Path,
}

impl FeaturePass<'_> {
    /// Writes the tables. `each` is shown every example, and `meanwhile`, while the last of them are written,
    /// every feature's neighbours.
    ///
    /// # Errors
    /// A disk that is full or fails, buckets that cannot be read, an error of `meanwhile`, [`Error::Stopped`].
    pub fn write(
        mut self,
        inverted: Option<Inverted>,
        progress: &mut dyn Progress,
        each: &mut dyn FnMut(&ExampleRow),
        meanwhile: impl FnOnce(&[Neighbours], &mut dyn Progress) -> Result<()>,
    ) -> Result<()> {
        let tables = Tables::create(self.folder, inverted)?;
        let activations = ActivationWriter::create(&self.folder.join("activations-00000.parquet"))?;
        let tokens = self.describer.tokens;
        std::thread::scope(|scope| {
            let (to_tables, descriptions) = sync_channel(AHEAD);
            let of_tables = begin(scope, "tables", move || tables.write_all(&descriptions))?;
            let (to_activations, chunks) = sync_channel(AHEAD);
            let of_activations =
                begin(scope, "activations", move || write_activations(activations, tokens, &chunks))?;
            let send = |chunk: Chunk| {
                let activations = (chunk.bucket.clone(), chunk.first, chunk.descriptions.len());
                to_activations.send(activations).is_ok() && to_tables.send(chunk).is_ok()
            };
            // None if a table could not be written, and then its thread knows why.
            let neighbours = self.describe(progress, each, send)?;
            drop((to_activations, to_tables));
            if let Some(neighbours) = neighbours {
                meanwhile(&neighbours, progress)?;
            }
            joined(of_activations)?;
            joined(of_tables)
        })
    }

    /// Hands chunk by chunk to `send`; the neighbours of all features, or nothing if it takes no more.
    fn describe(
        &mut self,
        progress: &mut dyn Progress,
        each: &mut dyn FnMut(&ExampleRow),
        mut send: impl FnMut(Chunk) -> bool,
    ) -> Result<Option<Vec<Neighbours>>> {
        let features = self.describer.dictionary.d_sae;
        let (mut neighbours, mut rows) = (Vec::with_capacity(features), 0);
        progress.begin("features", Some(features as u64), "features");
        for index in 0..self.buckets.len() {
            let bucket = Arc::new(self.buckets.take(index)?);
            let all = bucket.features();
            for first in all.clone().step_by(CHUNK) {
                let end = all.end.min(first + CHUNK);
                let mut descriptions =
                    self.describer.describe(&bucket, first..end, self.weights.take(end - first)?);
                for Description { row, examples, .. } in &mut descriptions {
                    self.complete(row, &mut rows);
                    neighbours.push(row.neighbours.clone());
                    examples.iter().for_each(&mut *each);
                }
                if !send(Chunk { bucket: bucket.clone(), first, descriptions }) {
                    return Ok(None);
                }
                progress.advance(end as u64, "");
                if progress.stop_requested() {
                    return Err(Error::stopped("the index was not finished; an older one is kept"));
                }
            }
        }
        progress.end(&format!("{rows} activations"));
        Ok(Some(neighbours))
    }

    /// Fills in what a description does not know: `rows` is how many rows of the table of activations come before.
    fn complete(&self, row: &mut FeatureRow, rows: &mut u64) {
        row.first_row = *rows;
        row.label = self.labels.get(row.feature as usize).cloned().flatten();
        *rows += row.count;
    }
}

/// Features that follow each other, described.
struct Chunk {
    bucket: Arc<Bucket>,
    first: usize,
    descriptions: Vec<Description>,
}

fn write_activations(
    mut table: ActivationWriter,
    tokens: &Tokens,
    chunks: &Receiver<(Arc<Bucket>, usize, usize)>,
) -> Result<()> {
    let (mut documents, mut positions) = (Vec::new(), Vec::new());
    for (bucket, first, n) in chunks {
        for feature in first..first + n {
            let of = bucket.of(feature);
            documents.clear();
            positions.clear();
            tokens.places_of(of.rows, &mut documents, &mut positions);
            table.append_feature(FeatureActivations {
                feature: feature as u32,
                documents: &documents,
                positions: &positions,
                values: of.values,
            })?;
        }
    }
    table.finish()?;
    Ok(())
}

/// The tables that descriptions go to.
struct Tables<'a> {
    folder: &'a Path,
    features: FeatureWriter,
    examples: ExampleWriter,
    inverted: Option<Inverted>,
}

impl<'a> Tables<'a> {
    fn create(folder: &'a Path, inverted: Option<Inverted>) -> Result<Self> {
        let features = FeatureWriter::create(&folder.join("features.parquet"))?;
        let examples = ExampleWriter::create(&folder.join("examples.parquet"))?;
        Ok(Self { folder, features, examples, inverted })
    }

    fn write_all(mut self, chunks: &Receiver<Chunk>) -> Result<()> {
        for description in chunks.iter().flat_map(|chunk| chunk.descriptions) {
            let Description { row, examples, fired } = description;
            if let Some(inverted) = &mut self.inverted {
                inverted.add(row.feature, &fired)?;
            }
            self.features.append(row)?;
            examples.into_iter().try_for_each(|example| self.examples.append(example))?;
        }
        self.features.finish()?;
        self.examples.finish()?;
        if let Some(inverted) = self.inverted {
            inverted.finish(&self.folder.join(storage::token_features::FILE))?;
        }
        Ok(())
    }
}

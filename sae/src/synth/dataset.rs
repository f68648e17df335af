//! A dataset of a world's rows: on disk with the truth next to them, or generated when they are read.
//!
//! Either way the folder holds the world (`world/`) and the documents, which are runs of rows, some of them held out. Of a
//! generated dataset that is all: its rows are a function of the world, the seed and their number.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray, UInt32Array};
use serde::{Deserialize, Serialize};
use storage::documents::DocumentRow;
use storage::schema::DOCUMENTS;
use storage::truth::TrueCodesRow;
use storage::{Dataset, Dtype, Lock, Manifest, ModelRef, RowsAre, schema, vector};

use super::loss::LossOptions;
use super::{Sample, World};
use crate::harvest::{self, Sink, TableRows, is_held_out};
use crate::shards::{Begun, Finished, Job, SHARDS, Shard, Work};
use crate::{Error, Progress, Result};

/// The folder of a dataset that holds its world.
pub const FOLDER: &str = "world";
/// Rows of a document; fewer where that would make less than [`LEAST_DOCUMENTS`].
const ROWS_PER_DOCUMENT: u64 = 1024;
/// So that there are some to hold out.
const LEAST_DOCUMENTS: u64 = 100;
/// Rows that are made and written at a time.
const BATCH: u64 = 8192;
/// What kind of text the rows are: none.
const DOMAIN: &str = "synthetic";

/// How to write a dataset.
#[derive(Debug, Clone, PartialEq)]
pub struct DatasetOptions {
    /// Rows.
    pub rows: u64,
    /// Seed of the rows.
    pub seed: u64,
    /// Whether rows are generated when they are read, instead of written.
    pub generated: bool,
    /// A loss whose gradient the rows have; of rows that are generated alone.
    pub loss: Option<LossOptions>,
    /// Stored type of the activations.
    pub dtype: Dtype,
    /// Share of the documents that is held out.
    pub held_out_share: f64,
    /// Rows after which a part is closed.
    pub rows_per_part: u64,
}

impl Default for DatasetOptions {
    fn default() -> Self {
        Self {
            rows: 1_000_000,
            seed: 0,
            generated: false,
            loss: None,
            dtype: Dtype::F16,
            held_out_share: 0.05,
            rows_per_part: 1 << 18,
        }
    }
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WrittenDataset {
    /// The folder.
    pub dataset: PathBuf,
    /// Rows.
    pub rows: u64,
    /// Whether they are generated when they are read.
    pub generated: bool,
    /// Documents.
    pub documents: u64,
    /// Documents that are held out.
    pub held_out: u64,
}

/// What `dataset.json` says of the rows, under `settings.world`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Settings {
    pub rows: u64,
    pub seed: u64,
    pub generated: bool,
    pub rows_per_document: u64,
    pub held_out_share: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<LossOptions>,
}

impl DatasetOptions {
    fn check(&self) -> Result<()> {
        let ok = |fits: bool, problem: &str| if fits { Ok(()) } else { Err(Error::request(problem)) };
        ok(self.rows > 0, "a dataset must have more than 0 rows")?;
        ok(self.rows / ROWS_PER_DOCUMENT < u64::from(u32::MAX), "a dataset must have fewer than 2^42 rows")?;
        ok(self.rows_per_part > 0, "a part must have more than 0 rows")?;
        if let Some(loss) = &self.loss {
            loss.check()?;
            if !self.generated {
                return Err(Error::request("rows that are stored have no gradients of a planted loss")
                    .with_remedy("generate them when they are read, with --generate"));
            }
        }
        ok((0.0..1.0).contains(&self.held_out_share), "the held-out share must be at least 0 and less than 1")
    }

    /// Batches that are written: none of rows that are generated.
    fn batches(&self) -> u64 {
        if self.generated { 0 } else { self.rows.div_ceil(BATCH) }
    }

    /// Those of a shard: whole parts, so that its files are those of one process.
    ///
    /// # Errors
    /// Rows that are generated; parts that end within documents.
    fn batches_of(&self, shard: Shard) -> Result<Range<u64>> {
        if self.generated {
            return Err(Error::request("rows that are generated when they are read have no shards"));
        }
        let per_part = self.rows_per_part.div_ceil(BATCH);
        let (rows, document) = (per_part * BATCH, self.settings().rows_per_document);
        if rows < self.rows && !rows.is_multiple_of(document) {
            return Err(Error::request(format!(
                "parts of {rows} rows end within documents of {document} rows: the dataset has no shards"
            )));
        }
        let parts = shard.range(self.batches().div_ceil(per_part));
        Ok((parts.start * per_part).min(self.batches())..(parts.end * per_part).min(self.batches()))
    }

    fn settings(&self) -> Settings {
        Settings {
            rows: self.rows,
            seed: self.seed,
            generated: self.generated,
            rows_per_document: (self.rows / LEAST_DOCUMENTS).clamp(1, ROWS_PER_DOCUMENT),
            held_out_share: self.held_out_share,
            loss: self.loss,
        }
    }
}

impl Settings {
    fn documents(&self) -> Vec<DocumentRow> {
        let document = |first_row: u64| {
            let document = (first_row / self.rows_per_document) as u32;
            DocumentRow {
                document,
                name: format!("rows from {first_row}"),
                source: FOLDER.to_owned(),
                domain: DOMAIN.to_owned(),
                held_out: is_held_out(self.seed, document, self.held_out_share),
                first_row,
                tokens: self.rows_per_document.min(self.rows - first_row) as u32,
            }
        };
        (0..self.rows).step_by(self.rows_per_document as usize).map(document).collect()
    }
}

/// Writes rows of `world` as a dataset into `out`. One that was interrupted continues when it is asked for again.
///
/// # Errors
/// Options that make no sense; a folder with a different dataset or world; magnitudes too large for f16; a disk that is full or
/// fails; [`Error::Stopped`].
pub fn write(
    world: &World,
    options: &DatasetOptions,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<WrittenDataset> {
    options.check()?;
    let settings = options.settings();
    keep_world(world, &out.join(FOLDER))?;
    let sink = Sink::begin(out, header(world, options, out)?, options.rows_per_part)?;
    let documents = settings.documents();
    write_rows(world, options, 0..options.batches(), (sink, &documents), progress)?;
    progress.end(&format!("{} rows in {}", options.rows, out.display()));
    Ok(written(options, out))
}

/// Writes the part of the rows that is `shard`'s: whole parts of the dataset that [`write`] writes. [`merge`] makes it of all shards.
///
/// # Errors
/// As [`write`]; rows that are generated, of which nothing is written; a shard that a different process works on.
pub fn write_shard(
    world: &World,
    options: &DatasetOptions,
    shard: Shard,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<Work> {
    options.check()?;
    let (settings, batches) = (options.settings(), options.batches_of(shard)?);
    let rows = batches.start * BATCH..(batches.end * BATCH).min(options.rows);
    let pieces = vec![format!("rows {} to {}", rows.start, rows.end)];
    let (folder, merged) = (shard.folder(out), out.join(storage::MANIFEST).exists());
    if merged && Work::read(&shard.folder(&out.join(SHARDS)))?.is_none() {
        return Err(storage::Error::Finished { path: out.to_owned() }.into());
    }
    let there = merged || folder.join(storage::MANIFEST).exists();
    let working = match job(out).begin_elsewhere(shard, pieces, there, progress)? {
        Begun::Done(work) => return Ok(work),
        Begun::Working(working) => working,
    };
    let own = |document: &DocumentRow| rows.contains(&document.first_row);
    let documents: Vec<DocumentRow> = settings
        .documents()
        .into_iter()
        .filter(own)
        .map(|document| DocumentRow { first_row: document.first_row - rows.start, ..document })
        .collect();
    let made = keep_world(world, &folder.join(FOLDER)).and_then(|()| {
        let header = header(world, options, &folder)?;
        let sink = Sink::begin_or_finished(&folder, header, options.rows_per_part)?;
        write_rows(world, options, batches, (sink, &documents), progress)
    });
    progress.end(&format!("{} rows in {}", rows.end - rows.start, folder.display()));
    working.end(made)
}

/// Makes the dataset of its shards in `out`, file for file what [`write`] writes, and removes them. The records of who made them stay.
///
/// # Errors
/// A shard that is missing, unfinished or of other options; a folder that cannot be written.
pub fn merge(
    world: &World,
    options: &DatasetOptions,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<WrittenDataset> {
    options.check()?;
    if out.join(storage::MANIFEST).exists() {
        // A merge that was interrupted while it removed shards, or one that is finished.
        refuse_others(world, options, out)?;
        Lock::tidy(&out.join(SHARDS));
        harvest::merge(out, progress)?;
        return Ok(written(options, out));
    }
    let shards = job(out).finished(progress)?;
    for Finished { work, .. } in &shards.shards {
        let shard = Shard { index: work.shard, count: work.of };
        refuse_others(world, options, &shard.folder(out))?;
    }
    keep_world(world, &out.join(FOLDER))?;
    harvest::merge(out, progress)?;
    Ok(written(options, out))
}

/// Refuses the dataset in `folder` if it was begun with a different world or other options.
fn refuse_others(world: &World, options: &DatasetOptions, folder: &Path) -> Result<()> {
    let (dataset, kept) = (Dataset::open(folder)?, folder.join(FOLDER));
    if World::read(&kept)? == *world && dataset.was_begun_with(&header(world, options, folder)?) {
        return Ok(());
    }
    let problem = "has rows of a different world, or was made with other options than the merge was given";
    Err(Error::format(folder.join(storage::MANIFEST), problem).with_remedy(
        "give the merge the options of its shards, or remove that folder and make the shard again",
    ))
}

/// Datasets say themselves what they were begun with.
fn job(out: &Path) -> Job {
    Job::new("synth rows", out.join(SHARDS), serde_json::Value::Null)
}

/// What `dataset.json` says; the world is in `out` already.
fn header(world: &World, options: &DatasetOptions, out: &Path) -> Result<Manifest> {
    let sha256 = World::sha256(&out.join(FOLDER))?;
    let model = ModelRef { id: "made world".to_owned(), path: None, sha256 };
    let mut header = Manifest::new(model, None, world.d, options.dtype);
    header.rows_are = RowsAre::Rows;
    header.settings = serde_json::json!({ "world": options.settings() });
    Ok(header)
}

/// Writes the rows of `batches` and the documents.
fn write_rows(
    world: &World,
    options: &DatasetOptions,
    batches: Range<u64>,
    (mut sink, documents): (Sink, &[DocumentRow]),
    progress: &mut dyn Progress,
) -> Result<()> {
    sink.note().iter().for_each(|note| progress.remark(note));
    let (settings, first) = (options.settings(), batches.start * BATCH);
    progress.begin("rows", Some((batches.end * BATCH).min(options.rows) - first), "rows");
    for batch in batches.start.saturating_add(sink.next_batch())..batches.end {
        let rows = batch * BATCH..((batch + 1) * BATCH).min(options.rows);
        let sample = world.rows(options.seed, rows.clone());
        let tables = [
            TableRows::activations(activations(&sample, &settings, rows.clone(), world.d, options.dtype)?),
            TableRows::truth(truth(&sample, &settings, rows.start)?),
        ];
        let number = batch - batches.start;
        sink.write(number, rows.end - rows.start, &tables)?;
        progress.advance(rows.end - first, "");
        if progress.stop_requested() {
            sink.commit(number + 1)?;
            return Err(Error::stopped(format!("{} rows are kept", rows.end - first))
                .with_remedy("give the same command again to continue"));
        }
    }
    sink.finish(batches.end - batches.start, &[(DOCUMENTS, storage::documents::to_batch(documents)?)])
}

fn written(options: &DatasetOptions, out: &Path) -> WrittenDataset {
    let documents = options.settings().documents();
    WrittenDataset {
        dataset: out.to_owned(),
        rows: options.rows,
        generated: options.generated,
        documents: documents.len() as u64,
        held_out: documents.iter().filter(|document| document.held_out).count() as u64,
    }
}

/// Writes the world, or compares it with the one that is there.
fn keep_world(world: &World, folder: &Path) -> Result<()> {
    if !folder.join(super::world::CONFIG).exists() {
        return world.write(folder);
    }
    if World::read(folder)? == *world {
        Lock::tidy(folder);
        return Ok(());
    }
    Err(Error::request(format!("{} holds a different world", folder.display()))
        .with_remedy("choose a different folder, or remove this one"))
}

fn activations(
    sample: &Sample,
    settings: &Settings,
    rows: Range<u64>,
    d: usize,
    dtype: Dtype,
) -> Result<RecordBatch> {
    let (column, bad) = vector::column_from_rows(&sample.activations, d, dtype)?;
    if let Some(row) = bad.first_row {
        return Err(Error::data(format!(
            "row {} of the world holds a number that is too large for f16 (65504)",
            rows.start + row as u64
        ))
        .with_remedy("write the rows as f32"));
    }
    let per = settings.rows_per_document;
    let numbers = |of: fn(u64, u64) -> u64| -> ArrayRef {
        Arc::new(UInt32Array::from_iter_values(rows.clone().map(|row| of(row, per) as u32)))
    };
    let n = (rows.end - rows.start) as usize;
    let domains = DictionaryArray::try_new(
        Int32Array::from(vec![0; n]),
        Arc::new(StringArray::from_iter_values([DOMAIN])),
    )
    .map_err(|e| Error::data(e.to_string()))?;
    let columns: Vec<ArrayRef> = vec![
        numbers(|row, per| row / per),
        numbers(|row, per| row % per),
        Arc::new(domains),
        Arc::new(column),
    ];
    RecordBatch::try_new(schema::activations_of(RowsAre::Rows, d, dtype), columns)
        .map_err(|e| Error::data(format!("rows that do not fit their table: {e}")))
}

fn truth(sample: &Sample, settings: &Settings, first: u64) -> Result<RecordBatch> {
    let row = |i: usize| {
        let (features, values) = sample.codes.row(i);
        let at = first + i as u64;
        TrueCodesRow {
            document: (at / settings.rows_per_document) as u32,
            position: (at % settings.rows_per_document) as u32,
            features: features.to_vec(),
            values: values.to_vec(),
        }
    };
    let rows: Vec<TrueCodesRow> = (0..sample.codes.rows()).map(row).collect();
    Ok(storage::truth::to_batch(&rows)?)
}

/// The world of the dataset in `dir`.
///
/// # Errors
/// A folder without one.
pub fn world_of(dir: &Path) -> Result<PathBuf> {
    let folder = dir.join(FOLDER);
    if folder.join(super::world::CONFIG).exists() {
        return Ok(folder);
    }
    Err(Error::request(format!("{} is not a dataset of a made world", dir.display()))
        .with_remedy("name the world that made its rows with --world"))
}

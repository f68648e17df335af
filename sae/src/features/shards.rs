//! An index by several processes.
//!
//! What takes the time of an index is cut: rows are encoded, and decoder rows are multiplied with each other and with the unembedding. A
//! shard takes whole batches of the rows that one process reads, and whole chunks of the features. What is left for the merge grows with
//! the active pairs alone: it goes through their codes in the order of the rows, as one process does while it encodes, so sums are made
//! in the same order and the files have the same bytes.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde_json::json;
use storage::codes::{CodesPage, CodesRow, CodesWriter, pages};
use storage::features::FeatureWriter;
use storage::{IndexRecord, Part};

use super::encode::{Coded, append, coded};
use super::index::{IndexOptions, Prepared};
use super::layers::{RowEncoder, Rows};
use super::weights::Weights;
use crate::dictionary::Codes;
use crate::rows::RowBatch;
use crate::shards::{Begun, Job, SHARDS, Shard, Shards, Work, Working, identity};
use crate::{Error, Progress, Result};

/// Batches of rows in a file of codes.
const BATCHES: u64 = 32;
/// Chunks of features in a file of what their weights tell.
const CHUNKS: u64 = 16;
/// What the names of files begin with.
const CODES: &str = "codes-";
const WEIGHTS: &str = "weights-";

/// Does the part of [`super::index`] that is `shard`'s, in `RUN/shards/index`.
///
/// # Errors
/// As [`super::index`]; a shard that a different process works on, or that was begun with other input or options.
pub fn index_shard(
    run_dir: &Path,
    options: &IndexOptions,
    shard: Shard,
    progress: &mut dyn Progress,
) -> Result<Work> {
    let prepared = Prepared::open(run_dir, options, progress)?;
    let weights = Weights::new(&prepared.subject.dictionary, prepared.unembedding.as_deref());
    let batches = shard.range(prepared.choice.tokens.div_ceil(options.batch as u64));
    let chunks = shard.range(weights.chunks() as u64);
    let rows = rows_of(&prepared, options, &batches);
    let features = match chunks.is_empty() {
        true => 0..0,
        false => weights.features(chunks.start as usize).start..weights.features(chunks.end as usize - 1).end,
    };
    let pieces = vec![
        format!("rows {} to {} of those chosen", rows.start, rows.end),
        format!("weights of features {} to {}", features.start, features.end),
    ];
    let mut working = match job(run_dir, &prepared, options).begin(shard, pieces, progress)? {
        Begun::Done(work) => return Ok(work),
        Begun::Working(working) => working,
    };
    let made = encode_rows(&mut working, &prepared, options, batches, progress)
        .and_then(|()| multiply(&mut working, &weights, chunks, progress));
    working.end(made)
}

/// Makes the index of what the shards made: the bytes that [`super::index`] writes. The shards' records of work stay, their files are
/// removed.
///
/// # Errors
/// As [`super::index`]; shards that are not finished, or of other input or options.
pub fn index_merge(
    run_dir: &Path,
    options: &IndexOptions,
    progress: &mut dyn Progress,
) -> Result<IndexRecord> {
    let prepared = Prepared::open(run_dir, options, progress)?;
    let shards = job(run_dir, &prepared, options).finished(progress)?;
    if shards.removed {
        shards.merged(true)?;
        let features = run_dir.join("features");
        return IndexRecord::read(&features)?.ok_or_else(|| {
            Error::request(format!("the shards are merged already, but {} is not there", features.display()))
                .with_remedy(format!("remove {}, then make the shards again", folder(run_dir).display()))
        });
    }
    let record = prepared.write(run_dir, options, Some(&shards), progress)?;
    shards.merged(true)?;
    Ok(record)
}

fn folder(run_dir: &Path) -> PathBuf {
    run_dir.join(SHARDS).join("index")
}

fn job(run_dir: &Path, prepared: &Prepared, options: &IndexOptions) -> Job {
    let settings = json!({
        "dictionary_sha256": prepared.subject.dictionary_sha256,
        "data": identity(&prepared.subject.dataset),
        "tokens": options.tokens,
        "seed": options.examples.seed,
        "batch": options.batch,
        "logits": prepared.logits,
        "logits_sha256": prepared.unembedding_sha256(),
    });
    Job::new("index", folder(run_dir), settings)
}

/// The rows of `batches`, counted over those that were chosen.
fn rows_of(prepared: &Prepared, options: &IndexOptions, batches: &Range<u64>) -> Range<u64> {
    let row = |batch: u64| (batch * options.batch as u64).min(prepared.choice.tokens);
    row(batches.start)..row(batches.end)
}

/// The codes of the shard's rows, [`BATCHES`] batches a file.
fn encode_rows(
    working: &mut Working,
    prepared: &Prepared,
    options: &IndexOptions,
    batches: Range<u64>,
    progress: &mut dyn Progress,
) -> Result<()> {
    let all = rows_of(prepared, options, &batches);
    progress.begin("encode", Some(all.end - all.start), prepared.subject.dataset.manifest().rows_are.name());
    let mut first = None;
    for (number, start) in batches.clone().step_by(BATCHES as usize).enumerate() {
        let part = rows_of(prepared, options, &(start..batches.end.min(start + BATCHES)));
        let done = part.start - all.start;
        working.file(&format!("{CODES}{number:05}.parquet"), |path| {
            if first.is_none() {
                first = Some(first_batch(prepared, options)?);
            }
            let first = first.as_deref().unwrap_or_default();
            encode_file(prepared, options, first, part.clone(), path, &mut |rows| {
                progress.advance(done + rows, "");
                progress.stop_requested()
            })
        })?;
        progress.advance(part.end - all.start, "");
    }
    progress.end(&format!("{} rows", all.end - all.start));
    Ok(())
}

fn reader(prepared: &Prepared, options: &IndexOptions, rows: Range<u64>) -> Result<Rows> {
    Rows::new(prepared.encoded_from(), &prepared.choice.part(rows), options.batch)
}

/// Activations of the first batch of all: one process begins with it, and it says how an encoder shares out 8 bits.
fn first_batch(prepared: &Prepared, options: &IndexOptions) -> Result<Vec<f32>> {
    let first = reader(prepared, options, 0..options.batch as u64)?.next_batch()?;
    Ok(first.map(|batch| batch.activations).unwrap_or_default())
}

/// Writes the codes of `rows` to `path`; `report` is told the rows that are done and says whether to stop.
fn encode_file(
    prepared: &Prepared,
    options: &IndexOptions,
    first: &[f32],
    rows: Range<u64>,
    path: &Path,
    report: &mut dyn FnMut(u64) -> bool,
) -> Result<Part> {
    let reader = reader(prepared, options, rows)?;
    let mut encoder = RowEncoder::new(prepared.encoded_from());
    encoder.begin_with(first);
    let mut writer = CodesWriter::create(path)?;
    std::thread::scope(|scope| {
        let mut done = 0;
        for batch in coded(scope, reader, encoder)? {
            let batch = batch?;
            append(&mut writer, &batch)?;
            done += batch.0.len() as u64;
            if report(done) {
                return Err(stopped());
            }
        }
        Ok(writer.finish()?)
    })
}

/// What the weights of the shard's features tell, [`CHUNKS`] chunks a file.
fn multiply(
    working: &mut Working,
    weights: &Weights<'_>,
    chunks: Range<u64>,
    progress: &mut dyn Progress,
) -> Result<()> {
    let first = weights.features(chunks.start as usize).start;
    let done = |chunk: u64| (weights.features(chunk as usize).end - first) as u64;
    let all = if chunks.is_empty() { 0 } else { done(chunks.end - 1) };
    progress.begin("weights", Some(all), "features");
    for (number, start) in chunks.clone().step_by(CHUNKS as usize).enumerate() {
        let of_file = start..chunks.end.min(start + CHUNKS);
        working.file(&format!("{WEIGHTS}{number:05}.parquet"), |path| {
            let mut table = FeatureWriter::create(path)?;
            for chunk in of_file.clone() {
                let features = weights.features(chunk as usize);
                for (feature, told) in features.zip(weights.chunk(chunk as usize)) {
                    table.append(told.into_row(feature))?;
                }
                progress.advance(done(chunk), "");
                if progress.stop_requested() {
                    return Err(stopped());
                }
            }
            Ok(table.finish()?)
        })?;
        progress.advance(done(of_file.end - 1), "");
    }
    progress.end(&format!("{all} features"));
    Ok(())
}

fn stopped() -> Error {
    Error::stopped("whole files of the shard are kept; give the same command again to continue")
}

/// The files of what weights tell, of all shards in order.
pub(super) fn weight_files(shards: &Shards) -> Vec<PathBuf> {
    shards.shards.iter().flat_map(|shard| shard.files(WEIGHTS)).collect()
}

/// All chosen rows with the codes that shards made of them, in the batches of one process.
pub(super) struct CodedByShards {
    /// Document, position and token of each row.
    places: Rows,
    files: VecDeque<PathBuf>,
    pages: Option<Box<dyn Iterator<Item = storage::Result<CodesPage>> + Send>>,
    page: CodesPage,
    /// Rows of the page that were given out.
    given: usize,
    /// The file that was opened last.
    path: PathBuf,
}

impl CodedByShards {
    pub(super) fn new(prepared: &Prepared, options: &IndexOptions, shards: &Shards) -> Result<Self> {
        let places = reader(prepared, options, 0..prepared.choice.tokens)?.places_alone();
        let files = shards.shards.iter().flat_map(|shard| shard.files(CODES)).collect();
        let (page, path) = (CodesPage::default(), PathBuf::new());
        Ok(Self { places, files, pages: None, page, given: 0, path })
    }

    /// Makes `page` have a row that was not given out; false at the end of all files.
    fn turn(&mut self) -> Result<bool> {
        while self.given == self.page.documents.len() {
            if let Some(page) = self.pages.as_mut().and_then(Iterator::next) {
                (self.page, self.given) = (page?, 0);
                continue;
            }
            let Some(path) = self.files.pop_front() else { return Ok(false) };
            self.pages = Some(Box::new(pages(&storage::row::open::<CodesRow>(&path)?)?));
            self.path = path;
        }
        Ok(true)
    }

    fn codes_of(&mut self, batch: &RowBatch) -> Result<Codes> {
        let mut codes = Codes::default();
        for place in batch.documents.iter().copied().zip(batch.positions.iter().copied()) {
            if !self.turn()? {
                let problem =
                    format!("the shards have no codes of document {}, position {}", place.0, place.1);
                return Err(Error::data(problem));
            }
            let (document, position, features, values) = self.page.row(self.given);
            if (document, position) != place {
                let problem = format!(
                    "has document {document}, position {position}; expected document {}, position {}",
                    place.0, place.1
                );
                return Err(Error::format(&self.path, problem));
            }
            codes.push_row(features, values);
            self.given += 1;
        }
        Ok(codes)
    }
}

impl Iterator for CodedByShards {
    type Item = Result<Coded>;

    fn next(&mut self) -> Option<Result<Coded>> {
        let batch = self.places.next_batch().transpose()?;
        Some(batch.and_then(|batch| {
            let codes = self.codes_of(&batch)?;
            Ok((batch, codes))
        }))
    }
}

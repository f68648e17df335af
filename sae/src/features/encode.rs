//! The pass over the rows: codes of every token, spilled by feature and written by token.
//!
//! ```text
//! rows ──── RowBatch ──▶ encoder ── codes ─┬─▶ keeper: tokens, buckets, sample, counts
//!  (a thread)           (all threads)      └─▶ writer: codes-00000.parquet        (a thread each)
//! ```
//!
//! Every stage takes batches in their order, so what comes out is what one thread would make. Where shards have encoded the rows already,
//! their codes take the place of reader and encoder (`shards`).

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, Scope, ScopedJoinHandle};

use storage::codes::CodesWriter;

use super::buckets::{Buckets, Spill, how_many};
use super::coactive::{Coactivity, in_sample, sample_size};
use super::index::IndexOptions;
use super::inverted::TokenCounts;
use super::layers::{LayersSubject, RowEncoder, Rows};
use super::tokens::Tokens;
use crate::dictionary::Codes;
use crate::rows::{Choice, RowBatch, Subject};
use crate::{Error, Progress, Result};

/// Batches that wait between two stages.
const AHEAD: usize = 1;

/// What the pass leaves.
pub struct Encoded {
    pub tokens: Tokens,
    pub buckets: Buckets,
    pub coactivity: Coactivity,
    /// Empty if rows are not tokens.
    pub counts: TokenCounts,
}

/// A batch, without its activations, and its codes.
pub(super) type Coded = (RowBatch, Codes);

/// Encodes the chosen rows; spilled files and the codes by token come into `folder`.
///
/// # Errors
/// Rows that cannot be read, codes that are not finite, a disk that is full or fails, [`Error::Stopped`].
pub(super) fn encode(
    from: (&Subject, Option<&LayersSubject>),
    choice: &Choice,
    options: &IndexOptions,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<Encoded> {
    let rows = Rows::new(from, &choice.ranges, options.batch)?;
    std::thread::scope(|scope| {
        let coded = coded(scope, rows, RowEncoder::new(from))?;
        keep(coded, from.0, choice, options, folder, progress)
    })
}

/// The batches of `rows` with their codes; reading is done by a thread of its own.
pub(super) fn coded<'scope>(
    scope: &'scope Scope<'scope, '_>,
    rows: Rows,
    mut encoder: RowEncoder<'_>,
) -> Result<impl Iterator<Item = Result<Coded>>> {
    let (to_encode, batches) = sync_channel(AHEAD);
    begin(scope, "read", move || read(rows, &to_encode))?;
    Ok(batches.into_iter().map(move |batch: Result<RowBatch>| {
        let mut batch = batch?;
        let codes = encoder.encode(&batch.activations);
        batch.activations = Vec::new();
        Ok((batch, codes))
    }))
}

/// Takes all chosen rows, which come in batches of `options.batch`, apart; spilled files and the codes by token come into `folder`.
///
/// # Errors
/// As [`encode`].
pub(super) fn keep(
    batches: impl Iterator<Item = Result<Coded>>,
    subject: &Subject,
    choice: &Choice,
    options: &IndexOptions,
    folder: &Path,
    progress: &mut dyn Progress,
) -> Result<Encoded> {
    let by_token = CodesWriter::create(&folder.join("codes-00000.parquet"))?;
    let keeper = Keeper::new(folder, subject.dictionary.d_sae, choice.tokens, options.coactive_rows);
    progress.begin("index", Some(choice.tokens), subject.dataset.manifest().rows_are.name());
    let kept = std::thread::scope(|scope| {
        let (keep, to_keep) = sync_channel(AHEAD);
        let keeping = begin(scope, "keep", move || keeper.take_all(&to_keep))?;
        let (write, to_write) = sync_channel(AHEAD);
        let writing = begin(scope, "write", move || write_all(by_token, &to_write))?;
        let mut done = 0;
        for batch in batches {
            let coded = Arc::new(batch?);
            done += coded.0.len() as u64;
            // A stage that failed takes nothing any more, and says why when it is joined.
            if keep.send(coded.clone()).is_err() || write.send(coded).is_err() {
                break;
            }
            progress.advance(done, "");
            if progress.stop_requested() {
                return Err(Error::stopped("the index was not finished; an older one is kept"));
            }
        }
        drop((keep, write));
        joined(writing)?;
        joined(keeping)
    })?;
    let encoded = kept.finish()?;
    let (tokens, documents) = (encoded.tokens.len(), encoded.tokens.documents());
    progress.end(&format!("{tokens} tokens of {documents} documents"));
    Ok(encoded)
}

/// Begins a stage on a thread of its own.
pub(super) fn begin<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    name: &str,
    stage: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>> {
    let thread = Builder::new().name(name.to_owned()).spawn_scoped(scope, stage);
    thread.map_err(|e| Error::request(format!("cannot start a thread of the index: {e}")))
}

/// What a stage came to.
pub(super) fn joined<T>(stage: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    stage.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn read(mut rows: Rows, to: &SyncSender<Result<RowBatch>>) {
    while let Some(batch) = rows.next_batch().transpose() {
        let failed = batch.is_err();
        if to.send(batch).is_err() || failed {
            break;
        }
    }
}

fn write_all(mut writer: CodesWriter, batches: &Receiver<Arc<Coded>>) -> Result<()> {
    for coded in batches {
        append(&mut writer, &coded)?;
    }
    writer.finish()?;
    Ok(())
}

/// Writes the codes of a batch.
pub(super) fn append(writer: &mut CodesWriter, (batch, codes): &Coded) -> Result<()> {
    for i in 0..batch.len() {
        let (features, values) = codes.row(i);
        writer.append(batch.documents[i], batch.positions[i], features, values)?;
    }
    Ok(())
}

/// Takes codes apart.
struct Keeper<'a> {
    folder: &'a Path,
    features: usize,
    /// Rows that will come.
    rows: u64,
    coactive_rows: u64,
    /// Made when the first codes show how many to expect.
    spill: Option<Spill>,
    sampled: u64,
    tokens: Tokens,
    sample: Codes,
    counts: TokenCounts,
}

impl<'a> Keeper<'a> {
    fn new(folder: &'a Path, features: usize, rows: u64, coactive_rows: u64) -> Self {
        let (tokens, sample, counts) = (Tokens::default(), Codes::default(), TokenCounts::default());
        Self { folder, features, rows, coactive_rows, spill: None, sampled: 0, tokens, sample, counts }
    }

    fn take_all(mut self, batches: &Receiver<Arc<Coded>>) -> Result<Self> {
        for coded in batches {
            let (batch, codes) = &*coded;
            self.take(batch, codes)?;
        }
        Ok(self)
    }

    fn take(&mut self, batch: &RowBatch, codes: &Codes) -> Result<()> {
        let mut spill = match self.spill.take() {
            Some(spill) => spill,
            None => self.begin(codes)?,
        };
        for i in 0..batch.len() {
            let row = self.tokens.len() as u32;
            let (document, position) = (batch.documents[i], batch.positions[i]);
            let (token, (features, values)) = (batch.tokens.get(i).copied(), codes.row(i));
            self.tokens.push(document, position, token)?;
            if let Some(token) = token {
                self.counts.add(token, features.len());
            }
            for (&feature, &value) in features.iter().zip(values) {
                if !value.is_finite() {
                    return Err(not_finite(feature, value, document, position));
                }
                spill.add(feature, row, value)?;
            }
            if in_sample(u64::from(row), self.rows, self.sampled) {
                self.sample.push_row(features, values);
            }
        }
        self.spill = Some(spill);
        Ok(())
    }

    fn begin(&mut self, codes: &Codes) -> Result<Spill> {
        let l0 = codes.values.len() as f64 / codes.rows() as f64;
        self.sampled = sample_size(self.rows, self.coactive_rows, l0);
        let expected = (l0 * self.rows as f64).ceil() as u64;
        Spill::create(self.folder, self.features, how_many(expected, self.features))
    }

    fn finish(self) -> Result<Encoded> {
        let spill = self.spill.ok_or_else(|| Error::data("there are no rows to index"))?;
        let coactivity = Coactivity::new(self.sample, self.features);
        Ok(Encoded { tokens: self.tokens, buckets: spill.finish()?, coactivity, counts: self.counts })
    }
}

fn not_finite(feature: u32, value: f32, document: u32, position: u32) -> Error {
    Error::data(format!(
        "feature {feature} is {value} on document {document}, position {position}, expected a finite number: \
         the dictionary's weights or the activation are too large"
    ))
}

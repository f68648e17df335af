//! The harvest itself: batches through the model on this thread, Parquet written on another.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde::Serialize;
use storage::documents::DocumentRow;
use storage::{Bos, Dtype, Manifest, ModelRef, schema};

use super::HarvestConfig;
use super::capture::{Captured, capture};
use super::share::{Share, share};
use super::sink::{Sink, TableRows};
use super::source::{About, TokenSource, files};
use super::tables::Rows;
use lm::model::{Hook, LanguageModel, shown};
use lm::text;

use crate::shards::{Begun, Job, SHARDS, WorkStatus};
use crate::{Error, Progress, Result};

/// Batches that may wait for the writer.
const WAITING: usize = 1;

/// What a harvest made.
#[derive(Debug, Clone, Serialize)]
pub struct Harvested {
    /// The datasets' folders: one per hook, and one for the routing where it is not with the only hook.
    pub datasets: Vec<PathBuf>,
    /// Rows, the same in each dataset.
    pub rows: u64,
    /// Documents.
    pub documents: u64,
    /// Documents held out.
    pub held_out: u64,
    /// From the first batch, or shard, until everything is on disk; what an earlier run did is not in it.
    pub seconds: f64,
}

/// A batch on its way to the writer, which makes tables of it while the next one is computed.
struct Message {
    batch: u64,
    rows: Rows,
    got: Captured,
}

impl Message {
    /// The rows for each dataset. A sink of f16 that gets a number too large for it goes over to f32 first.
    fn datasets(
        &self,
        config: &HarvestConfig,
        model: &LanguageModel,
        sinks: &mut [Sink],
        rewriting: &RewriteProgress,
    ) -> Result<Vec<Vec<TableRows>>> {
        let mut datasets = Vec::new();
        for (i, hook) in config.hooks.iter().enumerate() {
            let width = hook.width(model.config())?;
            let sink = &mut sinks[i];
            // Looking costs a pass over the values; the failure that asks for it is rare.
            let table = match self.rows.activations(&self.got, i, *hook, width, sink.dtype()) {
                Err(_) if sink.dtype() == Dtype::F16 && self.rows.overflow(&self.got, i, width) => {
                    let widened = sink.widen(self.batch, &mut |done, all| rewriting.set(done, all));
                    rewriting.set(0, 0);
                    widened?;
                    self.rows.activations(&self.got, i, *hook, width, sink.dtype())?
                }
                table => table?,
            };
            datasets.push(vec![TableRows::activations(table)]);
        }
        if config.routing {
            let table = TableRows::routing(self.rows.routing(&self.got)?);
            match datasets.as_mut_slice() {
                [only] => only.push(table),
                _ => datasets.push(vec![table]),
            }
        }
        Ok(datasets)
    }
}

/// How far the writer's thread is with writing rows again as f32, for the model's thread, which shows it
/// while it waits.
#[derive(Debug, Default)]
struct RewriteProgress {
    done: AtomicU64,
    /// 0 while nothing is written again.
    all: AtomicU64,
}

impl RewriteProgress {
    fn set(&self, done: u64, all: u64) {
        self.done.store(done, Ordering::Relaxed);
        self.all.store(all, Ordering::Relaxed);
    }

    /// Shows it for as long as `waiting`.
    fn show(&self, progress: &mut dyn Progress, tokens: u64, mut waiting: impl FnMut() -> bool) {
        while waiting() {
            let (done, all) = (self.done.load(Ordering::Relaxed), self.all.load(Ordering::Relaxed));
            if all > 0 {
                progress
                    .advance(tokens, &format!("too large for f16: {done} of {all} rows rewritten as f32"));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_on(&self) -> bool {
        self.all.load(Ordering::Relaxed) > 0
    }
}

/// The documents that went by, by number.
#[derive(Debug, Default)]
struct DocumentLog {
    rows: Vec<DocumentRow>,
    /// Documents whose text does not say whether they are held out, and how many of them are.
    undecided: (u64, u64),
}

impl DocumentLog {
    fn add(&mut self, about: About) {
        let About { row, undecided } = about;
        self.undecided.0 += u64::from(undecided);
        self.undecided.1 += u64::from(undecided && row.held_out);
        self.rows.push(row);
    }

    /// In a shard that others come before, the first number is not 0.
    fn domain(&self, document: u32) -> &str {
        let first = self.rows.first().map_or(0, |row| row.document);
        self.rows.get((document - first) as usize).map_or("", |row| &row.domain)
    }
}

/// What the model's thread made.
struct ModelPass {
    tokens: u64,
    batches: u64,
    known: DocumentLog,
    remarks: Vec<String>,
}

/// Harvests; an interrupted harvest continues when it is asked for again with the same options.
///
/// # Errors
/// Options that make no sense, text or a model that cannot be read, activations that cannot be stored. What
/// is whole on disk stays, and the same call continues there.
pub fn run(
    config: &HarvestConfig,
    model: &LanguageModel,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<Harvested> {
    config.check(model)?;
    let Some(shard) = config.shard else { return run_share(config, model, None, out, progress) };
    let (folder, share) = (shard.folder(out), share(config, model.tokenizer(), shard, progress)?);
    let pieces = vec![format!("documents {} to {} of the text", share.range.start, share.range.end)];
    // Whether they are of this harvest is seen by the datasets themselves.
    let job = Job::new("harvest", out.join(SHARDS), serde_json::Value::Null);
    let is_dataset = |folder: &Path| folder.join(storage::MANIFEST).exists();
    let merged = is_dataset(out) || config.hooks.iter().any(|hook| is_dataset(&out.join(hook.to_string())));
    let working = match job.begin_elsewhere(shard, pieces, merged || folder.exists(), progress)? {
        Begun::Done(_) if merged && !folder.exists() => {
            return Ok(Harvested { datasets: Vec::new(), rows: 0, documents: 0, held_out: 0, seconds: 0.0 });
        }
        Begun::Done(_) => None,
        Begun::Working(working) => Some(working),
    };
    let result = run_share(config, model, Some(share), &folder, progress);
    let status = match &result {
        Ok(_) => WorkStatus::Done,
        Err(Error::Stopped(_)) => WorkStatus::Stopped,
        Err(_) => WorkStatus::Failed,
    };
    let closed = working.map_or(Ok(()), |working| working.close(status).map(drop));
    // The first error is the one to tell.
    let harvested = result?;
    closed?;
    Ok(harvested)
}

/// Harvests all documents, or those of a shard, into `out`.
fn run_share(
    config: &HarvestConfig,
    model: &LanguageModel,
    share: Option<Share>,
    out: &Path,
    progress: &mut dyn Progress,
) -> Result<Harvested> {
    // Listed before they are read: a file that vanishes afterwards was read all the same.
    let header = header(config, model)?;
    let mut source = TokenSource::open(config, model.tokenizer(), share)?;
    // A shard may have nothing to do where there are more shards than documents.
    if !source.find_first()? && config.shard.is_none() {
        return Err(no_tokens(&source.remarks()));
    }
    let (folders, sinks) = begin(config, model, &header, out)?;
    let first = sinks.iter().map(Sink::next_batch).min().unwrap_or(0);
    sinks.iter().filter_map(Sink::note).take(1).for_each(|note| progress.remark(&note));
    progress.begin("harvest", config.tokens, "tokens");
    source.notes().iter().for_each(|note| progress.remark(note));
    if first == u64::MAX {
        progress.remark(&format!("{} is already finished", out.display()));
    } else if first > 0 {
        progress.remark(&format!("continuing in {} at batch {first}", out.display()));
    }
    let begun = Instant::now();
    let (sender, receiver) = sync_channel::<Message>(WAITING);
    let rewriting = &RewriteProgress::default();
    let (sinks, computed) = std::thread::scope(|scope| {
        let writer = std::thread::Builder::new()
            .name("harvest writer".into())
            .spawn_scoped(scope, move || write(receiver, sinks, config, model, rewriting))
            .map_err(|e| Error::io(out, e))?;
        let computed = compute(config, model, source, first, (&sender, rewriting), progress);
        drop(sender);
        let tokens = computed.as_ref().map_or(0, |computed| computed.tokens);
        rewriting.show(progress, tokens, || !writer.is_finished());
        let sinks = writer.join().map_err(|_| Error::data("the writer of the harvest failed"))??;
        Ok::<_, Error>((sinks, computed))
    })?;
    for (hook, sink) in config.hooks.iter().zip(&sinks) {
        if sink.dtype() != config.dtype {
            progress.remark(&format!(
                "activations at {hook} are stored as f32: some are too large for f16 (65504)"
            ));
        }
    }
    let ModelPass { batches, known, remarks, .. } = match computed {
        Err(error)
            if !matches!(error, Error::Stopped(..)) && sinks.iter().all(|sink| sink.next_batch() == 0) =>
        {
            // Whoever mends the text or the options begins anew, and is not told of other settings.
            sinks.into_iter().zip(&folders).for_each(|(sink, folder)| sink.abandon(folder));
            let _ = std::fs::remove_dir(out);
            return Err(error);
        }
        computed => computed?,
    };
    remarks.iter().for_each(|remark| progress.remark(remark));
    let rows = known.rows.iter().map(|d| u64::from(d.tokens)).sum();
    if let Some(note) = set_aside(config, &known) {
        progress.remark(&note);
    }
    finish(model, sinks, batches, &known)?;
    let held_out = known.rows.iter().filter(|d| d.held_out).count() as u64;
    let documents = known.rows.len() as u64;
    progress.end(&format!("{rows} rows of {documents} documents, {held_out} held out, in {}", out.display()));
    Ok(Harvested { datasets: folders, rows, documents, held_out, seconds: begun.elapsed().as_secs_f64() })
}

/// The error about text without a row: what was skipped, if anything was.
fn no_tokens(remarks: &[String]) -> Error {
    let more = if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join("; ")) };
    Error::request(format!("the text has no tokens: it has no documents, or all of them are empty{more}"))
}

/// What was done about documents that do not say whether they are held out.
fn set_aside(config: &HarvestConfig, known: &DocumentLog) -> Option<String> {
    let (undecided, held_out) = known.undecided;
    let share = 100.0 * config.held_out_share;
    let what = match (undecided, held_out) {
        (1, 0) => "it was not set aside".to_owned(),
        (1, _) => "it was set aside".to_owned(),
        (_, 0) => "none of them was set aside".to_owned(),
        (_, 1) => "1 of them was set aside".to_owned(),
        (_, n) => format!("{n} of them were set aside"),
    };
    let who = match undecided {
        1 => "1 document does not say whether it is held out".to_owned(),
        n => format!("{n} documents do not say whether they are held out"),
    };
    (undecided > 0).then(|| format!("{who}; {what} (the share was to be {share} %)"))
}

fn finish(model: &LanguageModel, sinks: Vec<Sink>, batches: u64, known: &DocumentLog) -> Result<()> {
    let vocabulary: Vec<_> = model.tokenizer().token_bytes().into_iter().map(|b| (shown(&b), b)).collect();
    let tables = [
        (schema::DOCUMENTS, storage::documents::to_batch(&known.rows)?),
        (schema::VOCABULARY, storage::vocabulary::to_batch(&vocabulary)?),
    ];
    sinks.into_iter().try_for_each(|sink| sink.finish(batches, &tables))
}

/// The folders and their sinks: the hooks' in order, then the routing's if it has its own.
fn begin(
    config: &HarvestConfig,
    model: &LanguageModel,
    header: &Manifest,
    out: &Path,
) -> Result<(Vec<PathBuf>, Vec<Sink>)> {
    let (mut folders, routing) = config.folders(out);
    let mut hooks: Vec<Option<Hook>> = config.hooks.iter().copied().map(Some).collect();
    if config.routing && !folders.contains(&routing) {
        folders.push(routing);
        hooks.push(None);
    }
    let sink = |(folder, hook): (&PathBuf, &Option<Hook>)| {
        let d_model = hook.map_or(Ok(header.d_model), |hook| hook.width(model.config()))?;
        let hook = hook.map(|hook| hook.to_string());
        Sink::begin_or_finished(folder, Manifest { hook, d_model, ..header.clone() }, config.rows_per_part)
    };
    let sinks: Vec<Sink> = folders.iter().zip(&hooks).map(sink).collect::<Result<_>>()?;
    // A shard may be given again by whoever gives out the shards. A person who does so is told.
    match folders.first().filter(|_| config.shard.is_none() && sinks.iter().all(Sink::is_finished)) {
        Some(folder) => Err(storage::Error::Finished { path: folder.clone() }.into()),
        None => Ok((folders, sinks)),
    }
}

fn header(config: &HarvestConfig, model: &LanguageModel) -> Result<Manifest> {
    let path = model.source().lasting()?;
    let reference =
        ModelRef { id: model.id().to_owned(), path: Some(path), sha256: model.sha256().to_owned() };
    let mut header = Manifest::new(reference, None, model.config().hidden_size, config.dtype);
    header.context_length = config.context_length(model);
    header.tokenizer = format!("{} tokens, tokenizer.json of {}", model.tokenizer().len(), model.id());
    header.text = files(config)?;
    let beginning = model.tokenizer().beginning();
    header.bos = Some(Bos { token: beginning.token, because: beginning.because.clone() });
    header.left_out = beginning.token.map(|_| "BOS".to_owned()).into_iter().collect();
    header.left_out.push("padding".into());
    if !config.roles.is_empty() {
        header.left_out.push(format!("all but what {} says", config.roles.join(", ")));
    }
    header.settings = serde_json::json!(config.settings(model));
    Ok(header)
}

/// Runs the model over every batch from number `first` on.
fn compute(
    config: &HarvestConfig,
    model: &LanguageModel,
    source: TokenSource<'_>,
    first: u64,
    (sender, rewriting): (&SyncSender<Message>, &RewriteProgress),
    progress: &mut dyn Progress,
) -> Result<ModelPass> {
    let length = config.context_length(model);
    let mut batches = text::pack_with(source, length, model.bos(), config.batch_rows(model))?;
    let (mut batch, mut done, mut known) = (0, 0, DocumentLog::default());
    for next in batches.by_ref() {
        let (contexts, begun) = next?;
        begun.into_iter().for_each(|about| known.add(about));
        if batch >= first {
            // Where a harvest continues, its rate counts from here.
            progress.advance(done, "");
            contexts.check_tokens(model.config().vocab_size)?;
            let got = capture(model.decoder(), &contexts, &config.hooks, config.routing, config.gradients)?;
            let rows = Rows::new(&contexts, |document| known.domain(document))?;
            done += rows.len() as u64;
            // While rows are written again the writer takes nothing.
            rewriting.show(progress, done, || rewriting.is_on());
            if sender.send(Message { batch, rows, got }).is_err() {
                // The writer stopped with an error, which the caller gets from it.
                break;
            }
        } else {
            done += contexts.document_tokens() as u64;
        }
        batch += 1;
        if progress.stop_requested() {
            return Err(Error::stopped(format!(
                "{done} tokens are kept; give the same command again to continue"
            )));
        }
    }
    progress.advance(done, "");
    Ok(ModelPass { tokens: done, batches: batch, known, remarks: batches.documents().remarks() })
}

/// Writes what arrives. When the sender is gone, early or at the end, or a batch cannot be stored, what came
/// before is made whole.
fn write(
    receiver: Receiver<Message>,
    mut sinks: Vec<Sink>,
    config: &HarvestConfig,
    model: &LanguageModel,
    rewriting: &RewriteProgress,
) -> Result<Vec<Sink>> {
    let (mut next, mut problem) = (0, None);
    for message in receiver {
        match message.datasets(config, model, &mut sinks, rewriting) {
            Ok(datasets) => {
                for (sink, tables) in sinks.iter_mut().zip(&datasets) {
                    sink.write(message.batch, message.rows.len() as u64, tables)?;
                }
            }
            Err(error) => {
                problem = Some(error);
                break;
            }
        }
        next = message.batch + 1;
    }
    for sink in &mut sinks {
        sink.commit(next)?;
    }
    problem.map_or(Ok(sinks), Err)
}

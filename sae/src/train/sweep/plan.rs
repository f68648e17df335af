//! Which runs are trained together.

use std::path::{Path, PathBuf};

use super::file::NamedConfig;
use super::memory;
use crate::memory::{Room, room as memory_room};
use crate::train::config::{InputNormalisation, Resolved, TrainConfig};
use crate::train::stream::source::Source;
use crate::{Error, Progress, Result};

/// Share of the free memory that a sweep takes if it is not told.
const SHARE: f64 = 0.8;

/// A run with everything filled in.
pub struct PlannedRun {
    /// Its folder in the sweep's.
    pub name: String,
    /// What it needs, in bytes, besides what it shares.
    pub bytes: u64,
    /// What it needs besides while many of its features are dead and have the auxiliary loss.
    pub help: u64,
    pub(super) resolved: Resolved,
    pub(super) source: usize,
}

impl PlannedRun {
    /// Its configuration, as `train.toml` will have it.
    pub fn config(&self) -> &TrainConfig {
        &self.resolved.config
    }

    /// Width of the activations.
    pub fn width(&self) -> usize {
        self.resolved.d_in
    }

    /// Tokens it is trained on.
    pub fn tokens(&self) -> u64 {
        self.resolved.steps * self.resolved.config.batch as u64
    }
}

/// Runs that are trained together: one pass over the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wave {
    /// Their numbers in the sweep.
    pub runs: Vec<usize>,
    /// What the wave needs, in bytes.
    pub bytes: u64,
    /// What it needs besides while many features of all its runs are dead.
    pub help: u64,
}

/// A sweep before its first step.
pub struct Plan {
    /// The runs, in the order of the file.
    pub runs: Vec<PlannedRun>,
    /// What is trained together, one wave after the other.
    pub waves: Vec<Wave>,
    /// Bytes that a wave may need; `None` where nobody knows what is free.
    pub limit: Option<u64>,
    /// What there is; `None` where nobody knows, and where a limit was given.
    room: Option<Room>,
    pub(super) sources: Vec<Source>,
}

/// A dataset, and that of a transcoder's target; or the folder of all layers' datasets.
type Read = (PathBuf, Option<PathBuf>, bool);

/// What decides which batches a run sees.
type Stream = (usize, u64, u64, u64, usize, InputNormalisation, Option<u32>);

impl Plan {
    /// Opens the data and fills everything in. `limit` is how many bytes a wave may need; by default most of what is free.
    ///
    /// # Errors
    /// A run without a dataset, with options that make no sense, or equal to another one, with its name; a
    /// dataset that cannot be read.
    pub fn new(asked: &[NamedConfig], limit: Option<u64>, threads: Option<usize>) -> Result<Self> {
        let (mut sources, mut paths): (Vec<Source>, Vec<Read>) = (Vec::new(), Vec::new());
        let mut runs: Vec<PlannedRun> = Vec::new();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let threads = threads.unwrap_or(cores) as u64;
        for NamedConfig { name, config } in asked {
            let data = config.data.as_deref().ok_or_else(|| {
                Error::request(format!("run {name}: no dataset is given"))
                    .with_remedy("add data = \"FOLDER\" to [base]")
            })?;
            let source = open(data, config, &mut sources, &mut paths)?;
            let resolved = sources[source].resolve(config).map_err(|error| of_run(name, error))?;
            let (bytes, help) = (memory::of_run(&resolved, threads), memory::of_help(&resolved, threads));
            runs.push(PlannedRun { name: name.clone(), bytes, help, resolved, source });
        }
        check_different(&runs)?;
        let room = if limit.is_none() { memory_room() } else { None };
        let limit = limit.or(room.map(|room| (room.bytes as f64 * SHARE) as u64));
        let waves = waves(&runs, &sources, limit);
        Ok(Self { runs, waves, limit, room, sources })
    }

    /// Says before anything begins what there is too little memory for. Whoever gave a limit knows better.
    ///
    /// # Errors
    /// A wave that needs more than there is, even while few features are dead.
    pub fn must_fit(&self, progress: &mut dyn Progress) -> Result<()> {
        let Some(room) = self.room else { return Ok(()) };
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        let (needed, at_most) = (self.peak(), self.peak_with_help());
        if needed > room.bytes {
            return Err(Error::request(format!(
                "the training needs about {} MiB of memory, and {} MiB {}",
                mib(needed),
                mib(room.bytes),
                room.of
            ))
            .with_remedy(
                "choose a smaller --batch, --pool-rows or --d-sae; --memory GIB tries it nevertheless",
            ));
        }
        if at_most > room.bytes {
            progress.remark(&format!(
                "{} MiB {}; the training needs about {} MiB, and {} MiB if many features die",
                mib(room.bytes),
                room.of,
                mib(needed),
                mib(at_most)
            ));
        }
        Ok(())
    }

    /// Tokens of all runs together.
    pub fn tokens(&self) -> u64 {
        self.runs.iter().map(PlannedRun::tokens).sum()
    }

    /// The most that a wave needs, in bytes, while few features are dead.
    pub fn peak(&self) -> u64 {
        self.waves.iter().map(|wave| wave.bytes).max().unwrap_or(0)
    }

    /// The same while many are.
    pub fn peak_with_help(&self) -> u64 {
        self.waves.iter().map(|wave| wave.bytes + wave.help).max().unwrap_or(0)
    }
}

fn open(
    data: &Path,
    config: &TrainConfig,
    sources: &mut Vec<Source>,
    paths: &mut Vec<Read>,
) -> Result<usize> {
    let read = (data.to_owned(), config.target.clone(), config.cross_layer);
    if let Some(found) = paths.iter().position(|other| *other == read) {
        return Ok(found);
    }
    sources.push(Source::open(data, config)?);
    paths.push(read);
    Ok(sources.len() - 1)
}

/// `error`, with the name of the run that it is about.
pub(super) fn of_run(name: &str, error: Error) -> Error {
    match error {
        Error::Request(_) | Error::Data(_) => error.within(format_args!("run {name}")),
        other => other,
    }
}

/// Two runs that would be the same are a mistake: an option was crossed that one of them does not look at.
fn check_different(runs: &[PlannedRun]) -> Result<()> {
    let looked_at = |run: &PlannedRun| {
        let mut config = run.resolved.config.clone();
        if config.method.is_penalised() {
            config.k = 0;
        }
        config
    };
    for (i, run) in runs.iter().enumerate() {
        let config = looked_at(run);
        let same = |other: &&PlannedRun| {
            other.source == run.source && config.differences(&looked_at(other)).is_empty()
        };
        if let Some(other) = runs[..i].iter().find(same) {
            return Err(Error::request(format!(
                "runs {} and {} would be the same: what they differ in has no meaning for method {} (or is given on the command line \
                 for both); leave one of them out",
                other.name, run.name, config.method
            )));
        }
    }
    Ok(())
}

fn stream_of(run: &PlannedRun) -> Stream {
    let config = &run.resolved.config;
    let multiple = config.max_norm.multiple().map(f32::to_bits);
    (
        run.source,
        config.order_seed(),
        config.block_rows,
        run.resolved.pool_rows,
        config.batch,
        config.input_normalisation,
        multiple,
    )
}

/// Runs by stream, as many of each at once as fit.
fn waves(runs: &[PlannedRun], sources: &[Source], limit: Option<u64>) -> Vec<Wave> {
    let mut streams: Vec<(Stream, Vec<usize>)> = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let stream = stream_of(run);
        match streams.iter_mut().find(|(other, _)| *other == stream) {
            Some((_, members)) => members.push(i),
            None => streams.push((stream, vec![i])),
        }
    }
    let mut waves = Vec::new();
    for (_, members) in streams {
        let mut wave = Vec::new();
        for run in members {
            wave.push(run);
            if wave.len() > 1 && limit.is_some_and(|limit| needs(&wave, runs, sources) > limit) {
                wave.pop();
                let full = std::mem::replace(&mut wave, vec![run]);
                waves.push(wave_of(full, runs, sources));
            }
        }
        waves.push(wave_of(wave, runs, sources));
    }
    waves
}

fn wave_of(members: Vec<usize>, runs: &[PlannedRun], sources: &[Source]) -> Wave {
    Wave { bytes: bytes_of(&members, runs, sources), help: help_of(&members, runs), runs: members }
}

fn help_of(wave: &[usize], runs: &[PlannedRun]) -> u64 {
    wave.iter().map(|&i| runs[i].help).sum()
}

/// The most that a wave may come to need.
fn needs(wave: &[usize], runs: &[PlannedRun], sources: &[Source]) -> u64 {
    bytes_of(wave, runs, sources) + help_of(wave, runs)
}

fn bytes_of(wave: &[usize], runs: &[PlannedRun], sources: &[Source]) -> u64 {
    let members = || wave.iter().map(|&i| &runs[i]);
    let Some(first) = members().next() else { return 0 };
    let source = &sources[first.source];
    let gradients = members().any(|run| run.resolved.needs_gradients());
    let ends = members().map(|run| memory::of_end(&run.resolved, source.held_out_rows()));
    let end = ends.max().unwrap_or(0);
    let stream = memory::of_stream(&first.resolved, source.training_rows(), gradients, wave.len());
    // The last run that ends needs the stream no more.
    let beside = if wave.len() == 1 { stream.max(end) } else { stream + end };
    memory::PROCESS + beside + members().map(|run| run.bytes).sum::<u64>()
}

//! A run: its record, its configuration, its curves.

use std::path::Path;
use std::time::{Duration, SystemTime};

use storage::layers::LayersEvaluation;
pub use storage::metrics::MetricsColumns;
pub use storage::task::{TaskFigure, TaskRecord, TaskResult};
use storage::{Evaluation, Layered, RunRecord, RunStatus};

use super::problem;
use crate::load::Problem;
use crate::words::format;

/// A run that says it is running and was silent for longer was probably killed.
const SILENT: Duration = Duration::from_secs(15 * 60);

/// How a run stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// It is being trained.
    #[default]
    Running,
    /// Training came to its end.
    Finished,
    /// It was stopped before the end and can be resumed.
    Stopped,
    /// It ended with an error.
    Failed,
    /// It says that it runs, but nothing was written for a quarter of an hour: it was probably killed.
    Silent,
}

impl Status {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Finished => "finished",
            Self::Stopped => "paused",
            Self::Failed => "failed",
            Self::Silent => "silent",
        }
    }
}

/// What there is to know of a run without reading its tables.
#[derive(Clone, Debug, Default)]
pub struct RunInfo {
    /// How it stands.
    pub status: Status,
    /// `topk`, `mutual-choice`, …
    pub method: String,
    /// Features per token, where the method fixes them.
    pub k: Option<u64>,
    /// Width of the activations.
    pub d_in: u64,
    /// Number of features, of all layers of a cross-layer transcoder.
    pub d_sae: u64,
    /// How they are numbered, in a cross-layer transcoder.
    pub layered: Option<Layered>,
    /// Tokens seen in training.
    pub tokens: u64,
    /// Wall time of training, seconds.
    pub seconds: f64,
    /// Fraction of variance explained.
    pub fve: Option<f64>,
    /// Cross-entropy recovered.
    pub loss_recovered: Option<f64>,
    /// Mean features per token.
    pub l0: Option<f64>,
    /// Where FVE, L0 and loss come from: `evaluation/core.json` or the last logged step of training.
    pub measured_on: &'static str,
    /// How many features are dead, and over what.
    pub dead: Option<DeadFeatures>,
    /// Seed of the training.
    pub seed: u64,
    /// The model that made the activations.
    pub model: String,
    /// Its folder at the time, if it was one.
    pub model_path: Option<String>,
    /// Where what a transcoder reconstructs was taken.
    pub target_hook: Option<String>,
    /// Tokens that training is to see.
    pub tokens_total: u64,
    /// Dataset that it was indexed on, or trained on before it has an index, as recorded.
    pub dataset: String,
    /// Where its activations were taken.
    pub hook: String,
    /// The same as people read it: of a cross-layer transcoder with a star for the layer.
    pub hook_in_words: String,
    /// SHA-256 of the model's weights.
    pub model_sha256: String,
    /// What the record says, as name and value, in the order to be read.
    pub configuration: Vec<(String, String)>,
    /// The numbers of `evaluation/core.json`.
    pub evaluation: Option<Evaluation>,
    /// The numbers of `evaluation/layers.json`, of a cross-layer transcoder.
    pub by_layer: Option<LayersEvaluation>,
    /// The numbers of `evaluation/cett.json`.
    pub cett: Option<storage::cett::CettRecord>,
    /// What its encoder loses, where that was measured.
    pub audit: Option<super::Audit>,
    /// What it is worth for tasks that are known.
    pub tasks: Vec<TaskRecord>,
    /// Whether it has a feature index.
    pub indexed: bool,
    /// When that index was written.
    pub index_written: Option<SystemTime>,
    /// Whether that index cannot be used; why is among the gaps.
    pub index_broken: bool,
    /// Whether its features have places on a map.
    pub mapped: bool,
    /// Whether its features have explanations.
    pub explained: bool,
    /// Whether its features are joined with experts.
    pub joined: bool,
    /// Whether it was scored against the made world that its rows come from.
    pub scored: bool,
    /// Whether its fields were measured.
    pub fields: bool,
    /// Names of the comparisons in it.
    pub comparisons: Vec<String>,
    /// `train.toml` as it stands.
    pub train_toml: Option<String>,
    /// L0 in training and by the thresholds fitted after it, where there are some.
    pub l0_by_threshold: Option<(f64, f64)>,
    /// When its curves were written last.
    pub metrics_written: Option<SystemTime>,
    /// The process that trains it, where it is being trained on this machine.
    pub trainer: Option<u32>,
    /// Why it failed, if it did.
    pub failure: Option<String>,
    /// Whether it was imported from a different program and not trained here.
    pub imported: bool,
    /// What a check of it said: the sentence, what to do about it, and whether it can be used as it was read.
    pub check: Option<storage::Check>,
    /// What could not be read, though the run itself could.
    pub gaps: Vec<Problem>,
}

impl RunInfo {
    /// Whether its rows are of a model's tokens, so that a text can be read through it. Rows of pictures and of made worlds have no hook.
    pub fn reads_text(&self) -> bool {
        !self.hook.is_empty()
    }

    /// Where `feature` reads the model; of a cross-layer transcoder with its number in the layer.
    pub fn read_by(&self, feature: u32) -> String {
        let Some(layered) = self.layered else { return self.hook.clone() };
        let (layer, of_layer) = layered.place(feature);
        let hook = self.hook_in_words.replacen('*', &layer.to_string(), 1);
        format!("{hook} · feature {} of the layer", format::grouped(u64::from(of_layer)))
    }
}

/// Features that do not fire, and over which tokens: "dead" alone means nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DeadFeatures {
    /// How many.
    pub count: u64,
    /// Of so many.
    pub features: u64,
    /// Whether it is of training's last tokens; otherwise it is of all tokens that were evaluated or indexed.
    pub in_training: bool,
    /// In words: `72 of 4 608 fired on none of the 60 000 indexed tokens`.
    pub about: String,
}

impl DeadFeatures {
    /// Share of the dictionary.
    pub fn share(&self) -> f64 {
        self.count as f64 / self.features.max(1) as f64
    }

    /// By the evaluation, else by the index, else by the last logged step of training.
    fn of(
        run: &storage::Run,
        evaluation: Option<&Evaluation>,
        by_layer: Option<&LayersEvaluation>,
        dead_after: Option<u64>,
    ) -> Option<Self> {
        let features = features_of(run.record());
        let never = |count: u64, tokens: u64, kind: &str| {
            let (count, of, tokens) =
                (format::grouped(count), format::grouped(features), format::grouped(tokens));
            format!("{count} of {of} features fired on none of the {tokens} {kind} tokens")
        };
        if let Some(evaluation) = evaluation {
            let about = never(evaluation.dead, evaluation.tokens, "evaluated");
            return Some(Self { count: evaluation.dead, features, in_training: false, about });
        }
        if let Some(by_layer) = by_layer {
            let count = by_layer.layers.iter().map(|layer| layer.dead).sum();
            let about = never(count, by_layer.tokens, "evaluated");
            return Some(Self { count, features, in_training: false, about });
        }
        // Why an index cannot be read is shown where it is opened.
        if let Some(index) = run.index().ok().flatten() {
            let about = never(index.dead, index.tokens, "indexed");
            return Some(Self { count: index.dead, features, in_training: false, about });
        }
        let last = run.record().last.unwrap_or_default();
        let count =
            last.dead_features.map(f64::from).or(last.dead_share.map(|s| f64::from(s) * features as f64))?;
        let window = dead_after.map_or_else(
            || "for a while at the end of training".to_owned(),
            |tokens| format!("for the last {} tokens of training", format::grouped(tokens)),
        );
        let count = count.round() as u64;
        let about = format!(
            "{} of {} features were silent {window}",
            format::grouped(count),
            format::grouped(features)
        );
        Some(Self { count, features, in_training: true, about })
    }
}

/// Features of all layers.
fn features_of(record: &RunRecord) -> u64 {
    record.d_sae as u64 * record.layers.unwrap_or(1)
}

/// Tokens of silence after which training calls a feature dead, as the resolved configuration says.
fn dead_after(train_toml: Option<&str>) -> Option<u64> {
    let line = train_toml?.lines().find_map(|line| line.trim().strip_prefix("dead_after"))?;
    line.trim_start().strip_prefix('=')?.replace('_', "").trim().parse().ok()
}

/// The log of a run's training, column by column.
#[derive(Clone, Debug, Default)]
pub struct Metrics(pub MetricsColumns);

impl Metrics {
    /// The values of a column that has at least one finite value; one per logged step.
    pub fn curve(&self, curve: fn(&MetricsColumns) -> &Vec<Option<f32>>) -> Option<&[Option<f32>]> {
        super::curve(curve(&self.0))
    }
}

/// Reads what there is to know of the run in `dir` without its tables.
///
/// # Errors
/// A folder that is not a run. What else cannot be read is in [`RunInfo::gaps`].
pub fn read_info(dir: &Path) -> Result<RunInfo, Problem> {
    let run = storage::Run::open(dir).map_err(problem)?;
    let record = run.record();
    let mut gaps = Vec::new();
    let evaluation = run.evaluation().unwrap_or_else(|error| {
        gaps.push(problem(error));
        None
    });
    let by_layer = LayersEvaluation::read(dir).unwrap_or_else(|error| {
        gaps.push(problem(error));
        None
    });
    let broken = broken_index(&run);
    let index_broken = broken.is_some();
    gaps.extend(broken);
    // The evaluation is on held-out text and counts for more than the last batch of training.
    let evaluated = evaluation.as_ref();
    let last = record.last.unwrap_or_default();
    let train_toml = match std::fs::read_to_string(dir.join("train.toml")) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            gaps.push(Problem::new(format!("{}: {error}.", dir.join("train.toml").display())));
            None
        }
    };
    Ok(RunInfo {
        status: status(dir, record.status),
        method: record.method.clone(),
        k: (record.k > 0).then_some(record.k as u64),
        d_in: record.d_in as u64,
        d_sae: features_of(record),
        layered: Layered::of(record),
        tokens: record.tokens_done,
        seconds: record.wall_seconds,
        fve: evaluated
            .map_or_else(|| by_layer.as_ref().and_then(mean_fve), |e| e.fve)
            .or_else(|| last.explained_variance.map(f64::from)),
        loss_recovered: evaluated
            .map_or_else(|| by_layer.as_ref().and_then(|e| e.together.loss_recovered), |e| e.loss_recovered),
        l0: evaluated
            .map(|e| e.l0)
            .or_else(|| by_layer.as_ref().map(|e| e.l0))
            .or_else(|| last.l0.map(f64::from)),
        measured_on: match (&evaluation, &by_layer) {
            (Some(_), _) => "evaluation/core.json",
            (None, Some(_)) => "evaluation/layers.json, FVE as the mean over layers",
            (None, None) => "the last logged step of training",
        },
        dead: DeadFeatures::of(&run, evaluated, by_layer.as_ref(), dead_after(train_toml.as_deref())),
        seed: record.seed,
        model: record.model.id.clone(),
        model_path: record.model.path.clone(),
        target_hook: record.target_hook.clone(),
        tokens_total: record.tokens_total,
        dataset: indexed_on(&run).unwrap_or_else(|| record.data.clone()),
        hook: record.hook.clone(),
        hook_in_words: record.hook_in_words(),
        model_sha256: record.model.sha256.clone(),
        configuration: configuration(record),
        evaluation,
        by_layer,
        cett: storage::cett::CettRecord::read(dir).unwrap_or_else(|error| {
            gaps.push(problem(error));
            None
        }),
        audit: storage::audit::Audit::read(dir).unwrap_or_else(|error| {
            gaps.push(problem(error));
            None
        }),
        tasks: tasks(dir, &mut gaps),
        indexed: run.features_dir().join(INDEX).exists(),
        index_written: std::fs::metadata(run.features_dir().join(INDEX)).and_then(|m| m.modified()).ok(),
        index_broken,
        mapped: run.features_dir().join(storage::map::FILE).exists(),
        explained: storage::explanations::sources(dir).is_ok_and(|sources| !sources.is_empty()),
        joined: run.features_dir().join("experts.parquet").exists(),
        scored: super::truth::exists(dir),
        fields: super::fields::exists(dir),
        comparisons: comparisons(dir),
        train_toml,
        l0_by_threshold: record.thresholds.as_ref().map(|t| (t.l0_training, t.l0_threshold)),
        metrics_written: std::fs::metadata(dir.join("metrics.parquet")).and_then(|m| m.modified()).ok(),
        trainer: (record.status == RunStatus::Running).then(|| trainer(dir)).flatten(),
        failure: record.error.clone(),
        imported: record.imported.is_some(),
        check: storage::Check::read(dir).unwrap_or_else(|error| {
            gaps.push(problem(error));
            None
        }),
        gaps,
    })
}

/// What `sae check` printed.
///
/// # Errors
/// A text that is not the JSON of a check.
pub fn parse_check(answer: &str) -> Result<storage::Check, Problem> {
    serde_json::from_str(answer)
        .map_err(|error| Problem::new(format!("`sae check` gave no verdict: {error}.")))
}

/// The records of the tasks that the run in `dir` was measured on, by name.
fn tasks(dir: &Path, gaps: &mut Vec<Problem>) -> Vec<TaskRecord> {
    let files = std::fs::read_dir(dir.join(storage::evaluation::FOLDER)).into_iter().flatten().flatten();
    let name = |file: std::fs::DirEntry| {
        let name = file.file_name().to_string_lossy().into_owned();
        Some(name.strip_prefix("task-")?.strip_suffix(".json")?.to_owned())
    };
    let mut names: Vec<String> = files.filter_map(name).collect();
    names.sort();
    let mut read = |name: String| {
        let record = TaskRecord::read(dir, &name).map_err(problem);
        record.map_err(|problem| gaps.push(problem)).ok()
    };
    names.into_iter().filter_map(&mut read).collect()
}

/// The table of an index that all views of it begin with.
const INDEX: &str = "features.parquet";

/// Why the index of a run cannot be used, where there is one: its record or the foot of its table cannot be read.
fn broken_index(run: &storage::Run) -> Option<Problem> {
    if !run.features_dir().join(INDEX).exists() {
        return None;
    }
    let found = match (run.features(), run.index()) {
        (Err(error), _) | (_, Err(error)) => problem(error),
        (_, Ok(None)) => Problem::new(format!("{} has no record of its feature index.", run.dir().display())),
        _ => return None,
    };
    Some(Problem {
        remedy: Some(format!("Make the index again: `sae index {}`.", run.dir().display())),
        ..found
    })
}

/// The process that writes into the run in `dir`.
pub fn trainer(dir: &Path) -> Option<u32> {
    storage::Lock::holder(dir)
}

/// What the index is of, by its own record. Why one cannot be read is shown where it is opened.
fn indexed_on(run: &storage::Run) -> Option<String> {
    Some(run.index().ok()??.data)
}

fn comparisons(dir: &Path) -> Vec<String> {
    let names = storage::matching::find(dir).into_iter();
    names.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect()
}

fn status(dir: &Path, recorded: RunStatus) -> Status {
    match recorded {
        RunStatus::Finished => Status::Finished,
        RunStatus::Stopped => Status::Stopped,
        RunStatus::Failed => Status::Failed,
        RunStatus::Running => {
            let written = |name: &str| std::fs::metadata(dir.join(name)).and_then(|m| m.modified()).ok();
            let newest = [written("run.json"), written("metrics.parquet")].into_iter().flatten().max();
            let age = newest.and_then(|at| SystemTime::now().duration_since(at).ok());
            if age.is_some_and(|age| age > SILENT) { Status::Silent } else { Status::Running }
        }
    }
}

fn configuration(record: &RunRecord) -> Vec<(String, String)> {
    if let Some(imported) = &record.imported {
        return import_configuration(record, imported);
    }
    let mut rows = vec![
        ("method", record.method.clone()),
        ("features", features_in_words(record)),
        ("activation width", format::grouped(record.d_in as u64)),
        ("k", if record.k > 0 { record.k.to_string() } else { format::MISSING.to_owned() }),
        ("model", record.model.id.clone()),
        ("hook", record.hook_in_words()),
        ("dataset", record.data.clone()),
        ("seed", record.seed.to_string()),
        ("threads", record.threads.to_string()),
        ("steps", format!("{} of {}", format::grouped(record.step), format::grouped(record.steps_total))),
        (
            "tokens",
            format!("{} of {}", format::count(record.tokens_done), format::count(record.tokens_total)),
        ),
        ("rows left out by norm", left_out(record)),
        ("training time", format::duration(record.wall_seconds)),
        ("input scale", format::value(record.input_scale)),
        ("started", record.started.clone()),
        ("last written", record.updated.clone()),
    ];
    rows.retain(|(_, value)| !value.is_empty());
    let mut rows: Vec<_> = rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    rows.extend(record.versions.iter().map(|(name, version)| {
        let name = if name == "processor" { "CPU".to_owned() } else { format!("version of {name}") };
        (name, version.clone())
    }));
    rows
}

/// The mean over layers.
fn mean_fve(evaluation: &LayersEvaluation) -> Option<f64> {
    let all: Option<Vec<f64>> = evaluation.layers.iter().map(|layer| layer.fve).collect();
    all.filter(|all| !all.is_empty()).map(|all| all.iter().sum::<f64>() / all.len() as f64)
}

fn features_in_words(record: &RunRecord) -> String {
    let each = format::grouped(record.d_sae as u64);
    match record.layers {
        Some(layers) => format!("{each} in each of {layers} layers"),
        None => each,
    }
}

/// How many rows training passed over because of their norm; nothing where it is not known.
fn left_out(record: &RunRecord) -> String {
    let say = |left: &storage::LeftOut| match left.rows {
        0 => "none".to_owned(),
        rows => format!("{} ({})", format::grouped(rows), format::percent(left.share)),
    };
    record.left_out.as_ref().map(say).unwrap_or_default()
}

/// What there is to say of a dictionary that was not trained here.
fn import_configuration(record: &RunRecord, imported: &storage::Imported) -> Vec<(String, String)> {
    let yes_no = |yes: bool| if yes { "subtracted before encoding" } else { "not subtracted" }.to_owned();
    let mut rows = vec![
        ("selection", record.method.clone()),
        ("imported from", imported.source.clone()),
        ("format", imported.layout.clone()),
        ("features", format::grouped(record.d_sae as u64)),
        ("activation width", format::grouped(record.d_in as u64)),
        ("k", if record.k > 0 { record.k.to_string() } else { format::MISSING.to_owned() }),
        ("model", record.model.id.clone()),
        ("hook", record.hook.clone()),
        ("dataset", record.data.clone()),
        ("decoder bias", yes_no(imported.pre_bias)),
        ("input scale", format::value(imported.input_scale)),
        ("normalisation", imported.normalisation.clone()),
        ("reading", imported.reading.clone().unwrap_or_default()),
        ("imported", record.started.clone()),
    ];
    rows.retain(|(_, value)| !value.is_empty());
    let mut rows: Vec<_> = rows.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let decided = |one: &storage::Decision| (one.what.clone(), format!("{}: {}", one.value, one.why));
    rows.extend(imported.decisions.iter().map(decided));
    rows.extend(imported.files.iter().map(|file| ("file".to_owned(), file.path.clone())));
    rows
}

/// Reads the curves of the run in `dir`; an imported one has none.
///
/// # Errors
/// A folder that is not a run; a log that cannot be read.
pub fn read_metrics(dir: &Path) -> Result<Metrics, Problem> {
    let run = storage::Run::open(dir).map_err(problem)?;
    if run.record().imported.is_some() {
        return Ok(Metrics::default());
    }
    let reader = run.metrics().map_err(problem)?;
    MetricsColumns::read_all(&reader).map(Metrics).map_err(problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_of_dead_features_is_read_from_the_resolved_configuration() {
        assert_eq!(dead_after(Some("method = \"topk\"\ndead_after = 75000\n")), Some(75_000));
        assert_eq!(dead_after(Some("dead_after=1_000")), Some(1_000));
        assert_eq!((dead_after(Some("k = 3")), dead_after(None)), (None, None));
    }
}

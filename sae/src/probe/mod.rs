//! What features know: logistic probes on a few features of a dictionary, on labelled prompts, next to controls (`docs/probe.md`).
//!
//! ```text
//! sets of prompts ── model, once ──▶ activations (kept) ── dictionaries ──▶ codes ─┐
//!        └── splits as published, and without repeated prompts ────────────────────┴─▶ probes ──▶ means over sets
//! ```
//!
//! | file | subject |
//! |---|---|
//! | `sets` | labelled prompts of a folder |
//! | `numpy`, `split` | splits and folds to the bit as the published protocol draws them; repeated prompts |
//! | `tasks` | settings × splits × seeds |
//! | `activations` | what the model gives for each prompt |
//! | `columns` | choice of columns; principal components, difference of means |
//! | `logistic`, `protocol`, `measure` | a fit, the choice of C, figures |
//! | `means` | over all sets |
//! | `shards` | some of the sets in one process; all of them together |
//! | `peer` | files as sae-probes writes them |

mod activations;
mod candidates;
mod columns;
pub mod logistic;
mod means;
pub mod measure;
mod numpy;
mod peer;
mod protocol;
mod sets;
mod shards;
mod split;
mod tasks;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use storage::Scan;
use storage::probe::{FORMAT, Probe, ProbeMeanRow, ProbeRow, ProbeSetRow, VERSION};

pub use activations::Pooling;
pub use logistic::Penalty;
pub use sets::{LabelledSet, read as read_sets};
pub use shards::{merge, run_shard};
pub use split::Split;
pub use tasks::{Setting, Splits};

use crate::dictionary::Dictionary;
use crate::rows::{ModelChoice, Source, load_model, manifest_for};
use crate::train::{CONFIG_FILE, read_config_file};
use crate::{Error, Progress, Result};
use activations::{Reading, stop};
use candidates::probe_set;
use lm::model::Hook;

/// The control that differences are told from: the activation's own dimensions.
pub const RAW: &str = "raw dimensions";
/// All dimensions at once.
pub const ALL: &str = "all dimensions";
/// Folder of the finished sets.
const FINISHED: &str = "sets";
/// Columns where few prompts or few positives are trained on, as published.
const FEW: [usize; 2] = [16, 128];

/// How to probe.
#[derive(Debug, Clone)]
pub struct ProbeOptions {
    /// Folder of labelled prompts.
    pub sets: PathBuf,
    /// Names of the sets to probe; all if empty.
    pub only: Vec<String>,
    /// Dataset that says where a dictionary's model is; the one that a run names when `None`.
    pub data: Option<PathBuf>,
    /// The model.
    pub model: ModelChoice,
    /// Where dictionaries belong that do not say it.
    pub hook: Option<Hook>,
    /// What of a prompt is read.
    pub pooling: Pooling,
    /// Columns that probes are given; in the scarce and imbalanced settings 16 and 128 when `None`.
    pub k: Option<Vec<usize>>,
    /// Penalties.
    pub penalties: Vec<Penalty>,
    /// Settings.
    pub settings: Vec<Setting>,
    /// Splits.
    pub splits: Vec<Splits>,
    /// Seeds of splits and folds; the published splits have 42.
    pub seeds: Vec<u32>,
    /// Where activations are kept; `OUT/activations` when `None`.
    pub cache: Option<PathBuf>,
}

impl ProbeOptions {
    /// The normal setting with k = 1, 2, 5, 10, 20, 50 and 100, l1 and seed 42, by both splits.
    pub fn new(sets: PathBuf) -> Self {
        Self {
            sets,
            only: Vec::new(),
            data: None,
            model: ModelChoice::OfTheData,
            hook: None,
            pooling: Pooling::Last,
            k: None,
            penalties: vec![Penalty::L1],
            settings: vec![Setting::Normal],
            splits: Splits::ALL.to_vec(),
            seeds: vec![42],
            cache: None,
        }
    }

    fn k(&self, setting: Setting) -> Vec<usize> {
        match (&self.k, setting) {
            (Some(k), _) => k.clone(),
            (None, Setting::Scarce | Setting::Imbalanced) => FEW.to_vec(),
            (None, _) => vec![1, 2, 5, 10, 20, 50, 100],
        }
    }

    fn check(&self) -> Result<()> {
        if self.k.as_ref().is_some_and(|k| k.is_empty() || k.contains(&0)) {
            return Err(Error::request("k must be numbers of features, at least 1"));
        }
        if self.seeds.is_empty()
            || self.settings.is_empty()
            || self.splits.is_empty()
            || self.penalties.is_empty()
        {
            return Err(Error::request("there must be at least one seed, setting, split and penalty"));
        }
        Ok(())
    }
}

/// What came out.
#[derive(Debug, Clone)]
pub struct Probed {
    /// Where it was written.
    pub out: PathBuf,
    /// The sets.
    pub sets: Vec<ProbeSetRow>,
    /// What they come to.
    pub means: Vec<ProbeMeanRow>,
}

/// A dictionary that is probed.
struct Subject {
    name: String,
    control: &'static str,
    hook: Hook,
    dictionary: Dictionary,
    sha256: String,
}

/// Probes the dictionaries at `paths`, which belong to one model, and the controls.
///
/// Activations and finished sets are kept in `out`, so an interrupted call resumes where it was.
///
/// # Errors
/// Dictionaries, sets or a model that cannot be read or do not go together; an `out` that answers a different question.
pub fn run(
    paths: &[PathBuf],
    out: &Path,
    options: &ProbeOptions,
    progress: &mut dyn Progress,
) -> Result<Probed> {
    let prepared = Prepared::open(paths, out, options, progress)?;
    let readings = prepared.readings(options);
    let sets: Vec<&LabelledSet> = prepared.sets.iter().collect();
    read_prompts(&readings, &sets, progress)?;
    prepared.finish(&readings, out, options, progress)
}

/// What is probed, checked.
struct Prepared {
    sets: Vec<LabelledSet>,
    subjects: Vec<Subject>,
    model: lm::model::LanguageModel,
    request: Probe,
    /// Folder of the prompts' activations.
    cache: PathBuf,
}

impl Prepared {
    /// Reads everything and makes `out` the folder of this question.
    ///
    /// # Errors
    /// As [`run`].
    fn open(
        paths: &[PathBuf],
        out: &Path,
        options: &ProbeOptions,
        progress: &mut dyn Progress,
    ) -> Result<Self> {
        options.check()?;
        let sets = sets::read(&options.sets, &options.only, progress)?;
        let (subjects, model) = open(paths, options)?;
        let request = request(&subjects, &model, options);
        match Probe::read(out)? {
            Some(before) if before != request => {
                return Err(Error::request(format!("{} has the answers to a different question", out.display()))
                    .with_remedy("choose a different --out, or delete that folder; --cache DIR shares activations between both"));
            }
            Some(_) => {}
            None => {
                std::fs::create_dir_all(out).map_err(|e| Error::io(out, e))?;
                request.write(out)?;
            }
        }
        let cache = options.cache.clone().unwrap_or_else(|| out.join("activations"));
        Ok(Self { sets, subjects, model, request, cache })
    }

    fn readings(&self, options: &ProbeOptions) -> Vec<Reading<'_>> {
        let reading =
            |hook| Reading { model: &self.model, hook, pooling: options.pooling, cache: &self.cache };
        hooks(&self.subjects).into_iter().map(reading).collect()
    }

    /// Probes the sets that are not finished, and writes the tables of all.
    ///
    /// # Errors
    /// Activations that are missing, files that cannot be read or written, [`Error::Stopped`].
    fn finish(
        &self,
        readings: &[Reading<'_>],
        out: &Path,
        options: &ProbeOptions,
        progress: &mut dyn Progress,
    ) -> Result<Probed> {
        let rows = probe_sets(&self.subjects, readings, &self.sets, out, options, progress)?;
        finish(&self.subjects, &rows, &self.sets, &self.request, out)
    }
}

/// Writes the tables of the whole folder.
fn finish(
    subjects: &[Subject],
    rows: &[ProbeRow],
    sets: &[LabelledSet],
    request: &Probe,
    out: &Path,
) -> Result<Probed> {
    let described: Vec<ProbeSetRow> = sets.iter().map(describe).collect();
    let means = means::means(rows);
    storage::row::write(&out.join(storage::probe::SETS), &described)?;
    storage::row::write(&out.join(storage::probe::MEANS), &means)?;
    for subject in subjects {
        peer::write(out, &subject.name, &subject.hook.to_string(), request, rows)?;
    }
    storage::row::write(&out.join(storage::probe::PROBES), rows)?;
    Ok(Probed { out: out.to_owned(), sets: described, means })
}

/// The split of `set` in the normal setting as sae-probes draws it with `seed`; `None` if there are too few prompts.
pub fn published_split(set: &LabelledSet, seed: u32) -> Option<Split> {
    let everywhere: Vec<usize> = (0..set.prompts.len().min(split::MOST)).collect();
    split::draw(&set.labels, &everywhere, split::Sizes::normal(set.prompts.len())?, seed)
}

fn describe(set: &LabelledSet) -> ProbeSetRow {
    let split = published_split(set, 42);
    let [negative, positive] = set.classes.clone();
    ProbeSetRow {
        set: set.name.clone(),
        prompts: set.prompts.len() as u32,
        positives: set.labels.iter().filter(|label| **label).count() as u32,
        positive,
        negative,
        different: split::different(&set.prompts, &set.labels).len() as u32,
        leak: split.map(|split| split::leak(&set.prompts, &split)),
    }
}

/// The dictionaries, with the model that they belong to.
fn open(paths: &[PathBuf], options: &ProbeOptions) -> Result<(Vec<Subject>, lm::model::LanguageModel)> {
    let (mut subjects, mut manifests) = (Vec::<Subject>::new(), Vec::new());
    for path in paths {
        let source = Source::open(path)?;
        let mut manifest = manifest_for(path, options.data.as_deref(), &source, &options.model)?;
        let named = match (options.hook, source.hook()) {
            (_, hook) if !hook.is_empty() => hook.parse()?,
            (Some(hook), _) => hook,
            (None, _) => {
                return Err(Error::request(format!(
                    "{} does not say at which hook it belongs",
                    path.display()
                ))
                .with_remedy("name it with --hook"));
            }
        };
        manifest.hook = Some(named.to_string());
        let control = match source.record() {
            Some(record) if record.imported.is_none() => read_config_file(&path.join(CONFIG_FILE))?.control(),
            _ => "",
        };
        let name = free_name(path, &subjects);
        subjects.push(Subject {
            name,
            control,
            hook: named,
            dictionary: source.dictionary,
            sha256: source.sha256,
        });
        manifests.push(manifest);
    }
    let Some(first) = manifests.first() else {
        return Err(Error::request("there is no dictionary to probe"));
    };
    if let Some(other) = manifests.iter().find(|manifest| manifest.model.sha256 != first.model.sha256) {
        return Err(Error::request(format!(
            "the dictionaries belong to different models, `{}` and `{}`",
            first.model.id, other.model.id
        ))
        .with_remedy("probe those of one model at a time"));
    }
    let model = load_model(&options.model, first)?
        .ok_or_else(|| Error::request("prompts need a language model").with_remedy("name it with --model"))?;
    for subject in &subjects {
        let width = subject.hook.width(model.config())?;
        if width != subject.dictionary.d_in {
            return Err(Error::request(format!(
                "{} of `{}` has width {width}, {} takes {}",
                subject.hook,
                model.id(),
                subject.name,
                subject.dictionary.d_in
            ))
            .with_remedy("give the model that it was trained on"));
        }
    }
    Ok((subjects, model))
}

/// A name that no dictionary has yet: that of its folder, with a number if need be.
fn free_name(path: &Path, taken: &[Subject]) -> String {
    let own = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let own =
        own.file_name().map_or_else(|| "dictionary".to_owned(), |name| name.to_string_lossy().into_owned());
    let names = (1..).map(|n: u32| if n == 1 { own.clone() } else { format!("{own}-{n}") });
    let free = |name: &String| !taken.iter().any(|subject| subject.name == *name);
    names.take(taken.len() + 1).find(free).unwrap_or(own.clone())
}

fn hooks(subjects: &[Subject]) -> Vec<Hook> {
    let mut hooks: Vec<Hook> = Vec::new();
    for subject in subjects {
        if !hooks.contains(&subject.hook) {
            hooks.push(subject.hook);
        }
    }
    hooks
}

fn request(subjects: &[Subject], model: &lm::model::LanguageModel, options: &ProbeOptions) -> Probe {
    let mut k: Vec<u32> = options.settings.iter().flat_map(|s| options.k(*s)).map(|k| k as u32).collect();
    k.sort_unstable();
    k.dedup();
    Probe {
        format: FORMAT.to_owned(),
        version: VERSION,
        model: model.id().to_owned(),
        model_sha256: model.sha256().to_owned(),
        dictionaries: subjects.iter().map(|subject| subject.name.clone()).collect(),
        dictionaries_sha256: subjects.iter().map(|subject| subject.sha256.clone()).collect(),
        hooks: subjects.iter().map(|subject| subject.hook.to_string()).collect(),
        pooling: options.pooling.name().to_owned(),
        k,
        penalties: options.penalties.iter().map(|penalty| penalty.name().to_owned()).collect(),
        settings: options.settings.iter().map(|setting| setting.name().to_owned()).collect(),
        splits: options.splits.iter().map(|splits| splits.name().to_owned()).collect(),
        seeds: options.seeds.clone(),
    }
}

/// Runs the model on what it was not run on yet.
fn read_prompts(readings: &[Reading<'_>], sets: &[&LabelledSet], progress: &mut dyn Progress) -> Result<()> {
    let all = || sets.iter().copied().flat_map(|set| std::iter::once(set).chain(set.shifted.as_deref()));
    let missing: u64 =
        readings.iter().map(|reading| all().map(|set| reading.missing(set)).sum::<u64>()).sum();
    if missing == 0 {
        return Ok(());
    }
    progress.begin("activations", Some(missing), "prompts");
    let mut done = 0;
    for reading in readings {
        for set in all() {
            reading.make(set, &mut done, progress)?;
        }
    }
    progress.end(&format!("{missing} prompts"));
    Ok(())
}

/// The file of a finished set.
fn file_of(set: &LabelledSet) -> String {
    format!("{}-{}.parquet", set.name, set.key())
}

/// The probes of one set.
fn rows_of(
    subjects: &[Subject],
    readings: &[Reading<'_>],
    set: &LabelledSet,
    options: &ProbeOptions,
) -> Result<Vec<ProbeRow>> {
    let mut rows = Vec::new();
    for reading in readings {
        rows.extend(probe_set(subjects, reading, set, options)?);
    }
    Ok(rows)
}

/// The probes of every set; those of finished sets are read.
fn probe_sets(
    subjects: &[Subject],
    readings: &[Reading<'_>],
    sets: &[LabelledSet],
    out: &Path,
    options: &ProbeOptions,
    progress: &mut dyn Progress,
) -> Result<Vec<ProbeRow>> {
    let folder = out.join(FINISHED);
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    progress.begin("probe", Some(sets.len() as u64), "sets");
    let mut all = Vec::new();
    for (done, set) in sets.iter().enumerate() {
        let path = folder.join(file_of(set));
        if path.exists() {
            let table = storage::row::open::<ProbeRow>(&path)?;
            all.extend(storage::row::read::<ProbeRow>(&table, Scan::default())?);
        } else {
            stop(progress)?;
            let rows = rows_of(subjects, readings, set, options)?;
            storage::row::write(&path, &rows)?;
            all.extend(rows);
        }
        progress.advance(done as u64 + 1, &set.name);
    }
    let without: Vec<&str> = sets
        .iter()
        .map(|set| set.name.as_str())
        .filter(|name| !all.iter().any(|row: &ProbeRow| row.set == *name))
        .collect();
    progress.end(&format!("{} probes of {} sets", all.len(), sets.len() - without.len()));
    if !without.is_empty() {
        progress.remark(&format!(
            "{} of {} sets have too few prompts of a class for the splits that were asked for, and no probe: {}",
            without.len(),
            sets.len(),
            without.join(", ")
        ));
    }
    Ok(all)
}

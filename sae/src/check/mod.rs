//! A dictionary explained before a number is believed: what it is, and what it explains as documented and under likely misreadings.
//!
//! ```text
//! dictionary + what its files say ──▶ facts: shapes, norms, thresholds, decisions ─┐
//! rows of a dataset, or of a model on the embedded text ──▶ Sample ─┐              ├──▶ Check ──▶ verdict
//!                            documented reading, alternatives ──────┴▶ FVE, L0, ───┘
//!                            documented reading at other hooks          dead
//! ```
//!
//! What the readings are is in `alternatives`, how they are judged in `verdict`; for people: `docs/check.md`.

mod alternatives;
mod facts;
mod layers;
mod measure;
mod remedy;
mod sample;
mod verdict;

use std::path::{Path, PathBuf};

use storage::check::{Check, CheckHook, CheckReading, CheckRows, Judgement};
use storage::{Dataset, Decision, ModelRef, RunRecord};

use crate::dictionary::Dictionary;
use crate::interop::dictionaries::{Content, Opened, Reading};
use crate::rows::dataset_of;
use crate::{Error, Progress, Result};
use alternatives::{Alternative, Known, alternatives};
pub(crate) use facts::decisions;
use lm::model::{BosRule, Hook, LanguageModel, ModelSource, Site};
use sample::{Sample, before_norm, capture, mean_ratio, normed, norms, outlier_limit, without_outliers};
use verdict::{Numbers, Verdict, judge};

/// Numbers of all hooks' rows together, at most: 256 MB.
const HOOK_NUMBERS: usize = 1 << 26;

/// Tokens that a transcoder is measured on at other hooks, whose inputs and targets are in memory together.
const TRANSCODER_TOKENS: u64 = 512;

/// How to check.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Dataset to measure on.
    pub data: Option<PathBuf>,
    /// Model to measure on, which reads the embedded text; not together with a dataset.
    pub model: Option<ModelSource>,
    /// Where the dictionary belongs, if its files do not say it or say it wrong.
    pub hook: Option<Hook>,
    /// The reading that is taken for the documented one, by the id that a check gives it.
    pub reading: Option<String>,
    /// Norm above which rows are left out.
    pub norm_limit: Option<f64>,
    /// Tokens to measure on.
    pub tokens: u64,
    /// Seed of the choice of documents.
    pub seed: u64,
}

impl Default for CheckOptions {
    fn default() -> Self {
        Self { data: None, model: None, hook: None, reading: None, norm_limit: None, tokens: 2048, seed: 0 }
    }
}

/// A check, and the dictionary as it is to be used.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What was found.
    pub check: Check,
    /// The dictionary of the reading that was asked for; `None` for sets and cross-layer transcoders.
    pub dictionary: Option<Dictionary>,
    /// The model that made the rows, if it is known.
    pub model: Option<ModelRef>,
}

/// Fills in what nobody asked for: of a run the dataset that it names and its norm limit; of a dictionary that names no model the embedded one, if it has
/// the hook in that width.
pub fn complete(options: &mut CheckOptions, path: &Path, opened: &Opened) {
    let record = RunRecord::read(path).ok();
    // The limit is one for a dictionary; layers have one each.
    if let Some(record) = record.as_ref().filter(|record| record.layers.is_none()) {
        options.norm_limit = options.norm_limit.or(record.norm_limit);
    }
    if options.data.is_some() || options.model.is_some() {
        return;
    }
    if let Some(record) = record {
        let data = dataset_of(path, &record);
        // Layers are measured on what the model computes.
        if record.layers.is_none() && !record.data.is_empty() && data.exists() {
            options.data = Some(data);
        } else if let Some(named) = &record.model.path {
            let named = storage::bucket::local(named).unwrap_or_else(|_| named.into());
            options.model = Some(ModelSource::parse(&named.to_string_lossy()));
        }
        return;
    }
    let Content::Dictionary(dictionary) = &opened.content else { return };
    let hook = options.hook.or_else(|| opened.reading.hook_in.as_ref()?.parse().ok());
    let named = opened.reading.model.as_deref();
    let embedded = ModelSource::Default;
    let fits = || {
        let config = embedded.config().ok()?;
        (hook?.width(&config).ok()? == dictionary.d_in).then_some(())
    };
    let may_be = named.is_none_or(|name| name == "default" || name == embedded.id());
    if may_be && fits().is_some() {
        options.model = Some(embedded);
    }
}

/// The model as records name it.
fn reference(model: &LanguageModel) -> Result<ModelRef> {
    let path = Some(model.source().lasting()?);
    Ok(ModelRef { id: model.id().to_owned(), path, sha256: model.sha256().to_owned() })
}

/// Checks the dictionary that `opened` holds and that was given as `source`.
///
/// # Errors
/// A dataset or model that cannot be read, a hook that the model does not have, an unknown reading, [`Error::Stopped`].
pub fn check(
    source: &str,
    opened: Opened,
    options: &CheckOptions,
    progress: &mut dyn Progress,
) -> Result<Checked> {
    let Opened { content, reading } = opened;
    let dictionary = match content {
        Content::Dictionary(dictionary) => dictionary,
        many => {
            let (check, model) = layers::check(source, &many, &reading, options, progress)?;
            return Ok(Checked { check, dictionary: None, model });
        }
    };
    let mut dictionary = dictionary;
    let mut check = facts::of(source, &dictionary, &reading);
    if let Some(hook) = options.hook {
        move_target(&mut dictionary, &mut check, hook);
        check.hook = Some(hook.to_string());
    }
    let place = Place::of(&dictionary, &reading, options, &mut check, progress)?;
    let Some(place) = place else {
        if let Some(wanted) = options.reading.as_deref().filter(|id| *id != "documented") {
            return Err(Error::request(format!(
                "the reading `{wanted}` depends on rows, and there are none"
            ))
            .with_remedy("give --data or --model"));
        }
        return Ok(Checked { check, dictionary: Some(dictionary), model: None });
    };
    check.decisions.extend(place.decisions(&dictionary));
    let mut known = known(&dictionary, &reading, &place);
    let mut all = alternatives(&dictionary, &known, &place.sample);
    if let Some(wanted) = options.reading.as_deref().filter(|id| *id != "documented") {
        dictionary = chosen(&all, wanted, &dictionary)?;
        known.after(wanted);
        all = alternatives(&dictionary, &known, &place.sample);
    }
    for alternative in &all {
        check.readings.push(measured(alternative, &dictionary, &place.sample)?);
        if progress.stop_requested() {
            return Err(Error::stopped("nothing was measured"));
        }
    }
    check.hooks = place.elsewhere(&dictionary)?;
    let verdict = judge(&Numbers {
        readings: &check.readings,
        hooks: &check.hooks,
        hook: check.hook.as_deref().unwrap_or_default(),
        published_l0: check.published_l0.or_else(|| trained_l0(source)),
        d: dictionary.d_in,
        what: if dictionary.target.is_some() { "the target" } else { "the activations" },
    });
    let limit = outlier_limit(&norms(&place.sample.rows, dictionary.d_in));
    conclude(&mut check, verdict, &place, limit);
    Ok(Checked { check, dictionary: Some(dictionary), model: Some(place.model) })
}

/// Features per token that the training of the run at `source` had when its thresholds were fitted.
fn trained_l0(source: &str) -> Option<f64> {
    RunRecord::read(Path::new(source)).ok()?.thresholds.map(|fit| fit.l0_training)
}

fn conclude(check: &mut Check, verdict: Verdict, place: &Place, limit: f64) {
    check.judgement = verdict.judgement;
    check.remedy = remedy::of(check, &verdict, limit);
    check.verdict = match place.mismatch.as_deref() {
        Some(mismatch) => format!("{mismatch}; {}", verdict.text),
        None => verdict.text,
    };
}

/// What a transcoder reconstructs goes along when its input is at a different layer than its files say.
fn move_target(dictionary: &mut Dictionary, check: &mut Check, hook: Hook) {
    let documented = check.hook.as_deref().and_then(|name| name.parse::<Hook>().ok());
    let Some((target, documented)) = dictionary.target.as_mut().zip(documented) else { return };
    let name = target.hook.clone().or_else(|| check.hook_out.clone());
    let moved = name.and_then(|name| target_at(name.parse().ok()?, documented, hook));
    if let Some(moved) = moved {
        target.hook = Some(moved.to_string());
        check.hook_out = target.hook.clone();
    }
}

/// The target of a transcoder that reads `there` rather than `documented`: as many layers on as that is.
fn target_at(target: Hook, documented: Hook, there: Hook) -> Option<Hook> {
    let layer = (target.layer + there.layer).checked_sub(documented.layer)?;
    Some(Hook::new(layer, target.site))
}

/// The dictionary of the reading `wanted`.
fn chosen(all: &[Alternative], wanted: &str, dictionary: &Dictionary) -> Result<Dictionary> {
    let Some(found) = all.iter().find(|one| one.id == wanted) else {
        let ids: Vec<&str> = all.iter().map(|one| one.id).collect();
        return Err(Error::request(format!("there is no reading `{wanted}` of this dictionary"))
            .with_remedy(format!("the readings are {}", ids.join(", "))));
    };
    found.change.folded(dictionary).ok_or_else(|| {
        Error::request(format!("the reading `{wanted}` is about rows, not about the dictionary"))
            .with_remedy("see docs/check.md for what to do about it")
    })
}

fn measured(alternative: &Alternative, dictionary: &Dictionary, sample: &Sample) -> Result<CheckReading> {
    let changed = alternative.change.of_dictionary(dictionary);
    let rows = alternative.change.of_rows(sample, dictionary.d_in);
    let figures = measure::figures(&changed, &rows, sample.target.as_deref())?;
    Ok(CheckReading {
        id: alternative.id.to_owned(),
        about: alternative.about.clone(),
        fve: figures.fve,
        l0: figures.l0,
        dead_share: figures.dead_share,
    })
}

fn known(dictionary: &Dictionary, reading: &Reading, place: &Place) -> Known {
    let heads = place.hook.filter(|hook| hook.site == Site::AttnZ).and(place.heads);
    Known {
        pre_bias: reading.pre_bias,
        input_scale: reading.input_scale,
        transcoder: dictionary.target.is_some(),
        writes_to_the_stream: place.hook.is_some_and(|hook| hook.site.writes_to_the_stream()),
        heads,
        threshold_factor: reading.alternatives.first().map(|alternative| alternative.threshold_factor),
    }
}

/// Where the rows come from.
struct Place {
    hook: Option<Hook>,
    sample: Sample,
    model: ModelRef,
    /// Heads of the model at the hook's layer.
    heads: Option<usize>,
    /// Rows of the same tokens at several hooks, of a transcoder with those of its target.
    hooks: Vec<(Hook, Vec<f32>, Option<Vec<f32>>)>,
    /// What the dictionary and the rows say of themselves and does not agree.
    mismatch: Option<String>,
}

impl Place {
    /// Rows for the dictionary; `None` if there are none, or none that it could take, which `check` then says.
    fn of(
        dictionary: &Dictionary,
        reading: &Reading,
        options: &CheckOptions,
        check: &mut Check,
        progress: &mut dyn Progress,
    ) -> Result<Option<Self>> {
        let place = match (&options.data, &options.model) {
            (Some(_), Some(_)) => {
                return Err(Error::request("rows come from a dataset or from a model, not from both"));
            }
            (Some(data), None) => Self::of_data(dictionary, &Dataset::open(data)?, options, check)?,
            (None, Some(model)) => {
                let mut model = LanguageModel::load(model)?;
                begin_as_trained(&mut model, dictionary)?;
                Self::of_model(dictionary, &model, options, check, progress)?
            }
            (None, None) => {
                check.verdict = "no rows were given to measure it on".to_owned();
                check.remedy = Some(match &reading.model {
                    Some(model) => format!("give a dataset with --data, or the model `{model}` with --model"),
                    None => "give a dataset with --data, or its model with --model".to_owned(),
                });
                None
            }
        };
        let mut place = place;
        if let Some(place) = &mut place {
            place.sample.keep_within(options.norm_limit, dictionary.d_in);
            let norms = norms(&place.sample.rows, dictionary.d_in);
            let limit = outlier_limit(&norms);
            check.rows = Some(CheckRows {
                data: options.data.as_ref().map(|data| data.display().to_string()),
                model: place.model.id.clone(),
                hook: place.hook.map(|hook| hook.to_string()).unwrap_or_default(),
                tokens: norms.len() as u64,
                mean_norm: norms.iter().sum::<f64>() / norms.len().max(1) as f64,
                mean_ratio: mean_ratio(&place.sample.rows, dictionary.d_in),
                outliers: norms.iter().filter(|norm| **norm > limit).count() as u64,
            });
        }
        Ok(place)
    }

    fn of_data(
        dictionary: &Dictionary,
        dataset: &Dataset,
        options: &CheckOptions,
        check: &mut Check,
    ) -> Result<Option<Self>> {
        let manifest = dataset.manifest();
        if manifest.d_model != dictionary.d_in {
            let what = format!("rows of {}", dataset.dir().display());
            return Ok(refuse(check, &what, manifest.d_model, dictionary.d_in));
        }
        if dictionary.target.is_some() {
            check.verdict = "a transcoder's target is not in a dataset of its input".to_owned();
            check.remedy = Some("give the model with --model".to_owned());
            return Ok(None);
        }
        let hook = manifest.hook.as_deref().and_then(|name| name.parse::<Hook>().ok());
        let documented = check.hook.clone();
        check.hook = check.hook.take().or_else(|| manifest.hook.clone());
        let taken =
            manifest.hook.as_deref().filter(|taken| documented.as_deref().is_some_and(|h| h != *taken));
        let mismatch = taken.map(|taken| {
            format!(
                "the rows are of {taken}, the dictionary is documented for {}",
                documented.unwrap_or_default()
            )
        });
        let heads = match (hook, crate::rows::source_of(manifest)) {
            (Some(hook), Ok(source)) => source.config().ok().and_then(|config| heads(&config, hook)),
            _ => None,
        };
        let sample = sample::of_dataset(dataset, dictionary.d_in, options.tokens, options.seed)?;
        Ok(Some(Self { hook, sample, model: manifest.model.clone(), heads, hooks: Vec::new(), mismatch }))
    }

    fn of_model(
        dictionary: &Dictionary,
        model: &LanguageModel,
        options: &CheckOptions,
        check: &mut Check,
        progress: &mut dyn Progress,
    ) -> Result<Option<Self>> {
        let Some(named) = check.hook.clone() else {
            check.verdict = "its files do not say at which hook it belongs".to_owned();
            check.remedy = Some("name the hook with --hook; `sae inspect MODEL` lists them".to_owned());
            return Ok(None);
        };
        let hook: Hook = named.parse()?;
        let width = hook.width(model.config())?;
        if width != dictionary.d_in {
            return Ok(refuse(check, &format!("{hook} of {}", model.id()), width, dictionary.d_in));
        }
        let target = match &dictionary.target {
            None => None,
            Some(target) => {
                let name = target.hook.clone().or_else(|| check.hook_out.clone());
                let hook: Hook = name
                    .ok_or_else(|| Error::data("the transcoder does not say which hook it reconstructs"))?
                    .parse()?;
                let width = hook.width(model.config())?;
                if width != target.d_out {
                    return Ok(refuse(check, &format!("{hook} of {}", model.id()), width, target.d_out));
                }
                Some(hook)
            }
        };
        let before = before_norm(hook, model);
        let mut hooks = vec![hook];
        let others = same_width(hook, model, width);
        let of_sae = others.iter().copied().filter(|_| target.is_none());
        for other in target.into_iter().chain(before).chain(of_sae) {
            if !hooks.contains(&other) {
                hooks.push(other);
            }
        }
        let captured = capture(model, hooks, options.tokens as usize, progress)?;
        let rows = captured.at(hook).unwrap_or_default().to_vec();
        let without_gain = before
            .and_then(|before| captured.at(before))
            .map(|rows| normed(rows, width, model.config().blocks[hook.layer].norm.kind));
        let sample = Sample {
            rows,
            bos: captured.bos[0].clone(),
            target: target.and_then(|target| captured.at(target)).map(<[f32]>::to_vec),
            without_gain,
        };
        let hooks = match target {
            Some(target) => {
                of_transcoder(dictionary, model, &others, [hook, target], options.tokens, progress)?
            }
            None => {
                // Tokens from everywhere, so that all documents count.
                let every = (sample.rows.len() * others.len()).div_ceil(HOOK_NUMBERS).max(1);
                let few = |other: &Hook| {
                    let rows = captured.at(*other)?.chunks_exact(width).step_by(every);
                    Some((*other, rows.flatten().copied().collect(), None))
                };
                others.iter().filter_map(few).collect()
            }
        };
        let (id, mismatch) = (reference(model)?, None);
        Ok(Some(Self {
            hook: Some(hook),
            sample,
            model: id,
            heads: heads(model.config(), hook),
            hooks,
            mismatch,
        }))
    }

    /// What the rows say about the dictionary's shape.
    fn decisions(&self, dictionary: &Dictionary) -> Vec<Decision> {
        let decision =
            |what: &str, value: String, why: String| Decision { what: what.to_owned(), value, why };
        let Some(hook) = self.hook else { return Vec::new() };
        let (d, model) = (dictionary.d_in, &self.model.id);
        let mut all =
            vec![decision("width", d.to_string(), format!("{hook} of {model} has as many numbers"))];
        if let Some(heads) = self.heads.filter(|_| hook.site == Site::AttnZ) {
            let value = format!("{heads} of {} numbers, one after the other", d / heads.max(1));
            all.push(decision("heads", value, format!("so {model} has them at {hook}")));
        }
        all
    }

    /// What the dictionary explains at every hook, the best first.
    fn elsewhere(&self, dictionary: &Dictionary) -> Result<Vec<CheckHook>> {
        let mut all = Vec::new();
        for (hook, rows, target) in &self.hooks {
            let figures = match target {
                Some(target) => measure::figures(dictionary, rows, Some(target))?,
                // What is long at one hook is not at the next: each without its own.
                None => measure::figures(dictionary, &without_outliers(rows, dictionary.d_in), None)?,
            };
            all.push(CheckHook { hook: hook.to_string(), fve: figures.fve, l0: figures.l0 });
        }
        all.sort_by(|a, b| b.fve.unwrap_or(f64::MIN).total_cmp(&a.fve.unwrap_or(f64::MIN)));
        Ok(all)
    }
}

/// Inputs `others` of a transcoder that is documented from `from` to `to`, with the targets: of a different layer that layer's, of the same
/// layer its own.
fn of_transcoder(
    dictionary: &Dictionary,
    model: &LanguageModel,
    others: &[Hook],
    [from, to]: [Hook; 2],
    tokens: u64,
    progress: &mut dyn Progress,
) -> Result<Vec<(Hook, Vec<f32>, Option<Vec<f32>>)>> {
    let fits = |hook: &Hook| hook.width(model.config()).is_ok_and(|width| width == dictionary.d_out());
    let pair = |other: &Hook| Some((*other, target_at(to, from, *other).filter(fits)?));
    let pairs: Vec<(Hook, Hook)> = others.iter().filter_map(pair).filter(|(from, to)| from != to).collect();
    let mut hooks: Vec<Hook> = pairs.iter().flat_map(|(from, to)| [*from, *to]).collect();
    hooks.sort_unstable();
    hooks.dedup();
    let captured = capture(model, hooks, tokens.min(TRANSCODER_TOKENS) as usize, progress)?;
    let rows = |hook: Hook| captured.at(hook).map(<[f32]>::to_vec);
    Ok(pairs.iter().filter_map(|(from, to)| Some((*from, rows(*from)?, Some(rows(*to)?)))).collect())
}

/// The verdict on a dictionary of a different width.
fn refuse(check: &mut Check, what: &str, found: usize, d_in: usize) -> Option<Place> {
    check.judgement = Judgement::Foreign;
    check.verdict = format!("it is for activations of width {d_in}, but {what} has width {found}");
    check.remedy = Some(match &check.model {
        Some(model) => format!(
            "give `{model}`, which the dictionary names, with --model, or a dataset of it with --data"
        ),
        None => {
            "give the model that it was made for with --model, or a different hook with --hook".to_owned()
        }
    });
    None
}

/// Contexts begin as they did when the dictionary was trained, where its files say that.
fn begin_as_trained(model: &mut LanguageModel, dictionary: &Dictionary) -> Result<()> {
    match dictionary.info.prepend_bos {
        Some(true) if model.tokenizer().beginning().named.is_some() => model.set_bos(BosRule::Always),
        Some(false) => model.set_bos(BosRule::Never),
        _ => Ok(()),
    }
}

fn heads(config: &lm::model::Config, hook: Hook) -> Option<usize> {
    config.blocks.get(hook.layer).map(|block| block.attention.heads)
}

/// Hooks of the same width: the same site in every block, and every site of the same block.
fn same_width(hook: Hook, model: &LanguageModel, width: usize) -> Vec<Hook> {
    let hooks = model.decoder().hooks();
    let near = |other: &Hook| other.site == hook.site || other.layer == hook.layer;
    let all = hooks.into_iter().filter(|(other, w)| *w == width && other.site.is_vector() && near(other));
    all.map(|(other, _)| other).collect()
}

//! A run made of a dictionary that was trained elsewhere, or of one of our own with a change: record, provenance, the dictionary as a SAELens
//! v6 folder, and the check that was made of it.

use std::path::{Path, PathBuf};

use storage::clock::now;
use storage::{Dataset, Decision, Imported, ImportedFile, RunRecord, RunStatus};

use crate::check::{CheckOptions, Checked, check, decisions};
use crate::dictionary::{CrossLayerTranscoder, Dictionary, Selection};
use crate::evaluate::pruned::limit_on;
use crate::files::files_sha256;
use crate::interop::dictionaries::{Content, Opened, Reading};
use crate::partial::Partial;
use crate::rows::{datasets_of, source_of};
use crate::{Error, Progress, Result};

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct ImportOptions {
    /// What to check it on, where it belongs, how it is read, and the norm above which rows are left out wherever the run is used.
    pub check: CheckOptions,
    /// Make each side of a feature whose codes have either sign a feature.
    pub split_signs: bool,
    /// Leave out what a token's other features make up for, below so many medians of the codes on the training rows of the dataset.
    pub prune: Option<f64>,
}

impl ImportOptions {
    /// The dictionary as it is asked for, and what was done to it.
    fn change(&self, mut dictionary: Dictionary) -> Result<(Dictionary, Vec<Decision>)> {
        let mut made = Vec::new();
        let mut note = |what: &str, value: String, why: &str| {
            made.push(Decision { what: what.to_owned(), value, why: why.to_owned() });
        };
        if self.split_signs {
            let before = dictionary.d_sae;
            dictionary = dictionary.split_signs()?;
            let value = format!("feature i of {before} is {before} + i where its code is negative");
            note("signs", value, "asked for");
        }
        if let Some(multiple) = self.prune {
            let data = self.check.data.as_deref().ok_or_else(|| {
                Error::request("pruning needs rows to measure codes on")
                    .with_remedy("give a dataset with --data")
            })?;
            let limit = self.check.norm_limit.map(|limit| limit as f32);
            let below = limit_on(&dictionary, &Dataset::open(data)?, multiple, limit, self.check.seed)?;
            dictionary.prune_below = Some(below);
            let why = format!("asked for: {multiple} medians of the codes on {}", data.display());
            note("pruning", format!("leave-one-out, below {below:.4}"), &why);
        }
        Ok((dictionary, made))
    }
}

/// Makes a run in `out` of the dictionary or the cross-layer transcoder that `opened` holds and that was given as `source`. A folder that is
/// there already is not touched; what an interrupted import left is removed by the next.
///
/// # Errors
/// As [`check()`]; a set of transcoders; a change that the dictionary does not allow; a folder that exists or cannot be written.
pub fn run(
    source: &str,
    opened: Opened,
    out: &Path,
    options: &ImportOptions,
    progress: &mut dyn Progress,
) -> Result<(RunRecord, storage::Check)> {
    if out.exists() {
        return Err(Error::request(format!("{} exists", out.display()))
            .with_remedy("give a folder that does not exist with --out"));
    }
    if let Content::CrossLayer(transcoder) = &opened.content {
        if options.split_signs || options.prune.is_some() {
            return Err(Error::request(format!(
                "{source} is a cross-layer transcoder; signs are split and codes pruned of single dictionaries"
            )));
        }
        let transcoder = transcoder.clone();
        return cross_layer(source, &transcoder, opened, out, options, progress);
    }
    opened.one()?;
    let reading = opened.reading.clone();
    let Checked { check: found, dictionary, model } = check(source, opened, &options.check, progress)?;
    let dictionary = dictionary.ok_or_else(|| Error::data(format!("{source} holds no single dictionary")))?;
    let (mut dictionary, changes) = options.change(dictionary)?;
    let mut check = match changes.is_empty() {
        true => found,
        // The run's own check is of what the run holds.
        false => {
            let content = Content::Dictionary(dictionary.clone());
            let again = CheckOptions { reading: None, ..options.check.clone() };
            check(source, Opened { content, reading: reading.clone() }, &again, progress)?.check
        }
    };
    check.decisions.extend(changes.iter().cloned());
    dictionary.info.hook_name.clone_from(&check.hook);
    let mut record = RunRecord {
        hook: check.hook.clone().unwrap_or_default(),
        model: model.unwrap_or_else(|| storage::ModelRef {
            id: reading.model.clone().unwrap_or_default(),
            ..storage::ModelRef::default()
        }),
        norm_limit: options.check.norm_limit,
        mean_ratio: check.rows.as_ref().map(|rows| rows.mean_ratio),
        // A later check of what was made of a run knows how many features training had.
        thresholds: RunRecord::read(Path::new(source)).ok().and_then(|record| record.thresholds),
        ..record_of(source, &dictionary, &reading, options)?
    };
    if let Some(imported) = &mut record.imported {
        imported.decisions.extend(changes);
    }
    let partial = Partial::begin(out)?;
    dictionary.save(partial.folder())?;
    check.write(partial.folder())?;
    record.write(partial.folder())?;
    partial.publish()?;
    Ok((record, check))
}

/// The same of a cross-layer transcoder. Its rows are in a folder with a dataset for each layer, so it is checked on what its model computes.
fn cross_layer(
    source: &str,
    transcoder: &CrossLayerTranscoder,
    opened: Opened,
    out: &Path,
    options: &ImportOptions,
    progress: &mut dyn Progress,
) -> Result<(RunRecord, storage::Check)> {
    let reading = opened.reading.clone();
    let features: Vec<usize> = transcoder.layers.iter().map(|layer| layer.d_sae).collect();
    let [first, ..] = &transcoder.layers[..] else {
        return Err(Error::data(format!("{source} has no layers")));
    };
    if let Some(layer) = features.iter().position(|features| *features != first.d_sae) {
        return Err(Error::data(format!(
            "{source}: layer 0 has {} features, layer {layer} {}; in a run all layers have as many",
            first.d_sae, features[layer]
        )));
    }
    let mut measured = options.check.clone();
    let mut of_data = None;
    if let Some(data) = measured.data.take() {
        let datasets = datasets_of(&data, &transcoder.hooks()?)?;
        of_data = datasets.first().map(|dataset| dataset.manifest().clone());
        if let (None, Some(manifest)) = (&measured.model, &of_data) {
            // Rows from elsewhere may not say it; then nothing is measured, and the check tells so.
            measured.model = source_of(manifest).ok();
        }
    }
    let Checked { check, model, .. } = check(source, opened, &measured, progress)?;
    let named = || storage::ModelRef { id: reading.model.clone().unwrap_or_default(), ..Default::default() };
    let record = RunRecord {
        layers: Some(transcoder.layers.len() as u64),
        hook: first.info.hook_name.clone().unwrap_or_default(),
        target_hook: first.target.as_ref().and_then(|target| target.hook.clone()),
        model: of_data.map(|manifest| manifest.model).or(model).unwrap_or_else(named),
        ..record_of(source, first, &reading, options)?
    };
    let partial = Partial::begin(out)?;
    transcoder.save(partial.folder())?;
    check.write(partial.folder())?;
    record.write(partial.folder())?;
    partial.publish()?;
    Ok((record, check))
}

/// What a record says of any dictionary that was not trained here.
fn record_of(
    source: &str,
    dictionary: &Dictionary,
    reading: &Reading,
    options: &ImportOptions,
) -> Result<RunRecord> {
    Ok(RunRecord {
        status: RunStatus::Finished,
        method: dictionary.selection.name().to_owned(),
        k: k(dictionary),
        d_in: dictionary.d_in,
        d_sae: dictionary.d_sae,
        data: options.check.data.as_ref().map(|data| data.display().to_string()).unwrap_or_default(),
        versions: [("sae".to_owned(), env!("CARGO_PKG_VERSION").to_owned())].into(),
        started: now(),
        updated: now(),
        // The dictionary is for raw activations.
        input_scale: 1.0,
        imported: Some(imported(source, reading, options)?),
        ..RunRecord::new()
    })
}

fn k(dictionary: &Dictionary) -> usize {
    match &dictionary.selection {
        Selection::TopK(k) | Selection::AbsTopK(k) => *k,
        Selection::BlockTopK(blocks) => blocks.k,
        Selection::Cosine(cosine) => cosine.pick.k().unwrap_or_default(),
        Selection::Refined(refined) => refined.then.k().unwrap_or_default(),
        _ => 0,
    }
}

fn imported(source: &str, reading: &Reading, options: &ImportOptions) -> Result<Imported> {
    let file = |path: &PathBuf| -> Result<ImportedFile> {
        let bytes = std::fs::metadata(path).map_err(|e| Error::io(path, e))?.len();
        let sha256 = files_sha256(std::slice::from_ref(path))?;
        Ok(ImportedFile { path: path.display().to_string(), bytes, sha256 })
    };
    Ok(Imported {
        source: source.to_owned(),
        layout: reading.format.name().to_owned(),
        files: reading.files.iter().map(file).collect::<Result<_>>()?,
        pre_bias: reading.pre_bias,
        input_scale: f64::from(reading.input_scale),
        normalisation: reading.normalisation.clone(),
        reading: options.check.reading.clone(),
        decisions: decisions(reading),
    })
}

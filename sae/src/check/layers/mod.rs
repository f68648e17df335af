//! Dictionaries of several layers at once: sets of transcoders, and cross-layer transcoders. Every reading is measured on all layers; the
//! median layer counts, so that one layer with rows of huge norm decides nothing.

mod rows;
mod set;
mod verdict;

use storage::ModelRef;
use storage::check::{Check, CheckLayer, CheckReading, CheckRows};

use super::alternatives::{Alternative, Change, Known, alternatives};
use super::sample::{Sample, mean_ratio, norms, outlier_limit};
use super::{CheckOptions, facts};
use crate::dictionary::Dictionary;
use crate::evaluate::Figures;
use crate::interop::dictionaries::{Content, Reading};
use crate::{Error, Progress, Result};
use lm::model::LanguageModel;
use set::Set;

/// Tokens that every layer is measured on, at most: all layers' inputs and outputs are in memory together.
const TOKENS: usize = 1024;
/// Tokens for other hooks and other layers, of which there are many.
const FEW: usize = 256;

/// Checks what `content` holds of several layers; with the model that it was measured on.
pub(super) fn check(
    source: &str,
    content: &Content,
    reading: &Reading,
    options: &CheckOptions,
    progress: &mut dyn Progress,
) -> Result<(Check, Option<ModelRef>)> {
    let mut check = facts::of_reading(source, reading);
    let layers = layers(content);
    let of_layer = |(layer, dictionary): &(usize, &Dictionary)| CheckLayer {
        layer: *layer,
        d_sae: dictionary.d_sae,
        ..CheckLayer::default()
    };
    check.layers = layers.iter().map(of_layer).collect();
    if let Some(first) = layers.first() {
        let (d_in, d_out) = (first.1.d_in, first.1.d_out());
        (check.d_in, check.d_out) = (d_in, d_out);
        check.d_sae = layers.iter().map(|(_, dictionary)| dictionary.d_sae).sum();
    }
    (check.hook, check.hook_out) = (rows::sites(&layers), None);
    refuse_what_is_of_one_hook(options)?;
    let Some(model) = &options.model else {
        check.verdict = "no model was given to measure it on".to_owned();
        check.remedy = Some("give its model with --model".to_owned());
        return Ok((check, None));
    };
    let model = LanguageModel::load(model)?;
    let hooks = rows::hooks(&layers, &model)?;
    let samples = rows::samples(&model, &hooks, TOKENS.min(options.tokens as usize), progress)?;
    check.rows = Some(about_rows(&model, &samples, check.d_in));
    let set = Set { content, layers: &layers };
    let readings = readings(&set, &samples);
    let mut control = Vec::new();
    for (first, of_layers) in &readings {
        let figures = set.figures(&samples, of_layers)?;
        check.readings.push(median(first, &figures));
        if first.id == "documented" {
            for (layer, figures) in check.layers.iter_mut().zip(&figures) {
                (layer.fve, layer.l0, layer.dead_share) =
                    (figures.fve, Some(figures.l0), Some(figures.dead_share));
            }
        } else if first.id == "control" {
            control = figures;
        }
        if progress.stop_requested() {
            return Err(Error::stopped("nothing was measured"));
        }
    }
    let few = FEW.min(options.tokens as usize);
    check.hooks = rows::elsewhere(&set, &hooks, &model, few, progress)?;
    rows::homes(&set, &hooks, &model, &control, (&mut check.layers, few), progress)?;
    verdict::conclude(&mut check, content);
    Ok((check, Some(super::reference(&model)?)))
}

/// A set has the hooks of many layers: what is about one would be passed over.
fn refuse_what_is_of_one_hook(options: &CheckOptions) -> Result<()> {
    if options.data.is_some() {
        return Err(Error::request(
            "a dataset has the rows of one hook, and these are dictionaries of several",
        )
        .with_remedy("give the model with --model"));
    }
    let of_one = [
        ("--hook", options.hook.is_some()),
        ("--reading", options.reading.is_some()),
        ("--norm-limit", options.norm_limit.is_some()),
    ];
    match of_one.iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((name, _)) => Err(Error::request(format!(
            "{name} is about one dictionary, and these are dictionaries of several layers"
        ))
        .with_remedy("leave it out, or give the file of one layer, e.g. SOURCE/layer_0.safetensors")),
    }
}

fn layers(content: &Content) -> Vec<(usize, &Dictionary)> {
    match content {
        Content::Dictionary(dictionary) => vec![(0, dictionary)],
        Content::Set(set) => set.iter().map(|(layer, dictionary)| (*layer, dictionary)).collect(),
        Content::CrossLayer(clt) => clt.layers.iter().enumerate().collect(),
    }
}

/// The readings of the first layer, each with what it changes in every layer.
fn readings(set: &Set<'_>, samples: &[Sample]) -> Vec<(Alternative, Vec<Change>)> {
    let of_layers: Vec<Vec<Alternative>> = set
        .layers
        .iter()
        .zip(samples)
        .map(|((_, dictionary), sample)| {
            let known = Known {
                pre_bias: false,
                input_scale: 1.0,
                transcoder: true,
                writes_to_the_stream: false,
                heads: None,
                threshold_factor: None,
            };
            alternatives(dictionary, &known, sample)
        })
        .collect();
    let first = of_layers.first().cloned().unwrap_or_default();
    let possible = |one: &Alternative| {
        // The decoders into later layers would have to be turned, too, and nobody keeps them square.
        set.is_of_single_dictionaries() || !matches!(one.change, Change::Transposed { .. })
    };
    let change = |id: &str, layer: &[Alternative]| {
        layer.iter().find(|one| one.id == id).map_or(Change::Nothing, |one| one.change.clone())
    };
    let all = first.into_iter().filter(possible);
    all.map(|one| {
        let changes = of_layers.iter().map(|layer| change(one.id, layer)).collect();
        (one, changes)
    })
    .collect()
}

fn about_rows(model: &LanguageModel, samples: &[Sample], d: usize) -> CheckRows {
    let first = samples.first().map_or(&[][..], |sample| &sample.rows);
    let norms = norms(first, d);
    let limit = outlier_limit(&norms);
    CheckRows {
        data: None,
        model: model.id().to_owned(),
        hook: String::new(),
        tokens: norms.len() as u64,
        mean_norm: norms.iter().sum::<f64>() / norms.len().max(1) as f64,
        mean_ratio: if first.is_empty() { 0.0 } else { mean_ratio(first, d) },
        outliers: norms.iter().filter(|norm| **norm > limit).count() as u64,
    }
}

/// The figures of the median layer by each figure.
fn median(reading: &Alternative, figures: &[Figures]) -> CheckReading {
    CheckReading {
        id: reading.id.to_owned(),
        about: match reading.id {
            "documented" => "as documented, median layer".to_owned(),
            _ => reading.about.clone(),
        },
        fve: middle(figures.iter().filter_map(|f| f.fve)),
        l0: middle(figures.iter().map(|f| f.l0)).unwrap_or_default(),
        dead_share: middle(figures.iter().map(|f| f.dead_share)).unwrap_or_default(),
    }
}

fn middle(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut all: Vec<f64> = numbers.collect();
    all.sort_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

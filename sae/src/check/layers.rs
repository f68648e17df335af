//! Dictionaries of several layers at once: sets of transcoders, and cross-layer transcoders. They are measured as documented, layer by
//! layer, with the control; misreadings are tried on single dictionaries alone.

use storage::check::{Check, CheckLayer, CheckReading, CheckRows, Judgement};

use super::sample::{Captured, capture, mean_ratio, norms, outlier_limit};
use super::verdict::{BELONGS, WELL, number};
use super::{CheckOptions, facts};
use crate::dictionary::{Codes, Dictionary};
use crate::evaluate::{Figures, Reconstruction};
use crate::interop::dictionaries::{Content, Reading};
use crate::{Error, Progress, Result};
use lm::model::{Hook, LanguageModel};

/// Tokens that every layer is measured on, at most: all layers' inputs and outputs are in memory together.
const TOKENS: usize = 1024;

/// Checks what `content` holds of several layers.
pub(super) fn check(
    source: &str,
    content: &Content,
    reading: &Reading,
    options: &CheckOptions,
    progress: &mut dyn Progress,
) -> Result<Check> {
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
    if options.data.is_some() {
        return Err(Error::request(
            "a dataset has the rows of one hook, and these are dictionaries of several",
        )
        .with_remedy("give the model with --model"));
    }
    let Some(model) = &options.model else {
        check.verdict = "no model was given to measure it on".to_owned();
        check.remedy = Some("give its model with --model".to_owned());
        return Ok(check);
    };
    let model = LanguageModel::load(model)?;
    let hooks = layers.iter().map(|(layer, dictionary)| hooks(*layer, dictionary, &model));
    let hooks = hooks.collect::<Result<Vec<_>>>()?;
    let mut wanted: Vec<Hook> = hooks.iter().flat_map(|(from, to)| [*from, *to]).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let captured = capture(&model, wanted, TOKENS.min(options.tokens as usize), progress)?;
    let inputs = rows(&captured, hooks.iter().map(|(from, _)| *from))?;
    let targets = rows(&captured, hooks.iter().map(|(_, to)| *to))?;
    let figures = measured(content, &layers, &inputs, &targets)?;
    let control = measured(content, &layers, &reversed(&inputs, check.d_in), &targets)?;
    for (layer, figures) in check.layers.iter_mut().zip(&figures) {
        (layer.fve, layer.l0, layer.dead_share) = (figures.fve, Some(figures.l0), Some(figures.dead_share));
    }
    check.rows = Some(about_rows(&model, &inputs, check.d_in));
    check.readings = vec![
        mean("documented", "mean of the layers", &figures),
        mean("control", "components reversed (control)", &control),
    ];
    conclude(&mut check, model.id());
    Ok(check)
}

fn layers(content: &Content) -> Vec<(usize, &Dictionary)> {
    match content {
        Content::Dictionary(dictionary) => vec![(0, dictionary)],
        Content::Set(set) => set.iter().map(|(layer, dictionary)| (*layer, dictionary)).collect(),
        Content::CrossLayer(clt) => clt.layers.iter().enumerate().collect(),
    }
}

/// Where a layer's transcoder reads and what it reconstructs; both must be as wide as it is.
fn hooks(layer: usize, dictionary: &Dictionary, model: &LanguageModel) -> Result<(Hook, Hook)> {
    let named = |name: Option<&String>, what: &str, width: usize| -> Result<Hook> {
        let name = name.ok_or_else(|| Error::data(format!("layer {layer} does not say its {what} hook")))?;
        let hook: Hook = name.parse()?;
        let found = hook.width(model.config())?;
        if found != width {
            return Err(Error::request(format!(
                "{hook} of `{}` has width {found}, layer {layer} has {width}",
                model.id()
            ))
            .with_remedy("give the model that it was trained on"));
        }
        Ok(hook)
    };
    let from = named(dictionary.info.hook_name.as_ref(), "input", dictionary.d_in)?;
    let to = dictionary.target.as_ref().and_then(|target| target.hook.as_ref());
    Ok((from, named(to.or(dictionary.info.hook_name.as_ref()), "output", dictionary.d_out())?))
}

fn rows(captured: &Captured, hooks: impl Iterator<Item = Hook>) -> Result<Vec<Vec<f32>>> {
    let of = |hook: Hook| {
        let rows = captured.at(hook).map(<[f32]>::to_vec);
        rows.ok_or_else(|| Error::data(format!("the model never reached {hook}")))
    };
    hooks.map(of).collect()
}

fn reversed(inputs: &[Vec<f32>], d: usize) -> Vec<Vec<f32>> {
    let mut all = inputs.to_vec();
    all.iter_mut().for_each(|rows| rows.chunks_exact_mut(d).for_each(<[f32]>::reverse));
    all
}

fn measured(
    content: &Content,
    layers: &[(usize, &Dictionary)],
    inputs: &[Vec<f32>],
    targets: &[Vec<f32>],
) -> Result<Vec<Figures>> {
    let codes: Vec<Codes> =
        layers.iter().zip(inputs).map(|((_, dictionary), x)| dictionary.encode(x)).collect();
    let made: Vec<Vec<f32>> = match content {
        Content::CrossLayer(clt) => clt.decode_with(&codes, inputs),
        _ => layers
            .iter()
            .zip(&codes)
            .zip(inputs)
            .map(|((layer, codes), x)| layer.1.decode_with(codes, x))
            .collect(),
    };
    let one = |i: usize| {
        let dictionary = layers[i].1;
        let mut sums = Reconstruction::new(dictionary.d_out(), dictionary.d_sae);
        sums.add(&targets[i], &codes[i], &made[i])?;
        sums.figures().ok_or_else(|| Error::data("there are no rows to measure on"))
    };
    (0..layers.len()).map(one).collect()
}

fn about_rows(model: &LanguageModel, inputs: &[Vec<f32>], d: usize) -> CheckRows {
    let norms = inputs.first().map(|rows| norms(rows, d)).unwrap_or_default();
    let limit = outlier_limit(&norms);
    CheckRows {
        data: None,
        model: model.id().to_owned(),
        hook: String::new(),
        tokens: norms.len() as u64,
        mean_norm: norms.iter().sum::<f64>() / norms.len().max(1) as f64,
        mean_ratio: inputs.first().map_or(0.0, |rows| mean_ratio(rows, d)),
        outliers: norms.iter().filter(|norm| **norm > limit).count() as u64,
    }
}

fn mean(id: &str, about: &str, figures: &[Figures]) -> CheckReading {
    let n = figures.len().max(1) as f64;
    let fves: Vec<f64> = figures.iter().filter_map(|f| f.fve).collect();
    CheckReading {
        id: id.to_owned(),
        about: about.to_owned(),
        fve: (!fves.is_empty()).then(|| fves.iter().sum::<f64>() / fves.len() as f64),
        l0: figures.iter().map(|f| f.l0).sum::<f64>() / n,
        dead_share: figures.iter().map(|f| f.dead_share).sum::<f64>() / n,
    }
}

/// As for a single dictionary, by the median layer.
fn conclude(check: &mut Check, model: &str) {
    let mut fves: Vec<f64> = check.layers.iter().filter_map(|layer| layer.fve).collect();
    fves.sort_by(f64::total_cmp);
    let Some(median) = fves.get(fves.len() / 2).copied() else {
        check.verdict = "the targets do not vary: there is nothing to explain".to_owned();
        return;
    };
    let by_control = check.readings.last().and_then(|r| r.fve).unwrap_or_default().clamp(0.0, 0.99);
    let beyond = (median - by_control) / (1.0 - by_control);
    let bad: Vec<String> = check
        .layers
        .iter()
        .filter(|layer| layer.fve.is_some_and(|fve| fve < BELONGS))
        .map(|layer| layer.layer.to_string())
        .collect();
    check.judgement = match beyond {
        b if b < BELONGS => Judgement::Foreign,
        b if b < WELL => Judgement::Weak,
        _ => Judgement::Fits,
    };
    let of_bad = if bad.is_empty() {
        String::new()
    } else {
        format!("; next to nothing in layers {}", bad.join(", "))
    };
    check.verdict =
        format!("FVE of the targets {} in the median layer of {model}{of_bad}", number(Some(median)));
    if check.judgement == Judgement::Foreign {
        check.verdict = format!("it does not belong to this model: {}", check.verdict);
        check.remedy = Some(match &check.model {
            Some(named) => format!("it names `{named}`: give that model with --model"),
            None => "check that the model is the one it was trained on".to_owned(),
        });
    }
}

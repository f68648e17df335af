//! Inputs and targets of all layers: as documented, at other places of their blocks, and at other layers.

use storage::check::{CheckHook, CheckLayer};

use super::super::alternatives::Change;
use super::super::measure;
use super::super::sample::{Captured, Sample, before_norm, capture, normed};
use super::super::verdict::{BELONGS, CLEARLY};
use super::middle;
use super::set::Set;
use crate::dictionary::Dictionary;
use crate::evaluate::Figures;
use crate::{Error, Progress, Result};
use lm::model::{Hook, LanguageModel, Site};

/// Where transcoders read.
const INPUTS: [Site; 3] = [Site::MlpIn, Site::ResidMid, Site::ResidPre];
/// What they reconstruct.
const OUTPUTS: [Site; 3] = [Site::MlpOut, Site::ResidPost, Site::AttnOut];

/// Input and target of a layer's dictionary.
pub(super) type Pair = [Hook; 2];

/// `hook_mlp_in → hook_mlp_out`, if all layers have the same.
pub(super) fn sites(layers: &[(usize, &Dictionary)]) -> Option<String> {
    let all: Option<Vec<Pair>> = layers.iter().map(|(_, dictionary)| named(dictionary).ok()).collect();
    same_sites(&all?).map(|[from, to]| shown(from, to))
}

fn shown(from: Site, to: Site) -> String {
    format!("{} → {}", from.name(), to.name())
}

fn same_sites(hooks: &[Pair]) -> Option<[Site; 2]> {
    let first = hooks.first()?.map(|hook| hook.site);
    hooks.iter().all(|pair| pair.map(|hook| hook.site) == first).then_some(first)
}

fn named(dictionary: &Dictionary) -> Result<Pair> {
    let name = |name: Option<&String>, what: &str| -> Result<Hook> {
        name.ok_or_else(|| Error::data(format!("a layer does not say its {what} hook")))?.parse()
    };
    let from = dictionary.info.hook_name.as_ref();
    let to = dictionary.target.as_ref().and_then(|target| target.hook.as_ref());
    Ok([name(from, "input")?, name(to.or(from), "output")?])
}

/// Where each layer's dictionary reads and what it reconstructs; both must be as wide as it is.
pub(super) fn hooks(layers: &[(usize, &Dictionary)], model: &LanguageModel) -> Result<Vec<Pair>> {
    let one = |(layer, dictionary): &(usize, &Dictionary)| -> Result<Pair> {
        let pair = named(dictionary)?;
        for (hook, width) in pair.iter().zip([dictionary.d_in, dictionary.d_out()]) {
            let found = hook.width(model.config())?;
            if found != width {
                return Err(Error::request(format!(
                    "{hook} of `{}` has width {found}, layer {layer} has {width}",
                    model.id()
                ))
                .with_remedy("give the model that it was trained on"));
            }
        }
        Ok(pair)
    };
    layers.iter().map(one).collect()
}

/// The rows of `hooks` for the same tokens.
pub(super) fn samples(
    model: &LanguageModel,
    hooks: &[Pair],
    tokens: usize,
    progress: &mut dyn Progress,
) -> Result<Vec<Sample>> {
    let before = |[from, _]: &Pair| before_norm(*from, model);
    let mut wanted: Vec<Hook> =
        hooks.iter().flatten().copied().chain(hooks.iter().filter_map(before)).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let captured = capture(model, wanted, tokens, progress)?;
    let one = |pair: &Pair| -> Result<Sample> {
        let [from, to] = *pair;
        let without_gain = before(pair).and_then(|hook| captured.at(hook)).map(|rows| {
            let width = from.width(model.config()).unwrap_or(1);
            normed(rows, width, model.config().blocks[from.layer].norm.kind)
        });
        Ok(Sample {
            rows: rows(&captured, from)?,
            target: Some(rows(&captured, to)?),
            without_gain,
            ..Sample::default()
        })
    };
    hooks.iter().map(one).collect()
}

fn rows(captured: &Captured, hook: Hook) -> Result<Vec<f32>> {
    let rows = captured.at(hook).map(<[f32]>::to_vec);
    rows.ok_or_else(|| Error::data(format!("the model never reached {hook}")))
}

/// The documented reading with a different input, or a different target, in all layers; the best first.
pub(super) fn elsewhere(
    set: &Set<'_>,
    hooks: &[Pair],
    model: &LanguageModel,
    tokens: usize,
    progress: &mut dyn Progress,
) -> Result<Vec<CheckHook>> {
    let Some([from, to]) = same_sites(hooks) else { return Ok(Vec::new()) };
    let inputs = INPUTS.iter().map(|site| [*site, to]);
    let outputs = OUTPUTS.iter().map(|site| [from, *site]);
    let mut places = vec![[from, to]];
    for place in inputs.chain(outputs) {
        if !places.contains(&place) && place[0] != place[1] {
            places.push(place);
        }
    }
    let nothing = vec![Change::Nothing; hooks.len()];
    let mut all = Vec::new();
    for [from, to] in places {
        let moved: Vec<Pair> =
            hooks.iter().map(|[a, b]| [Hook::new(a.layer, from), Hook::new(b.layer, to)]).collect();
        // Of a different width, or not in this model.
        if hooks_fit(set, &moved, model) {
            let figures = set.figures(&samples(model, &moved, tokens, progress)?, &nothing)?;
            all.push(CheckHook {
                hook: shown(from, to),
                fve: middle(figures.iter().filter_map(|f| f.fve)),
                l0: middle(figures.iter().map(|f| f.l0)).unwrap_or_default(),
            });
        }
    }
    all.sort_by(|a, b| b.fve.unwrap_or(f64::MIN).total_cmp(&a.fve.unwrap_or(f64::MIN)));
    Ok(all)
}

fn hooks_fit(set: &Set<'_>, hooks: &[Pair], model: &LanguageModel) -> bool {
    let fits = |hook: &Hook, width: usize| hook.width(model.config()).is_ok_and(|found| found == width);
    set.layers
        .iter()
        .zip(hooks)
        .all(|((_, dictionary), [from, to])| fits(from, dictionary.d_in) && fits(to, dictionary.d_out()))
}

/// Of layers that explain next to nothing of their target, the layer of which they explain more, if there is one: files whose numbers
/// are mixed up.
pub(super) fn homes(
    set: &Set<'_>,
    hooks: &[Pair],
    model: &LanguageModel,
    control: &[Figures],
    (layers, tokens): (&mut [CheckLayer], usize),
    progress: &mut dyn Progress,
) -> Result<()> {
    let beyond = |i: usize, fve: f64| {
        let by_control = control.get(i).and_then(|f| f.fve).unwrap_or_default().clamp(0.0, 0.99);
        (fve - by_control) / (1.0 - by_control)
    };
    let bad: Vec<(usize, f64)> = layers
        .iter()
        .enumerate()
        .filter_map(|(i, layer)| Some((i, layer.fve.filter(|fve| beyond(i, *fve) < BELONGS)?)))
        .collect();
    let sites = same_sites(hooks).filter(|_| set.is_of_single_dictionaries() && !bad.is_empty());
    let Some(sites) = sites else { return Ok(()) };
    let everywhere: Vec<Pair> = (0..model.config().num_hidden_layers)
        .map(|layer| sites.map(|site| Hook::new(layer, site)))
        .filter(|pair| pair.iter().all(|hook| hook.width(model.config()).is_ok()))
        .collect();
    let samples = samples(model, &everywhere, tokens, progress)?;
    for (i, here) in bad {
        let dictionary = set.layers[i].1;
        let mut best: Option<(usize, f64)> = None;
        for (pair, sample) in everywhere.iter().zip(&samples).filter(|(pair, _)| **pair != hooks[i]) {
            let target = sample.target.as_deref().unwrap_or_default();
            let fits = sample.rows.len() * dictionary.d_out() == target.len() * dictionary.d_in;
            let figures =
                fits.then(|| measure::figures(dictionary, &sample.rows, Some(target))).transpose()?;
            let fve = figures.and_then(|figures| figures.fve);
            if let Some(fve) = fve.filter(|fve| best.is_none_or(|(_, most)| *fve > most)) {
                best = Some((pair[0].layer, fve));
            }
        }
        let better = |fve: f64| beyond(i, fve) >= BELONGS && 1.0 - fve <= CLEARLY * (1.0 - here);
        if let Some((layer, fve)) = best.filter(|(_, fve)| better(*fve)) {
            (layers[i].home, layers[i].home_fve) = (Some(layer), Some(fve));
        }
    }
    Ok(())
}

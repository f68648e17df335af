//! Where in a model an attribute matters: activations are exchanged for those of prompts that differ in it.

use lm::model::{Hook, LanguageModel, Site};
use storage::task::TaskSite;

use super::bench::{Bench, Prediction, stop};
use super::changed;
use super::prompts::{Maker, Prompt};
use crate::{Error, Progress, Result};

/// The hooks at which activations are exchanged: the dictionary's, and after every block if asked for.
pub(super) fn wanted(model: &LanguageModel, hook: Hook, all: bool) -> Vec<Hook> {
    let blocks = 0..if all { model.config().num_hidden_layers } else { 0 };
    let others = blocks.map(|layer| Hook::new(layer, Site::ResidPost)).filter(|other| *other != hook);
    std::iter::once(hook).chain(others).collect()
}

/// What exchanging activations does at every position of every hook.
pub(super) fn sites(
    model: &LanguageModel,
    hooks: &[Hook],
    maker: &Maker<'_>,
    prompts: &[Prompt],
    progress: &mut dyn Progress,
) -> Result<Vec<TaskSite>> {
    progress.begin("exchange", Some(hooks.len() as u64), "hooks");
    let mut sites = Vec::new();
    for (done, hook) in hooks.iter().enumerate() {
        sites.extend(patched(model, *hook, maker, prompts, progress)?);
        progress.advance(done as u64 + 1, "");
    }
    let at = match hooks {
        [hook] => hook.to_string(),
        all => format!("{} hooks", all.len()),
    };
    progress.end(&format!("activations at {at}"));
    Ok(sites)
}

/// What exchanging activations does at every position of a hook: 1 − LD(exchanged) / LD(untouched).
fn patched(
    model: &LanguageModel,
    hook: Hook,
    maker: &Maker<'_>,
    prompts: &[Prompt],
    progress: &dyn Progress,
) -> Result<Vec<TaskSite>> {
    let prompts = &prompts[..prompts.len().min(PATCHED)];
    let bench = Bench::new(model, hook, prompts, &mut |_| stop(progress))?;
    let mean = |predictions: &[Prediction]| predictions.iter().map(|p| p.difference).sum::<f64>();
    let clean = mean(&bench.clean(progress)?);
    let mut sites = Vec::new();
    for (attribute, changed) in changed(maker, prompts)?.iter().enumerate() {
        let other = Bench::new(model, hook, changed, &mut |_| stop(progress))?;
        for position in 0..maker.positions.len() {
            let put = bench.with(position, &other.activations(position)?, progress)?;
            sites.push(TaskSite {
                hook: hook.to_string(),
                position: maker.positions[position].clone(),
                attribute: maker.attributes[attribute].clone(),
                effect: if clean == 0.0 { 0.0 } else { 1.0 - mean(&put) / clean },
            });
        }
    }
    Ok(sites)
}

/// Prompts whose activations are exchanged to find positions.
const PATCHED: usize = 32;

/// The position that was asked for, or that with the largest effects at the hook.
pub(super) fn position(
    sites: &[TaskSite],
    hook: Hook,
    maker: &Maker<'_>,
    asked: Option<&str>,
) -> Result<usize> {
    if let Some(asked) = asked {
        return maker.positions.iter().position(|name| name == asked).ok_or_else(|| {
            Error::request(format!(
                "the task has no position `{asked}`, expected one of {}",
                maker.positions.join(", ")
            ))
        });
    }
    let hook = hook.to_string();
    let effect = |name: &String| -> f64 {
        sites.iter().filter(|s| s.hook == hook && s.position == *name).map(|s| s.effect.abs()).sum()
    };
    let best = (0..maker.positions.len())
        .max_by(|a, b| effect(&maker.positions[*a]).total_cmp(&effect(&maker.positions[*b])).then(b.cmp(a)));
    best.ok_or_else(|| Error::request("the task has no positions"))
}

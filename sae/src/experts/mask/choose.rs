//! The experts that a mask and its controls take out.

use std::collections::BTreeMap;

use kernels::chance::{self, Purpose, generator};

use super::Text;
use crate::experts::counts::Usage;
use crate::experts::figures::{InDomain, specialisation};
use crate::experts::routing::Source;
use crate::{Error, Progress, Result};
use lm::model::LanguageModel;
use lm::model::config::MlpConfig;

/// The experts that the 2× rule calls specialised in `domain`, by the documents that are not measured.
///
/// # Errors
/// A domain that does not exist or has no specialised expert.
pub fn by_domain(
    source: &Source,
    domain: &str,
    text: &Text,
    progress: &mut dyn Progress,
) -> Result<Vec<(u16, u32)>> {
    if !source.domains().iter().any(|d| d == domain) {
        let there = source.domains().join(", ");
        return Err(Error::request(format!("there is no domain `{domain}`: the dataset has {there}")));
    }
    let overview = source.overview(progress)?;
    let experts = source.declared().experts.unwrap_or(overview.highest);
    let mut usage = Usage::new(experts, source.domains().to_vec()).with_rule(source.declared().rule);
    source.each(progress, |domain, choice| {
        match text.held_out && text.marked.contains(&choice.document) {
            true => Ok(()),
            false => usage.add(domain, choice),
        }
    })?;
    progress.end(&format!("{} rows", source.rows()));
    let mut found = Vec::new();
    for layer in usage.layers() {
        let loads = usage.domains().iter().zip(usage.by_domain(layer));
        let domains: Vec<InDomain<'_>> = loads
            .map(|(domain, load)| InDomain { domain, tokens: Some(load.tokens), slots: &load.slots })
            .collect();
        let rows = specialisation(layer, None, &domains).0;
        let own = rows.iter().filter(|row| row.specialised && row.domain == domain);
        found.extend(own.map(|row| (layer, row.expert)));
    }
    match found.is_empty() {
        false => Ok(found),
        true => Err(Error::request(format!(
            "no expert is specialised in {domain}: none has twice the share there that it has in every other domain"
        ))
        .with_remedy("name experts with --expert LAYER:EXPERT")),
    }
}

/// Experts and experts per token of the layers that have any.
fn shapes(model: &LanguageModel) -> BTreeMap<u16, (usize, usize)> {
    let blocks = (0u16..).zip(&model.config().blocks);
    let shape = |(layer, block): (u16, &lm::model::config::BlockConfig)| match &block.mlp {
        // A token may do without any of them.
        MlpConfig::Experts(experts) if experts.router.switched => Some((layer, (experts.experts, 0))),
        MlpConfig::Experts(experts) => Some((layer, (experts.experts, experts.k))),
        // A token's weights of Monet's experts are what is left of them: one is enough.
        MlpConfig::Monet(monet) => Some((layer, (monet.experts(), 1))),
        MlpConfig::Dense(_) => None,
    };
    blocks.filter_map(shape).collect()
}

fn by_layer(experts: &[(u16, u32)]) -> BTreeMap<u16, Vec<u32>> {
    let mut layers: BTreeMap<u16, Vec<u32>> = BTreeMap::new();
    experts.iter().for_each(|&(layer, expert)| layers.entry(layer).or_default().push(expert));
    layers
}

/// The experts in order, each once.
///
/// # Errors
/// No expert, an expert or a layer that the model does not have, or a layer with too few experts left for a
/// token.
pub fn checked(mut experts: Vec<(u16, u32)>, model: &LanguageModel) -> Result<Vec<(u16, u32)>> {
    if experts.is_empty() {
        return Err(Error::request("no expert to mask").with_remedy("give --domain or --expert LAYER:EXPERT"));
    }
    experts.sort_unstable();
    experts.dedup();
    let shapes = shapes(model);
    for (layer, masked) in by_layer(&experts) {
        let Some(&(count, k)) = shapes.get(&layer) else {
            let there: Vec<String> = shapes.keys().map(u16::to_string).collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            return Err(Error::request(format!(
                "layer {layer} has no experts: the layers with experts are {there}"
            )));
        };
        if let Some(expert) = masked.iter().find(|&&e| e as usize >= count) {
            return Err(Error::request(format!(
                "layer {layer} has no expert {expert}: its experts are 0…{}",
                count - 1
            )));
        }
        let left = count - masked.len();
        if left < k {
            return Err(Error::request(format!(
                "layer {layer}: masking leaves {left} of {count} experts, a token needs {k}"
            )));
        }
    }
    Ok(experts)
}

/// `draws` times as many other experts of the same layers; none where a layer has too few.
pub fn controls(masked: &[(u16, u32)], model: &LanguageModel, draws: u16, seed: u64) -> Vec<Vec<(u16, u32)>> {
    let shapes = shapes(model);
    let layers = by_layer(masked);
    let enough = |(layer, masked): (&u16, &Vec<u32>)| {
        shapes.get(layer).is_some_and(|&(count, _)| count >= 2 * masked.len())
    };
    if !layers.iter().all(enough) {
        return Vec::new();
    }
    let draw = |number: u16| {
        let mut rng = generator(seed, Purpose::Masks, number.into(), 0);
        let mut drawn = Vec::with_capacity(masked.len());
        for (layer, masked) in &layers {
            let count = shapes.get(layer).map_or(0, |&(count, _)| count as u32);
            let mut others: Vec<u32> = (0..count).filter(|e| !masked.contains(e)).collect();
            chance::choose(&mut others, masked.len(), &mut rng);
            others.sort_unstable();
            drawn.extend(others.into_iter().map(|expert| (*layer, expert)));
        }
        drawn
    };
    (0..draws).map(draw).collect()
}

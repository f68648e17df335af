//! What a model loses without some of its experts, by domain.
//!
//! The experts that the 2× rule calls specialised in a domain, or experts named by hand, are taken out of the
//! router's choice: their logits become −∞, so that the choice and the weights are those of a model that
//! never had them. Of Monet, whose experts are pairs of halves, what the experts add to their layer's output is
//! taken off it: their weights become 0 and the others keep theirs, as its authors mask them. Controls take out as many others of the same layers, drawn by seed: what a domain loses to
//! the first and not to the others it loses because of *these* experts.
//!
//! Experts are chosen by the routing of documents that are not held out and losses are measured on those that
//! are, where the dataset has both, so that nothing is chosen by what it is measured on.

mod choose;
mod tap;
#[cfg(test)]
mod tests;
mod text;

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use storage::experts::{MaskedRow, MaskingRow};
use storage::row;

use self::choose::{by_domain, checked, controls};
use self::tap::ExpertMask;
use self::text::{Text, text};
use super::rescore::contexts;
use super::routing::Source;
use crate::rows::{ModelChoice, load_model};
use crate::{Error, Progress, Result};
use lm::model::{LanguageModel, NoTap, Tap};

/// The experts to mask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choose {
    /// Those specialised in this domain (2× rule over the dataset's routing).
    Domain(String),
    /// These, (layer, expert).
    Experts(Vec<(u16, u32)>),
}

/// What to mask and on how much text to measure.
#[derive(Debug, Clone)]
pub struct MaskOptions {
    /// Which experts.
    pub choose: Choose,
    /// The model; the one that made the dataset if not given.
    pub model: ModelChoice,
    /// Tokens of each domain at most.
    pub tokens: u64,
    /// Draws of as many other experts.
    pub controls: u16,
    /// Draws them.
    pub seed: u64,
}

/// What masking did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MaskReport {
    /// The domain, or the experts by hand.
    pub mask: String,
    /// (layer, expert) that were taken out.
    pub masked: Vec<(u16, u32)>,
    /// … by each control; none where a layer has too few others.
    pub controls: Vec<Vec<(u16, u32)>>,
    /// Whether held-out documents were measured, and experts chosen by the others.
    pub held_out: bool,
    /// By domain.
    pub domains: Vec<MaskingRow>,
    /// Figures that could not be computed, and why.
    pub gaps: Vec<String>,
}

impl MaskReport {
    /// The domain whose loss rises most.
    pub fn hurt_most(&self) -> Option<&MaskingRow> {
        self.domains.iter().max_by(|a, b| (a.after - a.before).total_cmp(&(b.after - b.before)))
    }
}

/// Masks experts of the dataset's model and measures its loss on the dataset's documents. Writes
/// `DATASET/experts/masking.parquet` and `masked.parquet`; what they hold of other masks stays.
///
/// # Errors
/// A domain or an expert that is not there, a domain without specialised experts, a mask that leaves a layer
/// fewer experts than a token needs, a model whose weights are not those that made the dataset.
pub fn mask(dir: &Path, options: &MaskOptions, progress: &mut dyn Progress) -> Result<MaskReport> {
    let source = Source::open(dir)?;
    let text = text(&source, options.tokens)?;
    let masked = match &options.choose {
        Choose::Experts(experts) => experts.clone(),
        Choose::Domain(domain) => by_domain(&source, domain, &text, progress)?,
    };
    let model = load_model(&options.model, source.dataset().manifest())?
        .ok_or_else(|| Error::request("masking needs the model").with_remedy("give --model"))?;
    let masked = checked(masked, &model)?;
    let mask = match &options.choose {
        Choose::Experts(_) => name(&masked),
        Choose::Domain(domain) => domain.clone(),
    };
    let controls = controls(&masked, &model, options.controls, options.seed);
    let mut report = MaskReport {
        domains: losses(&source, &model, &text, &mask, &masked, &controls, progress)?,
        mask,
        masked,
        held_out: text.held_out,
        gaps: text.gaps,
        controls,
    };
    if report.controls.is_empty() && options.controls > 0 {
        report.gaps.push("a layer has not enough other experts for a control of as many".into());
    }
    publish(dir, &report)?;
    Ok(report)
}

fn name(experts: &[(u16, u32)]) -> String {
    experts.iter().map(|(layer, expert)| format!("{layer}:{expert}")).collect::<Vec<_>>().join(",")
}

fn losses(
    source: &Source,
    model: &LanguageModel,
    text: &Text,
    mask: &str,
    masked: &[(u16, u32)],
    controls: &[Vec<(u16, u32)>],
    progress: &mut dyn Progress,
) -> Result<Vec<MaskingRow>> {
    let mut run = |name: &str, tap: &mut dyn Tap| measure(source, model, text, name, tap, progress);
    let before = run("as it is", &mut NoTap)?;
    let after = run("without the experts", &mut ExpertMask::new(masked, model)?)?;
    let mut others = Vec::new();
    for (number, control) in (1..).zip(controls) {
        let name = format!("without others, {number} of {}", controls.len());
        others.push(run(&name, &mut ExpertMask::new(control, model)?)?);
    }
    let row = |(d, domain): (usize, &String)| {
        let mean = |sums: &[Sum]| sums[d].nats / sums[d].predictions as f64;
        let others: Vec<f64> = others.iter().map(|sums| mean(sums)).collect();
        (before[d].predictions > 0).then(|| MaskingRow {
            mask: mask.to_owned(),
            domain: domain.clone(),
            tokens: before[d].predictions,
            before: mean(&before),
            after: mean(&after),
            control: (!others.is_empty()).then(|| others.iter().sum::<f64>() / others.len() as f64),
            control_low: others.iter().copied().reduce(f64::min),
            control_high: others.iter().copied().reduce(f64::max),
        })
    };
    Ok(source.domains().iter().enumerate().filter_map(row).collect())
}

/// Losses of one domain, added up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Sum {
    nats: f64,
    predictions: u64,
}

/// Sum of losses and number of predictions, by domain.
fn measure(
    source: &Source,
    model: &LanguageModel,
    text: &Text,
    name: &str,
    tap: &mut dyn Tap,
    progress: &mut dyn Progress,
) -> Result<Vec<Sum>> {
    let mut sums = vec![Sum::default(); source.domains().len()];
    let total: usize = text.documents.iter().map(|(_, tokens)| tokens.len()).sum();
    let (layers, mut done) = (model.config().num_hidden_layers, 0);
    progress.begin(name, Some(total as u64), "tokens");
    for batch in contexts(source, model, text.documents.clone())? {
        let batch = batch?;
        let residual = model.decoder().residual(&batch, layers, tap)?;
        let losses = model.decoder().losses(&residual, &batch)?;
        let mut of_document = BTreeMap::new();
        for (origin, loss) in batch.origin.iter().zip(losses) {
            let (Some((document, _)), Some(loss)) = (origin, loss) else { continue };
            let domain = match of_document.get(document) {
                Some(domain) => *domain,
                None => *of_document.entry(*document).or_insert(source.domain_of(*document)?),
            };
            let sum: &mut Sum = &mut sums[domain];
            sum.nats += f64::from(loss);
            sum.predictions += 1;
        }
        done += batch.document_tokens() as u64;
        progress.advance(done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the losses were not finished, nothing was written"));
        }
    }
    progress.end(&format!("{done} tokens"));
    Ok(sums)
}

/// Writes the report, keeping those of other masks.
fn publish(dir: &Path, report: &MaskReport) -> Result<()> {
    let folder = dir.join("experts");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let of = |control: Option<u16>, experts: &[(u16, u32)]| -> Vec<MaskedRow> {
        let row =
            |&(layer, expert): &(u16, u32)| MaskedRow { mask: report.mask.clone(), control, layer, expert };
        experts.iter().map(row).collect()
    };
    let mut experts = of(None, &report.masked);
    for (number, control) in (0..).zip(&report.controls) {
        experts.extend(of(Some(number), control));
    }
    replace(&folder.join("masked.parquet"), &report.mask, experts, |row: &MaskedRow| &row.mask)?;
    replace(&folder.join("masking.parquet"), &report.mask, report.domains.clone(), |row: &MaskingRow| {
        &row.mask
    })
}

/// Puts `rows` in the place of those that the table has of this mask.
fn replace<R: row::Row>(path: &Path, mask: &str, rows: Vec<R>, mask_of: fn(&R) -> &String) -> Result<()> {
    let mut all: Vec<R> = match path.exists() {
        true => row::read(&row::open::<R>(path)?, storage::Scan::default())?,
        false => Vec::new(),
    };
    all.retain(|row| mask_of(row) != mask);
    all.extend(rows);
    row::write(path, &all)?;
    Ok(())
}

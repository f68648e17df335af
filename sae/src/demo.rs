//! Harvest, train, index, explain, evaluate, experts: the commands' own code, on the embedded model and text.

use std::path::{Path, PathBuf};
use std::time::Instant;

use storage::explanations::Explanation;
use storage::{Run, RunStatus};

use crate::evaluate::{self, EvaluateOptions, Evaluation};
use crate::experts;
use crate::explain::{self, ExplainOptions, ExplainSummary};
use crate::features::{self, IndexOptions, IndexRecord};
use crate::harvest::{self, HarvestConfig};
use crate::train::{self, TrainConfig};
use crate::{Error, Progress, Result};
use lm::embedded::CORPUS;
use lm::model::{Hook, LanguageModel, ModelSource, Site};

/// What the demo made.
#[derive(Debug, Clone)]
pub struct Demo {
    /// The dataset of activations and routing.
    pub dataset: PathBuf,
    /// The trained dictionary.
    pub run: PathBuf,
    /// How good it is on held-out documents.
    pub evaluation: Evaluation,
    /// What was indexed.
    pub index: IndexRecord,
    /// How many features have a rule.
    pub explained: ExplainSummary,
    /// Features that are worth a first look.
    pub first: Vec<Look>,
    /// How the model uses its experts.
    pub experts: experts::Summary,
    /// Wall time.
    pub seconds: f64,
}

/// A feature that is worth a first look: its rule says well where it fires.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Look {
    /// Its number.
    pub feature: u32,
    /// Its rule in words.
    pub rule: String,
    /// How well the rule says it, on documents that it was not made from.
    pub f1: f32,
}

/// Features that are worth a first look.
const LOOKS: usize = 3;
/// Layer whose residual stream the demo's dictionary is trained on: after the third of four blocks.
const LAYER: usize = 2;
/// Features of the demo's dictionary.
const FEATURES: usize = 2048;
/// Tokens that it is trained on: a few passes over the training documents.
const TOKENS: u64 = 1_600_000;
/// Text taken of each domain, in bytes: enough for a good dictionary, little enough for three minutes on two cores.
const TRAINING_BYTES: usize = 300_000;
/// Held-out text taken of each domain.
const HELD_OUT_BYTES: usize = 100_000;
/// Held-out tokens that the dictionary is evaluated on: each costs four passes through the model.
const EVALUATED: u64 = 30_000;

/// How the corpus marks a held-out document.
const HELD_OUT_MARK: &[u8] = b"\"split\": \"heldout\"";

/// Does everything that is not done yet in `out`.
///
/// # Errors
/// A folder that cannot be written to, or that holds runs which the demo did not make; a stop that was asked
/// for.
pub fn run(out: &Path, seed: Option<u64>, progress: &mut dyn Progress) -> Result<Demo> {
    let started = Instant::now();
    let (text, dataset, run) = (out.join("text"), out.join("data"), out.join("topk"));
    progress.remark(&introduction());
    std::fs::create_dir_all(&text).map_err(|e| Error::io(&text, e))?;
    for (name, bytes) in CORPUS {
        storage::atomic::write(&text.join(name), &some_of(bytes))?;
    }
    let model = LanguageModel::load(&ModelSource::Default)?;
    if !dataset.join(storage::dataset::MANIFEST).exists() {
        let config = HarvestConfig {
            text: vec![text],
            hooks: vec![Hook::new(LAYER, Site::ResidPost)],
            routing: true,
            seed: seed.unwrap_or(1),
            ..HarvestConfig::default()
        };
        harvest::run(&config, &model, &dataset, progress)?;
    }
    let there = Run::open(&run).ok();
    if there.as_ref().is_none_or(|r| r.record().status != RunStatus::Finished) {
        let config = TrainConfig {
            d_sae: Some(FEATURES),
            tokens: Some(TOKENS),
            seed: seed.unwrap_or(0),
            ..TrainConfig::default()
        };
        train::run(&config, &dataset, &run, there.is_some(), progress)?;
    }
    let index = features::index(&run, &IndexOptions::default(), progress)?;
    let explained = explain::explain(&run, &ExplainOptions::default(), progress)?;
    let options = EvaluateOptions { tokens: Some(EVALUATED), ..EvaluateOptions::default() };
    let evaluation = evaluate::run(&run, &options, progress)?;
    let experts = experts::summarise(&dataset, progress)?;
    let (first, seconds) = (looks(&run)?, started.elapsed().as_secs_f64());
    Ok(Demo { dataset, run, evaluation, index, explained, first, experts, seconds })
}

/// What it does, for somebody who has never seen it.
fn introduction() -> String {
    format!(
        "a small language model reads the texts in this program; a dictionary of {FEATURES} features is trained on what it computes after \
         layer {LAYER}; then each feature is looked for in the texts, and measured. Ctrl-C stops it, and the same command continues"
    )
}

/// The features whose rules say best where they fire, of different tokens.
fn looks(run: &Path) -> Result<Vec<Look>> {
    let rules = storage::explanations::read(run, explain::RULES)?;
    let f1 = |rule: &Explanation| {
        rule.scores.iter().find(|score| score.kind == "f1").map_or(0.0, |score| score.value)
    };
    let mut looks: Vec<Look> = rules
        .into_iter()
        .map(|rule| Look { feature: rule.feature, f1: f1(&rule), rule: rule.text })
        .collect();
    looks.sort_by(|a, b| b.f1.total_cmp(&a.f1).then(a.feature.cmp(&b.feature)));
    let mut first: Vec<Look> = Vec::new();
    for look in looks {
        if first.len() < LOOKS && first.iter().all(|other| !share_a_token(&look.rule, &other.rule)) {
            first.push(look);
        }
    }
    Ok(first)
}

/// Whether two rules name a token in common: whoever looks at both sees the same thing twice.
fn share_a_token(a: &str, b: &str) -> bool {
    let tokens = |rule: &str| -> Vec<String> {
        rule.split('‹')
            .skip(1)
            .filter_map(|rest| rest.split_once('›'))
            .map(|(token, _)| token.to_owned())
            .collect()
    };
    let of_a = tokens(a);
    tokens(b).iter().any(|token| of_a.contains(token))
}

/// The first documents of a domain, training and held-out ones counted apart.
fn some_of(lines: &[u8]) -> Vec<u8> {
    let (mut training, mut held_out) = (0, 0);
    let mut kept = Vec::new();
    for line in lines.split_inclusive(|b| *b == b'\n') {
        let marked = line.windows(HELD_OUT_MARK.len()).any(|w| w == HELD_OUT_MARK);
        let (taken, most) =
            if marked { (&mut held_out, HELD_OUT_BYTES) } else { (&mut training, TRAINING_BYTES) };
        if *taken < most {
            *taken += line.len();
            kept.extend_from_slice(line);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_the_same_tokens_are_told_apart() {
        let rule = "on one of the tokens ‹noun› or ‹adj›";
        assert!(share_a_token(rule, "on one of the tokens ‹adj›, ‹crate›"));
        assert!(!share_a_token(rule, "on the token ‹·de›") && !share_a_token("in code", "in code"));
    }

    #[test]
    fn every_domain_gives_documents_of_both_kinds() {
        for (name, bytes) in CORPUS {
            let kept = some_of(bytes);
            assert!((380_000..450_000).contains(&kept.len()), "{name}: {} bytes", kept.len());
            let text = String::from_utf8(kept).unwrap();
            let held_out: usize = text.lines().filter(|l| l.contains("\"heldout\"")).map(str::len).sum();
            assert!((90_000..130_000).contains(&held_out), "{name}: {held_out} bytes held out");
        }
    }
}

//! The runs of a folder, and which of them differ in their seed alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;
use storage::comparison::ComparisonRow;
use storage::{FoundKind, RunRecord, RunStatus};

use crate::dictionary::Selection;
use crate::evaluate::{
    BY_THRESHOLD, Baseline, BaselineEvaluation, EvaluateOptions, Evaluation, WithDocuments, chosen_tokens,
};
use crate::rows::Subject;
use crate::train::{CONFIG_FILE, Method, TrainConfig, read_config_file};
use crate::{ModelChoice, Result};
use storage::evaluation::CORE;

/// A finished run.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    pub(super) name: String,
    pub(super) record: RunRecord,
    pub(super) config: TrainConfig,
}

/// The finished runs in `folder` with their names there, and the names of the others.
pub(super) fn find(folder: &Path) -> Result<(Vec<Candidate>, Vec<String>)> {
    let (mut finished, mut others) = (Vec::new(), Vec::new());
    for found in storage::find_folders(folder)?.into_iter().filter(|found| found.kind == FoundKind::Run) {
        let name = found.path.strip_prefix(folder).unwrap_or(&found.path).display().to_string();
        let record = RunRecord::read(&found.path)?;
        // Without a configuration there is nothing to group an imported dictionary by.
        if record.status != RunStatus::Finished || record.imported.is_some() {
            others.push(name);
            continue;
        }
        let config = read_config_file(&found.path.join(CONFIG_FILE))?;
        finished.push(Candidate { path: found.path, name, record, config });
    }
    Ok((finished, others))
}

impl Candidate {
    /// Its evaluations, if there are some of the same dictionary on the same tokens.
    pub(super) fn evaluation(
        &self,
        options: &EvaluateOptions,
    ) -> Result<Option<(WithDocuments, Option<WithDocuments>)>> {
        let subject = Subject::open(&self.path, options.data.as_deref())?;
        let tokens = chosen_tokens(&subject.dataset, options)?;
        let read = |name: &str| {
            // One that cannot be read is made again.
            let there = Evaluation::read(&self.path, name).ok()??;
            let same = there.dictionary_sha256 == subject.dictionary_sha256
                && there.seed == options.seed
                && there.norm_limit == options.norm_limit
                && there.tokens + there.left_out == tokens
                && there.split == if options.all_documents { "all" } else { "held-out" }
                && there.ce_clean.is_some() == (options.model != ModelChoice::Without)
                && there.cosine_features.is_some();
            let documents = storage::evaluation::read_documents(&self.path, name).ok()??;
            same.then_some((there, documents))
        };
        let Some(own) = read(CORE) else { return Ok(None) };
        if !matches!(subject.dictionary.selection, Selection::TopK(_)) {
            return Ok(Some((own, None)));
        }
        Ok(read(BY_THRESHOLD).map(|by_threshold| (own, Some(by_threshold))))
    }
}

/// Runs that are measured on the same tokens, by their numbers: those of one dataset.
pub(super) fn pools(candidates: &[Candidate]) -> Vec<Vec<usize>> {
    let mut pools: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (i, candidate) in candidates.iter().enumerate() {
        pools.entry(candidate.record.data.as_str()).or_default().push(i);
    }
    pools.into_values().collect()
}

/// Options that have their place in a row of their own, or that do not make another kind of dictionary.
const ELSEWHERE: [&str; 17] = [
    "method",
    "k",
    "d_sae",
    "seed",
    "data_seed",
    "data",
    "tokens",
    "batch",
    "threads",
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "history",
    "block_rows",
    "pool_rows",
    "dead_after",
    "max_norm",
];

/// For each run the options in which it differs from its method's defaults, as `score_beta=4`. What all runs have in common is left out:
/// it is a setting of the comparison.
pub(super) fn variants(candidates: &[Candidate]) -> Result<Vec<String>> {
    let mut own: Vec<BTreeSet<String>> = Vec::new();
    for Candidate { config, record, .. } in candidates {
        let default = TrainConfig {
            method: config.method,
            k: config.k,
            d_sae: Some(record.d_sae),
            batch: config.batch,
            tokens: config.tokens,
            dead_after: config.dead_after,
            ..TrainConfig::default()
        };
        let (ours, theirs) = (fields(config), fields(&default.with_defaults(record.d_in)?));
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let differs =
            |name: &&&String| !ELSEWHERE.contains(&name.as_str()) && ours.get(**name) != theirs.get(**name);
        let shown = |name: &String| match ours.get(name) {
            Some(Value::Bool(true)) => name.clone(),
            Some(Value::String(text)) => format!("{name}={text}"),
            Some(value) => format!("{name}={value}"),
            None => format!("{name}=none"),
        };
        own.push(names.iter().filter(differs).map(|name| shown(name)).collect());
    }
    let common = own.iter().cloned().reduce(|a, b| &a & &b).unwrap_or_default();
    let several = candidates.len() > 1;
    let text = |set: &BTreeSet<String>| {
        let rest = set.iter().filter(|option| !several || !common.contains(*option));
        rest.cloned().collect::<Vec<_>>().join(" ")
    };
    Ok(own.iter().map(text).collect())
}

fn fields(config: &TrainConfig) -> serde_json::Map<String, Value> {
    match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    }
}

/// What a group is called.
fn group(method: &str, variant: &str, k: u64) -> String {
    let mut name = method.to_owned();
    if !variant.is_empty() {
        name = format!("{name} ({variant})");
    }
    if k > 0 { format!("{name} k {k}") } else { name }
}

/// A run as a row of the comparison.
pub(super) fn row(candidate: &Candidate, variant: &str, evaluation: &Evaluation) -> ComparisonRow {
    let Candidate { record, config, .. } = candidate;
    let last = record.last.unwrap_or_default();
    ComparisonRow {
        run: candidate.name.clone(),
        group: group(&record.method, variant, record.k as u64),
        method: record.method.clone(),
        variant: variant.to_owned(),
        control: config.control().to_owned(),
        hook: record.hook.clone(),
        k: record.k as u64,
        d_sae: record.d_sae as u64,
        seed: config.seed,
        tokens: record.tokens_done,
        selection: match &record.thresholds {
            Some(fit) => fit.kind.clone(),
            None if record.k > 0 => "best".to_owned(),
            None => "learned".to_owned(),
        },
        l0_training: last.l0.map(f64::from),
        fve_training: last.explained_variance.map(f64::from),
        seconds: Some(record.wall_seconds),
        ..measured(evaluation)
    }
}

/// The same run, selecting by one threshold.
pub(super) fn threshold_row(candidate: &Candidate, variant: &str, evaluation: &Evaluation) -> ComparisonRow {
    let variant = if variant.is_empty() { ONE.to_owned() } else { format!("{variant} {ONE}") };
    ComparisonRow { selection: "one".to_owned(), ..row(candidate, &variant, evaluation) }
}

/// Marks runs that take the k best of a token in training and were measured with a threshold.
const ONE: &str = "by one threshold";

/// A computed baseline as a row, next to a run of the same data.
pub(super) fn baseline_row(candidate: &Candidate, baseline: &BaselineEvaluation) -> ComparisonRow {
    let (name, k) = (baseline.baseline.name(), baseline.k as u64);
    let control = match baseline.baseline {
        Baseline::PcaFirst => "first principal components",
        Baseline::PcaLargest => "largest principal components",
        Baseline::RawLargest => "raw dimensions",
        Baseline::RandomRows => "random rows, not trained",
        Baseline::PermutedDecoder => "permuted decoder",
    };
    ComparisonRow {
        run: format!("{name}-k{k}"),
        control: control.to_owned(),
        group: group(name, "", k),
        method: name.to_owned(),
        hook: candidate.record.hook.clone(),
        k,
        d_sae: baseline.evaluation.d_sae,
        selection: "best".to_owned(),
        ..measured(&baseline.evaluation)
    }
}

fn measured(e: &Evaluation) -> ComparisonRow {
    let quantile = |i: usize| Some(e.l0_quantiles[i] as f64);
    ComparisonRow {
        evaluated: e.tokens,
        fve: e.fve,
        l0: e.l0,
        l0_sd: Some(e.l0_sd),
        l0_p5: quantile(1),
        l0_median: quantile(3),
        l0_p95: quantile(5),
        dead_share: e.dead_share,
        under_used_share: Some(e.under_used_share),
        cosine: e.cosine,
        l2_ratio: e.l2_ratio,
        ce_clean: e.ce_clean,
        ce: e.ce_reconstructed,
        loss_recovered: e.loss_recovered,
        kl: e.kl,
        reconstruction_bias: e.relative_reconstruction_bias,
        decoder_cosine: e.decoder_cosine,
        max_decoder_cosine: e.max_decoder_cosine,
        over_1_percent: e.over_1_percent,
        left_out_mass: e.left_out_mass,
        mean_to_spread: e.mean_to_spread,
        ..ComparisonRow::default()
    }
}

/// Where a row stands: by data and width, then methods in the order of their table (baselines last), the method itself before its
/// variants, k, seed.
pub(super) fn place(row: &ComparisonRow) -> (String, u64, usize, String, u64, u64) {
    let method = Method::ALL.iter().position(|method| method.name() == row.method).unwrap_or(usize::MAX);
    // PCA has a width of its own, and stands after what it is compared with.
    let width = if method == usize::MAX { u64::MAX } else { row.d_sae };
    (row.hook.clone(), width, method, row.variant.clone(), row.k, row.seed)
}

//! Results as files of SAEBench (0.6), so that its plots and Neuronpedia show our runs next to public ones: `DIR/core/` and, of a folder that
//! `sae probe` wrote, `DIR/sparse_probing/`. They fit the JSON schemas that SAEBench carries (`tests/outside/saebench.py`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use storage::Scan;
use storage::probe::{PROBES, Probe, ProbeRow};

use crate::dictionary::CONFIG;
use crate::evaluate::Evaluation;
use crate::probe::{ALL, RAW};
use crate::{Error, Result};
use lm::model::hexadecimal;

/// Numbers of columns that SAEBench has a field for.
const COLUMNS: [u32; 7] = [1, 2, 5, 10, 20, 50, 100];

/// Writes `evaluation` of the dictionary at `run` as `DIR/core/RUN_HOOK_eval_results.json`. Returns the file.
///
/// # Errors
/// An evaluation without a model, as most of SAEBench's figures are about the model; a file that cannot be written.
pub fn write_core(run: &Path, evaluation: &Evaluation, dir: &Path) -> Result<PathBuf> {
    let e = evaluation;
    let with_model = |n: Option<f64>, name: &str| {
        n.ok_or_else(|| {
            Error::request(format!(
                "SAEBench's core results need {name}, which this evaluation does not have"
            ))
            .with_remedy("evaluate with the model (without --no-model), on text with some variance")
        })
    };
    let metrics = json!({
        "model_behavior_preservation": {
            "kl_div_score": with_model(e.kl_score, "kl_score")?,
            "kl_div_with_ablation": with_model(e.kl_zero, "kl_zero")?,
            "kl_div_with_sae": with_model(e.kl, "kl")?,
        },
        "model_performance_preservation": {
            "ce_loss_score": with_model(e.loss_recovered, "loss_recovered")?,
            "ce_loss_with_ablation": with_model(e.ce_zero, "ce_zero")?,
            "ce_loss_with_sae": with_model(e.ce_reconstructed, "ce_reconstructed")?,
            "ce_loss_without_sae": with_model(e.ce_clean, "ce_clean")?,
        },
        "reconstruction_quality": {
            "explained_variance": with_model(e.fve, "fve")?,
            "explained_variance_legacy": with_model(e.fve_legacy, "fve_legacy")?,
            "mse": e.mse,
            "cossim": e.cosine,
        },
        "shrinkage": {
            "l2_norm_in": with_model(e.norm_in, "norm_in")?,
            "l2_norm_out": with_model(e.norm_out, "norm_out")?,
            "l2_ratio": with_model(e.l2_ratio, "l2_ratio")?,
            "relative_reconstruction_bias":
                with_model(e.relative_reconstruction_bias, "relative_reconstruction_bias")?,
        },
        "sparsity": { "l0": e.l0, "l1": e.l1 },
        "token_stats": {
            "total_tokens_eval_reconstruction": e.predicted_tokens,
            "total_tokens_eval_sparsity_variance": e.tokens,
        },
        "misc_metrics": {
            "freq_over_1_percent": with_model(e.over_1_percent, "over_1_percent")?,
            "freq_over_10_percent": with_model(e.over_10_percent, "over_10_percent")?,
            "normalized_freq_over_1_percent": e.firings_over_1_percent.unwrap_or(0.0),
            "normalized_freq_over_10_percent": e.firings_over_10_percent.unwrap_or(0.0),
            "average_max_encoder_cosine_sim": with_model(e.max_encoder_cosine, "max_encoder_cosine")?,
            "average_max_decoder_cosine_sim": with_model(e.max_decoder_cosine, "max_decoder_cosine")?,
            "frac_alive": 1.0 - e.dead_share,
        },
    });
    let config = json!({
        "model_name": e.model,
        "llm_dtype": "float32",
        "dataset": e.data,
        "context_size": e.context_length,
        "compute_kl": true,
        "compute_ce_loss": true,
        "compute_l2_norms": true,
        "compute_sparsity_metrics": true,
        "compute_variance_metrics": true,
        "compute_featurewise_density_statistics": true,
        "compute_featurewise_weight_based_metrics": true,
        "exclude_special_tokens_from_reconstruction": true,
    });
    write(run, &e.hook, "core", &config, &metrics, &[], dir)
}

/// Writes the probes in `probes`, a folder of `sae probe`, of the dictionary at `run` as `DIR/sparse_probing/RUN_HOOK_eval_results.json`.
/// They are those of the normal setting with the published splits, the first seed and the first penalty. Returns the file.
///
/// # Errors
/// A folder that is not one of `sae probe`, is not finished, or did not probe this dictionary; a file that cannot be written.
pub fn write_sparse_probing(run: &Path, sha256: &str, probes: &Path, dir: &Path) -> Result<PathBuf> {
    let question = Probe::read(probes)?.ok_or_else(|| {
        Error::request(format!("{} is not a folder of probes", probes.display()))
            .with_remedy("make one with `sae probe`")
    })?;
    let place = question.dictionaries_sha256.iter().position(|own| own == sha256).ok_or_else(|| {
        Error::request(format!("{} has no probes of the dictionary of {}", probes.display(), run.display()))
            .with_remedy(format!("it has those of {}", question.dictionaries.join(", ")))
    })?;
    let name = &question.dictionaries[place];
    let table = storage::row::open::<ProbeRow>(&probes.join(PROBES))?;
    let rows = storage::row::read::<ProbeRow>(&table, Scan::default())?;
    let wanted = |row: &&ProbeRow| {
        (row.setting == "normal" && row.split == "published")
            && Some(&row.seed) == question.seeds.first()
            && row.hook == question.hooks[place]
    };
    let mut sets: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for row in rows.iter().filter(wanted) {
        let first = question.penalties.first() == Some(&row.penalty);
        let key = match row.dictionary.as_str() {
            ALL => "llm_test_accuracy".to_owned(),
            RAW if first && COLUMNS.contains(&row.k) => format!("llm_top_{}_test_accuracy", row.k),
            own if own == name && first && COLUMNS.contains(&row.k) => {
                format!("sae_top_{}_test_accuracy", row.k)
            }
            _ => continue,
        };
        sets.entry(&row.set).or_default().insert(key, json!(row.test_accuracy));
    }
    if sets.is_empty() {
        return Err(Error::request(format!(
            "{} has no probes of the normal setting with published splits",
            probes.display()
        ))
        .with_remedy("run `sae probe` with --setting normal --split published"));
    }
    let mean = |prefix: &str| {
        let mut sums: BTreeMap<&String, (f64, f64)> = BTreeMap::new();
        for (key, value) in sets.values().flatten().filter(|(key, _)| key.starts_with(prefix)) {
            let sum = sums.entry(key).or_default();
            sum.0 += value.as_f64().unwrap_or_default();
            sum.1 += 1.0;
        }
        sums.into_iter().map(|(key, (sum, n))| (key.clone(), json!(sum / n))).collect::<Map<String, Value>>()
    };
    let metrics = json!({ "llm": mean("llm"), "sae": mean("sae") });
    let used: Vec<u32> = question.k.iter().copied().filter(|k| COLUMNS.contains(k)).collect();
    let config = json!({
        "random_seed": question.seeds.first(),
        "dataset_names": sets.keys().collect::<Vec<_>>(),
        "probe_train_set_size": rows.iter().map(|row| row.train).max(),
        "probe_test_set_size": rows.iter().map(|row| row.test).max(),
        "context_length": 1024,
        "llm_dtype": "float32",
        "model_name": question.model,
        "k_values": used,
    });
    let details = sets.iter().map(|(set, figures)| {
        let mut detail = figures.clone();
        detail.insert("dataset_name".to_owned(), json!(set));
        Value::Object(detail)
    });
    write(run, &question.hooks[place], "sparse_probing", &config, &metrics, &details.collect::<Vec<_>>(), dir)
}

/// Writes one result with what SAEBench says of every one.
fn write(
    run: &Path,
    hook: &str,
    kind: &str,
    config: &Value,
    metrics: &Value,
    details: &[Value],
    dir: &Path,
) -> Result<PathBuf> {
    let own = run.canonicalize().unwrap_or_else(|_| run.to_owned());
    let release =
        own.file_name().map_or_else(|| "run".to_owned(), |name| name.to_string_lossy().into_owned());
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |past| past.as_millis() as u64);
    let digest = hexadecimal(&Sha256::digest(format!("{release} {hook} {kind} {millis} {metrics}")));
    let id = [&digest[..8], &digest[8..12], &digest[12..16], &digest[16..20], &digest[20..32]].join("-");
    let result = json!({
        "eval_type_id": kind,
        "eval_config": config,
        "eval_id": id,
        "datetime_epoch_millis": millis,
        "eval_result_metrics": metrics,
        "eval_result_details": details,
        "sae_bench_commit_hash": format!("sae-workbench {}", env!("CARGO_PKG_VERSION")),
        "sae_lens_id": hook,
        "sae_lens_release_id": release,
        "sae_lens_version": "",
        "sae_cfg_dict": configuration(&own)?,
    });
    let folder = dir.join(kind);
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let path = folder.join(format!("{release}_{hook}_eval_results.json"));
    storage::atomic::write_json(&path, &result)?;
    Ok(path)
}

/// The dictionary's configuration; empty for one that has none in SAELens's form.
fn configuration(run: &Path) -> Result<Value> {
    let path = run.join(CONFIG);
    if !path.is_file() {
        return Ok(json!({}));
    }
    let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    serde_json::from_slice(&text).map_err(|e| Error::format(&path, e.to_string()))
}

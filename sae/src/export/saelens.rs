//! SAELens v6: the dictionary alone, with a complete `cfg.json` and how often each feature fires.

use serde_json::{Map, Value, json};

use super::Job;
use super::weights::{Subject, must_be_known_elsewhere};
use crate::dictionary::CONFIG;
use crate::dictionary::weights::{self, Named};
use crate::{Error, Result};

/// What SAELens adds to a density before it takes the logarithm.
const FLOOR: f32 = 1e-10;

pub(super) fn write(subject: &Subject, job: &mut Job<'_>) -> Result<u64> {
    let dictionary = &subject.dictionary;
    must_be_known_elsewhere(dictionary, "SAELens")?;
    dictionary.save(job.folder)?;
    complete(subject, job)?;
    match densities(subject)? {
        Some(densities) => {
            let logs: Vec<f32> = densities.iter().map(|density| (density + FLOOR).log10()).collect();
            let tensor = Named::f32("sparsity", &[logs.len()], &logs);
            weights::write(&job.folder.join("sparsity.safetensors"), &[tensor])?;
        }
        None => job.notes.push("without sparsity.safetensors, because the run has no index".to_owned()),
    }
    Ok(dictionary.d_sae as u64)
}

/// How often each feature fires, `[F]`, where the index is of these weights.
fn densities(subject: &Subject) -> Result<Option<Vec<f32>>> {
    let Some(run) = &subject.run else { return Ok(None) };
    let (Some(index), Some(features)) = (run.index()?, run.features()?) else { return Ok(None) };
    if index.dictionary_sha256 != crate::rows::weights_sha256(&subject.dir)? {
        return Ok(None);
    }
    Ok(Some(storage::features::scalar_columns(&features)?.density))
}

/// Puts in what SAELens writes and a folder of ours may lack.
fn complete(subject: &Subject, job: &mut Job<'_>) -> Result<()> {
    let path = job.folder.join(CONFIG);
    let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    let mut config: Map<String, Value> =
        serde_json::from_slice(&text).map_err(|e| Error::format(&path, e.to_string()))?;
    let heads = subject.place().is_some_and(|(_, site)| site == "attn.hook_z");
    if heads {
        config.insert("reshape_activations".to_owned(), json!("hook_z"));
        job.notes.push(
            "the hook is attn.hook_z: SAELens takes it as [.., heads, d_head] and joins the heads".to_owned(),
        );
    }
    let version = config.get("metadata").and_then(|m| m.get("sae_lens_version")).cloned();
    let mut defaults = Map::new();
    let known = [
        ("model_name", json!(subject.model())),
        ("hook_name", json!(subject.hook())),
        ("sae_lens_version", json!(crate::dictionary::SAE_LENS_LAYOUT)),
        ("sae_lens_training_version", version.unwrap_or(Value::Null)),
        ("model_class_name", json!("HookedTransformer")),
        ("model_from_pretrained_kwargs", json!({})),
        ("hook_head_index", Value::Null),
        ("dataset_path", Value::Null),
        ("context_size", Value::Null),
        ("prepend_bos", json!(true)),
        ("seqpos_slice", json!([null])),
        ("exclude_special_tokens", json!(false)),
        ("sequence_separator_token", json!("bos")),
        ("disable_concat_sequences", json!(false)),
    ];
    defaults.extend(known.map(|(name, value)| (name.to_owned(), value)));
    let metadata = config.entry("metadata").or_insert_with(|| json!({}));
    if let Some(metadata) = metadata.as_object_mut() {
        for (name, value) in defaults {
            let there = metadata.entry(name).or_insert(Value::Null);
            if there.is_null() {
                *there = value;
            }
        }
    }
    Ok(storage::atomic::write_json(&path, &config)?)
}

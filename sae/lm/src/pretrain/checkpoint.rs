//! A pretraining run on disk: weights, moments and the step, in one safetensors file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use serde::{Deserialize, Serialize};

use super::optimiser::AdamW;
use super::{Parameters, PretrainConfig};
use crate::{Error, Result};

/// How far a run is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Updates done.
    pub step: u64,
    /// Document tokens seen.
    pub tokens: u64,
    /// The pass over the text.
    pub epoch: u64,
    /// Batches of that pass done.
    pub batch: u64,
}

/// The checkpoint's file in the model's folder.
pub fn file(folder: &Path) -> PathBuf {
    folder.join("checkpoint.safetensors")
}

/// Writes everything that the rest of the run depends on.
///
/// # Errors
/// A folder that cannot be written to.
pub fn save(
    folder: &Path,
    config: &PretrainConfig,
    parameters: &Parameters,
    optimiser: &AdamW,
    position: Position,
) -> Result<()> {
    let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
    for (name, var) in parameters.iter() {
        let moments = &optimiser.moments[name];
        tensors.insert(format!("weight/{name}"), var.as_tensor().clone());
        tensors.insert(format!("first/{name}"), Tensor::new(moments.first.as_slice(), &Device::Cpu)?);
        tensors.insert(format!("second/{name}"), Tensor::new(moments.second.as_slice(), &Device::Cpu)?);
    }
    for (name, kept) in parameters.kept() {
        tensors.insert(format!("kept/{name}"), kept.clone());
    }
    let json = |value: serde_json::Result<String>| {
        value.map_err(|e| Error::data(format!("storing a checkpoint: {e}")))
    };
    let metadata = [
        ("config".to_owned(), json(serde_json::to_string(config))?),
        ("position".to_owned(), json(serde_json::to_string(&position))?),
    ];
    let bytes = safetensors::serialize(tensors, Some(metadata.into_iter().collect()))
        .map_err(|e| Error::data(format!("storing a checkpoint: {e}")))?;
    Ok(storage::atomic::write(&file(folder), &bytes)?)
}

/// Puts a checkpoint back; gives where it was made.
///
/// # Errors
/// A checkpoint that is missing, damaged, or of a different configuration or shapes.
pub fn load(
    folder: &Path,
    config: &PretrainConfig,
    parameters: &mut Parameters,
    optimiser: &mut AdamW,
) -> Result<Position> {
    let path = file(folder);
    let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
    let damaged = |e: &dyn std::fmt::Display| Error::format(&path, format!("is not a whole checkpoint: {e}"));
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).map_err(|e| damaged(&e))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let field = |name: &str| metadata.get(name).ok_or_else(|| damaged(&format!("no `{name}` in its header")));
    let stored: PretrainConfig = serde_json::from_str(field("config")?).map_err(|e| damaged(&e))?;
    check_same(&stored, config, &path)?;
    let tensors = candle_core::safetensors::load_buffer(&bytes, &Device::Cpu).map_err(|e| damaged(&e))?;
    let get = |kind: &str, name: &str| {
        tensors.get(&format!("{kind}/{name}")).ok_or_else(|| damaged(&format!("no tensor {kind}/{name}")))
    };
    for (name, var) in parameters.iter() {
        var.set(get("weight", name)?).map_err(|e| damaged(&e))?;
        if let Some(moments) = optimiser.moments.get_mut(name) {
            moments.first = get("first", name)?.to_vec1()?;
            moments.second = get("second", name)?.to_vec1()?;
        }
    }
    let names: Vec<String> = parameters.kept().keys().cloned().collect();
    for name in names {
        parameters.keep(&name, get("kept", &name)?.clone());
    }
    serde_json::from_str(field("position")?).map_err(|e| damaged(&e))
}

/// What may differ between a run and its continuation: how long it goes and how often it reports.
fn check_same(stored: &PretrainConfig, config: &PretrainConfig, path: &Path) -> Result<()> {
    let adjusted = PretrainConfig {
        tokens: config.tokens,
        decay_share: config.decay_share,
        checkpoint_every: config.checkpoint_every,
        log_every: config.log_every,
        ..stored.clone()
    };
    if adjusted != *config {
        return Err(Error::format(path, "was made with different options").with_remedy(
            "repeat them (only tokens, decay_share, checkpoint_every and log_every may change), or choose a different folder",
        ));
    }
    Ok(())
}

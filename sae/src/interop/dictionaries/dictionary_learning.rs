//! dictionary_learning: `ae.pt`, `config.json`. What the tensors mean depends on `trainer.dict_class`.
//!
//! | class | selection | pre-bias |
//! |---|---|---|
//! | `AutoEncoder` | ReLU | `bias` |
//! | `GatedAutoEncoder` | gate, folded into thresholds | `decoder_bias` |
//! | `AutoEncoderTopK` | TopK; its `threshold` is not used | `b_dec` |
//! | `BatchTopKSAE`, `MatryoshkaBatchTopKSAE` | one threshold | `b_dec` |
//! | `JumpReluAutoEncoder` | thresholds | none |

use serde_json::Value;

use super::names::number_after;
use super::parts::{Parts, thresholds, top_k};
use super::pickle;
use super::recognise::{Place, json};
use super::tensors::{Lies, Tensors};
use super::{Content, Format, Opened, Reading};
use crate::dictionary::Selection;
use crate::{Error, Result};

/// The weights.
pub(super) const FILE: &str = "ae.pt";
const CONFIG: &str = "config.json";

pub(super) fn read(place: &Place) -> Result<Opened> {
    let path = place.file_or(FILE);
    let mut tensors = pickle::read(&path)?.tensors;
    let mut reading = Reading::new(Format::DictionaryLearning);
    reading.files.push(path.clone());
    let config = place.folder.join(CONFIG);
    let trainer = match config.is_file() {
        true => {
            let whole = json(&config)?;
            reading.files.push(config);
            whole.get("trainer").cloned().unwrap_or(Value::Null)
        }
        false => Value::Null,
    };
    let text = |key: &str| trainer.get(key).and_then(Value::as_str).map(str::to_owned);
    reading.model = text("lm_name");
    hook(&trainer, &mut reading);
    let class = match text("dict_class") {
        Some(class) => class,
        None => inferred(&tensors, &mut reading).to_owned(),
    };
    match class.as_str() {
        "AutoEncoder" => relu(&mut tensors, reading),
        "GatedAutoEncoder" => gated(&mut tensors, reading),
        "AutoEncoderTopK" => {
            let k = k(&mut tensors, &trainer, &path)?;
            reading.published_l0 = Some(k as f64);
            reading.decide("threshold", "not used", "an AutoEncoderTopK encodes by rank");
            linear(&mut tensors, &mut reading, |features, _| top_k(place, k, features)).map(|parts| parts.opened(reading))
        }
        "BatchTopKSAE" | "MatryoshkaBatchTopKSAE" => {
            if tensors.has("k") {
                reading.published_l0 = Some(k(&mut tensors, &trainer, &path)? as f64);
            }
            reading.decide("selection", "one threshold", format!("a {class} encodes by its threshold after training"));
            let threshold = tensors.take("threshold")?.numbers;
            if threshold.iter().any(|t| *t < 0.0) {
                return Err(Error::format(&path, format!("threshold is {threshold:?}: it was saved before training had set one"))
                    .with_remedy("take a checkpoint from later in training"));
            }
            let select = |features: usize, _: &mut Tensors| thresholds(place, "threshold", threshold, features);
            let parts = match tensors.has("W_enc") {
                true => matrices(&mut tensors, &mut reading, select)?,
                false => linear(&mut tensors, &mut reading, select)?,
            };
            Ok(parts.opened(reading))
        }
        "JumpReluAutoEncoder" => {
            reading.pre_bias = false;
            let threshold = tensors.vector("threshold")?;
            let select = |features: usize, _: &mut Tensors| thresholds(place, "threshold", threshold, features);
            matrices(&mut tensors, &mut reading, select).map(|parts| parts.opened(reading))
        }
        other => Err(Error::format(&path, format!("is a {other}, which is not read"))
            .with_remedy("AutoEncoder, GatedAutoEncoder, AutoEncoderTopK, BatchTopKSAE, MatryoshkaBatchTopKSAE and JumpReluAutoEncoder are read")),
    }
}

/// `encoder.weight [F, d]`, `decoder.weight [d, F]`, `encoder.bias`, `b_dec`.
fn linear(
    tensors: &mut Tensors,
    reading: &mut Reading,
    select: impl FnOnce(usize, &mut Tensors) -> Result<Selection>,
) -> Result<Parts> {
    let (b_enc, b_dec) = (tensors.vector("encoder.bias")?, tensors.vector("b_dec")?);
    let shape = [b_enc.len(), b_dec.len()];
    Ok(Parts {
        w_enc: tensors.matrix("encoder.weight", shape, Lies::AsHere, reading)?,
        w_dec: tensors.matrix("decoder.weight", shape, Lies::Transposed, reading)?,
        selection: select(shape[0], tensors)?,
        b_enc,
        b_dec,
        skip: None,
    })
}

/// `W_enc [d, F]`, `W_dec [F, d]`, `b_enc`, `b_dec`.
fn matrices(
    tensors: &mut Tensors,
    reading: &mut Reading,
    select: impl FnOnce(usize, &mut Tensors) -> Result<Selection>,
) -> Result<Parts> {
    let (b_enc, b_dec) = (tensors.vector("b_enc")?, tensors.vector("b_dec")?);
    let shape = [b_enc.len(), b_dec.len()];
    Ok(Parts {
        w_enc: tensors.matrix("W_enc", shape, Lies::Transposed, reading)?,
        w_dec: tensors.matrix("W_dec", shape, Lies::AsHere, reading)?,
        selection: select(shape[0], tensors)?,
        b_enc,
        b_dec,
        skip: None,
    })
}

fn relu(tensors: &mut Tensors, mut reading: Reading) -> Result<Opened> {
    let (b_enc, b_dec) = (tensors.vector("encoder.bias")?, tensors.vector("bias")?);
    let shape = [b_enc.len(), b_dec.len()];
    let parts = Parts {
        w_enc: tensors.matrix("encoder.weight", shape, Lies::AsHere, &mut reading)?,
        w_dec: tensors.matrix("decoder.weight", shape, Lies::Transposed, &mut reading)?,
        selection: Selection::Threshold(vec![0.0; shape[0]]),
        b_enc,
        b_dec,
        skip: None,
    };
    Ok(parts.opened(reading))
}

fn gated(tensors: &mut Tensors, mut reading: Reading) -> Result<Opened> {
    let gate = [tensors.vector("gate_bias")?, tensors.vector("r_mag")?, tensors.vector("mag_bias")?];
    let b_dec = tensors.vector("decoder_bias")?;
    let shape = [gate[0].len(), b_dec.len()];
    if let Some(other) = gate.iter().find(|vector| vector.len() != shape[0]) {
        return Err(tensors.wrong("r_mag or mag_bias", &[other.len()], &format!("[{}]", shape[0])));
    }
    let parts = Parts {
        w_enc: tensors.matrix("encoder.weight", shape, Lies::AsHere, &mut reading)?,
        w_dec: tensors.matrix("decoder.weight", shape, Lies::Transposed, &mut reading)?,
        selection: Selection::Threshold(vec![0.0; shape[0]]),
        b_enc: vec![0.0; shape[0]],
        b_dec,
        skip: None,
    };
    reading.decide(
        "gate",
        "folded into a threshold per feature",
        "e^r · u + mag_bias counts where u + gate_bias > 0",
    );
    let mut dictionary = parts.dictionary(&reading);
    dictionary.fold_gate(&gate);
    Ok(Opened { content: Content::Dictionary(dictionary), reading })
}

/// k of the weights, or else of the configuration.
fn k(tensors: &mut Tensors, trainer: &Value, path: &std::path::Path) -> Result<usize> {
    let of_weights = match tensors.has("k") {
        true => tensors.take("k")?.numbers.first().map(|k| *k as usize),
        false => None,
    };
    let of_config = trainer.get("k").and_then(Value::as_u64).map(|k| k as usize);
    of_weights.or(of_config).ok_or_else(|| Error::format(path, "has no k, and config.json has none either"))
}

/// Without a configuration the names of the tensors tell the class.
fn inferred(tensors: &Tensors, reading: &mut Reading) -> &'static str {
    let classes: [(&[&str], &str); 5] = [
        (&["gate_bias"], "GatedAutoEncoder"),
        (&["group_sizes"], "MatryoshkaBatchTopKSAE"),
        (&["W_enc", "threshold"], "JumpReluAutoEncoder"),
        (&["encoder.weight", "threshold"], "BatchTopKSAE"),
        (&["encoder.weight", "k"], "AutoEncoderTopK"),
    ];
    let class = classes.iter().find(|(names, _)| names.iter().all(|name| tensors.has(name)));
    let class = class.map_or("AutoEncoder", |(_, class)| *class);
    let why = match class {
        "BatchTopKSAE" => "a guess: config.json names none, and an AutoEncoderTopK has the same tensors",
        _ => "config.json names none; the tensors are those of this class",
    };
    reading.decide("class", class, why);
    class
}

fn hook(trainer: &Value, reading: &mut Reading) {
    let name = trainer.get("submodule_name").and_then(Value::as_str).unwrap_or_default();
    let layer = number_after(name, "layer_").or_else(|| trainer.get("layer")?.as_u64().map(|n| n as usize));
    let Some(layer) = layer else { return };
    let sites = [
        ("resid_post", "hook_resid_post"),
        ("resid_pre", "hook_resid_pre"),
        ("mlp", "hook_mlp_out"),
        ("att", "hook_attn_out"),
    ];
    let site = sites.iter().find(|(start, _)| name.starts_with(start));
    let (site, why) = match site {
        Some((_, site)) => (*site, format!("submodule_name is {name}")),
        None => (
            "hook_resid_post",
            format!("submodule_name is {name:?}; layer is {layer}, and most are of the residual stream"),
        ),
    };
    let hook = format!("blocks.{layer}.{site}");
    reading.decide("hook", &*hook, why);
    reading.hook_in = Some(hook);
}

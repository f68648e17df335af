//! Llama Scope: `hyperparams.json`, `checkpoints/final.safetensors`; and its R1 Distill set, `config.json`, `sae_weights.safetensors`
//! with logarithms of thresholds. JumpReLU without pre-bias, of rows scaled to the norm √d on average.

use serde_json::Value;

use super::parts::{Parts, thresholds};
use super::recognise::{Place, json};
use super::saelens::scale_input;
use super::tensors::{Lies, Tensors};
use super::{Alternative, Content, Format, Opened, Reading};
use crate::{Error, Result};

/// Its configuration.
pub(super) const CONFIG: &str = "hyperparams.json";
pub(super) const WEIGHTS: &str = "checkpoints/final.safetensors";
const R1_CONFIG: &str = "config.json";
const R1_WEIGHTS: &str = "sae_weights.safetensors";
/// The tensor by which the R1 set is recognised.
pub(super) const LOG_THRESHOLD: &str = "log_jumprelu_threshold";

pub(super) fn read(place: &Place) -> Result<Opened> {
    let logarithms = place.format == Format::LlamaScopeR1;
    let (config, weights) = match logarithms {
        true => (place.folder.join(R1_CONFIG), place.folder.join(R1_WEIGHTS)),
        false => (place.folder.join(CONFIG), place.folder.join(WEIGHTS)),
    };
    let settings = json(&config)?;
    let mut tensors = Tensors::safetensors(&weights)?;
    let mut reading = Reading::new(place.format);
    reading.files = vec![config.clone(), weights];
    reading.pre_bias = false;
    let text = |key: &str| settings.get(key).and_then(Value::as_str).map(str::to_owned);
    reading.hook_in = text("hook_point_in");
    reading.hook_out = text("hook_point_out").filter(|hook| Some(hook) != reading.hook_in.as_ref());
    reading.model = text("model_name").or_else(|| named_model(&place.origin, &mut reading));
    reading.published_l0 = settings.get("top_k").and_then(Value::as_f64);
    let b_enc = tensors.vector("encoder.bias")?;
    let b_dec = tensors.vector("decoder.bias")?;
    let (features, d_out) = (b_enc.len(), b_dec.len());
    let shape = tensors.shape("encoder.weight").unwrap_or_default();
    let d = shape.iter().copied().find(|n| *n != features).unwrap_or(features);
    let threshold = match logarithms {
        true => tensors.take(LOG_THRESHOLD)?.numbers.iter().map(|log| log.exp()).collect(),
        false => vec![number(&settings, &["jump_relu_threshold"], &config)? as f32],
    };
    let parts = Parts {
        w_enc: tensors.matrix("encoder.weight", [features, d], Lies::AsHere, &mut reading)?,
        w_dec: tensors.matrix("decoder.weight", [features, d_out], Lies::Transposed, &mut reading)?,
        selection: thresholds(place, "threshold", threshold, features)?,
        b_enc,
        b_dec,
        skip: None,
    };
    let norm = number(&settings, &["dataset_average_activation_norm", "in"], &config)?;
    let scale = ((d as f64).sqrt() / norm) as f32;
    if !scale.is_finite() || scale <= 0.0 {
        return Err(Error::format(
            &config,
            format!("dataset_average_activation_norm.in is {norm}; expected a number above 0"),
        ));
    }
    let mut dictionary = parts.dictionary(&reading);
    scale_input(&mut dictionary, scale);
    reading.input_scale = scale;
    reading.decide(
        "input scale",
        format!("{scale}"),
        format!("√{d} over the average norm {norm}; folded into the weights"),
    );
    if !logarithms {
        // SAELens multiplies the threshold by the scale, too. Whether the published one is of scaled rows already, no file says.
        let scaled = Alternative {
            what: "threshold in units of activations as they are".to_owned(),
            threshold_factor: scale,
        };
        let dictionary = &mut dictionary;
        *dictionary = scaled.of(dictionary);
        reading.decide(
            "threshold",
            format!("multiplied by {scale}"),
            "as SAELens reads it: the published one is of activations as they are",
        );
        reading.alternatives.push(Alternative {
            what: "threshold in units of scaled activations".to_owned(),
            threshold_factor: scale.recip(),
        });
    }
    Ok(Opened { content: Content::Dictionary(dictionary), reading })
}

fn number(settings: &Value, keys: &[&str], path: &std::path::Path) -> Result<f64> {
    let found = keys.iter().try_fold(settings, |value, key| value.get(key));
    found.and_then(Value::as_f64).ok_or_else(|| {
        Error::format(path, format!("{} is missing or not a number", keys.join(".")))
            .with_remedy("download the file again")
    })
}

/// `Llama3_1-8B-Base-LXR-8x` → `meta-llama/Llama-3.1-8B`, `Llama-Scope-R1-Distill` → the model that was distilled.
fn named_model(origin: &str, reading: &mut Reading) -> Option<String> {
    let (name, model) = origin.split('/').find_map(|part| match part {
        "Llama-Scope-R1-Distill" => Some((part, "deepseek-ai/DeepSeek-R1-Distill-Llama-8B")),
        _ if part.starts_with("Llama3_1-8B-Base") => Some((part, "meta-llama/Llama-3.1-8B")),
        _ => None,
    })?;
    reading.decide("model", model, format!("the repository is {name}"));
    Some(model.to_owned())
}

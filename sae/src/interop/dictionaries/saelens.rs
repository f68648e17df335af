//! SAELens folders: version 6 with every architecture, and the flat configurations before it.

use serde_json::{Map, Value, json};
use storage::whitening::Whitening;

use super::recognise::{Place, json as read_json};
use super::{Content, Format, Opened, Reading};
use crate::dictionary::weights::{Weights, transposed};
use crate::dictionary::{CONFIG, Config, Dictionary, Selection, WEIGHTS};
use crate::{Error, Result};

/// What training leaves of a normalisation by figures of its data.
const SCALER: &str = "activation_scaler.json";
const WHITENING: &str = "activation_whitening.safetensors";
/// Keys of a flat configuration that are about the model and the data.
const METADATA: [&str; 12] = [
    "model_name",
    "hook_name",
    "hook_head_index",
    "hook_layer",
    "model_class_name",
    "model_from_pretrained_kwargs",
    "prepend_bos",
    "context_size",
    "dataset_path",
    "seqpos_slice",
    "neuronpedia_id",
    "sae_lens_training_version",
];

/// A folder of version 6, also that of a run.
pub(super) fn version_6(place: &Place) -> Result<Opened> {
    let config = Config::read(&place.folder.join(CONFIG))?;
    read(place, &config, Reading::new(place.format))
}

/// A folder of an older version.
pub(super) fn version_5(place: &Place) -> Result<Opened> {
    let path = place.folder.join(CONFIG);
    let mut reading = Reading::new(Format::SaeLens5);
    let flat = read_json(&path)?;
    let flat = flat.as_object().ok_or_else(|| Error::format(&path, "is not a JSON object"))?;
    let config = upgraded(flat, &mut reading).map_err(|problem| Error::format(&path, problem))?;
    let config: Config = serde_json::from_value(config).map_err(|e| {
        Error::format(&path, format!("is not a SAELens configuration: {e}; expected d_in, d_sae, …"))
    })?;
    config.check().map_err(|problem| Error::format(&path, problem))?;
    read(place, &config, reading)
}

/// The configuration of version 6 that says the same, by SAELens's own rules.
fn upgraded(flat: &Map<String, Value>, reading: &mut Reading) -> Result<Value, String> {
    let mut old = flat.clone();
    for (before, after) in [
        ("hook_point", "hook_name"),
        ("hook_point_head_index", "hook_head_index"),
        ("hook_point_layer", "hook_layer"),
        ("activation_fn_str", "activation_fn"),
    ] {
        if let Some(value) = old.remove(before) {
            old.entry(after).or_insert(value);
        }
    }
    let text = |key: &str| old.get(key).and_then(Value::as_str).map(str::to_owned);
    let mut architecture = text("architecture").unwrap_or_else(|| {
        reading.decide("architecture", "standard", "the configuration names none; older ones mean this");
        "standard".to_owned()
    });
    let activation = text("activation_fn").unwrap_or_else(|| "relu".to_owned());
    let mut k = old.get("k").cloned();
    match activation.as_str() {
        "relu" => {}
        "topk" => {
            k = old.get("activation_fn_kwargs").and_then(|kwargs| kwargs.get("k")).cloned().or(k);
            if architecture == "standard" {
                "topk".clone_into(&mut architecture);
                reading.decide(
                    "architecture",
                    "topk",
                    "activation_fn is topk; its k is in activation_fn_kwargs",
                );
            }
        }
        other => return Err(format!("activation_fn is `{other}`; relu and topk are read")),
    }
    let normalisation = match old.get("normalize_activations") {
        None | Some(Value::Null | Value::Bool(false)) => "none".to_owned(),
        Some(Value::Bool(true)) => "expected_average_only_in".to_owned(),
        Some(Value::String(name)) => name.clone(),
        Some(other) => {
            return Err(format!("normalize_activations is {other}; expected a name or true or false"));
        }
    };
    let hook = text("hook_name").unwrap_or_default();
    let reshape = text("reshape_activations")
        .unwrap_or_else(|| if hook.contains("hook_z") { "hook_z" } else { "none" }.to_owned());
    let subtracts = old.get("apply_b_dec_to_input").and_then(Value::as_bool).unwrap_or_else(|| {
        reading.decide("pre-bias", "subtracted", "the configuration does not say; older ones mean this");
        true
    });
    let mut metadata: Map<String, Value> = METADATA
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), old.get(*key).filter(|v| !v.is_null())?.clone())))
        .collect();
    metadata.entry("prepend_bos").or_insert(Value::Bool(true));
    let number = |key: &str| old.get(key).cloned().unwrap_or(Value::Null);
    Ok(json!({
        "architecture": architecture,
        "d_in": number("d_in"),
        "d_sae": number("d_sae"),
        "k": k,
        "apply_b_dec_to_input": subtracts,
        "normalize_activations": normalisation,
        "reshape_activations": reshape,
        "metadata": metadata,
    }))
}

fn read(place: &Place, config: &Config, mut reading: Reading) -> Result<Opened> {
    let path = place.folder.join(WEIGHTS);
    let weights = Weights::read(&path)?;
    reading.files = vec![place.folder.join(CONFIG), path];
    reading.pre_bias = config.apply_b_dec_to_input && !config.is_transcoder();
    reading.normalisation.clone_from(&config.normalize_activations);
    reading.published_l0 = config.k.map(|k| k as f64);
    if config.rescale_acts_by_decoder_norm == Some(true) {
        reading.decide(
            "decoder norms",
            "folded into the encoder",
            "rescale_acts_by_decoder_norm is true: selection ranks z · ‖W_dec row‖",
        );
    }
    match config.architecture.as_str() {
        "gated" => reading.decide(
            "gate",
            "folded into a threshold per feature",
            "e^r · u + b_mag counts where u + b_gate > 0: the same as a threshold on it",
        ),
        "batchtopk" | "matryoshka_batchtopk" => reading.decide(
            "selection",
            "one threshold for all features",
            "a checkpoint of BatchTopK training: topk_threshold, as SAELens saves it for inference",
        ),
        _ => {}
    }
    refuse_scaling_factor(place, &weights)?;
    let scaled = config.is_scaled();
    let mut dictionary = Dictionary::from_saelens(config, &weights)?;
    if scaled {
        fold_scaler(place, &mut dictionary, &mut reading)?;
    }
    reading.model.clone_from(&dictionary.info.model_name);
    reading.hook_in.clone_from(&dictionary.info.hook_name);
    reading.hook_out = dictionary.target.as_ref().and_then(|target| target.hook.clone());
    Ok(Opened { content: Content::Dictionary(dictionary), reading })
}

/// For a time SAELens wrote a factor per feature, nearly always 1.
fn refuse_scaling_factor(place: &Place, weights: &Weights) -> Result<()> {
    let Some(shape) = weights.shape("scaling_factor") else { return Ok(()) };
    let factors = weights.tensor("scaling_factor", &shape)?;
    match factors.iter().position(|factor| (factor - 1.0).abs() > 1e-5) {
        None => Ok(()),
        Some(i) => Err(Error::format(
            place.folder.join(WEIGHTS),
            format!("tensor `scaling_factor` holds {} at index {i}; only factors of 1 are read", factors[i]),
        )
        .with_remedy("load it in SAELens and fold the finetuning factor into W_dec first")),
    }
}

/// Folds what `normalize_activations` did to the training's activations, if its figures are there. SAELens does nothing at inference:
/// without figures the tensors are read as they are.
fn fold_scaler(place: &Place, dictionary: &mut Dictionary, reading: &mut Reading) -> Result<()> {
    let path = place.folder.join(SCALER);
    if !path.is_file() {
        reading.decide(
            "input scale",
            "1",
            format!(
                "normalize_activations is {}, but there is no {SCALER}: SAELens does nothing at inference then",
                reading.normalisation
            ),
        );
        return Ok(());
    }
    let scaler = read_json(&path)?;
    reading.files.push(path.clone());
    let factor = scaler.get("scaling_factor").filter(|factor| !factor.is_null());
    if let Some(factor) = factor {
        let scale = factor.as_f64().map(|factor| factor as f32).filter(|f| f.is_finite() && *f > 0.0);
        let scale = scale.ok_or_else(|| {
            Error::format(&path, format!("scaling_factor is {factor}; expected a number above 0"))
        })?;
        scale_input(dictionary, scale);
        reading.input_scale = scale;
        reading.decide(
            "input scale",
            format!("{scale}"),
            format!("scaling_factor of {SCALER}; folded into the weights"),
        );
    }
    let matrices = place.folder.join(WHITENING);
    let has_whitening = scaler.get("has_whitening").and_then(Value::as_bool);
    if has_whitening == Some(true) && !matrices.is_file() {
        return Err(Error::format(
            &path,
            format!("says that activations were whitened, and {WHITENING} is not next to it"),
        )
        .with_remedy("bring that file, too: without it every number would be of different activations"));
    }
    if matrices.is_file() && has_whitening != Some(false) {
        dictionary.unwhiten(&whitening(dictionary.d_in, &Weights::read(&matrices)?)?);
        reading.decide("whitening", "folded into the weights", format!("mean and matrices of {WHITENING}"));
        reading.files.push(matrices);
    }
    Ok(())
}

/// Makes a dictionary of `x · scale` one of `x` with the same codes.
pub(super) fn scale_input(dictionary: &mut Dictionary, scale: f32) {
    dictionary.w_enc.iter_mut().for_each(|w| *w *= scale);
    dictionary.w_dec.iter_mut().chain(&mut dictionary.b_dec).for_each(|w| *w /= scale);
    if let Selection::MatchingPursuit { residual_threshold, .. } = &mut dictionary.selection {
        *residual_threshold /= scale;
    }
}

/// What SAELens did to rows: `(x − μ) · M`, its rows times the matrix, ours the matrix times the row.
fn whitening(d: usize, file: &Weights) -> Result<Whitening> {
    Ok(Whitening {
        mean: file.tensor("mean", &[d])?,
        whiten: transposed(&file.tensor("matrix", &[d, d])?, d, d),
        restore: transposed(&file.tensor("inverse_matrix", &[d, d])?, d, d),
    })
}

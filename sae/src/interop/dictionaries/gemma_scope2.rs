//! Gemma Scope 2: `config.json`, `params.safetensors`. JumpReLU, no pre-bias; transcoders from the MLP's input to its output after the
//! last norm, some with a linear path that is stored `[d_in, d_out]`.

use std::path::Path;

use serde_json::Value;

use super::circuit_tracer::numbered;
use super::names::number_after;
use super::parts::{Parts, thresholds};
use super::recognise::{Place, json};
use super::tensors::{Lies, Tensors};
use super::{Content, Format, Opened, Reading};
use crate::dictionary::weights::transposed;
use crate::dictionary::{CrossLayerTranscoder, Dictionary};
use crate::{Error, Result};

/// The file.
pub(super) const FILE: &str = "params.safetensors";
const CONFIG: &str = "config.json";
/// What files of a cross-layer transcoder begin with: `params_layer_3.safetensors`.
pub(super) const LAYER: &str = "params_layer_";

pub(super) fn read(place: &Place) -> Result<Opened> {
    if place.file.is_none() && !place.folder.join(FILE).is_file() {
        return cross_layer(place);
    }
    let path = place.file_or(FILE);
    let mut tensors = Tensors::safetensors(&path)?;
    let mut reading = Reading::new(Format::GemmaScope2);
    reading.pre_bias = false;
    reading.files.push(path.clone());
    let config = place.folder.join(CONFIG);
    if config.is_file() {
        configured(&json(&config)?, &mut reading).map_err(|problem| Error::format(&config, problem))?;
        reading.files.push(config);
    }
    if reading.hook_in.is_none() {
        from_names(&place.origin, &mut reading);
    }
    if tensors.shape("w_dec").is_some_and(|shape| shape.len() == 3) {
        return Err(Error::format(
            &path,
            "is one layer of a cross-layer transcoder, whose output needs all of them",
        )
        .with_remedy("give the folder with the files of all layers"));
    }
    let (b_enc, b_dec) = (tensors.vector("b_enc")?, tensors.vector("b_dec")?);
    let (features, d_out) = (b_enc.len(), b_dec.len());
    let shape = tensors.shape("w_enc").unwrap_or_default();
    let d = shape.iter().copied().find(|n| *n != features).unwrap_or(features);
    let threshold = tensors.vector("threshold")?;
    let skip = match tensors.has("affine_skip_connection") {
        true => Some(transposed(&tensors.shaped("affine_skip_connection", &[d, d_out])?, d, d_out)),
        false => None,
    };
    if skip.is_some() {
        reading.decide("skip path", "transposed", "affine_skip_connection is documented as [d_in, d_out]");
    }
    if skip.is_some() && reading.hook_out.is_none() {
        return Err(Error::format(&path, "has a skip path but no name says where its output is")
            .with_remedy("give the folder with its config.json"));
    }
    let parts = Parts {
        w_enc: tensors.matrix("w_enc", [features, d], Lies::Transposed, &mut reading)?,
        w_dec: tensors.matrix("w_dec", [features, d_out], Lies::AsHere, &mut reading)?,
        selection: thresholds(place, "threshold", threshold, features)?,
        b_enc,
        b_dec,
        skip,
    };
    Ok(parts.opened(reading))
}

/// A cross-layer transcoder: a file for each layer, whose `w_dec` `[F, L, d]` writes into all layers.
fn cross_layer(place: &Place) -> Result<Opened> {
    let files = numbered(&place.folder, LAYER);
    let layers = files.len();
    if let Some((i, (layer, _))) = files.iter().enumerate().find(|(i, (layer, _))| i != layer) {
        return Err(Error::format(
            &place.folder,
            format!("has {LAYER}{layer}.safetensors but not {LAYER}{i}.safetensors"),
        )
        .with_remedy("download the missing files: a cross-layer transcoder needs all layers"));
    }
    let mut reading = Reading::new(Format::GemmaScope2);
    reading.pre_bias = false;
    let config = place.folder.join(CONFIG);
    if config.is_file() {
        configured(&json(&config)?, &mut reading).map_err(|problem| Error::format(&config, problem))?;
        reading.files.push(config);
    }
    (reading.hook_in, reading.hook_out) = (None, None);
    let (mut all, mut later) = (Vec::new(), Vec::new());
    for (layer, file) in files {
        let (dictionary, writes) = one_layer(place, &file, [layer, layers], &mut reading)?;
        reading.files.push(file);
        all.push(dictionary);
        later.push(writes);
    }
    (reading.hook_in, reading.hook_out) = (Some("hook_mlp_in".to_owned()), Some("hook_mlp_out".to_owned()));
    Ok(Opened { content: Content::CrossLayer(CrossLayerTranscoder { layers: all, later }), reading })
}

/// The features of `layer` among `layers`, and what they write into the later ones.
fn one_layer(
    place: &Place,
    file: &Path,
    [layer, layers]: [usize; 2],
    reading: &mut Reading,
) -> Result<(Dictionary, Vec<Vec<f32>>)> {
    let mut tensors = Tensors::safetensors(file)?;
    let (b_enc, b_dec) = (tensors.vector("b_enc")?, tensors.vector("b_dec")?);
    let (features, d) = (b_enc.len(), b_dec.len());
    let skip = match tensors.has("affine_skip_connection") {
        true => Some(transposed(&tensors.shaped("affine_skip_connection", &[d, d])?, d, d)),
        false => None,
    };
    let threshold = tensors.vector("threshold")?;
    let w_enc = tensors.matrix("w_enc", [features, d], Lies::Transposed, reading)?;
    let decoders = tensors.shaped("w_dec", &[features, layers, d])?;
    let of = |target: usize| -> Vec<f32> {
        let row = |feature: &[f32]| feature[target * d..(target + 1) * d].to_vec();
        decoders.chunks_exact(layers * d).flat_map(row).collect()
    };
    if (0..layer).any(|target| of(target).iter().any(|w| *w != 0.0)) {
        reading.decide(
            "decoders into earlier layers",
            "left out",
            "a layer's features cannot write into the layers before it; circuit-tracer leaves them out, too",
        );
    }
    let mut here = reading.clone();
    (here.hook_in, here.hook_out) =
        (Some(format!("blocks.{layer}.hook_mlp_in")), Some(format!("blocks.{layer}.hook_mlp_out")));
    let selection = thresholds(place, "threshold", threshold, features)?;
    let parts = Parts { w_enc, b_enc, w_dec: of(layer), b_dec, selection, skip };
    Ok((parts.dictionary(&here), (layer + 1..layers).map(of).collect()))
}

fn configured(config: &Value, reading: &mut Reading) -> Result<(), String> {
    let text = |key: &str| config.get(key).and_then(Value::as_str);
    match text("architecture") {
        None | Some("jump_relu" | "jumprelu") => {}
        Some(other) => return Err(format!("architecture is `{other}`; expected jump_relu")),
    }
    if let Some(name) = text("model_name") {
        // 270M has no name without a suffix of its own on the hub.
        let plain = name.replace("gemma-v3-", "gemma-3-");
        let plain =
            plain.strip_suffix("-pt").filter(|model| model.ends_with("270m")).unwrap_or(&plain).to_owned();
        let model = format!("google/{plain}");
        reading.decide("model", &*model, format!("model_name is {name}"));
        reading.model = Some(model);
    }
    for (key, slot) in [("hf_hook_point_in", 0), ("hf_hook_point_out", 1)] {
        let Some(point) = text(key) else { continue };
        let hook =
            hook(point).ok_or_else(|| format!("{key} is `{point}`, which is not a hook that is known"))?;
        reading.decide(if slot == 0 { "hook" } else { "target" }, &*hook, format!("{key} is {point}"));
        if slot == 0 { reading.hook_in = Some(hook) } else { reading.hook_out = Some(hook) }
    }
    // An SAE may name its own hook twice.
    if reading.hook_out == reading.hook_in {
        reading.hook_out = None;
    }
    Ok(())
}

/// Hugging Face's module and side → TransformerLens's name.
fn hook(point: &str) -> Option<String> {
    let rest = point.split_once("layers.")?.1;
    let (layer, place) = rest.split_once('.')?;
    let layer: usize = layer.parse().ok()?;
    let site = match place {
        "output" => "hook_resid_post",
        "input" => "hook_resid_pre",
        "self_attn.o_proj.input" => "attn.hook_z",
        // Gemma 3 norms the outputs of attention and MLP before they are added: the stream's hooks have the normed value.
        "post_feedforward_layernorm.output" => "hook_mlp_out",
        "post_attention_layernorm.output" => "hook_attn_out",
        "pre_feedforward_layernorm.output" | "mlp.input" => "hook_mlp_in",
        _ => return None,
    };
    Some(format!("blocks.{layer}.{site}"))
}

/// Without a configuration the folders say what it is: `resid_post/layer_5_width_16k_l0_small`.
fn from_names(origin: &str, reading: &mut Reading) {
    let kinds = [
        ("resid_post", "hook_resid_post", None),
        ("attn_out", "attn.hook_z", None),
        ("mlp_out", "hook_mlp_out", None),
        ("transcoder", "hook_mlp_in", Some("hook_mlp_out")),
    ];
    let kind = kinds.iter().find(|(folder, ..)| origin.split('/').any(|part| part.starts_with(folder)));
    let (Some((folder, site, out)), Some(layer)) = (kind, number_after(origin, "layer_")) else { return };
    let hook = format!("blocks.{layer}.{site}");
    reading.decide("hook", &*hook, format!("there is no {CONFIG}; the path has {folder} and layer_{layer}"));
    reading.hook_in = Some(hook);
    reading.hook_out = out.map(|site| format!("blocks.{layer}.{site}"));
}

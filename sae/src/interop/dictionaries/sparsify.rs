//! sparsify (EleutherAI): `HOOKPOINT/cfg.json`, `HOOKPOINT/sae.safetensors`. TopK; encoder and decoder are both `[F, d]`; an SAE
//! subtracts `b_dec` first, a transcoder nothing; a skip path is `[d_out, d_in]`.

use serde_json::Value;

use super::names::number_after;
use super::parts::{Parts, top_k};
use super::recognise::{Place, json};
use super::tensors::{Lies, Tensors};
use super::{Format, Opened, Reading};
use crate::{Error, Result};

/// The weights.
pub(super) const FILE: &str = "sae.safetensors";
const CONFIG: &str = "cfg.json";

pub(super) fn read(place: &Place) -> Result<Opened> {
    let (path, config) = (place.file_or(FILE), place.folder.join(CONFIG));
    let settings = json(&config)?;
    let mut tensors = Tensors::safetensors(&path)?;
    let mut reading = Reading::new(Format::Sparsify);
    reading.files = vec![config.clone(), path];
    let yes = |key: &str| settings.get(key).and_then(Value::as_bool).unwrap_or(false);
    match settings.get("activation").and_then(Value::as_str) {
        None | Some("topk") => {}
        Some(other) => {
            return Err(Error::format(&config, format!("activation is `{other}`; only topk is read"))
                .with_remedy("load it with sparsify"));
        }
    }
    let k = settings.get("k").and_then(Value::as_u64).map(|k| k as usize);
    let k = k.ok_or_else(|| Error::format(&config, "has no k, or k is not a whole number"))?;
    reading.published_l0 = Some(k as f64);
    let transcodes = yes("transcode");
    reading.pre_bias = !transcodes;
    hooks(place, transcodes, &mut reading);
    if tensors.has("W_skip") && !transcodes {
        return Err(Error::format(
            &reading.files[1],
            "has a W_skip, but cfg.json does not have transcode: an SAE with a skip path is not read",
        )
        .with_remedy("load it with sparsify"));
    }
    if transcodes && reading.hook_out.is_none() {
        // It is a transcoder wherever its output is.
        reading.hook_out = Some("unknown".to_owned());
        reading.decide(
            "target",
            "unknown",
            "cfg.json has transcode, and the folder's name is not that of a module",
        );
    }
    let (b_enc, b_dec) = (tensors.vector("encoder.bias")?, tensors.vector("b_dec")?);
    let (features, d_out) = (b_enc.len(), b_dec.len());
    let shape = tensors.shape("encoder.weight").unwrap_or_default();
    let d = shape.iter().copied().find(|n| *n != features).unwrap_or(features);
    let skip = match tensors.has("W_skip") {
        true => Some(tensors.shaped("W_skip", &[d_out, d])?),
        false => None,
    };
    let parts = Parts {
        w_enc: tensors.matrix("encoder.weight", [features, d], Lies::AsHere, &mut reading)?,
        w_dec: tensors.matrix("W_dec", [features, d_out], Lies::AsHere, &mut reading)?,
        selection: top_k(place, k, features)?,
        b_enc,
        b_dec,
        skip,
    };
    Ok(parts.opened(reading))
}

/// The folder is called after the module: `layers.2`, `layers.2.mlp`, `h.2`, `model.layers.2.self_attn`.
fn hooks(place: &Place, transcodes: bool, reading: &mut Reading) {
    let name = place.folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let Some(layer) = number_after(&name, "layers.").or_else(|| number_after(&name, "h.")) else { return };
    let site = match name.rsplit('.').next() {
        Some("mlp") => "hook_mlp_out",
        Some("self_attn" | "attn" | "attention") => "hook_attn_out",
        Some(last) if last.parse::<usize>().is_ok() => "hook_resid_post",
        _ => return,
    };
    let hook = format!("blocks.{layer}.{site}");
    if transcodes {
        let entrance = match site {
            "hook_mlp_out" => "hook_mlp_in",
            "hook_resid_post" => "hook_resid_pre",
            // What sparsify takes for the input of an attention module has no name of its own here.
            _ => return,
        };
        let entrance = format!("blocks.{layer}.{entrance}");
        reading.decide("hook", &*entrance, format!("a transcoder of the module {name} reads its input"));
        (reading.hook_in, reading.hook_out) = (Some(entrance), Some(hook));
        return;
    }
    reading.decide("hook", &*hook, format!("the folder is called {name}: the output of that module"));
    reading.hook_in = Some(hook);
}

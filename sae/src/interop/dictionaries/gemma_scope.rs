//! Gemma Scope: `layer_N/width_W/average_l0_L/params.npz`. JumpReLU, no pre-bias; hook, model and width stand in the path alone.

use super::names::number_after;
use super::npz;
use super::parts::{Parts, thresholds};
use super::recognise::Place;
use super::tensors::Lies;
use super::{Format, Opened, Reading};
use crate::{Error, Result};

/// The file.
pub(super) const FILE: &str = "params.npz";

pub(super) fn read(place: &Place) -> Result<Opened> {
    let path = place.file_or(FILE);
    let mut tensors = npz::read(&path)?;
    let mut reading = Reading::new(Format::GemmaScope);
    reading.files.push(path.clone());
    reading.pre_bias = false;
    let embedding = named(&place.origin, &mut reading);
    let [w_enc, w_dec] = [["W_enc", "w_enc"], ["W_dec", "w_dec"]].map(|names| tensors.first(&names));
    let (Some(w_enc), Some(w_dec)) = (w_enc, w_dec) else {
        return Err(Error::format(
            &path,
            format!("has no W_enc and W_dec; it has {}", tensors.names().join(", ")),
        ));
    };
    let (b_enc, b_dec) = (tensors.vector("b_enc")?, tensors.vector("b_dec")?);
    let features = b_enc.len();
    let shape = tensors.shape(w_enc).unwrap_or_default();
    let d = shape.iter().copied().find(|n| *n != features).unwrap_or(features);
    let threshold = tensors.vector("threshold")?;
    let mut parts = Parts {
        w_enc: tensors.matrix(w_enc, [features, d], Lies::Transposed, &mut reading)?,
        w_dec: tensors.matrix(w_dec, [features, b_dec.len()], Lies::AsHere, &mut reading)?,
        selection: thresholds(place, "threshold", threshold, features)?,
        b_enc,
        b_dec,
        skip: None,
    };
    if embedding {
        // The published SAE is of rows of the embedding matrix; the hook's value is these times √d, and so is what comes out.
        let root = (d as f32).sqrt();
        parts.w_enc.iter_mut().for_each(|w| *w /= root);
        parts.w_dec.iter_mut().chain(&mut parts.b_dec).for_each(|w| *w *= root);
        reading.input_scale = root.recip();
        reading.decide(
            "input scale",
            format!("1/√{d}"),
            "an SAE of the embedding: Gemma multiplies it by √d",
        );
    }
    Ok(parts.opened(reading))
}

/// Reads model, hook and L0 from the path; whether it is an SAE of the embedding.
fn named(origin: &str, reading: &mut Reading) -> bool {
    let repository = origin.split('/').find(|part| part.starts_with("gemma-scope-")).unwrap_or_default();
    let mut words = repository.split('-').skip(2);
    if let (Some(size), Some(kind)) = (words.next(), words.next()) {
        let tuned = if kind == "it" { "-it" } else { "" };
        let model = format!("google/gemma-2-{size}{tuned}");
        reading.decide("model", &*model, format!("the repository is {repository}"));
        reading.model = Some(model);
    }
    reading.published_l0 = number_after(origin, "average_l0_").map(|l0| l0 as f64);
    if origin.split('/').any(|part| part == "embedding") {
        reading.hook_in = Some("hook_embed".to_owned());
        reading.decide("hook", "hook_embed", "the path has a folder `embedding`");
        return true;
    }
    let sites = [
        ("transcoders", "hook_mlp_in"),
        ("res", "hook_resid_post"),
        ("mlp", "hook_mlp_out"),
        ("att", "attn.hook_z"),
    ];
    let site = sites.iter().find(|(ending, _)| repository.ends_with(&format!("-{ending}")));
    if let (Some((ending, site)), Some(layer)) = (site, number_after(origin, "layer_")) {
        let hook = format!("blocks.{layer}.{site}");
        reading.decide(
            "hook",
            &*hook,
            format!("the repository's name ends in -{ending}, the path has layer_{layer}"),
        );
        reading.hook_in = Some(hook);
        if *ending == "transcoders" {
            reading.hook_out = Some(format!("blocks.{layer}.hook_mlp_out"));
        }
    }
    false
}

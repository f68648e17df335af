//! Qwen-Scope: `layerN.sae.pt` with `W_enc [F, d]` and `W_dec [d, F]`, both the other way round than SAELens's. TopK without pre-bias; k,
//! model and hook stand in the repository's name: `SAE-Res-Qwen3-1.7B-Base-W32K-L0_50`.

use super::names::number_after;
use super::parts::{Parts, top_k};
use super::pickle;
use super::recognise::Place;
use super::tensors::Lies;
use super::{Format, Opened, Reading};
use crate::{Error, Result};

/// How its files end.
pub(super) const ENDING: &str = ".sae.pt";

pub(super) fn read(place: &Place) -> Result<Opened> {
    let Some(path) = &place.file else {
        return Err(Error::request(format!(
            "{} holds a dictionary for each of several layers",
            place.folder.display()
        ))
        .with_remedy(format!("give the file of one, e.g. {}/layer0{ENDING}", place.folder.display())));
    };
    let mut tensors = pickle::read(path)?.tensors;
    let mut reading = Reading::new(Format::QwenScope);
    reading.files.push(path.clone());
    reading.pre_bias = false;
    let repository =
        place.origin.split('/').find(|part| part.starts_with("SAE-")).unwrap_or_default().to_owned();
    let k = number_after(&repository, "L0_").ok_or_else(|| {
        Error::format(path, "does not hold its k, which stands in the repository's name (…-W32K-L0_50), and the path has none")
            .with_remedy("keep the repository's name as the name of the folder")
    })?;
    reading.decide("k", k.to_string(), format!("the repository is {repository}"));
    reading.published_l0 = Some(k as f64);
    if let Some((model, _)) = repository.strip_prefix("SAE-Res-").and_then(|rest| rest.split_once("-W")) {
        reading.model = Some(format!("Qwen/{model}"));
        reading.decide("model", format!("Qwen/{model}"), format!("the repository is {repository}"));
    }
    let file = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(layer) = number_after(&file, "layer").filter(|_| repository.starts_with("SAE-Res-")) {
        let hook = format!("blocks.{layer}.hook_resid_post");
        reading.decide("hook", &*hook, format!("the file is {file}, of a repository SAE-Res-…"));
        reading.hook_in = Some(hook);
    }
    let (b_enc, b_dec) = (tensors.vector("b_enc")?, tensors.vector("b_dec")?);
    let (features, d) = (b_enc.len(), b_dec.len());
    if k > features {
        reading.decide(
            "k",
            features.to_string(),
            format!("the name says {k}, but there are only {features} features"),
        );
    }
    let parts = Parts {
        w_enc: tensors.matrix("W_enc", [features, d], Lies::AsHere, &mut reading)?,
        w_dec: tensors.matrix("W_dec", [features, d], Lies::Transposed, &mut reading)?,
        selection: top_k(place, k.min(features), features)?,
        b_enc,
        b_dec,
        skip: None,
    };
    Ok(parts.opened(reading))
}

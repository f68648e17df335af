//! Dictionaries of one `.pt` file without configuration: OpenAI's `sparse_autoencoder` and Goodfire's.

use super::parts::{Parts, top_k};
use super::pickle::{self, Saved};
use super::recognise::Place;
use super::tensors::Lies;
use super::{Content, Format, Opened, Reading};
use crate::dictionary::{Normalisation, Selection};
use crate::{Error, Result};

/// Reads the file by its tensors' names.
pub(super) fn read(place: &Place) -> Result<Opened> {
    let Some(path) = &place.file else {
        return Err(Error::request(format!("{} is a folder; a file is needed", place.folder.display())));
    };
    let saved = pickle::read(path)?;
    let names = saved.tensors.names();
    let ends = |what: &str| names.iter().any(|name| name == what);
    if ends("latent_bias") && ends("pre_bias") {
        return openai(place, saved);
    }
    if ends("encoder_linear.weight") && ends("decoder_linear.weight") {
        return goodfire(place, saved);
    }
    Err(Error::format(
        path,
        format!("has the tensors {}; no dictionary that is read has these", names.join(", ")),
    )
    .with_remedy("dictionary_learning's ae.pt, OpenAI's, Goodfire's and Qwen-Scope's files are read"))
}

/// `z = W (norm(x) − pre_bias) + latent_bias`; with TopK rows are normalised by their own mean and deviation.
fn openai(place: &Place, saved: Saved) -> Result<Opened> {
    let Saved { mut tensors, plain } = saved;
    let mut reading = Reading::new(Format::OpenAi);
    reading.files.extend(place.file.clone());
    let (b_enc, b_dec) = (tensors.vector("latent_bias")?, tensors.vector("pre_bias")?);
    let shape = [b_enc.len(), b_dec.len()];
    let activation = plain.get("activation").and_then(|value| value.as_str()).unwrap_or("ReLU").to_owned();
    let selection = match activation.as_str() {
        "ReLU" => Selection::Threshold(vec![0.0; shape[0]]),
        "TopK" => {
            let k = plain.get("activation_state_dict.k").and_then(serde_json::Value::as_u64);
            let k = k.ok_or_else(|| {
                Error::format(tensors.path(), "is a TopK dictionary without activation_state_dict.k")
            })?;
            reading.published_l0 = Some(k as f64);
            top_k(place, k as usize, shape[0])?
        }
        other => {
            return Err(Error::format(
                tensors.path(),
                format!("has the activation {other}; ReLU and TopK are read"),
            ));
        }
    };
    let parts = Parts {
        w_enc: tensors.matrix("encoder.weight", shape, Lies::AsHere, &mut reading)?,
        w_dec: tensors.matrix("decoder.weight", shape, Lies::Transposed, &mut reading)?,
        selection,
        b_enc,
        b_dec,
        skip: None,
    };
    let mut dictionary = parts.dictionary(&reading);
    if activation == "TopK" {
        dictionary.normalisation = Normalisation::LayerNorm;
        dictionary.normalisation.name().clone_into(&mut reading.normalisation);
        reading.decide(
            "normalisation",
            "every row by its own mean and deviation",
            "the activation is TopK: OpenAI's program takes that for a sign",
        );
    }
    Ok(Opened { content: Content::Dictionary(dictionary), reading })
}

/// ReLU, no pre-bias.
fn goodfire(place: &Place, saved: Saved) -> Result<Opened> {
    let mut tensors = saved.tensors;
    let mut reading = Reading::new(Format::Goodfire);
    reading.files.extend(place.file.clone());
    reading.pre_bias = false;
    let (b_enc, b_dec) = (tensors.vector("encoder_linear.bias")?, tensors.vector("decoder_linear.bias")?);
    let shape = [b_enc.len(), b_dec.len()];
    let parts = Parts {
        w_enc: tensors.matrix("encoder_linear.weight", shape, Lies::AsHere, &mut reading)?,
        w_dec: tensors.matrix("decoder_linear.weight", shape, Lies::Transposed, &mut reading)?,
        selection: Selection::Threshold(vec![0.0; shape[0]]),
        b_enc,
        b_dec,
        skip: None,
    };
    Ok(parts.opened(reading))
}

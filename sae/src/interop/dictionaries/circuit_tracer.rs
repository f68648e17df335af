//! circuit-tracer: `config.yaml` with a transcoder per layer (`layer_N.safetensors`; also mwhanna's sets), or a cross-layer transcoder
//! (`W_enc_N.safetensors`, `W_dec_N.safetensors`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::names::number_after;
use super::parts::{Parts, thresholds, top_k};
use super::recognise::Place;
use super::tensors::{Lies, Tensors};
use super::{Content, Format, Opened, Reading};
use crate::dictionary::cross_layer::TOP_K_KIND;
use crate::dictionary::weights::transposed;
use crate::dictionary::{CrossLayerTranscoder, Dictionary, Selection};
use crate::{Error, Result};

/// The configuration.
pub(super) const CONFIG: &str = "config.yaml";

/// The entries of the configuration that are texts or numbers. Lists and nested entries are not needed: the files are in the folder.
pub(super) fn config(path: &Path) -> Result<BTreeMap<String, String>> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
    let entries = text.lines().filter(|line| !line.starts_with([' ', '-', '#', '\t']));
    let entries = entries.filter_map(|line| line.split_once(':'));
    let plain = |value: &str| value.trim().trim_matches(['"', '\'']).to_owned();
    Ok(entries.map(|(key, value)| (key.trim().to_owned(), plain(value))).collect())
}

/// The numbered files of a folder, ascending: `layer_3.safetensors` is `(3, …)`.
pub(super) fn numbered(folder: &Path, start: &str) -> Vec<(usize, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let numbered = entries.filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let number = name.strip_prefix(start)?.strip_suffix(".safetensors")?.parse().ok()?;
        Some((number, entry.path()))
    });
    let mut files: Vec<(usize, PathBuf)> = numbered.collect();
    files.sort();
    files
}

/// A set of transcoders, or the one whose file is meant.
pub(super) fn read_set(place: &Place) -> Result<Opened> {
    let config_path = Some(place.folder.join(CONFIG)).filter(|path| path.is_file());
    let config = config_path.as_deref().map_or_else(|| Ok(BTreeMap::new()), config)?;
    let files = match &place.file {
        Some(file) => {
            let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let layer = number_after(&name, "layer_");
            let layer = layer.ok_or_else(|| {
                Error::format(file, "does not say its layer; expected a name like layer_3.safetensors")
            })?;
            vec![(layer, file.clone())]
        }
        None => numbered(&place.folder, "layer_"),
    };
    if files.is_empty() {
        return Err(Error::format(
            &place.folder,
            "has a config.yaml of transcoders but no layer_N.safetensors",
        )
        .with_remedy("download the weights"));
    }
    let mut reading = Reading::new(Format::TranscoderSet);
    reading.files =
        config_path.clone().into_iter().chain(files.iter().map(|(_, file)| file.clone())).collect();
    reading.pre_bias = false;
    reading.model = config.get("model_name").filter(|name| !name.is_empty()).cloned();
    if config_path.is_none() {
        reading.decide(
            "hook",
            "the MLP's input after its norm, to its output",
            "there is no config.yaml; sets of this layout read and write there",
        );
    }
    let k = config.get("k").and_then(|k| k.parse().ok());
    let mut set = Vec::new();
    for (layer, file) in &files {
        let mut one = reading.clone();
        hooks(&config, *layer, &mut one);
        let dictionary = transcoder(place, file, k, &mut one)?;
        if files.len() == 1 {
            (reading.hook_in, reading.hook_out) = (one.hook_in.clone(), one.hook_out.clone());
        }
        one.decisions.iter().for_each(|d| reading.decide(&*d.what, &*d.value, &*d.why));
        set.push((*layer, dictionary));
    }
    let widths: Vec<usize> = set.iter().map(|(_, dictionary)| dictionary.d_in).collect();
    if let Some(i) = widths.iter().position(|width| Some(width) != widths.first()) {
        return Err(Error::format(
            &files[i].1,
            format!("is of width {}, the first layer's of {}", widths[i], widths[0]),
        )
        .with_remedy("files of several sets are mixed up"));
    }
    let content = match set.pop() {
        // A set of one layer is a dictionary like any other.
        Some((_, dictionary)) if set.is_empty() => Content::Dictionary(dictionary),
        last => {
            set.extend(last);
            Content::Set(set)
        }
    };
    Ok(Opened { content, reading })
}

/// Where the set's transcoders of a layer read and write.
fn hooks(config: &BTreeMap<String, String>, layer: usize, reading: &mut Reading) {
    let named = |key: &str, usual: &str| config.get(key).cloned().unwrap_or_else(|| usual.to_owned());
    let (site_in, site_out) =
        (named("feature_input_hook", "mlp.hook_in"), named("feature_output_hook", "hook_mlp_out"));
    let site = match site_in.as_str() {
        // The MLP's input after its norm has several names.
        "mlp.hook_in" | "ln2.hook_normalized" => "hook_mlp_in",
        other => other,
    };
    if site != site_in {
        reading.decide(
            "hook",
            site,
            format!("feature_input_hook is {site_in}: the MLP's input after its norm"),
        );
    }
    reading.hook_in = Some(format!("blocks.{layer}.{site}"));
    reading.hook_out = Some(format!("blocks.{layer}.{site_out}"));
}

fn transcoder(place: &Place, file: &Path, k: Option<usize>, reading: &mut Reading) -> Result<Dictionary> {
    let mut tensors = Tensors::safetensors(file)?;
    let (b_enc, b_dec) = (tensors.vector("b_enc")?, tensors.vector("b_dec")?);
    let (features, d_out) = (b_enc.len(), b_dec.len());
    let shape = tensors.shape("W_enc").unwrap_or_default();
    let d = shape.iter().copied().find(|n| *n != features).unwrap_or(features);
    let threshold = tensors.first(&["activation_function.threshold", "threshold"]);
    let selection = match (threshold, k) {
        (Some(name), _) => {
            let numbers = tensors.take(name)?.numbers;
            thresholds(place, name, numbers, features)?
        }
        (None, Some(k)) => top_k(place, k, features)?,
        (None, None) => Selection::Threshold(vec![0.0; features]),
    };
    let skip = match tensors.has("W_skip") {
        true => Some(tensors.shaped("W_skip", &[d_out, d])?),
        false => None,
    };
    let parts = Parts {
        w_enc: tensors.matrix("W_enc", [features, d], Lies::AsHere, reading)?,
        w_dec: tensors.matrix("W_dec", [features, d_out], Lies::AsHere, reading)?,
        selection,
        b_enc,
        b_dec,
        skip,
    };
    Ok(parts.dictionary(reading))
}

/// A cross-layer transcoder: all layers, or nothing.
pub(super) fn read_cross_layer(place: &Place) -> Result<Opened> {
    let config_path = place.folder.join(CONFIG);
    let config = config(&config_path)?;
    let files = numbered(&place.folder, "W_enc_");
    let layers = files.len();
    if let Some((i, (layer, _))) = files.iter().enumerate().find(|(i, (layer, _))| i != layer) {
        return Err(Error::format(
            &place.folder,
            format!("has W_enc_{layer}.safetensors but not W_enc_{i}.safetensors"),
        )
        .with_remedy("download the missing files: a cross-layer transcoder needs all layers"));
    }
    let mut reading = Reading::new(Format::CrossLayer);
    reading.files.push(config_path.clone());
    reading.pre_bias = false;
    reading.model = config.get("model_name").filter(|name| !name.is_empty()).cloned();
    let k = match config.get("model_kind").map(String::as_str) {
        // Ours: circuit-tracer knows ReLU and JumpReLU.
        Some(TOP_K_KIND) => {
            let k = config.get("k").and_then(|k| k.parse().ok());
            Some(k.ok_or_else(|| {
                Error::format(&config_path, "does not say how many features a token has (k)")
            })?)
        }
        _ => None,
    };
    let (mut all, mut later) = (Vec::new(), Vec::new());
    for (layer, file) in files {
        hooks(&config, layer, &mut reading);
        let decoder = place.folder.join(format!("W_dec_{layer}.safetensors"));
        let (dictionary, writes) = cross_layer(place, (layer, layers), k, [&file, &decoder], &reading)?;
        reading.files.extend([file, decoder]);
        all.push(dictionary);
        later.push(writes);
    }
    (reading.hook_in, reading.hook_out) =
        (config.get("feature_input_hook").cloned(), config.get("feature_output_hook").cloned());
    let content = Content::CrossLayer(CrossLayerTranscoder { layers: all, later });
    Ok(Opened { content, reading })
}

/// The features of one layer, and what they write into the later ones.
fn cross_layer(
    place: &Place,
    (layer, layers): (usize, usize),
    k: Option<usize>,
    [encoder, decoder]: [&Path; 2],
    reading: &Reading,
) -> Result<(Dictionary, Vec<Vec<f32>>)> {
    let mut tensors = Tensors::safetensors(encoder)?;
    let b_enc = tensors.vector(&format!("b_enc_{layer}"))?;
    let b_dec = tensors.vector(&format!("b_dec_{layer}"))?;
    let (features, d) = (b_enc.len(), b_dec.len());
    let w_enc = tensors.shaped(&format!("W_enc_{layer}"), &[features, d])?;
    let threshold = format!("threshold_{layer}");
    let selection = match tensors.has(&threshold) {
        true => {
            let numbers = tensors.take(&threshold)?.numbers;
            thresholds(place, &threshold, numbers, features)?
        }
        false => match k {
            Some(k) => top_k(place, k, features)?,
            None => Selection::Threshold(vec![0.0; features]),
        },
    };
    // Unlike that of a set's transcoders, this skip path multiplies from the left: it is [d_in, d_out].
    let skip = format!("W_skip_{layer}");
    let skip = match tensors.has(&skip) {
        true => Some(transposed(&tensors.shaped(&skip, &[d, d])?, d, d)),
        false => None,
    };
    let written = layers - layer;
    let all = Tensors::safetensors(decoder)?.shaped(&format!("W_dec_{layer}"), &[features, written, d])?;
    let of = |target: usize| -> Vec<f32> {
        all.chunks_exact(written * d)
            .flat_map(|feature| &feature[target * d..(target + 1) * d])
            .copied()
            .collect()
    };
    let parts = Parts { w_enc, b_enc, w_dec: of(0), b_dec, selection, skip };
    Ok((parts.dictionary(reading), (1..written).map(of).collect()))
}

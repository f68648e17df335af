//! sparsify (EleutherAI): `HOOKPOINT/cfg.json` and `HOOKPOINT/sae.safetensors`. It knows TopK alone.
//!
//! Its encoder is `[F, d]` and its decoder too; an SAE subtracts `b_dec` first, a transcoder nothing: what a
//! [`crate::dictionary::Dictionary`] holds. Modules have Llama's names (`layers.2`); `--hookpoint` gives those of other models (`h.2`).

use serde_json::json;

use super::Job;
use super::weights::{Subject, must_be_known_elsewhere};
use crate::dictionary::Selection;
use crate::dictionary::weights::{self, Named};
use crate::{Error, Result};

/// Greatest distance of a decoder row's norm from 1 at which rows count as normalised.
const UNIT: f32 = 1e-3;

pub(super) fn write(subject: &Subject, job: &mut Job<'_>) -> Result<u64> {
    let dictionary = &subject.dictionary;
    let (d, f) = (dictionary.d_in, dictionary.d_sae);
    must_be_known_elsewhere(dictionary, "sparsify")?;
    dictionary.needs_raw_rows("sparsify")?;
    let k = k(&dictionary.selection, f, job)?;
    let hookpoint = hookpoint(subject, job)?;
    let folder = job.folder.join(&hookpoint);
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let d_out = dictionary.d_out();
    if d_out != d {
        return Err(Error::request(format!(
            "the transcoder goes from {d} to {d_out} dimensions; sparsify's have as many on both sides"
        ))
        .with_remedy("export it to saelens or circuit-tracer"));
    }
    let skip = dictionary.target.as_ref().and_then(|target| target.skip.as_deref());
    let mut tensors = vec![
        Named::f32("encoder.weight", &[f, d], &dictionary.w_enc),
        Named::f32("encoder.bias", &[f], &dictionary.b_enc),
        Named::f32("W_dec", &[f, d], &dictionary.w_dec),
        Named::f32("b_dec", &[d], &dictionary.b_dec),
    ];
    tensors.extend(skip.map(|skip| Named::f32("W_skip", &[d, d], skip)));
    weights::write(&folder.join("sae.safetensors"), &tensors)?;
    let config = json!({
        "activation": "topk",
        // Not looked at where the number of latents is given.
        "expansion_factor": (f / d).max(1),
        "normalize_decoder": dictionary.decoder_norm_error() < UNIT,
        "num_latents": f,
        "k": k,
        "multi_topk": false,
        "skip_connection": skip.is_some(),
        "transcode": dictionary.target.is_some(),
        "d_in": d,
    });
    storage::atomic::write_json(&folder.join("cfg.json"), &config)?;
    Ok(f as u64)
}

fn k(selection: &Selection, features: usize, job: &mut Job<'_>) -> Result<usize> {
    match (selection, job.options.k) {
        (Selection::TopK(k), None) => Ok(*k),
        (Selection::TopK(k), Some(asked)) if asked == *k => Ok(*k),
        (Selection::TopK(k), Some(asked)) => {
            Err(Error::request(format!("--k is {asked}; the dictionary was trained with k = {k}"))
                .with_remedy("leave out --k"))
        }
        (Selection::Threshold(_), None) => Err(Error::request(
            "sparsify has no thresholds: it keeps the k largest per token, and this dictionary every feature above its threshold",
        )
        .with_remedy(
            "export to saelens or dictionary-learning, or give --k to keep the k largest instead, which changes the codes",
        )),
        (Selection::Threshold(_), Some(k)) if (1..=features).contains(&k) => {
            job.notes.push(format!(
                "thresholds were dropped: sparsify keeps the {k} largest per token, so codes differ from those of the run"
            ));
            Ok(k)
        }
        (Selection::Threshold(_), Some(k)) => {
            Err(Error::request(format!("--k is {k}; expected 1 to {features}, the number of features"))
                .with_remedy("give the number of features per token that sparsify is to keep"))
        }
        (other, _) => Err(Error::request(format!(
            "sparsify has no {}: it keeps the k largest positive pre-activations per token",
            other.name()
        ))
        .with_remedy("export to saelens")),
    }
}

/// The module's name, as sparsify takes activations from a module's output.
fn hookpoint(subject: &Subject, job: &Job<'_>) -> Result<String> {
    if let Some(name) = &job.options.hookpoint {
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
            return Err(Error::request(format!("`{name}` is not a name for a hookpoint"))
                .with_remedy("write the module's name, such as layers.2"));
        }
        return Ok(name.clone());
    }
    let named = match subject.place() {
        Some((block, "hook_resid_post")) => Some(format!("layers.{block}")),
        // Before the first block stands the embedding alone in some models, positions added to it in others: no module has both.
        Some((block @ 1.., "hook_resid_pre")) => Some(format!("layers.{}", block - 1)),
        // sparsify names a transcoder by the module that it replaces.
        Some((block, "hook_mlp_in" | "mlp.hook_in" | "hook_mlp_out")) => Some(format!("layers.{block}.mlp")),
        Some((block, "hook_attn_out")) => Some(format!("layers.{block}.self_attn")),
        _ => None,
    };
    named.ok_or_else(|| {
        let hook = subject.hook().unwrap_or("unknown");
        Error::request(format!(
            "the hook is {hook}; sparsify knows outputs of modules, and none has this value"
        ))
        .with_remedy("give the module's name with --hookpoint")
    })
}

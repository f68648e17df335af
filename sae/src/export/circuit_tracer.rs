//! circuit-tracer: a set of transcoders, `config.yaml` and one `layer_N.safetensors` for every layer of the model.
//!
//! | tensor | shape |
//! |---|---|
//! | `W_enc`, `W_dec` | `[F, d_in]`, `[F, d_out]` |
//! | `b_enc`, `b_dec` | `[F]`, `[d_out]` |
//! | `W_skip` (optional) | `[d_out, d_in]` |
//! | `activation_function.threshold` (JumpReLU) | `[F]` |
//!
//! A run is the transcoder of one layer, so an export is the file of one layer and a configuration that names it.

use std::fmt::Write as _;

use super::Job;
use super::weights::{Subject, must_be_known_elsewhere};
use crate::dictionary::Selection;
use crate::dictionary::weights::{self, Named};
use crate::{Error, Result};

pub(super) fn write(subject: &Subject, job: &mut Job<'_>) -> Result<u64> {
    let dictionary = &subject.dictionary;
    let hook = subject.hook().unwrap_or("its hook");
    let Some(target) = &dictionary.target else {
        return Err(Error::request(format!(
            "{} is a sparse autoencoder: it reads {hook} and reconstructs the same; circuit-tracer takes transcoders, which predict \
             an MLP's output from its input",
            subject.dir.display()
        ))
        .with_remedy("export it to saelens, sparsify or dictionary-learning"));
    };
    must_be_known_elsewhere(dictionary, "circuit-tracer")?;
    dictionary.needs_raw_rows("circuit-tracer")?;
    let Some((layer, site)) = subject.place() else {
        return Err(Error::request(format!(
            "the hook is {hook}; circuit-tracer needs one of a block, blocks.N.…"
        ))
        .with_remedy("import the transcoder with its hook"));
    };
    let (d, f, d_out) = (dictionary.d_in, dictionary.d_sae, target.d_out);
    let mut tensors = vec![
        Named::f32("W_enc", &[f, d], &dictionary.w_enc),
        Named::f32("b_enc", &[f], &dictionary.b_enc),
        Named::f32("W_dec", &[f, d_out], &dictionary.w_dec),
        Named::f32("b_dec", &[d_out], &dictionary.b_dec),
    ];
    tensors.extend(target.skip.as_deref().map(|skip| Named::f32("W_skip", &[d_out, d], skip)));
    match &dictionary.selection {
        Selection::Threshold(thresholds) if thresholds.iter().all(|t| *t <= 0.0) => {}
        Selection::Threshold(thresholds) => {
            tensors.push(Named::f32("activation_function.threshold", &[f], thresholds));
        }
        other => {
            return Err(Error::request(format!(
                "circuit-tracer reads ReLU and JumpReLU transcoders from a set; this one selects by {}",
                other.name()
            ))
            .with_remedy("export to saelens or sparsify"));
        }
    }
    let file = format!("layer_{layer}.safetensors");
    weights::write(&job.folder.join(&file), &tensors)?;
    let out = target.hook.as_deref().and_then(|hook| hook.split_once('.')?.1.split_once('.'));
    let out = out.map_or("hook_mlp_out", |(_, site)| site);
    let path = job.folder.join("config.yaml");
    std::fs::write(&path, config(subject, site, out, &file)).map_err(|e| Error::io(&path, e))?;
    job.notes.push(format!(
        "circuit-tracer wants a transcoder for every layer of the model: put the others next to {file} and into config.yaml"
    ));
    Ok(f as u64)
}

/// Strings are quoted as JSON, which YAML reads.
fn config(subject: &Subject, site_in: &str, site_out: &str, file: &str) -> String {
    let model = subject.model().unwrap_or_default();
    // Our name of the MLP's input after its norm; TransformerLens means the value before the norm by the same name.
    let site_in = if site_in == "hook_mlp_in" { "mlp.hook_in" } else { site_in };
    let mut text = String::new();
    for (key, value) in [
        ("model_kind", "transcoder_set"),
        ("model_name", model),
        ("scan", &*subject.name()),
        ("feature_input_hook", site_in),
        ("feature_output_hook", site_out),
    ] {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{key}: {}", serde_json::json!(value));
    }
    let _ = writeln!(text, "transcoders:\n- {}", serde_json::json!(file));
    text
}

//! dictionary_learning: `trainer_0/config.json` and `trainer_0/ae.pt`, a state dict of the class that its loader looks up.
//!
//! | selection | class | note |
//! |---|---|---|
//! | TopK | `AutoEncoderTopK` | |
//! | one threshold, a run with k | `BatchTopKSAE` | encodes by the threshold unless told otherwise |
//! | thresholds | `JumpReluAutoEncoder` | subtracts nothing first, so `b_dec` is folded into `b_enc` |

use serde_json::{Value, json};

use super::Job;
use super::torch_file::{self, Tensor};
use super::weights::{Subject, must_be_known_elsewhere};
use crate::dictionary::weights::transposed;
use crate::dictionary::{Dictionary, Selection};
use crate::{Error, Result};

pub(super) fn write(subject: &Subject, job: &mut Job<'_>) -> Result<u64> {
    let dictionary = &subject.dictionary;
    must_be_known_elsewhere(dictionary, "dictionary_learning")?;
    dictionary.needs_its_input("dictionary_learning")?;
    dictionary.needs_raw_rows("dictionary_learning")?;
    let folder = job.folder.join("trainer_0");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let path = folder.join("ae.pt");
    let class = match &dictionary.selection {
        Selection::TopK(k) => {
            topk(&path, dictionary, *k, None)?;
            ("AutoEncoderTopK", Some(*k))
        }
        Selection::Threshold(thresholds) => match one(thresholds, subject) {
            Some((threshold, k)) => {
                topk(&path, dictionary, k, Some(threshold))?;
                ("BatchTopKSAE", Some(k))
            }
            None => {
                jumprelu(&path, dictionary, thresholds)?;
                ("JumpReluAutoEncoder", None)
            }
        },
        other => {
            return Err(Error::request(format!("dictionary_learning has no class for {}", other.name()))
                .with_remedy("export to saelens"));
        }
    };
    storage::atomic::write_json(&folder.join("config.json"), &config(subject, class))?;
    Ok(dictionary.d_sae as u64)
}

/// The threshold that all features share and the k that the run was trained with; negative thresholds never matter, as codes are > 0.
fn one(thresholds: &[f32], subject: &Subject) -> Option<(f32, usize)> {
    let first = *thresholds.first()?;
    let k = subject.record()?.k;
    (k > 0 && thresholds.iter().all(|t| *t == first)).then_some((first.max(0.0), k))
}

fn topk(path: &std::path::Path, dictionary: &Dictionary, k: usize, threshold: Option<f32>) -> Result<()> {
    let (d, f) = (dictionary.d_in, dictionary.d_sae);
    let decoder = transposed(&dictionary.w_dec, f, d);
    let k = i32::try_from(k).map_err(|_| Error::request(format!("k is {k}; ae.pt holds it in 32 bits")))?;
    // −1 is what an untrained one has: selection by rank does not look at it.
    let threshold = [threshold.unwrap_or(-1.0)];
    torch_file::write(
        path,
        &[
            ("b_dec", Tensor::f32(&[d], &dictionary.b_dec)),
            ("k", Tensor::i32(&[], &[k])),
            ("threshold", Tensor::f32(&[], &threshold)),
            ("decoder.weight", Tensor::f32(&[d, f], &decoder)),
            ("encoder.weight", Tensor::f32(&[f, d], &dictionary.w_enc)),
            ("encoder.bias", Tensor::f32(&[f], &dictionary.b_enc)),
        ],
    )
}

fn jumprelu(path: &std::path::Path, dictionary: &Dictionary, thresholds: &[f32]) -> Result<()> {
    let (d, f) = (dictionary.d_in, dictionary.d_sae);
    let encoder = transposed(&dictionary.w_enc, f, d);
    let thresholds: Vec<f32> = thresholds.iter().map(|t| t.max(0.0)).collect();
    let b_enc: Vec<f32> = (0..f).map(|i| uncentred_bias(dictionary, i)).collect();
    torch_file::write(
        path,
        &[
            ("W_enc", Tensor::f32(&[d, f], &encoder)),
            ("b_enc", Tensor::f32(&[f], &b_enc)),
            ("W_dec", Tensor::f32(&[f, d], &dictionary.w_dec)),
            ("b_dec", Tensor::f32(&[d], &dictionary.b_dec)),
            ("threshold", Tensor::f32(&[f], &thresholds)),
        ],
    )
}

/// `(x − b_dec) · w + b` is `x · w + (b − b_dec · w)`.
fn uncentred_bias(dictionary: &Dictionary, feature: usize) -> f32 {
    let row = dictionary.encoder_row(feature);
    let shift: f64 = row.iter().zip(&dictionary.b_dec).map(|(w, b)| f64::from(*w) * f64::from(*b)).sum();
    (f64::from(dictionary.b_enc[feature]) - shift) as f32
}

fn config(subject: &Subject, (class, k): (&str, Option<usize>)) -> Value {
    let dictionary = &subject.dictionary;
    let (layer, submodule) = match subject.place() {
        Some((block, site)) => {
            let site = site.strip_prefix("hook_").unwrap_or(site).replace("attn.hook_", "attn_");
            (json!(block), json!(format!("{site}_layer_{block}")))
        }
        None => (Value::Null, json!(subject.hook())),
    };
    let info = &dictionary.info;
    let mut trainer = json!({
        "trainer_class": subject.record().map(|record| record.method.clone()),
        "dict_class": class,
        "activation_dim": dictionary.d_in,
        "dict_size": dictionary.d_sae,
        "layer": layer,
        "lm_name": subject.model(),
        "submodule_name": submodule,
        "device": "cpu",
        "seed": subject.record().map(|record| record.seed),
        "steps": subject.record().map(|record| record.steps_total),
    });
    if let (Some(k), Some(trainer)) = (k, trainer.as_object_mut()) {
        trainer.insert("k".to_owned(), json!(k));
    }
    json!({
        "trainer": trainer,
        "buffer": {
            "d_submodule": dictionary.d_in,
            "io": "out",
            "ctx_len": info.context_size,
            "device": "cpu",
        },
    })
}

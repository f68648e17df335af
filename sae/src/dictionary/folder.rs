//! A dictionary on disk: SAELens's v6 folder, `cfg.json` and `sae_weights.safetensors`.
//!
//! | tensor | on disk | here |
//! |---|---|---|
//! | `W_enc` | `[d, F]` | `w_enc [F, d]`, transposed |
//! | `W_dec` | `[F, d]` | `w_dec [F, d]` |
//! | `b_enc`, `b_dec` | `[F]`, `[d]` | the same |
//! | `threshold` | `[F]` (jumprelu) | [`Selection::Threshold`] |
//!
//! Written: `topk` (`rescale_acts_by_decoder_norm` false: codes are the pre-activations themselves) or `jumprelu`.
//! Read: also `standard`, and the two options that other trainers use, folded into the tensors so that encoding and decoding
//! stay one rule: `apply_b_dec_to_input` false and `rescale_acts_by_decoder_norm` true.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::weights::{self, Named, Weights, transposed};
use super::{Dictionary, DictionaryInfo, Selection};
use crate::{Error, Result};
use kernels::feature::{make_unit, norm_squared};

/// The dictionary's configuration, written last.
pub(crate) const CONFIG: &str = "cfg.json";
const WEIGHTS: &str = "sae_weights.safetensors";

#[derive(Debug, Serialize, Deserialize)]
struct Config {
    architecture: String,
    d_in: usize,
    d_sae: usize,
    #[serde(default = "float32")]
    dtype: String,
    #[serde(default = "cpu")]
    device: String,
    #[serde(default = "yes")]
    apply_b_dec_to_input: bool,
    #[serde(default = "none")]
    normalize_activations: String,
    #[serde(default = "none")]
    reshape_activations: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<usize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rescale_acts_by_decoder_norm: Option<bool>,
    #[serde(default)]
    metadata: DictionaryInfo,
}

fn float32() -> String {
    "float32".to_owned()
}
fn cpu() -> String {
    "cpu".to_owned()
}
fn none() -> String {
    "none".to_owned()
}
fn yes() -> bool {
    true
}

impl Dictionary {
    /// Writes the dictionary to `folder`, which is made if it is missing. The configuration comes last, so a folder that has
    /// one has its weights.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let w_enc = transposed(&self.w_enc, self.d_sae, self.d_in);
        let (d, f) = (self.d_in, self.d_sae);
        let mut tensors = vec![
            Named::f32("W_enc", &[d, f], &w_enc),
            Named::f32("W_dec", &[f, d], &self.w_dec),
            Named::f32("b_enc", &[f], &self.b_enc),
            Named::f32("b_dec", &[d], &self.b_dec),
        ];
        let (architecture, k, rescale) = match &self.selection {
            Selection::TopK(k) => ("topk", Some(*k), Some(false)),
            Selection::Threshold(thresholds) => {
                tensors.push(Named::f32("threshold", &[f], thresholds));
                ("jumprelu", None, None)
            }
        };
        weights::write(&folder.join(WEIGHTS), &tensors)?;
        let config = Config {
            architecture: architecture.to_owned(),
            d_in: self.d_in,
            d_sae: self.d_sae,
            dtype: float32(),
            device: cpu(),
            apply_b_dec_to_input: true,
            normalize_activations: none(),
            reshape_activations: none(),
            k,
            rescale_acts_by_decoder_norm: rescale,
            metadata: self.info.clone(),
        };
        storage::atomic::write_json(&folder.join(CONFIG), &config)?;
        Ok(())
    }

    /// Reads a dictionary from a SAELens folder. Shapes must agree with the configuration and all numbers must be finite.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let text = std::fs::read(&path).map_err(|e| Error::io(&path, e))?;
        let config: Config = serde_json::from_slice(&text).map_err(|e| {
            Error::format(
                &path,
                format!("is not a SAELens v6 configuration: {e}; expected architecture, d_in, d_sae, …"),
            )
        })?;
        config.check().map_err(|problem| Error::format(&path, problem))?;
        let file = Weights::read(&folder.join(WEIGHTS))?;
        let (d, f) = (config.d_in, config.d_sae);
        let selection = match config.architecture.as_str() {
            "topk" => Selection::TopK(config.k.unwrap_or_default()),
            "jumprelu" => Selection::Threshold(file.tensor("threshold", &[f])?),
            _ => Selection::Threshold(vec![0.0; f]),
        };
        let mut dictionary = Self {
            d_in: d,
            d_sae: f,
            w_enc: transposed(&file.tensor("W_enc", &[d, f])?, d, f),
            b_enc: file.tensor("b_enc", &[f])?,
            w_dec: file.tensor("W_dec", &[f, d])?,
            b_dec: file.tensor("b_dec", &[d])?,
            selection,
            info: config.metadata,
        };
        if config.rescale_acts_by_decoder_norm == Some(true) {
            dictionary.fold_decoder_norms();
        }
        if !config.apply_b_dec_to_input {
            dictionary.fold_uncentred_input();
        }
        Ok(dictionary)
    }

    /// `z · ‖W_dec‖` is selected and decoded with unit rows: the same as encoder rows and biases times the norm.
    fn fold_decoder_norms(&mut self) {
        for (f, row) in self.w_dec.chunks_exact_mut(self.d_in).enumerate() {
            let norm = make_unit(row);
            self.w_enc[f * self.d_in..(f + 1) * self.d_in].iter_mut().for_each(|w| *w *= norm);
            self.b_enc[f] *= norm;
        }
    }

    /// `x · W + b` is `(x − b_dec) · W + (b + b_dec · W)`.
    fn fold_uncentred_input(&mut self) {
        for f in 0..self.d_sae {
            let shift: f64 =
                self.encoder_row(f).iter().zip(&self.b_dec).map(|(w, b)| f64::from(*w) * f64::from(*b)).sum();
            self.b_enc[f] += shift as f32;
        }
    }

    /// Greatest distance of a decoder row's norm from 1.
    pub fn decoder_norm_error(&self) -> f32 {
        self.w_dec
            .chunks_exact(self.d_in)
            .map(|row| (norm_squared(row).sqrt() - 1.0).abs())
            .fold(0.0, f32::max)
    }
}

impl Config {
    fn check(&self) -> Result<(), String> {
        if self.d_in == 0 || self.d_sae == 0 {
            return Err(format!("d_in {} and d_sae {} must both be at least 1", self.d_in, self.d_sae));
        }
        match self.architecture.as_str() {
            "topk" => match self.k {
                Some(k) if (1..=self.d_sae).contains(&k) => {}
                k => {
                    return Err(format!(
                        "k is {k:?}; a topk dictionary needs 1 ≤ k ≤ d_sae = {}",
                        self.d_sae
                    ));
                }
            },
            "jumprelu" | "standard" => {}
            other => {
                return Err(format!(
                    "architecture `{other}` is not supported; supported are topk, jumprelu and standard \
                     (save batchtopk for inference in SAELens: it becomes jumprelu)"
                ));
            }
        }
        for (name, value) in [
            ("normalize_activations", &self.normalize_activations),
            ("reshape_activations", &self.reshape_activations),
        ] {
            // An empty folder entry cannot be guessed: the factor of a normalisation is not in the folder.
            if value != "none" {
                return Err(format!(
                    "{name} is `{value}`; only `none` is supported: fold the scale into the weights first"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{numbers, small};
    use super::*;

    fn rewrite_config(folder: &Path, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
        let path = folder.join(CONFIG);
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(config.as_object_mut().unwrap());
        std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    }

    #[test]
    fn comes_back_to_the_bit() {
        for selection in [Selection::TopK(3), Selection::Threshold(numbers(20, 6))] {
            let folder = tempfile::tempdir().unwrap();
            let mut dictionary = small(7, 20, selection);
            dictionary.info.hook_name = Some("blocks.1.hook_resid_post".to_owned());
            dictionary.info.other.insert("exclude_special_tokens".to_owned(), true.into());
            dictionary.save(folder.path()).unwrap();
            assert_eq!(Dictionary::load(folder.path()).unwrap(), dictionary);
        }
    }

    /// The layout is SAELens's, read here with nothing but the safetensors and JSON libraries.
    #[test]
    fn the_folder_has_saelens_names_and_orientation() {
        let folder = tempfile::tempdir().unwrap();
        let dictionary = small(7, 20, Selection::TopK(3));
        dictionary.save(folder.path()).unwrap();
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(folder.path().join(CONFIG)).unwrap()).unwrap();
        assert_eq!(config["architecture"], "topk");
        assert_eq!(
            (config["k"].as_u64(), config["d_in"].as_u64(), config["d_sae"].as_u64()),
            (Some(3), Some(7), Some(20))
        );
        assert_eq!(config["normalize_activations"], "none");
        assert_eq!(config["apply_b_dec_to_input"], true);
        assert_eq!(config["rescale_acts_by_decoder_norm"], false);
        assert_eq!(config["metadata"]["sae_lens_version"], "6.18.0");
        let bytes = std::fs::read(folder.path().join(WEIGHTS)).unwrap();
        let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let w_enc = tensors.tensor("W_enc").unwrap();
        assert_eq!(w_enc.shape(), [7, 20]);
        let at = (2 * 20 + 5) * 4;
        let value = f32::from_le_bytes(w_enc.data()[at..at + 4].try_into().unwrap());
        assert_eq!(value, dictionary.encoder_row(5)[2]);
        assert_eq!(tensors.tensor("W_dec").unwrap().shape(), [20, 7]);
    }

    /// SAELens with `rescale_acts_by_decoder_norm`: codes are z · ‖row‖, decoding divides by ‖row‖ again.
    #[test]
    fn decoder_norms_are_folded_on_reading() {
        let folder = tempfile::tempdir().unwrap();
        let plain = small(7, 20, Selection::TopK(20));
        plain.save(folder.path()).unwrap();
        rewrite_config(folder.path(), |c| {
            c.insert("rescale_acts_by_decoder_norm".to_owned(), true.into());
        });
        let folded = Dictionary::load(folder.path()).unwrap();
        assert!(folded.decoder_norm_error() < 1e-6);
        // With k = F nothing is left out, so the reconstruction does not change.
        let x = numbers(7 * 30, 8);
        let (a, b) = (plain.encode(&x), folded.encode(&x));
        assert_eq!(a.features, b.features);
        for ((&f, a), b) in a.features.iter().zip(&a.values).zip(&b.values) {
            let norm = norm_squared(plain.decoder_row(f as usize)).sqrt();
            assert!((a * norm - b).abs() < 1e-5);
        }
        for (a, b) in plain.decode(&a).iter().zip(folded.decode(&b)) {
            assert!((a - b).abs() < 1e-4);
        }
    }

    #[test]
    fn an_encoder_of_uncentred_input_is_folded_on_reading() {
        let folder = tempfile::tempdir().unwrap();
        let plain = small(7, 20, Selection::TopK(20));
        plain.save(folder.path()).unwrap();
        rewrite_config(folder.path(), |c| {
            c.insert("apply_b_dec_to_input".to_owned(), false.into());
        });
        let folded = Dictionary::load(folder.path()).unwrap();
        let x = numbers(7 * 30, 8);
        let codes = folded.encode(&x);
        for (i, row) in x.chunks_exact(7).enumerate() {
            for (&f, &v) in codes.row(i).0.iter().zip(codes.row(i).1) {
                let z: f32 = row.iter().zip(plain.encoder_row(f as usize)).map(|(x, w)| x * w).sum();
                assert!((z + plain.b_enc[f as usize] - v).abs() < 1e-5);
            }
        }
    }

    #[test]
    fn errors_name_the_file_and_the_tensor() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path();
        let message = || Dictionary::load(at).unwrap_err().to_string();
        assert!(message().contains("cfg.json"));
        let mut dictionary = small(7, 20, Selection::TopK(3));
        dictionary.save(at).unwrap();
        rewrite_config(at, |c| {
            c.insert("d_sae".to_owned(), 21.into());
        });
        assert!(
            message().contains("`W_enc`") && message().contains(WEIGHTS) && message().contains("[7, 21]"),
            "{}",
            message()
        );
        for (key, value) in [
            ("architecture", serde_json::json!("gated")),
            ("normalize_activations", serde_json::json!("layer_norm")),
            ("k", serde_json::json!(0)),
            ("d_in", serde_json::json!(0)),
        ] {
            dictionary.save(at).unwrap();
            rewrite_config(at, |c| {
                c.insert(key.to_owned(), value);
            });
            assert!(message().contains(CONFIG) && message().contains(key), "{}", message());
        }
        dictionary.b_enc[4] = f32::NAN;
        dictionary.save(at).unwrap();
        assert!(message().contains("`b_enc`") && message().contains("index 4"), "{}", message());
        let weights = at.join(WEIGHTS);
        let bytes = std::fs::read(&weights).unwrap();
        std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
        assert!(message().contains(WEIGHTS) && message().contains("safetensors"), "{}", message());
        std::fs::remove_file(&weights).unwrap();
        assert!(message().contains(WEIGHTS));
    }
}

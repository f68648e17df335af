//! A dictionary on disk: SAELens's v6 folder, `cfg.json` and `sae_weights.safetensors`.
//!
//! | tensor | on disk | here |
//! |---|---|---|
//! | `W_enc` | `[d, F]` | `w_enc [F, d]`, transposed |
//! | `W_dec` | `[F, d_out]` | `w_dec [F, d_out]` |
//! | `b_enc`, `b_dec` | `[F]`, `[d_out]` | the same |
//! | `threshold` | `[F]` (jumprelu) | [`Selection::Threshold`] |
//! | `alpha` | `[F]` (cosine) | [`super::Cosine::alpha`] |
//! | `W_skip` | `[d_out, d]` | [`super::Target::skip`] |
//!
//! Every [`Selection`] is written as the architecture that SAELens has for it (`rescale_acts_by_decoder_norm` false: codes are the
//! pre-activations themselves); for blocks, shrinkages, cosine
//! scores, refined and pruned codes it has none, and refuses ours by their names. Every architecture is read ([`super::saelens`]).

use std::path::Path;

use super::saelens::{Config, cpu, float32, none};
use super::weights::{self, Named, Weights, transposed};
use super::{Dictionary, Selection};
use crate::{Error, Result};
use kernels::feature::norm_squared;

/// The dictionary's configuration, written last.
pub(crate) const CONFIG: &str = "cfg.json";
/// Before the architecture of a dictionary that prunes its codes.
pub(super) const PRUNED: &str = "pruned_";
/// Its tensors.
pub(crate) const WEIGHTS: &str = "sae_weights.safetensors";

impl Dictionary {
    /// Writes the dictionary to `folder`, which is made if it is missing. The configuration comes last, so a folder that has
    /// one has its weights.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let w_enc = transposed(&self.w_enc, self.d_sae, self.d_in);
        let (d, f, d_out) = (self.d_in, self.d_sae, self.d_out());
        let mut tensors =
            vec![Named::f32("W_dec", &[f, d_out], &self.w_dec), Named::f32("b_dec", &[d_out], &self.b_dec)];
        // Matching pursuit has no encoder of its own.
        if !matches!(self.selection, Selection::MatchingPursuit { .. }) {
            tensors.push(Named::f32("W_enc", &[d, f], &w_enc));
            tensors.push(Named::f32("b_enc", &[f], &self.b_enc));
        }
        let mut config = self.config();
        if let (Selection::Threshold(thresholds), true) =
            (&self.selection, self.architecture_unpruned().starts_with("jumprelu"))
        {
            tensors.push(Named::f32("threshold", &[f], thresholds));
        }
        if let Selection::Cosine(cosine) = &self.selection {
            tensors.push(Named::f32("alpha", &[f], &cosine.alpha));
        }
        if let Some(target) = &self.target {
            config.d_out = Some(d_out);
            config.apply_b_dec_to_input = false;
            if let Some(hook) = &target.hook {
                config.metadata.other.insert("hook_name_out".to_owned(), hook.clone().into());
            }
            if let Some(skip) = &target.skip {
                tensors.push(Named::f32("W_skip", &[d_out, d], skip));
            }
        }
        weights::write(&folder.join(WEIGHTS), &tensors)?;
        storage::atomic::write_json(&folder.join(CONFIG), &config)?;
        Ok(())
    }

    fn config(&self) -> Config {
        let mut config = Config {
            architecture: self.architecture(),
            d_in: self.d_in,
            d_sae: self.d_sae,
            d_out: None,
            dtype: float32(),
            device: cpu(),
            apply_b_dec_to_input: true,
            normalize_activations: self.normalisation.name().to_owned(),
            reshape_activations: none(),
            k: None,
            blocks: None,
            shrinkage: None,
            cosine: None,
            refined: None,
            prune_below: self.prune_below,
            rescale_acts_by_decoder_norm: None,
            residual_threshold: None,
            max_iterations: None,
            stop_on_duplicate_support: None,
            metadata: self.info.clone(),
        };
        match &self.selection {
            Selection::Shrunk(shrunk) => config.shrinkage = Some((*shrunk).into()),
            Selection::Cosine(cosine) => config.cosine = Some(cosine.into()),
            Selection::Refined(refined) => config.refined = Some(refined.into()),
            Selection::TopK(k) | Selection::AbsTopK(k) => {
                config.k = Some(*k);
                config.rescale_acts_by_decoder_norm = Some(false);
            }
            Selection::BlockTopK(blocks) => {
                (config.k, config.blocks) = (Some(blocks.k), Some(blocks.count));
                config.rescale_acts_by_decoder_norm = Some(false);
            }
            Selection::Threshold(_) => {}
            Selection::MatchingPursuit { residual_threshold, max_iterations, stop_on_duplicate_support } => {
                config.residual_threshold = Some(*residual_threshold);
                config.max_iterations = *max_iterations;
                config.stop_on_duplicate_support = Some(*stop_on_duplicate_support);
            }
        }
        config
    }

    /// SAELens's name for the architecture. A transcoder that selects by rank, and what is pruned, has a name that only this program
    /// knows: SAELens would read it as something else.
    fn architecture(&self) -> String {
        let pruned = if self.prune_below.is_some() { PRUNED } else { "" };
        format!("{pruned}{}", self.architecture_unpruned())
    }

    fn architecture_unpruned(&self) -> String {
        let kind = match (&self.selection, &self.target) {
            (Selection::Threshold(thresholds), Some(_)) if thresholds.iter().all(|t| *t == 0.0) => "",
            (Selection::Threshold(_), _) => "jumprelu",
            (selection, _) => selection.name(),
        };
        let Some(target) = &self.target else { return kind.to_owned() };
        let skip = if target.skip.is_some() { "skip_transcoder" } else { "transcoder" };
        if kind.is_empty() { skip.to_owned() } else { format!("{kind}_{skip}") }
    }

    /// Reads a dictionary from a SAELens folder. Shapes must agree with the configuration and all numbers must be finite.
    ///
    /// # Errors
    /// What is missing or does not fit: file, tensor and expectation.
    pub fn load(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        let config = Config::read(&path)?;
        if config.is_scaled() {
            // The factor of a normalisation is not in this file.
            return Err(Error::format(
                &path,
                format!(
                    "normalize_activations is `{}`; only what the tensors say is read",
                    config.normalize_activations
                ),
            )
            .with_remedy(
                "import the dictionary, which looks for the factor, or fold the scale into the weights first",
            ));
        }
        Self::from_saelens(&config, &Weights::read(&folder.join(WEIGHTS))?)
    }

    /// Greatest distance of a decoder row's norm from 1.
    pub fn decoder_norm_error(&self) -> f32 {
        self.w_dec
            .chunks_exact(self.d_out())
            .map(|row| (norm_squared(row).sqrt() - 1.0).abs())
            .fold(0.0, f32::max)
    }
}

#[cfg(test)]
mod tests {
    use super::super::allocation::blocks::Blocks;
    use super::super::tests::{numbers, small};
    use super::super::{Cosine, Normalisation, Pick, Refined, Shrunk, Target};
    use super::*;
    use kernels::shrink::Shrinkage;

    fn rewrite_config(folder: &Path, change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>)) {
        let path = folder.join(CONFIG);
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(config.as_object_mut().unwrap());
        std::fs::write(&path, serde_json::to_vec(&config).unwrap()).unwrap();
    }

    #[test]
    fn comes_back_to_the_bit() {
        let pursuit = Selection::MatchingPursuit {
            residual_threshold: 0.25,
            max_iterations: Some(4),
            stop_on_duplicate_support: false,
        };
        let blocks = Selection::BlockTopK(Blocks { count: 5, k: 10 });
        let shrunk = Selection::Shrunk(Shrunk { kind: Shrinkage::Half, lambda: 0.3, unit: 1.7 });
        let cosine = Selection::Cosine(Cosine { alpha: numbers(20, 8), unit: 1.3, pick: Pick::Above(0.37) });
        let refined = Selection::Refined(Refined { step: 0.3, first: Pick::Above(0.7), then: Pick::Best(4) });
        let selections = [
            cosine,
            refined,
            Selection::TopK(3),
            Selection::Threshold(numbers(20, 6)),
            Selection::AbsTopK(5),
            blocks,
            shrunk,
            pursuit,
        ];
        for selection in selections {
            let folder = tempfile::tempdir().unwrap();
            let mut dictionary = small(7, 20, selection);
            if let Selection::MatchingPursuit { .. } = dictionary.selection {
                dictionary.w_enc = dictionary.w_dec.clone();
                dictionary.b_enc.fill(0.0);
            }
            dictionary.normalisation = Normalisation::LayerNorm;
            dictionary.prune_below = dictionary.needs_prunable_codes().is_ok().then_some(0.13);
            dictionary.info.hook_name = Some("blocks.1.hook_resid_post".to_owned());
            dictionary.info.other.insert("exclude_special_tokens".to_owned(), true.into());
            dictionary.save(folder.path()).unwrap();
            assert_eq!(Dictionary::load(folder.path()).unwrap(), dictionary);
        }
    }

    #[test]
    fn transcoders_come_back_to_the_bit() {
        let thresholds = numbers(20, 6);
        for (selection, skip, architecture) in [
            (Selection::Threshold(vec![0.0; 20]), false, "transcoder"),
            (Selection::Threshold(vec![0.0; 20]), true, "skip_transcoder"),
            (Selection::Threshold(thresholds.clone()), false, "jumprelu_transcoder"),
            (Selection::Threshold(thresholds), true, "jumprelu_skip_transcoder"),
            (Selection::TopK(4), true, "topk_skip_transcoder"),
            (Selection::AbsTopK(4), false, "abstopk_transcoder"),
            (Selection::BlockTopK(Blocks { count: 4, k: 4 }), false, "block_topk_transcoder"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let mut dictionary = small(7, 20, selection);
            dictionary.w_dec = numbers(20 * 3, 5);
            dictionary.b_dec = numbers(3, 6);
            dictionary.target = Some(Target {
                d_out: 3,
                skip: skip.then(|| numbers(21, 7)),
                hook: Some("blocks.1.hook_mlp_out".to_owned()),
                norm_limit: None,
            });
            dictionary.save(folder.path()).unwrap();
            let config = std::fs::read_to_string(folder.path().join(CONFIG)).unwrap();
            assert!(config.contains(&format!("\"architecture\": \"{architecture}\"")), "{config}");
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
            ("architecture", serde_json::json!("temporal")),
            ("normalize_activations", serde_json::json!("expected_average_only_in")),
            ("reshape_activations", serde_json::json!("hook_q")),
            ("k", serde_json::json!(0)),
            ("d_in", serde_json::json!(0)),
        ] {
            dictionary.save(at).unwrap();
            rewrite_config(at, |c| {
                c.insert(key.to_owned(), value);
            });
            assert!(message().contains(CONFIG) && message().contains(key), "{}", message());
        }
        let mut blocked = dictionary.clone();
        blocked.selection = Selection::BlockTopK(Blocks { count: 4, k: 4 });
        blocked.save(at).unwrap();
        rewrite_config(at, |c| {
            c.insert("blocks".to_owned(), 3.into());
        });
        assert!(message().contains(CONFIG) && message().contains("blocks is 3"), "{}", message());
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

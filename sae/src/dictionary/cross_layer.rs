//! Cross-layer transcoders: the features of a layer write into the MLP outputs of this layer and all later ones.
//!
//! ```text
//! codes_ℓ = selection(x_ℓ · W_enc_ℓᵀ + b_enc_ℓ)                      x_ℓ [n, d], codes_ℓ of F features
//! ŷ_m     = Σ_{ℓ ≤ m} codes_ℓ · W_dec_ℓ[m − ℓ] + b_dec_m (+ x_m · skip_mᵀ)
//! ```

use std::path::Path;

use rayon::prelude::*;

use super::weights::{self, Named, transposed};
use super::{Codes, Dictionary, Selection};
use crate::{Error, Result};
use kernels::gather::add_rows;
use lm::model::{Hook, Site};

/// The configuration of circuit-tracer's layout.
const CONFIG: &str = "config.yaml";
/// `model_kind` of a cross-layer transcoder.
pub(crate) const KIND: &str = "cross_layer_transcoder";
/// The same of one that takes the k best of a token.
pub(crate) const TOP_K_KIND: &str = "topk_cross_layer_transcoder";

/// Transcoders of all layers of a model, which share their outputs.
#[derive(Debug, Clone, PartialEq)]
pub struct CrossLayerTranscoder {
    /// One for every layer. `w_dec` `[F, d_out]` is what its features write into its own layer, `target` the layer's output.
    pub layers: Vec<Dictionary>,
    /// What the features of layer ℓ write into layer ℓ + 1 + i: `later[ℓ][i]` is `[F, d_out]`.
    pub later: Vec<Vec<Vec<f32>>>,
}

impl CrossLayerTranscoder {
    /// The codes of every layer, of `x[layer][n, d_in]`.
    ///
    /// # Panics
    /// If there are not as many inputs as layers.
    pub fn encode(&self, x: &[Vec<f32>]) -> Vec<Codes> {
        assert_eq!(x.len(), self.layers.len(), "one input for every layer");
        self.layers.iter().zip(x).map(|(layer, x)| layer.encode(x)).collect()
    }

    /// What the codes say of every layer's output, `[layer][n, d_out]`, with the skip path of `x[layer][n, d_in]`.
    ///
    /// # Panics
    /// If there are not as many codes and inputs as layers, or they are of different tokens.
    pub fn decode_with(&self, codes: &[Codes], x: &[Vec<f32>]) -> Vec<Vec<f32>> {
        assert_eq!((codes.len(), x.len()), (self.layers.len(), self.layers.len()), "one for every layer");
        let one = |layer: usize| {
            let mut out = self.layers[layer].decode_with(&codes[layer], &x[layer]);
            self.add_earlier(layer, codes, &mut out);
            out
        };
        (0..self.layers.len()).map(one).collect()
    }

    /// What each layer reads.
    ///
    /// # Errors
    /// A layer that names no hook.
    pub(crate) fn hooks(&self) -> Result<Vec<Hook>> {
        let hook = |layer: &Dictionary| -> Result<Hook> {
            let name = layer.info.hook_name.as_deref();
            name.ok_or_else(|| Error::data("a layer does not say what it reads"))?.parse()
        };
        self.layers.iter().map(hook).collect()
    }

    /// Takes from a run's record above which norms training left rows out.
    pub(crate) fn set_norm_limits(&mut self, record: &storage::RunRecord) {
        let limits = record.target_norm_limits.iter().flatten().map(|limit| *limit as f32);
        let targets = self.layers.iter_mut().filter_map(|layer| layer.target.as_mut());
        targets.zip(limits).for_each(|(target, limit)| target.norm_limit = Some(limit));
    }

    /// The features of all layers as those of one dictionary: feature j of layer ℓ is number ℓ·F + j. Its decoder row is the sum of what it
    /// writes into all layers, which is what it adds to the residual stream if nothing in between reacts; the target is the last layer's output.
    ///
    /// It describes features and encodes nothing: each encoder row reads its own layer.
    ///
    /// # Panics
    /// If there are no layers.
    pub fn summed(&self) -> Dictionary {
        let mut all = self.layers[0].clone();
        for layer in &self.layers[1..] {
            all.w_enc.extend_from_slice(&layer.w_enc);
            all.b_enc.extend_from_slice(&layer.b_enc);
            all.w_dec.extend_from_slice(&layer.w_dec);
        }
        let size = self.layers[0].w_dec.len();
        for (own, later) in all.w_dec.chunks_exact_mut(size).zip(&self.later) {
            for to in later {
                own.iter_mut().zip(to).for_each(|(sum, w)| *sum += w);
            }
        }
        all.d_sae *= self.layers.len();
        all.b_dec.fill(0.0);
        all.target.clone_from(&self.layers[self.layers.len() - 1].target);
        all
    }

    /// The codes of every layer, numbered as [`summed`](Self::summed) numbers features.
    ///
    /// # Panics
    /// If the layers' codes are of different tokens.
    pub fn numbered(&self, codes: &[Codes]) -> Codes {
        let rows = codes.first().map_or(0, Codes::rows);
        assert!(codes.iter().all(|codes| codes.rows() == rows), "codes are of different tokens");
        let (mut all, mut features, mut values) = (Codes::default(), Vec::new(), Vec::new());
        for i in 0..rows {
            features.clear();
            values.clear();
            let mut before = 0;
            for (layer, codes) in self.layers.iter().zip(codes) {
                let (of_layer, of_values) = codes.row(i);
                features.extend(of_layer.iter().map(|feature| before + feature));
                values.extend_from_slice(of_values);
                before += layer.d_sae as u32;
            }
            all.push_row(&features, &values);
        }
        all
    }

    /// Adds to `out[n, d_out]` of `layer` what the features of earlier layers write into it.
    pub(crate) fn add_earlier(&self, layer: usize, codes: &[Codes], out: &mut [f32]) {
        let d = self.layers[layer].d_out();
        for (earlier, (codes, later)) in codes.iter().zip(&self.later).enumerate().take(layer) {
            let decoder = &later[layer - earlier - 1];
            out.par_chunks_exact_mut(d).enumerate().for_each(|(i, row)| {
                let (features, values) = codes.row(i);
                add_rows(row, decoder, features, values);
            });
        }
    }
}

impl CrossLayerTranscoder {
    /// Writes circuit-tracer's layout to `folder`, which is made if it is missing: for each layer ℓ `W_enc_ℓ.safetensors` with `W_enc_ℓ`
    /// `[F, d]`, `b_enc_ℓ`, `b_dec_ℓ` and `threshold_ℓ` and `W_skip_ℓ` `[d_in, d_out]`, and `W_dec_ℓ.safetensors` with `W_dec_ℓ` `[F, L − ℓ, d]`; `config.yaml` comes last.
    ///
    /// circuit-tracer knows ReLU and JumpReLU. A cross-layer transcoder that takes the k best of a token has a `model_kind` that only this
    /// program knows, so that nobody takes it for a ReLU one.
    ///
    /// # Errors
    /// A folder that cannot be written; a selection that has no place in this layout, or differs from layer to layer.
    pub fn save(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        for (layer, (dictionary, later)) in self.layers.iter().zip(&self.later).enumerate() {
            let (d, f) = (dictionary.d_in, dictionary.d_sae);
            let [w_enc, b_enc, b_dec, threshold, w_skip, w_dec] =
                ["W_enc", "b_enc", "b_dec", "threshold", "W_skip", "W_dec"]
                    .map(|name| format!("{name}_{layer}"));
            let mut tensors = vec![
                Named::f32(&w_enc, &[f, d], &dictionary.w_enc),
                Named::f32(&b_enc, &[f], &dictionary.b_enc),
                Named::f32(&b_dec, &[d], &dictionary.b_dec),
            ];
            if let Selection::Threshold(thresholds) = &dictionary.selection
                && thresholds.iter().any(|threshold| *threshold > 0.0)
            {
                tensors.push(Named::f32(&threshold, &[f], thresholds));
            }
            // Read and multiplied from the left here, unlike in a set of transcoders.
            let skip = dictionary.target.as_ref().and_then(|target| target.skip.as_deref());
            let skip = skip.map(|skip| transposed(skip, d, d));
            tensors.extend(skip.iter().map(|skip| Named::f32(&w_skip, &[d, d], skip)));
            weights::write(&folder.join(format!("{w_enc}.safetensors")), &tensors)?;
            let mut rows = Vec::with_capacity(f * (1 + later.len()) * d);
            for feature in 0..f {
                let vectors = std::iter::once(&dictionary.w_dec).chain(later);
                vectors.for_each(|to| rows.extend_from_slice(&to[feature * d..(feature + 1) * d]));
            }
            let tensors = [Named::f32(&w_dec, &[f, 1 + later.len(), d], &rows)];
            weights::write(&folder.join(format!("{w_dec}.safetensors")), &tensors)?;
        }
        Ok(storage::atomic::write(&folder.join(CONFIG), self.config(folder)?.as_bytes())?)
    }

    /// Strings are quoted as JSON, which YAML reads.
    fn config(&self, folder: &Path) -> Result<String> {
        let first = self.layers.first();
        let model = first.and_then(|layer| layer.info.model_name.as_deref()).unwrap_or_default();
        let k = match first.map(|layer| &layer.selection) {
            Some(Selection::Threshold(_)) => None,
            Some(Selection::TopK(k)) => Some(*k),
            other => {
                let name = other.map_or("nothing", Selection::name);
                return Err(Error::request(format!(
                    "a cross-layer transcoder that selects by {name} is not written"
                )));
            }
        };
        let kind = if k.is_some() { TOP_K_KIND } else { KIND };
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let hook = first.and_then(|layer| layer.info.hook_name.as_deref());
        let input = match hook.and_then(|hook| hook.parse::<Hook>().ok()).map(|hook| hook.site) {
            // Our name of the MLP's input after its norm is hook_mlp_in; TransformerLens means the value before the norm by it.
            None | Some(Site::MlpIn) => "mlp.hook_in",
            Some(site) => site.name(),
        };
        let entries = [
            ("model_kind", kind),
            ("model_name", model),
            ("scan", &*name),
            ("feature_input_hook", input),
            ("feature_output_hook", "hook_mlp_out"),
        ];
        let lines = entries.map(|(key, value)| format!("{key}: {}\n", serde_json::json!(value)));
        let k = k.map_or(String::new(), |k| format!("k: {k}\n"));
        Ok(lines.concat() + &k)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{DictionaryInfo, Normalisation, Selection, Target};
    use super::*;

    /// Two layers, two dimensions, three features: worked out by hand.
    #[test]
    fn features_write_into_later_layers() {
        let layer = |w_enc: [f32; 6], b_enc: [f32; 3], w_dec: [f32; 6], b_dec: [f32; 2]| Dictionary {
            d_in: 2,
            d_sae: 3,
            w_enc: w_enc.to_vec(),
            b_enc: b_enc.to_vec(),
            w_dec: w_dec.to_vec(),
            b_dec: b_dec.to_vec(),
            selection: Selection::Threshold(vec![0.0; 3]),
            prune_below: None,
            normalisation: Normalisation::None,
            target: Some(Target { d_out: 2, skip: None, hook: None, norm_limit: None }),
            info: DictionaryInfo::default(),
        };
        let transcoder = CrossLayerTranscoder {
            layers: vec![
                layer([1., 0., 0.5, -1., -1., 1.], [0., -0.5, 0.], [1., 0., 0., 2., 1., 1.], [0.1, 0.]),
                layer([0., 1., 1., 1., -1., 0.], [-1., 0., 0.25], [1., 1., 0., -1., 3., 0.], [0., -0.2]),
            ],
            later: vec![vec![vec![0., 1., 0.5, 0., 2., 0.]], vec![]],
        };
        let x = [vec![1.0, -1.0], vec![0.5, 2.0]];
        let codes = transcoder.encode(&x);
        assert_eq!(codes[0].row(0), (&[0, 1][..], &[1.0, 1.0][..]));
        assert_eq!(codes[1].row(0), (&[0, 1][..], &[1.0, 2.5][..]));
        let out = transcoder.decode_with(&codes, &x);
        for (got, expected) in out.iter().flatten().zip([1.1, 2.0, 1.5, -0.7]) {
            assert!((got - expected).abs() < 1e-6, "{out:?}");
        }
    }

    /// What is written is what the reader of circuit-tracer's layout reads, with the same codes and outputs.
    #[test]
    fn comes_back_from_disk() {
        let (layers, d, f) = (3, 6, 10);
        let numbers = |n: usize, seed: usize| super::super::tests::numbers(n, seed as u32);
        let x: Vec<Vec<f32>> = (0..layers).map(|layer| numbers(20 * d, 90 + layer)).collect();
        let with = |selection: &dyn Fn(usize) -> Selection| CrossLayerTranscoder {
            layers: (0..layers)
                .map(|layer| Dictionary {
                    d_in: d,
                    d_sae: f,
                    w_enc: numbers(f * d, layer),
                    b_enc: numbers(f, 10 + layer),
                    w_dec: numbers(f * d, 20 + layer),
                    b_dec: numbers(d, 30 + layer),
                    selection: selection(layer),
                    prune_below: None,
                    normalisation: Normalisation::None,
                    target: Some(Target { d_out: d, skip: None, hook: None, norm_limit: None }),
                    info: DictionaryInfo { model_name: Some("a/model".into()), ..DictionaryInfo::default() },
                })
                .collect(),
            later: (0..layers)
                .map(|layer| (layer + 1..layers).map(|to| numbers(f * d, 40 + 10 * layer + to)).collect())
                .collect(),
        };
        let selections: [&dyn Fn(usize) -> Selection; 3] =
            [&|_| Selection::TopK(3), &|layer| Selection::Threshold(vec![0.1 * layer as f32; f]), &|_| {
                Selection::Threshold(vec![0.0; f])
            }];
        for (selection, kind) in selections.into_iter().zip([TOP_K_KIND, KIND, KIND]) {
            let (folder, written) = (tempfile::tempdir().unwrap(), with(selection));
            written.save(folder.path()).unwrap();
            let config = std::fs::read_to_string(folder.path().join(CONFIG)).unwrap();
            assert!(config.starts_with(&format!("model_kind: \"{kind}\"\n")), "{config}");
            let opened = crate::interop::dictionaries::open_path(folder.path()).unwrap();
            assert_eq!(opened.reading.model.as_deref(), Some("a/model"));
            let crate::interop::dictionaries::Content::CrossLayer(read) = opened.content else { panic!() };
            let codes = written.encode(&x);
            assert!(codes.iter().all(|codes| !codes.features.is_empty()));
            assert_eq!(read.encode(&x), codes);
            assert_eq!(read.decode_with(&codes, &x), written.decode_with(&codes, &x));
            assert_eq!(read.layers[1].info.hook_name.as_deref(), Some("blocks.1.hook_mlp_in"));
        }
        let blocks = super::super::allocation::blocks::Blocks { count: 5, k: 5 };
        let folder = tempfile::tempdir().unwrap();
        let error = with(&|_| Selection::BlockTopK(blocks)).save(folder.path()).unwrap_err();
        assert!(error.to_string().contains("block_topk"), "{error}");
    }
}

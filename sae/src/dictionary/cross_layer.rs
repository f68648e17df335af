//! Cross-layer transcoders: the features of a layer write into the MLP outputs of this layer and all later ones.
//!
//! ```text
//! codes_ℓ = selection(x_ℓ · W_enc_ℓᵀ + b_enc_ℓ)                      x_ℓ [n, d], codes_ℓ of F features
//! ŷ_m     = Σ_{ℓ ≤ m} codes_ℓ · W_dec_ℓ[m − ℓ] + b_dec_m (+ x_m · skip_mᵀ)
//! ```

use super::{Codes, Dictionary};
use kernels::gather::add_rows;
use rayon::prelude::*;

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
}

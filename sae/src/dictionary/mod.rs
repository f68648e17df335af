//! What a sparse autoencoder (SAE) is: two matrices, two biases and a rule that says which features of a token are active.
//!
//! With `d` = d_in and `F` = d_sae:
//!
//! ```text
//! z     = (x − b_dec) · W_encᵀ + b_enc     pre-activations [n, F]; W_enc is held as [F, d], one row per feature
//! codes = selection(z)                     sparse, CSR ([`Codes`]); every code is > 0, but for [`Selection::AbsTopK`]
//! codes = prune(codes)                     where a dictionary is pruned: what the other features make up for is left out
//! x̂     = codes · W_dec + b_dec            reconstruction [n, d]; W_dec is [F, d], one row per feature
//! ```
//!
//! A transcoder has a [`Target`]: `W_dec` is `[F, d_out]`, `b_dec` is `[d_out]`, nothing is subtracted before encoding, and a skip path
//! may add `x · W_skipᵀ`. What is known of every format of the field is brought into this one form
//! ([`crate::interop::dictionaries`]).
//!
//! A [`Dictionary`] takes raw activations, as a model computes them: what training scaled is folded into it
//! ([`Dictionary::for_raw_activations`]). It is kept as a SAELens v6 folder (`cfg.json`, `sae_weights.safetensors`), see
//! [`Dictionary::save`] and [`Dictionary::load`].

pub mod allocation;
mod coder;
mod codes;
pub(crate) mod cosine;
pub(crate) mod cross_layer;
mod encoder;
mod folder;
mod info;
mod needs;
mod normalisation;
mod own;
mod pick;
pub mod prune;
pub(crate) mod pursuit;
pub mod recode;
pub(crate) mod refined;
mod saelens;
pub mod score;
mod search;
mod selection;
pub(crate) mod shrunk;
mod sides;
mod target;
pub(crate) mod weights;
mod whitening;

pub use coder::{Coder, Finish};
pub use codes::{ByFeature, Codes};
pub use cosine::Cosine;
pub use cross_layer::CrossLayerTranscoder;
pub use encoder::Encoder;
pub(crate) use folder::{CONFIG, WEIGHTS};
pub use info::{DictionaryInfo, SAE_LENS_LAYOUT};
pub use normalisation::Normalisation;
pub use pick::Pick;
pub use refined::Refined;
pub(crate) use saelens::Config;
pub use selection::Selection;
pub use shrunk::Shrunk;
pub use target::Target;

use std::borrow::Cow;

use rayon::prelude::*;

use kernels::encode::{ChunkBuffer, centre, chunk_rows, products};
use kernels::gather::add_rows;
use kernels::spare::Spare;

/// Rows decoded by one task.
const DECODE_ROWS: usize = 64;

/// A trained dictionary for raw activations.
#[derive(Debug, Clone, PartialEq)]
pub struct Dictionary {
    /// Width of activations, `d`.
    pub d_in: usize,
    /// Number of features, `F`.
    pub d_sae: usize,
    /// Encoder `[F, d]`, one row per feature (the transpose of SAELens's `W_enc`).
    pub w_enc: Vec<f32>,
    /// Encoder bias `[F]`.
    pub b_enc: Vec<f32>,
    /// Decoder `[F, d_out]`, one row per feature: its direction. Without a target `d_out` is `d`.
    pub w_dec: Vec<f32>,
    /// Decoder bias `[d_out]`; without a target it is also subtracted before encoding.
    pub b_dec: Vec<f32>,
    /// Which pre-activations become codes.
    pub selection: Selection,
    /// What leaving an active feature out must cost for it to stay, in units of activation ([`Dictionary::prune`]); `None`: all stay.
    pub prune_below: Option<f32>,
    /// What is done to every row before encoding and undone after decoding.
    pub normalisation: Normalisation,
    /// What a transcoder reconstructs; `None` if the dictionary reconstructs its input.
    pub target: Option<Target>,
    /// Where the dictionary comes from.
    pub info: DictionaryInfo,
}

impl Dictionary {
    /// The codes of `x[n, d]`. Memory besides the codes is bounded: rows go in chunks, one per thread.
    ///
    /// Values must be finite (readers of activations check that): a NaN is never selected.
    ///
    /// # Panics
    /// If the length of `x` is not a multiple of `d_in`.
    pub fn encode(&self, x: &[f32]) -> Codes {
        self.encoder().encode(x)
    }

    /// Numbers of a reconstruction: `d_in`, or the target's width.
    pub fn d_out(&self) -> usize {
        self.target.as_ref().map_or(self.d_in, |target| target.d_out)
    }

    /// What is subtracted from a row before encoding, `[d_in]`: the decoder's bias, zeros for a transcoder.
    pub fn subtracted(&self) -> Cow<'_, [f32]> {
        match self.target {
            None => Cow::Borrowed(&self.b_dec),
            Some(_) => Cow::Owned(vec![0.0; self.d_in]),
        }
    }

    /// The codes of rows that are normalised already, from all pre-activations in `f32`.
    fn encode_exact(&self, x: &[f32]) -> Codes {
        match &self.selection {
            Selection::MatchingPursuit { .. } => return self.pursue(x),
            Selection::Refined(refined) => return self.refine(x, refined),
            _ => {}
        }
        self.by_chunks(x, |buffer| {
            products(&mut buffer.products, &buffer.centred, &self.w_enc, self.d_in);
            if let Selection::Cosine(cosine) = &self.selection {
                return cosine.select(&buffer.products, &buffer.centred, &self.b_enc);
            }
            self.selection.select(&buffer.products, &self.b_enc, &mut buffer.candidates)
        })
    }

    /// The codes of `x[n, d]`, chunk by chunk: `encode` is given a buffer whose `centred` has the chunk's rows without what is subtracted.
    fn by_chunks(&self, x: &[f32], encode: impl Fn(&mut ChunkBuffer) -> Codes + Sync) -> Codes {
        let subtracted = self.subtracted();
        let spare = Spare::<ChunkBuffer>::default();
        let parts: Vec<Codes> = x
            .par_chunks(chunk_rows(self.d_sae) * self.d_in)
            .map(|rows| {
                let mut buffer = spare.take();
                buffer.centred.resize(rows.len(), 0.0);
                centre(&mut buffer.centred, rows, &subtracted);
                let codes = encode(&mut buffer);
                spare.give(buffer);
                codes
            })
            .collect();
        Codes::concatenate(&parts)
    }

    /// Reconstructions `[n, d_out]` of the rows of `codes`, as far as codes alone say: without a skip path, and of the normalised rows
    /// where rows are normalised. [`Dictionary::decode_with`] has everything.
    ///
    /// # Panics
    /// If a code names a feature that the dictionary does not have.
    pub fn decode(&self, codes: &Codes) -> Vec<f32> {
        let d = self.d_out();
        let mut out = vec![0.0; codes.rows() * d];
        out.par_chunks_mut(DECODE_ROWS * d).enumerate().for_each(|(chunk, rows)| {
            for (i, row) in rows.chunks_exact_mut(d).enumerate() {
                let (features, values) = codes.row(chunk * DECODE_ROWS + i);
                row.copy_from_slice(&self.b_dec);
                add_rows(row, &self.w_dec, features, values);
            }
        });
        out
    }

    /// Reconstructions `[n, d_out]` of the rows of `codes`, which are those of `x[n, d_in]`: with the skip path, in the units of `x`.
    ///
    /// # Panics
    /// If a code names a feature that the dictionary does not have, or `x` has a different number of rows.
    pub fn decode_with(&self, codes: &Codes, x: &[f32]) -> Vec<f32> {
        assert_eq!(codes.rows() * self.d_in, x.len(), "codes and rows are of different tokens");
        let mut out = self.decode(codes);
        match &self.target {
            None => self.normalisation.undo(&mut out, x, self.d_in),
            Some(target) => target.add_skip(&mut out, x, self.d_in),
        }
        out
    }

    /// Feature `f`'s encoder row, `[d]`.
    pub fn encoder_row(&self, f: usize) -> &[f32] {
        &self.w_enc[f * self.d_in..(f + 1) * self.d_in]
    }

    /// Feature `f`'s decoder row, `[d_out]`.
    pub fn decoder_row(&self, f: usize) -> &[f32] {
        let d = self.d_out();
        &self.w_dec[f * d..(f + 1) * d]
    }

    /// Turns a dictionary that was trained on `x · scale` into the same one for raw `x`.
    ///
    /// `z` and the reconstruction are linear in `x` and the biases together, and selection by rank does not see a positive
    /// factor. So the biases and thresholds are divided by `scale`, the matrices stay, codes come out divided by `scale`, and
    /// decoder rows keep their norm.
    #[must_use]
    pub fn for_raw_activations(mut self, scale: f32) -> Self {
        for bias in self.b_enc.iter_mut().chain(&mut self.b_dec) {
            *bias /= scale;
        }
        match &mut self.selection {
            Selection::Threshold(thresholds) => thresholds.iter_mut().for_each(|t| *t /= scale),
            Selection::MatchingPursuit { residual_threshold, .. } => *residual_threshold /= scale,
            Selection::Shrunk(shrunk) => shrunk.unit /= scale,
            Selection::Cosine(cosine) => cosine.rescale(1.0 / scale),
            Selection::Refined(refined) => refined.rescale(1.0 / scale),
            Selection::TopK(_) | Selection::AbsTopK(_) | Selection::BlockTopK(_) => {}
        }
        self.prune_below = self.prune_below.map(|below| below / scale);
        self
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn numbers(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32)
            .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 8.4e6 - 1.0)
            .collect()
    }

    pub(crate) fn small(d: usize, features: usize, selection: Selection) -> Dictionary {
        Dictionary {
            d_in: d,
            d_sae: features,
            w_enc: numbers(features * d, 1),
            b_enc: numbers(features, 2),
            w_dec: numbers(features * d, 3),
            b_dec: numbers(d, 4),
            selection,
            prune_below: None,
            normalisation: Normalisation::None,
            target: None,
            info: DictionaryInfo::default(),
        }
    }

    fn naive_z(dictionary: &Dictionary, row: &[f32]) -> Vec<f64> {
        (0..dictionary.d_sae)
            .map(|f| {
                let sum: f64 = (0..dictionary.d_in)
                    .map(|c| {
                        f64::from(row[c] - dictionary.b_dec[c]) * f64::from(dictionary.encoder_row(f)[c])
                    })
                    .sum();
                sum + f64::from(dictionary.b_enc[f])
            })
            .collect()
    }

    #[test]
    fn topk_codes_are_the_k_largest_pre_activations() {
        let dictionary = small(24, 150, Selection::TopK(9));
        // More rows than a chunk has, so that chunks meet.
        let x = numbers(24 * 700, 7);
        let codes = dictionary.encode(&x);
        assert_eq!(codes.rows(), 700);
        for (i, row) in x.chunks_exact(24).enumerate() {
            let z = naive_z(&dictionary, row);
            let mut order: Vec<usize> = (0..150).filter(|&f| z[f] > 0.0).collect();
            order.sort_by(|&a, &b| z[b].total_cmp(&z[a]));
            order.truncate(9);
            order.sort_unstable();
            let (features, values) = codes.row(i);
            assert_eq!(features.iter().map(|&f| f as usize).collect::<Vec<_>>(), order, "row {i}");
            for (&f, &v) in features.iter().zip(values) {
                assert!((f64::from(v) - z[f as usize]).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn threshold_codes_are_all_above_their_threshold() {
        let thresholds: Vec<f32> = (0..40).map(|f| f as f32 / 20.0).collect();
        let dictionary = small(8, 40, Selection::Threshold(thresholds.clone()));
        let x = numbers(8 * 30, 5);
        let codes = dictionary.encode(&x);
        for (i, row) in x.chunks_exact(8).enumerate() {
            let z = naive_z(&dictionary, row);
            let expected: Vec<u32> =
                (0..40_u32).filter(|&f| z[f as usize] > f64::from(thresholds[f as usize])).collect();
            assert_eq!(codes.row(i).0, expected);
        }
    }

    #[test]
    fn reconstructions_are_sums_of_decoder_rows() {
        let dictionary = small(13, 50, Selection::TopK(6));
        let codes = dictionary.encode(&numbers(13 * 100, 6));
        let out = dictionary.decode(&codes);
        for i in 0..100 {
            let (features, values) = codes.row(i);
            for c in 0..13 {
                let exact: f64 = f64::from(dictionary.b_dec[c])
                    + features
                        .iter()
                        .zip(values)
                        .map(|(&f, &v)| f64::from(v) * f64::from(dictionary.decoder_row(f as usize)[c]))
                        .sum::<f64>();
                assert!((f64::from(out[i * 13 + c]) - exact).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn codes_of_largest_magnitude_keep_their_sign() {
        let dictionary = small(24, 150, Selection::AbsTopK(9));
        let x = numbers(24 * 300, 7);
        let codes = dictionary.encode(&x);
        let mut negative = 0;
        for (i, row) in x.chunks_exact(24).enumerate() {
            let z = naive_z(&dictionary, row);
            let mut order: Vec<usize> = (0..150).collect();
            order.sort_by(|&a, &b| z[b].abs().total_cmp(&z[a].abs()));
            order.truncate(9);
            order.sort_unstable();
            let (features, values) = codes.row(i);
            assert_eq!(features.iter().map(|&f| f as usize).collect::<Vec<_>>(), order, "row {i}");
            for (&f, &v) in features.iter().zip(values) {
                assert!((f64::from(v) - z[f as usize]).abs() < 1e-4);
                negative += usize::from(v < 0.0);
            }
        }
        assert!(negative > 300);
    }

    #[test]
    fn codes_of_blocks_are_the_largest_of_each() {
        let blocks = allocation::blocks::Blocks { count: 10, k: 20 };
        let dictionary = small(24, 150, Selection::BlockTopK(blocks));
        let x = numbers(24 * 700, 7);
        let codes = dictionary.encode(&x);
        for (i, row) in x.chunks_exact(24).enumerate() {
            let z = naive_z(&dictionary, row);
            let mut expected = Vec::new();
            for block in 0..10 {
                let mut order: Vec<u32> = (block * 15..(block + 1) * 15).collect();
                order.retain(|&f| z[f as usize] > 0.0);
                order.sort_by(|&a, &b| z[b as usize].total_cmp(&z[a as usize]));
                order.truncate(2);
                order.sort_unstable();
                expected.extend(order);
            }
            let (features, values) = codes.row(i);
            assert_eq!(features, expected, "row {i}");
            assert!(features.iter().zip(values).all(|(&f, &v)| (f64::from(v) - z[f as usize]).abs() < 1e-4));
        }
    }

    #[test]
    fn a_transcoder_subtracts_nothing_and_adds_its_skip_path() {
        let (d, d_out, features) = (12, 5, 40);
        let mut dictionary = small(d, features, Selection::TopK(7));
        dictionary.w_dec = numbers(features * d_out, 31);
        dictionary.b_dec = numbers(d_out, 32);
        let skip = numbers(d_out * d, 33);
        dictionary.target = Some(Target { d_out, skip: Some(skip.clone()), hook: None, norm_limit: None });
        let x = numbers(d * 90, 6);
        let codes = dictionary.encode(&x);
        let out = dictionary.decode_with(&codes, &x);
        assert_eq!(out.len(), 90 * d_out);
        for (i, row) in x.chunks_exact(d).enumerate() {
            let (listed, values) = codes.row(i);
            for (&f, &v) in listed.iter().zip(values) {
                let z: f32 = row.iter().zip(dictionary.encoder_row(f as usize)).map(|(x, w)| x * w).sum();
                assert!((z + dictionary.b_enc[f as usize] - v).abs() < 1e-5);
            }
            for c in 0..d_out {
                let mut exact = f64::from(dictionary.b_dec[c]);
                for (&f, &v) in listed.iter().zip(values) {
                    exact += f64::from(v) * f64::from(dictionary.w_dec[f as usize * d_out + c]);
                }
                for (x, w) in row.iter().zip(&skip[c * d..(c + 1) * d]) {
                    exact += f64::from(*x) * f64::from(*w);
                }
                assert!((f64::from(out[i * d_out + c]) - exact).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn threads_change_no_bit() {
        let dictionary = small(24, 300, Selection::TopK(5));
        let x = numbers(24 * 1500, 8);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let codes = dictionary.encode(&x);
                let out = dictionary.decode(&codes);
                (codes, out)
            })
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn folding_the_scale_changes_nothing_but_the_unit() {
        let shrunk = kernels::shrink::Shrinkage::ALL
            .map(|kind| Selection::Shrunk(Shrunk { kind, lambda: 0.3, unit: 1.0 }));
        let others = [Selection::TopK(4), Selection::Threshold(vec![0.1; 60])];
        for selection in others.into_iter().chain(shrunk) {
            let trained = small(16, 60, selection);
            let scale = 0.37_f32;
            let raw = numbers(16 * 50, 9);
            let scaled: Vec<f32> = raw.iter().map(|x| x * scale).collect();
            let folded = trained.clone().for_raw_activations(scale);
            let (a, b) = (trained.encode(&scaled), folded.encode(&raw));
            assert_eq!(a.features, b.features);
            for (a, b) in a.values.iter().zip(&b.values) {
                assert!((a / scale - b).abs() < 1e-5 * (1.0 + b.abs()));
            }
            for (a, b) in trained.decode(&a).iter().zip(folded.decode(&b)) {
                assert!((a / scale - b).abs() < 2e-5 * (1.0 + b.abs()), "{a} {b}");
            }
        }
    }
}

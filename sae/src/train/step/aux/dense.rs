//! The auxiliary loss where a token uses many of its features: the same loss as with lists of pairs, by dense products.
//!
//! With k_aux pairs per token out of n features, lists read k_aux rows per token, and then as many again for every gradient. As long
//! as n is a few times k_aux, products with matrices that are mostly zeros are faster:
//!
//! ```text
//! u = k_aux largest of relu(c · W_encᵀ + b_enc), else 0     [B, n]
//! q = u · W_dec + e;  s = q · W_decᵀ where u > 0
//! ∂L/∂W_dec = 2α' uᵀ q;  ∂L/∂W_enc = 2α' sᵀ c               [n, d]
//! ```
//!
//! All five products are made in bfloat16 where the processor has it and `--exact` does not forbid it: they are a loss that nothing is
//! measured by, of features that fire for no token, and were most of the time of a step with many dead features.

use rayon::prelude::*;

use super::AuxFeatures;
use crate::train::step::batch::CentredBatch;
use kernels::bf16;
use kernels::gemm::{Mat, MatMut, WriteMode};
use kernels::keep;
use kernels::product::{RightFactor, multiply};
use kernels::reduce;

/// Features with the loss for each that a token may use, up to which products are dense.
pub const DENSE: usize = 8;
/// Features whose gradients one task makes: whole tiles.
const TASK_FEATURES: usize = 10 * bf16::ROWS;

/// Codes and slopes of a chunk, `[rows, n]`.
#[derive(Debug, Default)]
pub struct DenseAux {
    pub codes: Vec<f32>,
    slopes: Vec<f32>,
    /// Bits of a row's positive codes, to be selected from.
    bits: Vec<u32>,
    /// A left factor in bfloat16.
    left: bf16::PackedLeft,
    /// uᵀ and sᵀ, `[n, rows]`, in bfloat16.
    turned: [bf16::PackedLeft; 2],
    /// q and c, `[rows, d]`, in bfloat16.
    right: [bf16::Panels; 2],
}

/// Rows of the features, `[n, d]`, as right factors in bfloat16: W_encᵀ, W_dec and W_decᵀ.
#[derive(Debug, Default)]
pub struct Coarse {
    encoder: bf16::Panels,
    rows: bf16::Panels,
    columns: bf16::Panels,
}

impl Coarse {
    pub fn set_encoder(&mut self, encoder: &[f32], d: usize) {
        self.encoder.set(Mat::new(encoder, encoder.len() / d, d).t());
    }

    pub fn set_decoder(&mut self, decoder: &[f32], d: usize) {
        let decoder = Mat::new(decoder, decoder.len() / d, d);
        self.rows.set(decoder);
        self.columns.set(decoder.t());
    }
}

/// What the auxiliary loss adds to the gradients of a feature.
#[derive(Debug, Default)]
pub struct AuxGradient {
    /// `[d_out]`
    pub decoder: Vec<f32>,
    /// `[d]`
    pub encoder: Vec<f32>,
    pub bias: f32,
}

impl DenseAux {
    /// Makes the codes `c · W_encᵀ` of the chunk `centred[rows, d]`, without biases.
    pub fn encode(&mut self, aux: &AuxFeatures, centred: &[f32], d: usize) {
        let (rows, n) = (centred.len() / d, aux.features.len());
        let Some(coarse) = &aux.coarse else {
            return aux.packed_encoder.products(&mut self.codes, centred, &aux.encoder, d);
        };
        self.left.set(Mat::new(centred, rows, d));
        self.codes.resize(rows * n, 0.0);
        let codes = MatMut::new(&mut self.codes, rows, n);
        bf16::multiply(self.left.all(), &coarse.encoder, 1.0, WriteMode::Overwrite, codes);
    }

    /// Makes row `row` of the codes the `k` largest positive of itself and `bias`, 0 elsewhere.
    pub fn keep_best(&mut self, row: usize, bias: &[f32], k: usize) {
        keep::best(&mut self.codes[row * bias.len()..(row + 1) * bias.len()], bias, k, &mut self.bits);
    }

    /// From errors and centred activations to `q`, and the slopes; `d` and `d_out` are the widths of what is encoded and what is
    /// reconstructed. Returns Σ‖q‖².
    pub fn measure(
        &mut self,
        aux: &AuxFeatures,
        errors: &[f32],
        centred: &[f32],
        q: &mut [f32],
        (d, d_out): (usize, usize),
    ) -> f64 {
        let n = aux.features.len();
        let rows = errors.len() / d_out;
        q.copy_from_slice(errors);
        let codes = Mat::new(&self.codes, rows, n);
        match &aux.coarse {
            Some(coarse) => {
                self.left.set(codes);
                let sum = MatMut::new(q, rows, d_out);
                bf16::multiply(self.left.all(), &coarse.rows, 1.0, WriteMode::Add, sum);
                self.left.set(Mat::new(q, rows, d_out));
                self.slopes.resize(rows * n, 0.0);
                let slopes = MatMut::new(&mut self.slopes, rows, n);
                bf16::multiply(self.left.all(), &coarse.columns, 1.0, WriteMode::Overwrite, slopes);
                let [q_panels, centred_panels] = &mut self.right;
                q_panels.set(Mat::new(q, rows, d_out));
                centred_panels.set(Mat::new(centred, rows, d));
            }
            None => {
                let decoder = RightFactor::plain(Mat::new(&aux.decoder, n, d_out));
                multiply(codes, &decoder, 1.0, WriteMode::Add, MatMut::new(q, rows, d_out));
                aux.packed_decoder.products(&mut self.slopes, q, &aux.decoder, d_out);
            }
        }
        keep::where_positive(&mut self.slopes, &self.codes);
        if aux.coarse.is_some() {
            let [codes, slopes] = &mut self.turned;
            codes.set(Mat::new(&self.codes, rows, n).t());
            slopes.set(Mat::new(&self.slopes, rows, n).t());
        }
        reduce::sum_of_squares(q)
    }
}

/// Makes `gradients` those of the features of `aux`, of the loss with the constant `scale`; `q[B, d_out]` is what is wrong with the
/// reconstructed residual.
pub fn set_gradients(
    gradients: &mut Vec<AuxGradient>,
    aux: &AuxFeatures,
    chunks: &[&DenseAux],
    batch: &CentredBatch,
    q: &[f32],
    scale: f32,
    (d, d_out): (usize, usize),
) {
    let n = aux.features.len();
    gradients.resize_with(n, AuxGradient::default);
    let rows: Vec<(&DenseAux, &[f32], &[f32])> = chunks
        .iter()
        .scan(0, |start, chunk| {
            let (first, end) = (*start, *start + chunk.codes.len() / n);
            *start = end;
            Some((*chunk, &q[first * d_out..end * d_out], &batch.rows().centred[first * d..end * d]))
        })
        .collect();
    gradients.par_chunks_mut(TASK_FEATURES).enumerate().for_each(|(task, gradients)| {
        let (first, width) = (task * TASK_FEATURES, gradients.len());
        let (mut decoder, mut encoder) = (vec![0.0; width * d_out], vec![0.0; width * d]);
        let mut bias = vec![0.0; width];
        // Chunk by chunk, in order.
        for (dense, q, centred) in &rows {
            let rows = q.len() / d_out;
            let columns = |m| Mat::strided(m, rows, width, n).t();
            let (codes, slopes) = (&dense.codes[first..], &dense.slopes[first..]);
            let of_decoder = |m| MatMut::new(m, width, d_out);
            let of_encoder = |m| MatMut::new(m, width, d);
            if aux.coarse.is_some() {
                let [q, centred] = &dense.right;
                let [codes, slopes] = &dense.turned;
                let (codes, slopes) = (codes.rows(first, width), slopes.rows(first, width));
                bf16::multiply(codes, q, scale, WriteMode::Add, of_decoder(&mut decoder));
                bf16::multiply(slopes, centred, scale, WriteMode::Add, of_encoder(&mut encoder));
            } else {
                let (q, centred) = (Mat::new(q, rows, d_out), Mat::new(centred, rows, d));
                let right = RightFactor::plain;
                multiply(columns(codes), &right(q), scale, WriteMode::Add, of_decoder(&mut decoder));
                multiply(columns(slopes), &right(centred), scale, WriteMode::Add, of_encoder(&mut encoder));
            }
            for row in slopes.chunks(n) {
                bias.iter_mut().zip(row).for_each(|(bias, slope)| *bias += scale * slope);
            }
        }
        for (i, gradient) in gradients.iter_mut().enumerate() {
            gradient.decoder.clear();
            gradient.decoder.extend_from_slice(&decoder[i * d_out..(i + 1) * d_out]);
            gradient.encoder.clear();
            gradient.encoder.extend_from_slice(&encoder[i * d..(i + 1) * d]);
            gradient.bias = bias[i];
        }
    });
}

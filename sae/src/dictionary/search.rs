//! Codes from candidates: a product in 8 bits says which features of a token may be selected (`kernels::int8`), only those are computed
//! in `f32`. Panels of the encoder are made anew for every call, which many rows make up for.

use rayon::prelude::*;

use super::{Codes, Dictionary, Selection};
use crate::kernels::encode::centre;
use crate::kernels::gather::dot_rows;
use crate::kernels::int8::tile::{Instructions, ROWS};
use crate::kernels::int8::{Fold, MAX_WIDTH, Pairs, Panels, Rows, Shortlist};
use crate::kernels::spare::Spare;
use crate::kernels::topk::{self, Candidates};

/// Rows of a chunk: whole tiles that stay in the second cache.
const CHUNK_ROWS: usize = 16 * ROWS;
/// Width, features and rows from which on candidates are faster.
const SMALLEST: (usize, usize, usize) = (64, 1024, 512);
/// If more than one feature in so many is a candidate, products in `f32` are faster.
const DENSE: usize = 16;

/// A thread's memory.
#[derive(Debug, Default)]
struct Buffer {
    centred: Vec<f32>,
    rows: Rows,
    shortlist: Shortlist,
    listed: Vec<u32>,
    scores: Vec<f32>,
    zeros: Vec<f32>,
    candidates: Candidates,
    features: Vec<u32>,
    values: Vec<f32>,
}

/// A dictionary's encoder, packed for one call.
pub(super) struct Search<'a> {
    dictionary: &'a Dictionary,
    fold: Fold,
    panels: Panels,
    instructions: Instructions,
}

impl<'a> Search<'a> {
    /// If candidates are faster for `x[n, d]`.
    pub(super) fn new(dictionary: &'a Dictionary, x: &[f32]) -> Option<Self> {
        let (d, features) = (dictionary.d_in, dictionary.d_sae);
        let instructions = Instructions::detect();
        let large = d >= SMALLEST.0 && features >= SMALLEST.1 && x.len() / d >= SMALLEST.2;
        if !large || d > MAX_WIDTH || instructions == Instructions::Portable {
            return None;
        }
        Some(Self::packed(
            dictionary,
            Fold::balancing(&root_mean_squares(x, &dictionary.b_dec)),
            instructions,
        ))
    }

    fn packed(dictionary: &'a Dictionary, fold: Fold, instructions: Instructions) -> Self {
        let mut panels = Panels::default();
        // What passes a threshold is what is positive without it.
        let bias = |f: usize| match &dictionary.selection {
            Selection::TopK(_) => dictionary.b_enc[f],
            Selection::Threshold(thresholds) => dictionary.b_enc[f] - thresholds[f].max(0.0),
        };
        panels.pack(&dictionary.w_enc, &fold, bias);
        Self { dictionary, fold, panels, instructions }
    }

    /// The codes of `x[n, d]`.
    pub(super) fn encode(&self, x: &[f32]) -> Codes {
        let spare = Spare::<Buffer>::default();
        let parts: Vec<Codes> = x
            .par_chunks(CHUNK_ROWS * self.dictionary.d_in)
            .map(|rows| {
                let mut buffer = spare.take();
                let codes = self.chunk(rows, &mut buffer);
                spare.give(buffer);
                codes
            })
            .collect();
        Codes::concatenate(&parts)
    }

    fn chunk(&self, x: &[f32], buffer: &mut Buffer) -> Codes {
        let Self { dictionary, fold, panels, instructions } = self;
        let (d, features) = (dictionary.d_in, dictionary.d_sae);
        buffer.centred.resize(x.len(), 0.0);
        centre(&mut buffer.centred, x, &dictionary.b_dec);
        buffer.rows.set(&buffer.centred, fold, ROWS);
        let n = buffer.rows.len();
        let pairs = Pairs::plain(&buffer.rows, panels);
        match dictionary.selection {
            Selection::TopK(k) => buffer.shortlist.find(pairs, k, *instructions),
            Selection::Threshold(_) => {
                buffer.shortlist.find_all(pairs, n * features, 0.0, *instructions);
            }
        }
        let listed: usize = (0..n).map(|i| buffer.shortlist.row(i).len()).sum();
        if listed * DENSE > n * features {
            return dictionary.encode_exact(x);
        }
        let mut codes = Codes::default();
        for i in 0..n {
            buffer.listed.clear();
            buffer.listed.extend(buffer.shortlist.row(i));
            buffer.scores.resize(buffer.listed.len(), 0.0);
            dot_rows(
                &mut buffer.scores,
                &dictionary.w_enc,
                &buffer.listed,
                &buffer.centred[i * d..(i + 1) * d],
            );
            for (score, &f) in buffer.scores.iter_mut().zip(&buffer.listed) {
                *score += dictionary.b_enc[f as usize];
            }
            dictionary.select_listed(buffer, &mut codes);
        }
        codes
    }
}

impl Dictionary {
    /// Adds a row: what is selected of the candidates `listed` with pre-activations `scores`.
    fn select_listed(&self, buffer: &mut Buffer, codes: &mut Codes) {
        let Buffer { listed, scores, zeros, candidates, features, values, .. } = buffer;
        match &self.selection {
            Selection::TopK(k) => {
                zeros.resize(scores.len().max(zeros.len()), 0.0);
                features.resize(*k, 0);
                values.resize(*k, 0.0);
                let n = topk::select(scores, zeros, *k, candidates, features, values);
                features[..n].iter_mut().for_each(|f| *f = listed[*f as usize]);
                codes.push_row(&features[..n], &values[..n]);
            }
            Selection::Threshold(thresholds) => {
                for (&z, &f) in scores.iter().zip(&*listed) {
                    if z > thresholds[f as usize].max(0.0) {
                        codes.features.push(f);
                        codes.values.push(z);
                    }
                }
                codes.offsets.push(codes.features.len());
            }
        }
    }
}

/// Of each dimension of `x[n, d] − b_dec`.
fn root_mean_squares(x: &[f32], b_dec: &[f32]) -> Vec<f32> {
    // A few hundred rows say enough about scales.
    let rows = x.chunks_exact(b_dec.len()).take(SMALLEST.2);
    let mut sums = vec![0.0_f32; b_dec.len()];
    for row in rows {
        for ((sum, x), b) in sums.iter_mut().zip(row).zip(b_dec) {
            *sum += (x - b) * (x - b);
        }
    }
    sums.into_iter().map(f32::sqrt).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{numbers, small};
    use super::*;

    #[test]
    fn codes_are_those_of_all_pre_activations() {
        let (d, features, n) = (64, 1100, 600);
        let mut x = numbers(n * d, 7);
        x.iter_mut().skip(5).step_by(d).for_each(|v| *v *= 40.0);
        let thresholds: Vec<f32> = (0..features).map(|f| 1.0 + (f % 7) as f32 / 4.0).collect();
        for selection in [
            Selection::TopK(12),
            Selection::Threshold(thresholds),
            // Half of all features: candidates do not pay.
            Selection::Threshold(vec![0.0; features]),
        ] {
            let dictionary = small(d, features, selection);
            let (fast, exact) =
                (Search::new(&dictionary, &x).map(|s| s.encode(&x)), dictionary.encode_exact(&x));
            let Some(fast) = fast else {
                assert_eq!(Instructions::detect(), Instructions::Portable);
                return;
            };
            assert_eq!(fast.rows(), n);
            for i in 0..n {
                let ((f, v), (g, w)) = (fast.row(i), exact.row(i));
                assert_eq!(f, g, "row {i}");
                assert!(v.iter().zip(w).all(|(v, w)| (v - w).abs() < 1e-4 * v.abs().max(1.0)));
            }
            assert_eq!(dictionary.encode(&x), fast);
        }
    }
}

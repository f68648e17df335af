//! Codes from candidates: a product in 8 bits says which features of a token may be selected (`kernels::int8`), only those are computed
//! in `f32`. Panels of the encoder are made once for all batches of an [`super::Encoder`].

use rayon::prelude::*;

use super::{Codes, Dictionary, Selection};
use kernels::encode::centre;
use kernels::int8::tile::{Instructions, ROWS};
use kernels::int8::{Fold, MAX_WIDTH, Pairs, Panels, Rows, Shortlist};
use kernels::listed::{Listed, Lists, rows_at_once};
use kernels::memory::{self, use_large_pages};
use kernels::spare::Spare;
use kernels::topk::{self, Candidates};

/// Rows of a chunk: whole tiles that stay in the second cache.
const CHUNK_ROWS: usize = 16 * ROWS;
/// Width, features and rows from which on candidates are faster.
const SMALLEST: (usize, usize, usize) = (64, 1024, 512);
/// If more than one feature in so many is a candidate, products in `f32` are faster.
const DENSE: usize = 16;

/// A thread's memory.
#[derive(Debug, Default)]
struct Buffer {
    rows: Rows,
    shortlist: Shortlist,
    scores: Vec<f32>,
    zeros: Vec<f32>,
    candidates: Candidates,
    features: Vec<u32>,
    values: Vec<f32>,
}

/// A dictionary's encoder, packed.
pub(super) struct Search<'a> {
    dictionary: &'a Dictionary,
    fold: Fold,
    panels: Panels,
    instructions: Instructions,
    /// Chunks whose candidates are computed together: as many as have their rows in the cache.
    chunks_at_once: usize,
}

impl<'a> Search<'a> {
    /// If candidates are faster for `x[n, d]`, whose dimensions say how the 8 bits are shared out.
    pub(super) fn new(dictionary: &'a Dictionary, x: &[f32]) -> Option<Self> {
        let (d, features) = (dictionary.d_in, dictionary.d_sae);
        let instructions = Instructions::detect();
        // Others rank magnitudes, by something else or within blocks, shrink, encode twice, or have no pre-activations.
        let ranked = matches!(dictionary.selection, Selection::TopK(_) | Selection::Threshold(_));
        let large = ranked && d >= SMALLEST.0 && features >= SMALLEST.1 && x.len() / d >= SMALLEST.2;
        if !large || d > MAX_WIDTH || instructions == Instructions::Portable {
            return None;
        }
        Some(Self::packed(
            dictionary,
            Fold::balancing(&root_mean_squares(x, &dictionary.subtracted())),
            instructions,
        ))
    }

    fn packed(dictionary: &'a Dictionary, fold: Fold, instructions: Instructions) -> Self {
        let mut panels = Panels::default();
        // What passes a threshold is what is positive without it.
        let bias = |f: usize| match &dictionary.selection {
            Selection::Threshold(thresholds) => dictionary.b_enc[f] - thresholds[f].max(0.0),
            _ => dictionary.b_enc[f],
        };
        panels.pack(&dictionary.w_enc, &fold, bias);
        use_large_pages(&dictionary.w_enc);
        let chunks_at_once = (rows_at_once(dictionary.d_in) / CHUNK_ROWS).max(1);
        Self { dictionary, fold, panels, instructions, chunks_at_once }
    }

    /// The codes of `x[n, d]`.
    pub(super) fn encode(&self, x: &[f32]) -> Codes {
        let Self { dictionary, chunks_at_once, .. } = self;
        let (d, spare, subtracted) = (dictionary.d_in, Spare::<Buffer>::default(), dictionary.subtracted());
        let width = CHUNK_ROWS * d;
        let (mut centred, mut listed, mut products) = (Vec::new(), Listed::default(), Vec::new());
        let mut codes = Vec::with_capacity(x.len().div_ceil(width));
        for x in x.chunks(chunks_at_once * width) {
            memory::resize(&mut centred, x.len(), 0.0);
            (centred.par_chunks_mut(width), x.par_chunks(width))
                .into_par_iter()
                .for_each(|(centred, x)| centre(centred, x, &subtracted));
            let chunks: Vec<Option<Lists>> = centred
                .par_chunks(width)
                .map(|rows| {
                    let mut buffer = spare.take();
                    let lists = self.list(rows, &mut buffer);
                    spare.give(buffer);
                    lists
                })
                .collect();
            // Chunks that list too much are encoded otherwise.
            let nothing = Lists::default();
            let lists: Vec<&Lists> = chunks.iter().map(|lists| lists.as_ref().unwrap_or(&nothing)).collect();
            listed.set(dictionary.d_sae, &lists, CHUNK_ROWS);
            listed.dots(&mut products, &centred, &dictionary.w_enc, d);
            codes.par_extend(x.par_chunks(width).zip(&chunks).enumerate().map(|(i, (x, lists))| {
                let Some(lists) = lists else { return dictionary.encode_exact(x) };
                let mut buffer = spare.take();
                let codes = self.select(lists, |row| listed.places(i, lists, row), &products, &mut buffer);
                spare.give(buffer);
                codes
            }));
        }
        Codes::concatenate(&codes)
    }

    /// The candidates of a chunk's rows; none if there are so many that products in `f32` are faster.
    fn list(&self, centred: &[f32], buffer: &mut Buffer) -> Option<Lists> {
        let Self { dictionary, fold, panels, instructions, .. } = self;
        buffer.rows.set(centred, fold, ROWS);
        let n = buffer.rows.len();
        let pairs = Pairs::plain(&buffer.rows, panels);
        match dictionary.selection {
            Selection::TopK(k) => buffer.shortlist.find(pairs, k, *instructions),
            Selection::Threshold(_) => {
                buffer.shortlist.find_all(pairs, n * dictionary.d_sae, 0.0, *instructions);
            }
            // `Search::new` does not take these.
            _ => return None,
        }
        let mut lists = Lists::default();
        (0..n).for_each(|i| lists.push_row(buffer.shortlist.row(i)));
        (lists.len() * DENSE <= n * dictionary.d_sae).then_some(lists)
    }

    /// The codes of a chunk from what its rows list; `places` says where the products of a row are.
    fn select<'p>(
        &self,
        lists: &Lists,
        places: impl Fn(usize) -> &'p [usize],
        products: &[f32],
        buffer: &mut Buffer,
    ) -> Codes {
        let mut codes = Codes::default();
        for (row, features) in lists.rows().enumerate() {
            let with_bias =
                |(&place, &f): (&usize, &u32)| products[place] + self.dictionary.b_enc[f as usize];
            buffer.scores.clear();
            buffer.scores.extend(places(row).iter().zip(features).map(with_bias));
            self.dictionary.select_listed(features, buffer, &mut codes);
        }
        codes
    }
}

impl Dictionary {
    /// Adds a row: what is selected of the candidates `listed` with pre-activations `buffer.scores`.
    fn select_listed(&self, listed: &[u32], buffer: &mut Buffer, codes: &mut Codes) {
        let Buffer { scores, zeros, candidates, features, values, .. } = buffer;
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
                for (&z, &f) in scores.iter().zip(listed) {
                    if z > thresholds[f as usize].max(0.0) {
                        codes.features.push(f);
                        codes.values.push(z);
                    }
                }
                codes.offsets.push(codes.features.len());
            }
            _ => codes.push_row(&[], &[]),
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
            if let Some(mut search) = Search::new(&dictionary, &x) {
                search.chunks_at_once = 2;
                assert_eq!(search.encode(&x), fast, "chunk by chunk");
            }
        }
    }
}

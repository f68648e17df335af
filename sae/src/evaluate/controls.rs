//! Dictionaries that nothing trained, or that were spoilt on purpose: what a figure is worth shows next to them.

use kernels::chance::{Purpose, generator, normal, shuffle};
use kernels::encode::{centre, products};
use kernels::gather::add_rows;
use kernels::reduce;
use kernels::topk::{self, Candidates};
use kernels::wide::scale_to_unit;

use crate::dictionary::{Dictionary, DictionaryInfo, Normalisation, Selection};

/// Where streams of random numbers for rows and orders begin, apart from those of directions in prompts.
const ROWS: u64 = 1 << 40;
const ORDER: u64 = 2 << 40;

/// The k coordinates that are farthest from their means. As with components, every dimension is two features, +e and −e.
pub fn raw_largest(mean: &[f32], k: usize) -> Dictionary {
    let d = mean.len();
    let mut rows = vec![0.0; 2 * d * d];
    for c in 0..d {
        rows[2 * c * d + c] = 1.0;
        rows[(2 * c + 1) * d + c] = -1.0;
    }
    tied(rows, 1.0, mean, k)
}

/// `features` random directions of norm 1, of which a token takes the k best. The encoder has the one norm that reconstructs `sample[n, d]`
/// best: without it codes would overlap to something many times as long as the token.
pub fn random_rows(mean: &[f32], sample: &[f32], features: usize, k: usize, seed: u64) -> Dictionary {
    let (d, k) = (mean.len(), k.min(features));
    let mut rows = vec![0.0; features * d];
    for (f, row) in rows.chunks_exact_mut(d).enumerate() {
        let mut rng = generator(seed, Purpose::Controls, ROWS + f as u64, 0);
        row.fill_with(|| normal(&mut rng));
        scale_to_unit(row);
    }
    let norm = best_norm(&rows, mean, sample, k);
    tied(rows, norm, mean, k)
}

/// `dictionary` with its decoder rows in an order drawn by `seed`.
pub fn permuted(dictionary: &Dictionary, seed: u64) -> Dictionary {
    let d = dictionary.d_out();
    let mut order: Vec<usize> = (0..dictionary.d_sae).collect();
    shuffle(&mut order, &mut generator(seed, Purpose::Controls, ORDER, 0));
    let rows = order.iter().flat_map(|&f| dictionary.decoder_row(f).iter().copied()).collect();
    debug_assert_eq!(dictionary.w_dec.len(), dictionary.d_sae * d);
    Dictionary { w_dec: rows, ..dictionary.clone() }
}

fn tied(w_dec: Vec<f32>, norm: f32, mean: &[f32], k: usize) -> Dictionary {
    let (d, features) = (mean.len(), w_dec.len() / mean.len());
    Dictionary {
        d_in: d,
        d_sae: features,
        w_enc: w_dec.iter().map(|w| norm * w).collect(),
        b_enc: vec![0.0; features],
        w_dec,
        b_dec: mean.to_vec(),
        selection: Selection::TopK(k.min(features)),
        prune_below: None,
        normalisation: Normalisation::None,
        target: None,
        info: DictionaryInfo::default(),
    }
}

/// The `s` at which `Σ ‖x − m − s·x̂‖²` is least, with x̂ the sum of a token's k largest projections on unit rows.
fn best_norm(rows: &[f32], mean: &[f32], sample: &[f32], k: usize) -> f32 {
    let d = mean.len();
    let (mut centred, mut z, mut reconstruction) = (vec![0.0; sample.len()], Vec::new(), vec![0.0; d]);
    let (mut features, mut codes, mut candidates) = (vec![0; k], vec![0.0; k], Candidates::default());
    let biases = vec![0.0; rows.len() / d];
    centre(&mut centred, sample, mean);
    products(&mut z, &centred, rows, d);
    let (mut along, mut squares) = (0.0, 0.0);
    for z in z.chunks_exact(biases.len()) {
        let n = topk::select(z, &biases, k, &mut candidates, &mut features, &mut codes);
        reconstruction.fill(0.0);
        add_rows(&mut reconstruction, rows, &features[..n], &codes[..n]);
        // A code is ⟨x − m, w⟩ itself.
        along += reduce::sum_of_squares(&codes[..n]);
        squares += reduce::sum_of_squares(&reconstruction);
    }
    if squares > 0.0 { (along / squares) as f32 } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(n: usize, d: usize) -> Vec<f32> {
        let mut rng = generator(3, Purpose::Samples, 0, 0);
        (0..n * d).map(|_| normal(&mut rng) + 0.5).collect()
    }

    fn error(dictionary: &Dictionary, x: &[f32]) -> f64 {
        let x_hat = dictionary.decode(&dictionary.encode(x));
        x.iter().zip(&x_hat).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum()
    }

    #[test]
    fn raw_dimensions_keep_the_farthest_coordinates_as_they_are() {
        let (d, k) = (9, 3);
        let x = sample(20, d);
        let mean = vec![0.5; d];
        let dictionary = raw_largest(&mean, k);
        let x_hat = dictionary.decode(&dictionary.encode(&x));
        for (x, x_hat) in x.chunks(d).zip(x_hat.chunks(d)) {
            let mut order: Vec<usize> = (0..d).collect();
            order.sort_by(|&a, &b| (x[b] - 0.5).abs().total_cmp(&(x[a] - 0.5).abs()));
            for (rank, &c) in order.iter().enumerate() {
                let expected = if rank < k { x[c] } else { 0.5 };
                assert!((x_hat[c] - expected).abs() < 1e-6, "{x:?} {x_hat:?}");
            }
        }
    }

    #[test]
    fn random_rows_have_the_norm_that_reconstructs_best_and_a_permutation_keeps_the_codes() {
        let (d, features, k) = (12, 80, 5);
        let x = sample(200, d);
        let dictionary = random_rows(&vec![0.5; d], &x, features, k, 1);
        let least = error(&dictionary, &x);
        for factor in [0.9, 0.98, 1.02, 1.1] {
            let mut other = dictionary.clone();
            other.w_enc.iter_mut().for_each(|w| *w *= factor);
            assert!(error(&other, &x) > least, "{factor}");
        }
        let spoilt = permuted(&dictionary, 1);
        assert_eq!(spoilt.encode(&x), dictionary.encode(&x));
        assert!(error(&spoilt, &x) > 1.2 * least);
        let sorted = |dictionary: &Dictionary| {
            let mut rows: Vec<Vec<u32>> =
                dictionary.w_dec.chunks(d).map(|row| row.iter().map(|w| w.to_bits()).collect()).collect();
            rows.sort();
            rows
        };
        assert!(sorted(&spoilt) == sorted(&dictionary) && spoilt.w_dec != dictionary.w_dec);
    }
}

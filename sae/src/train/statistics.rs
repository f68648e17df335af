//! What is measured once, before the first step, on a sample of training rows.

use serde::{Deserialize, Serialize};

use super::InputNormalisation;
use crate::{Error, Result};
use kernels::{median, reduce};

/// Rows of the sample, as in Gao et al. (2024).
pub(crate) const SAMPLE_ROWS: usize = 32768;
/// Weiszfeld's iteration ends when a step is this share of the mean distance.
const MEDIAN_TOLERANCE: f64 = 1e-5;
const MEDIAN_ITERATIONS: usize = 100;

/// Measured on raw activations; part of every checkpoint. All f32: JSON brings those back to the bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Statistics {
    /// What activations are multiplied by.
    pub(crate) input_scale: f32,
    /// Mean of ‖x − mean(x)‖² after scaling.
    pub(crate) input_variance: f32,
    /// Rows with a raw norm above this are left out.
    pub(crate) norm_limit: Option<f32>,
    /// Root mean square of each dimension of x − b_dec after scaling, `[d]`; runs of earlier versions do not have it.
    #[serde(default)]
    pub(crate) rms: Vec<f32>,
}

/// Measures `sample[n, d]`, scales it in place, and returns its geometric median `[d]` (the first `b_dec`) as well.
pub(crate) fn measure(
    sample: &mut [f32],
    d: usize,
    normalisation: InputNormalisation,
    norm_multiple: Option<f32>,
) -> Result<(Statistics, Vec<f32>)> {
    let rows = sample.len() / d;
    let squares = reduce::sum_of_squares(sample);
    if rows == 0 || squares == 0.0 {
        return Err(Error::data(format!(
            "all {rows} sampled activations are 0; harvest another hook, or look at the dataset with `sae inspect`"
        )));
    }
    let norm_limit = norm_multiple.map(|multiple| multiple * median_norm(sample, d));
    let input_scale = match normalisation {
        InputNormalisation::None => 1.0,
        InputNormalisation::MeanSquare => (d as f64 * rows as f64 / squares).sqrt() as f32,
    };
    sample.iter_mut().for_each(|x| *x *= input_scale);
    let mut columns = vec![0.0; d];
    reduce::add_column_sums(&mut columns, sample);
    let centred = reduce::centred_sum_of_squares(rows as u64, &columns, reduce::sum_of_squares(sample));
    let median = median::geometric(sample, d, MEDIAN_TOLERANCE, MEDIAN_ITERATIONS).point;
    let input_variance = (centred / rows as f64) as f32;
    let rms = root_mean_squares(sample, &median);
    Ok((Statistics { input_scale, input_variance, norm_limit, rms }, median))
}

/// Of each dimension of `sample[n, d] − centre[d]`.
fn root_mean_squares(sample: &[f32], centre: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; centre.len()];
    for row in sample.chunks_exact(centre.len()) {
        for ((sum, x), c) in sums.iter_mut().zip(row).zip(centre) {
            *sum += f64::from(x - c).powi(2);
        }
    }
    let rows = (sample.len() / centre.len()) as f64;
    sums.into_iter().map(|sum| (sum / rows).sqrt() as f32).collect()
}

fn median_norm(sample: &[f32], d: usize) -> f32 {
    let mut norms: Vec<f64> = sample.chunks_exact(d).map(reduce::sum_of_squares).collect();
    let middle = norms.len() / 2;
    let (_, median, _) = norms.select_nth_unstable_by(middle, f64::total_cmp);
    median.sqrt() as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scaling_makes_the_mean_square_d() {
        let mut sample: Vec<f32> = (0..300).map(|i| ((i * 7) % 31) as f32 * 3.0).collect();
        let raw = sample.clone();
        let (statistics, median) =
            measure(&mut sample, 3, InputNormalisation::MeanSquare, Some(4.0)).unwrap();
        assert!((reduce::sum_of_squares(&sample) / 100.0 - 3.0).abs() < 1e-4);
        assert!((sample[5] - raw[5] * statistics.input_scale).abs() < 1e-6);
        assert!(statistics.input_variance > 0.0 && statistics.input_variance < 3.0);
        let mut norms: Vec<f64> = raw.chunks(3).map(|r| reduce::sum_of_squares(r).sqrt()).collect();
        norms.sort_by(f64::total_cmp);
        assert!((f64::from(statistics.norm_limit.unwrap()) - 4.0 * norms[50]).abs() < 1e-3);
        assert_eq!((median.len(), statistics.rms.len()), (3, 3));
        let squares: f64 = sample.chunks(3).map(|r| f64::from(r[1] - median[1]).powi(2)).sum();
        assert!((f64::from(statistics.rms[1]) - (squares / 100.0).sqrt()).abs() < 1e-5);
        let mut raw = raw;
        let (plain, _) = measure(&mut raw, 3, InputNormalisation::None, None).unwrap();
        assert_eq!((plain.input_scale, plain.norm_limit), (1.0, None));
    }

    #[test]
    fn zeros_are_refused() {
        let message = measure(&mut [0.0; 12], 3, InputNormalisation::None, None).unwrap_err().to_string();
        assert!(message.contains("all 4 sampled activations are 0"), "{message}");
    }
}

//! What is measured once, before the first step, on a sample of training rows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use storage::whitening::Whitening;

use super::InputNormalisation;
use crate::whiten::{self, Moments};
use crate::{Error, Result};
use kernels::feature::norm_squared;
use kernels::{median, reduce};

/// Rows of the sample, as in Gao et al. (2024).
pub const SAMPLE_ROWS: usize = 32768;
/// Weiszfeld's iteration ends when a step is this share of the mean distance.
const MEDIAN_TOLERANCE: f64 = 1e-5;
const MEDIAN_ITERATIONS: usize = 100;
/// γ above which the input is measured about its mean.
const LARGE_MEAN: f64 = 10.0;
/// How many times farther the norms of targets may reach than those of inputs. What an MLP writes has long tails: in the model inside the
/// program one token in a hundred is above 10 times the median of layer 1, and none above 36 times. A sink of attention is far beyond:
/// 800 to 1,000 times at layer 11 of SmolLM2-135M.
const TARGET_TAIL: f32 = 10.0;
/// Share of the energy that varies below which rows count as the same: what rounding leaves of a constant.
const SAME: f64 = 1e-13;

/// Measured on raw activations; part of every checkpoint. All f32: JSON brings those back to the bit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Statistics {
    /// What activations are multiplied by.
    pub input_scale: f32,
    /// Mean of ‖x − mean(x)‖² after scaling.
    pub input_variance: f32,
    /// Rows with a raw norm above this are left out.
    pub norm_limit: Option<f32>,
    /// Root mean square of each dimension of x − b_dec after scaling, `[d]`; runs of earlier versions do not have it.
    #[serde(default)]
    pub rms: Vec<f32>,
    /// γ = ‖μ‖/‖σ‖: norm of the mean over root mean square of ‖x − mean(x)‖; runs of earlier versions do not have it.
    #[serde(default)]
    pub mean_ratio: f32,
    /// What rows are whitened by before they are scaled; in the tensors of a checkpoint, not in its JSON.
    #[serde(skip)]
    pub whitening: Option<Arc<Whitening>>,
    /// Of a transcoder: what is measured of its target. `input_variance` is then that of the target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<TargetStatistics>,
    /// Of a cross-layer transcoder: the same of every layer after the first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<Statistics>,
}

impl Statistics {
    /// How many layers a cross-layer transcoder has; 1 for anything else.
    pub fn layers(&self) -> usize {
        1 + self.later.len()
    }

    /// Those of every layer.
    pub fn each(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.later)
    }
}

/// What is measured before a transcoder is trained. It learns y · `scale` from (x − `input_shift`) · `input_scale`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetStatistics {
    /// What targets are multiplied by.
    pub scale: f32,
    /// Geometric median of the input, `[d]`: what an SAE's decoder bias takes off.
    pub input_shift: Vec<f32>,
    /// Rows whose raw target has a norm above this are left out. The input of an MLP has passed a norm, so that of a sink of attention
    /// looks like any other; what the MLP writes there is many times as long as anywhere else, and would be all that is learned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub norm_limit: Option<f32>,
}

/// Measures `sample[n, d]`, drops the rows above the norm limit from it and scales the others in place, and returns their geometric
/// median `[d]` (the first `b_dec`) as well. Everything but the limit is measured on the rows that are trained on.
///
/// # Errors
/// If there is nothing that a dictionary could learn: all rows are 0, or all are the same.
pub fn measure(
    sample: &mut Vec<f32>,
    d: usize,
    normalisation: InputNormalisation,
    norm_multiple: Option<f32>,
) -> Result<(Statistics, Vec<f32>)> {
    let norm_limit = norm_multiple.and_then(|multiple| Some(multiple * median_norm(sample, d)?));
    if let Some(limit) = norm_limit {
        keep_within(sample, d, limit);
    }
    let rows = sample.len() / d;
    let squares = reduce::sum_of_squares(sample);
    if rows == 0 || squares == 0.0 {
        return Err(Error::data(format!("all {rows} sampled activations are 0"))
            .with_remedy("harvest a different hook, or look at the dataset with `sae inspect`"));
    }
    let spread = spread(sample, d, squares);
    if spread <= SAME * squares {
        return Err(Error::data(format!(
            "all {rows} sampled activations are the same vector; expected some that differ"
        ))
        .with_remedy("harvest a different hook, or look at the dataset with `sae inspect`"));
    }
    let mean_ratio = ((squares - spread).max(0.0) / spread).sqrt();
    let whitening = match normalisation {
        InputNormalisation::Whiten => Some(whiten(sample, d)?),
        _ => None,
    };
    // A constant far larger than what varies does not measure the input: b_dec takes it away.
    let energy = match whitening {
        Some(_) => reduce::sum_of_squares(sample),
        None if mean_ratio > LARGE_MEAN => spread,
        None => squares,
    };
    let input_scale = match normalisation {
        InputNormalisation::None => 1.0,
        InputNormalisation::MeanSquare | InputNormalisation::Whiten => {
            (d as f64 * rows as f64 / energy).sqrt() as f32
        }
    };
    sample.iter_mut().for_each(|x| *x *= input_scale);
    let centred = self::spread(sample, d, reduce::sum_of_squares(sample));
    let median = median::geometric(sample, d, MEDIAN_TOLERANCE, MEDIAN_ITERATIONS).point;
    let input_variance = (centred / rows as f64) as f32;
    let rms = root_mean_squares(sample, &median);
    let statistics = Statistics {
        input_scale,
        input_variance,
        norm_limit,
        rms,
        mean_ratio: mean_ratio as f32,
        whitening: whitening.map(Arc::new),
        target: None,
        later: Vec::new(),
    };
    Ok((statistics, median))
}

/// Whitens `sample[n, d]` by its own covariance.
fn whiten(sample: &mut [f32], d: usize) -> Result<Whitening> {
    let rows = sample.len() / d;
    if rows <= d {
        return Err(Error::request(format!(
            "input_normalisation is whiten, but there are {rows} rows to measure the covariance of {d} numbers; expected more rows \
             than numbers"
        ))
        .with_remedy("harvest more tokens, or leave input_normalisation out"));
    }
    let mut moments = Moments::new(d);
    moments.add(sample);
    let (mean, covariance) = moments.finish();
    let found = whiten::zca(&mean, &covariance, whiten::FLOOR, || false);
    let whitening = found.ok_or_else(|| Error::stopped("the covariance was not decomposed"))?;
    whiten::apply(&whitening, sample);
    Ok(whitening)
}

/// The same for a transcoder, of `sample[n, 2d]`: inputs, each followed by its target. Both have a limit. The median is that of the target.
///
/// # Errors
/// As [`measure`], of the input or the target.
pub fn measure_pairs(
    sample: &[f32],
    d: usize,
    normalisation: InputNormalisation,
    norm_multiple: Option<f32>,
) -> Result<(Statistics, Vec<f32>)> {
    let half =
        |i: usize| sample.chunks_exact(2 * d).flat_map(|row| &row[i * d..(i + 1) * d]).copied().collect();
    let (mut inputs, mut targets): (Vec<f32>, Vec<f32>) = (half(0), half(1));
    let limit = |rows: &[f32], tail: f32| {
        norm_multiple.and_then(|multiple| Some(tail * multiple * median_norm(rows, d)?))
    };
    let limits = [limit(&inputs, 1.0), limit(&targets, TARGET_TAIL)];
    if norm_multiple.is_some() {
        // What is trained on: the same test as in `batches`.
        let within = |row: &&[f32]| {
            let mut halves = row.chunks_exact(d).zip(&limits);
            halves.all(|(half, limit)| limit.is_none_or(|limit| norm_squared(half).sqrt() <= limit))
        };
        let kept: Vec<&[f32]> = sample.chunks_exact(2 * d).filter(within).collect();
        inputs = kept.iter().flat_map(|row| &row[..d]).copied().collect();
        targets = kept.iter().flat_map(|row| &row[d..]).copied().collect();
    }
    let (input, median) = measure(&mut inputs, d, normalisation, None)?;
    let (target, b_dec) = measure(&mut targets, d, normalisation, None)
        .map_err(|error| error.within("the target's dataset"))?;
    let shift = median.iter().map(|x| x / input.input_scale).collect();
    let about = TargetStatistics { scale: target.input_scale, input_shift: shift, norm_limit: limits[1] };
    let (input_variance, norm_limit) = (target.input_variance, limits[0]);
    Ok((Statistics { input_variance, norm_limit, target: Some(about), ..input }, b_dec))
}

/// The same for a cross-layer transcoder, of `sample[n, 2 · layers · d]`: what all layers read, followed by what they write. Every layer has
/// statistics of its own; a row that is above the limit of any layer, in what is read or what is written, is left out of all. The medians are those of all targets, `[layers · d]`.
///
/// # Errors
/// As [`measure_pairs`], with the layer.
pub fn measure_layers(
    sample: &[f32],
    (layers, d): (usize, usize),
    normalisation: InputNormalisation,
    norm_multiple: Option<f32>,
) -> Result<(Statistics, Vec<f32>)> {
    let width = 2 * layers * d;
    let at = |row: &[f32], part: usize| row[part * d..(part + 1) * d].to_vec();
    let limit = |part: usize, tail: f32| {
        let values: Vec<f32> = sample.chunks_exact(width).flat_map(|row| at(row, part)).collect();
        norm_multiple.and_then(|multiple| Some(tail * multiple * median_norm(&values, d)?))
    };
    let tail = |part: usize| if part < layers { 1.0 } else { TARGET_TAIL };
    // Of what each layer reads, then of what each writes.
    let limits: Vec<Option<f32>> = (0..2 * layers).map(|part| limit(part, tail(part))).collect();
    let within = |row: &&[f32]| {
        let mut parts = row.chunks_exact(d).zip(&limits);
        parts.all(|(x, limit)| limit.is_none_or(|limit| norm_squared(x).sqrt() <= limit))
    };
    let kept: Vec<&[f32]> = sample.chunks_exact(width).filter(within).collect();
    let (mut all, mut b_dec) = (Vec::with_capacity(layers), Vec::with_capacity(layers * d));
    for layer in 0..layers {
        let pair = |row: &&[f32]| [at(row, layer), at(row, layers + layer)].concat();
        let pairs: Vec<f32> = kept.iter().flat_map(pair).collect();
        let measured = measure_pairs(&pairs, d, normalisation, None);
        let (mut statistics, median) =
            measured.map_err(|error| error.within(format_args!("layer {layer}")))?;
        statistics.norm_limit = limits[layer];
        if let Some(target) = &mut statistics.target {
            target.norm_limit = limits[layers + layer];
        }
        all.push(statistics);
        b_dec.extend(median);
    }
    let later = all.split_off(1);
    let first = all.pop().ok_or_else(|| Error::data("there is no layer to measure"))?;
    Ok((Statistics { later, ..first }, b_dec))
}

/// `Σ ‖x − mean x‖²` of `sample[n, d]`, whose `Σ ‖x‖²` is `squares`.
fn spread(sample: &[f32], d: usize, squares: f64) -> f64 {
    let mut columns = vec![0.0; d];
    reduce::add_column_sums(&mut columns, sample);
    reduce::centred_sum_of_squares((sample.len() / d) as u64, &columns, squares)
}

/// Removes rows with a norm above `limit` from `sample[n, d]`.
fn keep_within(sample: &mut Vec<f32>, d: usize, limit: f32) {
    let mut kept = 0;
    for row in 0..sample.len() / d {
        // The same test as in `batches`.
        if norm_squared(&sample[row * d..(row + 1) * d]).sqrt() > limit {
            continue;
        }
        sample.copy_within(row * d..(row + 1) * d, kept * d);
        kept += 1;
    }
    sample.truncate(kept * d);
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

/// The median norm of the rows that are not 0; none if all are.
fn median_norm(sample: &[f32], d: usize) -> Option<f32> {
    let mut norms: Vec<f64> =
        sample.chunks_exact(d).map(reduce::sum_of_squares).filter(|n| *n > 0.0).collect();
    let middle = norms.len() / 2;
    if norms.is_empty() {
        return None;
    }
    let (_, median, _) = norms.select_nth_unstable_by(middle, f64::total_cmp);
    Some(median.sqrt() as f32)
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
        let message = measure(&mut vec![0.0; 12], 3, InputNormalisation::None, None).unwrap_err().to_string();
        assert!(message.contains("all 4 sampled activations are 0"), "{message}");
    }

    #[test]
    fn a_constant_is_refused() {
        let mut sample: Vec<f32> = [0.1, -70.3, 2.5].repeat(500);
        let message = measure(&mut sample, 3, InputNormalisation::MeanSquare, Some(10.0)).unwrap_err();
        assert!(message.to_string().contains("all 500 sampled activations are the same"), "{message}");
    }

    fn rows(n: usize) -> Vec<f32> {
        (0..3 * n).map(|i| ((i * 7919) % 101) as f32 / 25.0 - 2.0).collect()
    }

    #[test]
    fn rows_of_huge_norm_change_no_bit() {
        let clean = rows(400);
        let mut with = clean.clone();
        for place in [700, 200, 0] {
            with.splice(3 * place / 2 / 3 * 3..3 * place / 2 / 3 * 3, [900.0, -20.0, 800.0]);
        }
        // One row that even the square of the norm of overflows.
        with.extend([3e30, 0.0, 0.0]);
        let measured = |mut sample: Vec<f32>| {
            let measured = measure(&mut sample, 3, InputNormalisation::MeanSquare, Some(10.0)).unwrap();
            (sample, measured)
        };
        let ((a, (mut clean, b_dec)), (b, (spoilt, other))) = (measured(clean), measured(with));
        // The median norm itself may move by a place.
        assert!((clean.norm_limit.unwrap() / spoilt.norm_limit.unwrap() - 1.0).abs() < 0.02);
        clean.norm_limit = spoilt.norm_limit;
        assert!(a == b && clean == spoilt && b_dec == other);
    }

    #[test]
    fn a_transcoder_learns_nothing_from_sinks() {
        let pairs: Vec<f32> =
            rows(400).chunks(3).flat_map(|x| [x[0], x[1], x[2], x[2], 1.0 - x[0], x[1]]).collect();
        let mut with = pairs.clone();
        // What is read looks like anything else; what is written does not.
        for place in [300, 40, 0] {
            with.splice(6 * place..6 * place, [0.5, -1.0, 1.5, 700.0, 0.0, -900.0]);
        }
        let measured =
            |sample: &[f32]| measure_pairs(sample, 3, InputNormalisation::MeanSquare, Some(10.0)).unwrap();
        let ((mut clean, b_dec), (spoilt, other)) = (measured(&pairs), measured(&with));
        let limit = |statistics: &Statistics| statistics.target.as_ref().unwrap().norm_limit.unwrap();
        assert!((limit(&clean) / limit(&spoilt) - 1.0).abs() < 0.05);
        clean.norm_limit = spoilt.norm_limit;
        clean.target.as_mut().unwrap().norm_limit = Some(limit(&spoilt));
        assert!(clean == spoilt && b_dec == other);
    }

    #[test]
    fn a_huge_constant_leaves_the_scale_of_what_varies() {
        let plain = measure(&mut rows(400), 3, InputNormalisation::MeanSquare, Some(10.0)).unwrap().0;
        assert!(plain.mean_ratio < 1.0, "{plain:?}");
        let mut shifted: Vec<f32> = rows(400).chunks(3).flat_map(|r| [r[0] + 300.0, r[1], r[2]]).collect();
        let (statistics, b_dec) =
            measure(&mut shifted, 3, InputNormalisation::MeanSquare, Some(10.0)).unwrap();
        assert!(statistics.mean_ratio > 100.0);
        assert!((statistics.input_scale / plain.input_scale - 1.0).abs() < 0.05, "{statistics:?}");
        assert!((statistics.input_variance - 3.0).abs() < 0.01);
        assert!((b_dec[0] / statistics.input_scale - 300.0).abs() < 1.0);
    }

    #[test]
    fn the_limit_is_measured_on_rows_that_are_not_zero() {
        let mut sample = rows(50);
        sample.extend(vec![0.0; 3 * 60]);
        let (statistics, _) = measure(&mut sample, 3, InputNormalisation::None, Some(10.0)).unwrap();
        assert!(statistics.norm_limit.unwrap() > 5.0);
        assert_eq!(sample.len(), 3 * 110);
    }
}

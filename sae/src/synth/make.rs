//! Making a world.

use rayon::prelude::*;

use kernels::chance::{Purpose, generator, normal};
use kernels::gemm::{Mat, MatMut, WriteMode};
use kernels::product::{RightFactor, multiply};
use kernels::wide::{norm, scale_to_unit};

use super::forest::Forest;
use super::{World, WorldOptions, magnitudes, threshold};
use crate::{Error, Progress, Result};

/// Variance of its own that every feature keeps.
const OWN_VARIANCE: f64 = 0.01;
/// Rows of a partial sum of DᵀD; sums are added in order, so no bit depends on the number of threads.
const ROWS: usize = 1024;
/// Rows of D that a task works on.
const TASK_ROWS: usize = 64;

/// What of a world a random number is for.
#[derive(Clone, Copy)]
enum Part {
    Directions = 0,
    Correlations = 1,
    Bias = 2,
}

/// `count` normal numbers for `feature`.
fn draw(seed: u32, part: Part, feature: usize, count: usize) -> Vec<f32> {
    let mut rng = generator(u64::from(seed), Purpose::WorldParts, part as u64, feature as u64);
    (0..count).map(|_| normal(&mut rng)).collect()
}

impl World {
    /// Makes the world of `options`.
    ///
    /// # Errors
    /// As [`WorldOptions::check`]; [`Error::Stopped`].
    pub fn make(options: &WorldOptions, progress: &mut dyn Progress) -> Result<Self> {
        options.check()?;
        let (n, d, seed) = (options.features, options.d, options.seed);
        let forest = match &options.hierarchy {
            Some(hierarchy) => Forest::grown(n, hierarchy),
            None => Forest::none(n),
        };
        let probabilities = options.corrected(&forest)?;
        let (factor, variances) = correlations(options);
        let mut bias = draw(seed, Part::Bias, 0, d);
        scale_to_unit(&mut bias);
        bias.iter_mut().for_each(|x| *x *= options.bias);
        let [mean, std] = options.deviations;
        Ok(Self {
            d,
            directions: directions(options, progress)?,
            bias,
            thresholds: probabilities.iter().map(|&p| threshold::firing(p)).collect(),
            probabilities,
            means: magnitudes::linear(n, options.means[0], options.means[1]),
            deviations: magnitudes::folded_normal(n, mean, std, seed.wrapping_add(1)),
            rank: options.rank,
            factor,
            own: variances.iter().map(|v| v.sqrt()).collect(),
            variances,
            forest,
            config: options.config(),
        })
    }
}

/// The correlations' factor `[n, rank]` and what variance is left to each feature, `[n]`.
fn correlations(options: &WorldOptions) -> (Vec<f32>, Vec<f32>) {
    if options.rank == 0 {
        return (Vec::new(), vec![1.0; options.features]);
    }
    let rows = (0..options.features).into_par_iter().map(|feature| {
        let mut row = draw(options.seed, Part::Correlations, feature, options.rank);
        row.iter_mut().for_each(|x| *x *= options.correlation_scale);
        let shared = norm(&row).powi(2);
        if shared > 1.0 - OWN_VARIANCE {
            let scale = ((1.0 - OWN_VARIANCE) / shared).sqrt() as f32;
            row.iter_mut().for_each(|x| *x *= scale);
        }
        let own = (1.0 - norm(&row).powi(2)) as f32;
        (row, own)
    });
    let (factor, variances): (Vec<Vec<f32>>, Vec<f32>) = rows.unzip();
    (factor.concat(), variances)
}

/// Random unit directions `[n, d]`, made less alike by Adam on Σ_{i≠j} (d_i·d_j)² + n Σ (‖d_i‖² − 1)².
fn directions(options: &WorldOptions, progress: &mut dyn Progress) -> Result<Vec<f32>> {
    let (n, d) = (options.features, options.d);
    let mut rows = vec![0.0; n * d];
    rows.par_chunks_mut(d).enumerate().for_each(|(feature, row)| {
        row.copy_from_slice(&draw(options.seed, Part::Directions, feature, d));
        scale_to_unit(row);
    });
    let steps = options.orthogonal_steps as u64;
    progress.begin("directions", Some(steps), "steps");
    let (mut first, mut second) = (vec![0.0; n * d], vec![0.0; n * d]);
    for step in 1..=steps {
        let slopes = gradient(&rows, d);
        adam(&mut rows, &slopes, (&mut first, &mut second), options.orthogonal_rate, step);
        progress.advance(step, "");
        if progress.stop_requested() {
            return Err(Error::stopped("no world was written"));
        }
    }
    rows.par_chunks_mut(d).for_each(scale_to_unit);
    progress.end(&format!("{n} directions in {d} dimensions"));
    Ok(rows)
}

/// The gradient `[n, d]` of the overlap of `rows[n, d]`. As Σ_{i≠j} (d_i·d_j)² is ‖DᵀD‖² − Σ ‖d_i‖⁴, it is
/// 4 (D·G − s∘D) + 4 n (s − 1)∘D with G = DᵀD and s_i = ‖d_i‖²: the n by n matrix of products is never made.
fn gradient(rows: &[f32], d: usize) -> Vec<f32> {
    let n = rows.len() / d;
    let parts: Vec<Vec<f32>> = rows
        .par_chunks(ROWS * d)
        .map(|part| {
            let (mat, mut sum) = (Mat::new(part, part.len() / d, d), vec![0.0; d * d]);
            multiply(
                mat.t(),
                &RightFactor::plain(mat),
                1.0,
                WriteMode::Overwrite,
                MatMut::new(&mut sum, d, d),
            );
            sum
        })
        .collect();
    let mut products = vec![0.0; d * d];
    for part in parts {
        products.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
    }
    let panels = kernels::product::panels(Mat::new(&products, d, d));
    let right = RightFactor::packed(Mat::new(&products, d, d), &panels);
    let mut slopes = vec![0.0; n * d];
    slopes.par_chunks_mut(TASK_ROWS * d).zip(rows.par_chunks(TASK_ROWS * d)).for_each(|(out, part)| {
        let count = part.len() / d;
        multiply(Mat::new(part, count, d), &right, 4.0, WriteMode::Overwrite, MatMut::new(out, count, d));
        for (out, row) in out.chunks_exact_mut(d).zip(part.chunks_exact(d)) {
            let squared = norm(row).powi(2);
            let factor = (4.0 * n as f64 * (squared - 1.0) - 4.0 * squared) as f32;
            out.iter_mut().zip(row).for_each(|(out, x)| *out += factor * x);
        }
    });
    slopes
}

/// One step of Adam with the usual decays (0.9, 0.999).
fn adam(rows: &mut [f32], slopes: &[f32], moments: (&mut [f32], &mut [f32]), rate: f32, step: u64) {
    let (one, two) = (1.0 - 0.9_f64.powi(step as i32), 1.0 - 0.999_f64.powi(step as i32));
    let (one, two) = (one as f32, two as f32);
    let all = rows.par_iter_mut().zip(slopes).zip(moments.0).zip(moments.1);
    all.for_each(|(((x, g), m), v)| {
        *m = 0.9 * *m + 0.1 * g;
        *v = 0.999 * *v + 0.001 * g * g;
        *x -= rate * (*m / one) / ((*v / two).sqrt() + 1e-8);
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The objective as it is written, pair by pair in f64.
    fn objective(rows: &[f64], d: usize) -> f64 {
        let n = rows.len() / d;
        let row = |i: usize| &rows[i * d..(i + 1) * d];
        let dot = |i: usize, j: usize| row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum::<f64>();
        let pairs: f64 =
            (0..n).map(|i| (0..n).filter(|j| *j != i).map(|j| dot(i, j).powi(2)).sum::<f64>()).sum();
        pairs + n as f64 * (0..n).map(|i| (dot(i, i) - 1.0).powi(2)).sum::<f64>()
    }

    #[test]
    fn the_gradient_is_that_of_the_pairs() {
        let (n, d) = (11, 5);
        let rows = draw(3, Part::Directions, 0, n * d);
        let slopes = gradient(&rows, d);
        let wide: Vec<f64> = rows.iter().map(|&x| f64::from(x)).collect();
        for i in 0..n * d {
            let at = |by: f64| {
                let mut moved = wide.clone();
                moved[i] += by;
                objective(&moved, d)
            };
            let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
            let error = (f64::from(slopes[i]) - slope).abs();
            assert!(error < 1e-4 * slope.abs().max(100.0), "{i}: {} is not {slope}", slopes[i]);
        }
    }
}

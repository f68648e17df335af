//! Geometric median: the point with the least sum of distances to all rows. Outliers pull it less than the mean.

use rayon::prelude::*;

/// Rows summed by one task; fixed, so that threads change no bit.
const CHUNK: usize = 1024;

/// How a [`geometric`] median came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Median {
    /// The point, `[d]`.
    pub point: Vec<f32>,
    /// Weiszfeld iterations done.
    pub iterations: usize,
    /// True if the last step was below the tolerance.
    pub converged: bool,
}

/// Geometric median of `x[n, d]` by Weiszfeld's iteration from the mean, in double precision.
///
/// Stops when a step is shorter than `tolerance` times the mean distance, or after `max_iterations`. Rows are weighted by
/// `1 / max(distance, ε)`, which keeps an iterate that lands on a row finite.
/// Gives zeros if there are no rows.
pub fn geometric(x: &[f32], d: usize, tolerance: f64, max_iterations: usize) -> Median {
    let n = x.len().checked_div(d).unwrap_or(0);
    if n == 0 {
        return Median { point: vec![0.0; d], iterations: 0, converged: true };
    }
    let mut point = weighted_mean(x, d, |_| 1.0).0;
    let (mut iterations, mut converged) = (0, false);
    while iterations < max_iterations && !converged {
        let (next, mean_distance) = weighted_mean(x, d, |row| {
            let distance = distance(row, &point);
            1.0 / distance.max(f64::from(f32::EPSILON))
        });
        let moved = next.iter().zip(&point).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        converged = moved <= tolerance * mean_distance;
        point = next;
        iterations += 1;
    }
    Median { point: point.into_iter().map(|v| v as f32).collect(), iterations, converged }
}

fn distance(row: &[f32], point: &[f64]) -> f64 {
    row.iter().zip(point).map(|(&x, p)| (f64::from(x) - p).powi(2)).sum::<f64>().sqrt()
}

/// Weighted mean of the rows, and the harmonic mean of `1 / weight` (a typical distance when weights are inverse distances).
fn weighted_mean(x: &[f32], d: usize, weight: impl Fn(&[f32]) -> f64 + Sync) -> (Vec<f64>, f64) {
    let parts: Vec<(Vec<f64>, f64)> = x
        .par_chunks(CHUNK * d)
        .map(|rows| {
            let (mut sums, mut total) = (vec![0.0; d], 0.0);
            for row in rows.chunks_exact(d) {
                let w = weight(row);
                total += w;
                for (sum, &value) in sums.iter_mut().zip(row) {
                    *sum += w * f64::from(value);
                }
            }
            (sums, total)
        })
        .collect();
    let (mut sums, mut total) = (vec![0.0; d], 0.0);
    for (part, weight) in &parts {
        super::reduce::add(&mut sums, part);
        total += weight;
    }
    sums.iter_mut().for_each(|s| *s /= total);
    (sums, (x.len() / d) as f64 / total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(x: &[f32], d: usize, point: &[f64]) -> f64 {
        x.chunks_exact(d).map(|row| distance(row, point)).sum()
    }

    #[test]
    fn no_nearby_point_has_a_smaller_sum_of_distances() {
        let d = 3;
        let x: Vec<f32> = (0..300_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20) as f32 / 1e3).collect();
        let median = geometric(&x, d, 1e-9, 1000);
        assert!(median.converged);
        let point: Vec<f64> = median.point.iter().map(|&v| f64::from(v)).collect();
        let best = cost(&x, d, &point);
        for c in 0..d {
            for step in [-0.01, 0.01] {
                let mut moved = point.clone();
                moved[c] += step;
                assert!(cost(&x, d, &moved) > best);
            }
        }
    }

    #[test]
    fn an_outlier_hardly_moves_it() {
        let mut x: Vec<f32> = (0..100).flat_map(|i| [(i % 10) as f32, (i / 10) as f32]).collect();
        x.extend([1e6, 1e6]);
        let median = geometric(&x, 2, 1e-6, 200);
        assert!((median.point[0] - 4.5).abs() < 0.2 && (median.point[1] - 4.5).abs() < 0.2, "{median:?}");
    }

    #[test]
    fn equal_rows_and_no_rows_are_fine() {
        assert_eq!(geometric(&[2.0, 3.0, 2.0, 3.0], 2, 1e-6, 10).point, [2.0, 3.0]);
        assert_eq!(geometric(&[], 2, 1e-6, 10).point, [0.0, 0.0]);
    }
}

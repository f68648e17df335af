//! First places of the points: along the two main directions of the decoder rows.

use kernels::chance::{Purpose, generator, uniform};
use kernels::wide::unit_rows;
use rayon::prelude::*;

/// Rounds of the power iteration; a picture needs no more digits.
const ROUNDS: usize = 30;
/// The farthest point's distance from the middle.
const RADIUS: f64 = 10.0;
/// Rows summed by one task; fixed, so that sums do not depend on the number of threads.
const CHUNK: usize = 1024;

/// Places for the rows `alive` of `matrix[F, d]`: their unit vectors on the two main directions, scaled to
/// [`RADIUS`], with a little noise so that equal rows can part.
pub fn along_main_directions(matrix: &[f32], d: usize, alive: &[u32], seed: u64) -> Vec<[f32; 2]> {
    let mut rng = generator(seed, Purpose::MapStart, 0, 0);
    let mut between = |bound: f64| bound * (2.0 * uniform(&mut rng) - 1.0);
    let rows = alive.iter().flat_map(|f| &matrix[*f as usize * d..][..d]).copied().collect::<Vec<f32>>();
    let rows = unit_rows(&rows, d);
    let mut mean = vec![0.0; d];
    sum(&rows, d, |_| 1.0).into_iter().zip(&mut mean).for_each(|(s, m)| *m = s / alive.len().max(1) as f64);
    let mut axes: Vec<Vec<f64>> = Vec::new();
    for _ in 0..2 {
        let mut axis: Vec<f64> = (0..d).map(|_| between(1.0)).collect();
        for _ in 0..ROUNDS {
            orthonormalise(&mut axis, &axes);
            let off = dot64(&axis, &mean);
            // Σ (x − m) ⟨x − m, axis⟩; the part along the mean drops out, for Σ (x − m) = 0.
            let along = |row: &[f32]| dot(row, &axis) - off;
            let mut next = sum(&rows, d, along);
            let total: f64 = rows.chunks(d.max(1)).map(along).sum();
            next.iter_mut().zip(&mean).for_each(|(n, m)| *n -= m * total);
            axis = next;
        }
        orthonormalise(&mut axis, &axes);
        axes.push(axis);
    }
    let offs = [dot64(&axes[0], &mean), dot64(&axes[1], &mean)];
    let raw: Vec<[f64; 2]> = rows
        .chunks(d.max(1))
        .map(|row| [dot(row, &axes[0]) - offs[0], dot(row, &axes[1]) - offs[1]])
        .collect();
    let far = raw.iter().flatten().fold(0.0, |far: f64, x| far.max(x.abs())).max(f64::MIN_POSITIVE);
    raw.iter().map(|place| place.map(|x| (x / far * RADIUS + between(1e-2)) as f32)).collect()
}

/// Σ weight(row) · row.
fn sum(rows: &[f32], d: usize, weight: impl Fn(&[f32]) -> f64 + Sync) -> Vec<f64> {
    let part = |rows: &[f32]| {
        let mut sum = vec![0.0; d];
        for row in rows.chunks(d) {
            let w = weight(row);
            sum.iter_mut().zip(row).for_each(|(s, x)| *s += w * f64::from(*x));
        }
        sum
    };
    let parts: Vec<Vec<f64>> = rows.par_chunks(CHUNK * d.max(1)).map(part).collect();
    parts.into_iter().fold(vec![0.0; d], |mut all, part| {
        all.iter_mut().zip(part).for_each(|(a, p)| *a += p);
        all
    })
}

/// Length 1, at right angles to `others`. What has no length left becomes zeros.
fn orthonormalise(axis: &mut [f64], others: &[Vec<f64>]) {
    for other in others {
        let along = dot64(axis, other);
        axis.iter_mut().zip(other).for_each(|(a, o)| *a -= along * o);
    }
    let norm = dot64(axis, axis).sqrt();
    axis.iter_mut().for_each(|a| *a = if norm > 1e-300 { *a / norm } else { 0.0 });
}

fn dot(row: &[f32], axis: &[f64]) -> f64 {
    row.iter().zip(axis).map(|(x, a)| f64::from(*x) * a).sum()
}

fn dot64(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_direction_comes_first() {
        // Unit vectors that turn far in one plane, a little in another.
        let rows: Vec<f32> = (0..200)
            .flat_map(|i| {
                let (s, t) = (f64::from(i) / 100.0 - 1.0, f64::from((i * 37) % 200) / 100.0 - 1.0);
                [1.0, s as f32, 0.1 * t as f32]
            })
            .collect();
        let alive: Vec<u32> = (0..200).collect();
        let places = along_main_directions(&rows, 3, &alive, 0);
        let order: Vec<f32> = places.iter().map(|p| p[0]).collect();
        let rising = order.is_sorted_by(|a, b| a < &(b + 0.05));
        let falling = order.is_sorted_by(|a, b| a > &(b - 0.05));
        assert!(rising || falling);
        let spread = |axis: usize| places.iter().map(|p| f64::from(p[axis]).powi(2)).sum::<f64>();
        assert!(spread(0) > 20.0 * spread(1));
    }

    #[test]
    fn nothing_and_equal_rows_are_no_trouble() {
        assert!(along_main_directions(&[], 4, &[], 0).is_empty());
        let places = along_main_directions(&[0.5; 12], 4, &[0, 1, 2], 0);
        assert!(places.iter().flatten().all(|x| x.is_finite()));
    }
}

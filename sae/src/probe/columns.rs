//! What a probe may choose from: codes of a dictionary, or numbers of the activation itself.

use rayon::prelude::*;

use crate::dictionary::Codes;

/// A matrix with one row per prompt.
#[derive(Debug)]
pub(super) enum Columns {
    /// Codes of so many features.
    Codes(Codes, usize),
    /// Every number, `[n, width]`.
    Dense(Vec<f32>, usize),
}

impl Columns {
    /// The `most` columns whose classes differ most over the rows `train`: |mean₁ − mean₀| in units of the column's mean non-zero |value|,
    /// best first, of equals the first. That is how sae-probes chooses.
    pub(super) fn choose(&self, train: &[usize], labels: &[bool], most: usize) -> Vec<u32> {
        let width = match self {
            Self::Codes(_, width) | Self::Dense(_, width) => *width,
        };
        let mut sums = vec![[0.0_f64; 2]; width];
        let (mut sizes, mut counts, mut rows) = (vec![0.0_f64; width], vec![0.0_f64; width], [0.0_f64; 2]);
        for &row in train {
            let class = usize::from(labels[row]);
            rows[class] += 1.0;
            self.each(row, |column, value| {
                let value = f64::from(value);
                if value != 0.0 {
                    sums[column][class] += value;
                    sizes[column] += value.abs();
                    counts[column] += 1.0;
                }
            });
        }
        let score = |c: usize| {
            let unit = sizes[c] / (counts[c] + 1e-6) + 1e-6;
            let mean = |class: usize| if rows[class] > 0.0 { sums[c][class] / rows[class] } else { 0.0 };
            ((mean(1) - mean(0)) / unit).abs()
        };
        let scores: Vec<f64> = (0..width).map(score).collect();
        let mut order: Vec<u32> = (0..width as u32).collect();
        order.sort_by(|&a, &b| scores[b as usize].total_cmp(&scores[a as usize]).then(a.cmp(&b)));
        order.truncate(most);
        order
    }

    /// The values of `rows` in `columns`, `[rows, columns]`.
    pub(super) fn gather(&self, rows: &[usize], columns: &[u32]) -> Vec<f64> {
        let k = columns.len();
        let mut values = vec![0.0; rows.len() * k];
        match self {
            Self::Dense(x, width) => {
                for (out, &row) in values.chunks_exact_mut(k.max(1)).zip(rows) {
                    let x = &x[row * width..(row + 1) * width];
                    out.iter_mut().zip(columns).for_each(|(out, &c)| *out = f64::from(x[c as usize]));
                }
            }
            Self::Codes(_, width) => {
                let mut place = vec![None; *width];
                columns.iter().enumerate().for_each(|(i, &column)| place[column as usize] = Some(i));
                for (out, &row) in values.chunks_exact_mut(k.max(1)).zip(rows) {
                    self.each(row, |column, value| {
                        if let Some(i) = place[column] {
                            out[i] = f64::from(value);
                        }
                    });
                }
            }
        }
        values
    }

    fn each(&self, row: usize, mut see: impl FnMut(usize, f32)) {
        match self {
            Self::Codes(codes, _) => {
                let (features, values) = codes.row(row);
                features.iter().zip(values).for_each(|(&feature, &value)| see(feature as usize, value));
            }
            Self::Dense(x, width) => {
                x[row * width..(row + 1) * width]
                    .iter()
                    .enumerate()
                    .for_each(|(column, &value)| see(column, value));
            }
        }
    }
}

/// The projection of every row of `x[n, d]` on the difference of the classes' means over the rows `train`: one column.
pub(super) fn difference_of_means(x: &[f32], d: usize, train: &[usize], labels: &[bool]) -> Columns {
    let (mut sums, mut rows) = ([vec![0.0_f64; d], vec![0.0_f64; d]], [0.0_f64; 2]);
    for &row in train {
        let class = usize::from(labels[row]);
        rows[class] += 1.0;
        sums[class].iter_mut().zip(&x[row * d..(row + 1) * d]).for_each(|(sum, &x)| *sum += f64::from(x));
    }
    let mean = |class: usize, c: usize| if rows[class] > 0.0 { sums[class][c] / rows[class] } else { 0.0 };
    let direction: Vec<f64> = (0..d).map(|c| mean(1, c) - mean(0, c)).collect();
    Columns::Dense(projections(x, d, &direction), 1)
}

/// The projections of every row of `x[n, d]` on the `most` first principal components of the rows `train`, `[n, most]`, by orthogonal
/// iteration.
pub(super) fn principal_components(x: &[f32], d: usize, train: &[usize], most: usize) -> Columns {
    let most = most.min(d).min(train.len().saturating_sub(1)).max(1);
    let mut mean = vec![0.0_f64; d];
    for &row in train {
        mean.iter_mut()
            .zip(&x[row * d..(row + 1) * d])
            .for_each(|(m, &x)| *m += f64::from(x) / train.len() as f64);
    }
    let centred: Vec<f64> = train
        .iter()
        .flat_map(|&row| x[row * d..(row + 1) * d].iter().zip(&mean).map(|(&x, m)| f64::from(x) - m))
        .collect();
    // Rows of the training set themselves are a good beginning: they lie in the space that is looked for.
    let step = (train.len() / most).max(1);
    let mut basis: Vec<Vec<f64>> =
        (0..most).map(|i| centred[(i * step) % train.len() * d..][..d].to_vec()).collect();
    for _ in 0..ITERATIONS {
        orthonormalise(&mut basis);
        basis = basis.par_iter().map(|v| through(&centred, d, v)).collect();
        // Longer ones first: iteration then sorts the components by variance.
        let length = |v: &Vec<f64>| v.iter().map(|x| x * x).sum::<f64>();
        basis.sort_by(|a, b| length(b).total_cmp(&length(a)));
    }
    orthonormalise(&mut basis);
    let shifts: Vec<f64> = basis.iter().map(|v| v.iter().zip(&mean).map(|(v, m)| v * m).sum()).collect();
    let columns: Vec<Vec<f32>> = basis.par_iter().map(|v| projections(x, d, v)).collect();
    let rows = x.len() / d;
    let value = |row: usize, c: usize| columns[c][row] - shifts[c] as f32;
    Columns::Dense(
        (0..rows).flat_map(|row| (0..most).map(move |c| (row, c))).map(|(r, c)| value(r, c)).collect(),
        most,
    )
}

/// Iterations: variances of neighbours must differ by a few per cent to be told apart, which is all that a baseline needs.
const ITERATIONS: usize = 25;

fn projections(x: &[f32], d: usize, direction: &[f64]) -> Vec<f32> {
    let dot = |row: &[f32]| row.iter().zip(direction).map(|(&x, v)| f64::from(x) * v).sum::<f64>() as f32;
    x.chunks_exact(d).map(dot).collect()
}

/// `XᵀXv`.
fn through(x: &[f64], d: usize, v: &[f64]) -> Vec<f64> {
    let mut out = vec![0.0; d];
    for row in x.chunks_exact(d) {
        let dot: f64 = row.iter().zip(v).map(|(x, v)| x * v).sum();
        out.iter_mut().zip(row).for_each(|(out, x)| *out += dot * x);
    }
    out
}

/// Gram and Schmidt, twice for the digits; what depends on those before it becomes 0.
fn orthonormalise(basis: &mut [Vec<f64>]) {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for i in 0..basis.len() {
        let (before, rest) = basis.split_at_mut(i);
        let Some(own) = rest.first_mut() else { return };
        let begun = dot(own, own).sqrt();
        for _ in 0..2 {
            for other in before.iter() {
                let along = dot(own, other);
                own.iter_mut().zip(other).for_each(|(x, o)| *x -= along * o);
            }
        }
        let length = dot(own, own).sqrt();
        let factor = if length > 1e-12 * begun { 1.0 / length } else { 0.0 };
        own.iter_mut().for_each(|x| *x *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(rows: &[&[(u32, f32)]]) -> Codes {
        let mut codes = Codes::default();
        for row in rows {
            let (features, values): (Vec<u32>, Vec<f32>) = row.iter().copied().unzip();
            codes.push_row(&features, &values);
        }
        codes
    }

    /// Feature 2 fires on positives alone, feature 0 everywhere, feature 1 with a large value on one negative.
    #[test]
    fn columns_are_chosen_by_the_difference_of_their_means() {
        let labels = [true, true, false, false];
        let rows: [&[(u32, f32)]; 4] =
            [&[(0, 1.0), (2, 0.5)], &[(0, 1.0), (2, 0.5)], &[(0, 1.0), (1, 90.0)], &[(0, 0.9)]];
        let sparse = Columns::Codes(codes(&rows), 4);
        let dense = Columns::Dense(
            sparse.gather(&[0, 1, 2, 3], &[0, 1, 2, 3]).iter().map(|&x| x as f32).collect(),
            4,
        );
        for columns in [&sparse, &dense] {
            // Differences in units of the mean value: 1 for feature 2, 1/2 for feature 1, 0.05 for feature 0.
            assert_eq!(columns.choose(&[0, 1, 2, 3], &labels, 3), [2, 1, 0]);
            assert_eq!(columns.gather(&[2, 0], &[1, 2]), [90.0, 0.0, 0.0, 0.5]);
        }
    }

    #[test]
    fn components_have_the_largest_variances() {
        let (n, d) = (200, 6);
        let wave = |i: usize, c: usize| ((i * (c + 3)) as f32 * 0.37 + c as f32).sin();
        let x: Vec<f32> =
            (0..n * d).map(|i| 0.5 + 2.0_f32.powi(-((i % d) as i32)) * wave(i / d, i % d)).collect();
        let train: Vec<usize> = (0..n).collect();
        let found = principal_components(&x, d, &train, 3);
        let values = found.gather(&train, &[0, 1, 2]);
        let variance = |c: usize| values.iter().skip(c).step_by(3).map(|v| v * v).sum::<f64>() / n as f64;
        let mean = |c: usize| values.iter().skip(c).step_by(3).sum::<f64>() / n as f64;
        assert!(variance(0) > variance(1) && variance(1) > variance(2));
        assert!((0..3).all(|c| mean(c).abs() < 1e-3));
        // Sines of different frequency are nearly uncorrelated, so components are nearly the dimensions, with variance 4⁻ᶜ/2.
        assert!((0..3).all(|c| (variance(c) / (0.5 * 0.25_f64.powi(c as i32)) - 1.0).abs() < 0.1));
    }

    #[test]
    fn the_difference_of_means_is_a_projection() {
        let x = [1.0, 0.0, 3.0, 2.0, -1.0, 0.0, -1.0, -2.0];
        let found = difference_of_means(&x, 2, &[0, 1, 2, 3], &[true, true, false, false]);
        // Means (2, 1) and (−1, −1): direction (3, 2).
        assert_eq!(found.gather(&[0, 1, 2, 3], &[0]), [3.0, 13.0, -3.0, -7.0]);
    }
}

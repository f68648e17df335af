//! The dictionary that knows the attributes: conditional means.

/// `E[a] + Σ_i u_{i, a_i(p)}` with `u_{i,v} = mean{a(p) : a_i(p) = v} − E[a]`, over the prompts that it is made from.
#[derive(Debug, Clone)]
pub struct Supervised {
    /// E[a], `[d]`.
    pub mean: Vec<f32>,
    /// By attribute and value, `[d]`; zeros for values that no prompt had.
    directions: Vec<Vec<Vec<f32>>>,
}

impl Supervised {
    /// From `activations [prompts, d]` and the prompts' values; `sizes` says how many values each attribute has.
    pub fn new(activations: &[f32], d: usize, values: &[&[usize]], sizes: &[usize]) -> Self {
        let average = |which: &dyn Fn(&[usize]) -> bool| -> Option<Vec<f64>> {
            let (mut sum, mut n) = (vec![0.0; d], 0.0);
            for (row, _) in activations.chunks_exact(d).zip(values).filter(|(_, values)| which(values)) {
                sum.iter_mut().zip(row).for_each(|(sum, x)| *sum += f64::from(*x));
                n += 1.0;
            }
            (n > 0.0).then(|| sum.into_iter().map(|x| x / n).collect())
        };
        let mean = average(&|_| true).unwrap_or_else(|| vec![0.0; d]);
        let direction = |attribute: usize, value: usize| match average(&|values| values[attribute] == value) {
            Some(of) => of.iter().zip(&mean).map(|(a, b)| (a - b) as f32).collect(),
            None => vec![0.0; d],
        };
        let directions = sizes
            .iter()
            .enumerate()
            .map(|(attribute, size)| (0..*size).map(|value| direction(attribute, value)).collect())
            .collect();
        Self { mean: mean.iter().map(|x| *x as f32).collect(), directions }
    }

    /// The direction of a value, `[d]`.
    pub fn direction(&self, attribute: usize, value: usize) -> &[f32] {
        &self.directions[attribute][value]
    }

    /// The reconstruction of a prompt with these values, `[d]`.
    pub fn reconstruction(&self, values: &[usize]) -> Vec<f32> {
        let mut out = self.mean.clone();
        for (attribute, value) in values.iter().enumerate() {
            out.iter_mut().zip(self.direction(attribute, *value)).for_each(|(out, u)| *out += u);
        }
        out
    }

    /// Share of each attribute in the mean norms of the directions of these prompts.
    pub fn norms(&self, values: &[&[usize]]) -> Vec<f64> {
        let length = |v: &[f32]| kernels::wide::dot(v, v).sqrt();
        let sums: Vec<f64> = (0..self.directions.len())
            .map(|a| values.iter().map(|values| length(self.direction(a, values[a]))).sum::<f64>())
            .collect();
        let all: f64 = sums.iter().sum();
        sums.into_iter().map(|sum| if all > 0.0 { sum / all } else { 0.0 }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::chance::{Purpose, generator, normal};

    /// Activations that are a mean and a direction per value, over all combinations: the directions are found, each centred.
    #[test]
    fn directions_that_add_up_are_found() {
        let (d, sizes) = (5, [3, 4]);
        let mut rng = generator(1, Purpose::Samples, 0, 0);
        let mut draw = || -> Vec<f32> { (0..d).map(|_| normal(&mut rng)).collect() };
        let mean = draw();
        let truth: Vec<Vec<Vec<f32>>> = sizes.iter().map(|n| (0..*n).map(|_| draw()).collect()).collect();
        let centred = |attribute: usize, value: usize, c: usize| {
            truth[attribute][value][c]
                - truth[attribute].iter().map(|v| v[c]).sum::<f32>() / sizes[attribute] as f32
        };
        let values: Vec<Vec<usize>> = (0..12).map(|i| vec![i % 3, i / 3]).collect();
        let rows: Vec<f32> = values
            .iter()
            .flat_map(|v| (0..d).map(|c| mean[c] + truth[0][v[0]][c] + truth[1][v[1]][c]).collect::<Vec<_>>())
            .collect();
        let views: Vec<&[usize]> = values.iter().map(Vec::as_slice).collect();
        let found = Supervised::new(&rows, d, &views, &[3, 5]);
        for (attribute, size) in sizes.iter().enumerate() {
            for value in 0..*size {
                for c in 0..d {
                    assert!(
                        (found.direction(attribute, value)[c] - centred(attribute, value, c)).abs() < 1e-5
                    );
                }
            }
        }
        for (row, values) in rows.chunks(d).zip(&values) {
            assert!(found.reconstruction(values).iter().zip(row).all(|(a, b)| (a - b).abs() < 1e-5));
        }
        assert_eq!(found.direction(1, 4), [0.0; 5], "a value that no prompt had");
        assert!((found.norms(&views).iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }
}

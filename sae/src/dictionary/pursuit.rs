//! Matching pursuit: a token's codes are found one feature at a time, each from what the ones before it left.

use super::{Codes, Dictionary, Selection};
use kernels::encode::products;
use kernels::wide;

/// When a token has enough features.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Steps at most.
    pub steps: usize,
    /// Enough if the norm of what is left is below this; 0: never.
    pub residual: f32,
    /// Enough if a step takes a feature again.
    pub stop_on_repeat: bool,
}

/// The steps of a token, in their order: features and what each of them takes. A feature may be taken again.
pub type Steps = Vec<(u32, f32)>;

/// A row on its way.
struct Token {
    /// Its place among the rows.
    row: usize,
    taken: Steps,
}

/// The steps of every row of `rows[n, d]`, which are used up. Products of all rows that are not done are computed together, in `memory`.
pub fn pursue(
    rows: &mut Vec<f32>,
    w_dec: &[f32],
    d: usize,
    limits: Limits,
    memory: &mut Vec<f32>,
) -> Vec<Steps> {
    let (n, features) = (rows.len() / d, w_dec.len() / d);
    let mut tokens: Vec<Token> = (0..n).map(|row| Token { row, taken: Vec::new() }).collect();
    let mut done: Vec<Steps> = (0..n).map(|_| Vec::new()).collect();
    for _ in 0..limits.steps {
        if tokens.is_empty() {
            break;
        }
        products(memory, rows, w_dec, d);
        let mut kept = 0;
        for i in 0..tokens.len() {
            let products = &memory[i * features..(i + 1) * features];
            let residual = &mut rows[i * d..(i + 1) * d];
            if step(residual, products, w_dec, limits, &mut tokens[i].taken) {
                done[tokens[i].row] = std::mem::take(&mut tokens[i].taken);
                continue;
            }
            rows.copy_within(i * d..(i + 1) * d, kept * d);
            tokens.swap(kept, i);
            kept += 1;
        }
        tokens.truncate(kept);
        rows.truncate(kept * d);
    }
    tokens.into_iter().for_each(|token| done[token.row] = token.taken);
    done
}

/// One step of a row; whether it was the last.
fn step(residual: &mut [f32], products: &[f32], w_dec: &[f32], limits: Limits, taken: &mut Steps) -> bool {
    let best = products
        .iter()
        .enumerate()
        .fold((0, 0.0), |best, (f, &product)| if product > best.1 { (f, product) } else { best });
    // The first of several equal ones; nothing positive is left to be found in later steps either.
    let d = residual.len();
    let row = &w_dec[best.0 * d..(best.0 + 1) * d];
    let value = wide::dot(residual, row) as f32;
    if best.1 <= 0.0 || value <= 0.0 {
        return true;
    }
    let feature = best.0 as u32;
    let repeated = taken.iter().any(|(f, _)| *f == feature);
    taken.push((feature, value));
    residual.iter_mut().zip(row).for_each(|(r, w)| *r -= value * w);
    (limits.stop_on_repeat && repeated)
        || (limits.residual > 0.0 && wide::norm(residual) < f64::from(limits.residual))
}

/// Appends the codes of a token: what its steps took, by feature.
pub fn push_codes(codes: &mut Codes, steps: &Steps) {
    let mut sorted = steps.clone();
    // Stable: what a feature took is added up in the order of the steps.
    sorted.sort_by_key(|(feature, _)| *feature);
    let (mut features, mut values): (Vec<u32>, Vec<f32>) = (Vec::new(), Vec::new());
    for (feature, value) in sorted {
        match (features.last() == Some(&feature), values.last_mut()) {
            (true, Some(last)) => *last += value,
            _ => {
                features.push(feature);
                values.push(value);
            }
        }
    }
    codes.push_row(&features, &values);
}

impl Dictionary {
    /// The codes of `x[n, d]` by matching pursuit.
    pub(super) fn pursue(&self, x: &[f32]) -> Codes {
        let limits = self.limits();
        self.by_chunks(x, |buffer| {
            let mut codes = Codes::default();
            let steps = pursue(&mut buffer.centred, &self.w_dec, self.d_in, limits, &mut buffer.products);
            steps.iter().for_each(|steps| push_codes(&mut codes, steps));
            codes
        })
    }

    fn limits(&self) -> Limits {
        match self.selection {
            Selection::MatchingPursuit { residual_threshold, max_iterations, stop_on_duplicate_support } => {
                Limits {
                    steps: max_iterations.unwrap_or(self.d_in),
                    residual: residual_threshold,
                    stop_on_repeat: stop_on_duplicate_support,
                }
            }
            _ => Limits { steps: 0, residual: 0.0, stop_on_repeat: true },
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::super::tests::small;
    use super::*;

    /// The rule row by row in f64, without chunks and shortcuts: the codes, and by how much the closest of its choices was decided.
    fn naive(dictionary: &Dictionary, x: &[f32], threshold: f64, max: usize, stop: bool) -> (Vec<f64>, f64) {
        let mut residual: Vec<f64> =
            x.iter().zip(&dictionary.b_dec).map(|(x, b)| f64::from(*x) - f64::from(*b)).collect();
        let (mut codes, mut margin) = (vec![0.0; dictionary.d_sae], f64::INFINITY);
        for _ in 0..max {
            let products: Vec<f64> = (0..dictionary.d_sae)
                .map(|f| residual.iter().zip(dictionary.decoder_row(f)).map(|(r, w)| r * f64::from(*w)).sum())
                .collect();
            let mut order: Vec<usize> = (0..dictionary.d_sae).collect();
            order.sort_by(|&a, &b| products[b].total_cmp(&products[a]));
            let best = order[0];
            margin = margin.min(products[best] - products[order[1]]);
            let value = products[best].max(0.0);
            let same = codes[best] != 0.0 || value == 0.0;
            codes[best] += value;
            for (r, w) in residual.iter_mut().zip(dictionary.decoder_row(best)) {
                *r -= value * f64::from(*w);
            }
            let left = residual.iter().map(|r| r * r).sum::<f64>().sqrt();
            if threshold > 0.0 {
                margin = margin.min((left - threshold).abs());
            }
            if (stop && same) || (threshold > 0.0 && left < threshold) {
                break;
            }
        }
        (codes, margin)
    }

    /// Rows (1, 0), (.8, .6), (0, 1), x = (1, .4): two steps take 1.04 of the second and .168 of the first, and leave .224.
    #[test]
    fn golden_steps() {
        let w_dec = [1.0, 0.0, 0.8, 0.6, 0.0, 1.0];
        let limits = Limits { steps: 2, residual: 0.01, stop_on_repeat: true };
        let steps = pursue(&mut vec![1.0, 0.4], &w_dec, 2, limits, &mut Vec::new());
        let [(1, second), (0, first)] = steps[0][..] else { panic!("{steps:?}") };
        assert!((second - 1.04).abs() < 1e-6 && (first - 0.168).abs() < 1e-6, "{steps:?}");
        let left = [1.0 - 0.8 * second - first, 0.4 - 0.6 * second];
        assert!((wide::norm(&left) - 0.224).abs() < 1e-6);
        let mut codes = Codes::default();
        push_codes(&mut codes, &vec![(1, 2.0), (0, 0.5), (1, 0.25)]);
        assert_eq!(codes.row(0), (&[0, 1][..], &[0.5, 2.25][..]));
    }

    #[test]
    fn codes_are_those_of_the_rule_row_by_row() {
        let (d, features, rows) = (12, 60, 400);
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        let mut draw =
            |n: usize, scale: f32| -> Vec<f32> { (0..n).map(|_| rng.random_range(-scale..scale)).collect() };
        for (threshold, max, stop) in
            [(0.6, None, true), (0.0, Some(5), true), (0.9, Some(30), false), (0.0, None, false)]
        {
            let mut dictionary = small(d, features, Selection::TopK(1));
            // Rows of a simple sequence repeat nearly, and which of two equal rows is taken only rounding says.
            dictionary.w_dec = draw(features * d, 1.0);
            dictionary.w_dec.chunks_exact_mut(d).for_each(|row| {
                kernels::feature::make_unit(row);
            });
            dictionary.selection = Selection::MatchingPursuit {
                residual_threshold: threshold,
                max_iterations: max,
                stop_on_duplicate_support: stop,
            };
            let x = draw(rows * d, 3.0);
            let codes = dictionary.encode(&x);
            assert_eq!(codes.rows(), rows);
            let (mut several, mut clear) = (0, 0);
            for (i, row) in x.chunks_exact(d).enumerate() {
                let (expected, margin) =
                    naive(&dictionary, row, f64::from(threshold), max.unwrap_or(d), stop);
                // f32 may decide otherwise where less than this decides.
                if margin < 1e-5 {
                    continue;
                }
                clear += 1;
                let mut got = vec![0.0; features];
                let (listed, values) = codes.row(i);
                listed.iter().zip(values).for_each(|(f, v)| got[*f as usize] = *v);
                several += usize::from(listed.len() > 2);
                for (a, b) in got.iter().zip(&expected) {
                    assert!((f64::from(*a) - b).abs() < 1e-4, "row {i}: {a} {b}");
                }
            }
            assert!(clear > rows * 9 / 10, "only {clear} of {rows} rows were clear");
            assert!(several > rows / 2, "{several} rows took more than two features");
        }
    }
}

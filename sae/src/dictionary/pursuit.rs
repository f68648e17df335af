//! Matching pursuit: a token's codes are found one feature at a time, each from what the ones before it left.

use super::{Codes, Dictionary, Selection};
use kernels::encode::{ChunkBuffer, products};
use kernels::wide;

/// A row on its way.
struct Token {
    /// Its place among the rows of the chunk.
    row: usize,
    /// Features taken, in the order in which they were taken, with their codes.
    taken: Vec<(u32, f32)>,
}

impl Dictionary {
    /// The codes of `x[n, d]` by matching pursuit. Products of all rows of a chunk that are not done are computed together.
    pub(super) fn pursue(&self, x: &[f32]) -> Codes {
        self.by_chunks(x, |buffer| self.pursue_chunk(buffer))
    }

    /// The codes of the rows in `buffer.centred`, which is used up.
    fn pursue_chunk(&self, buffer: &mut ChunkBuffer) -> Codes {
        let (d, max) = (self.d_in, self.steps());
        let n = buffer.centred.len() / d;
        let mut tokens: Vec<Token> = (0..n).map(|row| Token { row, taken: Vec::new() }).collect();
        let mut done: Vec<Vec<(u32, f32)>> = (0..n).map(|_| Vec::new()).collect();
        for _ in 0..max {
            if tokens.is_empty() {
                break;
            }
            products(&mut buffer.products, &buffer.centred, &self.w_dec, d);
            let mut kept = 0;
            for i in 0..tokens.len() {
                let residual = &mut buffer.centred[i * d..(i + 1) * d];
                let products = &buffer.products[i * self.d_sae..(i + 1) * self.d_sae];
                if self.step(residual, products, &mut tokens[i].taken) {
                    done[tokens[i].row] = std::mem::take(&mut tokens[i].taken);
                    continue;
                }
                buffer.centred.copy_within(i * d..(i + 1) * d, kept * d);
                tokens.swap(kept, i);
                kept += 1;
            }
            tokens.truncate(kept);
            buffer.centred.truncate(kept * d);
        }
        tokens.into_iter().for_each(|token| done[token.row] = token.taken);
        let mut codes = Codes::default();
        for mut taken in done {
            taken.sort_unstable_by_key(|(feature, _)| *feature);
            let (features, values): (Vec<u32>, Vec<f32>) = taken.into_iter().unzip();
            codes.push_row(&features, &values);
        }
        codes
    }

    fn steps(&self) -> usize {
        match self.selection {
            Selection::MatchingPursuit { max_iterations: Some(max), .. } => max,
            _ => self.d_in,
        }
    }

    /// One step of a row; whether it was the last.
    fn step(&self, residual: &mut [f32], products: &[f32], taken: &mut Vec<(u32, f32)>) -> bool {
        let Selection::MatchingPursuit { residual_threshold, stop_on_duplicate_support, .. } = self.selection
        else {
            return true;
        };
        let best = products
            .iter()
            .enumerate()
            .fold((0, 0.0), |best, (f, &product)| if product > best.1 { (f, product) } else { best });
        // The first of several equal ones; nothing positive is left to be found in later steps either.
        let row = self.decoder_row(best.0);
        let value = wide::dot(residual, row) as f32;
        if best.1 <= 0.0 || value <= 0.0 {
            return true;
        }
        let feature = best.0 as u32;
        let again = taken.iter_mut().find(|(f, _)| *f == feature);
        let repeated = again.is_some();
        match again {
            Some((_, code)) => *code += value,
            None => taken.push((feature, value)),
        }
        residual.iter_mut().zip(row).for_each(|(r, w)| *r -= value * w);
        (stop_on_duplicate_support && repeated)
            || (residual_threshold > 0.0 && wide::norm(residual) < f64::from(residual_threshold))
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

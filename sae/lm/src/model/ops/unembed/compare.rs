//! How far predictions are from those of other hidden states: cross-entropy of each, and KL(first ‖ other).

use candle_core::{Result, Tensor};
use rayon::prelude::*;

use super::super::Numbers;
use super::{CHUNK, Softmax, Unembedding, turned};
use kernels::columns;
use kernels::spare::Spare;

/// What [`Unembedding::compare`] finds, a number for every position; those without a target have none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Compared {
    /// Cross-entropy with the first hidden states, nats.
    pub clean: Vec<Option<f32>>,
    /// For each of the others cross-entropy and KL(first ‖ other), nats.
    pub others: Vec<Vec<Option<(f32, f32)>>>,
}

/// Σ e^(a − shift) (a − b) of each position, a the clean logits.
struct Excess {
    sums: Vec<f64>,
}

/// Buffers of a task.
#[derive(Default)]
struct Space {
    /// The hidden states' panels, clean ones first.
    panels: Vec<Vec<f32>>,
    clean: Vec<f32>,
    other: Vec<f32>,
}

impl Unembedding {
    /// `clean` and each of `others` are hidden states `[tokens, d_model]` of the same tokens.
    ///
    /// # Errors
    /// Hidden states of a different shape than the output matrix and `targets` have it; a target that is not
    /// below V.
    pub fn compare(&self, clean: &Tensor, others: &[Tensor], targets: &[Option<u32>]) -> Result<Compared> {
        let tensors: Vec<&Tensor> = std::iter::once(clean).chain(others).collect();
        let mut d = 0;
        for hidden in &tensors {
            d = self.check(hidden, targets)?;
        }
        let hidden: Vec<Tensor> = tensors.into_iter().map(Tensor::contiguous).collect::<Result<_>>()?;
        let hidden: Vec<Numbers<'_>> = hidden.iter().map(Numbers::of).collect::<Result<_>>()?;
        let (output, n) = (Numbers::of(&self.output)?, self.positions(targets.len())?);
        let spare = Spare::<Space>::default();
        let tasks: Vec<Compared> = targets
            .par_chunks(n)
            .enumerate()
            .map(|(i, targets)| {
                let part = i * n * d..(i * n + targets.len()) * d;
                let hidden: Vec<&[f32]> = hidden.iter().map(|h| &h[part.clone()]).collect();
                spare.with(|space| self.compare_some(&hidden, &output, targets, space))
            })
            .collect();
        let mut all = Compared { clean: Vec::new(), others: vec![Vec::new(); others.len()] };
        for task in tasks {
            all.clean.extend(task.clean);
            all.others.iter_mut().zip(task.others).for_each(|(all, task)| all.extend(task));
        }
        Ok(all)
    }

    fn compare_some(
        &self,
        hidden: &[&[f32]],
        output: &[f32],
        targets: &[Option<u32>],
        space: &mut Space,
    ) -> Compared {
        let n = targets.len();
        if targets.iter().all(Option::is_none) {
            return Compared { clean: vec![None; n], others: vec![vec![None; n]; hidden.len() - 1] };
        }
        let d = hidden[0].len() / n;
        space.panels.resize(hidden.len(), Vec::new());
        let turned: Vec<_> =
            hidden.iter().zip(&mut space.panels).map(|(h, panels)| turned(h, d, panels)).collect();
        let mut softmax: Vec<Softmax> = hidden.iter().map(|_| Softmax::new(n)).collect();
        let mut excess: Vec<Excess> = hidden[1..].iter().map(|_| Excess { sums: vec![0.0; n] }).collect();
        for (part, rows) in output.chunks(CHUNK * d).enumerate() {
            let numbers = rows.len() / d * n;
            space.clean.resize(numbers, 0.0);
            space.other.resize(numbers, 0.0);
            self.logits(rows, &turned[0], &mut space.clean);
            let shifts = softmax[0].largest.clone();
            softmax[0].add(part * CHUNK, &space.clean, targets);
            for i in 1..hidden.len() {
                self.logits(rows, &turned[i], &mut space.other);
                softmax[i].add(part * CHUNK, &space.other, targets);
                excess[i - 1].add(&shifts, &softmax[0].largest, &space.clean, &space.other);
            }
        }
        let of = |i: usize| (1..hidden.len()).map(move |other| (i, other));
        let clean = targets.iter().enumerate().map(|(i, t)| t.map(|_| softmax[0].loss(i))).collect();
        let divergence = |i: usize, other: usize| {
            let mean = excess[other - 1].sums[i] / softmax[0].sums[i];
            // Rounding can leave −1e−8 where both are nearly equal.
            (mean - softmax[0].log_sum(i) + softmax[other].log_sum(i)).max(0.0) as f32
        };
        let mut others = vec![Vec::with_capacity(n); hidden.len() - 1];
        for (i, target) in targets.iter().enumerate() {
            for (i, other) in of(i) {
                others[other - 1].push(target.map(|_| (softmax[other].loss(i), divergence(i, other))));
            }
        }
        Compared { clean, others }
    }
}

impl Excess {
    /// Takes a chunk of logits; the shift of each position was raised from `before` to `now`.
    fn add(&mut self, before: &[f32], now: &[f32], clean: &[f32], other: &[f32]) {
        let mut sums = vec![0.0; now.len()];
        columns::add_excess(clean, other, now, &mut sums);
        for (i, sum) in sums.into_iter().enumerate() {
            let shrink = f64::from(before[i] - now[i]).exp();
            self.sums[i] = self.sums[i] * shrink + f64::from(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::normal;
    use super::*;

    /// Logits and their softmax in double precision, one position at a time.
    #[test]
    fn agrees_with_softmax_and_divergence_by_definition() {
        // More than a chunk of the vocabulary, and positions for several tasks.
        let (n, d, v) = (300, 5, CHUNK + 90);
        let [clean, other, w] = [(n, 1), (n, 2), (v, 3)].map(|(rows, seed)| normal(&[rows, d], seed));
        let targets: Vec<Option<u32>> = (0..n).map(|i| (i % 7 != 3).then_some((i * 13 % v) as u32)).collect();
        for cap in [None, Some(1.5)] {
            let unembedding = Unembedding { output: w.as_tensor().detach(), scale: 2.0, cap };
            let others = [other.as_tensor().detach(), clean.as_tensor().detach()];
            let found = unembedding.compare(&clean, &others, &targets).unwrap();
            let logs = |hidden: &Tensor| -> Vec<Vec<f64>> {
                let logits: Vec<Vec<f32>> = hidden.matmul(&w.t().unwrap()).unwrap().to_vec2().unwrap();
                let one = |row: &Vec<f32>| {
                    let capped = |l: &f32| match cap {
                        Some(cap) => cap * (2.0 * f64::from(*l) / cap).tanh(),
                        None => 2.0 * f64::from(*l),
                    };
                    let row: Vec<f64> = row.iter().map(capped).collect();
                    let sum: f64 = row.iter().map(|l| l.exp()).sum();
                    row.into_iter().map(|l| l - sum.ln()).collect()
                };
                logits.iter().map(one).collect()
            };
            let (p, q) = (logs(&clean), logs(&other));
            for i in 0..n {
                let Some(target) = targets[i] else {
                    assert!(found.clean[i].is_none() && found.others[0][i].is_none());
                    continue;
                };
                let close = |a: f32, b: f64| assert!((f64::from(a) - b).abs() < 1e-4, "{i}: {a} against {b}");
                close(found.clean[i].unwrap(), -p[i][target as usize]);
                let (loss, divergence) = found.others[0][i].unwrap();
                close(loss, -q[i][target as usize]);
                close(divergence, p[i].iter().zip(&q[i]).map(|(p, q)| p.exp() * (p - q)).sum());
                assert_eq!(found.others[1][i], Some((found.clean[i].unwrap(), 0.0)));
            }
        }
    }
}

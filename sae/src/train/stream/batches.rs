//! Batches of scaled rows from the stream.

use std::sync::Arc;

use storage::whitening::Whitening;

use super::pools::Pools;
use crate::train::statistics::{Statistics, TargetStatistics};
use crate::whiten;
use crate::{Error, Result};
use kernels::feature::norm_squared;

/// Rows of a batch, scaled.
#[derive(Debug, Default)]
pub struct Batch {
    /// Activations, times the input scale, `[rows, d]`.
    pub x: Vec<f32>,
    /// Gradients of the model's loss at what is reconstructed (the scaled activations or the scaled targets), `[rows, d]`; empty if they are
    /// not read. The loss is a function of x = x_scaled / scale, so they are those at x divided by the scale.
    pub gradients: Vec<f32>,
    /// Targets of a transcoder, scaled, `[rows, d]`, of a cross-layer transcoder those of all layers, `[rows, layers · d]`; empty if there
    /// are none.
    pub targets: Vec<f32>,
    /// Of a cross-layer transcoder, what each layer after the first reads, scaled, `[rows, d]`; `x` is what the first one reads.
    pub later: Vec<Vec<f32>>,
    /// Rows of the stream used or left out up to the end of this batch: where the next one begins.
    pub position: u64,
    /// Of those, rows left out.
    pub left_out: u64,
}

/// Fills batches from the stream of rows, scales them, and leaves out rows whose norm is above the limit.
pub struct Batches {
    pools: Pools,
    d: usize,
    scale: f32,
    whitening: Option<Arc<Whitening>>,
    target: Option<TargetStatistics>,
    limit: Option<f32>,
    /// Of each layer after the first.
    later: Vec<Statistics>,
    /// Rows of an epoch: so many rejected rows in a row mean that there are no others.
    epoch_rows: u64,
    left_out: u64,
}

impl Batches {
    /// Batches of rows of `d` activations, followed by as many targets if there are any, and by as many gradients or by nothing, of a stream
    /// with `epoch_rows` rows. Where the statistics are of several layers, rows are what all of them read, then what all of them write.
    pub fn new(pools: Pools, d: usize, statistics: &Statistics, epoch_rows: u64, left_out: u64) -> Self {
        let (target, limit) = (statistics.target.clone(), statistics.norm_limit);
        let (whitening, later) = (statistics.whitening.clone(), statistics.later.clone());
        Self {
            pools,
            d,
            scale: statistics.input_scale,
            whitening,
            target,
            limit,
            later,
            epoch_rows,
            left_out,
        }
    }

    /// Makes `batch` the next `rows` rows.
    ///
    /// # Errors
    /// Rows that cannot be read; a whole epoch of rows above the norm's limit.
    pub fn next(&mut self, batch: &mut Batch, rows: usize) -> Result<()> {
        batch.x.clear();
        batch.gradients.clear();
        batch.targets.clear();
        batch.later.resize_with(self.later.len(), Vec::new);
        batch.later.iter_mut().for_each(Vec::clear);
        let inputs = (1 + self.later.len()) * self.d;
        let (mut taken, mut rejected) = (0, 0);
        while taken < rows {
            let (read, after) = self.pools.next_row()?.split_at(inputs);
            // Statistics may be of a transcoder and the rows of its inputs alone, as where thresholds are fitted.
            let targets = if self.target.is_some() { inputs.min(after.len()) } else { 0 };
            let (written, gradients) = after.split_at(targets);
            let (row, rest) = read.split_at(self.d);
            // A norm that overflows is above every limit.
            let above =
                |row: &[f32], limit: Option<f32>| limit.is_some_and(|limit| norm_squared(row).sqrt() > limit);
            let of_target = |target: &Option<TargetStatistics>| target.as_ref().and_then(|t| t.norm_limit);
            let mut others = rest.chunks_exact(self.d).zip(&self.later);
            let others_above = others.any(|(row, layer)| above(row, layer.norm_limit));
            let of_layers = std::iter::once(&self.target).chain(self.later.iter().map(|layer| &layer.target));
            let mut written_in = written.chunks_exact(self.d).zip(of_layers);
            let written_above = written_in.any(|(row, target)| above(row, of_target(target)));
            if above(row, self.limit) || others_above || written_above {
                self.left_out += 1;
                rejected += 1;
                if rejected > self.epoch_rows {
                    return Err(Error::data(format!(
                        "none of {} rows has a norm below the limit {}",
                        self.epoch_rows,
                        self.limit.unwrap_or_default()
                    ))
                    .with_remedy("raise max_norm, or give max_norm = \"none\""));
                }
                continue;
            }
            match &self.target {
                None if self.whitening.is_some() => batch.x.extend_from_slice(row),
                None => {
                    batch.x.extend(row.iter().map(|x| x * self.scale));
                    batch.gradients.extend(gradients.iter().map(|g| g / self.scale));
                }
                Some(target) => {
                    take_pair(&mut batch.x, &mut batch.targets, (row, written), self.scale, target);
                    batch.gradients.extend(gradients.iter().map(|g| g / target.scale));
                    for (i, (layer, x)) in self.later.iter().zip(&mut batch.later).enumerate() {
                        let pair = (&rest[i * self.d..], written.get((i + 1) * self.d..).unwrap_or_default());
                        if let Some(target) = &layer.target {
                            take_pair(x, &mut batch.targets, pair, layer.input_scale, target);
                        }
                    }
                }
            }
            taken += 1;
            rejected = 0;
        }
        if let Some(whitening) = &self.whitening {
            whiten::apply(whitening, &mut batch.x);
            batch.x.iter_mut().for_each(|x| *x *= self.scale);
        }
        (batch.position, batch.left_out) = (self.pools.position(), self.left_out);
        Ok(())
    }
}

/// Takes the first row of `x` and the first of `y`, scaled.
fn take_pair(
    inputs: &mut Vec<f32>,
    targets: &mut Vec<f32>,
    (x, y): (&[f32], &[f32]),
    scale: f32,
    about: &TargetStatistics,
) {
    let d = about.input_shift.len();
    inputs.extend(x.iter().zip(&about.input_shift).map(|(x, shift)| (x - shift) * scale));
    targets.extend(y.iter().take(d).map(|y| y * about.scale));
}

#[cfg(test)]
mod tests {
    use super::super::order::Order;
    use super::super::rows::tests::InMemory;
    use super::*;

    /// Of rows that are multiplied by `scale`, without limits.
    fn scaled(scale: f32) -> Statistics {
        Statistics {
            input_scale: scale,
            input_variance: 1.0,
            norm_limit: None,
            rms: Vec::new(),
            mean_ratio: 0.0,
            whitening: None,
            target: None,
            later: Vec::new(),
        }
    }

    #[test]
    fn rows_above_the_limit_are_left_out_and_counted() {
        let x: Vec<f32> =
            (0..50).flat_map(|i| if i % 10 == 3 { [100.0, 0.0] } else { [i as f32 / 50.0, 1.0] }).collect();
        let pools = Pools::start(Box::new(InMemory { d: 2, x }), &Order::new(&[0..50], 4, 16, 1), 0).unwrap();
        let statistics = Statistics { norm_limit: Some(10.0), ..scaled(2.0) };
        let mut batches = Batches::new(pools, 2, &statistics, 50, 0);
        let mut batch = Batch::default();
        for _ in 0..5 {
            batches.next(&mut batch, 9).unwrap();
            assert_eq!((batch.x.len(), batch.gradients.len()), (18, 0));
            assert!(batch.x.chunks(2).all(|r| r[1] == 2.0));
        }
        assert!((45..=50).contains(&batch.position));
        batches.next(&mut batch, 1).unwrap();
        assert_eq!(batch.left_out, batch.position - 46);
    }

    #[test]
    fn rows_whose_target_is_above_the_limit_are_left_out_too() {
        // Inputs [i], targets [1], or [90] at every tenth.
        let x: Vec<f32> = (0..50).flat_map(|i| [i as f32, if i % 10 == 3 { 90.0 } else { 1.0 }]).collect();
        let pools = Pools::start(Box::new(InMemory { d: 2, x }), &Order::new(&[0..50], 4, 16, 1), 0).unwrap();
        let target = TargetStatistics { scale: 3.0, input_shift: vec![0.0], norm_limit: Some(10.0) };
        let statistics = Statistics { target: Some(target), ..scaled(1.0) };
        let mut batches = Batches::new(pools, 1, &statistics, 50, 0);
        let mut batch = Batch::default();
        batches.next(&mut batch, 45).unwrap();
        let mut seen: Vec<u32> = batch.x.iter().map(|x| *x as u32).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..50).filter(|i| i % 10 != 3).collect::<Vec<_>>());
        assert!(batch.targets.iter().all(|y| *y == 3.0));
        batches.next(&mut batch, 1).unwrap();
        assert_eq!(batch.left_out, batch.position - 46);
    }

    /// The loss does not change when activations are measured in another unit: g·dx = g'·dx'.
    #[test]
    fn gradients_are_scaled_against_activations() {
        let x: Vec<f32> = (0..40).map(|i| i as f32 - 20.0).collect();
        let pools =
            Pools::start(Box::new(InMemory { d: 4, x: x.clone() }), &Order::new(&[0..10], 10, 10, 1), 0)
                .unwrap();
        let statistics = scaled(0.25);
        let mut batch = Batch::default();
        Batches::new(pools, 2, &statistics, 10, 0).next(&mut batch, 10).unwrap();
        let products = |x: &[f32], g: &[f32]| x.iter().zip(g).map(|(x, g)| x * g).sum::<f32>();
        let raw: f32 = x.chunks(4).map(|row| products(&row[..2], &row[2..])).sum();
        assert_eq!(products(&batch.x, &batch.gradients), raw);
        assert_eq!(batch.x.len(), 20);
    }

    /// The same of gradients at targets: g·dy = g'·dy'.
    #[test]
    fn gradients_at_targets_are_scaled_against_targets() {
        let x: Vec<f32> = (0..60).map(|i| i as f32 - 20.0).collect();
        let source = Box::new(InMemory { d: 6, x: x.clone() });
        let pools = Pools::start(source, &Order::new(&[0..10], 10, 10, 1), 0).unwrap();
        let target = TargetStatistics { scale: 0.5, input_shift: vec![0.0; 2], norm_limit: None };
        let statistics = Statistics { target: Some(target), ..scaled(4.0) };
        let mut batch = Batch::default();
        Batches::new(pools, 2, &statistics, 10, 0).next(&mut batch, 10).unwrap();
        let products = |y: &[f32], g: &[f32]| y.iter().zip(g).map(|(y, g)| y * g).sum::<f32>();
        let raw: f32 = x.chunks(6).map(|row| products(&row[2..4], &row[4..])).sum();
        assert_eq!(products(&batch.targets, &batch.gradients), raw);
        assert_eq!((batch.x.len(), batch.targets.len(), batch.gradients.len()), (20, 20, 20));
    }
}

//! Batches of scaled rows from the stream.

use super::pools::Pools;
use super::statistics::Statistics;
use crate::kernels::feature::norm_squared;
use crate::{Error, Result};

/// Fills batches from the stream of rows, scales them, and leaves out rows whose norm is above the limit.
pub(crate) struct Batches {
    pools: Pools,
    scale: f32,
    limit: Option<f32>,
    /// Rows of an epoch: so many rejected rows in a row mean that there are no others.
    epoch_rows: u64,
    left_out: u64,
}

impl Batches {
    pub(crate) fn new(pools: Pools, statistics: &Statistics, epoch_rows: u64, left_out: u64) -> Self {
        Self { pools, scale: statistics.input_scale, limit: statistics.norm_limit, epoch_rows, left_out }
    }

    /// Rows of the stream used or left out so far: where the next batch begins.
    pub(crate) fn position(&self) -> u64 {
        self.pools.position()
    }

    /// Rows left out so far.
    pub(crate) fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Makes `batch` the next `rows` rows, `[rows, d]`.
    pub(crate) fn next(&mut self, batch: &mut Vec<f32>, rows: usize) -> Result<()> {
        batch.clear();
        let (mut taken, mut rejected) = (0, 0);
        while taken < rows {
            let row = self.pools.next_row()?;
            // A norm that overflows is above every limit.
            if self.limit.is_some_and(|limit| norm_squared(row).sqrt() > limit) {
                self.left_out += 1;
                rejected += 1;
                if rejected > self.epoch_rows {
                    return Err(Error::data(
                        "every row is above the limit of max_activation_norm_multiple; raise it",
                    ));
                }
                continue;
            }
            batch.extend(row.iter().map(|x| x * self.scale));
            taken += 1;
            rejected = 0;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::Order;
    use super::super::rows::tests::InMemory;
    use super::*;

    #[test]
    fn rows_above_the_limit_are_left_out_and_counted() {
        let x: Vec<f32> =
            (0..50).flat_map(|i| if i % 10 == 3 { [100.0, 0.0] } else { [i as f32 / 50.0, 1.0] }).collect();
        let pools = Pools::start(Box::new(InMemory { d: 2, x }), &Order::new(&[0..50], 4, 16, 1), 0).unwrap();
        let statistics = Statistics { input_scale: 2.0, input_variance: 1.0, norm_limit: Some(10.0) };
        let mut batches = Batches::new(pools, &statistics, 50, 0);
        let mut batch = Vec::new();
        for _ in 0..5 {
            batches.next(&mut batch, 9).unwrap();
            assert_eq!(batch.len(), 18);
            assert!(batch.chunks(2).all(|r| r[1] == 2.0));
        }
        assert!((45..=50).contains(&batches.position()));
        batches.next(&mut batch, 1).unwrap();
        assert_eq!(batches.left_out(), batches.position() - 46);
    }
}

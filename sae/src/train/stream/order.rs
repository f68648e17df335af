//! The order in which rows are trained on: a pure function of (seed, epoch), so a checkpoint stores only a position.
//!
//! Training rows are cut into blocks of consecutive rows. Every epoch permutes the blocks over the whole dataset and takes them
//! in pools; the rows of a pool are permuted again. A pool is read from disk as a whole, a batch mixes rows of many documents,
//! and memory is bounded by the pool. The permuted rows of all epochs are one endless stream; batches are consecutive rows of
//! it, across ends of pools and epochs.

use std::ops::Range;

use kernels::chance::{Purpose, generator, shuffle};

/// The stream of training rows.
#[derive(Debug, Clone)]
pub struct Order {
    blocks: Vec<Range<u64>>,
    rows: u64,
    pool_rows: u64,
    seed: u64,
}

/// What one pool holds.
#[derive(Debug, Clone, PartialEq)]
pub struct PoolPlan {
    /// Rows of the dataset, ascending.
    pub ranges: Vec<Range<u64>>,
    /// The order in which the rows of `ranges`, laid end to end, are taken. Rows that were taken before are left out.
    pub order: Vec<u32>,
}

impl Order {
    /// The stream over `ranges` of rows (ascending, disjoint), in blocks of at most `block_rows`, pools of about `pool_rows`.
    pub fn new(ranges: &[Range<u64>], block_rows: u64, pool_rows: u64, seed: u64) -> Self {
        let block_rows = block_rows.max(1);
        let blocks: Vec<Range<u64>> = ranges
            .iter()
            .flat_map(|range| {
                let end = range.end;
                range
                    .clone()
                    .step_by(block_rows as usize)
                    .map(move |start| start..(start + block_rows).min(end))
            })
            .collect();
        let rows = blocks.iter().map(|b| b.end - b.start).sum();
        Self { blocks, rows, pool_rows: pool_rows.max(1), seed }
    }

    /// Rows of an epoch.
    #[cfg(test)]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The pools of the stream from `position` on, without end (without any if there are no rows).
    pub fn pools(&self, position: u64) -> impl Iterator<Item = PoolPlan> + Send + use<> {
        let (order, seed) = (self.clone(), self.seed);
        let epochs = position.checked_div(self.rows).map_or(0..0, |first| first..u64::MAX);
        let mut skip = position.checked_rem(self.rows).unwrap_or(0);
        let pools = epochs.flat_map(move |epoch| {
            order.epoch(epoch).into_iter().zip(0..).map(move |(ranges, number)| (epoch, number, ranges))
        });
        pools.filter_map(move |(epoch, number, ranges)| {
            let rows: u64 = ranges.iter().map(|r| r.end - r.start).sum();
            if skip >= rows {
                skip -= rows;
                return None;
            }
            let mut order: Vec<u32> = (0..rows as u32).collect();
            shuffle(&mut order, &mut generator(seed, Purpose::Rows, epoch, number));
            order.drain(..skip as usize);
            skip = 0;
            Some(PoolPlan { ranges, order })
        })
    }

    /// The ranges of each pool of `epoch`, ascending within a pool.
    fn epoch(&self, epoch: u64) -> Vec<Vec<Range<u64>>> {
        let mut blocks = self.blocks.clone();
        shuffle(&mut blocks, &mut generator(self.seed, Purpose::Blocks, epoch, 0));
        let mut pools: Vec<Vec<Range<u64>>> = Vec::new();
        let mut filled = u64::MAX;
        for block in blocks {
            if filled >= self.pool_rows {
                pools.push(Vec::new());
                filled = 0;
            }
            filled += block.end - block.start;
            if let Some(pool) = pools.last_mut() {
                pool.push(block);
            }
        }
        for pool in &mut pools {
            pool.sort_unstable_by_key(|r| r.start);
        }
        pools
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(order: &Order, position: u64, n: usize) -> Vec<u64> {
        order
            .pools(position)
            .flat_map(|pool| {
                let rows: Vec<u64> = pool.ranges.into_iter().flatten().collect();
                pool.order.into_iter().map(move |i| rows[i as usize])
            })
            .take(n)
            .collect()
    }

    fn order() -> Order {
        Order::new(&[0..100, 150..163, 200..531], 16, 120, 5)
    }

    #[test]
    fn every_epoch_visits_every_row_once_in_another_order() {
        let order = order();
        assert_eq!(order.rows(), 444);
        let rows = stream(&order, 0, 888);
        let expected: Vec<u64> = (0..100).chain(150..163).chain(200..531).collect();
        for epoch in rows.chunks(444) {
            let mut sorted = epoch.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, expected);
        }
        assert_ne!(rows[..444], rows[444..]);
        assert_ne!(rows, stream(&Order::new(&[0..100, 150..163, 200..531], 16, 120, 6), 0, 888));
    }

    #[test]
    fn the_stream_can_be_entered_anywhere() {
        let order = order();
        let whole = stream(&order, 0, 1400);
        for position in [0, 1, 119, 120, 128, 443, 444, 445, 900] {
            assert_eq!(stream(&order, position as u64, 1400 - position), whole[position..], "{position}");
        }
    }

    #[test]
    fn pools_are_bounded_and_mix_far_apart_rows() {
        let order = Order::new(&[0..10_000], 16, 1000, 1);
        let pool = order.pools(0).next().unwrap();
        assert!((1000..1016).contains(&pool.order.len()));
        assert!(pool.ranges.is_sorted_by_key(|r| r.start));
        let first: Vec<u64> = stream(&order, 0, 100);
        assert!(first.iter().max().unwrap() - first.iter().min().unwrap() > 8000);
    }

    #[test]
    fn no_rows_no_pools() {
        assert!(Order::new(&[], 16, 10, 1).pools(0).next().is_none());
    }
}

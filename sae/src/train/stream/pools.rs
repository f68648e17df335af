//! Pools of rows, read ahead by a thread of their own.

use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::order::{Order, PoolPlan};
use super::rows::RowSource;
use crate::{Error, Result};

/// Rows of one pool and the order in which they are taken.
pub struct Pool {
    rows: Arc<Vec<f32>>,
    order: Vec<u32>,
    next: usize,
}

/// The endless stream of training rows from a position on. While one pool is used the next one is read; two are in memory.
pub struct Pools {
    d: usize,
    receiver: Option<Receiver<Result<Pool>>>,
    /// Takes used pools back to the thread, whose next one is read into their memory.
    used: Sender<Arc<Vec<f32>>>,
    thread: Option<JoinHandle<()>>,
    current: Option<Pool>,
    position: u64,
}

impl Pools {
    /// Starts reading the stream of `order` from `position`.
    ///
    /// # Errors
    /// A thread that the system does not give.
    pub fn start(mut source: Box<dyn RowSource>, order: &Order, position: u64) -> Result<Self> {
        let d = source.width();
        // Without room in the channel: the thread waits with the pool it has read, and reads no further.
        let (sender, receiver) = sync_channel(0);
        let (used, returned) = channel();
        let plans = order.pools(position);
        let read_all = move || {
            let mut cache: Cache = None;
            for plan in plans {
                let pool = read(source.as_mut(), plan, &mut cache, &returned);
                let failed = pool.is_err();
                if sender.send(pool).is_err() || failed {
                    break;
                }
            }
        };
        let thread = Builder::new()
            .name("activations".to_owned())
            .spawn(read_all)
            .map_err(|e| Error::request(format!("cannot start the thread that reads activations: {e}")))?;
        Ok(Self { d, receiver: Some(receiver), used, thread: Some(thread), current: None, position })
    }

    /// Rows of the stream taken so far, counted from the very first.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The first `width` numbers of the next rows of the stream, at most `n` and at most the rest of a pool, without taking them,
    /// `[≤ n, width]`.
    ///
    /// # Errors
    /// Rows that cannot be read.
    pub fn peek(&mut self, n: usize, width: usize) -> Result<Vec<f32>> {
        self.load()?;
        let Some(pool) = &self.current else { return Ok(Vec::new()) };
        let rows = pool.order[pool.next..].iter().take(n);
        let start = |i: u32| i as usize * self.d;
        Ok(rows.flat_map(|&i| &pool.rows[start(i)..start(i) + width]).copied().collect())
    }

    /// The next row of the stream, `[d]`.
    ///
    /// # Errors
    /// Rows that cannot be read.
    pub fn next_row(&mut self) -> Result<&[f32]> {
        self.load()?;
        let Some(pool) = &mut self.current else { return Ok(&[]) };
        let at = pool.order[pool.next] as usize * self.d;
        pool.next += 1;
        self.position += 1;
        Ok(&pool.rows[at..at + self.d])
    }

    /// Makes sure that the current pool has a row left.
    fn load(&mut self) -> Result<()> {
        while self.current.as_ref().is_none_or(|pool| pool.next >= pool.order.len()) {
            // The old pool goes first, so that only two are ever in memory.
            if let Some(old) = self.current.take() {
                // Nobody takes it from a thread that has ended; the next line reports that.
                let _ = self.used.send(old.rows);
            }
            let ended = || Error::data("the reader of activations ended early");
            let received = self.receiver.as_ref().and_then(|r| r.recv().ok()).ok_or_else(ended)?;
            self.current = Some(received?);
        }
        Ok(())
    }
}

impl Drop for Pools {
    fn drop(&mut self) {
        // Closing the channel first makes the thread's next send fail, so that it ends.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

type Cache = Option<(Vec<Range<u64>>, Arc<Vec<f32>>)>;

fn read(
    source: &mut dyn RowSource,
    plan: PoolPlan,
    cache: &mut Cache,
    returned: &Receiver<Arc<Vec<f32>>>,
) -> Result<Pool> {
    // A dataset that fits into one pool is read once, whatever the number of epochs.
    let kept = cache.take().filter(|(ranges, _)| *ranges == plan.ranges);
    // Fresh memory of this size would cost as much as a tenth of reading.
    let spare = returned.try_iter().filter_map(Arc::into_inner).last();
    let rows = match kept {
        Some((_, rows)) => rows,
        None => {
            let mut rows = spare.unwrap_or_default();
            source.read(&plan.ranges, &mut rows)?;
            require_finite(source, &plan.ranges, &rows)?;
            Arc::new(rows)
        }
    };
    // Kept only as long as the pool itself lives anyway: of a larger dataset nothing stays in memory.
    *cache = Some((plan.ranges, Arc::clone(&rows)));
    Ok(Pool { rows, order: plan.order, next: 0 })
}

fn require_finite(source: &mut dyn RowSource, ranges: &[Range<u64>], rows: &[f32]) -> Result<()> {
    let Some(at) = rows.iter().position(|v| !v.is_finite()) else { return Ok(()) };
    let (index, column) = (at / source.width(), at % source.width());
    let row = ranges.iter().cloned().flatten().nth(index).unwrap_or_default();
    Err(Error::data(format!(
        "{} of {} is {}; expected finite numbers",
        source.name(column),
        source.describe(row),
        rows[at]
    ))
    .with_remedy("harvest again in f32, or leave the document out"))
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::InMemory;
    use super::*;

    fn pools(x: Vec<f32>, d: usize, pool_rows: u64, position: u64) -> Pools {
        let rows = (x.len() / d) as u64;
        Pools::start(Box::new(InMemory { d, x }), &Order::new(&[0..rows], 8, pool_rows, 3), position).unwrap()
    }

    fn numbers(n: usize) -> Vec<f32> {
        (0..n).map(|i| i as f32).collect()
    }

    #[test]
    fn rows_arrive_in_the_stream_s_order_from_any_position() {
        for pool_rows in [30, 1000] {
            let mut whole = pools(numbers(200), 2, pool_rows, 0);
            let rows: Vec<Vec<f32>> = (0..350).map(|_| whole.next_row().unwrap().to_vec()).collect();
            let mut seen: Vec<f32> = rows[..100].iter().map(|r| r[0]).collect();
            seen.sort_by(f32::total_cmp);
            assert_eq!(seen, (0..100).map(|i| 2.0 * i as f32).collect::<Vec<_>>());
            let mut later = pools(numbers(200), 2, pool_rows, 137);
            assert_eq!(later.position(), 137);
            for expected in &rows[137..] {
                assert_eq!(later.next_row().unwrap(), expected);
            }
            assert_eq!(later.position(), 350);
        }
    }

    #[test]
    fn values_that_are_not_finite_are_named() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = numbers(60);
            x[2 * 17 + 1] = bad;
            let mut pools = pools(x, 2, 1000, 0);
            let message = pools.next_row().unwrap_err().to_string();
            assert!(
                message.contains("activation 1 of row 17") && message.contains(&bad.to_string()),
                "{message}"
            );
        }
    }

    #[test]
    fn dropping_ends_the_thread() {
        let mut pools = pools(numbers(2000), 2, 16, 0);
        pools.next_row().unwrap();
        drop(pools);
    }
}

//! Batches that a thread of their own puts together while steps are done.

use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::batches::{Batch, Batches};
use crate::{Error, Result};

/// The batches of a stream, some of them ahead of time. They are the same as without a thread.
pub struct Ahead {
    receiver: Option<Receiver<Result<Batch>>>,
    /// Takes used batches back to the thread, for their memory.
    used: Sender<Batch>,
    thread: Option<JoinHandle<()>>,
}

impl Ahead {
    /// Begins to put together batches of `rows` rows, `ahead` (at least one) before they are asked for.
    ///
    /// # Errors
    /// A thread that the system does not give.
    pub fn start(mut batches: Batches, rows: usize, ahead: usize) -> Result<Self> {
        // One more than the channel holds waits in the thread.
        let (sender, receiver) = sync_channel(ahead.saturating_sub(1));
        let (used, returned) = channel::<Batch>();
        let fill_all = move || {
            loop {
                let mut batch = returned.try_recv().unwrap_or_default();
                let filled = batches.next(&mut batch, rows).map(|()| batch);
                let failed = filled.is_err();
                if sender.send(filled).is_err() || failed {
                    break;
                }
            }
        };
        let thread = Builder::new()
            .name("batches".to_owned())
            .spawn(fill_all)
            .map_err(|e| Error::request(format!("cannot start the thread that makes batches: {e}")))?;
        Ok(Self { receiver: Some(receiver), used, thread: Some(thread) })
    }

    /// Makes `batch` the next one of the stream.
    ///
    /// # Errors
    /// As [`Batches::next`], from the thread that makes batches.
    pub fn next(&mut self, batch: &mut Batch) -> Result<()> {
        // Nobody takes it from a thread that has ended; the next line reports that.
        let _ = self.used.send(std::mem::take(batch));
        let ended = || Error::data("the thread that makes batches ended early");
        *batch = self.receiver.as_ref().and_then(|r| r.recv().ok()).ok_or_else(ended)??;
        Ok(())
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        // Closing the channel first makes the thread's next send fail, so that it ends.
        self.receiver = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::order::Order;
    use super::super::pools::Pools;
    use super::super::rows::tests::InMemory;
    use super::*;
    use crate::train::statistics::Statistics;

    fn batches(limit: Option<f32>) -> Batches {
        let x: Vec<f32> = (0..400).map(|i| i as f32).collect();
        let pools =
            Pools::start(Box::new(InMemory { d: 2, x }), &Order::new(&[0..200], 8, 32, 1), 0).unwrap();
        let statistics = Statistics {
            input_scale: 0.5,
            input_variance: 1.0,
            norm_limit: limit,
            rms: Vec::new(),
            mean_ratio: 0.0,
            whitening: None,
            target: None,
            later: Vec::new(),
        };
        Batches::new(pools, 2, &statistics, 200, 0)
    }

    #[test]
    fn batches_are_those_of_the_stream() {
        for ahead in [1, 3] {
            let mut alone = batches(Some(300.0));
            let mut stream = Ahead::start(batches(Some(300.0)), 7, ahead).unwrap();
            let (mut expected, mut got) = (Batch::default(), Batch::default());
            for _ in 0..60 {
                alone.next(&mut expected, 7).unwrap();
                stream.next(&mut got).unwrap();
                assert_eq!(
                    (&got.x, got.position, got.left_out),
                    (&expected.x, expected.position, expected.left_out)
                );
            }
            assert!(got.left_out > 0);
        }
    }

    #[test]
    fn an_error_arrives_and_stays_one() {
        let mut stream = Ahead::start(batches(Some(0.0)), 7, 2).unwrap();
        let mut batch = Batch::default();
        let message = stream.next(&mut batch).unwrap_err().to_string();
        assert!(message.contains("max_norm"), "{message}");
        assert!(stream.next(&mut batch).is_err());
    }
}

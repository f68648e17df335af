//! One thing a view wants: asked for, under way, or here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::time::Duration;

use super::workers::Job;
use super::{Lane, Problem, Workers};

/// A value made in the background. The last whole value stays until a newer one arrives.
pub struct Request<T> {
    /// Raised by every `ask`; jobs and answers of an older one are stale.
    generation: Arc<AtomicU64>,
    answer: Option<Receiver<Result<T, Problem>>>,
    /// A job that its lane had no room for, to be offered again.
    waiting: Option<(Lane, Job)>,
    value: Option<Arc<T>>,
    problem: Option<Problem>,
    version: u64,
}

impl<T> std::fmt::Debug for Request<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Requested")
            .field("has_value", &self.value.is_some())
            .field("loading", &self.loading())
            .field("problem", &self.problem)
            .finish_non_exhaustive()
    }
}

impl<T> Default for Request<T> {
    fn default() -> Self {
        Self {
            generation: Arc::default(),
            answer: None,
            waiting: None,
            value: None,
            problem: None,
            version: 0,
        }
    }
}

impl<T: Send + Sync + 'static> Request<T> {
    /// Nothing asked yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for `make` to be run in `lane`; what was asked before and is not yet here is forgotten.
    pub fn ask(
        &mut self,
        workers: &Workers,
        lane: Lane,
        make: impl FnOnce() -> Result<T, Problem> + Send + 'static,
    ) {
        let mine = self.generation.fetch_add(1, Ordering::Relaxed) + 1;
        let newest = Arc::clone(&self.generation);
        let (sender, receiver) = sync_channel(1);
        let ctx = workers.ctx().clone();
        let job: Job = Box::new(move || {
            if newest.load(Ordering::Relaxed) != mine {
                return;
            }
            // Dropped last (locals go in reverse order), so that the window wakes when the answer is there,
            // or, if `make` panics, when the sender is gone, which is then the news.
            let _wake = Wake(ctx);
            let sender = sender;
            let made = make();
            // The view may be gone; that is not a failure.
            let _ = sender.send(made);
        });
        self.answer = Some(receiver);
        self.waiting = Some((lane, job));
        self.offer(workers);
    }

    /// Takes an answer that has arrived. True when there is news. Call once per frame.
    pub fn poll(&mut self, workers: &Workers) -> bool {
        self.offer(workers);
        let Some(answer) = &self.answer else { return false };
        match answer.try_recv() {
            Ok(Ok(value)) => {
                self.value = Some(Arc::new(value));
                self.problem = None;
            }
            Ok(Err(problem)) => self.problem = Some(problem),
            Err(TryRecvError::Empty) => return false,
            Err(TryRecvError::Disconnected) => {
                self.problem = Some(
                    Problem::new("Background work ended without a result; this is a fault of the program.")
                        .with_remedy("Try again; if it stays, please report it with the file that was open."),
                );
            }
        }
        self.answer = None;
        self.version += 1;
        true
    }

    fn offer(&mut self, workers: &Workers) {
        if let Some((lane, job)) = self.waiting.take()
            && let Err(job) = workers.offer(lane, job)
        {
            self.waiting = Some((lane, job));
            workers.ctx().request_repaint_after(Duration::from_millis(20));
        }
    }
}

impl<T> Request<T> {
    /// The newest whole value.
    pub fn value(&self) -> Option<&Arc<T>> {
        self.value.as_ref()
    }

    /// Why the newest request failed. The value before it may still be there.
    pub fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    /// Whether an answer is under way.
    pub fn loading(&self) -> bool {
        self.answer.is_some()
    }

    /// Whether nothing was ever asked.
    pub fn untouched(&self) -> bool {
        self.generation.load(Ordering::Relaxed) == 0
    }

    /// Raised with every answer; a key for things derived from the value.
    pub fn version(&self) -> u64 {
        self.version
    }
}

/// Asks for a frame when dropped.
struct Wake(egui::Context);

impl Drop for Wake {
    fn drop(&mut self) {
        self.0.request_repaint();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Instant;

    fn settle<T: Send + Sync + 'static>(r: &mut Request<T>, w: &Workers) {
        let start = Instant::now();
        while r.loading() && start.elapsed() < Duration::from_secs(5) {
            r.poll(w);
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn a_stale_answer_is_dropped_and_the_old_value_kept_meanwhile() {
        let workers = Workers::start(&egui::Context::default()).unwrap();
        let mut r = Request::new();
        r.ask(&workers, Lane::Pages, || Ok(1));
        settle(&mut r, &workers);
        assert_eq!(r.value().map(|v| **v), Some(1));

        let (go, gate) = channel::<()>();
        r.ask(&workers, Lane::Pages, move || {
            let _ = gate.recv();
            Ok(2)
        });
        assert_eq!(r.value().map(|v| **v), Some(1), "the value stays while the next is made");
        r.ask(&workers, Lane::Pages, || Ok(3));
        // A job that had not begun is dropped with its end of the channel.
        let _ = go.send(());
        settle(&mut r, &workers);
        assert_eq!(r.value().map(|v| **v), Some(3));
        assert!(!r.poll(&workers), "the answer 2 never arrives");
    }

    #[test]
    fn a_failed_request_keeps_the_value_and_says_why() {
        let workers = Workers::start(&egui::Context::default()).unwrap();
        let mut r = Request::new();
        r.ask(&workers, Lane::Sort, || Ok(1));
        settle(&mut r, &workers);
        r.ask(&workers, Lane::Sort, || Err(Problem::new("no")));
        settle(&mut r, &workers);
        assert_eq!(r.value().map(|v| **v), Some(1));
        assert_eq!(r.problem().map(|p| p.what.as_str()), Some("no"));
    }

    #[test]
    fn a_panicking_job_is_a_problem_and_the_lane_survives() {
        let workers = Workers::start(&egui::Context::default()).unwrap();
        let mut r: Request<u8> = Request::new();
        r.ask(&workers, Lane::Sort, || panic!("on purpose"));
        settle(&mut r, &workers);
        assert!(r.problem().is_some());
        r.ask(&workers, Lane::Sort, || Ok(7));
        settle(&mut r, &workers);
        assert_eq!(r.value().map(|v| **v), Some(7));
        assert!(r.problem().is_none());
    }

    #[test]
    fn a_full_lane_is_no_loss() {
        let workers = Workers::start(&egui::Context::default()).unwrap();
        let mut many: Vec<Request<usize>> = (0..200).map(|_| Request::new()).collect();
        for (i, r) in many.iter_mut().enumerate() {
            r.ask(&workers, Lane::Folders, move || Ok(i));
        }
        for (i, r) in many.iter_mut().enumerate() {
            settle(r, &workers);
            assert_eq!(r.value().map(|v| **v), Some(i));
        }
    }
}

//! A list that comes in pieces from one long pass, with its progress, and that can be stopped.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Lane, Problem, Request, Workers};

/// Pieces wake the window at most this often.
const WAKE: Duration = Duration::from_millis(80);

/// How far a pass came.
#[derive(Debug, Default)]
struct Progress {
    done: AtomicU64,
    total: AtomicU64,
}

/// What a job sends its pieces to.
#[derive(Debug)]
pub struct Feed<T> {
    pieces: Sender<T>,
    progress: Arc<Progress>,
    newest: Arc<AtomicU64>,
    mine: u64,
    ctx: egui::Context,
    woken: Mutex<Instant>,
}

impl<T> Feed<T> {
    /// Sends a piece.
    pub fn send(&self, piece: T) {
        // Nobody may be listening any more; the job finds out by `cancelled`.
        let _ = self.pieces.send(piece);
        self.wake();
    }

    /// Says how far the pass came.
    pub fn progress(&self, done: u64, total: u64) {
        self.progress.done.store(done, Ordering::Relaxed);
        self.progress.total.store(total, Ordering::Relaxed);
        self.wake();
    }

    /// Whether to give up: something else was asked for, or nothing any more.
    pub fn cancelled(&self) -> bool {
        self.newest.load(Ordering::Relaxed) != self.mine
    }

    fn wake(&self) {
        let mut woken = self.woken.lock().unwrap_or_else(PoisonError::into_inner);
        if woken.elapsed() >= WAKE {
            *woken = Instant::now();
            self.ctx.request_repaint();
        }
    }
}

/// Pieces of a pass over a table, in the order in which they were found.
#[derive(Debug)]
pub struct StreamedRequest<T> {
    pieces: Vec<T>,
    coming: Option<Receiver<T>>,
    progress: Arc<Progress>,
    newest: Arc<AtomicU64>,
    end: Request<()>,
    stopped: bool,
}

impl<T> Default for StreamedRequest<T> {
    fn default() -> Self {
        Self {
            pieces: Vec::new(),
            coming: None,
            progress: Arc::default(),
            newest: Arc::default(),
            end: Request::new(),
            stopped: false,
        }
    }
}

impl<T> Drop for StreamedRequest<T> {
    fn drop(&mut self) {
        self.newest.fetch_add(1, Ordering::Relaxed);
    }
}

impl<T: Send + 'static> StreamedRequest<T> {
    /// Begins a pass and forgets the pieces of the one before, which is stopped.
    pub fn ask(
        &mut self,
        workers: &Workers,
        lane: Lane,
        make: impl FnOnce(&Feed<T>) -> Result<(), Problem> + Send + 'static,
    ) {
        self.pieces.clear();
        self.go_on(workers, lane, make);
    }

    /// Begins a pass whose pieces follow those that are here.
    pub fn go_on(
        &mut self,
        workers: &Workers,
        lane: Lane,
        make: impl FnOnce(&Feed<T>) -> Result<(), Problem> + Send + 'static,
    ) {
        let (pieces, coming) = channel();
        self.progress = Arc::default();
        self.stopped = false;
        self.coming = Some(coming);
        let mine = self.newest.fetch_add(1, Ordering::Relaxed) + 1;
        let (progress, newest, ctx) =
            (Arc::clone(&self.progress), Arc::clone(&self.newest), workers.ctx().clone());
        self.end.ask(workers, lane, move || {
            make(&Feed { pieces, progress, newest, mine, ctx, woken: Instant::now().into() })
        });
    }

    /// Takes what has arrived. Call once per frame.
    pub fn poll(&mut self, workers: &Workers) {
        // The end first: what was sent before it is then in the channel.
        self.end.poll(workers);
        let Some(coming) = &self.coming else { return };
        loop {
            match coming.try_recv() {
                Ok(piece) => self.pieces.push(piece),
                Err(TryRecvError::Empty) => return,
                Err(TryRecvError::Disconnected) => break,
            }
        }
        self.coming = None;
    }
}

impl<T> StreamedRequest<T> {
    /// Stops the pass; what was found stays.
    pub fn stop(&mut self) {
        if self.loading() {
            self.newest.fetch_add(1, Ordering::Relaxed);
            self.stopped = true;
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.stop();
        self.pieces.clear();
        self.coming = None;
        self.stopped = false;
    }

    /// What was found so far.
    pub fn pieces(&self) -> &[T] {
        &self.pieces
    }

    /// Whether the pass continues.
    pub fn loading(&self) -> bool {
        !self.stopped && self.end.loading()
    }

    /// Whether the person stopped it before its end.
    pub fn stopped(&self) -> bool {
        self.stopped
    }

    /// Whether nothing was ever asked.
    pub fn untouched(&self) -> bool {
        self.end.untouched()
    }

    /// Why it failed.
    pub fn problem(&self) -> Option<&Problem> {
        self.end.problem().filter(|_| !self.end.loading() && !self.stopped)
    }

    /// Done and total, in whatever the job counts; `None` before it says so.
    pub fn progress(&self) -> Option<(u64, u64)> {
        let total = self.progress.total.load(Ordering::Relaxed);
        (total > 0).then(|| (self.progress.done.load(Ordering::Relaxed), total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    fn until(done: impl Fn(&mut StreamedRequest<u32>) -> bool, s: &mut StreamedRequest<u32>, w: &Workers) {
        let start = Instant::now();
        while !done(s) {
            s.poll(w);
            assert!(start.elapsed() < Duration::from_secs(5));
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn pieces_arrive_while_the_pass_goes_on_and_it_can_be_stopped() {
        let workers = Workers::start(&egui::Context::default()).unwrap();
        let mut s = StreamedRequest::default();
        let (gone, left) = sync_channel(1);
        s.ask(&workers, Lane::Scans, move |feed| {
            feed.progress(1, 10);
            feed.send(1);
            feed.send(2);
            while !feed.cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            gone.send(()).unwrap();
            Ok(())
        });
        until(|s| s.pieces() == [1, 2], &mut s, &workers);
        assert!(s.loading() && s.progress() == Some((1, 10)));
        s.stop();
        left.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(!s.loading() && s.stopped() && s.pieces() == [1, 2]);
        s.go_on(&workers, Lane::Scans, |feed| {
            feed.send(3);
            Err(Problem::new("no"))
        });
        until(|s| s.problem().is_some() && s.pieces() == [1, 2, 3], &mut s, &workers);
        s.ask(&workers, Lane::Scans, |_| Ok(()));
        assert!(s.pieces().is_empty());
        until(|s| !s.loading(), &mut s, &workers);
        assert!(s.problem().is_none());
    }

    #[test]
    fn a_dropped_list_stops_its_pass() {
        let workers = Workers::start(&egui::Context::default()).unwrap();
        let mut s: StreamedRequest<u32> = StreamedRequest::default();
        let (gone, left) = sync_channel(1);
        s.ask(&workers, Lane::Scans, move |feed| {
            while !feed.cancelled() {
                std::thread::sleep(Duration::from_millis(1));
            }
            gone.send(()).unwrap();
            Ok(())
        });
        drop(s);
        left.recv_timeout(Duration::from_secs(5)).unwrap();
    }
}

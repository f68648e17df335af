//! The worker threads: one for each kind of work, so that a slow sort never holds up a page of text.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};

use egui::Context;

use super::Problem;

/// A unit of background work. It must deliver its own answer.
pub(super) type Job = Box<dyn FnOnce() + Send>;

/// Which thread does the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Finding folders, run records, curves: small files.
    Folders,
    /// Whole columns of a feature table.
    Tables,
    /// Sorting and filtering what is in memory.
    Sort,
    /// One feature's page, one document's text: what the person is waiting for.
    Pages,
    /// Passes over whole tables that take seconds and are stopped when nobody waits for them any more.
    Scans,
    /// A language model at work on what a person typed: seconds, sometimes more.
    Model,
    /// Writing: settings, notes, exports.
    Settings,
}

const LANES: [(Lane, &str); 7] = [
    (Lane::Folders, "sae-folders"),
    (Lane::Tables, "sae-tables"),
    (Lane::Sort, "sae-sort"),
    (Lane::Pages, "sae-pages"),
    (Lane::Scans, "sae-scans"),
    (Lane::Model, "sae-model"),
    (Lane::Settings, "sae-settings"),
];

/// Jobs that may wait in a lane. A full lane refuses; the asker keeps the job and offers it again.
const DEPTH: usize = 16;

/// The running threads; they end when this is dropped.
#[derive(Debug)]
pub struct Workers {
    lanes: Vec<SyncSender<Job>>,
    /// Jobs that were handed over and are not done.
    unfinished: Arc<AtomicUsize>,
    ctx: Context,
}

impl Workers {
    /// Starts the threads; `ctx` is woken when an answer is there.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub fn start(ctx: &Context) -> Result<Self, Problem> {
        let mut lanes = Vec::with_capacity(LANES.len());
        let unfinished = Arc::new(AtomicUsize::new(0));
        for (_, name) in LANES {
            let (sender, receiver) = sync_channel::<Job>(DEPTH);
            let done = Arc::clone(&unfinished);
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(move || {
                    while let Ok(job) = receiver.recv() {
                        // A job that panics drops its answer channel, which its asker reports; the lane goes
                        // on.
                        let _ = catch_unwind(AssertUnwindSafe(job));
                        done.fetch_sub(1, Ordering::AcqRel);
                    }
                })
                .map_err(|e| {
                    Problem::new(format!("Cannot start the thread {name}: {e}."))
                        .with_remedy("Close other programs or raise the limit on processes (`ulimit -u`).")
                })?;
            lanes.push(sender);
        }
        Ok(Self { lanes, unfinished, ctx: ctx.clone() })
    }

    /// Hands `job` over, or gives it back when the lane is full.
    pub(super) fn offer(&self, lane: Lane, job: Job) -> Result<(), Job> {
        let Some(at) = LANES.iter().position(|(l, _)| *l == lane) else { return Err(job) };
        // Counted before it is sent: its thread may be done with it at once.
        self.unfinished.fetch_add(1, Ordering::AcqRel);
        match self.lanes[at].try_send(job) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) => {
                self.unfinished.fetch_sub(1, Ordering::AcqRel);
                Err(job)
            }
        }
    }

    /// Whether all that was handed over is done.
    pub fn idle(&self) -> bool {
        self.unfinished.load(Ordering::Acquire) == 0
    }

    /// What to wake when there is news.
    pub(super) fn ctx(&self) -> &Context {
        &self.ctx
    }
}

//! How long work talks to whoever started it: what is done, how much there is, and whether to stop.

/// Receives the progress of a long job. `cli` draws bars or prints lines, tests record, [`Quiet`] ignores.
///
/// Jobs call it from one thread, often; an implementation that prints must limit its own rate.
pub trait Progress {
    /// A new stage begins: `name` says what ("harvest"), `total` how many `unit`s ("tokens") it has, if known.
    fn begin(&mut self, name: &str, total: Option<u64>, unit: &str);

    /// `done` units of the stage are finished; `note` is a short line of current figures ("loss 0.213  FVE 0.87").
    fn advance(&mut self, done: u64, note: &str);

    /// Figures of the parts that a stage has, one line each, for who has room to show them; may be called as often as `advance`.
    fn parts(&mut self, _lines: &mut dyn FnMut() -> Vec<String>) {}

    /// The stage is over; `summary` is one line that stays on the screen.
    fn end(&mut self, summary: &str);

    /// A remark the user should see even without a progress bar ("no held-out documents marked; 5 % were set aside").
    fn remark(&mut self, message: &str);

    /// True when the user asked to stop. Jobs look at it at least once a second and stop where a whole part ends.
    fn stop_requested(&self) -> bool;
}

/// A [`Progress`] that says nothing and never stops.
#[derive(Debug, Default, Clone, Copy)]
pub struct Quiet;

impl Progress for Quiet {
    fn begin(&mut self, _: &str, _: Option<u64>, _: &str) {}
    fn advance(&mut self, _: u64, _: &str) {}
    fn end(&mut self, _: &str) {}
    fn remark(&mut self, _: &str) {}
    fn stop_requested(&self) -> bool {
        false
    }
}

/// A [`Progress`] that asks to stop after a number of calls of `advance` and keeps remarks: for tests of interruption.
#[derive(Debug)]
pub struct StopAfter {
    left: std::cell::Cell<u64>,
    /// What was remarked, in order.
    pub remarks: Vec<String>,
}

impl StopAfter {
    /// Stops after `steps` calls.
    pub fn new(steps: u64) -> Self {
        Self { left: std::cell::Cell::new(steps), remarks: Vec::new() }
    }
}

impl Progress for StopAfter {
    fn begin(&mut self, _: &str, _: Option<u64>, _: &str) {}
    fn advance(&mut self, _: u64, _: &str) {
        self.left.set(self.left.get().saturating_sub(1));
    }
    fn end(&mut self, _: &str) {}
    fn remark(&mut self, message: &str) {
        self.remarks.push(message.to_owned());
    }
    fn stop_requested(&self) -> bool {
        self.left.get() == 0
    }
}

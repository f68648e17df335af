//! Where a step's time goes.

use std::time::{Duration, Instant};

/// Parts of a step, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Centring, packing, budgets: what comes before the search.
    Prepare,
    /// Pre-activations and who is matched with whom.
    Search,
    /// Reconstructions, errors and slopes.
    Errors,
    /// From matches by token to matches by feature.
    Group,
    /// Gradients, Adam, unit norm, packing in 8 bits.
    Update,
}

/// All parts, for reports.
pub(crate) const PARTS: [(Part, &str); 5] = [
    (Part::Prepare, "prepare"),
    (Part::Search, "search"),
    (Part::Errors, "errors"),
    (Part::Group, "group"),
    (Part::Update, "update"),
];

/// Time of each part, summed over steps.
#[derive(Debug, Clone)]
pub(crate) struct Parts {
    times: [Duration; PARTS.len()],
    last: Instant,
}

impl Default for Parts {
    fn default() -> Self {
        Self { times: Default::default(), last: Instant::now() }
    }
}

impl Parts {
    /// The first part begins.
    pub(super) fn begin(&mut self) {
        self.last = Instant::now();
    }

    /// `part` ends, the next begins.
    pub(super) fn end(&mut self, part: Part) {
        let now = Instant::now();
        self.times[part as usize] += now - self.last;
        self.last = now;
    }

    /// Time of `part` so far.
    pub(crate) fn of(&self, part: Part) -> Duration {
        self.times[part as usize]
    }
}

//! Where a step's time goes.

use std::time::{Duration, Instant};

/// Parts of a step, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Centring, packing, budgets: what comes before the search.
    Prepare,
    /// Pre-activations and which pairs are active.
    Search,
    /// Reconstructions, errors and slopes.
    Errors,
    /// From pairs by token to pairs by feature.
    Group,
    /// Gradients, Adam, unit norm, packing in 8 bits.
    Update,
}

/// All parts, for reports.
pub const PARTS: [(Part, &str); 5] = [
    (Part::Prepare, "prepare"),
    (Part::Search, "search"),
    (Part::Errors, "errors"),
    (Part::Group, "group"),
    (Part::Update, "update"),
];

/// Time of each part, summed over steps.
#[derive(Debug, Clone)]
pub struct Parts {
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
    pub fn begin(&mut self) {
        self.last = Instant::now();
    }

    /// `part` ends, the next begins.
    pub fn end(&mut self, part: Part) {
        let now = Instant::now();
        self.times[part as usize] += now - self.last;
        self.last = now;
    }

    /// Time of `part` so far.
    pub fn of(&self, part: Part) -> Duration {
        self.times[part as usize]
    }
}

//! Background work: nothing that can take longer than a frame runs on the window's own thread.
//!
//! A view keeps a [`Requested`] for each thing it shows and asks [`Workers`] to make it. The answer comes back over a
//! one-shot channel and wakes the window once. Asking again before the answer is there raises the generation, so the
//! older answer is dropped on arrival (and its job, if it has not begun, is skipped); the previous value stays on the
//! screen until the next one is whole.

mod problem;
mod requested;
mod workers;

pub use problem::Problem;
pub use requested::Requested;
pub use workers::{Lane, Workers};

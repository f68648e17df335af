//! Background work: nothing that can take longer than a frame runs on the window's own thread.
//!
//! A view keeps a [`Request`] for each thing it shows and asks [`Workers`] to make it. The answer comes back
//! over a one-shot channel and wakes the window once. Asking again before the answer is there raises the
//! generation, so the older answer is dropped on arrival (and its job, if it has not begun, is skipped); the
//! previous value stays on the screen until the next one is complete. The value of a [`KeyedRequest`] knows
//! what it belongs to. Work that takes seconds and arrives in pieces is a [`StreamedRequest`].

mod keyed;
mod problem;
mod request;
mod streamed;
mod workers;

pub use keyed::KeyedRequest;
pub use problem::Problem;
pub use request::Request;
pub use streamed::{Feed, StreamedRequest};
pub use workers::{Lane, Workers};

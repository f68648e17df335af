//! How the window says things: numbers as people read them, and what the columns of the features' table are called. It knows
//! neither files nor widgets; [`place`] knows what a store calls its copies.

pub mod format;
mod number;
pub mod place;
mod progress;

pub use number::Number;
pub use progress::ProgressLine;

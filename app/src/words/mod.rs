//! How the window says things: numbers as people read them, and what the columns of the features' table are called. It knows
//! neither files nor widgets.

pub mod format;
mod number;
mod progress;

pub use number::Number;
pub use progress::ProgressLine;

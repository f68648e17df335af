//! Other tools' formats, in and out.

pub mod activations;
pub mod images;

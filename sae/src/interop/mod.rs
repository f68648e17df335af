//! Other tools' formats, in and out.

pub mod activations;
pub mod dictionaries;
pub mod images;

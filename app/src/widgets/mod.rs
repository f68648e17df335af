//! House widgets: small pieces that several views share. They draw what they are given and know no files.

pub mod bars;
pub mod charts;
pub mod example;
pub mod facts;
pub mod heads;
pub mod jobs;
pub mod lines;
pub mod matrix;
pub mod method;
pub mod notice;
pub mod plot;
pub mod reading;
pub mod rule;
pub mod scatter;
pub mod sheet;
pub mod side;
pub mod star;
pub mod table;
pub mod text;

pub use crate::data::plane;
pub use crate::words::format;

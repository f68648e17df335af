//! Dictionaries of patches of pictures: their decoder rows as fields of pixels, with the questions that physiologists ask of receptive
//! fields. Is it localised, is it oriented, at which frequency, and how diverse are all of them?
//!
//! Nothing is fitted. Frequency and orientation are those of the strongest wave of the zero-padded Fourier transform. Random fields of
//! the same size decide what counts as localised or oriented: what lies beyond 99 of 100 of them ([`measure`]).

pub mod measure;
mod run;
mod sheet;
#[cfg(test)]
mod tests;

pub use run::{FieldsOptions, Found, SortFields, ordered, run};
pub use sheet::greys;

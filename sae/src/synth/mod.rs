//! Made worlds, whose features are known: those of SynthSAEBench, in the files that SAELens writes.
//!
//! A world is a dictionary of `n` unit directions in `d` dimensions, how often each feature fires, which fire
//! together (a Gaussian copula of low rank) and which only under others (a forest; of the children of one
//! feature at most one fires). [`World::make`] makes one, [`World::read`] opens one, [`World::rows`] makes any of
//! its endless rows, together with the codes that made them. A row depends on the seed and its number alone, so
//! that work may begin anywhere and be cut over any number of threads.
//!
//! [`dataset`] writes a dataset of a world's rows, on disk with the truth next to them or [`generated`] when they are
//! read, with the gradient of a planted [`loss`] if that is wanted; a dictionary trained on it is scored by the room `truth`.

pub mod dataset;
mod forest;
pub mod generated;
pub mod loss;
mod magnitudes;
mod make;
mod options;
mod sample;
mod threshold;
mod world;
mod write;

pub use options::{HierarchyOptions, WorldOptions};
pub use sample::Sample;
pub use world::World;

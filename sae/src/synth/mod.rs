//! Made worlds, whose features are known: those of SynthSAEBench, in the files that SAELens writes.
//!
//! A world is a dictionary of `n` unit directions in `d` dimensions, how often each feature fires, which fire
//! together (a Gaussian copula of low rank) and which only under others (a forest; of the children of one
//! feature at most one fires). [`World::read`] opens one, [`World::rows`] makes any of its endless rows,
//! together with the codes that made them. A row depends on the seed and its number alone, so that work may
//! begin anywhere and be cut over any number of threads.

mod forest;
mod magnitudes;
mod sample;
mod threshold;
mod world;

pub use sample::Sample;
pub use world::World;

//! The feature index.
mod best;
mod buckets;
mod draw;
mod examples;
mod summary;
mod tokens;

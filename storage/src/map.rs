//! Where features lie in a plane: `features/map.parquet`, a table of [`PointRow`]. Near in the plane means alike in direction;
//! the axes mean nothing.

use crate::row::row;

/// The file's name inside `features/`.
pub const FILE: &str = "map.parquet";

row! {
    /// `features/map.parquet`: one feature in the plane. Dead features may be left out.
    PointRow {
        /// Which feature.
        feature: u32,
        /// From left to right.
        x: f32,
        /// From bottom to top.
        y: f32,
    }
}

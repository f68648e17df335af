//! Where training rows come from.

use std::ops::Range;

use crate::Result;

/// A table of activations that can be read by ranges of rows.
pub trait RowSource: Send + 'static {
    /// Numbers of a row: d, or 2d with gradients after the activations.
    fn width(&self) -> usize;

    /// Makes `out` the rows of all `ranges` (ascending, disjoint), end to end, `[n, width]`.
    fn read(&mut self, ranges: &[Range<u64>], out: &mut Vec<f32>) -> Result<()>;

    /// What number `column` of a row is, for a message.
    fn name(&self, column: usize) -> String {
        format!("activation {column}")
    }

    /// What row `row` is, for a message: "document 3 (name), position 17 of DATASET".
    fn describe(&mut self, row: u64) -> String;
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Rows in memory.
    #[derive(Debug, Clone)]
    pub struct InMemory {
        pub d: usize,
        pub x: Vec<f32>,
    }

    impl RowSource for InMemory {
        fn width(&self) -> usize {
            self.d
        }

        fn read(&mut self, ranges: &[Range<u64>], out: &mut Vec<f32>) -> Result<()> {
            out.clear();
            for r in ranges {
                out.extend(&self.x[r.start as usize * self.d..r.end as usize * self.d]);
            }
            Ok(())
        }

        fn describe(&mut self, row: u64) -> String {
            format!("row {row}")
        }
    }
}

//! Columns of a product, quantised and laid side by side as tiles read them.

use rayon::prelude::*;

use super::quantise::{Fold, quantise};
use super::{GROUP, MAX_WIDTH};
use crate::memory;

/// Columns of a panel.
pub const COLUMNS: usize = 64;

/// A cache line: four dimensions of 16 columns.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub struct Line(pub [u8; 64]);

/// Columns `w[F, d]` in panels of 64: `[F/64][d/4][64][4]` values, each + 128 so that they are not negative.
#[derive(Debug, Default, Clone)]
pub struct Panels {
    columns: usize,
    words: usize,
    lines: Vec<Line>,
    bounds: Vec<Bounds>,
}

/// What makes bounds of z from sums: of the columns of one panel.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Scale of each column.
    pub scale: [f32; COLUMNS],
    /// Added to the product of each column; −∞ for columns that do not exist.
    pub bias: [f32; COLUMNS],
    /// ‖w‖ of each column.
    pub norm: [f32; COLUMNS],
    /// ‖δw‖ of each column.
    pub error: [f32; COLUMNS],
}

impl Default for Bounds {
    fn default() -> Self {
        let zeros = [0.0; COLUMNS];
        Self { scale: zeros, bias: [f32::NEG_INFINITY; COLUMNS], norm: zeros, error: zeros }
    }
}

/// One panel, to be filled; panels can be filled side by side.
#[derive(Debug)]
pub struct Panel<'a> {
    lines: &'a mut [Line],
    bounds: &'a mut Bounds,
}

impl Panels {
    /// Makes room for `columns` columns of `d` dimensions. Nothing is in them yet.
    ///
    /// # Panics
    /// If columns are longer than [`MAX_WIDTH`].
    pub fn resize(&mut self, columns: usize, d: usize) {
        assert!(d > 0 && d <= MAX_WIDTH, "columns of {d} numbers");
        self.columns = columns;
        self.words = d.div_ceil(GROUP);
        let panels = columns.div_ceil(COLUMNS);
        self.lines.clear();
        // 128 stands for 0: the dimensions that fill up the last group count nothing.
        memory::resize(&mut self.lines, panels * self.words * GROUP, Line([128; 64]));
        self.bounds.clear();
        self.bounds.resize_with(panels, Bounds::default);
    }

    /// Makes these the columns `w[F, d]`, each with its `bias`, by all threads.
    pub fn pack(&mut self, w: &[f32], fold: &Fold, bias: impl Fn(usize) -> f32 + Sync) {
        let d = fold.width();
        self.resize(w.len() / d, d);
        let panels: Vec<_> = self.panels_mut().zip(w.chunks(COLUMNS * d)).enumerate().collect();
        panels.into_par_iter().for_each_init(Vec::new, |memory, (p, (mut panel, rows))| {
            for (c, row) in rows.chunks_exact(d).enumerate() {
                panel.set(c, row, bias(p * COLUMNS + c), fold, memory);
            }
        });
    }

    /// Columns.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// All panels, each with the columns from 64 times its number on.
    pub fn panels_mut(&mut self) -> impl Iterator<Item = Panel<'_>> {
        let lines = self.lines.chunks_exact_mut((self.words * GROUP).max(1));
        lines.zip(&mut self.bounds).map(|(lines, bounds)| Panel { lines, bounds })
    }

    /// Panels that there are.
    pub(super) fn len(&self) -> usize {
        self.bounds.len()
    }

    pub(super) fn words(&self) -> usize {
        self.words
    }

    /// Panel `i`: its lines and what makes bounds of its sums.
    pub(super) fn panel(&self, i: usize) -> (&[Line], &Bounds) {
        let n = self.words * GROUP;
        (&self.lines[i * n..(i + 1) * n], &self.bounds[i])
    }

    /// Part `part` of `parts` of the lines of the panel after `i`; none of the last.
    pub(super) fn part_of_next(&self, i: usize, part: usize, parts: usize) -> &[Line] {
        let n = self.words * GROUP;
        let next = self.lines.get((i + 1) * n..(i + 2) * n).unwrap_or_default();
        next.chunks(n.div_ceil(parts.max(1)).max(1)).nth(part).unwrap_or_default()
    }
}

impl Panel<'_> {
    /// Sets column `column` of this panel (below 64) to `w[d]` with `bias`. `row` is memory to be used again.
    pub fn set(&mut self, column: usize, w: &[f32], bias: f32, fold: &Fold, row: &mut Vec<i8>) {
        row.clear();
        row.resize(w.len().next_multiple_of(GROUP), 0);
        let got = quantise(&mut row[..w.len()], w, fold.of_columns());
        let (line, at) = (column / 16, column % 16 * GROUP);
        // Lines of a group: four, of 16 columns each.
        for (four, lines) in row.as_chunks::<GROUP>().0.iter().zip(self.lines.as_chunks_mut::<4>().0) {
            lines[line].0[at..at + GROUP].copy_from_slice(&four.map(|q| (q as u8) ^ 128));
        }
        self.bounds.scale[column] = got.scale;
        self.bounds.bias[column] = bias;
        self.bounds.norm[column] = got.norm;
        self.bounds.error[column] = got.error;
    }
}

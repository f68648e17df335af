//! Rows of a product, quantised.

use super::quantise::{Fold, quantise};
use super::{GROUP, MAX_WIDTH};

/// Rows `[n, d]` in 8 bits, four dimensions a word; `n` is filled up with rows of zeros to whole tiles.
#[derive(Debug, Default, Clone)]
pub struct Rows {
    words: usize,
    rows: usize,
    /// `[rows, words]`, each word four values of 8 bits.
    data: Vec<i32>,
    /// −128 · Σ q of each row: takes back the 128 that columns are shifted by.
    shift: Vec<i32>,
    /// Scale of each row.
    pub(super) scale: Vec<f32>,
    /// ‖δx‖/√d of each row.
    pub(super) error: Vec<f32>,
    /// ‖x‖/√d of each row.
    pub(super) norm: Vec<f32>,
    /// Added to all products of each row.
    pub(super) bias: Vec<f32>,
    row: Vec<i8>,
}

impl Rows {
    /// Makes these the rows `x[n, d]`, filled up to a multiple of `multiple`.
    ///
    /// # Panics
    /// If `x` is not a whole number of rows as wide as `fold`, or they are wider than [`MAX_WIDTH`].
    pub fn set(&mut self, x: &[f32], fold: &Fold, multiple: usize) {
        let d = fold.width();
        assert!(d > 0 && d <= MAX_WIDTH && x.len().is_multiple_of(d), "rows of {d} numbers");
        self.words = d.div_ceil(GROUP);
        self.rows = x.len() / d;
        let padded = self.rows.next_multiple_of(multiple);
        self.data.clear();
        self.data.resize(padded * self.words, 0);
        self.shift.clear();
        self.shift.resize(padded, 0);
        self.row.clear();
        self.row.resize(self.words * GROUP, 0);
        for list in [&mut self.scale, &mut self.error, &mut self.norm] {
            list.clear();
        }
        let root = (d as f32).sqrt();
        for (i, x) in x.chunks_exact(d).enumerate() {
            let got = quantise(&mut self.row[..d], x, fold.of_rows());
            let words = &mut self.data[i * self.words..(i + 1) * self.words];
            for (word, four) in words.iter_mut().zip(self.row.as_chunks::<GROUP>().0) {
                *word = i32::from_le_bytes(four.map(|q| q as u8));
            }
            self.shift[i] = -128 * self.row.iter().map(|&q| i32::from(q)).sum::<i32>();
            self.scale.push(got.scale);
            self.error.push(got.error / root);
            self.norm.push(got.norm / root);
        }
        self.bias.clear();
        self.bias.resize(self.rows, 0.0);
    }

    /// Adds `bias[n]` to all products of each row.
    ///
    /// # Panics
    /// If there is not one for every row.
    pub fn set_biases(&mut self, bias: impl ExactSizeIterator<Item = f32>) {
        assert_eq!(bias.len(), self.rows, "a bias for every row");
        self.bias.clear();
        self.bias.extend(bias);
    }

    /// Rows without those that only fill a tile.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Words of a row.
    pub(super) fn words(&self) -> usize {
        self.words
    }

    /// Words of the rows from `first` on, `n` of them.
    pub(super) fn tile(&self, first: usize, n: usize) -> (&[i32], &[i32]) {
        (&self.data[first * self.words..(first + n) * self.words], &self.shift[first..first + n])
    }

    /// Makes `out` the rows `which` of these, filled up to a multiple of `multiple`.
    pub(super) fn pick(&self, which: &[u32], multiple: usize, out: &mut Self) {
        out.words = self.words;
        out.rows = which.len();
        let padded = out.rows.next_multiple_of(multiple);
        out.data.clear();
        out.shift.clear();
        for list in [&mut out.scale, &mut out.error, &mut out.norm, &mut out.bias] {
            list.clear();
        }
        for &i in which {
            let i = i as usize;
            out.data.extend_from_slice(&self.data[i * self.words..(i + 1) * self.words]);
            out.shift.push(self.shift[i]);
            out.scale.push(self.scale[i]);
            out.error.push(self.error[i]);
            out.norm.push(self.norm[i]);
            out.bias.push(self.bias[i]);
        }
        out.data.resize(padded * self.words, 0);
        out.shift.resize(padded, 0);
    }
}

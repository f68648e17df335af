//! Products of matrices rounded to bfloat16, with sums in `f32`: twice as fast as in `f32` on processors that have the instruction.
//!
//! bfloat16 keeps 8 bits of a number's 24, so each product of two is off by at most 2⁻⁷ of itself and a sum of many by far less. That is
//! enough for the gradients of a loss that only helps dead features along (`step::dense_aux`), and for a language model's weights where
//! its user asks for it (`lm::model::Compute`).
//!
//! ```text
//! left [n, K]   ──▶ Left    two of a row's numbers per word               ┐
//! right [K, m]  ──▶ Panels  two of a column's numbers per word, 64 columns ├─ tile: 6 rows × 64 columns of sums ──▶ out [n, m]
//!                           side by side                                  ┘
//! ```

use super::gemm::{Mat, MatMut, WriteMode};

/// Rows of a tile.
pub const ROWS: usize = 6;
/// Columns of a panel.
const COLUMNS: usize = 64;

/// A cache line: a word of 16 columns.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

type Sums = [[f32; COLUMNS]; ROWS];

/// Whether this processor multiplies bfloat16 by itself.
pub fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        super::has_avx512() && std::arch::is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The nearest bfloat16, ties to even; what is not a number may become an infinity.
#[inline(always)]
fn round(v: f32) -> u32 {
    let bits = v.to_bits();
    (bits.wrapping_add(0x7fff + ((bits >> 16) & 1))) >> 16
}

/// Two numbers in a word, the first below.
#[inline(always)]
fn pair(a: f32, b: f32) -> u32 {
    round(a) | (round(b) << 16)
}

/// The left factor, filled up with rows of zeros to whole tiles.
#[derive(Debug, Default)]
pub struct PackedLeft {
    rows: usize,
    words: usize,
    /// `[rows, words]`
    data: Vec<u32>,
}

impl PackedLeft {
    /// Makes this `m[n, K]`.
    pub fn set(&mut self, m: Mat<'_>) {
        let (rows, depth) = m.shape();
        (self.rows, self.words) = (rows, depth.div_ceil(2));
        self.data.clear();
        self.data.resize(rows.next_multiple_of(ROWS) * self.words, 0);
        let words = self.words;
        if let Some(row) = m.rows_contiguous() {
            for (i, out) in self.data.chunks_exact_mut(words.max(1)).take(rows).enumerate() {
                let (pairs, rest) = row(i).as_chunks::<2>();
                out.iter_mut().zip(pairs).for_each(|(word, [a, b])| *word = pair(*a, *b));
                rest.iter().for_each(|&a| out[words - 1] = pair(a, 0.0));
            }
            return;
        }
        let (Some(column), zeros) = (m.t().rows_contiguous(), vec![0.0; rows]) else { return };
        // Sixteen rows at a time, so that what is written stays in the first cache.
        for start in (0..rows).step_by(16) {
            let end = (start + 16).min(rows);
            for word in 0..words {
                let first = &column(2 * word)[start..end];
                let second = if 2 * word + 1 < depth { column(2 * word + 1) } else { &zeros };
                for (i, (a, b)) in first.iter().zip(&second[start..end]).enumerate() {
                    self.data[(start + i) * words + word] = pair(*a, *b);
                }
            }
        }
    }

    /// Rows from `first` on, which begins a tile, `n` of them or those that are left.
    ///
    /// # Panics
    /// If `first` is not a multiple of [`ROWS`].
    pub fn rows(&self, first: usize, n: usize) -> LeftRows<'_> {
        assert!(first.is_multiple_of(ROWS) && first <= self.rows, "row {first} begins no tile");
        let rows = n.min(self.rows - first);
        let data = &self.data[first * self.words..(first + rows.next_multiple_of(ROWS)) * self.words];
        LeftRows { rows, words: self.words, data }
    }

    /// All of them.
    pub fn all(&self) -> LeftRows<'_> {
        self.rows(0, self.rows)
    }
}

/// Some rows of a left factor.
#[derive(Debug, Clone, Copy)]
pub struct LeftRows<'a> {
    rows: usize,
    words: usize,
    data: &'a [u32],
}

/// The right factor, filled up with columns of zeros to whole panels.
#[derive(Debug, Default)]
pub struct Panels {
    columns: usize,
    words: usize,
    /// `[m/64][words][4]`
    lines: Vec<Line>,
}

impl Panels {
    /// Makes this `m[K, m]`.
    pub fn set(&mut self, m: Mat<'_>) {
        let (depth, columns) = m.shape();
        (self.columns, self.words) = (columns, depth.div_ceil(2));
        self.lines.clear();
        self.lines.resize(columns.div_ceil(COLUMNS) * self.words * 4, Line([0; 16]));
        let (words, zeros) = (self.words, vec![0.0; columns]);
        if let Some(row) = m.rows_contiguous() {
            for word in 0..words {
                let first = row(2 * word);
                let second = if 2 * word + 1 < depth { row(2 * word + 1) } else { &zeros };
                let sixteens = first.chunks(16).zip(second.chunks(16)).enumerate();
                for (i, (a, b)) in sixteens {
                    let line = &mut self.lines[(i / 4 * words + word) * 4 + i % 4];
                    line.0.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = pair(*a, *b));
                }
            }
        } else if let Some(column) = m.t().rows_contiguous() {
            for c in 0..columns {
                let start = c / COLUMNS * words * 4 + c % COLUMNS / 16;
                let lines = self.lines[start..].iter_mut().step_by(4).take(words);
                for (line, two) in lines.zip(column(c).chunks(2)) {
                    line.0[c % 16] = pair(two[0], two.get(1).copied().unwrap_or(0.0));
                }
            }
        }
    }
}

/// `out[n, m] = scale · left · right`, or adds that.
///
/// # Panics
/// If shapes do not fit together.
pub fn multiply(left: LeftRows<'_>, right: &Panels, scale: f32, into: WriteMode, out: MatMut<'_>) {
    let (out, (rows, columns), stride) = out.parts();
    assert!(
        left.words == right.words && left.rows == rows && right.columns == columns,
        "[{}, {} words] times [{} words, {}] into [{rows}, {columns}]",
        left.rows,
        left.words,
        right.words,
        right.columns
    );
    let words = left.words;
    if words == 0 {
        return;
    }
    let mut sums: Sums = [[0.0; COLUMNS]; ROWS];
    for (p, panel) in right.lines.chunks_exact(words * 4).enumerate() {
        let width = COLUMNS.min(columns - p * COLUMNS);
        for (t, tile) in left.data.chunks_exact(words * ROWS).enumerate() {
            make_tile(&mut sums, tile, panel, words);
            for (r, sums) in sums.iter().enumerate().take(rows - t * ROWS) {
                let at = (t * ROWS + r) * stride + p * COLUMNS;
                let out = out[at..at + width].iter_mut().zip(sums);
                match into {
                    WriteMode::Overwrite => out.for_each(|(out, sum)| *out = scale * sum),
                    WriteMode::Add => out.for_each(|(out, sum)| *out += scale * sum),
                }
            }
        }
    }
}

/// Sums of products of [`ROWS`] rows of `words` words with the columns of a panel.
fn make_tile(sums: &mut Sums, rows: &[u32], panel: &[Line], words: usize) {
    assert!(rows.len() == ROWS * words && panel.len() == 4 * words, "a tile's slices");
    #[cfg(target_arch = "x86_64")]
    if available() {
        // SAFETY: the processor has the instructions, and lengths were checked.
        #[allow(unsafe_code)]
        return unsafe { x86::tile(sums, rows, panel, words) };
    }
    portable(sums, rows, panel, words);
}

/// The twin of the other; sums may be rounded in another order.
fn portable(sums: &mut Sums, rows: &[u32], panel: &[Line], words: usize) {
    let low = |word: u32| f32::from_bits(word << 16);
    let high = |word: u32| f32::from_bits(word & 0xffff_0000);
    *sums = [[0.0; COLUMNS]; ROWS];
    for (word, lines) in panel.as_chunks::<4>().0.iter().enumerate() {
        for (r, sums) in sums.iter_mut().enumerate() {
            let x = rows[r * words + word];
            for (sum, w) in sums.iter_mut().zip(lines.iter().flat_map(|line| line.0)) {
                *sum += high(x) * high(w);
                *sum += low(x) * low(w);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Line, ROWS, Sums};

    /// All sums stay in registers while the panel goes by once.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn tile(sums: &mut Sums, rows: &[u32], panel: &[Line], words: usize) {
        let mut acc = [[_mm512_setzero_ps(); 4]; ROWS];
        let (rows, panel) = (rows.as_ptr(), panel.as_ptr());
        for word in 0..words {
            // SAFETY: the caller checked that there are `ROWS` rows of `words` words and a panel of 4 · `words` lines of 64 bytes,
            // which are aligned; a vector of bfloat16 is 512 bits like any other.
            #[allow(unsafe_code)]
            unsafe {
                let line = panel.add(4 * word);
                let load =
                    |i: usize| -> __m512bh { std::mem::transmute(_mm512_load_si512(line.add(i).cast())) };
                let w = [load(0), load(1), load(2), load(3)];
                for (r, acc) in acc.iter_mut().enumerate() {
                    let x = _mm512_set1_epi32((*rows.add(r * words + word)).cast_signed());
                    let x: __m512bh = std::mem::transmute(x);
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = _mm512_dpbf16_ps(*acc, x, w);
                    }
                }
            }
        }
        for (acc, sums) in acc.iter().zip(sums) {
            for (acc, sums) in acc.iter().zip(sums.as_chunks_mut::<16>().0) {
                // SAFETY: 16 numbers of 32 bits are 512 bits.
                #[allow(unsafe_code)]
                unsafe {
                    _mm512_storeu_ps(sums.as_mut_ptr(), *acc);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let next = |i: u32| i.wrapping_add(seed).wrapping_mul(2_654_435_761);
        (0..n as u32).map(|i| (next(i) >> 8) as f32 / 8.4e6 - 1.0).collect()
    }

    fn rounded(v: f32) -> f64 {
        f64::from(f32::from_bits(round(v) << 16))
    }

    #[test]
    fn rounds_to_the_nearest() {
        for (v, expected) in [
            (1.0, 1.0),
            (1.0 + 1.0 / 256.0, 1.0),
            (1.0 + 3.0 / 256.0, 1.0 + 4.0 / 256.0),
            (-1.0 - 1.1 / 256.0, -1.0 - 2.0 / 256.0),
            (0.0, 0.0),
        ] {
            assert_eq!(rounded(v), expected);
        }
    }

    /// In double precision, of the rounded factors.
    fn product(a: Mat<'_>, b: Mat<'_>, i: usize, j: usize) -> f64 {
        (0..a.shape().1).map(|k| rounded(a.at(i, k)) * rounded(b.at(k, j))).sum()
    }

    #[test]
    fn products_of_all_shapes_and_orders_are_those_of_the_rounded_factors() {
        for (n, depth, m) in [(1, 1, 1), (6, 2, 64), (7, 33, 65), (20, 96, 130), (5, 0, 3)] {
            let (a, b) = (numbers(n * depth, 1), numbers(depth * m, 9));
            for (a, b) in [
                (Mat::new(&a, n, depth), Mat::new(&b, depth, m)),
                (Mat::new(&a, depth, n).t(), Mat::new(&b, m, depth).t()),
            ] {
                let (mut left, mut right) = (PackedLeft::default(), Panels::default());
                left.set(a);
                right.set(b);
                let mut out = vec![1.0; n * m];
                multiply(left.all(), &right, 0.5, WriteMode::Add, MatMut::new(&mut out, n, m));
                // In pieces, too.
                for first in (0..n).step_by(ROWS) {
                    let rows = left.rows(first, ROWS);
                    let mut piece = vec![1.0; rows.rows * m];
                    let into = MatMut::new(&mut piece, rows.rows, m);
                    multiply(rows, &right, 0.5, WriteMode::Add, into);
                    assert_eq!(piece, out[first * m..][..piece.len()]);
                }
                for (at, got) in out.iter().enumerate() {
                    let expected = 1.0 + 0.5 * product(a, b, at / m, at % m);
                    assert!((f64::from(*got) - expected).abs() < 1e-5, "{n} {depth} {m}: {got}, {expected}");
                }
            }
        }
    }

    #[test]
    fn the_twin_agrees() {
        let words = 37;
        let words_of = |seed| numbers(2 * words * ROWS.max(COLUMNS), seed);
        let rows: Vec<u32> =
            words_of(3).as_chunks::<2>().0[..ROWS * words].iter().map(|[a, b]| pair(*a, *b)).collect();
        let columns: Vec<u32> = words_of(4).as_chunks::<2>().0.iter().map(|[a, b]| pair(*a, *b)).collect();
        let panel: Vec<Line> =
            columns.as_chunks::<16>().0[..4 * words].iter().map(|line| Line(*line)).collect();
        let (mut a, mut b): (Sums, Sums) = ([[9.0; COLUMNS]; ROWS], [[7.0; COLUMNS]; ROWS]);
        make_tile(&mut a, &rows, &panel, words);
        portable(&mut b, &rows, &panel, words);
        assert!(a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

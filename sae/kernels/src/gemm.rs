//! Dense products of strided `f32` matrices: a safe face of the `gemm` crate.
//!
//! Products run on the calling thread. Callers that want both cores cut their work into pieces whose size does not depend on
//! the number of threads, so that the same input gives the same bits on any machine of a kind.

/// A read-only matrix inside a slice.
#[derive(Debug, Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

/// A writable matrix inside a slice.
#[derive(Debug)]
pub struct MatMut<'a> {
    data: &'a mut [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
}

/// What happens to the numbers that are in the output already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteMode {
    /// They are overwritten.
    Overwrite,
    /// The product is added to them.
    Add,
}

fn check(len: usize, rows: usize, cols: usize, row_stride: usize, col_stride: usize) {
    if rows > 0 && cols > 0 {
        let last = (rows - 1) * row_stride + (cols - 1) * col_stride;
        assert!(
            last < len,
            "a {rows}x{cols} matrix with strides {row_stride}, {col_stride} needs more than {len} numbers"
        );
    }
}

impl<'a> Mat<'a> {
    /// Row-major `[rows, cols]`.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `[rows, cols]` whose rows begin `row_stride` numbers apart.
    pub fn strided(data: &'a [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        check(data.len(), rows, cols, row_stride, 1);
        Self { data, rows, cols, row_stride, col_stride: 1 }
    }

    /// The transpose; nothing is copied.
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }

    /// Rows and columns.
    pub fn shape(&self) -> (usize, usize) {
        (self.rows, self.cols)
    }

    /// The entry in row `i`, column `j`.
    pub fn at(&self, i: usize, j: usize) -> f32 {
        self.data[i * self.row_stride + j * self.col_stride]
    }

    /// Columns `begin..end`; nothing is copied.
    pub fn columns(self, begin: usize, end: usize) -> Self {
        assert!(begin <= end && end <= self.cols, "columns {begin} to {end} of {}", self.cols);
        let data = if begin == end { &[] } else { &self.data[begin * self.col_stride..] };
        Self { data, cols: end - begin, ..self }
    }

    /// A function that gives row `i`, if a row's numbers lie side by side.
    pub fn rows_contiguous(&self) -> Option<impl Fn(usize) -> &'a [f32] + use<'a>> {
        let Self { data, cols, row_stride, col_stride, .. } = *self;
        (col_stride == 1).then_some(move |i: usize| &data[i * row_stride..i * row_stride + cols])
    }

    /// The numbers, from a row to the next, from a column to the next.
    pub(super) fn parts(&self) -> (&'a [f32], usize, usize) {
        (self.data, self.row_stride, self.col_stride)
    }
}

impl<'a> MatMut<'a> {
    /// The numbers, the shape, from a row to the next.
    pub(super) fn parts(self) -> (&'a mut [f32], (usize, usize), usize) {
        (self.data, (self.rows, self.cols), self.row_stride)
    }

    /// Row-major `[rows, cols]`.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// `[rows, cols]` whose rows begin `row_stride` numbers apart.
    pub fn strided(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize) -> Self {
        check(data.len(), rows, cols, row_stride, 1);
        Self { data, rows, cols, row_stride }
    }
}

/// `out = scale · a b` or `out += scale · a b`, with `a [m, k]`, `b [k, n]`, `out [m, n]`, on the calling thread.
///
/// # Panics
/// If the shapes do not fit: a mistake of the caller, never of the input.
#[allow(unsafe_code)]
// The output is a mutable borrow: taking it by value ends it with the call.
#[allow(clippy::needless_pass_by_value)]
pub fn gemm(a: Mat<'_>, b: Mat<'_>, scale: f32, mode: WriteMode, out: MatMut<'_>) {
    assert_eq!((a.rows, b.cols, a.cols), (out.rows, out.cols, b.rows), "shapes of a product");
    if out.rows == 0 || out.cols == 0 {
        return;
    }
    let add = mode == WriteMode::Add;
    // SAFETY: every matrix was checked against its slice when it was made, the shapes fit each other, and `out` is borrowed
    // mutably, so it overlaps neither factor. The naive twin is in the tests below.
    unsafe {
        gemm::gemm(
            out.rows,
            out.cols,
            a.cols,
            out.data.as_mut_ptr(),
            1,
            out.row_stride as isize,
            add,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            if add { 1.0 } else { 0.0 },
            scale,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// `out[n, f] = a[n, d] · b[f, d]ᵀ`, the dense product of an SAE: rows against features.
///
/// # Panics
/// If the slices do not have the shapes that `n`, `f`, `d` give.
pub fn rows_times_rows(out: &mut [f32], a: &[f32], b: &[f32], n: usize, f: usize, d: usize) {
    assert_eq!((out.len(), a.len(), b.len()), (n * f, n * d, f * d), "out [n, f], a [n, d], b [f, d]");
    gemm(Mat::new(a, n, d), Mat::new(b, f, d).t(), 1.0, WriteMode::Overwrite, MatMut::new(out, n, f));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    #[test]
    fn equals_the_naive_product_in_every_orientation() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (33, 17, 65), (4, 0, 2)] {
            let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
            for (at_, bt) in [(false, false), (false, true), (true, false), (true, true)] {
                let a = if at_ { Mat::new(&a, k, m).t() } else { Mat::new(&a, m, k) };
                let b = if bt { Mat::new(&b, n, k).t() } else { Mat::new(&b, k, n) };
                let before = numbers(m * n, 3);
                for mode in [WriteMode::Overwrite, WriteMode::Add] {
                    let mut out = before.clone();
                    gemm(a, b, 0.5, mode, MatMut::new(&mut out, m, n));
                    for i in 0..m {
                        for j in 0..n {
                            let sum: f32 = (0..k).map(|p| a.at(i, p) * b.at(p, j)).sum();
                            let base = if mode == WriteMode::Add { before[i * n + j] } else { 0.0 };
                            assert!((out[i * n + j] - base - 0.5 * sum).abs() < 1e-5);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn strided_rows_leave_the_gaps_alone() {
        let a = numbers(12, 1);
        let mut out = vec![9.0; 10];
        gemm(
            Mat::strided(&a, 2, 3, 6),
            Mat::strided(&a, 3, 2, 4),
            1.0,
            WriteMode::Overwrite,
            MatMut::strided(&mut out, 2, 2, 5),
        );
        assert_eq!(&out[2..5], &[9.0; 3]);
        let want: f32 = (0..3).map(|p| a[6 + p] * a[p * 4 + 1]).sum();
        assert!((out[6] - want).abs() < 1e-6);
    }

    #[test]
    #[should_panic(expected = "needs more than")]
    fn a_matrix_that_does_not_fit_its_slice_is_refused() {
        Mat::new(&[0.0; 5], 2, 3);
    }

    #[test]
    fn equals_the_triple_loop() {
        for (n, f, d) in [(1, 1, 1), (3, 5, 7), (17, 33, 20), (64, 100, 48), (2, 3, 0)] {
            let a: Vec<f32> = (0..n * d).map(|i| ((i * 7) % 13) as f32 - 6.0).collect();
            let b: Vec<f32> = (0..f * d).map(|i| ((i * 5) % 11) as f32 / 4.0 - 1.0).collect();
            let mut out = vec![f32::NAN; n * f];
            rows_times_rows(&mut out, &a, &b, n, f, d);
            for i in 0..n {
                for j in 0..f {
                    let exact: f64 = (0..d).map(|c| f64::from(a[i * d + c]) * f64::from(b[j * d + c])).sum();
                    assert!((f64::from(out[i * f + j]) - exact).abs() < 1e-3, "({n}, {f}, {d}) at {i}, {j}");
                }
            }
        }
    }
}

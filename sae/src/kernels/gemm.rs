//! The one dense product of an SAE: rows against features.

use gemm::Parallelism;

/// `out[n, f] = a[n, d] · b[f, d]ᵀ`, on the calling thread alone.
///
/// Callers cut their rows into chunks of a fixed size and run chunks in parallel, so that no bit depends on the number of
/// threads.
///
/// # Panics
/// If the slices do not have the shapes that `n`, `f`, `d` give.
#[allow(unsafe_code)]
pub fn rows_times_rows(out: &mut [f32], a: &[f32], b: &[f32], n: usize, f: usize, d: usize) {
    assert_eq!(out.len(), n * f, "out is [n, f]");
    assert_eq!(a.len(), n * d, "a is [n, d]");
    assert_eq!(b.len(), f * d, "b is [f, d]");
    let (width, depth) = (f as isize, d as isize);
    // SAFETY: the three slices were just checked to hold exactly the matrices that the strides describe, and `out` is
    // borrowed mutably, so it overlaps neither `a` nor `b`. `read_dst` is false: old contents of `out` are not used.
    unsafe {
        gemm::gemm(
            n,
            f,
            d,
            out.as_mut_ptr(),
            1,
            width,
            false,
            a.as_ptr(),
            1,
            depth,
            b.as_ptr(),
            depth,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

//! Building blocks of the kernels: inlined into a caller that was compiled for the processor at hand.
//!
//! Sums run over fixed lanes and are then added pairwise, so vector width never changes a bit.

const LANES: usize = 32;

/// Dot product of two rows of one length.
#[inline(always)]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    debug_assert_eq!(a.len(), b.len());
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for i in 0..LANES {
            lanes[i] += x[i] * y[i];
        }
    }
    for (lane, (x, y)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane += x * y;
    }
    pairwise(lanes)
}

/// Dot products of four rows with one; each has the bits of [`dot`]. Four sums at once do not wait for one another.
#[inline(always)]
pub fn dot4(a: [&[f32]; 4], b: &[f32]) -> [f32; 4] {
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    let [(a0, r0), (a1, r1), (a2, r2), (a3, r3)] = a.map(|row| row[..b.len()].as_chunks::<LANES>());
    // Four arrays, not an array of them: the compiler keeps only those in registers.
    let (mut l0, mut l1, mut l2, mut l3) = ([0.0; LANES], [0.0; LANES], [0.0; LANES], [0.0; LANES]);
    for ((((y, x0), x1), x2), x3) in b_blocks.iter().zip(a0).zip(a1).zip(a2).zip(a3) {
        for i in 0..LANES {
            l0[i] += x0[i] * y[i];
            l1[i] += x1[i] * y[i];
            l2[i] += x2[i] * y[i];
            l3[i] += x3[i] * y[i];
        }
    }
    for (i, y) in b_rest.iter().enumerate() {
        l0[i] += r0[i] * y;
        l1[i] += r1[i] * y;
        l2[i] += r2[i] * y;
        l3[i] += r3[i] * y;
    }
    [pairwise(l0), pairwise(l1), pairwise(l2), pairwise(l3)]
}

/// Asks for a row that will be read soon. Rows are chosen by what tokens and features have in common, which no processor foresees.
#[inline(always)]
pub fn prefetch(row: &[f32]) {
    #[cfg(target_arch = "x86_64")]
    for line in row.chunks(16) {
        // SAFETY: a hint; it reads nothing that the program could see, whatever the address.
        #[allow(unsafe_code)]
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(line.as_ptr().cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = row;
}

/// `Σ x`.
#[inline(always)]
pub fn sum(x: &[f32]) -> f32 {
    let (blocks, rest) = x.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for block in blocks {
        for i in 0..LANES {
            lanes[i] += block[i];
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *lane += v;
    }
    pairwise(lanes)
}

/// `Σ x²`.
#[inline(always)]
pub fn squared_norm(x: &[f32]) -> f32 {
    dot(x, x)
}

/// Sum of all lanes.
#[inline(always)]
pub fn pairwise(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `out += a · x`.
#[inline(always)]
pub fn axpy(out: &mut [f32], a: f32, x: &[f32]) {
    for (o, x) in out.iter_mut().zip(x) {
        *o += a * x;
    }
}

/// `out += (a₀·x₀ + a₁·x₁) + (a₂·x₂ + a₃·x₃)`: four rows for one read and write of `out`.
#[inline(always)]
pub fn axpy4(out: &mut [f32], a: [f32; 4], x: [&[f32]; 4]) {
    let n = out.len();
    let [x0, x1, x2, x3] = x.map(|row| &row[..n]);
    for i in 0..n {
        out[i] += (a[0] * x0[i] + a[1] * x1[i]) + (a[2] * x2[i] + a[3] * x3[i]);
    }
}

/// `out *= a`.
#[inline(always)]
pub fn scale(out: &mut [f32], a: f32) {
    for o in out {
        *o *= a;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32).map(|i| ((i * 37 + seed * 101) % 29) as f32 / 7.0 - 2.0).collect()
    }

    #[test]
    fn dot_is_the_sum_of_products_at_every_length() {
        for n in [0, 1, 7, 31, 32, 33, 64, 100, 129] {
            let (a, b) = (row(n, 1), row(n, 2));
            let exact: f64 = a.iter().zip(&b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            assert!((f64::from(dot(&a, &b)) - exact).abs() < 1e-4 * (1.0 + exact.abs()), "n = {n}");
        }
    }

    #[test]
    fn four_dot_products_have_the_bits_of_one() {
        for n in [0, 5, 32, 33, 100] {
            let (rows, b): (Vec<_>, _) = ((0..4).map(|s| row(n, s)).collect(), row(n, 9));
            let got = dot4([&rows[0], &rows[1], &rows[2], &rows[3]], &b);
            assert_eq!(got, [0, 1, 2, 3].map(|i| dot(&rows[i], &b)));
        }
    }

    #[test]
    fn four_rows_at_once_equal_four_single_rows() {
        let rows: Vec<_> = (0..4).map(|s| row(45, s)).collect();
        let weights = [0.5, -1.25, 2.0, 0.125];
        let mut out = row(45, 9);
        let mut expected = out.clone();
        axpy4(&mut out, weights, [&rows[0], &rows[1], &rows[2], &rows[3]]);
        for (w, r) in weights.iter().zip(&rows) {
            axpy(&mut expected, *w, r);
        }
        for (a, b) in out.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-5);
        }
    }
}

//! Transposed copies: columns of a matrix that lie far apart become panels, sixteen by sixteen numbers at a time.

/// Numbers along each side of what is turned at once.
pub const SIDE: usize = 16;

/// Copies `from`, `width` rows of `k` numbers that begin `from_row` apart, into `to` as `k` rows that begin `to_row` apart:
/// `to[p · to_row + c] = from[c · from_row + p]`.
///
/// # Panics
/// If a slice is shorter than that needs: a mistake of the caller.
pub fn turn(from: &[f32], from_row: usize, (width, k): (usize, usize), to: &mut [f32], to_row: usize) {
    if width == 0 || k == 0 {
        return;
    }
    assert!((width - 1) * from_row + k <= from.len(), "{width} rows of {k}, {from_row} apart, are not there");
    assert!(width <= to_row && (k - 1) * to_row + width <= to.len(), "no room for {k} rows, {to_row} apart");
    for p in (0..k).step_by(SIDE) {
        for c in (0..width).step_by(SIDE) {
            let (rows, columns) = (SIDE.min(width - c), SIDE.min(k - p));
            let (from, to) = (&from[c * from_row + p..], &mut to[p * to_row + c..]);
            #[cfg(target_arch = "x86_64")]
            if rows == SIDE && columns == SIDE && super::has_avx512() {
                // SAFETY: the processor has AVX-512, and sixteen rows of sixteen numbers lie inside both slices: the largest
                // index of each was checked above.
                #[allow(unsafe_code)]
                unsafe {
                    square(from.as_ptr(), from_row, to.as_mut_ptr(), to_row);
                }
                continue;
            }
            portable(from, from_row, (rows, columns), to, to_row);
        }
    }
}

fn portable(from: &[f32], from_row: usize, (rows, columns): (usize, usize), to: &mut [f32], to_row: usize) {
    for c in 0..rows {
        for p in 0..columns {
            to[p * to_row + c] = from[c * from_row + p];
        }
    }
}

/// Turns 16 rows of 16 numbers.
///
/// # Safety
/// AVX-512; both pointers have 16 rows of 16 numbers, `from_row` and `to_row` apart.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[allow(unsafe_code)]
unsafe fn square(from: *const f32, from_row: usize, to: *mut f32, to_row: usize) {
    use std::arch::x86_64::*;

    // SAFETY: rows of the caller's.
    let rows: [__m512; SIDE] =
        std::array::from_fn(|i| unsafe { _mm512_loadu_ps(from.wrapping_add(i * from_row)) });
    // Of every four rows: number j of each quarter, side by side, in vector j.
    let mut fours = [_mm512_setzero_ps(); SIDE];
    for (rows, out) in rows.as_chunks::<4>().0.iter().zip(fours.as_chunks_mut::<4>().0) {
        let pairs = [
            _mm512_unpacklo_ps(rows[0], rows[1]),
            _mm512_unpackhi_ps(rows[0], rows[1]),
            _mm512_unpacklo_ps(rows[2], rows[3]),
            _mm512_unpackhi_ps(rows[2], rows[3]),
        ]
        .map(|v| _mm512_castps_pd(v));
        *out = [
            _mm512_unpacklo_pd(pairs[0], pairs[2]),
            _mm512_unpackhi_pd(pairs[0], pairs[2]),
            _mm512_unpacklo_pd(pairs[1], pairs[3]),
            _mm512_unpackhi_pd(pairs[1], pairs[3]),
        ]
        .map(|v| _mm512_castpd_ps(v));
    }
    for j in 0..4 {
        let [a, b, c, d] = [fours[j], fours[4 + j], fours[8 + j], fours[12 + j]];
        let low = [_mm512_shuffle_f32x4::<0x44>(a, b), _mm512_shuffle_f32x4::<0x44>(c, d)];
        let high = [_mm512_shuffle_f32x4::<0xee>(a, b), _mm512_shuffle_f32x4::<0xee>(c, d)];
        let columns = [
            _mm512_shuffle_f32x4::<0x88>(low[0], low[1]),
            _mm512_shuffle_f32x4::<0xdd>(low[0], low[1]),
            _mm512_shuffle_f32x4::<0x88>(high[0], high[1]),
            _mm512_shuffle_f32x4::<0xdd>(high[0], high[1]),
        ];
        for (quarter, column) in columns.into_iter().enumerate() {
            // SAFETY: rows of the caller's.
            unsafe { _mm512_storeu_ps(to.wrapping_add((4 * quarter + j) * to_row), column) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_goes_to_its_place_and_none_elsewhere() {
        for (width, k) in [(1, 1), (16, 16), (32, 48), (31, 17), (5, 40), (40, 5), (0, 3), (3, 0)] {
            let (from_row, to_row) = (k + 3, width + 2);
            let from: Vec<f32> = (0..width * from_row).map(|i| i as f32).collect();
            let mut to = vec![-1.0; k * to_row];
            turn(&from, from_row, (width, k), &mut to, to_row);
            for (at, found) in to.iter().enumerate() {
                let (p, c) = (at / to_row, at % to_row);
                let expected = if c < width { from[c * from_row + p] } else { -1.0 };
                assert_eq!(*found, expected, "{width} rows of {k} at {p}, {c}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "no room")]
    fn too_little_room_is_the_callers_mistake() {
        turn(&[0.0; 64], 8, (8, 8), &mut [0.0; 63], 8);
    }
}

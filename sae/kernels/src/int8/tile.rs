//! Sums of products of [`ROWS`] rows with the 64 columns of a panel, in 32-bit integers: exact, so every variant gives the same.

use super::panels::{COLUMNS, Line};

/// Rows of a tile: 6 · 4 vectors of 16 sums, four of columns and one of a row are 29 registers of 32.
pub const ROWS: usize = 6;

/// Sums of a tile; rows begin with a cache line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[repr(align(64))]
pub struct Sums(pub [[i32; COLUMNS]; ROWS]);

impl Default for Sums {
    fn default() -> Self {
        Self([[0; COLUMNS]; ROWS])
    }
}

/// Instructions that a tile is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Instructions {
    /// `vpdpbusd` on 512 bits.
    #[cfg(target_arch = "x86_64")]
    Vnni512,
    /// `vpdpbusd` on 256 bits.
    #[cfg(target_arch = "x86_64")]
    Vnni256,
    /// `vpmaddwd` on 256 bits, after widening to 16.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What the compiler makes of a loop.
    Portable,
}

impl Instructions {
    /// The fastest that this processor has.
    pub fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if super::super::has_avx512() && std::arch::is_x86_feature_detected!("avx512vnni") {
                return Self::Vnni512;
            }
            if std::arch::is_x86_feature_detected!("avx2") {
                if std::arch::is_x86_feature_detected!("avxvnni") {
                    return Self::Vnni256;
                }
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Whether this processor can do it.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Vnni512 => {
                return super::super::has_avx512() && std::arch::is_x86_feature_detected!("avx512vnni");
            }
            Self::Vnni256 => {
                return std::arch::is_x86_feature_detected!("avx2")
                    && std::arch::is_x86_feature_detected!("avxvnni");
            }
            Self::Avx2 => return std::arch::is_x86_feature_detected!("avx2"),
            Self::Portable => {}
        }
        true
    }

    /// Its name in a run's record.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Vnni512 => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Vnni256 => "avx-vnni",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }
}

/// `sums[r][c] = shift[r] + Σ rows[r] · panel[c]`: the columns' values are 128 too large, `shift` takes that back.
///
/// `soon` are lines of which a later tile will be made: they are fetched from memory meanwhile, since the panels of a wide dictionary do not
/// stay in the second cache. They may be none.
///
/// # Panics
/// If the slices are not those of [`ROWS`] rows and a panel of one width, or the processor lacks `instructions`.
pub fn tile(
    instructions: Instructions,
    sums: &mut Sums,
    rows: &[i32],
    shift: &[i32],
    panel: &[Line],
    soon: &[Line],
) {
    let words = panel.len() / 4;
    assert!(rows.len() == ROWS * words && panel.len() == 4 * words && shift.len() == ROWS, "a tile's slices");
    for (sums, &shift) in sums.0.iter_mut().zip(shift) {
        sums.fill(shift);
    }
    let sums = &mut sums.0;
    match instructions {
        #[cfg(target_arch = "x86_64")]
        _ if !instructions.available() => panic_unavailable(instructions),
        // SAFETY: the arm above let nothing through that the processor does not have; slices were checked above.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Instructions::Vnni512 => unsafe { x86::vnni512(sums, rows, panel, words, soon) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Instructions::Vnni256 => unsafe { x86::vnni256(sums, rows, panel) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        #[allow(unsafe_code)]
        Instructions::Avx2 => unsafe { x86::avx2(sums, rows, panel) },
        Instructions::Portable => portable(sums, rows, panel),
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(clippy::panic)] // A mistake of the caller, as with an index out of bounds.
fn panic_unavailable(instructions: Instructions) {
    panic!("this processor has no {}", instructions.name());
}

/// The twin of all others.
fn portable(sums: &mut [[i32; COLUMNS]; ROWS], rows: &[i32], panel: &[Line]) {
    let words = panel.len() / 4;
    for (sums, row) in sums.iter_mut().zip(rows.chunks_exact(words.max(1))) {
        for (lines, word) in panel.as_chunks::<4>().0.iter().zip(row) {
            let x = word.to_le_bytes().map(|b| i32::from(b as i8));
            for (sums, line) in sums.as_chunks_mut::<16>().0.iter_mut().zip(lines) {
                for (sum, w) in sums.iter_mut().zip(line.0.as_chunks::<4>().0) {
                    *sum += (0..4).map(|i| x[i] * i32::from(w[i])).sum::<i32>();
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{COLUMNS, Line, ROWS};

    type Sums = [[i32; COLUMNS]; ROWS];

    /// Words of a panel that are fetched into the first cache ahead of the one that is multiplied.
    const AHEAD: usize = 2;

    /// All sums stay in registers while the panel goes by once.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    pub(super) fn vnni512(sums: &mut Sums, rows: &[i32], panel: &[Line], words: usize, soon: &[Line]) {
        let mut acc = [[_mm512_setzero_si512(); 4]; ROWS];
        for (acc, sums) in acc.iter_mut().zip(&*sums) {
            for (acc, sums) in acc.iter_mut().zip(sums.as_chunks::<16>().0) {
                // SAFETY: 16 numbers of 32 bits are 512 bits.
                #[allow(unsafe_code)]
                let loaded = unsafe { _mm512_loadu_si512(sums.as_ptr().cast()) };
                *acc = loaded;
            }
        }
        let (rows, panel) = (rows.as_ptr(), panel.as_ptr());
        // A word's share of them, in bytes; a line that several words share is fetched once and found afterwards.
        let (soon, share) = (soon.as_ptr().cast::<i8>(), size_of_val(soon) / words.max(1));
        for word in 0..words {
            let line = panel.wrapping_add(4 * word);
            // Fetching ahead reads nothing, wherever it points.
            (0..4).for_each(|i| _mm_prefetch::<_MM_HINT_T0>(line.wrapping_add(4 * AHEAD + i).cast()));
            _mm_prefetch::<_MM_HINT_T1>(soon.wrapping_add(word * share));
            // SAFETY: the caller checked that there are `ROWS` rows of `words` words and a panel of 4 · `words` lines of 64 bytes,
            // which are aligned.
            #[allow(unsafe_code)]
            unsafe {
                let w = [
                    _mm512_load_si512(line.cast()),
                    _mm512_load_si512(line.add(1).cast()),
                    _mm512_load_si512(line.add(2).cast()),
                    _mm512_load_si512(line.add(3).cast()),
                ];
                for (r, acc) in acc.iter_mut().enumerate() {
                    let x = _mm512_set1_epi32(*rows.add(r * words + word));
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = _mm512_dpbusd_epi32(*acc, w, x);
                    }
                }
            }
        }
        for (acc, sums) in acc.iter().zip(sums) {
            for (acc, sums) in acc.iter().zip(sums.as_chunks_mut::<16>().0) {
                // SAFETY: 16 numbers of 32 bits are 512 bits.
                #[allow(unsafe_code)]
                unsafe {
                    _mm512_storeu_si512(sums.as_mut_ptr().cast(), *acc);
                }
            }
        }
    }

    /// Halves of a line, as 256 bits.
    #[target_feature(enable = "avx2")]
    fn halves(line: &Line) -> [__m256i; 2] {
        // SAFETY: a line has 64 bytes.
        #[allow(unsafe_code)]
        unsafe {
            [_mm256_loadu_si256(line.0.as_ptr().cast()), _mm256_loadu_si256(line.0.as_ptr().add(32).cast())]
        }
    }

    /// Adds to eight sums.
    #[target_feature(enable = "avx2")]
    fn add(sums: &mut [i32; 8], with: impl FnOnce(__m256i) -> __m256i) {
        // SAFETY: eight numbers of 32 bits are 256 bits.
        #[allow(unsafe_code)]
        unsafe {
            let got = with(_mm256_loadu_si256(sums.as_ptr().cast()));
            _mm256_storeu_si256(sums.as_mut_ptr().cast(), got);
        }
    }

    /// 16 columns of all rows at a time: 12 sums in registers.
    #[target_feature(enable = "avx2,avxvnni")]
    pub(super) fn vnni256(sums: &mut Sums, rows: &[i32], panel: &[Line]) {
        let words = panel.len() / 4;
        for sixteen in 0..4 {
            let mut acc = [[_mm256_setzero_si256(); 2]; ROWS];
            for (word, lines) in panel.as_chunks::<4>().0.iter().enumerate() {
                let w = halves(&lines[sixteen]);
                for (r, acc) in acc.iter_mut().enumerate() {
                    let x = _mm256_set1_epi32(rows[r * words + word]);
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = _mm256_dpbusd_avx_epi32(*acc, w, x);
                    }
                }
            }
            for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
                let sums = sums.as_chunks_mut::<8>().0;
                for (half, acc) in acc.iter().enumerate() {
                    add(&mut sums[2 * sixteen + half], |s| _mm256_add_epi32(s, *acc));
                }
            }
        }
    }

    /// 8 columns of all rows at a time. `vpmaddubsw` would be faster and saturates: 2 · 255 · 127 does not fit 16 bits.
    #[target_feature(enable = "avx2")]
    pub(super) fn avx2(sums: &mut Sums, rows: &[i32], panel: &[Line]) {
        let words = panel.len() / 4;
        for eight in 0..8 {
            let mut acc = [[_mm256_setzero_si256(); 2]; ROWS];
            for (word, lines) in panel.as_chunks::<4>().0.iter().enumerate() {
                let w = halves(&lines[eight / 2])[eight % 2];
                // Four columns each, their four dimensions as 16 bits.
                let w = [
                    _mm256_cvtepu8_epi16(_mm256_castsi256_si128(w)),
                    _mm256_cvtepu8_epi16(_mm256_extracti128_si256::<1>(w)),
                ];
                for (r, acc) in acc.iter_mut().enumerate() {
                    let x = _mm256_cvtepi8_epi16(_mm_set1_epi32(rows[r * words + word]));
                    for (acc, w) in acc.iter_mut().zip(w) {
                        *acc = _mm256_add_epi32(*acc, _mm256_madd_epi16(w, x));
                    }
                }
            }
            for (acc, sums) in acc.iter().zip(sums.iter_mut()) {
                // Pairs of neighbours are the two halves of a column's four dimensions; hadd works within 128 bits, so the columns
                // come out as 0 1 4 5 2 3 6 7.
                let pairs = _mm256_hadd_epi32(acc[0], acc[1]);
                let in_order = _mm256_permute4x64_epi64::<0b11_01_10_00>(pairs);
                add(&mut sums.as_chunks_mut::<8>().0[eight], |s| _mm256_add_epi32(s, in_order));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::panels::Panels;
    use super::super::quantise::Fold;
    use super::super::rows::Rows;
    use super::*;

    fn all() -> Vec<Instructions> {
        #[cfg(target_arch = "x86_64")]
        let all =
            vec![Instructions::Vnni512, Instructions::Vnni256, Instructions::Avx2, Instructions::Portable];
        #[cfg(not(target_arch = "x86_64"))]
        let all = vec![Instructions::Portable];
        all.into_iter().filter(|i| i.available()).collect()
    }

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32)
            .map(|i| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f32 / 8.4e6 - 1.0)
            .collect()
    }

    #[test]
    fn every_variant_gives_the_sums_of_the_quantised_numbers() {
        for d in [1, 3, 4, 7, 64, 129] {
            let (x, w) = (numbers(ROWS * d, 1), numbers(COLUMNS * d, 5));
            let fold = Fold::none(d);
            let mut rows = Rows::default();
            rows.set(&x, &fold, ROWS);
            let mut panels = Panels::default();
            panels.resize(COLUMNS, d);
            let mut memory = Vec::new();
            for mut panel in panels.panels_mut() {
                w.chunks_exact(d).enumerate().for_each(|(c, w)| panel.set(c, w, 0.0, &fold, &mut memory));
            }
            // Independently: what 8 bits for each row and column make of the numbers.
            let to8 = |v: &[f32]| -> Vec<i32> {
                let largest = v.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
                v.iter()
                    .map(|v| (f64::from(*v) * f64::from(127.0 / largest)).round_ties_even() as i32)
                    .collect()
            };
            let (panel, _) = panels.panel(0);
            let (words, shift) = rows.tile(0, ROWS);
            for instructions in all() {
                let mut sums = Sums([[7; COLUMNS]; ROWS]);
                tile(instructions, &mut sums, words, shift, panel, panel);
                for r in 0..ROWS {
                    for c in 0..COLUMNS {
                        let (x, w) = (to8(&x[r * d..(r + 1) * d]), to8(&w[c * d..(c + 1) * d]));
                        let exact: i32 = x.iter().zip(&w).map(|(a, b)| a * b).sum();
                        // A number just between two integers may go either way in f32.
                        assert!((sums.0[r][c] - exact).abs() <= 127, "{instructions:?}, d {d}: {r}, {c}");
                    }
                }
                let mut twin = Sums::default();
                tile(Instructions::Portable, &mut twin, words, shift, panel, &[]);
                assert_eq!(sums, twin, "{instructions:?}, d {d}");
            }
        }
    }
}

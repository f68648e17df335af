//! How numbers are stored: floating-point types one by one, quantised ones in blocks (see
//! [`gguf`](super::gguf)).

use half::{bf16, f16};
use rayon::prelude::*;

use super::Bytes;
use crate::Result;

/// Numbers that are read and converted at once.
const PIECE: usize = 1 << 21;
/// Numbers a thread converts at once; a multiple of every block.
const PART: usize = 1 << 15;

/// A way to store numbers.
pub struct Encoding {
    /// The name that safetensors uses, such as `BF16`.
    pub name: &'static str,
    /// Numbers in a block.
    pub numbers: usize,
    /// Bytes of a block.
    pub bytes: usize,
    /// Whole blocks → as many numbers.
    pub decode: fn(&[u8], &mut [f32]),
}

impl std::fmt::Debug for Encoding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// IEEE single precision.
pub static F32: Encoding = Encoding { name: "F32", numbers: 1, bytes: 4, decode: f32s };
/// IEEE half precision.
pub static F16: Encoding = Encoding { name: "F16", numbers: 1, bytes: 2, decode: f16s };
/// The upper half of a single.
pub static BF16: Encoding = Encoding { name: "BF16", numbers: 1, bytes: 2, decode: bf16s };
/// IEEE double precision; what does not fit a single becomes infinite and is refused later.
pub static F64: Encoding = Encoding { name: "F64", numbers: 1, bytes: 8, decode: f64s };

fn f32s(bytes: &[u8], out: &mut [f32]) {
    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *x = f32::from_le_bytes(*b);
    }
}

fn f16s(bytes: &[u8], out: &mut [f32]) {
    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *x = f16::from_le_bytes(*b).to_f32();
    }
}

fn bf16s(bytes: &[u8], out: &mut [f32]) {
    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
        *x = bf16::from_le_bytes(*b).to_f32();
    }
}

fn f64s(bytes: &[u8], out: &mut [f32]) {
    for (x, b) in out.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *x = f64::from_le_bytes(*b) as f32;
    }
}

impl Encoding {
    /// Bytes that `numbers` take; None if they are not whole blocks or too many to count.
    pub fn bytes_of(&self, numbers: usize) -> Option<u64> {
        let blocks = numbers.is_multiple_of(self.numbers).then(|| numbers / self.numbers)?;
        (blocks as u64).checked_mul(self.bytes as u64)
    }

    /// Fills `out`, whole blocks, with the numbers stored from byte `at` on.
    ///
    /// # Errors
    /// As [`Bytes::read_at`].
    pub fn read(&self, bytes: &Bytes, mut at: u64, out: &mut [f32]) -> Result<()> {
        let bytes_of = |numbers: usize| numbers / self.numbers * self.bytes;
        let mut buffer = vec![0u8; bytes_of(PIECE.min(out.len()))];
        for piece in out.chunks_mut(PIECE) {
            let raw = &mut buffer[..bytes_of(piece.len())];
            bytes.read_at(at, raw)?;
            piece
                .par_chunks_mut(PART)
                .zip(raw.par_chunks(bytes_of(PART)))
                .for_each(|(out, raw)| (self.decode)(raw, out));
            at += raw.len() as u64;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn plain_numbers_are_read_exactly() {
        let numbers = [0.0f32, -1.5, 0.25, 1024.0];
        let read = |encoding: &Encoding, bytes: Vec<u8>| {
            let mut out = [9.0; 4];
            encoding.read(&Bytes::memory(bytes, Path::new("x")), 0, &mut out).unwrap();
            out
        };
        assert_eq!(read(&F32, numbers.iter().flat_map(|x| x.to_le_bytes()).collect()), numbers);
        assert_eq!(read(&F64, numbers.iter().flat_map(|x| f64::from(*x).to_le_bytes()).collect()), numbers);
        // By hand: sign, exponent biased by 15 (half) or 127 (bfloat16), fraction.
        let half = [0x0000u16, 0xBE00, 0x3400, 0x6400];
        assert_eq!(read(&F16, half.iter().flat_map(|x| x.to_le_bytes()).collect()), numbers);
        let brain = [0x0000u16, 0xBFC0, 0x3E80, 0x4480];
        assert_eq!(read(&BF16, brain.iter().flat_map(|x| x.to_le_bytes()).collect()), numbers);
    }

    #[test]
    fn long_runs_come_in_pieces() {
        let count = PIECE + PART + 17;
        let bytes: Vec<u8> = (0..count).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let mut out = vec![0.0; count];
        F32.read(&Bytes::memory(bytes, Path::new("x")), 0, &mut out).unwrap();
        assert!(out.iter().enumerate().all(|(i, x)| *x == i as f32));
    }
}

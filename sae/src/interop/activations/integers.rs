//! Integers of files, as numbers of tokens.

use crate::{Error, Result};
use lm::model::Bytes;

/// A little-endian integer type, or booleans as integers of one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Integer {
    pub bytes: usize,
    signed: bool,
}

impl Integer {
    /// Of safetensors: `I64`, `U16` …
    pub fn of_safetensors(name: &str) -> Option<Self> {
        // A boolean is a byte of 0 or 1.
        let name = if name == "BOOL" { "U8" } else { name };
        let (kind, bits) = name.split_at_checked(1)?;
        let bits: usize = bits.parse().ok().filter(|bits| [8, 16, 32, 64].contains(bits))?;
        matches!(kind, "I" | "U").then_some(Self { bytes: bits / 8, signed: kind == "I" })
    }

    /// Of NumPy without the byte order: `i8`, `u2` …
    pub fn of_numpy(name: &str) -> Option<Self> {
        let (kind, bytes) = name.split_at_checked(1)?;
        let bytes: usize = bytes.parse().ok().filter(|bytes| [1, 2, 4, 8].contains(bytes))?;
        matches!(kind, "i" | "u").then_some(Self { bytes, signed: kind == "i" })
    }

    /// `n` of them from byte `at` on; `first_row` is the row of the first, for the error.
    ///
    /// # Errors
    /// A number that is negative or above 2³² − 1, with its row.
    pub fn read(self, bytes: &Bytes, at: u64, n: usize, first_row: u64) -> Result<Vec<u32>> {
        let raw = bytes.read_vec(at, n as u64 * self.bytes as u64)?;
        let numbers = raw.chunks_exact(self.bytes).zip(first_row..);
        numbers.map(|(raw, row)| token(self.value(raw), bytes.path(), row)).collect()
    }

    fn value(self, raw: &[u8]) -> i128 {
        let negative = self.signed && raw.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if negative { 0xFF } else { 0 }; 16];
        wide[..raw.len()].copy_from_slice(raw);
        i128::from_le_bytes(wide)
    }
}

/// A number of a token, position or document, if it can be one.
pub(super) fn token(value: i128, file: &std::path::Path, row: u64) -> Result<u32> {
    u32::try_from(value).map_err(|_| {
        Error::format(
            file,
            format!("row {row}: {value} is not the number of a token; expected 0 to 4294967295"),
        )
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn every_width_and_sign() {
        let read = |integer: Integer, bytes: Vec<u8>| {
            let n = bytes.len() / integer.bytes;
            integer.read(&Bytes::memory(bytes, Path::new("x")), 0, n, 10)
        };
        let of = |name| Integer::of_numpy(name).unwrap();
        assert_eq!(read(of("u1"), vec![0, 255]).unwrap(), [0, 255]);
        assert_eq!(read(of("i2"), vec![1, 2]).unwrap(), [0x201]);
        assert_eq!(read(of("u4"), vec![255; 4]).unwrap(), [u32::MAX]);
        assert_eq!(read(of("i8"), 7i64.to_le_bytes().to_vec()).unwrap(), [7]);
        let error = read(of("i4"), [5i32, -3].iter().flat_map(|x| x.to_le_bytes()).collect()).unwrap_err();
        assert!(error.to_string().contains("row 11: -3"), "{error}");
        assert!(read(of("u8"), vec![255; 8]).is_err());
        assert_eq!(Integer::of_safetensors("I64"), Some(of("i8")));
        assert!(["F32", "I7", "", "BOOLS"].iter().all(|name| Integer::of_safetensors(name).is_none()));
        assert!(["f4", "i16", "b1"].iter().all(|name| Integer::of_numpy(name).is_none()));
    }
}

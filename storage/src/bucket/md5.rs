//! MD5 of RFC 1321: what an object's ETag is where it was sent in one piece. It finds damage, not malice.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::part::hexadecimal;

const SHIFTS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

/// A sum that is fed piece by piece.
#[derive(Debug, Clone)]
pub(super) struct Md5 {
    state: [u32; 4],
    sines: [u32; 64],
    /// The beginning of a block.
    rest: Vec<u8>,
    length: u64,
}

impl Md5 {
    pub fn new() -> Self {
        let sine = |i: usize| ((i as f64 + 1.0).sin().abs() * 4_294_967_296.0) as u32;
        let state = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
        Self { state, sines: std::array::from_fn(sine), rest: Vec::new(), length: 0 }
    }

    pub fn update(&mut self, mut bytes: &[u8]) {
        self.length += bytes.len() as u64;
        if !self.rest.is_empty() {
            let take = (64 - self.rest.len()).min(bytes.len());
            self.rest.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.rest.len() < 64 {
                return;
            }
            let block = std::mem::take(&mut self.rest);
            self.block(&block);
        }
        let blocks = bytes.chunks_exact(64);
        self.rest.extend_from_slice(blocks.remainder());
        for block in blocks {
            self.block(block);
        }
    }

    pub fn finish(mut self) -> [u8; 16] {
        let bits = self.length.wrapping_mul(8);
        let zeros = (119 - self.length % 64) % 64;
        let mut end = vec![0x80];
        end.resize(1 + zeros as usize, 0);
        end.extend_from_slice(&bits.to_le_bytes());
        self.update(&end);
        let mut out = [0; 16];
        for (to, word) in out.chunks_exact_mut(4).zip(self.state) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        out
    }

    fn block(&mut self, block: &[u8]) {
        let word = |i: usize| {
            u32::from_le_bytes([block[4 * i], block[4 * i + 1], block[4 * i + 2], block[4 * i + 3]])
        };
        let [mut a, mut b, mut c, mut d] = self.state;
        for i in 0..64 {
            let (mixed, from) = match i / 16 {
                0 => ((b & c) | (!b & d), i),
                1 => ((d & b) | (!d & c), (5 * i + 1) % 16),
                2 => (b ^ c ^ d, (3 * i + 5) % 16),
                _ => (c ^ (b | !d), (7 * i) % 16),
            };
            let sum = a.wrapping_add(mixed).wrapping_add(self.sines[i]).wrapping_add(word(from));
            (a, d, c) = (d, c, b);
            b = b.wrapping_add(sum.rotate_left(SHIFTS[i / 16][i % 4]));
        }
        for (state, add) in self.state.iter_mut().zip([a, b, c, d]) {
            *state = state.wrapping_add(add);
        }
    }
}

/// A sum in Base64, as Google and Azure have it, in hexadecimal; `None` for anything else.
pub(super) fn of_base64(text: &str) -> Option<String> {
    STANDARD.decode(text.trim()).ok().filter(|sum| sum.len() == 16).map(|sum| hexadecimal(&sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_in_base64() {
        assert_eq!(of_base64("KhNzeEA0IIEYGDE40OrHdA==").unwrap(), "2a1373784034208118183138d0eac774");
        for not in ["", "KhNz", "not one"] {
            assert_eq!(of_base64(not), None, "{not}");
        }
    }

    /// The test suite of RFC 1321, whole and byte by byte, and a length that needs a block for the padding alone.
    #[test]
    fn the_suite_of_the_rfc() {
        let digits = "1234567890".repeat(8);
        for (text, expected) in [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("a", "0cc175b9c0f1b6a831c399e269772661"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("message digest", "f96b697d7cb7938d525a2f31aaf161d0"),
            ("abcdefghijklmnopqrstuvwxyz", "c3fcd3d76192e4007dfb496cca67e13b"),
            (&digits, "57edf4a22be3c955ac49da2e2107b67a"),
        ] {
            let mut whole = Md5::new();
            whole.update(text.as_bytes());
            let mut pieces = Md5::new();
            text.bytes().for_each(|byte| pieces.update(&[byte]));
            assert_eq!(hexadecimal(&whole.finish()), expected);
            assert_eq!(hexadecimal(&pieces.finish()), expected);
        }
    }
}

//! Quantised blocks → f32.
//!
//! A block is a few numbers of few bits with a common scale, and often a common offset. "Legacy" blocks have
//! 32 numbers; K blocks have 256 in sub-blocks of 16 or 32 whose scales are quantised too. Layouts: ggml's
//! `ggml-common.h`.

use half::f16;

use crate::model::weights::Encoding;
use crate::model::weights::encoding::{BF16, F16, F32, F64};

/// Numbers in a K block.
const K: usize = 256;

static Q4_0: Encoding = Encoding { name: "Q4_0", numbers: 32, bytes: 18, decode: q4_0 };
static Q4_1: Encoding = Encoding { name: "Q4_1", numbers: 32, bytes: 20, decode: q4_1 };
static Q5_0: Encoding = Encoding { name: "Q5_0", numbers: 32, bytes: 22, decode: q5_0 };
static Q5_1: Encoding = Encoding { name: "Q5_1", numbers: 32, bytes: 24, decode: q5_1 };
static Q8_0: Encoding = Encoding { name: "Q8_0", numbers: 32, bytes: 34, decode: q8_0 };
static Q2_K: Encoding = Encoding { name: "Q2_K", numbers: K, bytes: 84, decode: q2_k };
static Q3_K: Encoding = Encoding { name: "Q3_K", numbers: K, bytes: 110, decode: q3_k };
static Q4_K: Encoding = Encoding { name: "Q4_K", numbers: K, bytes: 144, decode: q4_k };
static Q5_K: Encoding = Encoding { name: "Q5_K", numbers: K, bytes: 176, decode: q5_k };
static Q6_K: Encoding = Encoding { name: "Q6_K", numbers: K, bytes: 210, decode: q6_k };
static Q8_K: Encoding = Encoding { name: "Q8_K", numbers: K, bytes: 292, decode: q8_k };
static MXFP4: Encoding = Encoding { name: "MXFP4", numbers: 32, bytes: 17, decode: mxfp4 };

/// ggml's type number → how to read it, or why not.
pub(super) fn encoding(kind: u32) -> Result<&'static Encoding, String> {
    Ok(match kind {
        0 => &F32,
        1 => &F16,
        2 => &Q4_0,
        3 => &Q4_1,
        6 => &Q5_0,
        7 => &Q5_1,
        8 => &Q8_0,
        10 => &Q2_K,
        11 => &Q3_K,
        12 => &Q4_K,
        13 => &Q5_K,
        14 => &Q6_K,
        15 => &Q8_K,
        28 => &F64,
        30 => &BF16,
        39 => &MXFP4,
        _ => {
            return Err(format!(
                "has ggml type {kind}; F32, F16, BF16, F64, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K to Q6_K, Q8_K and MXFP4 \
                 are read (quantise the model to one of them)"
            ));
        }
    })
}

/// Calls `block` for every block of `BYTES` bytes and its numbers.
fn each<const BYTES: usize>(
    bytes: &[u8],
    out: &mut [f32],
    numbers: usize,
    block: impl Fn(&[u8; BYTES], &mut [f32]),
) {
    for (b, out) in bytes.as_chunks::<BYTES>().0.iter().zip(out.chunks_exact_mut(numbers)) {
        block(b, out);
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

fn low(byte: u8) -> f32 {
    f32::from(byte & 15)
}

fn high(byte: u8) -> f32 {
    f32::from(byte >> 4)
}

/// Sixteen bytes → 32 numbers of four bits: the low halves first.
fn nibbles(bytes: &[u8], out: &mut [f32], number: impl Fn(usize, u8) -> f32) {
    for (i, byte) in bytes.iter().enumerate() {
        out[i] = number(i, byte & 15);
        out[i + 16] = number(i + 16, byte >> 4);
    }
}

fn q4_0(bytes: &[u8], out: &mut [f32]) {
    each::<18>(bytes, out, 32, |b, out| {
        let d = half(b, 0);
        nibbles(&b[2..], out, |_, q| (f32::from(q) - 8.0) * d);
    });
}

fn q4_1(bytes: &[u8], out: &mut [f32]) {
    each::<20>(bytes, out, 32, |b, out| {
        let (d, m) = (half(b, 0), half(b, 2));
        nibbles(&b[4..], out, |_, q| f32::from(q) * d + m);
    });
}

/// The fifth bit of number `i`, as 0 or 16.
fn fifth(bits: &[u8], i: usize) -> f32 {
    f32::from((bits[i / 8] >> (i % 8) & 1) << 4)
}

fn q5_0(bytes: &[u8], out: &mut [f32]) {
    each::<22>(bytes, out, 32, |b, out| {
        let d = half(b, 0);
        nibbles(&b[6..], out, |i, q| (f32::from(q) + fifth(&b[2..6], i) - 16.0) * d);
    });
}

fn q5_1(bytes: &[u8], out: &mut [f32]) {
    each::<24>(bytes, out, 32, |b, out| {
        let (d, m) = (half(b, 0), half(b, 2));
        nibbles(&b[8..], out, |i, q| (f32::from(q) + fifth(&b[4..8], i)) * d + m);
    });
}

fn q8_0(bytes: &[u8], out: &mut [f32]) {
    each::<34>(bytes, out, 32, |b, out| {
        let d = half(b, 0);
        for (x, q) in out.iter_mut().zip(&b[2..]) {
            *x = f32::from(*q as i8) * d;
        }
    });
}

/// `[scales 16 | bits 64 | d | dmin]`: a scale and an offset of four bits each for 16 numbers of two bits.
fn q2_k(bytes: &[u8], out: &mut [f32]) {
    each::<84>(bytes, out, K, |b, out| {
        let (scales, bits) = (&b[..16], &b[16..80]);
        let (d, dmin) = (half(b, 80), half(b, 82));
        for (group, out) in out.chunks_exact_mut(16).enumerate() {
            let (scale, offset) = (d * low(scales[group]), dmin * high(scales[group]));
            for (x, q) in out.iter_mut().zip(two_bits(bits, group)) {
                *x = scale * f32::from(q) - offset;
            }
        }
    });
}

/// The two-bit numbers of a group of 16: 128 numbers lie in 32 bytes, the first 32 of them in the lowest
/// bits.
fn two_bits(bits: &[u8], group: usize) -> impl Iterator<Item = u8> {
    let (part, shift, half) = (group / 8, group % 8 / 2 * 2, group % 2);
    bits[part * 32 + half * 16..][..16].iter().map(move |byte| byte >> shift & 3)
}

/// `[high bits 32 | bits 64 | scales 12 | d]`: scales of six bits; a number has two bits here and one there.
fn q3_k(bytes: &[u8], out: &mut [f32]) {
    each::<110>(bytes, out, K, |b, out| {
        let (highs, bits, scales) = (&b[..32], &b[32..96], &b[96..108]);
        let d = half(b, 108);
        for (group, out) in out.chunks_exact_mut(16).enumerate() {
            let low = if group < 8 { scales[group] & 15 } else { scales[group - 8] >> 4 };
            let scale = low | (scales[8 + group % 4] >> (2 * (group / 4)) & 3) << 4;
            let scale = d * (f32::from(scale) - 32.0);
            let set = highs[group % 2 * 16..][..16].iter().map(|byte| byte >> (group / 2) & 1);
            for ((x, q), set) in out.iter_mut().zip(two_bits(bits, group)).zip(set) {
                *x = scale * (f32::from(q | set << 2) - 4.0);
            }
        }
    });
}

/// Scale and offset, six bits each, of sub-block `i` of eight.
fn scale_and_offset(packed: &[u8], i: usize) -> (f32, f32) {
    let (scale, offset) = if i < 4 {
        (packed[i] & 63, packed[i + 4] & 63)
    } else {
        (packed[i + 4] & 15 | packed[i - 4] >> 6 << 4, packed[i + 4] >> 4 | packed[i] >> 6 << 4)
    };
    (f32::from(scale), f32::from(offset))
}

/// The four-bit numbers of sub-block `i` of eight: 64 numbers lie in 32 bytes, the first 32 of them in the
/// low halves.
fn four_bits(bits: &[u8], i: usize) -> impl Iterator<Item = u8> {
    bits[i / 2 * 32..][..32].iter().map(move |byte| byte >> (i % 2 * 4) & 15)
}

/// `[d | dmin | scales 12 | bits 128]`.
fn q4_k(bytes: &[u8], out: &mut [f32]) {
    each::<144>(bytes, out, K, |b, out| {
        let (d, dmin) = (half(b, 0), half(b, 2));
        for (i, out) in out.chunks_exact_mut(32).enumerate() {
            let (scale, offset) = scale_and_offset(&b[4..16], i);
            let (scale, offset) = (d * scale, dmin * offset);
            for (x, q) in out.iter_mut().zip(four_bits(&b[16..], i)) {
                *x = scale * f32::from(q) - offset;
            }
        }
    });
}

/// `[d | dmin | scales 12 | fifth bits 32 | bits 128]`.
fn q5_k(bytes: &[u8], out: &mut [f32]) {
    each::<176>(bytes, out, K, |b, out| {
        let (d, dmin) = (half(b, 0), half(b, 2));
        for (i, out) in out.chunks_exact_mut(32).enumerate() {
            let (scale, offset) = scale_and_offset(&b[4..16], i);
            let (scale, offset) = (d * scale, dmin * offset);
            let fifths = b[16..48].iter().map(|byte| byte >> i & 1);
            for ((x, q), fifth) in out.iter_mut().zip(four_bits(&b[48..], i)).zip(fifths) {
                *x = scale * f32::from(q | fifth << 4) - offset;
            }
        }
    });
}

/// `[low four bits 128 | high two bits 64 | scales i8 16 | d]`.
fn q6_k(bytes: &[u8], out: &mut [f32]) {
    each::<210>(bytes, out, K, |b, out| {
        let (lows, highs, scales) = (&b[..128], &b[128..192], &b[192..208]);
        let d = half(b, 208);
        for (group, out) in out.chunks_exact_mut(16).enumerate() {
            let scale = d * f32::from(scales[group] as i8);
            // Within 128 numbers: a quarter of 32, and the half of it this group is.
            let (part, quarter, half) = (group / 8, group % 8 / 2, group % 2);
            let lows = &lows[part * 64 + quarter % 2 * 32 + half * 16..][..16];
            let highs = &highs[part * 32 + half * 16..][..16];
            for ((x, low), high) in out.iter_mut().zip(lows).zip(highs) {
                let q = low >> (quarter / 2 * 4) & 15 | (high >> (quarter * 2) & 3) << 4;
                *x = scale * (f32::from(q) - 32.0);
            }
        }
    });
}

/// `[d f32 | i8 256 | sums, not needed]`.
fn q8_k(bytes: &[u8], out: &mut [f32]) {
    each::<292>(bytes, out, K, |b, out| {
        let d = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        for (x, q) in out.iter_mut().zip(&b[4..260]) {
            *x = f32::from(*q as i8) * d;
        }
    });
}

/// `[e | bits 16]`: four-bit floats (sign, two bits of exponent, one of fraction) times 2^(e − 127).
fn mxfp4(bytes: &[u8], out: &mut [f32]) {
    const NUMBERS: [f32; 8] = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0];
    each::<17>(bytes, out, 32, |b, out| {
        let scale = (f32::from(b[0]) - 127.0).exp2();
        nibbles(&b[1..], out, |_, q| {
            let number = NUMBERS[usize::from(q & 7)] * scale;
            if q & 8 == 0 { number } else { -number }
        });
    });
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use candle_core::quantized::{GgmlDType, QStorage, QTensor};
    use rand::{RngCore as _, SeedableRng as _};

    use super::*;

    fn decoded(encoding: &Encoding, bytes: &[u8]) -> Vec<f32> {
        let mut out = vec![f32::NAN; bytes.len() / encoding.bytes * encoding.numbers];
        (encoding.decode)(bytes, &mut out);
        out
    }

    /// Random blocks whose scales, at `halves`, are made plain numbers.
    fn blocks(encoding: &Encoding, halves: &[usize]) -> Vec<u8> {
        let mut bytes = vec![0; 50 * encoding.bytes];
        let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
        rng.fill_bytes(&mut bytes);
        for block in bytes.chunks_exact_mut(encoding.bytes) {
            for at in halves {
                let d = f16::from_f32(rng.next_u32() as f32 / u32::MAX as f32 - 0.5);
                block[*at..at + 2].copy_from_slice(&d.to_le_bytes());
            }
        }
        bytes
    }

    #[test]
    fn candle_reads_the_same_numbers() {
        let cases: [(&Encoding, &[usize], GgmlDType); 10] = [
            (&Q4_0, &[0], GgmlDType::Q4_0),
            (&Q4_1, &[0, 2], GgmlDType::Q4_1),
            (&Q5_0, &[0], GgmlDType::Q5_0),
            (&Q5_1, &[0, 2], GgmlDType::Q5_1),
            (&Q8_0, &[0], GgmlDType::Q8_0),
            (&Q2_K, &[80, 82], GgmlDType::Q2K),
            (&Q3_K, &[108], GgmlDType::Q3K),
            (&Q4_K, &[0, 2], GgmlDType::Q4K),
            (&Q5_K, &[0, 2], GgmlDType::Q5K),
            (&Q6_K, &[208], GgmlDType::Q6K),
        ];
        for (encoding, halves, theirs) in cases {
            let bytes = blocks(encoding, halves);
            let ours = decoded(encoding, &bytes);
            let storage = QStorage::from_data(bytes.into(), &Device::Cpu, theirs).unwrap();
            let tensor = QTensor::new(storage, ours.len()).unwrap();
            let theirs: Vec<f32> = tensor.dequantize(&Device::Cpu).unwrap().to_vec1().unwrap();
            for (i, (a, b)) in ours.iter().zip(&theirs).enumerate() {
                assert!((a - b).abs() <= 1e-6 * b.abs().max(1.0), "{encoding:?} number {i}: {a} and {b}");
            }
        }
    }

    #[test]
    fn blocks_made_by_hand() {
        let one = f16::from_f32(1.0).to_le_bytes();
        // Byte i is 16·(15 − i) + i: the low halves count up, the high halves down.
        let bits: Vec<u8> = (0..16).map(|i| 16 * (15 - i) + i).collect();
        let up = (0..16u8).map(f32::from);
        let counted: Vec<f32> = up.clone().chain(up.rev()).collect::<Vec<f32>>();
        let block = [&one[..], &bits].concat();
        assert_eq!(decoded(&Q4_0, &block), counted.iter().map(|x| x - 8.0).collect::<Vec<_>>());
        let block = [&one[..], &f16::from_f32(0.5).to_le_bytes(), &bits].concat();
        assert_eq!(decoded(&Q4_1, &block), counted.iter().map(|x| x + 0.5).collect::<Vec<_>>());
        // Every fourth number has its fifth bit.
        let fifths = [0x11u8; 4];
        let block = [&one[..], &fifths, &bits].concat();
        let expected: Vec<f32> =
            counted.iter().enumerate().map(|(i, x)| x - if i % 4 == 0 { 0.0 } else { 16.0 }).collect();
        assert_eq!(decoded(&Q5_0, &block), expected);
        // 128 stands for 2^1; the numbers are those of the format's table.
        let block = [&[128u8][..], &bits].concat();
        let expected =
            [0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, -0.0, -1.0, -2.0, -3.0, -4.0, -6.0, -8.0, -12.0];
        let back: Vec<f32> = expected.iter().rev().copied().collect();
        assert_eq!(decoded(&MXFP4, &block), [&expected[..], &back].concat());
        let mut block = 0.5f32.to_le_bytes().to_vec();
        block.extend((0..=255u8).chain([0; 32]));
        let expected: Vec<f32> = (0..=255u8).map(|q| f32::from(q as i8) / 2.0).collect();
        assert_eq!(decoded(&Q8_K, &block), expected);
    }

    #[test]
    fn a_type_that_is_not_read_is_named() {
        assert!(encoding(16).unwrap_err().contains("type 16"));
    }
}

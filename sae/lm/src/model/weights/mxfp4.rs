//! MXFP4 in safetensors, as GPT-OSS is published: `NAME_blocks` and `NAME_scales` in the place of `NAME`.
//!
//! ```text
//! NAME_blocks [E, out, in/32, 16] u8 ─┐
//! NAME_scales [E, out, in/32]     u8 ─┴─▶ NAME [E, in, out]
//! NAME[e, 32·g + 2·i + h, r] = FP4[half h of blocks[e, r, g, i], the low one first] · 2^(scales[e, r, g] − 127)
//! ```
//! FP4 (E2M1) has a sign, two bits of exponent and one of fraction. Every product is an f32 as it is, so
//! nothing is rounded; 255 stands for no number (OCP Microscaling Formats 1.0) and is refused with the other
//! numbers that are not finite. GGUF's blocks of the same format have their halves in a different order (see
//! [`gguf`](super::gguf)).

use std::sync::Arc;

use rayon::prelude::*;

use super::Bytes;
use crate::Result;

/// Numbers of a block.
const BLOCK: usize = 32;
/// What the sixteen codes stand for.
const FP4: [f64; 16] =
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0];

/// Endings of the names of the two parts.
pub(super) const PARTS: [&str; 2] = ["_blocks", "_scales"];

/// Where some bytes are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    /// Index of the file.
    pub file: usize,
    /// First byte in it.
    pub at: u64,
}

/// A tensor in two parts.
#[derive(Debug)]
pub(super) struct Packed {
    pub blocks: Place,
    pub scales: Place,
    experts: usize,
    rows: usize,
    groups: usize,
}

impl Packed {
    /// From the places and shapes of the two parts.
    ///
    /// # Errors
    /// Shapes that do not fit each other, in words.
    pub fn new(blocks: (Place, &[usize]), scales: (Place, &[usize])) -> Result<Self, String> {
        let ([experts, rows, groups, 16], true) = (blocks.1, blocks.1[..3.min(blocks.1.len())] == *scales.1)
        else {
            return Err(format!(
                "MXFP4 blocks have shape {:?} and scales {:?}; expected [E, out, in/32, 16] and [E, out, in/32]",
                blocks.1, scales.1
            ));
        };
        Ok(Self { blocks: blocks.0, scales: scales.0, experts: *experts, rows: *rows, groups: *groups })
    }

    /// The shape of the numbers, `[E, in, out]`.
    pub fn shape(&self) -> Vec<usize> {
        vec![self.experts, BLOCK * self.groups, self.rows]
    }

    /// The numbers; one expert's bytes are in memory next to them.
    ///
    /// # Errors
    /// As [`Bytes::read_at`].
    pub fn read(&self, files: &[Arc<Bytes>]) -> Result<Vec<f32>> {
        let blocks_of_one = self.rows * self.groups;
        let mut out = vec![0f32; self.experts * BLOCK * blocks_of_one];
        if out.is_empty() {
            return Ok(out);
        }
        let (mut blocks, mut scales) = (vec![0u8; 16 * blocks_of_one], vec![0u8; blocks_of_one]);
        for (expert, out) in out.chunks_exact_mut(BLOCK * blocks_of_one).enumerate() {
            let at = (expert * blocks_of_one) as u64;
            files[self.blocks.file].read_at(self.blocks.at + 16 * at, &mut blocks)?;
            files[self.scales.file].read_at(self.scales.at + at, &mut scales)?;
            let columns = out.par_chunks_exact_mut(BLOCK * self.rows).enumerate();
            columns.for_each(|(group, out)| self.decode(group, &blocks, &scales, out));
        }
        Ok(out)
    }

    /// The 32 columns of one group, `[32, rows]`.
    fn decode(&self, group: usize, blocks: &[u8], scales: &[u8], out: &mut [f32]) {
        for row in 0..self.rows {
            let block = row * self.groups + group;
            let scale = match scales[block] {
                255 => f64::NAN,
                exponent => f64::from(i32::from(exponent) - 127).exp2(),
            };
            for (i, byte) in blocks[16 * block..][..16].iter().enumerate() {
                out[2 * i * self.rows + row] = (FP4[usize::from(byte & 15)] * scale) as f32;
                out[(2 * i + 1) * self.rows + row] = (FP4[usize::from(byte >> 4)] * scale) as f32;
            }
        }
    }
}

//! Codes of rows for a fixed dictionary, by proximal gradient steps.

use kernels::encode::products;
use kernels::shrink::Shrinkage;
use kernels::wide::largest_eigenvalue;
use rayon::prelude::*;

/// Rows of one task.
const CHUNK: usize = 32;

/// A penalty of codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Penalised {
    /// Which.
    pub kind: Shrinkage,
    /// λ.
    pub lambda: f64,
}

/// A dictionary, ready to code.
#[derive(Debug, Clone)]
pub struct Coder<'a> {
    /// Φ `[units, d]`, rows of norm 1.
    pub rows: &'a [f32],
    /// Width of a row.
    pub d: usize,
    /// ΦΦᵀ `[units, units]`.
    gram: Vec<f32>,
    /// η.
    pub step: f64,
}

/// What a task remembers between steps.
#[derive(Debug, Default)]
struct Memory {
    along: Vec<f32>,
    products: Vec<f32>,
    extrapolated: Vec<f32>,
}

impl<'a> Coder<'a> {
    /// For Φ `[units, d]`.
    pub fn new(rows: &'a [f32], d: usize) -> Self {
        let mut gram = Vec::new();
        products(&mut gram, rows, rows, d);
        Self { rows, d, gram, step: 1.0 / largest_eigenvalue(rows, d) }
    }

    /// Units.
    pub fn units(&self) -> usize {
        self.rows.len() / self.d
    }

    /// Codes `[n, units]` of `x[n, d]`, from 0, until a step changes them by less than a share `tolerance` of their norm, or after
    /// `iterations` steps.
    pub fn infer(&self, x: &[f32], penalty: Penalised, iterations: usize, tolerance: f64) -> Vec<f32> {
        let mut codes = vec![0.0; x.len() / self.d * self.units()];
        let chunks = codes.par_chunks_mut(CHUNK * self.units()).zip(x.par_chunks(CHUNK * self.d));
        chunks.for_each_init(Memory::default, |memory, (codes, x)| {
            products(&mut memory.along, x, self.rows, self.d);
            self.descend(codes, memory, penalty, iterations, tolerance);
        });
        codes
    }

    /// The best codes of `x[n, d]` on the supports of `codes`: what is left when a penalty that chose them does not shrink them.
    pub fn refit(&self, x: &[f32], codes: &mut [f32], iterations: usize) {
        let chunks = codes.par_chunks_mut(CHUNK * self.units()).zip(x.par_chunks(CHUNK * self.d));
        chunks.for_each_init(Memory::default, |memory, (codes, x)| {
            products(&mut memory.along, x, self.rows, self.d);
            let active: Vec<bool> = codes.iter().map(|code| *code != 0.0).collect();
            memory.extrapolated.clear();
            memory.extrapolated.extend_from_slice(codes);
            let mut before = 1.0_f64;
            for _ in 0..iterations {
                products(&mut memory.products, &memory.extrapolated, &self.gram, self.units());
                let next = (1.0 + (1.0 + 4.0 * before * before).sqrt()) / 2.0;
                let momentum = ((before - 1.0) / next) as f32;
                before = next;
                for (i, code) in codes.iter_mut().enumerate().filter(|(i, _)| active[*i]) {
                    let moved =
                        memory.extrapolated[i] + self.step as f32 * (memory.along[i] - memory.products[i]);
                    memory.extrapolated[i] = moved + momentum * (moved - *code);
                    *code = moved;
                }
            }
        });
    }

    /// Proximal steps on the codes of a few rows, Nesterov's where the penalty is convex.
    fn descend(
        &self,
        codes: &mut [f32],
        memory: &mut Memory,
        Penalised { kind, lambda }: Penalised,
        iterations: usize,
        tolerance: f64,
    ) {
        let threshold = kind.threshold(lambda, self.step);
        let Memory { along, products: of_codes, extrapolated } = memory;
        extrapolated.clear();
        extrapolated.extend_from_slice(codes);
        let mut before = 1.0_f64;
        for _ in 0..iterations {
            products(of_codes, extrapolated, &self.gram, self.units());
            let next = (1.0 + (1.0 + 4.0 * before * before).sqrt()) / 2.0;
            let momentum = if kind == Shrinkage::Soft { (before - 1.0) / next } else { 0.0 };
            before = next;
            let (mut change, mut size) = (0.0, 0.0);
            for (i, code) in codes.iter_mut().enumerate() {
                let z = f64::from(extrapolated[i]) + self.step * f64::from(along[i] - of_codes[i]);
                let passes = z.abs() > threshold;
                let moved = if passes { kind.prox_signed(z, lambda, self.step) } else { 0.0 };
                let difference = moved - f64::from(*code);
                change += difference * difference;
                size += moved * moved;
                extrapolated[i] = (moved + momentum * difference) as f32;
                *code = moved as f32;
            }
            if change <= tolerance * tolerance * size {
                break;
            }
        }
    }

    /// Reconstructions `[n, d]` of `codes[n, units]`.
    pub fn decode(&self, codes: &[f32]) -> Vec<f32> {
        let (units, d) = (self.units(), self.d);
        let mut out = vec![0.0; codes.len() / units * d];
        out.par_chunks_mut(d).zip(codes.par_chunks(units)).for_each(|(out, codes)| {
            for (code, row) in codes.iter().zip(self.rows.chunks_exact(d)).filter(|(code, _)| **code != 0.0) {
                out.iter_mut().zip(row).for_each(|(out, w)| *out += code * w);
            }
        });
        out
    }
}

//! What single experts of a layer add to its output.

use candle_core::Tensor;

use super::super::config::{Activation, Decomposition, MonetConfig};
use super::super::ops::RowActivation;
use super::{Experts, Monet};
use crate::Result;

/// The experts of a layer as plain numbers, so that some of them can be computed by themselves.
#[derive(Debug)]
pub struct MonetExperts {
    config: MonetConfig,
    d: usize,
    /// Encoders with their biases: one of the horizontal form, two of the vertical.
    u: Vec<(Vec<f32>, Vec<f32>)>,
    /// Decoders, rows of all halves' units: one, or V11, V12, V21, V22.
    v: Vec<Vec<f32>>,
    /// Biases of the output: one, or two.
    b: Vec<Vec<f32>>,
}

impl MonetExperts {
    pub(super) fn of(monet: &Monet) -> Result<Self> {
        let flat = |t: &Tensor| -> Result<Vec<f32>> { Ok(t.flatten_all()?.to_vec1()?) };
        let encoder = |u: &super::Linear| -> Result<(Vec<f32>, Vec<f32>)> {
            Ok((flat(&u.weight)?, u.bias.as_ref().map(flat).transpose()?.unwrap_or_default()))
        };
        let (u, v, b) = match &monet.experts {
            Experts::Horizontal { u, v, b } => (vec![encoder(u)?], vec![flat(&v.weight)?], vec![flat(b)?]),
            Experts::Vertical { u, v, b } => (
                u.iter().map(encoder).collect::<Result<_>>()?,
                v.iter().flatten().map(|v| flat(&v.weight)).collect::<Result<_>>()?,
                b.iter().map(flat).collect::<Result<_>>()?,
            ),
        };
        Ok(Self { config: monet.config, d: monet.d_model, u, v, b })
    }

    /// Hidden units of half `half` of set `set`.
    fn units(&self, set: usize, half: usize, width: usize, x: &[f32]) -> Vec<f32> {
        let (w, bias) = &self.u[set];
        let row = |r: usize| {
            let z: f32 = w[r * self.d..(r + 1) * self.d].iter().zip(x).map(|(w, x)| w * x).sum();
            z + bias.get(r).copied().unwrap_or(0.0)
        };
        let z: Vec<f32> = (half * width..(half + 1) * width).map(row).collect();
        let mut units = vec![0.0; width];
        let activation: Activation = self.config.activation;
        RowActivation { activation, gated: false }.row(&z, &mut units);
        units
    }

    /// Hidden units of the layer: of all halves of a set in order, and of the second set after the first.
    pub fn hidden_units(&self) -> usize {
        self.config.side * self.config.hidden
    }

    /// Units that are not 0, each with its number and its value times what its half is weighed by: the sum over heads of the half's gates,
    /// which is the weight of all experts that share the half. `x` and `gates` as in [`MonetExperts::add`].
    pub fn strengths(&self, x: &[f32], gates: &[f32]) -> Vec<(u32, f32)> {
        let (n, heads, sets) = (self.config.side, self.config.heads, self.u.len());
        let width = self.config.hidden / sets;
        let mut found = Vec::new();
        for set in 0..sets {
            let of_set = &gates[set * heads * n..(set + 1) * heads * n];
            for half in 0..n {
                let weight: f32 = (0..heads).map(|head| of_set[head * n + half]).sum();
                if weight == 0.0 {
                    continue;
                }
                let first = (set * n + half) * width;
                let units = self.units(set, half, width, x).into_iter().enumerate();
                found.extend(units.filter(|(_, u)| *u != 0.0).map(|(i, u)| ((first + i) as u32, u * weight)));
            }
        }
        found
    }

    /// `out += weight · V[:, half] units` of decoder `which`.
    fn write(&self, which: usize, half: usize, units: &[f32], weight: f32, out: &mut [f32]) {
        let columns = self.v[which].len() / out.len();
        for (out, row) in out.iter_mut().zip(self.v[which].chunks_exact(columns)) {
            let row = &row[half * units.len()..(half + 1) * units.len()];
            *out += weight * row.iter().zip(units).map(|(v, u)| v * u).sum::<f32>();
        }
    }

    /// Σ over `experts` of weight · E(x), added to `out [d_model]`: `x [d_model]` is the layer's input and `gates`
    /// are those of both routers, `[2 · H · √E]`.
    pub fn add(&self, x: &[f32], gates: &[f32], experts: &[u32], out: &mut [f32]) {
        let (n, width) = (self.config.side, self.config.heads * self.config.side);
        for expert in experts {
            let (i, j) = (*expert as usize / n, *expert as usize % n);
            let heads = 0..self.config.heads;
            let weight: f32 = heads.map(|h| gates[h * n + i] * gates[width + h * n + j]).sum();
            if weight == 0.0 {
                continue;
            }
            let bias = |of: &[f32], half: usize, out: &mut [f32]| {
                let of = &of[half * out.len()..(half + 1) * out.len()];
                out.iter_mut().zip(of).for_each(|(out, b)| *out += weight * b);
            };
            match self.config.decomposition {
                Decomposition::Horizontal => {
                    let units = self.units(0, i, self.config.hidden, x);
                    self.write(0, j, &units, weight, out);
                    bias(&self.b[0], j, out);
                }
                Decomposition::Vertical => {
                    let half = self.config.hidden / 2;
                    let units = [self.units(0, i, half, x), self.units(1, j, half, x)];
                    let (left, right) = out.split_at_mut(self.d / 2);
                    for (side, which, out) in [(i, 0, left), (j, 2, right)] {
                        self.write(which, side, &units[0], weight, out);
                        self.write(which + 1, side, &units[1], weight, out);
                        bias(&self.b[which / 2], side, out);
                    }
                }
            }
        }
    }
}

//! Rows of a world and the codes that made them.

use std::ops::Range;

use kernels::chance::{Generator, Purpose, below, generator, normal};
use rayon::prelude::*;

use super::World;
use crate::dictionary::Codes;

/// Rows of a world with the truth about them.
#[derive(Debug, Clone)]
pub struct Sample {
    /// `[rows, d]`.
    pub activations: Vec<f32>,
    /// Which features fired in each row, and their magnitudes.
    pub codes: Codes,
}

impl World {
    /// Rows `range` of the world's endless rows of `seed`. The same row has the same bits in whatever range
    /// it is asked for.
    pub fn rows(&self, seed: u64, range: Range<u64>) -> Sample {
        let rows: Vec<(Vec<u32>, Vec<f32>)> = range
            .into_par_iter()
            .map(|row| self.fire(&mut generator(seed, Purpose::Worlds, row, 0)))
            .collect();
        let mut codes = Codes::default();
        for (features, values) in &rows {
            codes.push_row(features, values);
        }
        let mut activations = vec![0.0; rows.len() * self.d];
        activations.par_chunks_mut(self.d).zip(&rows).for_each(|(x, (features, values))| {
            self.superpose(features, values, x);
        });
        Sample { activations, codes }
    }

    /// Which features fire in a row, ascending, and how strongly. Features under one that does not fire
    /// cannot matter, so nothing is drawn for them.
    fn fire(&self, rng: &mut Generator) -> (Vec<u32>, Vec<f32>) {
        let common: Vec<f32> = (0..self.rank).map(|_| normal(rng)).collect();
        let mut fired = Vec::new();
        for &root in &self.forest.roots {
            fired.extend(self.draw(root, &common, rng));
        }
        let mut next = 0;
        while next < fired.len() {
            let parent = fired[next].0 as usize;
            next += 1;
            let mut children: Vec<(u32, f32)> = self.forest.children[parent]
                .iter()
                .filter_map(|&child| self.draw(child, &common, rng))
                .collect();
            if self.forest.exclusive[parent] && children.len() > 1 {
                children = vec![children[below(children.len(), rng)]];
            }
            fired.extend(children);
        }
        fired.sort_unstable_by_key(|&(feature, _)| feature);
        fired.into_iter().unzip()
    }

    /// The feature and its magnitude, if it fires; a magnitude that is not positive is no firing.
    fn draw(&self, feature: u32, common: &[f32], rng: &mut Generator) -> Option<(u32, f32)> {
        let i = feature as usize;
        let shared: f32 =
            self.factor[i * self.rank..(i + 1) * self.rank].iter().zip(common).map(|(f, e)| f * e).sum();
        if shared + self.own[i] * normal(rng) <= self.thresholds[i] {
            return None;
        }
        let magnitude = self.means[i] + self.deviations[i] * normal(rng);
        (magnitude > 0.0).then_some((feature, magnitude))
    }

    /// x = b + Σ a_i d_i, features in ascending order.
    fn superpose(&self, features: &[u32], values: &[f32], x: &mut [f32]) {
        x.copy_from_slice(&self.bias);
        for (&feature, &value) in features.iter().zip(values) {
            let i = feature as usize;
            let direction = &self.directions[i * self.d..(i + 1) * self.d];
            x.iter_mut().zip(direction).for_each(|(x, d)| *x += value * d);
        }
    }
}

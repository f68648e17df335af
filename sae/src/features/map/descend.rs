//! The descent: points move towards their neighbours and away from random others.

use kernels::chance::{Purpose, below, generator};

use super::graph::Edge;

/// 1/(1 + a d^2b) is the closeness of two points at distance d: UMAP's fit to spread 1 and least distance
/// 0.1.
const A: f32 = 1.576_943_5;
const B: f32 = 0.895_060_9;
/// Random points that the first end of an edge is pushed away from.
const CHANCE: usize = 5;
/// Longest step of a coordinate.
const STEP: f32 = 4.0;

/// The state of the descent: when each edge moves next.
pub struct Descent<'a> {
    edges: &'a [Edge],
    epochs: usize,
    /// Passes between two moves of an edge: the strongest moves in every one.
    every: Vec<f32>,
    /// The pass in which each edge moves next.
    next: Vec<f32>,
    seed: u64,
}

impl<'a> Descent<'a> {
    /// Before the first of `epochs` passes.
    pub fn new(edges: &'a [Edge], epochs: usize, seed: u64) -> Self {
        let strongest = edges.iter().map(|edge| edge.strength).fold(0.0, f32::max);
        let every: Vec<f32> = edges.iter().map(|edge| strongest / edge.strength.max(1e-9)).collect();
        Self { edges, epochs, next: every.clone(), every, seed }
    }

    /// One pass: every edge whose time has come moves both its ends, and the first away from [`CHANCE`]
    /// others. Steps become shorter from pass to pass.
    pub fn pass(&mut self, places: &mut [[f32; 2]], epoch: usize) {
        let mut rng = generator(self.seed, Purpose::MapMoves, epoch as u64, 0);
        let rate = 1.0 - epoch as f32 / self.epochs as f32;
        for (i, edge) in self.edges.iter().enumerate() {
            if self.next[i] > epoch as f32 + 1.0 {
                continue;
            }
            self.next[i] += self.every[i];
            let (a, b) = (edge.a as usize, edge.b as usize);
            let pull = step(places[a], places[b], attraction).map(|g| g * rate);
            for axis in 0..2 {
                places[a][axis] += pull[axis];
                places[b][axis] -= pull[axis];
            }
            for _ in 0..CHANCE {
                let other = below(places.len(), &mut rng);
                if other != a {
                    let push = step(places[a], places[other], repulsion).map(|g| g * rate);
                    (0..2).for_each(|axis| places[a][axis] += push[axis]);
                }
            }
        }
    }
}

/// The step of `a` along the line to `b`, by `slope` of their squared distance.
fn step(a: [f32; 2], b: [f32; 2], slope: fn(f32) -> f32) -> [f32; 2] {
    let off = [a[0] - b[0], a[1] - b[1]];
    let slope = slope(off[0] * off[0] + off[1] * off[1]);
    off.map(|x| (slope * x).clamp(-STEP, STEP))
}

/// d ln(closeness) / d(place), over (place − other): negative, towards the other.
fn attraction(squared: f32) -> f32 {
    if squared <= 0.0 {
        return 0.0;
    }
    -2.0 * A * B * squared.powf(B - 1.0) / (1.0 + A * squared.powf(B))
}

/// d ln(1 − closeness) / d(place), over (place − other): away from the other. The small number keeps it
/// finite where both are at one place.
fn repulsion(squared: f32) -> f32 {
    2.0 * B / ((0.001 + squared) * (1.0 + A * squared.powf(B)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn closeness(d: f64) -> f64 {
        1.0 / (1.0 + f64::from(A) * d.powf(2.0 * f64::from(B)))
    }

    #[test]
    fn slopes_are_those_of_the_logarithms() {
        for d in [0.05, 0.3, 1.0, 2.5, 7.0] {
            let h = 1e-6 * d;
            let slope = |f: fn(f64) -> f64| (f(closeness(d + h)).ln() - f(closeness(d - h)).ln()) / (2.0 * h);
            let squared = (d * d) as f32;
            let pull = f64::from(attraction(squared)) * d;
            assert!((pull / slope(|c| c) - 1.0).abs() < 1e-3, "attraction at {d}");
            // The small number is felt near 0 only.
            let push = f64::from(repulsion(squared)) * d * (0.001 + d * d) / (d * d);
            assert!((push / slope(|c| 1.0 - c) - 1.0).abs() < 1e-3, "repulsion at {d}");
        }
    }

    #[test]
    fn two_that_hold_together_come_near() {
        let edges = [Edge { a: 0, b: 1, strength: 1.0 }];
        let mut places = vec![[0.0, 0.0], [8.0, 0.0], [4.0, 30.0]];
        let mut descent = Descent::new(&edges, 200, 1);
        (0..200).for_each(|epoch| descent.pass(&mut places, epoch));
        assert!((places[0][0] - places[1][0]).hypot(places[0][1] - places[1][1]) < 2.0, "{places:?}");
    }
}

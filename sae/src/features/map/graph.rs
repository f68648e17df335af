//! The fuzzy graph: how strongly features are tied to their neighbours.

use std::collections::HashMap;

/// Steps of the bisection for the width of a neighbourhood.
const STEPS: usize = 40;

/// Two features, by their places in the list of those alive, and how strongly they hold together, in (0, 1].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Edge {
    pub a: u32,
    pub b: u32,
    pub strength: f32,
}

/// The edges between `alive` features (ascending), from each one's `neighbours` (feature, cosine). Each pair
/// once, sorted.
///
/// A feature's nearest neighbour is held with 1, the others with exp(−(d − d₁)/σ), where d is 1 − cosine and
/// σ is such that the sum is log₂ of their number. A pair holds with a + b − ab of its two directions.
pub fn edges(alive: &[u32], neighbours: &[Vec<(u32, f32)>]) -> Vec<Edge> {
    let mut place = vec![u32::MAX; neighbours.len()];
    for (i, feature) in alive.iter().enumerate() {
        place[*feature as usize] = i as u32;
    }
    let mut pairs: HashMap<(u32, u32), [f32; 2]> = HashMap::new();
    for (from, feature) in alive.iter().enumerate() {
        let known = neighbours[*feature as usize].iter().filter(|(other, _)| {
            place.get(*other as usize).is_some_and(|place| *place != u32::MAX) && other != feature
        });
        let (others, distances): (Vec<u32>, Vec<f64>) =
            known.map(|(other, cosine)| (place[*other as usize], f64::from(1.0 - cosine))).unzip();
        for (to, strength) in others.into_iter().zip(strengths(&distances)) {
            let from = from as u32;
            let (key, way) = if from < to { ((from, to), 0) } else { ((to, from), 1) };
            pairs.entry(key).or_default()[way] = strength as f32;
        }
    }
    let mut edges: Vec<Edge> =
        pairs.into_iter().map(|((a, b), [x, y])| Edge { a, b, strength: x + y - x * y }).collect();
    edges.sort_by_key(|edge| (edge.a, edge.b));
    edges
}

/// How strongly each neighbour at these distances is held.
fn strengths(distances: &[f64]) -> Vec<f64> {
    let nearest = distances.iter().copied().fold(f64::INFINITY, f64::min);
    let target = (distances.len() as f64).log2();
    let held = |width: f64| distances.iter().map(move |d| (-(d - nearest) / width).exp());
    let (mut low, mut high) = (0.0f64, f64::INFINITY);
    let mut width = 1.0f64;
    for _ in 0..STEPS {
        if held(width).sum::<f64>() > target {
            high = width;
        } else {
            low = width;
        }
        width = if high.is_finite() { (low + high) / 2.0 } else { width * 2.0 };
    }
    // Neighbours that are all equally far need no width; it only must not be zero.
    held(width.max(1e-12)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_sum_to_the_logarithm_of_their_number() {
        let held = strengths(&[0.1, 0.2, 0.25, 0.4, 0.5, 0.6, 0.8, 0.9]);
        assert!((held.iter().sum::<f64>() - 3.0).abs() < 1e-6);
        assert_eq!(held[0], 1.0);
        assert!(held.is_sorted_by(|a, b| a >= b));
        assert!(strengths(&[0.3; 4]).iter().all(|h| h.is_finite()));
        assert!(strengths(&[]).is_empty());
    }

    #[test]
    fn pairs_are_there_once_and_the_dead_not_at_all() {
        let neighbours =
            vec![vec![(1, 0.9), (2, 0.5)], vec![(0, 0.9), (3, 0.8)], vec![(0, 0.5)], vec![(1, 0.8)]];
        let edges = edges(&[0, 1, 3], &neighbours);
        let pairs: Vec<_> = edges.iter().map(|e| (e.a, e.b)).collect();
        assert_eq!(pairs, [(0, 1), (1, 2)]);
        assert!(edges.iter().all(|e| e.strength > 0.0 && e.strength <= 1.0));
    }
}

//! Sparse edits: which features to change, so that an activation becomes that of a different prompt.

use std::collections::BTreeMap;

/// What changing a feature adds to an activation.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The feature.
    pub feature: u32,
    /// `(β − α)·d`, `[d]`: its part in the other prompt less its part in this one.
    pub vector: Vec<f32>,
}

/// The changes between two codes: features with their values, of this prompt and the other, and the features' decoder rows.
pub fn changes<'a>(
    own: (&[u32], &[f32]),
    other: (&[u32], &[f32]),
    row: impl Fn(u32) -> &'a [f32],
) -> Vec<Change> {
    let mut by: BTreeMap<u32, f32> = BTreeMap::new();
    other.0.iter().zip(other.1).for_each(|(feature, value)| *by.entry(*feature).or_default() += value);
    own.0.iter().zip(own.1).for_each(|(feature, value)| *by.entry(*feature).or_default() -= value);
    by.into_iter()
        .filter(|(_, by)| *by != 0.0)
        .map(|(feature, by)| Change { feature, vector: row(feature).iter().map(|w| by * w).collect() })
        .collect()
}

/// Chooses changes one at a time, each the one that brings `target` nearest (what is left is `target` less the changes so far), until
/// `most` are chosen or none brings it nearer. Gives their indices.
///
/// Per step ‖r − δ‖² = ‖r‖² − 2 r·δ + ‖δ‖² of every change that is left.
pub fn greedy(target: &[f32], changes: &[Change], most: usize) -> Vec<usize> {
    let squares: Vec<f64> = changes.iter().map(|c| kernels::wide::dot(&c.vector, &c.vector)).collect();
    let mut rest = target.to_vec();
    let mut chosen = Vec::new();
    while chosen.len() < most {
        let gain = |i: &usize| squares[*i] - 2.0 * kernels::wide::dot(&rest, &changes[*i].vector);
        let best = (0..changes.len())
            .filter(|i| !chosen.contains(i))
            .map(|i| (gain(&i), i))
            .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let Some((_, best)) = best.filter(|(gain, _)| *gain < 0.0) else { break };
        rest.iter_mut().zip(&changes[best].vector).for_each(|(rest, v)| *rest -= v);
        chosen.push(best);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::chance::{Purpose, generator, normal};

    fn left(target: &[f32], changes: &[Change], chosen: &[usize]) -> f64 {
        let rest = (0..target.len()).map(|c| {
            f64::from(target[c]) - chosen.iter().map(|i| f64::from(changes[*i].vector[c])).sum::<f64>()
        });
        rest.map(|r| r * r).sum::<f64>().sqrt()
    }

    #[test]
    fn orthogonal_changes_are_chosen_as_well_as_can_be() {
        // Of changes that do not overlap, greedy is optimal: checked against all subsets.
        let values = [3.0, -1.0, 0.5, 2.0, -4.0, 0.2];
        let own: Vec<Change> = (0..6)
            .map(|i| Change {
                feature: i,
                vector: (0..6).map(|c| if c == i { values[i as usize] } else { 0.0 }).collect(),
            })
            .collect();
        let target = [3.0, 1.0, 0.5, 1.9, -4.0, -0.2];
        for most in 0..=6 {
            let found = left(&target, &own, &greedy(&target, &own, most));
            let best = (0_u32..64)
                .filter(|set| set.count_ones() as usize <= most)
                .map(|set| {
                    let chosen: Vec<usize> = (0..6).filter(|i| set >> i & 1 == 1).collect();
                    left(&target, &own, &chosen)
                })
                .fold(f64::INFINITY, f64::min);
            assert!((found - best).abs() < 1e-6, "{most}: {found} {best}");
        }
        assert_eq!(greedy(&target, &own, 6).len(), 4, "what would lead away is left alone");
    }

    /// The first of a step is the best single one, and no step leads away.
    #[test]
    fn every_step_is_the_best_of_its_kind() {
        let mut rng = generator(5, Purpose::Samples, 1, 0);
        let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| normal(&mut rng)).collect() };
        for _ in 0..20 {
            let target = draw(4);
            let all: Vec<Change> = (0..8).map(|feature| Change { feature, vector: draw(4) }).collect();
            let chosen = greedy(&target, &all, 8);
            let mut so_far: Vec<usize> = Vec::new();
            for next in chosen {
                let with = |i: usize| left(&target, &all, &[so_far.as_slice(), &[i]].concat());
                let best = (0..8).filter(|i| !so_far.contains(i)).map(with).fold(f64::INFINITY, f64::min);
                assert!((with(next) - best).abs() < 1e-6 && best < left(&target, &all, &so_far));
                so_far.push(next);
            }
        }
    }

    #[test]
    fn changes_are_what_one_prompt_has_and_the_other_has_not() {
        let rows = [[1.0_f32, 0.0], [0.0, 2.0], [1.0, 1.0]];
        let found = changes((&[0, 1], &[3.0, 1.0]), (&[1, 2], &[1.0, 0.5]), |f| &rows[f as usize]);
        let expected =
            [Change { feature: 0, vector: vec![-3.0, 0.0] }, Change { feature: 2, vector: vec![0.5, 0.5] }];
        assert_eq!(found, expected);
    }
}

//! Which states a posterior is truncated to: none active, every latent alone, and all combinations of 2 to γ of the candidates.
//!
//! Combinations are a tree: a node adds one candidate to its parent, whose candidates all have lower places. So what a state needs is
//! computed from its parent's in a few operations, and a combination costs 12 bytes that all rows share.

use crate::{Error, Result};

/// States at most; more need minutes per row.
const MOST: usize = 1 << 20;

/// One combination.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node {
    /// The node without its last candidate; the node itself if it has one alone.
    pub parent: u32,
    /// Place of the last candidate.
    pub place: u16,
    /// Which of the values that are not 0 it has.
    pub value: u16,
    /// Candidates that are active.
    pub size: u16,
}

/// All combinations of 1 to γ of P candidates, each with one of V values.
#[derive(Debug)]
pub(super) struct States {
    /// The P·V nodes of one candidate, then the others, every parent before its children.
    nodes: Vec<Node>,
    /// P·V.
    singles: usize,
    /// Values that are not 0.
    values: usize,
}

impl States {
    /// Those of `candidates` with at most `active` active.
    ///
    /// # Errors
    /// Too many.
    pub fn new(candidates: usize, active: usize, values: usize) -> Result<Self> {
        let count = count(candidates, active, values);
        if count > MOST as f64 {
            return Err(Error::request(format!(
                "{candidates} candidates of which {active} may be active have {count:.2e} states; at most {MOST} are searched"
            ))
            .with_remedy("give fewer with --candidates or --active"));
        }
        let singles = candidates * values;
        let mut states = Self { nodes: Vec::with_capacity(count as usize + singles), singles, values };
        for at in 0..singles {
            let (place, value) = ((at / values) as u16, (at % values) as u16);
            states.nodes.push(Node { parent: at as u32, place, value, size: 1 });
        }
        if active > 1 {
            (0..singles).for_each(|at| states.grow(at as u32, candidates, active));
        }
        Ok(states)
    }

    /// Adds all that begin with `parent`, depth first.
    fn grow(&mut self, parent: u32, candidates: usize, active: usize) {
        let Node { place, size, .. } = self.nodes[parent as usize];
        for place in place as usize + 1..candidates {
            for value in 0..self.values {
                let at = self.nodes.len() as u32;
                let (place, value) = (place as u16, value as u16);
                self.nodes.push(Node { parent, place, value, size: size + 1 });
                if usize::from(size) + 1 < active {
                    self.grow(at, candidates, active);
                }
            }
        }
    }

    /// Nodes of one candidate.
    pub fn singles(&self) -> usize {
        self.singles
    }

    /// Combinations of two or more.
    pub fn several(&self) -> usize {
        self.nodes.len() - self.singles
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Place and value of every candidate of node `at`, the last first.
    pub fn path(&self, at: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let mut next = Some(at);
        std::iter::from_fn(move || {
            let node = self.nodes[next?];
            next = (node.size > 1).then_some(node.parent as usize);
            Some((usize::from(node.place), usize::from(node.value)))
        })
    }
}

/// Σ over g = 2..γ of C(P, g)·V^g.
fn count(candidates: usize, active: usize, values: usize) -> f64 {
    let mut of_size = candidates as f64 * values as f64;
    let mut all = 0.0;
    for g in 2..=active.min(candidates) {
        of_size *= (candidates + 1 - g) as f64 * values as f64 / g as f64;
        all += of_size;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every state that a count in base V + 1 finds, once.
    #[test]
    fn all_combinations_are_there_once() {
        for (candidates, active, values) in [(8, 5, 1), (5, 5, 2), (4, 2, 3), (3, 1, 2), (1, 1, 1)] {
            let states = States::new(candidates, active, values).unwrap();
            let mut found: Vec<Vec<usize>> = Vec::new();
            for at in 0..states.nodes().len() {
                let mut state = vec![0; candidates];
                states.path(at).for_each(|(place, value)| state[place] = value + 1);
                assert_eq!(state.iter().filter(|v| **v > 0).count(), usize::from(states.nodes()[at].size));
                found.push(state);
            }
            let all = (1..(values + 1).pow(candidates as u32)).map(|number| {
                (0..candidates).map(|p| number / (values + 1).pow(p as u32) % (values + 1)).collect()
            });
            let mut expected: Vec<Vec<usize>> =
                all.filter(|state: &Vec<usize>| state.iter().filter(|v| **v > 0).count() <= active).collect();
            found.sort();
            expected.sort();
            assert_eq!(found, expected);
        }
        // ProSper's example: H' = 8, γ = 5.
        assert_eq!(States::new(8, 5, 1).unwrap().several(), 210);
    }

    #[test]
    fn too_many_are_refused() {
        let message = States::new(60, 8, 1).unwrap_err().to_string();
        assert!(message.contains("60 candidates") && message.contains("states"), "{message}");
    }
}

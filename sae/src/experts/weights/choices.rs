//! Cells of experts by the tokens that choose them.
//!
//! Models that began with different seeds have residual streams of different bases: their experts have no weights
//! to compare. But both were run on the same text, so that an expert is the set of tokens that chose it, and two
//! experts are as near as these sets are correlated (φ, the correlation of two yes-or-no variables).

use std::collections::BTreeMap;
use std::path::Path;

use super::cells::Cells;
use crate::experts::against::{open_both, side_by_side};
use crate::experts::routing::{Choice, Source, WeightRule};
use crate::{Error, Progress, Result};

/// Experts of a layer at most: there is a count for every pair.
const MOST: usize = 8192;

/// How often experts of one layer were chosen, and both of a pair by the same token.
#[derive(Debug)]
struct Counts {
    tokens: u64,
    other: Vec<u64>,
    reference: Vec<u64>,
    /// `[other, reference]`.
    both: Vec<u32>,
}

/// Cells of the experts of the routing in `reference` among those in `other`, which must hold the same tokens;
/// layer by layer. Nearest is the largest correlation. Experts that no token or every token chose have none and are
/// left out.
///
/// # Errors
/// Datasets without routing, of different tokens, or of more than 8,192 experts a layer; [`Error::Stopped`].
pub fn cells_of_choices(other: &Path, reference: &Path, progress: &mut dyn Progress) -> Result<Cells> {
    let (a, b) = open_both(other, reference)?;
    let (of_a, of_b) = (experts(&a, other, progress)?, experts(&b, reference, progress)?);
    let mut layers: BTreeMap<u16, Counts> = BTreeMap::new();
    side_by_side(&a, &b, progress, |a, b| {
        a.check(of_a, WeightRule::Any)?;
        b.check(of_b, WeightRule::Any)?;
        let counts = layers.entry(a.layer).or_insert_with(|| Counts::new(of_a, of_b));
        counts.add(a, b);
        Ok(())
    })?;
    let mut found = Cells::default();
    for (layer, counts) in &layers {
        let varies = |n: &u64| *n > 0 && *n < counts.tokens;
        let has: Vec<bool> = counts.reference.iter().map(varies).collect();
        let without = |of: &[u64]| of.iter().filter(|n| !varies(n)).count() as u64;
        found.left_out += without(&counts.other) + without(&counts.reference);
        found.place(Some(*layer), &counts.nearest(), &has);
    }
    progress.remark(&found.summary());
    Ok(found)
}

fn experts(source: &Source, dir: &Path, progress: &mut dyn Progress) -> Result<usize> {
    let experts = match source.declared().experts {
        Some(experts) => experts,
        None => source.overview(progress)?.highest,
    };
    match experts <= MOST {
        true => Ok(experts),
        false => Err(Error::request(format!(
            "{} has {experts} experts per layer; choices of at most {MOST} are compared pair by pair",
            dir.display()
        ))),
    }
}

impl Counts {
    fn new(other: usize, reference: usize) -> Self {
        Self {
            tokens: 0,
            other: vec![0; other],
            reference: vec![0; reference],
            both: vec![0; other * reference],
        }
    }

    fn add(&mut self, a: &Choice<'_>, b: &Choice<'_>) {
        self.tokens += 1;
        a.experts.iter().for_each(|&e| self.other[e as usize] += 1);
        b.experts.iter().for_each(|&e| self.reference[e as usize] += 1);
        for &of_a in a.experts {
            let row = &mut self.both[of_a as usize * self.reference.len()..][..self.reference.len()];
            b.experts.iter().for_each(|&of_b| row[of_b as usize] += 1);
        }
    }

    /// For each of the other set the one of the reference with the largest correlation, ties to the lower number.
    fn nearest(&self) -> Vec<Option<(usize, f64)>> {
        let n = self.tokens as f64;
        let spread = |count: u64| (count as f64 * (n - count as f64)).sqrt();
        let one = |(a, &of_a): (usize, &u64)| {
            let row = &self.both[a * self.reference.len()..][..self.reference.len()];
            let mut best: Option<(usize, f64)> = None;
            for (b, (&of_b, &both)) in self.reference.iter().zip(row).enumerate() {
                let below = spread(of_a) * spread(of_b);
                let phi = (n * f64::from(both) - of_a as f64 * of_b as f64) / below;
                if below > 0.0 && best.is_none_or(|(_, most)| phi > most) {
                    best = Some((b, phi));
                }
            }
            best
        };
        self.other.iter().enumerate().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;
    use crate::rows::fixture::{self, Routed, header, texts};

    /// Of four experts of the reference, 0 and 1 are found with other numbers, 2 is split in two, 3 is never
    /// chosen. By a second way the largest correlation is that of two columns of ones and zeros.
    #[test]
    fn experts_are_found_by_the_tokens_that_choose_them() {
        let folder = tempfile::tempdir().unwrap();
        let n = 60u32;
        let row =
            |position: u32, expert: u32| -> Routed { (10, position, 5, 0, vec![expert], vec![1.0], 0.1) };
        let of = |position: u32| position * 7 % 6 / 2;
        let reference: Vec<Routed> = (0..n).map(|t| row(t, of(t))).collect();
        let renamed = |t: u32| match of(t) {
            0 => 4,
            1 => 0,
            _ if t % 4 < 2 => 1,
            _ => 2,
        };
        // A tenth of the tokens go elsewhere.
        let choose = |t: u32| if t % 10 == 9 { 3 } else { renamed(t) };
        let other: Vec<Routed> = (0..n).map(|t| row(t, choose(t))).collect();
        for (name, rows, experts) in [("a", &other, 5), ("b", &reference, 4)] {
            let mut head = header(4);
            head.settings = serde_json::json!({ "experts": experts });
            fixture::routing(&folder.path().join(name), head, &texts(&[n as usize], 50, 1), rows);
        }
        let found = cells_of_choices(&folder.path().join("a"), &folder.path().join("b"), &mut Quiet).unwrap();
        assert_eq!((found.cells.len(), found.left_out, found.placed), (4, 1, 5));
        assert_eq!(found.cells[3].size, 0);
        let correlation = |a: &dyn Fn(u32) -> bool, b: &dyn Fn(u32) -> bool| {
            let mean = |f: &dyn Fn(u32) -> f64| (0..n).map(f).sum::<f64>() / f64::from(n);
            let is = |f: &dyn Fn(u32) -> bool, t: u32| f64::from(u8::from(f(t)));
            let (ma, mb) = (mean(&|t| is(a, t)), mean(&|t| is(b, t)));
            let with = mean(&|t| (is(a, t) - ma) * (is(b, t) - mb));
            with / (mean(&|t| (is(a, t) - ma).powi(2)) * mean(&|t| (is(b, t) - mb).powi(2))).sqrt()
        };
        for (expert, name) in [(0u32, 4u32), (1, 0)] {
            let wanted = correlation(&|t| choose(t) == name, &|t| of(t) == expert);
            let best = found.cells[expert as usize].best_cosine.unwrap();
            assert!((best - wanted).abs() < 1e-9 && best > 0.8, "{expert}: {best} {wanted}");
        }
        assert!(found.cells[2].size >= 2, "{:?}", found.cells);
        let same = cells_of_choices(&folder.path().join("b"), &folder.path().join("b"), &mut Quiet).unwrap();
        assert_eq!((same.matched, same.missed, same.split, same.left_out), (3, 0, 0, 2));
        assert!(same.cells[..3].iter().all(|cell| (cell.best_cosine.unwrap() - 1.0).abs() < 1e-12));
    }
}

//! The M largest positive scores of a stream that is never held as a whole.
//!
//! A collector keeps what may still be among the best: an entry enters if it reaches the floor, the worst score of the M best so far,
//! and a full collector is cut back to its M best. The floor of a part of the stream is never above the floor of all of it, so nothing
//! that belongs to the result is ever dropped: the result is exact, and the same in whatever order and by however many threads the
//! stream is read. Ties go to the lower index.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Scores compared at once.
const BLOCK: usize = 16;
/// Entries beyond twice the limit that a collector holds before it is cut.
const SLACK: usize = 1024;

/// A positive score and where it was.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Entry {
    /// What decides, > 0.
    pub score: f32,
    /// What is carried along: the value that the score was made from.
    pub value: f32,
    /// Place in the stream.
    pub index: u64,
}

/// Better entries first: by score, then by index.
fn better(a: &Entry, b: &Entry) -> std::cmp::Ordering {
    b.score.total_cmp(&a.score).then(a.index.cmp(&b.index))
}

/// Collects the best entries of one part of the stream.
#[derive(Debug, Default, Clone)]
pub struct Best {
    limit: usize,
    floor: f32,
    entries: Vec<Entry>,
}

impl Best {
    /// An empty collector of the `limit` best. Scores below `floor` are known to be of no use; 0 if nothing is known.
    pub fn restart(&mut self, limit: usize, floor: f32) {
        self.limit = limit;
        self.floor = floor;
        self.entries.clear();
    }

    /// Takes `scores[n]` and their `values[n]`; the first has the index `first`. Scores that are not above 0 (and NaN) never count.
    ///
    /// # Panics
    /// If the slices differ in length.
    pub fn take(&mut self, scores: &[f32], values: &[f32], first: u64) {
        assert_eq!(scores.len(), values.len(), "every score has a value");
        if self.limit == 0 {
            return;
        }
        for start in (0..scores.len()).step_by(BLOCK) {
            let end = (start + BLOCK).min(scores.len());
            if !any_at_least(&scores[start..end], self.floor) {
                continue;
            }
            for i in start..end {
                if scores[i] > 0.0 && scores[i] >= self.floor {
                    self.entries.push(Entry { score: scores[i], value: values[i], index: first + i as u64 });
                }
            }
            if self.entries.len() >= 2 * self.limit + SLACK {
                self.cut();
            }
        }
    }

    /// Cuts back to the best and raises the floor to the worst of them.
    pub fn cut(&mut self) {
        if self.entries.len() < self.limit || self.limit == 0 {
            return;
        }
        let (_, worst, _) = self.entries.select_nth_unstable_by(self.limit - 1, better);
        self.floor = self.floor.max(worst.score);
        self.entries.truncate(self.limit);
    }

    /// Makes this the collector of the `limit` best of `entries`.
    pub fn narrow(&mut self, entries: &[Entry], limit: usize) {
        self.restart(limit, 0.0);
        if limit > 0 {
            self.entries.extend_from_slice(entries);
        }
    }

    /// The best entries, those with lower indices first.
    pub fn finish(&mut self) -> &[Entry] {
        self.cut();
        self.entries.sort_unstable_by_key(|entry| entry.index);
        &self.entries
    }
}

#[inline(always)]
fn any_at_least(scores: &[f32], floor: f32) -> bool {
    scores.iter().fold(false, |any, &score| any | (score >= floor && score > 0.0))
}

/// A collector that many threads give their parts to.
#[derive(Debug, Default)]
pub struct SharedBest {
    /// Bits of the floor: a score below it is in no result.
    floor: AtomicU32,
    all: Mutex<Best>,
}

impl SharedBest {
    /// Empties the collector, which from now on collects the `limit` best.
    pub fn restart(&self, limit: usize) {
        self.floor.store(0.0_f32.to_bits(), Ordering::Relaxed);
        self.all.lock().unwrap_or_else(PoisonError::into_inner).restart(limit, 0.0);
    }

    /// Begins a part of the stream in `local`, with what is known of the other parts.
    pub fn begin(&self, local: &mut Best, limit: usize) {
        local.restart(limit, f32::from_bits(self.floor.load(Ordering::Relaxed)));
    }

    /// Adds the part of the stream that `local` took.
    pub fn merge(&self, local: &mut Best) {
        local.cut();
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let floor = all.floor;
        all.entries.extend(local.entries.iter().filter(|entry| entry.score >= floor));
        if all.entries.len() >= 2 * all.limit {
            all.cut();
        }
        // Floors only rise; a part's own floor holds for all as well.
        all.floor = all.floor.max(local.floor);
        self.floor.store(all.floor.to_bits(), Ordering::Relaxed);
    }

    /// The best entries of all parts, those with lower indices first.
    pub fn finish(&mut self) -> &[Entry] {
        self.all.get_mut().unwrap_or_else(PoisonError::into_inner).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rayon::prelude::*;

    fn by_sorting(scores: &[f32], limit: usize) -> Vec<(u64, f32)> {
        let mut all: Vec<(u64, f32)> = (0..).zip(scores.iter().copied()).filter(|(_, s)| *s > 0.0).collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        all.truncate(limit);
        all.sort_by_key(|(i, _)| *i);
        all
    }

    fn in_parts(scores: &[f32], limit: usize, part: usize, backwards: bool) -> Vec<(u64, f32)> {
        let mut shared = SharedBest::default();
        shared.restart(limit);
        let mut parts: Vec<(usize, &[f32])> = scores.chunks(part).enumerate().collect();
        if backwards {
            parts.reverse();
        }
        parts.par_iter().for_each(|(i, scores)| {
            let mut local = Best::default();
            shared.begin(&mut local, limit);
            local.take(scores, scores, (i * part) as u64);
            shared.merge(&mut local);
        });
        shared.finish().iter().map(|e| (e.index, e.value)).collect()
    }

    proptest! {
        // Few distinct values, so that ties lie across the ends of parts.
        #[test]
        fn parts_in_any_order_equal_sorting(scores in prop::collection::vec(-3_i8..6, 0..600), limit in 0_usize..300, part in 1_usize..90) {
            let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
            let expected = by_sorting(&scores, limit);
            prop_assert_eq!(&in_parts(&scores, limit, part, false), &expected);
            prop_assert_eq!(&in_parts(&scores, limit, part, true), &expected);
        }
    }

    #[test]
    fn long_streams_are_cut_again_and_again() {
        let scores: Vec<f32> = (0..50_000_u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6 - 8.0 + i as f32 / 1e4)
            .collect();
        assert_eq!(in_parts(&scores, 700, 7001, false), by_sorting(&scores, 700));
        assert_eq!(in_parts(&scores, 3, 1000, true), by_sorting(&scores, 3));
    }

    #[test]
    fn nan_and_what_is_not_positive_never_count() {
        let scores = [f32::NAN, -1.0, 2.0, 0.0, f32::NAN, 0.5];
        assert_eq!(in_parts(&scores, 5, 6, false), [(2, 2.0), (5, 0.5)]);
        assert!(in_parts(&scores, 0, 6, false).is_empty());
    }
}

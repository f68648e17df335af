//! The few best of many, kept while they stream by.

use std::cmp::Ordering;

/// The `limit` best of the (id, score) pairs it was offered: highest score first, ties by lower id.
#[derive(Debug, Clone)]
pub struct Best {
    limit: usize,
    items: Vec<(u32, f64)>,
}

impl Best {
    /// Keeps `limit` pairs.
    pub fn new(limit: usize) -> Self {
        Self { limit, items: Vec::with_capacity(limit) }
    }

    /// Offers a pair; NaN is never kept.
    pub fn offer(&mut self, id: u32, score: f64) {
        if score.is_nan() || self.limit == 0 {
            return;
        }
        if self.items.len() == self.limit {
            match self.items.last() {
                Some(&worst) if order(worst, (id, score)) == Ordering::Greater => self.items.pop(),
                _ => return,
            };
        }
        let place = self.items.partition_point(|&kept| order(kept, (id, score)) == Ordering::Less);
        self.items.insert(place, (id, score));
    }

    /// The pairs, best first.
    pub fn into_vec(self) -> Vec<(u32, f64)> {
        self.items
    }
}

/// `Less` when `a` comes before `b`.
fn order(a: (u32, f64), b: (u32, f64)) -> Ordering {
    b.1.total_cmp(&a.1).then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn as_a_full_sort(scores in prop::collection::vec(0u8..20, 0..60), limit in 0usize..10) {
            let mut best = Best::new(limit);
            let mut all = Vec::new();
            for (id, &score) in scores.iter().enumerate() {
                best.offer(id as u32, f64::from(score));
                all.push((id as u32, f64::from(score)));
            }
            all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
            all.truncate(limit);
            prop_assert_eq!(best.into_vec(), all);
        }
    }

    #[test]
    fn nan_is_never_kept() {
        let mut best = Best::new(2);
        best.offer(0, f64::NAN);
        best.offer(1, -1.0);
        assert_eq!(best.into_vec(), [(1, -1.0)]);
    }
}

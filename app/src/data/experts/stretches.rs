//! Experts of a layer that has more of them than a picture has room for: neighbours share a place.

use std::ops::Range;

use super::ExpertLoadRow;

/// Cuts `experts` experts into at most `most` stretches of neighbours, all of one length but the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretches {
    experts: usize,
    length: usize,
}

/// Experts that a map shows one by one; of more, as many columns as there is room for.
const SINGLE: usize = 512;
/// Least width of a map's cell, points.
pub const CELL: f32 = 5.0;

impl Stretches {
    /// For a map with `room` points for its cells. One that is wider than its page would widen all that is below it, so only few
    /// experts, one by one, may.
    pub fn for_map(experts: usize, room: f32) -> Self {
        Self::new(experts, if experts > SINGLE { ((room / CELL) as usize).clamp(1, SINGLE) } else { SINGLE })
    }

    /// For at most `most` places.
    pub fn new(experts: usize, most: usize) -> Self {
        Self { experts, length: experts.div_ceil(most.max(1)).max(1) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.experts.div_ceil(self.length)
    }

    /// Whether each is a single expert.
    pub fn are_single(&self) -> bool {
        self.length == 1
    }

    /// The experts of stretch `i`.
    pub fn range(&self, i: usize) -> Range<usize> {
        let from = (i * self.length).min(self.experts);
        from..(from + self.length).min(self.experts)
    }

    /// The stretch of an expert.
    pub fn of(&self, expert: usize) -> usize {
        expert / self.length
    }

    /// The most used expert of stretch `i`, the first of equals.
    pub fn top<'a>(&self, i: usize, loads: &'a [ExpertLoadRow]) -> Option<(usize, &'a ExpertLoadRow)> {
        let range = self.range(i);
        let own = loads.get(range.start..range.end.min(loads.len()))?;
        let mut top: Option<(usize, &ExpertLoadRow)> = None;
        for (at, load) in own.iter().enumerate() {
            if top.is_none_or(|(_, most)| load.share > most.share) {
                top = Some((range.start + at, load));
            }
        }
        top
    }

    /// Its experts in words.
    pub fn name(&self, i: usize) -> String {
        let range = self.range(i);
        match range.len() {
            0 | 1 => range.start.to_string(),
            _ => format!("{}–{}", range.start, range.end - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_expert_is_in_one_stretch_and_the_most_used_is_found() {
        for (experts, most) in [(1, 10), (10, 10), (11, 10), (65_535, 512), (7, 1), (0, 5)] {
            let of = Stretches::new(experts, most);
            assert!(of.count() <= most && of.are_single() == (experts <= most), "{experts} {most}");
            let all: Vec<usize> = (0..of.count()).flat_map(|i| of.range(i)).collect();
            assert_eq!(all, (0..experts).collect::<Vec<_>>());
            assert!((0..experts).all(|e| of.range(of.of(e)).contains(&e)));
        }
        let loads: Vec<ExpertLoadRow> = [0.1, 0.3, 0.3, 0.0, 0.2, 0.1]
            .into_iter()
            .map(|share| ExpertLoadRow { share, ..ExpertLoadRow::default() })
            .collect();
        let of = Stretches::new(6, 2);
        assert_eq!([0, 1].map(|i| of.top(i, &loads).unwrap().0), [1, 4]);
        assert_eq!((of.name(1), of.top(2, &loads)), ("3–5".to_owned(), None));
    }
}

//! Places in a plane, sorted into squares, so that what is near a place or inside a rectangle is found
//! without looking at all.

/// Places a square has on average, about.
const EACH: usize = 4;
/// Squares of a side at most.
const SIDE: usize = 512;

/// Places and their squares. Making it takes a pass over all places; do it on a worker.
#[derive(Clone, Debug, Default)]
pub struct Plane {
    places: Vec<[f32; 2]>,
    low: [f32; 2],
    high: [f32; 2],
    /// Squares of a side; they divide the rectangle from `low` to `high`.
    side: usize,
    /// Square `i`, row by row, holds `sorted[starts[i]..starts[i + 1]]`.
    starts: Vec<u32>,
    /// Indices of places by square, ascending in each, next to their places.
    sorted: Vec<(u32, [f32; 2])>,
}

impl Plane {
    /// Sorts `places` into squares; what is not finite is in none of them and never found.
    pub fn new(places: Vec<[f32; 2]>) -> Self {
        let finite = |place: &[f32; 2]| place[0].is_finite() && place[1].is_finite();
        let (mut low, mut high) = ([f32::INFINITY; 2], [f32::NEG_INFINITY; 2]);
        for place in places.iter().filter(|place| finite(place)) {
            for axis in 0..2 {
                low[axis] = low[axis].min(place[axis]);
                high[axis] = high[axis].max(place[axis]);
            }
        }
        let side = ((places.len() / EACH) as f64).sqrt().ceil().clamp(1.0, SIDE as f64) as usize;
        let mut plane = Self { low, high, side, starts: vec![0; side * side + 1], ..Self::default() };
        let squares: Vec<Option<usize>> =
            places.iter().map(|place| finite(place).then(|| plane.square(*place))).collect();
        for square in squares.iter().flatten() {
            plane.starts[square + 1] += 1;
        }
        for i in 0..side * side {
            plane.starts[i + 1] += plane.starts[i];
        }
        let mut next = plane.starts.clone();
        plane.sorted = vec![(0, [0.0; 2]); plane.starts[side * side] as usize];
        for (i, square) in squares.iter().enumerate() {
            if let Some(square) = square {
                plane.sorted[next[*square] as usize] = (i as u32, places[i]);
                next[*square] += 1;
            }
        }
        Self { places, ..plane }
    }

    /// The places, in the order that they were given in.
    pub fn places(&self) -> &[[f32; 2]] {
        &self.places
    }

    /// Number of places.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The corners of the smallest rectangle that holds all places.
    pub fn bounds(&self) -> Option<([f32; 2], [f32; 2])> {
        (!self.sorted.is_empty()).then_some((self.low, self.high))
    }

    /// Places in the squares that the rectangle touches: at least as many as are inside it.
    pub fn at_most(&self, low: [f32; 2], high: [f32; 2]) -> usize {
        self.spans(low, high).map(|span| span.len()).sum()
    }

    /// Calls `with` for every place inside the rectangle, edges included.
    pub fn inside(&self, low: [f32; 2], high: [f32; 2], mut with: impl FnMut(usize, [f32; 2])) {
        let within = |place: &[f32; 2]| (0..2).all(|axis| (low[axis]..=high[axis]).contains(&place[axis]));
        for span in self.spans(low, high) {
            for (i, place) in self.sorted[span].iter().filter(|(_, place)| within(place)) {
                with(*i as usize, *place);
            }
        }
    }

    /// The place nearest to `at` no further than `reach`, distances measured with these scales of the axes;
    /// of equally near ones the first.
    pub fn nearest(&self, at: [f32; 2], scale: [f32; 2], reach: f32) -> Option<usize> {
        let by = scale.map(|scale| reach / scale);
        let mut best: Option<(f32, usize)> = None;
        self.inside([at[0] - by[0], at[1] - by[1]], [at[0] + by[0], at[1] + by[1]], |i, place| {
            let off = [0, 1].map(|axis| (place[axis] - at[axis]) * scale[axis]);
            let found = (off[0] * off[0] + off[1] * off[1], i);
            if found.0 <= reach * reach && best.is_none_or(|best| found < best) {
                best = Some(found);
            }
        });
        best.map(|(_, i)| i)
    }

    /// Runs of `sorted` that lie in the squares of a rectangle, one for each of their rows.
    fn spans(&self, low: [f32; 2], high: [f32; 2]) -> impl Iterator<Item = std::ops::Range<usize>> + '_ {
        let apart = self.sorted.is_empty()
            || (0..2).any(|axis| high[axis] < self.low[axis] || low[axis] > self.high[axis]);
        let columns = (self.along(low[0], 0), self.along(high[0], 0));
        let rows = if apart { 0..0 } else { self.along(low[1], 1)..self.along(high[1], 1) + 1 };
        rows.map(move |row| {
            let at = |column: usize| self.starts[row * self.side + column] as usize;
            at(columns.0)..at(columns.1 + 1)
        })
    }

    fn square(&self, place: [f32; 2]) -> usize {
        self.along(place[1], 1) * self.side + self.along(place[0], 0)
    }

    /// Which of the squares along an axis; the outermost ones have no end.
    fn along(&self, value: f32, axis: usize) -> usize {
        let room = (self.high[axis] - self.low[axis]).max(f32::MIN_POSITIVE);
        // A cast of a negative number is 0.
        (((value - self.low[axis]) / room * self.side as f32) as usize).min(self.side.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(n: u32) -> Vec<[f32; 2]> {
        (0..n).map(|i| [((i * 7919) % 1009) as f32 * 0.1, ((i * 104_729) % 499) as f32 - 250.0]).collect()
    }

    #[test]
    fn what_is_inside_is_what_looking_at_all_finds() {
        for n in [0, 1, 5, 3000] {
            let all = places(n);
            let plane = Plane::new(all.clone());
            for (low, high) in [
                ([10.0, -100.0], [30.0, 100.0]),
                ([-9.0, -999.0], [999.0, 999.0]),
                ([200.0, 0.0], [300.0, 9.0]),
                ([0.0, -250.0], [0.0, -250.0]),
            ] {
                let mut found = Vec::new();
                plane.inside(low, high, |i, place| {
                    assert_eq!(place, all[i]);
                    found.push(i);
                });
                found.sort_unstable();
                let expected: Vec<usize> = (0..all.len())
                    .filter(|i| (0..2).all(|a| (low[a]..=high[a]).contains(&all[*i][a])))
                    .collect();
                assert_eq!(found, expected, "{n} places, {low:?} to {high:?}");
                assert!(plane.at_most(low, high) >= found.len());
            }
        }
    }

    #[test]
    fn the_nearest_is_what_looking_at_all_finds() {
        let all = places(3000);
        let plane = Plane::new(all.clone());
        for (at, scale) in
            [([50.0, 0.0], [2.0, 0.5]), ([0.0, -250.0], [9.0, 9.0]), ([-5.0, 400.0], [1.0, 1.0])]
        {
            let distance = |place: &[f32; 2]| {
                ((place[0] - at[0]) * scale[0]).powi(2) + ((place[1] - at[1]) * scale[1]).powi(2)
            };
            let expected = (0..all.len())
                .min_by(|a, b| distance(&all[*a]).total_cmp(&distance(&all[*b])))
                .filter(|i| distance(&all[*i]) <= 81.0);
            assert_eq!(plane.nearest(at, scale, 9.0), expected, "{at:?}");
        }
    }

    #[test]
    fn odd_places_do_no_harm() {
        assert!(Plane::new(Vec::new()).bounds().is_none());
        assert!(Plane::new(vec![[f32::NAN, 0.0]]).bounds().is_none());
        let plane = Plane::new(vec![[1.0, 1.0], [f32::INFINITY, 1.0], [1.0, 1.0]]);
        assert_eq!(plane.bounds(), Some(([1.0; 2], [1.0; 2])));
        assert_eq!(plane.nearest([1.0, 1.0], [1.0; 2], 5.0), Some(0));
        assert_eq!(plane.at_most([0.0; 2], [2.0; 2]), 2);
    }
}

//! Which places of a claim are shown, and in which order.

use crate::claims::{ClaimTest, Outcome, TestedPlace};

/// Bins of the histogram.
pub const BINS: usize = 48;

/// Orders of the list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The strongest first.
    #[default]
    Strength,
    /// Where the activation is farthest from what the claim predicts first.
    Surprise,
    /// As in the text.
    Document,
    /// Anyhow, but always the same way.
    Random,
}

impl Order {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Strength, Self::Surprise, Self::Document, Self::Random];

    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Strength => "strongest first",
            Self::Surprise => "most surprising first",
            Self::Document => "as in the text",
            Self::Random => "random order",
        }
    }
}

/// What is shown of the places.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Choice {
    /// Of this outcome alone.
    pub outcome: Option<Outcome>,
    /// In this order.
    pub order: Order,
    /// Of the documents that claims are measured on, not of those that they are made from.
    pub measured: bool,
    /// With an activation in this range.
    pub range: Option<(f32, f32)>,
}

/// The places that are shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// Numbers of the places, in order.
    pub lines: Vec<u32>,
    /// Hits and misses of the half by activation, from 0 to the largest.
    pub bins: Vec<[u32; 2]>,
    /// Hits, misses and false alarms of the half, whatever is shown.
    pub counts: [u64; 3],
}

impl Choice {
    /// The places of `test` that are shown; `max` is the largest activation of the feature.
    pub fn of(self, test: &ClaimTest, max: f32) -> Listed {
        let mut listed = Listed { bins: vec![[0; 2]; BINS], ..Listed::default() };
        for (number, place) in (0u32..).zip(&test.places).filter(|(_, place)| place.measured == self.measured)
        {
            listed.counts[place.outcome as usize] += 1;
            if place.outcome != Outcome::FalseAlarm && max > 0.0 {
                let bin = ((place.value / max * BINS as f32) as usize).min(BINS - 1);
                listed.bins[bin][usize::from(place.outcome == Outcome::Miss)] += 1;
            }
            if self.has(place) {
                listed.lines.push(number);
            }
        }
        let tally = if self.measured { &test.measured } else { &test.made };
        self.sort(&mut listed.lines, &test.places, tally.predicted);
        listed
    }

    fn has(self, place: &TestedPlace) -> bool {
        self.outcome.is_none_or(|outcome| outcome == place.outcome)
            && self.range.is_none_or(|(low, high)| (low..=high).contains(&place.value))
    }

    /// Places are by document and position, and equal ones stay so.
    fn sort(self, lines: &mut [u32], places: &[TestedPlace], predicted: f64) {
        let place = |line: &u32| &places[*line as usize];
        match self.order {
            Order::Document => {}
            Order::Strength => lines.sort_by(|a, b| place(b).value.total_cmp(&place(a).value)),
            Order::Surprise => {
                lines.sort_by(|a, b| place(b).surprise(predicted).total_cmp(&place(a).surprise(predicted)));
            }
            // A bijection of 32 bits: no two lines have the same key.
            Order::Random => lines.sort_by_key(|line| line.wrapping_mul(0x9e37_79b1).swap_bytes()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::Tally;

    #[test]
    fn places_are_chosen_and_ordered() {
        let place = |document, value, outcome, measured| TestedPlace {
            document,
            position: 0,
            value,
            outcome,
            measured,
        };
        let places = vec![
            place(0, 4.0, Outcome::Hit, false),
            place(1, 3.5, Outcome::Miss, false),
            place(2, 0.0, Outcome::FalseAlarm, false),
            place(3, 8.0, Outcome::Hit, true),
            place(4, 3.0, Outcome::Hit, false),
        ];
        let made = Tally { predicted: 2.5, ..Tally::default() };
        let test =
            ClaimTest { feature: 1, rule: String::new(), seed: 0, measured: Tally::default(), made, places };
        let lines = |choice: Choice| choice.of(&test, 8.0).lines;
        let of = |order| Choice { order, ..Choice::default() };
        assert_eq!(lines(of(Order::Strength)), [0, 1, 4, 2]);
        assert_eq!(lines(of(Order::Document)), [0, 1, 2, 4]);
        assert_eq!(lines(of(Order::Surprise)), [1, 2, 0, 4], "3.5, 2.5, 1.5 and 0.5 away");
        assert_eq!(lines(Choice { measured: true, ..Choice::default() }), [3]);
        assert_eq!(lines(Choice { outcome: Some(Outcome::Hit), ..Choice::default() }), [0, 4]);
        assert_eq!(lines(Choice { range: Some((3.0, 3.6)), ..Choice::default() }), [1, 4]);
        let listed = of(Order::Random).of(&test, 8.0);
        assert_eq!((listed.lines.len(), listed.counts), (4, [2, 1, 1]));
        assert_eq!(listed.bins.iter().map(|b| b[0] + b[1]).sum::<u32>(), 3);
        assert_eq!(listed.bins[BINS / 2], [1, 0]);
    }
}

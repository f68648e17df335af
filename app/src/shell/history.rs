//! Back and forward, as in a browser.

use crate::address::Place;

/// Places kept.
const KEPT: usize = 500;

/// Where the person has been.
#[derive(Debug, Default)]
pub struct History {
    places: Vec<Place>,
    /// Index of the place in front.
    at: usize,
}

impl History {
    /// The person went to `place`; what lay ahead is forgotten.
    pub fn visit(&mut self, place: Place) {
        if self.places.get(self.at) == Some(&place) {
            return;
        }
        self.places.truncate(self.at + 1);
        if self.places.last().is_some_and(|last| place.is_step_from(last)) {
            self.places.pop();
        }
        self.places.push(place);
        if self.places.len() > KEPT {
            self.places.remove(0);
        }
        self.at = self.places.len() - 1;
    }

    /// The place in front.
    pub fn here(&self) -> Option<&Place> {
        self.places.get(self.at)
    }

    /// Whether there is a place before this one.
    pub fn can_go_back(&self) -> bool {
        self.at > 0
    }

    /// Whether there is a place after this one.
    pub fn can_go_forward(&self) -> bool {
        self.at + 1 < self.places.len()
    }

    /// One back.
    pub fn back(&mut self) -> Option<Place> {
        self.at = self.at.checked_sub(1)?;
        self.here().cloned()
    }

    /// One forward.
    pub fn forward(&mut self) -> Option<Place> {
        if !self.can_go_forward() {
            return None;
        }
        self.at += 1;
        self.here().cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_back_and_forward_and_forgets_what_lay_ahead() {
        let feature = |n| Place::Feature { run: "r".into(), feature: n };
        let mut history = History::default();
        assert_eq!(history.back(), None);
        (1..=3).for_each(|n| history.visit(feature(n)));
        history.visit(feature(3));
        assert_eq!(history.back(), Some(feature(2)));
        assert_eq!(history.back(), Some(feature(1)));
        assert_eq!(history.back(), None);
        assert_eq!(history.forward(), Some(feature(2)));
        history.visit(feature(9));
        assert!(!history.can_go_forward());
        assert_eq!(history.back(), Some(feature(2)));
    }
}

//! The best few of a stream of tokens.

/// A token that is near.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Near {
    /// Its document.
    pub document: u32,
    /// Its position there.
    pub position: u32,
    /// How near, by the list's measure.
    pub score: f64,
}

impl Near {
    /// Document and position.
    pub fn place(&self) -> (u32, u32) {
        (self.document, self.position)
    }
}

/// Keeps the `k` tokens with the largest scores above 0, ties to the earlier.
#[derive(Debug, Clone)]
pub struct NearList {
    k: usize,
    kept: Vec<Near>,
    least: f64,
}

impl NearList {
    /// An empty list.
    pub fn new(k: usize) -> Self {
        Self { k, kept: Vec::new(), least: 0.0 }
    }

    /// Takes a token into account. Tokens come in the order of the text, so one that is as near as the last of the list comes too late.
    pub fn offer(&mut self, near: Near) {
        // Not a number is nobody's neighbour.
        if self.k == 0 || near.score.is_nan() || near.score <= self.least {
            return;
        }
        self.kept.push(near);
        if self.kept.len() >= 2 * self.k {
            self.cut();
            self.least = self.kept.last().map_or(0.0, |last| last.score);
        }
    }

    fn cut(&mut self) {
        self.kept.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.place().cmp(&b.place())));
        self.kept.truncate(self.k);
    }

    /// The tokens, the nearest first.
    pub fn finish(mut self) -> Vec<Near> {
        self.cut();
        self.kept
    }
}

//! How well a rule describes a feature, on tokens that it was not made from.

/// Sums over the tokens of [`super::text::Half::Measured`]. a(x) is the feature's activation on token x, m(x)
/// is 1 where the rule applies, else 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sums {
    /// Tokens.
    pub rows: u64,
    /// Tokens that the rule applies to, Σ m.
    pub matched: u64,
    /// Tokens that the feature fires on.
    pub fired: u64,
    /// Tokens that the rule applies to and the feature fires on.
    pub both: u64,
    /// Σ a.
    pub activation: f64,
    /// Σ a².
    pub squares: f64,
    /// Σ a·m.
    pub explained: f64,
}

/// Scores of a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Of the tokens that the rule applies to, the share that the feature fires on.
    pub precision: f64,
    /// Of the tokens that the feature fires on, the share that the rule applies to.
    pub recall: f64,
    /// 2 · precision · recall / (precision + recall).
    pub f1: f64,
    /// Pearson's correlation, over all tokens, of the activation with what the rule predicts.
    pub correlation: f64,
}

impl Sums {
    /// Adds those of other tokens.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.matched += other.matched;
        self.fired += other.fired;
        self.both += other.both;
        self.activation += other.activation;
        self.squares += other.squares;
        self.explained += other.explained;
    }

    /// Those of the tokens that are not among `part`.
    pub fn without(&self, part: &Self) -> Self {
        Self {
            rows: self.rows - part.rows,
            matched: self.matched - part.matched,
            fired: self.fired - part.fired,
            both: self.both - part.both,
            activation: self.activation - part.activation,
            squares: self.squares - part.squares,
            explained: self.explained - part.explained,
        }
    }

    /// The scores; `None` where they do not exist: the rule applies to no token or to all, or the activation
    /// is the same everywhere.
    ///
    /// The rule predicts the mean activation of the tokens that it applies to, μ m(x). This is the simulation
    /// of Bills et al. 2023, "Language models can explain neurons in language models", whose score is the
    /// correlation of simulated and true activations; a rule stands where they have a language model. μ > 0
    /// does not change a correlation, so with means over the N tokens
    ///
    /// ```text
    /// ρ = (mean(a·m) − mean(a) mean(m)) / √((mean(a²) − mean(a)²) (mean(m) − mean(m)²))
    /// ```
    pub fn scores(&self) -> Option<Measured> {
        let n = self.rows as f64;
        let (a, m) = (self.activation / n, self.matched as f64 / n);
        let variance = (self.squares / n - a * a) * (m - m * m);
        if self.fired == 0 || variance <= 0.0 {
            return None;
        }
        let both = self.both as f64;
        Some(Measured {
            precision: both / self.matched as f64,
            recall: both / self.fired as f64,
            f1: 2.0 * both / (self.matched + self.fired) as f64,
            correlation: (self.explained / n - a * m) / variance.sqrt(),
        })
    }
}

//! What a step is told: the method's rule, score, penalty and helpers, and how they change over a run.

use crate::dictionary::Shrunk;
use crate::dictionary::allocation::blocks::Blocks;
use crate::dictionary::allocation::law::BudgetLaw;
use crate::dictionary::score::Score;
use kernels::shrink::Shrinkage;

/// Which pairs of a token and a feature are active.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// The k best features of each token: TopK.
    Token,
    /// The k features of largest |z| of each token, whose codes keep their sign: AbsTopK.
    AbsToken,
    /// The B·k best pairs of the batch: BatchTopK.
    Mutual,
    /// The m_i best tokens of each feature, after a phase of mutual choice.
    Feature,
    /// The best features of each token in each block: block choice. k does not change over the run.
    Block(Blocks),
    /// The k best of each token, or B·k of the batch, by a mixture of cosine and inner product ([`crate::dictionary::Cosine`]). The feature's
    /// own parameter is θ, α = sigmoid(θ), and its encoder row has norm 1.
    Cosine(CosineRule),
    /// At most k features of each token, one at a time, each the best for what the ones before it left: matching pursuit.
    Pursuit,
    /// Every positive pre-activation: ReLU.
    Active,
    /// Every pre-activation above the threshold of a shrinkage, shrunk; λ here is that at the end of the run.
    Shrunk(Shrunk),
    /// Every pre-activation above a threshold that is learned; its logarithm is the feature's own parameter.
    Jump {
        /// ε: pre-activations within ε/2 of the threshold move it.
        bandwidth: f32,
    },
    /// A gate z > 0 next to a magnitude; the feature's own parameters are the magnitude's r (its rows are e^r·W_enc) and bias.
    Gated,
}

impl Rule {
    /// Whether a token's active features depend on nothing but the token.
    #[cfg(test)]
    pub fn decides_alone(self) -> bool {
        !matches!(self, Self::Feature) && !self.ranks_batch()
    }

    /// Whether the best pairs of the whole batch are active.
    pub fn ranks_batch(self) -> bool {
        matches!(self, Self::Mutual | Self::Cosine(CosineRule { of_batch: true, .. }))
    }

    /// Numbers that a feature learns besides its rows and its bias.
    pub fn own_parameters(self) -> usize {
        match self {
            Self::Jump { .. } | Self::Cosine(_) => 1,
            Self::Gated => 2,
            _ => 0,
        }
    }
}

/// Who shares what where scores are between cosine and inner product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CosineRule {
    /// Whether the budget is that of the batch instead of each token's.
    pub of_batch: bool,
    /// Whether all features have one α.
    pub shared: bool,
}

/// What the codes of a token cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Penalty {
    /// Nothing.
    None,
    /// λ·Σ v (decoder rows have norm 1). For gated, of the gate's codes.
    Sum,
    /// λ·Σ (v + ε)^p.
    Power,
    /// λ·Σ tanh(c·v), with this c.
    Tanh(f32),
    /// Twice the penalty of the shrinkage, which is that of ½‖e‖² next to a loss of ‖e‖².
    Shrunk(Shrinkage),
    /// λ·(number of codes), which only thresholds can learn from.
    Count,
}

/// A number that moves along a straight line from one step to another and is constant before and after.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    pub from: f64,
    pub to: f64,
    /// The last step with `from`.
    pub begin: u64,
    /// The first step with `to`.
    pub end: u64,
}

impl Ramp {
    pub fn constant(value: f64) -> Self {
        Self { from: value, to: value, begin: 0, end: 0 }
    }

    /// The value at step `t`, counted from 1.
    pub fn at(&self, t: u64) -> f64 {
        if t >= self.end {
            return self.to;
        }
        let share = t.saturating_sub(self.begin) as f64 / (self.end - self.begin).max(1) as f64;
        self.from + (self.to - self.from) * share
    }
}

/// Multi-TopK (Gao et al. 2024): the loss of the reconstruction with `multiple`·k features per token, times `weight`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Multi {
    pub multiple: f64,
    pub weight: f64,
}

/// Budgets of feature choice.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budgets {
    pub law: BudgetLaw,
    /// Most tokens of a batch for one feature, as a share of the batch.
    pub cap: f64,
    /// Steps of mutual choice before feature choice begins.
    pub after: u64,
}

/// The loss of features that fire too rarely: see the module `step`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aux {
    /// α; 0 turns it off.
    pub coefficient: f64,
    /// Features that a token may use.
    pub k: usize,
    /// aux-zipf's law of the rates that features should have, and ρ: below ρ times its rate a feature is under-used. `None` is AuxK.
    pub zipf: Option<(BudgetLaw, f64)>,
}

/// Dead features get new rows (Bricken et al. 2023).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resampling {
    /// Steps between.
    pub every: u64,
    /// The last step at which it may happen.
    pub until: u64,
    pub seed: u64,
}

/// How the k best are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// From candidates of a product in 8 bits where that is faster (see `step::select::rows`), else from all pre-activations.
    Auto,
    /// From all pre-activations in `f32`.
    Exact,
    /// From candidates, however small the dictionary.
    #[cfg(test)]
    Candidates,
}

/// What does not change from step to step.
#[derive(Debug, Clone, PartialEq)]
pub struct StepOptions {
    pub rule: Rule,
    pub score: Score,
    /// Active features per token (on average over the batch, where the batch is what has a budget).
    pub k: Ramp,
    pub multi: Option<Multi>,
    pub budgets: Option<Budgets>,
    /// Matryoshka: numbers of features of the nested dictionaries, ascending, the last is F. Empty for a single one.
    pub widths: Vec<usize>,
    /// Whether inner nested dictionaries see what smaller ones reconstruct as a constant.
    pub detached_widths: bool,
    /// Whether the nested dictionaries are of the most frequent features instead of the first ones.
    pub sorted_widths: bool,
    /// η of a correction of the codes by what they leave; `None` without one.
    pub refine: Option<f32>,
    /// t of the tilted loss; 0 for the mean over rows.
    pub tilt: f64,
    pub penalty: Penalty,
    /// λ.
    pub sparsity: Ramp,
    /// p of [`Penalty::Power`].
    pub power: Ramp,
    pub aux: Aux,
    pub resampling: Option<Resampling>,
    /// Whether ⟨e, d⟩ = 1 for the encoder and decoder rows of every feature.
    pub aligned: bool,
    /// Whether decoder rows stay as they are.
    pub frozen_decoder: bool,
    /// Whether encoder rows and their biases stay as they are.
    pub frozen_encoder: bool,
    /// The directions that decoder rows stay near, `[F, d]`; empty where they may go anywhere.
    pub cone: Vec<f32>,
    /// Of a crosscoder, how many values a row holds one after the other: a decoder row's norms at all of them add up to 1. Else 1.
    pub sites: usize,
    /// Tokens of silence after which a feature is dead.
    pub dead_after: u64,
    /// Tokens over which rates are averaged.
    pub rate_window: u64,
    /// V: mean of ‖x − mean(x)‖² of the input.
    pub input_variance: f64,
    pub search: Search,
    /// Whether the auxiliary loss may be rounded to bfloat16 (see `step::aux::dense`).
    pub coarse_aux: bool,
    /// Root mean square of each dimension of x − b_dec when training began, `[d]`; empty if it is not known.
    pub rms: Vec<f32>,
    /// β₁, β₂.
    pub betas: (f64, f64),
    /// ε.
    pub epsilon: f64,
}

impl StepOptions {
    /// `topk` with nothing else.
    pub fn topk(k: usize) -> Self {
        Self {
            rule: Rule::Token,
            score: Score::Plain,
            k: Ramp::constant(k as f64),
            multi: None,
            budgets: None,
            widths: Vec::new(),
            detached_widths: false,
            sorted_widths: false,
            tilt: 0.0,
            refine: None,
            penalty: Penalty::None,
            sparsity: Ramp::constant(0.0),
            power: Ramp::constant(1.0),
            aux: Aux { coefficient: 0.0, k: 0, zipf: None },
            resampling: None,
            aligned: false,
            frozen_decoder: false,
            frozen_encoder: false,
            cone: Vec::new(),
            sites: 1,
            dead_after: u64::MAX,
            rate_window: 1_000_000,
            input_variance: 1.0,
            search: Search::Auto,
            coarse_aux: false,
            rms: Vec::new(),
            betas: (0.9, 0.999),
            epsilon: 6.25e-10,
        }
    }

    /// What step `t`, counted from 1, does.
    pub fn plan(&self, t: u64) -> Plan {
        Plan {
            rule: match (self.rule, self.budgets) {
                (Rule::Feature, Some(budgets)) if t <= budgets.after => Rule::Mutual,
                (rule, _) => rule,
            },
            k: self.k.at(t),
            sparsity: self.sparsity.at(t),
            power: self.power.at(t),
            power_before: self.power.at(t.saturating_sub(1)),
        }
    }

    /// Share of a batch of `rows` tokens in the moving averages of rates.
    pub fn rate_share(&self, rows: u64) -> f64 {
        1.0 - (-(rows as f64) / self.rate_window.max(1) as f64).exp()
    }
}

/// What one step does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Plan {
    pub rule: Rule,
    pub k: f64,
    pub sparsity: f64,
    pub power: f64,
    pub power_before: f64,
}

impl Plan {
    /// Active features per token.
    pub fn per_token(&self, multiple: f64) -> usize {
        (self.k * multiple).round().max(1.0) as usize
    }

    /// Active features per token in each reconstruction, of which there are two with `multi`.
    pub fn levels(&self, multi: Option<Multi>, features: usize) -> [Option<usize>; 2] {
        [Some(1.0), multi.map(|multi| multi.multiple)]
            .map(|multiple| multiple.map(|multiple| self.per_token(multiple).min(features)))
    }

    /// Active pairs of a batch of `rows` tokens: M.
    pub fn per_batch(&self, rows: usize, multiple: f64) -> usize {
        (self.k * multiple * rows as f64).round().max(1.0) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ramps_are_straight_between_two_steps() {
        let ramp = Ramp { from: 64.0, to: 32.0, begin: 10, end: 20 };
        assert_eq!([1, 10, 15, 20, 21].map(|t| ramp.at(t)), [64.0, 64.0, 48.0, 32.0, 32.0]);
        assert_eq!(Ramp::constant(3.0).at(1), 3.0);
    }

    #[test]
    fn feature_choice_begins_after_its_phase_of_mutual_choice() {
        let budgets = Budgets { law: BudgetLaw::Fit, cap: 0.5, after: 7 };
        let options = StepOptions { rule: Rule::Feature, budgets: Some(budgets), ..StepOptions::topk(4) };
        assert_eq!((options.plan(7).rule, options.plan(8).rule), (Rule::Mutual, Rule::Feature));
        assert_eq!((options.plan(8).per_token(4.0), options.plan(8).per_batch(100, 1.0)), (16, 400));
    }
}

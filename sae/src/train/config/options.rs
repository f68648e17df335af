//! From a configuration to what every step is told.

use super::{
    Activation, AuxLoss, CosineAlpha, FrozenDecoder, InputNormalisation, JumpPenalty, Method, Resolved,
};
use crate::dictionary::Shrunk;
use crate::dictionary::allocation::law::BudgetLaw;
use crate::dictionary::score::Score;
use crate::train::state::directions;
use crate::train::statistics::Statistics;
use crate::train::step::options::{Aux, Budgets, CosineRule, Multi, Penalty, Ramp, Resampling, Rule};
use crate::train::step::{StepOptions, finds_candidates};

/// Weight of the loss with more active features, as in Gao et al. (2024).
const MULTI_WEIGHT: f64 = 0.125;
/// Steepness of the tanh penalty (Conerly et al. 2025).
const TANH_STEEPNESS: f32 = 4.0;
/// Share of itself that the moving average of rates keeps at every step where features are sorted by it.
const SORTING_DECAY: f64 = 0.99;
/// Share of a run in which dead features may be resampled: later there is no time for them to learn.
const RESAMPLING_SHARE: f64 = 0.6;

impl Resolved {
    /// Whether active pairs are searched among candidates instead of in all pre-activations.
    pub fn finds_candidates(&self) -> bool {
        finds_candidates(self.rule(), self.score(), self.search, (self.d_in, self.d_sae))
    }

    /// Active features of a token at the first step; none where a penalty decides.
    pub fn first_k(&self) -> Option<usize> {
        let config = &self.config;
        (!config.method.is_penalised()).then(|| config.k_start.unwrap_or(config.k))
    }

    fn steps_of(&self, share: Option<f64>) -> u64 {
        (self.steps as f64 * share.unwrap_or_default()).round() as u64
    }

    /// Steps in which λ of the penalty rises.
    pub fn sparsity_warmup_steps(&self) -> u64 {
        self.steps_of(self.config.sparsity_warmup_share)
    }

    /// Whether training reads gradients.
    pub fn needs_gradients(&self) -> bool {
        self.score() != Score::Plain
    }

    fn score(&self) -> Score {
        let config = &self.config;
        if !config.method.scores_gradients() {
            return Score::Plain;
        }
        let (lambda, beta) = (config.score_lambda.unwrap_or(1.0), config.score_beta.unwrap_or(1.0));
        Score::gradient(lambda, beta, config.gradient_norm.unwrap_or_default())
    }

    /// Which pairs the method makes active.
    pub fn rule(&self) -> Rule {
        match self.config.method {
            Method::Topk | Method::Gradient => Rule::Token,
            Method::AbsTopk => Rule::AbsToken,
            Method::MutualChoice | Method::GradientMutual | Method::Matryoshka => Rule::Mutual,
            Method::FeatureChoice | Method::GradientFeature => Rule::Feature,
            Method::BlockChoice => Rule::Block(self.config.block_choice()),
            Method::Cosine | Method::CosineMutual => Rule::Cosine(CosineRule {
                of_batch: self.config.method == Method::CosineMutual,
                shared: self.config.cosine_alpha == Some(CosineAlpha::Shared),
            }),
            Method::MatchingPursuit => Rule::Pursuit,
            Method::Relu | Method::PAnneal => Rule::Active,
            Method::Jumprelu => Rule::Jump { bandwidth: self.config.jump_bandwidth.unwrap_or(1.0) as f32 },
            Method::Gated => Rule::Gated,
            Method::Shrinkage => Rule::Shrunk(Shrunk {
                kind: self.config.activation.unwrap_or(Activation::Half).shrinkage(),
                lambda: self.config.sparsity_coefficient.unwrap_or_default() as f32,
                unit: 1.0,
            }),
        }
    }

    /// What a feature's own parameters are at the first step.
    pub fn own_parameters(&self) -> Vec<f32> {
        match self.rule() {
            Rule::Jump { .. } => vec![self.config.jump_threshold.unwrap_or(1.0).ln() as f32; self.d_sae],
            rule => vec![0.0; rule.own_parameters() * self.d_sae],
        }
    }

    /// What every step of every layer of a cross-layer transcoder is told: V is the variance of all that a layer writes.
    pub fn layer_options(&self, statistics: &Statistics) -> Vec<StepOptions> {
        let variances: Vec<f64> = statistics.each().map(|layer| f64::from(layer.input_variance)).collect();
        let options = |(layer, of_layer): (usize, &Statistics)| StepOptions {
            input_variance: variances[layer..].iter().sum(),
            ..self.step_options(of_layer)
        };
        statistics.each().enumerate().map(options).collect()
    }

    /// What every step is told.
    pub fn step_options(&self, statistics: &Statistics) -> StepOptions {
        let config = &self.config;
        let law = config.budget_law.unwrap_or(BudgetLaw::Fit);
        let warm = self.sparsity_warmup_steps();
        let coefficient = config.sparsity_coefficient.unwrap_or_default();
        StepOptions {
            rule: self.rule(),
            score: self.score(),
            k: Ramp {
                from: config.k_start.unwrap_or(config.k) as f64,
                to: config.k as f64,
                begin: 0,
                end: self.steps_of(config.k_anneal_share),
            },
            multi: config.multi_topk.map(|multiple| Multi { multiple, weight: MULTI_WEIGHT }),
            budgets: config.method.is_feature_choice().then(|| Budgets {
                law,
                cap: config.budget_cap.unwrap_or(1.0),
                after: self.steps_of(config.mutual_share),
            }),
            widths: config.widths.clone().unwrap_or_default(),
            detached_widths: config.detach_widths,
            sorted_widths: config.sort_widths,
            tilt: config.tilt.unwrap_or_default(),
            refine: config.lista_step.map(|step| step as f32),
            aligned: config.align_encoder,
            penalty: match (config.method, config.jump_penalty) {
                (Method::Relu | Method::Gated, _) => Penalty::Sum,
                (Method::PAnneal, _) => Penalty::Power,
                (Method::Shrinkage, _) => {
                    Penalty::Shrunk(config.activation.unwrap_or(Activation::Half).shrinkage())
                }
                (Method::Jumprelu, Some(JumpPenalty::Tanh)) => Penalty::Tanh(TANH_STEEPNESS),
                (Method::Jumprelu, _) => Penalty::Count,
                _ => Penalty::None,
            },
            sparsity: Ramp { from: 0.0, to: coefficient, begin: 0, end: warm },
            power: Ramp { from: 1.0, to: config.power_end.unwrap_or(1.0), begin: warm, end: self.steps },
            aux: Aux {
                coefficient: if config.aux == Some(AuxLoss::None) { 0.0 } else { config.auxk_coefficient },
                k: self.k_aux,
                zipf: (config.aux == Some(AuxLoss::Zipf)).then(|| (law, config.aux_rho.unwrap_or_default())),
            },
            resampling: config.resample_every.map(|every| Resampling {
                every,
                until: self.steps_of(Some(RESAMPLING_SHARE)),
                seed: config.seed,
            }),
            frozen_decoder: config.freeze_decoder == Some(FrozenDecoder::Random),
            frozen_encoder: config.freeze_encoder,
            sites: self.sites,
            cone: match config.freeze_decoder {
                Some(FrozenDecoder::Soft) => directions(self.d_sae, self.d_in, config.seed),
                _ => Vec::new(),
            },
            dead_after: self.dead_after,
            rate_window: match config.sort_widths {
                true => (config.batch as f64 / -SORTING_DECAY.ln()).round() as u64,
                false => self.dead_after,
            },
            input_variance: f64::from(statistics.input_variance),
            search: self.search,
            coarse_aux: !config.exact,
            rms: statistics.rms.clone(),
            betas: (config.beta1, config.beta2),
            epsilon: config.epsilon,
        }
    }

    /// What a person should know before the run begins.
    pub fn remarks(&self) -> Vec<String> {
        let config = &self.config;
        let mut remarks = Vec::new();
        let per_feature = (config.k * config.batch) as f64 / self.d_sae as f64;
        if config.method.is_feature_choice() && per_feature < 8.0 {
            let batch = (8.0 * self.d_sae as f64 / config.k as f64).ceil();
            remarks.push(format!(
                "batch · k / d_sae is {per_feature:.1} tokens per feature: budgets are coarse; a batch of {batch} gives 8"
            ));
        }
        if config.method.is_penalised() && config.input_normalisation == InputNormalisation::None {
            remarks.push(
                "sparsity_coefficient and the thresholds are meant for inputs whose mean ‖x‖² is d; without input \
                 normalisation they mean something else"
                    .to_owned(),
            );
        }
        remarks
    }
}

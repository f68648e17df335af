//! Configurations that make no sense, refused before anything is read or written.

use super::{Activation, AuxLoss, FrozenDecoder, JumpPenalty, Method, TrainConfig};
use crate::dictionary::allocation::budget;
use crate::dictionary::allocation::law::BudgetLaw;
use crate::dictionary::shrunk::STEP;
use crate::train::step::prepare::{cap, unmet_budgets};
use crate::{Error, Result};

impl TrainConfig {
    /// What is wrong whatever the data.
    pub(super) fn check(&self, d_sae: usize) -> Result<()> {
        let wrong = |what: String| Err(Error::request(what));
        if d_sae == 0 || u32::try_from(d_sae).is_err() {
            return wrong(format!("d_sae is {d_sae}; a dictionary has between 1 and {} features", u32::MAX));
        }
        if !self.method.is_penalised() && (self.k == 0 || self.k > d_sae) {
            return wrong(format!("k is {}; it must be between 1 and d_sae = {d_sae}", self.k));
        }
        if self.batch == 0 || self.batch > 1 << 24 {
            return wrong(format!("batch is {}; it must be between 1 and 2^24 tokens", self.batch));
        }
        if self.tokens == Some(0) {
            return wrong("tokens is 0; there is nothing to train on".to_owned());
        }
        if self.learning_rate.is_some_and(|lr| !(lr > 0.0 && lr.is_finite())) {
            return wrong(format!("learning_rate is {:?}; it must be above 0", self.learning_rate));
        }
        if !(0.0..=1.0).contains(&self.decay_share) {
            return wrong(format!("decay_share is {}; it must be between 0 and 1", self.decay_share));
        }
        for (name, beta) in [("beta1", self.beta1), ("beta2", self.beta2)] {
            if !(0.0..1.0).contains(&beta) {
                return wrong(format!("{name} is {beta}; it must be at least 0 and below 1"));
            }
        }
        if !(self.epsilon > 0.0 && self.epsilon.is_finite()) {
            return wrong(format!("epsilon is {}; it must be above 0", self.epsilon));
        }
        if !(self.auxk_coefficient >= 0.0 && self.auxk_coefficient.is_finite()) {
            return wrong(format!("auxk_coefficient is {}; it must be 0 or more", self.auxk_coefficient));
        }
        if let Some(multiple) = self.max_norm.multiple().filter(|m| m.is_nan() || *m <= 1.0) {
            return wrong(format!(
                "max_norm is {multiple}; it must be above 1, as half of all rows are above the median norm"
            ));
        }
        self.check_method(d_sae)?;
        if self.threads == Some(0) {
            return Err(Error::request("threads is 0; it must be at least 1")
                .with_remedy("leave it out to use every processor"));
        }
        if self.block_rows == 0 {
            return wrong("block_rows is 0; it must be at least 1".to_owned());
        }
        if self.keep_checkpoints == 0 {
            return wrong("keep_checkpoints is 0; a run that can be resumed keeps at least 1".to_owned());
        }
        if let Some(history) = self.history.filter(|&history| history > 1000) {
            return wrong(format!("history is {history} snapshots; it must be at most 1000, or 0 for none"));
        }
        Ok(())
    }

    fn check_method(&self, d_sae: usize) -> Result<()> {
        if let Some(option) = self.foreign_option() {
            return Err(Error::request(format!("{option} has no meaning for method {}", self.method))
                .with_remedy(format!("leave {option} out")));
        }
        for (name, number, allowed, expected) in self.ranges() {
            if number.is_some_and(|n| !allowed(n)) {
                let number = number.unwrap_or_default();
                return Err(Error::request(format!("{name} is {number}; it must be {expected}")));
            }
        }
        if self.method == Method::BlockChoice {
            self.block_choice().check(d_sae).map_err(|problem| {
                Error::request(problem).with_remedy("give blocks, k and d_sae so that each divides the next")
            })?;
        }
        if let Some(start) = self.k_start.filter(|&start| start < self.k || start > d_sae) {
            return Err(Error::request(format!(
                "k_start is {start}; k falls from it, so it must be between k = {} and d_sae = {d_sae}",
                self.k
            )));
        }
        if self.k_anneal_share.is_some() && self.k_start.is_none() {
            return Err(Error::request("k_anneal_share is given without k_start: k stays as it is"));
        }
        let (anneal, mutual) = (self.k_anneal_share.unwrap_or(0.1), self.mutual_share.unwrap_or(0.5));
        if self.method.is_feature_choice() && self.k_start.is_some() && anneal > mutual {
            return Err(Error::request(format!(
                "k falls during a share of {anneal} of the run, but feature choice, whose budgets need a k that stays, begins after \
                 {mutual}"
            ))
            .with_remedy("lower k_anneal_share or raise mutual_share"));
        }
        if let Some(widths) = &self.widths {
            let rising = widths.first().is_some_and(|&first| first > 0) && widths.is_sorted_by(|a, b| a < b);
            if !rising || widths.last() != Some(&d_sae) {
                return Err(Error::request(format!(
                    "widths are {widths:?}; they must rise and end with d_sae = {d_sae}"
                )));
            }
        }
        if self.from.is_some() && self.method == Method::Gated {
            return Err(Error::request(
                "from is given, but a gated run cannot begin with the weights of a dictionary",
            )
            .with_remedy("leave from out, or choose a method without gates"));
        }
        self.check_target()?;
        self.check_cross_layer()?;
        if self.resample_every == Some(0) {
            return Err(Error::request("resample_every is 0; it must be at least 1")
                .with_remedy("leave it out to never resample"));
        }
        if self.tilt.is_some() && (self.multi_topk.is_some() || self.resample_every.is_some()) {
            return Err(Error::request(
                "tilt weights the rows of one reconstruction, and multi_topk or resample_every reads others or unweighted errors",
            )
            .with_remedy("leave one of them out"));
        }
        if self.lista_step.is_some() && self.multi_topk.is_some() {
            return Err(Error::request(
                "lista_step corrects the codes of one reconstruction, and multi_topk has a second one",
            )
            .with_remedy("leave one of them out"));
        }
        self.check_constraints()?;
        self.check_whitening()?;
        if self.resample_every.is_some() && self.freeze_decoder.is_some() {
            return Err(Error::request(
                "resample_every gives features new decoder rows, which freeze_decoder forbids",
            )
            .with_remedy("leave one of them out"));
        }
        if self.freeze_decoder == Some(FrozenDecoder::Soft) && self.from.is_some() {
            return Err(Error::request(
                "freeze_decoder soft keeps rows near the random directions of the seed, and from gives others",
            )
            .with_remedy("leave from out, or give freeze_decoder random to keep the rows of the dictionary"));
        }
        if self.freeze_encoder && self.freeze_decoder.is_some() {
            return Err(Error::request("with freeze_encoder and freeze_decoder nothing would be trained")
                .with_remedy("leave one of them out"));
        }
        if self.shuffle_gradients && self.score_beta == Some(0.0) {
            return Err(Error::request(
                "shuffle_gradients is given, but with score_beta 0 gradients are not read",
            ));
        }
        if self.score_lambda == Some(0.0) && self.score_beta == Some(0.0) {
            return Err(Error::request(
                "score_lambda and score_beta are both 0: no feature would be worth anything",
            ));
        }
        if self.is_feature_choice_from_the_start()
            && self.budget_law.unwrap_or(BudgetLaw::Fit) == BudgetLaw::Fit
        {
            return Err(Error::request(
                "budget_law fit needs rates at which features fired, but with mutual_share 0 there are none",
            )
            .with_remedy("give budget_law uniform or zipf:s,q, or a phase of BatchTopK"));
        }
        Ok(())
    }

    fn is_feature_choice_from_the_start(&self) -> bool {
        self.method.is_feature_choice() && self.mutual_share == Some(0.0)
    }

    /// An option that is given and that the method does not have.
    fn foreign_option(&self) -> Option<&'static str> {
        let method = self.method;
        let (budget, gradients) = (!method.is_penalised(), method.scores_gradients());
        let features = method.is_feature_choice();
        let (blocks, cosines) = (method == Method::BlockChoice, method.scores_cosines());
        let pursuit = method == Method::MatchingPursuit;
        let law = features || self.aux == Some(AuxLoss::Zipf);
        let jump = method == Method::Jumprelu;
        let given = [
            ("k_start", self.k_start.is_some(), budget && !blocks),
            (
                "multi_topk",
                self.multi_topk.is_some(),
                budget && !features && !blocks && !cosines && !pursuit && method != Method::Matryoshka,
            ),
            ("blocks", self.blocks.is_some(), blocks),
            ("budget_law", self.budget_law.is_some(), law),
            ("budget_cap", self.budget_cap.is_some(), features),
            ("mutual_share", self.mutual_share.is_some(), features),
            ("aux_rho", self.aux_rho.is_some(), law),
            ("score_lambda", self.score_lambda.is_some(), gradients),
            ("score_beta", self.score_beta.is_some(), gradients),
            ("gradient_norm", self.gradient_norm.is_some(), gradients),
            ("shuffle_gradients", self.shuffle_gradients, gradients),
            ("cosine_alpha", self.cosine_alpha.is_some(), cosines),
            // Rows that are of norm 1 already, and penalties that work through the norms of encoder rows.
            ("align_encoder", self.align_encoder, budget && !cosines && !pursuit),
            (
                "lista_step",
                self.lista_step.is_some(),
                matches!(method, Method::Topk | Method::MutualChoice | Method::Matryoshka),
            ),
            // A penalty makes codes sparse through the encoder alone.
            ("freeze_encoder", self.freeze_encoder, (budget && !pursuit) || jump),
            // An encoder row of its own is what a dead feature learns.
            ("aux", self.aux.is_some_and(|aux| aux != AuxLoss::None), !pursuit),
            ("widths", self.widths.is_some(), method == Method::Matryoshka),
            ("detach_widths", self.detach_widths, method == Method::Matryoshka),
            ("sort_widths", self.sort_widths, method == Method::Matryoshka),
            // Its second reconstruction holds everything but the gate constant, row by row.
            ("tilt", self.tilt.is_some(), method != Method::Gated),
            ("sparsity_coefficient", self.sparsity_coefficient.is_some(), !budget),
            ("sparsity_warmup_share", self.sparsity_warmup_share.is_some(), !budget),
            ("activation", self.activation.is_some(), method == Method::Shrinkage),
            ("jump_penalty", self.jump_penalty.is_some(), jump),
            ("jump_bandwidth", self.jump_bandwidth.is_some(), jump),
            ("jump_threshold", self.jump_threshold.is_some(), jump),
            ("power_end", self.power_end.is_some(), method == Method::PAnneal),
            ("resample_every", self.resample_every.is_some(), method == Method::Relu),
            ("threshold_tokens", self.threshold_tokens.is_some(), method.fits_thresholds()),
        ];
        given.into_iter().find(|(_, given, belongs)| *given && !belongs).map(|(name, ..)| name)
    }

    /// Numbers that must lie somewhere.
    fn ranges(&self) -> [(&'static str, Option<f64>, fn(f64) -> bool, &'static str); 15] {
        let positive: fn(f64) -> bool = |n| n > 0.0 && n.is_finite();
        let not_negative: fn(f64) -> bool = |n| n >= 0.0 && n.is_finite();
        let share: fn(f64) -> bool = |n| (0.0..=1.0).contains(&n);
        let part: fn(f64) -> bool = |n| n > 0.0 && n <= 1.0;
        [
            ("k_anneal_share", self.k_anneal_share, share, "between 0 and 1"),
            ("multi_topk", self.multi_topk, |n| n > 1.0 && n <= 1024.0, "above 1: how many times k"),
            ("budget_cap", self.budget_cap, part, "a share of the batch, above 0 and at most 1"),
            ("mutual_share", self.mutual_share, |n| (0.0..1.0).contains(&n), "at least 0 and below 1"),
            ("score_lambda", self.score_lambda, not_negative, "0 or more"),
            ("score_beta", self.score_beta, not_negative, "0 or more"),
            ("sparsity_coefficient", self.sparsity_coefficient, not_negative, "0 or more"),
            ("sparsity_warmup_share", self.sparsity_warmup_share, share, "between 0 and 1"),
            ("jump_bandwidth", self.jump_bandwidth, positive, "above 0"),
            ("jump_threshold", self.jump_threshold, positive, "above 0"),
            ("tilt", self.tilt, not_negative, "0 or more"),
            ("lista_step", self.lista_step, part, "above 0 and at most 1"),
            ("power_end", self.power_end, part, "above 0 and at most 1"),
            ("aux_rho", self.aux_rho, share, "between 0 and 1"),
            ("threshold_tokens", self.threshold_tokens.map(|n| n as f64), |n| n >= 1.0, "at least 1"),
        ]
    }

    /// Whether the budgets of feature choice can be met by batches of this size.
    pub(super) fn check_budgets(&self, d_sae: usize) -> Result<()> {
        if !self.method.is_feature_choice() {
            return Ok(());
        }
        let (total, rows) = ((self.k * self.batch) as u64, self.batch as u64);
        let cap = cap(self.budget_cap.unwrap_or(1.0), rows);
        match budget::whole(&vec![1.0; d_sae], total, cap) {
            Ok(_) => Ok(()),
            Err(unmet) => Err(unmet_budgets(unmet, total, rows, cap, d_sae)),
        }
    }

    /// The configuration with the defaults of its method.
    pub(super) fn with_method_defaults(&self, d_in: usize, d_sae: usize) -> Self {
        let mut config = self.clone();
        let (method, d) = (self.method, d_in as f64);
        fn fill<T>(option: &mut Option<T>, default: T) {
            option.get_or_insert(default);
        }
        if config.k_start.is_some() {
            fill(&mut config.k_anneal_share, 0.1);
        }
        let aux = match method {
            _ if method.is_feature_choice() => AuxLoss::Zipf,
            _ if method.is_penalised() || method == Method::MatchingPursuit => AuxLoss::None,
            _ => AuxLoss::Auxk,
        };
        fill(&mut config.aux, aux);
        if method.is_feature_choice() {
            fill(&mut config.budget_cap, 0.5);
            fill(&mut config.mutual_share, 0.5);
        }
        if method.is_feature_choice() || config.aux == Some(AuxLoss::Zipf) {
            fill(&mut config.budget_law, BudgetLaw::Fit);
            fill(&mut config.aux_rho, 0.3);
        }
        if method == Method::BlockChoice {
            let count = config.k;
            fill(&mut config.blocks, count);
        }
        if method.scores_gradients() {
            fill(&mut config.score_lambda, 1.0);
            fill(&mut config.score_beta, 1.0);
            fill(&mut config.gradient_norm, Default::default());
        }
        if method == Method::Matryoshka {
            let mut widths: Vec<usize> = [16, 8, 4, 2, 1].map(|part| d_sae / part).into();
            widths.retain(|&width| width > 0);
            widths.dedup();
            fill(&mut config.widths, widths);
        }
        if method == Method::Jumprelu {
            fill(&mut config.jump_penalty, JumpPenalty::L0);
            let bandwidth = config.jump_bandwidth.unwrap_or(d.sqrt() / 30.0);
            fill(&mut config.jump_bandwidth, bandwidth);
            fill(&mut config.jump_threshold, bandwidth / 2.0);
        }
        if method == Method::Shrinkage {
            let kind = *config.activation.get_or_insert(Activation::Half);
            fill(&mut config.sparsity_coefficient, kind.shrinkage().lambda(d.sqrt() / 10.0, STEP));
        }
        if method.is_penalised() {
            let coefficient = if method == Method::Jumprelu { d / 500.0 } else { d.sqrt() / 5.0 };
            fill(&mut config.sparsity_coefficient, coefficient);
            fill(&mut config.sparsity_warmup_share, 0.05);
        }
        if method == Method::PAnneal {
            fill(&mut config.power_end, 0.2);
        }
        if method.fits_thresholds() {
            fill(&mut config.threshold_tokens, 1_000_000);
        }
        config
    }
}

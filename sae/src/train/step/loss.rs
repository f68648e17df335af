//! From errors to the loss, and the constants that its gradients are multiplied by.

use super::aux::AuxFeatures;
use super::context::Context;
use super::errors::Errors;
use super::penalty::CodeCost;
use super::select::ActivePairs;
use super::select::audit::Audit;
use kernels::reduce;

/// What a step was like, before its update.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepReport {
    /// All of the loss.
    pub loss: f64,
    /// `1/B Σ_b ‖x_b − x̂_b‖²`.
    pub mse: f64,
    /// AuxK or aux-zipf.
    pub auxk: f64,
    /// What codes cost.
    pub penalty: f64,
    /// What further reconstructions, and weights of rows, add to the loss.
    pub further: f64,
    /// `Σ_b ‖x_b − x̂_b‖²`
    pub squared_error: f64,
    /// `Σ_b ‖x_b‖²`
    pub squares: f64,
    /// `Σ_b x_b`, `[d_out]`
    pub columns: Vec<f64>,
    /// Tokens.
    pub tokens: u64,
    /// Codes that are not 0.
    pub active: u64,
    /// Dead features when the step began.
    pub dead: u64,
    /// Mean norm of decoder rows after Adam and before they were made 1 again.
    pub decoder_norm: f64,
    /// What is known of the search among candidates; zeros if all pre-activations were computed.
    pub audit: Audit,
}

/// Constants of the loss: ∂L/∂x̂ of each reconstruction is this times its errors.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scales {
    pub main: f64,
    pub second: f64,
    /// Of the auxiliary loss; `None` where there is none, or no residual that could be explained.
    pub aux: Option<f64>,
}

/// Adds up the sums of the chunks, in order.
pub fn loss(
    context: &Context<'_>,
    pairs: &ActivePairs,
    errors: &Errors,
    aux: &AuxFeatures,
    cost: &CodeCost,
) -> (StepReport, Scales) {
    let (d, options, tokens) = (context.state.d_out, context.options, context.tokens);
    let mut report = StepReport {
        tokens: tokens as u64,
        dead: aux.dead as u64,
        columns: vec![0.0; d],
        audit: pairs.audit,
        ..StepReport::default()
    };
    let mut error_columns = vec![0.0; d];
    let (mut second, mut aux_squares, mut nested, mut penalty) = (0.0, 0.0, 0.0, 0.0);
    for (chunk, sums) in pairs.chunks.iter().zip(&errors.sums) {
        report.squared_error += sums.squared_error;
        report.squares += sums.squares;
        report.active += chunk.main.fired() as u64;
        second += sums.second_squared_error;
        aux_squares += sums.aux_squared_error;
        nested += sums.nested_squared_error;
        penalty += sums.penalty;
        reduce::add(&mut report.columns, &sums.columns);
        reduce::add(&mut error_columns, &sums.error_columns);
    }
    let n = tokens as f64;
    let nests = options.widths.len().max(1) as f64;
    let weight = options.multi.map_or(1.0, |multi| multi.weight);
    report.mse = report.squared_error / n;
    report.penalty = cost.lambda * penalty / n;
    report.further = weight * second / n;
    if nests > 1.0 {
        report.further += nested / (n * nests) - report.mse;
    }
    report.further += errors.tilted;
    let mut scales = Scales { main: 2.0 / (n * nests), second: 2.0 * weight / n, aux: None };
    if options.refine.is_some() {
        // What the first guess is to blame for is part of the same reconstruction.
        scales.second = scales.main;
    }
    // The residual's spread; without any there is nothing that could be explained.
    let spread = reduce::centred_sum_of_squares(tokens as u64, &error_columns, report.squared_error);
    if aux.used && spread > 0.0 {
        let factor = options.aux.coefficient * options.input_variance / spread;
        report.auxk = factor * aux_squares;
        scales.aux = Some(2.0 * factor);
    }
    report.loss = report.mse + report.further + report.penalty + report.auxk;
    (report, scales)
}

//! The numbers of an evaluation as they are kept: where the passes' figures go in the record.

use storage::Evaluation;

use super::behaviour::BehaviourFigures;
use super::geometry::Geometry;
use super::reconstruction::Figures;

/// Fills in what the rows gave.
pub(super) fn add_reconstruction(e: &mut Evaluation, f: &Figures) {
    (e.fve, e.fvu, e.nmse, e.mse) = (f.fve, f.fvu, f.nmse, f.mse);
    (e.l0, e.l1, e.dead_share, e.dead) = (f.l0, f.l1, f.dead_share, f.dead as u64);
    (e.l0_sd, e.l0_quantiles) = (f.l0_sd, f.l0_quantiles);
    e.under_used_share = f.under_used_share;
    (e.cosine, e.l2_ratio) = (f.cosine, f.l2_ratio);
    e.relative_reconstruction_bias = f.relative_reconstruction_bias;
    (e.mean_to_spread, e.fve_legacy) = (f.mean_to_spread, f.fve_legacy);
    [e.norm_in, e.norm_out] = f.norms.map(Some);
    [e.over_1_percent, e.over_10_percent] = f.frequent.map(Some);
    [e.firings_over_1_percent, e.firings_over_10_percent] = f.frequent_firings;
    e.tokens = f.tokens;
}

/// Fills in what the weights gave.
pub(super) fn add_geometry(e: &mut Evaluation, g: &Geometry) {
    e.decoder_cosine = g.decoder;
    (e.max_decoder_cosine, e.max_encoder_cosine) = (g.max_decoder, g.max_encoder);
    e.cosine_features = Some(g.features as u64);
}

/// Fills in what the model gave.
pub(super) fn add_behaviour(e: &mut Evaluation, f: &BehaviourFigures) {
    (e.ce_clean, e.ce_reconstructed) = (Some(f.ce_clean), Some(f.ce_reconstructed));
    (e.ce_zero, e.ce_mean) = (Some(f.ce_zero), Some(f.ce_mean));
    e.loss_recovered = f.loss_recovered;
    e.loss_recovered_mean_ablation = f.loss_recovered_mean_ablation;
    (e.kl, e.kl_zero, e.kl_mean) = (Some(f.kl), Some(f.kl_zero), Some(f.kl_mean));
    e.kl_score = f.kl_score;
    e.predicted_tokens = f.tokens;
}

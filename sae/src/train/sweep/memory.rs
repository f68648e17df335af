//! What training needs, estimated from shapes: enough to decide how many runs fit at once, and to tell it before anything begins.

use crate::train::config::{AuxLoss, FrozenDecoder, Method, Resolved};
use crate::train::runs::group::TURN;
use crate::train::step::{CHUNK_ROWS, DENSE};
use crate::train::stream::dataset_rows::RANGES_AT_ONCE;
use kernels::encode::chunk_rows;

/// Bytes of an f32.
const NUMBER: u64 = 4;
/// Bytes of an active pair: its feature, value and slope by token; its token, value, slope and where they come from by feature.
const MATCH: u64 = 32;
/// Bytes of a number while its page is decoded: as it is stored, in f32, and its levels.
const DECODED: u64 = 12;
/// Bytes of a process that does nothing yet.
pub(super) const PROCESS: u64 = 24 << 20;
/// Bytes of a candidate of mutual choice: its feature and two bounds.
const CANDIDATE: u64 = 12;
/// Bytes of an entry that mutual choice collects.
const ENTRY: u64 = 16;

/// Bytes of a run: parameters with their moments, and what a step fills.
pub(super) fn of_run(resolved: &Resolved, threads: u64) -> u64 {
    of_layer(resolved, threads) * resolved.layers as u64 + of_later(resolved)
}

/// Bytes of what only a cross-layer transcoder has: decoder rows that write into later layers, with their moments, and errors of all layers,
/// as one row and as the tail that each layer reads, and once more for the dead features of each.
fn of_later(resolved: &Resolved) -> u64 {
    let (d, features, layers) = (resolved.d_in as u64, resolved.d_sae as u64, resolved.layers as u64);
    let (pairs, batch) = (layers * (layers - 1) / 2, resolved.config.batch as u64);
    let helped = u64::from(resolved.config.aux != Some(AuxLoss::None));
    let errors = if layers > 1 { layers + pairs * (1 + helped) } else { 0 };
    NUMBER * d * (3 * features * pairs + batch * errors)
}

/// Bytes of a layer, with the decoder rows that write into it.
fn of_layer(resolved: &Resolved, threads: u64) -> u64 {
    let config = &resolved.config;
    let (d, features, batch) = (resolved.d_in as u64, resolved.d_sae as u64, config.batch as u64);
    let own = resolved.rule().own_parameters() as u64;
    // A value and two moments; silence, rates, expected rates and budgets.
    let state = 3 * NUMBER * (2 * features * d + features * (1 + own) + d) + 20 * features;
    let counts = if config.history != Some(0) { 2 * NUMBER * features } else { 0 };
    let gradients = u64::from(resolved.needs_gradients());
    // A correction has its input and what the first guess is to blame for.
    let refined = 2 * u64::from(config.lista_step.is_some());
    let second = u64::from(config.multi_topk.is_some() || own == 2) + refined;
    let nested = config.widths.as_ref().map_or(0, |widths| widths.len() as u64 - 1);
    let helped = u64::from(config.aux != Some(AuxLoss::None));
    let matrices = NUMBER
        * batch
        * d
        * (2 + helped + gradients * (1 + u64::from(config.shuffle_gradients)) + second + nested);
    let search = of_search(resolved, threads) * (1 + gradients);
    let multiple = 1.0 + config.multi_topk.unwrap_or(0.0);
    let per_token = match config.method.is_penalised() {
        // At first about half of all pre-activations are above 0.
        true => features as f64 / 2.0,
        false => {
            config.k_start.unwrap_or(config.k) as f64 * multiple + (helped * resolved.k_aux as u64) as f64
        }
    };
    // A gated dictionary is reconstructed from the gate's codes too, which are pairs of their own.
    let lists = if own == 2 { 2 } else { 1 };
    // Where no k bounds the lists they grow, and a list that grows is up to twice as long as what is in it.
    let grown = if config.method.is_penalised() { MATCH / 2 } else { 0 };
    let matches = (per_token * batch as f64) as u64 * (MATCH + grown) * lists;
    let collected = match config.method.fits_thresholds() {
        true => {
            // Before the first step nobody knows a floor: about half of all pre-activations are candidates, and those of a chunk in its thread.
            let above = (batch + CHUNK_ROWS as u64 * threads) * features / 2 * CANDIDATE;
            let wanted = (config.k as f64 * multiple * batch as f64) as u64;
            wanted * ENTRY * 2 * (1 + threads) + u64::from(resolved.finds_candidates()) * above
        }
        false => 0,
    };
    let soft = config.freeze_decoder == Some(FrozenDecoder::Soft);
    let cone = if soft { NUMBER * features * d } else { 0 };
    // A square matrix with moments and gradient, and columns of errors and activations.
    // What every step of a token began with and its gradient.
    let steps = match config.method {
        Method::MatchingPursuit => config.k_start.unwrap_or(config.k) as u64,
        _ => 0,
    };
    let pursued = 2 * NUMBER * batch * d * steps;
    let aligned = if config.align_encoder { NUMBER * features * d } else { 0 };
    let skip = if config.skip { NUMBER * (4 * d * d + 2 * batch * d) } else { 0 };
    skip + aligned + pursued + state + cone + counts + matrices + search + matches + collected
}

/// More bytes until a quarter of the features is dead and has the auxiliary loss: by dense products, of codes and slopes in f32
/// and in bfloat16, of errors and activations in bfloat16, and of rows and gradients, up to [`DENSE`] features for each that a token may
/// use; and by lists, of encoder rows, the same as panels, and a chunk of pre-activations per thread.
pub(super) fn of_help(resolved: &Resolved, threads: u64) -> u64 {
    if resolved.config.aux == Some(AuxLoss::None) {
        return 0;
    }
    // Of a cross-layer transcoder, all layers and twice the width: a layer writes into half of them on average.
    let layers = resolved.layers as u64;
    let (d, batch) = (resolved.d_in as u64 * layers.div_ceil(2), resolved.config.batch as u64);
    let dead = resolved.d_sae as u64 / 4;
    let dense = dead.min((DENSE * resolved.k_aux) as u64);
    let by_products = dense * (14 * batch + 22 * d) + NUMBER * batch * d;
    let chunk = chunk_rows(resolved.d_sae) as u64;
    let by_lists = if dead > dense { NUMBER * dead * (2 * d + threads * chunk) } else { 0 };
    layers * by_products.max(by_lists)
}

/// Bytes of what the search reads, for one matrix of features: rows in 8 bits, or panels in f32 and a chunk of pre-activations per thread.
fn of_search(resolved: &Resolved, threads: u64) -> u64 {
    let (d, features) = (resolved.d_in as u64, resolved.d_sae as u64);
    if resolved.finds_candidates() {
        return features * d;
    }
    NUMBER * features * (d + threads * chunk_rows(resolved.d_sae) as u64)
}

/// More bytes when a run is over: the dictionary and its file, and the numbers that thresholds are read off.
pub(super) fn of_end(resolved: &Resolved, held_out: u64) -> u64 {
    let config = &resolved.config;
    // Encoders, and decoders of every pair of layers.
    let layers = resolved.layers as u64;
    let matrices = layers + layers * (layers + 1) / 2;
    let dictionary = 2 * NUMBER * matrices * (resolved.d_sae * resolved.d_in) as u64;
    let rows = config.threshold_tokens.unwrap_or(0).min(held_out.max(1));
    let largest = if config.method.is_feature_choice() { 2 * NUMBER * config.k as u64 * rows } else { 0 };
    dictionary + largest
}

/// Bytes of the stream that runs share: two pools of rows, what is decoded for the next one, and batches that are used and ready.
pub(super) fn of_stream(resolved: &Resolved, rows: u64, gradients: bool, runs: usize) -> u64 {
    let config = &resolved.config;
    let layers = resolved.layers as u64;
    let targets = layers > 1 || config.target.is_some();
    let width = resolved.d_in as u64 * layers * (1 + u64::from(targets) + u64::from(gradients));
    // A dataset that fits into one pool is read once and kept.
    let pools = if rows <= resolved.pool_rows { rows } else { 2 * resolved.pool_rows };
    let decoded = RANGES_AT_ONCE as u64 * config.block_rows * resolved.d_in as u64 * DECODED;
    let batches = 2 * if runs > 1 { TURN } else { 1 } * config.batch as u64;
    (pools + batches) * width * NUMBER + decoded
}

//! What training changes: the four parameters with their Adam moments, and how long each feature has been silent.

use kernels::chance::{Purpose, generator, normal};
use kernels::feature::make_unit;
use kernels::memory::use_large_pages;

/// A parameter and its Adam moments, all of one length.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    pub value: Vec<f32>,
    pub first: Vec<f32>,
    pub second: Vec<f32>,
}

impl Parameter {
    /// `value` with moments 0.
    pub fn new(value: Vec<f32>) -> Self {
        let zeros = vec![0.0; value.len()];
        Self { first: zeros.clone(), second: zeros, value }
    }

    fn use_large_pages(&self) {
        [&self.value, &self.first, &self.second].into_iter().for_each(|numbers| use_large_pages(numbers));
    }
}

/// State of a training run. With the configuration and the position in the data it decides everything that follows.
#[derive(Debug, Clone, PartialEq)]
pub struct TrainState {
    /// d, the width of what is encoded.
    pub d: usize,
    /// The width of what is reconstructed: d, but for a layer of a cross-layer transcoder, which writes into later layers too.
    pub d_out: usize,
    /// F.
    pub features: usize,
    /// `[F, d]`
    pub w_enc: Parameter,
    /// `[F]`
    pub b_enc: Parameter,
    /// `[F, d_out]`, rows of norm 1.
    pub w_dec: Parameter,
    /// `[d_out]`; empty where a different layer of a cross-layer transcoder has it.
    pub b_dec: Parameter,
    /// Of a transcoder with a skip connection: its path past the features, W_skip `[d_out, d]`, a row per number of the output; else empty.
    pub skip: Parameter,
    /// What some methods learn besides, `[F, n]`: `rule.own_parameters()` numbers per feature, none for most.
    pub own: Parameter,
    /// Tokens since each feature last fired, `[F]`.
    pub since_fired: Vec<u64>,
    /// Tokens that each feature fired on since the last snapshot of the history, `[F]`; empty if no history is kept.
    pub fired: Vec<u64>,
    /// Share of the tokens that each feature fires on, `[F]`: a moving average that began at 0.
    pub rates: Vec<f32>,
    /// Share of the tokens that each feature should fire on, for aux-zipf, `[F]`; empty until it is known.
    pub expected_rates: Vec<f32>,
    /// Tokens of a batch for each feature in feature choice, `[F]`; empty until it begins.
    pub budgets: Vec<u32>,
    /// Factor of the sparsity penalty that is adapted while its power falls (p-anneal); 1 otherwise.
    pub penalty_scale: f32,
    /// Steps done.
    pub step: u64,
}

/// The random directions of norm 1 that the rows of a run begin as, `[features, d]`. A direction depends on the seed and its number
/// alone.
pub fn directions(features: usize, d: usize, seed: u64) -> Vec<f32> {
    directions_from(0, features, d, seed)
}

/// The same from number `first` on.
fn directions_from(first: usize, features: usize, d: usize, seed: u64) -> Vec<f32> {
    let mut directions = vec![0.0; features * d];
    for (f, row) in directions.chunks_exact_mut(d).enumerate() {
        let mut rng = generator(seed, Purpose::Directions, (first + f) as u64, 0);
        // A row of zeros has no direction; with d = 1 it could be drawn.
        while make_unit(row) == 0.0 {
            row.fill_with(|| normal(&mut rng));
        }
    }
    directions
}

impl TrainState {
    /// Decoder rows are random directions, encoder rows the same (tied; [`super::initial`] gives them another norm), `b_enc` is 0.
    ///
    /// A feature's direction depends on the seed and its number alone.
    pub fn new(features: usize, b_dec: Vec<f32>, seed: u64) -> Self {
        let d = b_dec.len();
        let directions = directions(features, d, seed);
        Self::with_rows((d, d), directions.clone(), directions, b_dec)
    }

    /// With these encoder rows `[F, d]` and decoder rows `[F, d_out]`, everything else as it begins.
    pub(super) fn with_rows(
        (d, d_out): (usize, usize),
        w_enc: Vec<f32>,
        w_dec: Vec<f32>,
        b_dec: Vec<f32>,
    ) -> Self {
        let features = w_enc.len() / d;
        Self {
            d,
            d_out,
            features,
            w_enc: Parameter::new(w_enc),
            b_enc: Parameter::new(vec![0.0; features]),
            w_dec: Parameter::new(w_dec),
            b_dec: Parameter::new(b_dec),
            skip: Parameter::new(Vec::new()),
            own: Parameter::new(Vec::new()),
            since_fired: vec![0; features],
            fired: Vec::new(),
            rates: vec![0.0; features],
            expected_rates: Vec::new(),
            budgets: Vec::new(),
            penalty_scale: 1.0,
            step: 0,
        }
    }

    /// Layer `layer` of a cross-layer transcoder of `layers`, all of width `d`. Encoder rows are random directions, no two layers have the same
    /// ones; decoder rows `[F, (layers − layer) · d]` are the same directions at its own layer and 0 at later ones. `b_dec`,
    /// `[layers · d]`, is the first layer's.
    pub fn of_layer(
        (layer, layers): (usize, usize),
        features: usize,
        d: usize,
        b_dec: Vec<f32>,
        seed: u64,
    ) -> Self {
        let directions = directions_from(layer * features, features, d, seed);
        let d_out = (layers - layer) * d;
        let mut w_dec = vec![0.0; features * d_out];
        for (row, direction) in w_dec.chunks_exact_mut(d_out).zip(directions.chunks_exact(d)) {
            row[..d].copy_from_slice(direction);
        }
        Self::with_rows((d, d_out), directions, w_dec, b_dec)
    }

    /// The rows of a crosscoder over `sites` values of one width: every feature begins as the same direction at all of them, with norms
    /// that add up to 1. So sites that are alike stay alike.
    pub fn begin_sites(&mut self, sites: usize, seed: u64) {
        let width = self.d / sites;
        let directions = directions(self.features, width, seed);
        for (row, direction) in self.w_dec.value.chunks_exact_mut(self.d).zip(directions.chunks_exact(width))
        {
            for part in row.chunks_exact_mut(width) {
                part.iter_mut().zip(direction).for_each(|(w, u)| *w = u / sites as f32);
            }
        }
        self.w_enc.value.clone_from(&self.w_dec.value);
    }

    /// Keeps the matrices in large pages, for steps gather their rows.
    pub fn use_large_pages(&self) {
        self.w_enc.use_large_pages();
        self.w_dec.use_large_pages();
    }

    /// Features that have not fired for `dead_after` tokens, ascending.
    pub fn dead(&self, dead_after: u64) -> impl Iterator<Item = u32> + '_ {
        self.since_fired.iter().zip(0..).filter(move |(since, _)| **since >= dead_after).map(|(_, f)| f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_tied_with_unit_rows() {
        let state = TrainState::new(50, vec![0.5; 7], 3);
        assert_eq!(state.w_enc.value, state.w_dec.value);
        for row in state.w_dec.value.chunks_exact(7) {
            assert!((row.iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-6);
        }
        assert_ne!(state.w_dec.value, TrainState::new(50, vec![0.5; 7], 4).w_dec.value);
        assert_eq!(state.w_dec.value[..70], TrainState::new(10, vec![0.5; 7], 3).w_dec.value);
    }

    #[test]
    fn dead_features_are_those_silent_long_enough() {
        let mut state = TrainState::new(4, vec![0.0; 2], 0);
        state.since_fired = vec![5, 10, 0, 11];
        assert_eq!(state.dead(10).collect::<Vec<_>>(), [1, 3]);
    }
}

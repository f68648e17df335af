//! Errors of every reconstruction of a batch, and slopes at its active pairs.

use rayon::prelude::*;

use super::aux::AuxFeatures;
use super::batch::{CentredBatch, part};
use super::context::Context;
use super::nested::{NestMemory, Nests, Row};
use super::options::{Rule, StepOptions};
use super::penalty::CodeCost;
use super::select::{ActivePairs, ChunkPairs};
use super::tilt::tilt;
use crate::train::pairs::Pairs;
use crate::train::state::TrainState;
use kernels::gather::{add_rows, dot_rows};
use kernels::{memory, reduce};

/// The errors `x̂ − x` of a batch, `[B, d_out]` each; a matrix that the loss does not have is empty.
#[derive(Debug, Default)]
pub struct Errors {
    pub main: Vec<f32>,
    /// Of a second reconstruction: of Multi-TopK, or from the gate's codes.
    pub second: Vec<f32>,
    /// What the features with the auxiliary loss leave of the residual.
    pub aux: Vec<f32>,
    /// What features of the i-th nested dictionary are to blame for; none for a single dictionary.
    pub nested: Vec<Vec<f32>>,
    /// Which dictionary adds a feature.
    nests: Nests,
    /// What tilting makes of the loss, less the mean over rows; 0 if it is not tilted.
    pub tilted: f64,
    /// A chunk's part of every sum.
    pub sums: Vec<Sums>,
}

/// A chunk's part of every sum.
#[derive(Debug, Default)]
pub struct Sums {
    pub squared_error: f64,
    pub second_squared_error: f64,
    pub aux_squared_error: f64,
    /// Of all nested dictionaries together.
    pub nested_squared_error: f64,
    /// What the codes cost, without λ.
    pub penalty: f64,
    pub squares: f64,
    pub error_columns: Vec<f64>,
    pub second_columns: Vec<f64>,
    /// Of what the decoder's bias is to blame for, where that is not the errors.
    pub blamed_columns: Vec<f64>,
    pub columns: Vec<f64>,
    /// Losses of the rows, where rows are weighted.
    row_losses: Vec<f64>,
}

/// A chunk's rows of every matrix.
struct ChunkErrors<'a> {
    main: &'a mut [f32],
    second: &'a mut [f32],
    aux: &'a mut [f32],
    nested: Vec<&'a mut [f32]>,
    sums: &'a mut Sums,
}

impl Errors {
    /// Measures the errors of the active `pairs` of `batch`, of which `x[B, d_out]` is reconstructed, and the slopes at those pairs. For a
    /// layer of a cross-layer transcoder, whose `x` is empty, the errors of all layers together are in `main` already.
    pub fn measure(
        &mut self,
        context: &Context<'_>,
        (batch, x): (&CentredBatch, &[f32]),
        aux: &AuxFeatures,
        cost: &CodeCost,
        pairs: &mut ActivePairs,
    ) {
        self.resize(context, context.tokens * context.state.d_out, aux);
        let mut nests = std::mem::take(&mut self.nests);
        nests.set(context.options, context.state);
        let (width, width_out) = (context.width(), context.width_out());
        let (wanted, centred) = (batch.wanted(), batch.rows().centred);
        (&mut pairs.chunks, self.cut(width_out)).into_par_iter().enumerate().for_each(
            |(i, (pairs, errors))| {
                let rows = ChunkRows {
                    x: part(x, i, width_out),
                    wanted: part(wanted, i, width_out),
                    centred: part(centred, i, width),
                };
                errors.measure(context, (aux, &nests), rows, pairs);
            },
        );
        self.nests = nests;
        let weights = self.weights(context);
        let rows = context.chunking.rows;
        (&mut pairs.chunks, self.cut(width_out)).into_par_iter().enumerate().for_each(
            |(i, (pairs, errors))| {
                let weights = weights.get(i * rows..).unwrap_or_default();
                errors.finish(context, cost, weights, pairs);
            },
        );
    }

    /// What each row counts for, 1 on average; none if all count the same.
    fn weights(&mut self, context: &Context<'_>) -> Vec<f32> {
        self.tilted = 0.0;
        if context.options.tilt == 0.0 {
            return Vec::new();
        }
        let losses: Vec<f64> = self.sums.iter().flat_map(|sums| &sums.row_losses).copied().collect();
        let (weights, loss) = tilt(&losses, context.options.tilt);
        let n = losses.len() as f64;
        self.tilted = loss - losses.iter().sum::<f64>() / n;
        weights.into_iter().map(|w| (w * n) as f32).collect()
    }

    /// Whether the decoder's bias is to blame for something else than the errors.
    pub fn blames_otherwise(&self, options: &StepOptions) -> bool {
        !self.nested.is_empty() || options.tilt > 0.0
    }

    /// Makes room for `n` numbers in each matrix that the loss has.
    fn resize(&mut self, context: &Context<'_>, n: usize, aux: &AuxFeatures) {
        let options = context.options;
        let second = options.multi.is_some() || options.rule == Rule::Gated;
        memory::resize(&mut self.main, n, 0.0);
        memory::resize(&mut self.second, if second { n } else { 0 }, 0.0);
        memory::resize(&mut self.aux, if aux.used { n } else { 0 }, 0.0);
        self.nested.resize(options.widths.len().saturating_sub(1), Vec::new());
        self.nested.iter_mut().for_each(|m| memory::resize(m, n, 0.0));
        self.sums.resize_with(context.chunks(), Sums::default);
    }

    /// Cuts the matrices into chunks of `width` numbers.
    fn cut(&mut self, width: usize) -> Vec<ChunkErrors<'_>> {
        let mut main = self.main.chunks_mut(width);
        let mut second = self.second.chunks_mut(width);
        let mut aux = self.aux.chunks_mut(width);
        let mut nested: Vec<_> = self.nested.iter_mut().map(|m| m.chunks_mut(width)).collect();
        let chunk = |sums| ChunkErrors {
            main: main.next().unwrap_or_default(),
            second: second.next().unwrap_or_default(),
            aux: aux.next().unwrap_or_default(),
            nested: nested.iter_mut().map(|m| m.next().unwrap_or_default()).collect(),
            sums,
        };
        self.sums.iter_mut().map(chunk).collect()
    }

    /// The errors that feature `f` is to blame for: of all nested dictionaries that have it.
    pub fn of_feature(&self, f: usize) -> &[f32] {
        self.nests.level(f).and_then(|level| self.nested.get(level)).unwrap_or(&self.main)
    }
}

/// A chunk's rows of what is given.
#[derive(Clone, Copy)]
struct ChunkRows<'a> {
    /// What is reconstructed.
    x: &'a [f32],
    /// What codes times decoder rows should be; empty where errors are known.
    wanted: &'a [f32],
    /// What was encoded.
    centred: &'a [f32],
}

impl ChunkErrors<'_> {
    /// Errors and slopes of the chunk, and sums of squares.
    fn measure(
        self,
        context: &Context<'_>,
        (aux, nests): (&AuxFeatures, &Nests),
        ChunkRows { x, wanted, centred }: ChunkRows<'_>,
        pairs: &mut ChunkPairs,
    ) {
        let (state, d) = (context.state, context.state.d_out);
        let Self { main: errors, second: second_errors, aux: q, mut nested, sums } = self;
        let ChunkPairs { main, second, aux: aux_pairs, dense } = pairs;
        *sums = Sums::default();
        [&mut *main, &mut *second, &mut *aux_pairs].into_iter().for_each(Pairs::begin_slopes);
        let has_second = !second_errors.is_empty();
        let has_aux = !q.is_empty();
        let (mut memory, losses) = (NestMemory::default(), &mut sums.row_losses);
        for (i, error) in errors.chunks_exact_mut(d).enumerate() {
            let row = i * d..(i + 1) * d;
            let c = part(wanted, i, d);
            match nested.is_empty() {
                true if c.is_empty() => slope(state, main.row_mut(i), error),
                true => reconstruct(state, main.row_mut(i), error, c),
                false => {
                    let mut nested: Vec<_> = nested.iter_mut().map(|m| &mut m[row.clone()]).collect();
                    let token = main.row_mut(i);
                    let squares =
                        nests.reconstruct(&state.w_dec.value, token, error, &mut nested, c, &mut memory);
                    sums.nested_squared_error += squares;
                    losses.push(squares / (1 + nested.len()) as f64);
                }
            }
            let squares = reduce::sum_of_squares(error);
            sums.squared_error += squares;
            if nested.is_empty() {
                losses.push(squares);
            }
            if has_second {
                let error = &mut second_errors[row.clone()];
                reconstruct(state, second.row_mut(i), error, c);
                sums.second_squared_error += reduce::sum_of_squares(error);
            }
            if has_aux && !aux.dense {
                // Features with the auxiliary loss reconstruct the residual −error; `q` is what is wrong with that.
                let q = &mut q[row];
                q.copy_from_slice(error);
                let (features, values, slopes) = aux_pairs.row_mut(i);
                add_rows(q, &state.w_dec.value, features, values);
                dot_rows(slopes, &state.w_dec.value, features, q);
                sums.aux_squared_error += reduce::sum_of_squares(q);
            }
        }
        if has_aux && aux.dense {
            sums.aux_squared_error = dense.measure(aux, errors, centred, q, (state.d, d));
        }
        sums.squares = reduce::sum_of_squares(x);
        for (columns, matrix) in [
            (&mut sums.columns, x),
            (&mut sums.error_columns, &*errors),
            (&mut sums.second_columns, &*second_errors),
        ] {
            columns.resize(d, 0.0);
            reduce::add_column_sums(columns, matrix);
        }
    }

    /// What comes after the errors of the whole batch are known: rows get their `weights` (none: all count the same), codes their cost.
    fn finish(mut self, context: &Context<'_>, cost: &CodeCost, weights: &[f32], pairs: &mut ChunkPairs) {
        let (d, options) = (context.state.d_out, context.options);
        let ChunkPairs { main, second, .. } = pairs;
        for (i, &weight) in weights.iter().take(self.main.len() / d).enumerate() {
            let row = i * d..(i + 1) * d;
            let errors = std::iter::once(&mut self.main).chain(&mut self.nested);
            errors.flat_map(|m| &mut m[row.clone()]).for_each(|e| *e *= weight);
            main.row_mut(i).2.iter_mut().for_each(|slope| *slope *= weight);
        }
        let sums = self.sums;
        if !weights.is_empty() || !self.nested.is_empty() {
            sums.blamed_columns.resize(d, 0.0);
            let blamed = self.nested.first().unwrap_or(&self.main);
            reduce::add_column_sums(&mut sums.blamed_columns, blamed);
        }
        sums.penalty = cost.apply(if options.rule == Rule::Gated { second } else { main });
        cost.by_pre_activations(main);
    }
}

/// `error = v · W_dec − c`, `slopes = error · W_decᵀ` at the active pairs.
fn reconstruct(state: &TrainState, row: Row<'_>, error: &mut [f32], c: &[f32]) {
    error.iter_mut().zip(c).for_each(|(e, c)| *e = -c);
    add_rows(error, &state.w_dec.value, row.0, row.1);
    slope(state, row, error);
}

/// `slopes = error · W_decᵀ` at the active pairs.
fn slope(state: &TrainState, (features, _, slopes): Row<'_>, error: &[f32]) {
    dot_rows(slopes, &state.w_dec.value, features, error);
}

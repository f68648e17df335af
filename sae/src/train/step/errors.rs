//! Errors of every reconstruction of a chunk of tokens, and slopes at its matches.

use super::options::{Plan, Rule, StepOptions};
use super::{Chunk, Helped, Matrices, penalty};
use crate::train::matches::Matches;
use crate::train::state::TrainState;
use kernels::gather::{add_rows, dot_rows};
use kernels::reduce;

/// What all chunks read.
pub(super) struct Shared<'a> {
    pub(super) state: &'a TrainState,
    pub(super) options: &'a StepOptions,
    pub(super) plan: &'a Plan,
    pub(super) helped: &'a Helped,
    pub(super) penalty_scale: f32,
}

/// A chunk's part of every sum.
#[derive(Debug, Default)]
pub(super) struct Sums {
    pub(super) squared_error: f64,
    pub(super) second_squared_error: f64,
    pub(super) aux_squared_error: f64,
    /// Of all nested dictionaries together.
    pub(super) nested_squared_error: f64,
    /// What the codes cost, without λ.
    pub(super) penalty: f64,
    pub(super) squares: f64,
    pub(super) error_columns: Vec<f64>,
    pub(super) second_columns: Vec<f64>,
    pub(super) nested_columns: Vec<f64>,
    pub(super) columns: Vec<f64>,
}

/// A chunk's rows of every matrix; empty where a matrix is.
pub(super) struct Views<'a> {
    centred: &'a [f32],
    errors: &'a mut [f32],
    second: &'a mut [f32],
    aux: &'a mut [f32],
    nested: Vec<&'a mut [f32]>,
}

impl<'a> Views<'a> {
    /// Cuts the matrices into `chunks` pieces of `width` numbers.
    pub(super) fn cut(matrices: &'a mut Matrices, width: usize, chunks: usize) -> Vec<Self> {
        let mut errors = matrices.errors.chunks_mut(width);
        let mut second = matrices.second.chunks_mut(width);
        let mut aux = matrices.aux.chunks_mut(width);
        let mut centred = matrices.centred.chunks(width);
        let mut nested: Vec<_> = matrices.nested.iter_mut().map(|m| m.chunks_mut(width)).collect();
        (0..chunks)
            .map(|_| Self {
                centred: centred.next().unwrap_or_default(),
                errors: errors.next().unwrap_or_default(),
                second: second.next().unwrap_or_default(),
                aux: aux.next().unwrap_or_default(),
                nested: nested.iter_mut().map(|m| m.next().unwrap_or_default()).collect(),
            })
            .collect()
    }
}

impl Chunk {
    /// Errors, slopes and sums of the chunk `x`.
    pub(super) fn measure(&mut self, shared: &Shared<'_>, x: &[f32], views: &mut Views<'_>) {
        let d = shared.state.d;
        let Self { main, second, aux, dense, sums, .. } = self;
        *sums = Sums::default();
        [&mut *main, &mut *second, &mut *aux].into_iter().for_each(Matches::begin_slopes);
        let has_second = !views.second.is_empty();
        let has_aux = !views.aux.is_empty();
        for (i, (error, c)) in views.errors.chunks_exact_mut(d).zip(views.centred.chunks_exact(d)).enumerate()
        {
            let row = i * d..(i + 1) * d;
            match views.nested.is_empty() {
                true => reconstruct(shared, main.row_mut(i), error, c),
                false => {
                    let nested = views.nested.iter_mut().map(|m| &mut m[row.clone()]).collect();
                    sums.nested_squared_error +=
                        reconstruct_nested(shared, main.row_mut(i), error, nested, c);
                }
            }
            sums.squared_error += reduce::sum_of_squares(error);
            if has_second {
                let error = &mut views.second[row.clone()];
                reconstruct(shared, second.row_mut(i), error, c);
                sums.second_squared_error += reduce::sum_of_squares(error);
            }
            if has_aux && !shared.helped.dense {
                // Features that get help reconstruct the residual −error; `q` is what is wrong with that.
                let q = &mut views.aux[row];
                q.copy_from_slice(error);
                let (features, values, slopes) = aux.row_mut(i);
                add_rows(q, &shared.state.w_dec.value, features, values);
                dot_rows(slopes, &shared.state.w_dec.value, features, q);
                sums.aux_squared_error += reduce::sum_of_squares(q);
            }
        }
        if has_aux && shared.helped.dense {
            sums.aux_squared_error = dense.measure(shared.helped, views.errors, views.centred, views.aux, d);
        }
        let costly = if shared.options.rule == Rule::Gated { second } else { main };
        sums.penalty = penalty::apply(
            costly,
            shared.options.penalty,
            shared.plan.sparsity * f64::from(shared.penalty_scale),
            shared.plan.power,
        );
        sums.squares = reduce::sum_of_squares(x);
        let nested = views.nested.first().map(|m| &**m).unwrap_or_default();
        for (columns, matrix) in [
            (&mut sums.columns, x),
            (&mut sums.error_columns, &*views.errors),
            (&mut sums.second_columns, &*views.second),
            (&mut sums.nested_columns, nested),
        ] {
            columns.resize(d, 0.0);
            reduce::add_column_sums(columns, matrix);
        }
    }
}

/// A token's features, codes and slopes.
type Row<'a> = (&'a [u32], &'a [f32], &'a mut [f32]);

/// `error = v · W_dec − c`, `slopes = error · W_decᵀ` at the matches.
fn reconstruct(shared: &Shared<'_>, (features, values, slopes): Row<'_>, error: &mut [f32], c: &[f32]) {
    let w_dec = &shared.state.w_dec.value;
    error.iter_mut().zip(c).for_each(|(e, c)| *e = -c);
    add_rows(error, w_dec, features, values);
    dot_rows(slopes, w_dec, features, error);
}

/// The same for nested dictionaries. `error` becomes that of the largest, `nested[i]` the sum of those from the i-th on (there is one
/// less than dictionaries: the last sum is `error` itself). Returns the sum of all squares.
fn reconstruct_nested(
    shared: &Shared<'_>,
    (features, values, slopes): Row<'_>,
    error: &mut [f32],
    mut nested: Vec<&mut [f32]>,
    c: &[f32],
) -> f64 {
    let w_dec = &shared.state.w_dec.value;
    error.iter_mut().zip(c).for_each(|(e, c)| *e = -c);
    let (mut start, mut squares) = (0, 0.0);
    let mut ranges = Vec::with_capacity(shared.options.widths.len());
    for (level, &width) in shared.options.widths.iter().enumerate() {
        let end = features.partition_point(|&f| (f as usize) < width);
        add_rows(error, w_dec, &features[start..end], &values[start..end]);
        squares += reduce::sum_of_squares(error);
        if let Some(sum) = nested.get_mut(level) {
            sum.copy_from_slice(error);
        }
        ranges.push(start..end);
        start = end;
    }
    let mut after: &[f32] = error;
    for sum in nested.iter_mut().rev() {
        sum.iter_mut().zip(after).for_each(|(s, e)| *s += e);
        after = sum;
    }
    for (level, range) in ranges.into_iter().enumerate() {
        let seen = nested.get(level).map_or(&*error, |sum| &**sum);
        dot_rows(&mut slopes[range.clone()], w_dec, &features[range], seen);
    }
    squares
}

//! One correction of the codes (a LISTA step), forward and backward.
//!
//! With `S⁰` the pairs of the first guess, `z⁰` their pre-activations, and `S¹` those of the corrected input:
//!
//! ```text
//! r = c − Σ_{S⁰} z⁰ W_dec;   c¹ = c + η r;   z¹ = c¹ · W_encᵀ + b_enc      codes are z¹ on S¹
//! G = η Σ_{S¹} s W_enc,   h = −G · W_decᵀ on S⁰                            with s = ∂L/∂z¹
//! ∂L/∂W_enc = Σ_{S¹} s c¹ + Σ_{S⁰} h c        ∂L/∂b_enc = Σ_{S¹} s + Σ_{S⁰} h
//! ∂L/∂W_dec += Σ_{S⁰} −z⁰ G                   ∂L/∂c = Σ_{S¹} s W_enc + Σ_{S⁰} h W_enc + G
//! ```
//!
//! So the first guess is a second source of every gradient, with codes `−z⁰`, errors `G` and slopes `h`.

use rayon::prelude::*;

use super::aux::AuxFeatures;
use super::batch::CentredBatch;
use super::context::Context;
use super::errors::Errors;
use super::select::rows::FeatureRows;
use super::select::{self, ActivePairs, SearchMemory};
use crate::dictionary::refined;
use kernels::gather::{add_rows, dot_rows};
use kernels::{memory, reduce};

/// What a correction needs besides what every step has.
#[derive(Debug, Default)]
pub struct Refinement {
    /// The corrected input c¹; empty where nothing is corrected.
    pub batch: CentredBatch,
    pairs: ActivePairs,
    search: SearchMemory,
}

impl Refinement {
    /// Makes the first guess in `pairs` their second pairs, and what is selected of the corrected input their main ones.
    pub fn correct(
        &mut self,
        context: &Context<'_>,
        (rows, batch): (&FeatureRows, &CentredBatch),
        pairs: &mut ActivePairs,
    ) {
        self.batch.clear();
        let Some(step) = context.options.refine else { return };
        let (d, width) = (context.state.d, context.width());
        let w_dec = &context.state.w_dec.value;
        let centred = self.batch.begin_as(batch);
        centred.par_chunks_mut(width).zip(&pairs.chunks).for_each(|(rows, chunk)| {
            for (i, row) in rows.chunks_exact_mut(d).enumerate() {
                refined::shift(row, w_dec, chunk.main.codes.row(i), step);
            }
        });
        // Dead features have their loss from the input itself.
        select::select(
            context,
            rows,
            &self.batch,
            &AuxFeatures::default(),
            &mut self.search,
            &mut self.pairs,
        );
        for (chunk, corrected) in pairs.chunks.iter_mut().zip(&mut self.pairs.chunks) {
            std::mem::swap(&mut chunk.main, &mut chunk.second);
            std::mem::swap(&mut chunk.main, &mut corrected.main);
        }
        pairs.audit.add(&self.pairs.audit);
    }
}

/// Makes the second pairs, and the second errors, those of the first guess, once the slopes of the main pairs are known.
pub fn go_back(context: &Context<'_>, errors: &mut Errors, pairs: &mut ActivePairs) {
    let Some(step) = context.options.refine else { return };
    let (state, d) = (context.state, context.state.d);
    memory::resize(&mut errors.second, context.tokens * d, 0.0);
    let chunks = pairs.chunks.par_iter_mut().zip(errors.second.par_chunks_mut(context.width()));
    chunks.zip(&mut errors.sums).for_each(|((chunk, rows), sums)| {
        chunk.second.begin_slopes();
        for (i, row) in rows.chunks_exact_mut(d).enumerate() {
            row.fill(0.0);
            let (features, _, slopes) = chunk.main.row_mut(i);
            add_rows(row, &state.w_enc.value, features, slopes);
            row.iter_mut().for_each(|g| *g *= step);
            let (features, _, slopes) = chunk.second.row_mut(i);
            dot_rows(slopes, &state.w_dec.value, features, row);
            slopes.iter_mut().for_each(|slope| *slope = -*slope);
        }
        chunk.second.codes.values.iter_mut().for_each(|z| *z = -*z);
        sums.second_columns.clear();
        sums.second_columns.resize(d, 0.0);
        reduce::add_column_sums(&mut sums.second_columns, rows);
    });
}

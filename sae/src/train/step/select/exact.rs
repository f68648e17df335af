//! Active pairs from all pre-activations, a chunk of tokens at a time.

use rayon::prelude::*;

use super::memory::ThreadMemory;
use super::rows::PackedRows;
use super::{ActivePairs, ChunkPairs, SearchMemory};
use crate::dictionary::score::{Score, is_silent};
use crate::dictionary::{Codes, Shrunk, cosine};
use crate::train::step::aux::AuxFeatures;
use crate::train::step::batch::{CentredBatch, TokenRows, part};
use crate::train::step::context::Context;
use crate::train::step::options::Rule;
use kernels::best::{Best, Entry, SharedBest};

/// What the search in every chunk reads.
#[derive(Clone, Copy)]
struct ExactSearch<'a> {
    context: &'a Context<'a>,
    packed: &'a PackedRows,
    aux: &'a AuxFeatures,
    best: &'a SharedBest,
    /// Thresholds of JumpReLU, factors e^r of gates, α of cosine scores, `[F]`.
    exponentials: &'a [f32],
    /// How this step shrinks, and the z above which a code is above 0.
    shrunk: Option<(Shrunk, f32)>,
}

/// Makes the pairs that the rule wants active, and chooses those of the auxiliary loss.
pub fn select(
    context: &Context<'_>,
    packed: &PackedRows,
    batch: &CentredBatch,
    aux: &AuxFeatures,
    memory: &mut SearchMemory,
    pairs: &mut ActivePairs,
) {
    let (own, width) = (context.options.rule.own_parameters(), context.width());
    let SearchMemory { spare, best, exponentials, .. } = memory;
    exponentials.clear();
    if own > 0 {
        let of_feature = match context.options.rule {
            Rule::Cosine(_) => cosine::alpha,
            _ => f32::exp,
        };
        exponentials.extend(context.state.own.value.chunks_exact(own).map(|own| of_feature(own[0])));
    }
    best.restart(context.most_pairs());
    let shrunk = match context.plan.rule {
        Rule::Shrunk(end) => {
            // λ rises to that of the end.
            let now = Shrunk { lambda: context.plan.sparsity as f32, ..end };
            Some((now, now.threshold().max(0.0)))
        }
        _ => None,
    };
    let search = ExactSearch { context, packed, aux, best, exponentials, shrunk };
    pairs.chunks.par_iter_mut().enumerate().for_each(|(i, chunk)| {
        let tokens = batch.rows().part(i, width);
        spare.with(|memory| search.chunk(i * context.chunking.rows, tokens, chunk, memory));
    });
    if context.plan.rule.ranks_batch() {
        give_best(context, best, &mut pairs.chunks);
    }
}

/// Gives the best pairs of the batch to their tokens.
fn give_best(context: &Context<'_>, best: &mut SharedBest, chunks: &mut [ChunkPairs]) {
    let entries = best.finish();
    if context.options.multi.is_none() {
        return give(context, entries, chunks, |chunk| &mut chunk.main.codes);
    }
    give(context, entries, chunks, |chunk| &mut chunk.second.codes);
    let mut fewer = Best::default();
    fewer.narrow(entries, context.plan.per_batch(context.tokens, 1.0));
    give(context, fewer.finish(), chunks, |chunk| &mut chunk.main.codes);
}

/// Gives `entries`, which ascend, to their tokens, in the codes that `codes_of` names.
fn give(
    context: &Context<'_>,
    entries: &[Entry],
    chunks: &mut [ChunkPairs],
    codes_of: impl Fn(&mut ChunkPairs) -> &mut Codes,
) {
    let width = context.state.features as u64;
    let (mut at, mut row) = (0, (Vec::new(), Vec::new()));
    for token in 0..context.tokens {
        row.0.clear();
        row.1.clear();
        while let Some(entry) = entries.get(at).filter(|e| e.index / width == token as u64) {
            row.0.push((entry.index % width) as u32);
            row.1.push(entry.value);
            at += 1;
        }
        codes_of(&mut chunks[token / context.chunking.rows]).push_row(&row.0, &row.1);
    }
}

impl ExactSearch<'_> {
    /// All that a chunk's tokens, whose first is `first_row`, can decide; collects the best pairs where the batch decides.
    fn chunk(
        &self,
        first_row: usize,
        tokens: TokenRows<'_>,
        chunk: &mut ChunkPairs,
        memory: &mut ThreadMemory,
    ) {
        let Self { context: Context { state, plan, .. }, packed, best, .. } = self;
        let (d, features) = (state.d, state.features);
        packed.encoder.products(&mut memory.scores.products, tokens.centred, &state.w_enc.value, d);
        if !tokens.gradients.is_empty() {
            packed.decoder.products(&mut memory.scores.along, tokens.gradients, &state.w_dec.value, d);
        }
        best.begin(&mut memory.best, self.context.most_pairs());
        for row in 0..tokens.centred.len() / d {
            self.aux(row, chunk, memory);
            match plan.rule {
                rule if rule.ranks_batch() => {
                    self.score(row, tokens, memory);
                    let first = (first_row + row) as u64 * features as u64;
                    memory.best.take(&memory.scores.scores, &memory.scores.z, first);
                }
                Rule::Token | Rule::AbsToken | Rule::Cosine(_) => self.largest(row, tokens, chunk, memory),
                Rule::Block(blocks) => {
                    let (features, values) = memory.largest.of_blocks(
                        memory.scores.row(row, features),
                        &state.b_enc.value,
                        blocks,
                    );
                    chunk.main.codes.push_row(features, values);
                }
                Rule::Active | Rule::Jump { .. } | Rule::Gated | Rule::Shrunk(_) => {
                    self.above(row, chunk, memory);
                }
                Rule::Mutual | Rule::Feature | Rule::Pursuit => {}
            }
        }
        if plan.rule.ranks_batch() {
            best.merge(&mut memory.best);
        }
    }

    /// The features that have the auxiliary loss, of the products of token `row`.
    fn aux(&self, row: usize, chunk: &mut ChunkPairs, memory: &mut ThreadMemory) {
        let Self { context, aux, .. } = self;
        if !aux.used {
            return;
        }
        let products = memory.scores.row(row, context.state.features);
        let of_aux = aux.features.iter().map(|&f| products[f as usize]);
        match aux.dense {
            true => {
                chunk.dense.codes.extend(of_aux);
                chunk.dense.keep_best(row, &aux.bias, context.options.aux.k);
            }
            false => {
                memory.aux_products.clear();
                memory.aux_products.extend(of_aux);
                list_aux(context, aux, 0, chunk, memory);
            }
        }
    }

    /// Makes the scores of token `row` those that the rule ranks by, and z their codes.
    fn score(&self, row: usize, tokens: TokenRows<'_>, memory: &mut ThreadMemory) {
        let Context { state, options, plan, .. } = self.context;
        let (scores, bias) = (&mut memory.scores, &state.b_enc.value);
        match plan.rule {
            Rule::AbsToken => scores.magnitudes(row, bias),
            Rule::Cosine(_) => {
                let norm = cosine::norm(part(tokens.centred, row, state.d));
                scores.weigh(row, bias, self.exponentials, norm);
            }
            _ => {
                let silent = is_silent(tokens.gradient(row, state.d));
                scores.score(row, bias, options.score, silent);
            }
        }
    }

    /// The best features of token `row`; of a second reconstruction too.
    fn largest(&self, row: usize, tokens: TokenRows<'_>, chunk: &mut ChunkPairs, memory: &mut ThreadMemory) {
        let Context { state, options, plan, .. } = self.context;
        let bias = &state.b_enc.value;
        let plain = plan.rule == Rule::Token && options.score == Score::Plain;
        if !plain {
            self.score(row, tokens, memory);
        }
        let ThreadMemory { scores, largest, .. } = memory;
        for (pairs, k) in [&mut chunk.main, &mut chunk.second].into_iter().zip(self.context.levels()) {
            let Some(k) = k else { continue };
            let (features, values) = match plain {
                true => largest.of_sums(scores.row(row, state.features), bias, k),
                false => {
                    let (features, values) = largest.of(&scores.scores, k);
                    values.iter_mut().zip(&*features).for_each(|(value, &f)| *value = scores.z[f as usize]);
                    (features, values)
                }
            };
            pairs.codes.push_row(features, values);
        }
    }

    /// The features of token `row` that pass their threshold or gate.
    fn above(&self, row: usize, chunk: &mut ChunkPairs, memory: &mut ThreadMemory) {
        let state = self.context.state;
        let scores = &mut memory.scores;
        scores.add(row, &state.b_enc.value);
        let main = &mut chunk.main.codes;
        match self.context.plan.rule {
            Rule::Jump { bandwidth } => {
                for ((f, &z), &threshold) in (0..).zip(&scores.z).zip(self.exponentials) {
                    if z > threshold - 0.5 * bandwidth {
                        main.features.push(f);
                        // Not above, but near enough for the threshold to learn from it.
                        main.values.push(if z > threshold { z } else { 0.0 });
                    }
                }
            }
            Rule::Gated => {
                let gate = &mut chunk.second.codes;
                for (f, (&z, &product)) in scores.z.iter().zip(scores.row(row, state.features)).enumerate() {
                    if z > 0.0 {
                        gate.features.push(f as u32);
                        gate.values.push(z);
                        let magnitude = self.exponentials[f] * product + state.own.value[2 * f + 1];
                        if magnitude > 0.0 {
                            main.features.push(f as u32);
                            main.values.push(magnitude);
                        }
                    }
                }
                gate.offsets.push(gate.features.len());
            }
            Rule::Shrunk(_) => {
                if let Some((shrunk, threshold)) = self.shrunk {
                    for (f, &z) in (0..).zip(&scores.z) {
                        let code = if z > threshold { shrunk.code(z) } else { 0.0 };
                        if code > 0.0 {
                            main.features.push(f);
                            main.values.push(code);
                        }
                    }
                }
            }
            _ => {
                for (f, &z) in (0..).zip(&scores.z) {
                    if z > 0.0 {
                        main.features.push(f);
                        main.values.push(z);
                    }
                }
            }
        }
        main.offsets.push(main.features.len());
    }
}

/// The pairs of the auxiliary loss, where nothing else needs all pre-activations.
pub fn select_aux(
    context: &Context<'_>,
    batch: &CentredBatch,
    aux: &AuxFeatures,
    memory: &SearchMemory,
    pairs: &mut ActivePairs,
) {
    if !aux.used {
        return;
    }
    let (d, width) = (context.state.d, context.width());
    pairs.chunks.par_iter_mut().enumerate().for_each(|(i, chunk)| {
        let centred = batch.rows().part(i, width).centred;
        let rows = centred.len() / d;
        if aux.dense {
            chunk.dense.encode(aux, centred, d);
            (0..rows).for_each(|row| chunk.dense.keep_best(row, &aux.bias, context.options.aux.k));
            return;
        }
        memory.spare.with(|memory| {
            aux.packed_encoder.products(&mut memory.aux_products, centred, &aux.encoder, d);
            (0..rows).for_each(|row| list_aux(context, aux, row, chunk, memory));
        });
    });
}

/// The features of the auxiliary loss that token `row` of `memory.aux_products` uses.
fn list_aux(
    context: &Context<'_>,
    aux: &AuxFeatures,
    row: usize,
    chunk: &mut ChunkPairs,
    memory: &mut ThreadMemory,
) {
    let n = aux.features.len();
    let products = &memory.aux_products[row * n..(row + 1) * n];
    let (places, values) = memory.largest.of_sums(products, &aux.bias, context.options.aux.k);
    // Selected were places in the list of features that have the loss.
    places.iter_mut().for_each(|place| *place = aux.features[*place as usize]);
    chunk.aux.codes.push_row(places, values);
}

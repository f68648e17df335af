//! Memory of one thread while it searches active pairs.

use super::rows::{QuantisedRows, bias_without_gradient};
use crate::dictionary::allocation::blocks::Blocks;
use crate::dictionary::cosine;
use crate::dictionary::score::{Score, is_silent};
use crate::train::step::batch::TokenRows;
use kernels::best::Best;
use kernels::int8::tile::ROWS;
use kernels::int8::{Rows, Shortlist};
use kernels::topk;

/// All of it.
#[derive(Debug, Default)]
pub struct ThreadMemory {
    pub scores: ScoreMemory,
    pub largest: LargestMemory,
    pub candidates: CandidateMemory,
    /// The best pairs of a chunk, for mutual choice.
    pub best: Best,
    /// Products with the features that have the auxiliary loss, `[rows, ·]` or one row.
    pub aux_products: Vec<f32>,
    /// A row of active pairs: features, or tokens of feature choice.
    pub features: Vec<u32>,
    pub values: Vec<f32>,
}

/// Pre-activations and scores in `f32`.
#[derive(Debug, Default)]
pub struct ScoreMemory {
    /// `c · W_encᵀ`, `[rows, F]`.
    pub products: Vec<f32>,
    /// `ĝ · W_decᵀ`, `[rows, F]`; stale for plain scores.
    pub along: Vec<f32>,
    /// z of one row.
    pub z: Vec<f32>,
    /// Scores of one row.
    pub scores: Vec<f32>,
}

impl ScoreMemory {
    /// Makes `z` and `scores` those of row `row` of the products, a token without gradient if `silent`.
    pub fn score(&mut self, row: usize, bias: &[f32], score: Score, silent: bool) {
        self.add(row, bias);
        let range = row * bias.len()..(row + 1) * bias.len();
        score.weigh(&mut self.scores, &self.z, self.along.get(range).unwrap_or_default(), silent);
    }

    /// Makes `scores` those between cosine and inner product of row `row`, whose norm is `norm`, and `z` their codes.
    pub fn weigh(&mut self, row: usize, bias: &[f32], alpha: &[f32], norm: f32) {
        let products = &self.products[row * bias.len()..(row + 1) * bias.len()];
        cosine::weigh(products, bias, alpha, norm, (&mut self.z, &mut self.scores));
    }

    /// Makes `z` those of row `row`, and `scores` their magnitudes.
    pub fn magnitudes(&mut self, row: usize, bias: &[f32]) {
        self.add(row, bias);
        self.scores.clear();
        self.scores.extend(self.z.iter().map(|z| z.abs()));
    }

    /// Makes `z` row `row` of the products and `bias`.
    pub fn add(&mut self, row: usize, bias: &[f32]) {
        let products = &self.products[row * bias.len()..(row + 1) * bias.len()];
        self.z.clear();
        self.z.extend(products.iter().zip(bias).map(|(p, b)| p + b));
    }

    /// Row `row` of the products with `features` features.
    pub fn row(&self, row: usize, features: usize) -> &[f32] {
        &self.products[row * features..(row + 1) * features]
    }
}

/// For the k largest of a row.
#[derive(Debug, Default)]
pub struct LargestMemory {
    zeros: Vec<f32>,
    candidates: topk::Candidates,
    places: Vec<u32>,
    values: Vec<f32>,
}

impl LargestMemory {
    /// The `k` largest positive of `scores`: places, ascending, and values.
    pub fn of(&mut self, scores: &[f32], k: usize) -> (&mut [u32], &mut [f32]) {
        self.zeros.resize(scores.len().max(self.zeros.len()), 0.0);
        self.places.resize(k.max(self.places.len()), 0);
        self.values.resize(k.max(self.values.len()), 0.0);
        let Self { zeros, candidates, places, values } = self;
        let n = topk::select(scores, zeros, k, candidates, places, values);
        (&mut places[..n], &mut values[..n])
    }

    /// The same of `products + bias`.
    pub fn of_sums(&mut self, products: &[f32], bias: &[f32], k: usize) -> (&mut [u32], &mut [f32]) {
        self.places.resize(k.max(self.places.len()), 0);
        self.values.resize(k.max(self.values.len()), 0.0);
        let Self { candidates, places, values, .. } = self;
        let n = topk::select(products, bias, k, candidates, places, values);
        (&mut places[..n], &mut values[..n])
    }
}

impl LargestMemory {
    /// The winners of each block of `products + bias`: features, ascending, and values.
    pub fn of_blocks(&mut self, products: &[f32], bias: &[f32], blocks: Blocks) -> (&mut [u32], &mut [f32]) {
        self.places.resize(blocks.k.max(self.places.len()), 0);
        self.values.resize(blocks.k.max(self.values.len()), 0.0);
        let Self { candidates, places, values, .. } = self;
        let n = blocks.select(products, bias, candidates, places, values);
        (&mut places[..n], &mut values[..n])
    }
}

/// For the search in 8 bits.
#[derive(Debug, Default)]
pub struct CandidateMemory {
    /// Centred activations; of feature choice, encoder rows.
    pub rows: Rows,
    /// ĝ; of feature choice, decoder rows.
    pub along_rows: Rows,
    pub shortlist: Shortlist,
    pub listed: Vec<u32>,
    /// Pre-activations of those that are listed.
    pub z: Vec<f32>,
    /// Their W_dec ĝ.
    pub along: Vec<f32>,
    /// What they are worth.
    pub scores: Vec<f32>,
}

impl CandidateMemory {
    /// Makes the rows those of `tokens`.
    pub fn set_tokens(&mut self, features: &QuantisedRows, tokens: TokenRows<'_>) {
        self.rows.set(tokens.centred, &features.encoder.fold, ROWS);
        if let Some(decoder) = &features.decoder {
            let d = decoder.fold.width();
            self.along_rows.set(tokens.gradients, &decoder.fold, ROWS);
            let gradients = tokens.gradients.chunks_exact(d);
            self.along_rows.set_biases(gradients.map(|g| bias_without_gradient(is_silent(g))));
        }
    }
}

//! Backward pass: gradients of every parameter, made feature by feature when they are asked for. No gradient matrix is ever stored.

use super::aux::AuxFeatures;
use super::aux::dense::{self, AuxGradient};
use super::batch::CentredBatch;
use super::errors::Errors;
use super::loss::Scales;
use super::options::{Penalty, Plan, Rule, StepOptions};
use super::pursuit::Pursuit;
use super::select::{ActivePairs, ChunkPairs};
use crate::dictionary::cosine;
use crate::train::pairs::{Pairs, PairsByFeature};
use kernels::encode::products;
use kernels::feature::{self, EncoderGradient, Source};
use kernels::gather::add_rows;
use kernels::reduce;
use kernels::turn::turn;
use kernels::wide::dot;
use rayon::prelude::*;

/// Rows of a skip connection that one task makes.
const SKIP_ROWS: usize = 64;

/// Active pairs by feature, codes and slopes times the constants of their reconstructions.
#[derive(Debug, Default)]
pub struct FeaturePairs {
    pub main: PairsByFeature,
    second: PairsByFeature,
    aux: PairsByFeature,
    /// Of the features that have the auxiliary loss, where it is computed by dense products; empty where there is none.
    pub dense: Vec<AuxGradient>,
}

/// All that gradients are made of.
#[derive(Debug, Clone, Copy)]
pub struct Gradients<'a> {
    pub options: &'a StepOptions,
    pub plan: Plan,
    /// Tokens of the batch, B.
    pub tokens: usize,
    /// Width of what is encoded.
    pub d: usize,
    /// Width of what is reconstructed.
    pub d_out: usize,
    pub batch: &'a CentredBatch,
    /// What the main codes were encoded from, where that is a corrected input; else empty.
    pub refined: &'a CentredBatch,
    /// Steps of matching pursuit.
    pub pursuit: &'a Pursuit,
    pub errors: &'a Errors,
    pub aux: &'a AuxFeatures,
    pub pairs: &'a FeaturePairs,
    pub scales: Scales,
}

/// Gradients of what a feature has besides its decoder row, and memory to make them.
#[derive(Debug, Default)]
pub struct EncoderGradients {
    pub encoder: EncoderGradient,
    /// Of the parameters that only some rules have.
    pub own: [f32; 2],
    /// What else the decoder's bias is to blame for, by the norm of what is encoded, `[d]`; empty for most rules.
    pub by_norm: Vec<f32>,
    slopes: Vec<f32>,
}

impl FeaturePairs {
    /// Groups `pairs` by feature; `features` of them in all, in chunks of `chunk_rows` tokens. `widths` are those of what is encoded and what
    /// is reconstructed.
    pub fn set(
        &mut self,
        (features, chunk_rows): (usize, usize),
        widths: (usize, usize),
        pairs: &ActivePairs,
        batch: &CentredBatch,
        errors: &Errors,
        aux: &AuxFeatures,
        scales: Scales,
    ) {
        let chunks =
            |pairs_of: fn(&ChunkPairs) -> &Pairs| pairs.chunks.iter().map(pairs_of).collect::<Vec<_>>();
        self.main.collect(&chunks(|c| &c.main), chunk_rows, features, scales.main as f32);
        self.second.clear();
        if !errors.second.is_empty() {
            self.second.collect(&chunks(|c| &c.second), chunk_rows, features, scales.second as f32);
        }
        self.aux.clear();
        if !aux.dense {
            // Lists need the memory.
            self.dense = Vec::new();
        }
        self.dense.clear();
        match (scales.aux.map(|scale| scale as f32), aux.dense) {
            (Some(scale), true) => {
                let chunks: Vec<_> = pairs.chunks.iter().map(|chunk| &chunk.dense).collect();
                dense::set_gradients(&mut self.dense, aux, &chunks, batch, &errors.aux, scale, widths);
            }
            (Some(scale), false) => self.aux.collect(&chunks(|c| &c.aux), chunk_rows, features, scale),
            (None, _) => {}
        }
    }
}

impl Gradients<'_> {
    /// ∂L/∂b_dec through decoding: `2/B Σ_b e_b` over all reconstructions that are not frozen.
    pub fn b_dec(&self) -> Vec<f64> {
        if self.options.rule == Rule::Pursuit {
            let bias = self.pursuit.bias(self.d_out);
            return bias.into_iter().map(|g| g * self.scales.main).collect();
        }
        let (mut sums, mut second) = (vec![0.0; self.d_out], vec![0.0; self.d_out]);
        let otherwise = self.errors.blames_otherwise(self.options);
        for chunk in &self.errors.sums {
            reduce::add(&mut sums, if otherwise { &chunk.blamed_columns } else { &chunk.error_columns });
            reduce::add(&mut second, &chunk.second_columns);
        }
        sums.iter_mut().for_each(|s| *s *= self.scales.main);
        let second_scale = match self.options.rule {
            // Held constant.
            Rule::Gated => 0.0,
            // The bias is subtracted from the input that was corrected.
            _ if self.options.refine.is_some() => -self.scales.second,
            _ => self.scales.second,
        };
        sums.iter_mut().zip(second).for_each(|(s, second)| *s += second_scale * second);
        sums
    }

    /// ∂L/∂W_skip, `[d_out, d]`: `Σ_b (∂L/∂x̂_b)ᵀ x_b` over all reconstructions. The residual of the auxiliary loss counts as constant.
    pub fn skip(&self) -> Vec<f32> {
        let (d, d_out, n) = (self.d, self.d_out, self.tokens);
        let main = self.errors.nested.first().unwrap_or(&self.errors.main);
        let mut sum = vec![0.0; d_out * d];
        let x = columns(self.batch.rows().centred, d);
        for (errors, scale) in [(main, self.scales.main), (&self.errors.second, self.scales.second)] {
            if errors.is_empty() {
                continue;
            }
            let errors = columns(errors, d_out);
            let rows = sum.par_chunks_mut(SKIP_ROWS * d).zip(errors.par_chunks(SKIP_ROWS * n));
            rows.for_each_init(Vec::new, |part, (sum, errors)| {
                products(part, errors, &x, n);
                sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += scale as f32 * *part);
            });
        }
        sum
    }

    /// ∂L/∂W_dec of feature `f`.
    pub fn decoder(&self, f: usize, out: &mut Vec<f32>) {
        let Self { errors, pairs, .. } = self;
        if self.options.rule == Rule::Pursuit {
            return feature::decoder_gradient(out, self.d_out, &self.pursuit.sources(f));
        }
        let main = pairs.main.source(f, errors.of_feature(f), &[]);
        let mut second = pairs.second.source(f, &errors.second, &[]);
        let aux = pairs.aux.source(f, &errors.aux, &[]);
        if self.options.rule == Rule::Gated {
            // The decoder is held constant where the gate's codes are decoded.
            second.codes = &[];
        }
        feature::decoder_gradient(out, self.d_out, &[main, second, aux]);
        if let Some(aux) = self.dense_aux(f) {
            out.iter_mut().zip(&aux.decoder).for_each(|(g, aux)| *g += aux);
        }
    }

    /// Adds to `out`, ∂L/∂W_dec of feature `f`, what goes through its encoder row `e = d + v`, v at right angles to d: with g = ∂L/∂e,
    /// `g − (g·d) v`. The encoder's gradient is left in `encoder`.
    pub fn through_encoder(
        &self,
        f: usize,
        (e, d): (&[f32], &[f32]),
        own: (f32, &[f32]),
        encoder: &mut EncoderGradients,
        out: &mut [f32],
    ) {
        self.encoder(f, own, encoder);
        let along = dot(&encoder.encoder.row, d) as f32;
        for (((out, g), e), d) in out.iter_mut().zip(&encoder.encoder.row).zip(e).zip(d) {
            *out += g - along * (e - d);
        }
    }

    /// The other gradients of feature `f`, whose bias is `bias` and whose own parameters are `own`.
    pub fn encoder(&self, f: usize, (bias, own): (f32, &[f32]), out: &mut EncoderGradients) {
        let (d, pairs, centred) = (self.d, self.pairs, self.batch.rows().centred);
        let corrected = self.refined.rows().centred;
        let mut main = pairs.main.source(f, &[], if corrected.is_empty() { centred } else { corrected });
        let second = pairs.second.source(f, &[], centred);
        let aux = pairs.aux.source(f, &[], centred);
        let EncoderGradients { encoder, own: own_gradient, by_norm, slopes } = out;
        *own_gradient = [0.0; 2];
        by_norm.clear();
        slopes.clear();
        match self.options.rule {
            Rule::Jump { bandwidth } => {
                own_gradient[0] = self.threshold(&main, own, bandwidth);
                let below = |(code, slope): (&f32, &f32)| if *code > 0.0 { *slope } else { 0.0 };
                slopes.extend(main.codes.iter().zip(main.slopes).map(below));
                main.slopes = slopes;
                encoder.collect(d, &[main, second, aux]);
            }
            Rule::Gated => {
                let (factor, bias) = (own[0].exp(), own[1]);
                let scale = self.scales.main as f32;
                // v = e^r·u + b: its derivative by r is e^r·u = v − b.
                let by_r = |(code, slope): (&f32, &f32)| slope * (code / scale - bias);
                own_gradient[0] = main.codes.iter().zip(main.slopes).map(by_r).sum();
                own_gradient[1] = main.slopes.iter().sum();
                slopes.extend(main.slopes.iter().map(|s| s * factor));
                main.slopes = slopes;
                encoder.collect(d, &[main, second, aux]);
                encoder.bias = second.slopes.iter().chain(aux.slopes).sum();
            }
            Rule::Cosine(_) => {
                encoder.collect(d, &[main, second, aux]);
                let slopes = self.by_norms(&main, (bias, own[0]), by_norm);
                encoder.bias = slopes[0] + aux.slopes.iter().sum::<f32>();
                own_gradient[0] = slopes[1];
            }
            // The encoder is the decoder.
            Rule::Pursuit => encoder.collect(d, &[]),
            _ => encoder.collect(d, &[main, second, aux]),
        }
        if let Some(aux) = self.dense_aux(f) {
            encoder.row.iter_mut().zip(&aux.encoder).for_each(|(g, aux)| *g += aux);
            encoder.bias += aux.bias;
            encoder.input += aux.bias;
        }
    }

    /// ∂L/∂log θ by straight-through estimation (Rajamanoharan et al. 2024): with K the box of width ε,
    /// `∂v/∂θ = −θ/ε·K((z−θ)/ε)` and `∂[z>θ]/∂θ = −1/ε·K((z−θ)/ε)`.
    fn threshold(&self, main: &Source<'_>, own: &[f32], bandwidth: f32) -> f32 {
        let threshold = own[0].exp();
        let scale = self.scales.main as f32;
        let count = match self.options.penalty {
            Penalty::Count => self.plan.sparsity / self.tokens as f64,
            _ => 0.0,
        };
        let mut sum = 0.0;
        for (code, slope) in main.codes.iter().zip(main.slopes) {
            // Those with the code 0 were kept because they are in the box.
            if code / scale < threshold + 0.5 * bandwidth {
                sum -= (threshold * slope + count as f32) / bandwidth;
            }
        }
        threshold * sum
    }

    /// Of codes `v = x̄·ê + b·r^(1−α)`, r = ‖x̄‖: ∂L/∂b and ∂L/∂θ of a feature with these `pairs`, and `Σ s ∂(b·r^(1−α))/∂x̄` in `by_norm`:
    /// with `w = r^(1−α)`, `∂v/∂b = w`, `∂v/∂θ = −b·w·ln r·α(1−α)` and `∂(b·w)/∂x̄ = b(1−α)·w/r²·x̄`.
    fn by_norms(&self, pairs: &Source<'_>, (bias, theta): (f32, f32), by_norm: &mut Vec<f32>) -> [f32; 2] {
        let (alpha, norms) = (cosine::alpha(theta), self.batch.norms());
        let (mut of_bias, mut of_theta) = (0.0, 0.0);
        let mut shares = Vec::with_capacity(pairs.tokens.len());
        for (&token, &slope) in pairs.tokens.iter().zip(pairs.slopes) {
            let norm = norms[token as usize];
            let share = slope * ((1.0 - alpha) * norm.ln()).exp();
            of_bias += share;
            of_theta -= share * bias * norm.ln() * alpha * (1.0 - alpha);
            shares.push(share * bias * (1.0 - alpha) / (norm * norm));
        }
        by_norm.resize(self.d, 0.0);
        add_rows(by_norm, pairs.centred, pairs.tokens, &shares);
        [of_bias, of_theta]
    }

    /// ∂L/∂θ of a feature whose bias and θ are given, alone.
    pub fn theta(&self, f: usize, bias: f32, theta: f32) -> f32 {
        let centred = self.batch.rows().centred;
        self.by_norms(&self.pairs.main.source(f, &[], centred), (bias, theta), &mut Vec::new())[1]
    }

    /// What the auxiliary loss adds to the gradients of feature `f`, where it is computed by dense products.
    fn dense_aux(&self, f: usize) -> Option<&AuxGradient> {
        if !self.aux.dense || self.pairs.dense.is_empty() {
            return None;
        }
        let place = self.aux.features.binary_search(&(f as u32)).ok()?;
        self.pairs.dense.get(place)
    }
}

/// `[n, d]` as `[d, n]`.
fn columns(rows: &[f32], d: usize) -> Vec<f32> {
    let (n, mut columns) = (rows.len() / d, vec![0.0; rows.len()]);
    turn(rows, d, (n, d), &mut columns, n);
    columns
}

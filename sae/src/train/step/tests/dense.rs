//! The loss of every method written down densely, in double precision, from its definition: twice, in plain loops and in candle's
//! tensors. Active pairs are found by sorting all scores. Shares no code with what it checks.

use std::ops::Range;

use candle_core::{DType, Device, Result, Tensor, Var};

use super::{B, D, F, Tokens};
use crate::dictionary::score::{GradientNorm, Score};
use crate::train::state::TrainState;
use crate::train::step::options::{CosineRule, Penalty, Rule};
use crate::train::step::{StepOptions, penalty};
use kernels::shrink::Shrinkage;

/// W_enc `[F, D]`, b_enc `[F]`, W_dec `[F, D]`, b_dec `[D]`, own `[F, n]`, W_skip `[D, D]` or nothing.
pub(super) type Numbers = [Vec<f64>; 6];

pub(super) const NAMES: [&str; 6] = ["W_enc", "b_enc", "W_dec", "b_dec", "own", "W_skip"];

/// Which pairs are active, `[B, F]`.
type Mask = Vec<bool>;

/// A loss with its active pairs, and everything that counts as constant, taken from the parameters it was made with.
pub(super) struct Dense {
    options: StepOptions,
    x: Vec<f64>,
    /// What a transcoder reconstructs; empty where that is `x`.
    targets: Vec<f64>,
    base: Numbers,
    pub(super) main: Mask,
    /// Of the first guess, where codes are corrected.
    first: Mask,
    /// Features in the order in which each token takes them, where they are pursued.
    taken: Vec<Vec<usize>>,
    second: Mask,
    aux: Mask,
    /// What is left of what is reconstructed, `[B, D]`.
    residual: Vec<f64>,
    power_scale: f64,
    /// Place of each feature among the nested dictionaries, `[F]`.
    places: Vec<usize>,
    /// What each row counts for, 1 on average.
    weights: Vec<f64>,
}

fn doubles(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&v| f64::from(v)).collect()
}

/// Places of the `k` largest positive among `allowed`, ties to the lower.
fn best(scores: &[(usize, f64)], k: usize) -> Vec<usize> {
    let mut order: Vec<(usize, f64)> = scores.iter().copied().filter(|(_, s)| *s > 0.0).collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    order.into_iter().take(k).map(|(i, _)| i).collect()
}

/// Place of each feature: its number, or how many fire more often (of equals, those with lower numbers).
fn places(options: &StepOptions, rates: &[f32]) -> Vec<usize> {
    let before =
        |f: usize| (0..F).filter(|&g| rates[g] > rates[f] || (rates[g] == rates[f] && g < f)).count();
    (0..F).map(|f| if options.sorted_widths { before(f) } else { f }).collect()
}

/// Penalties as their papers write them, for v > 0.
fn g(kind: Shrinkage, v: f64, lambda: f64) -> f64 {
    match kind {
        Shrinkage::Soft => lambda * v,
        Shrinkage::Hard => lambda,
        Shrinkage::Half => lambda * v.powf(0.5),
        Shrinkage::Firm if v < (2.0 * lambda).sqrt() => lambda - ((2.0 * lambda).sqrt() - v).powi(2) / 2.0,
        Shrinkage::Firm => lambda,
        Shrinkage::LogSum => lambda * (1.0 + v / 0.5).ln(),
    }
}

/// The minimum of ½(v − z)² + ½ g(v) over v between 0 and z, on a grid.
fn argmin(kind: Shrinkage, z: f64, lambda: f64) -> f64 {
    let objective = |v: f64| 0.5 * (v - z).powi(2) + if v > 0.0 { 0.5 * g(kind, v, lambda) } else { 0.0 };
    let points = (0..=8000).map(|i| f64::from(i) / 8000.0 * z.max(0.0));
    points.min_by(|a, b| objective(*a).total_cmp(&objective(*b))).unwrap()
}

/// The local minimum above 0: v = z − ½ g′(v), again and again.
fn shrink(kind: Shrinkage, z: f64, lambda: f64) -> f64 {
    let mut v = z;
    for _ in 0..400 {
        v = z - 0.5
            * match kind {
                Shrinkage::Soft => lambda,
                Shrinkage::Hard => 0.0,
                Shrinkage::Half => lambda / 2.0 / v.sqrt(),
                Shrinkage::Firm => ((2.0 * lambda).sqrt() - v).max(0.0),
                Shrinkage::LogSum => lambda / (v + 0.5),
            };
    }
    v
}

/// The same in tensors, so that it is differentiated through its steps; `z` is above the threshold everywhere.
fn shrink_tensor(kind: Shrinkage, z: &Tensor, lambda: f64) -> Result<Tensor> {
    let mut v = z.clone();
    for _ in 0..100 {
        let slope = match kind {
            Shrinkage::Soft => z.ones_like()?.affine(lambda, 0.0)?,
            Shrinkage::Hard => z.zeros_like()?,
            Shrinkage::Half => v.sqrt()?.recip()?.affine(lambda / 2.0, 0.0)?,
            Shrinkage::Firm => v.affine(-1.0, (2.0 * lambda).sqrt())?.relu()?,
            Shrinkage::LogSum => v.affine(1.0, 0.5)?.recip()?.affine(lambda, 0.0)?,
        };
        v = z.sub(&slope.affine(0.5, 0.0)?)?;
    }
    Ok(v)
}

/// Penalties in tensors, for v > 0.
fn g_tensor(kind: Shrinkage, v: &Tensor, lambda: f64) -> Result<Tensor> {
    match kind {
        Shrinkage::Soft => v.affine(lambda, 0.0),
        Shrinkage::Hard => v.ones_like()?.affine(lambda, 0.0),
        Shrinkage::Half => v.sqrt()?.affine(lambda, 0.0),
        Shrinkage::Firm => v.affine(-1.0, (2.0 * lambda).sqrt())?.relu()?.sqr()?.affine(-0.5, lambda),
        Shrinkage::LogSum => v.affine(2.0, 1.0)?.log()?.affine(lambda, 0.0),
    }
}

impl Dense {
    /// The loss of `options` at `state`, for a batch of B tokens.
    pub(super) fn new(options: &StepOptions, state: &TrainState, tokens: Tokens<'_>) -> Self {
        let Tokens { x, gradients: g, targets } = tokens;
        let parameters = [&state.w_enc, &state.b_enc, &state.w_dec, &state.b_dec, &state.own, &state.skip];
        let mut dense = Self {
            options: options.clone(),
            x: doubles(x),
            targets: doubles(targets),
            base: parameters.map(|p| doubles(&p.value)),
            main: vec![false; B * F],
            first: vec![false; B * F],
            taken: Vec::new(),
            second: vec![false; B * F],
            aux: vec![false; B * F],
            residual: vec![0.0; B * D],
            power_scale: f64::from(state.penalty_scale),
            places: places(options, &state.rates),
            weights: vec![1.0; B],
        };
        let z = dense.pre_activations(&dense.base);
        let scores = dense.scores(&z, &doubles(g));
        dense.match_all(&z, &scores, state);
        if dense.options.refine.is_some() {
            dense.first = std::mem::replace(&mut dense.main, vec![false; B * F]);
            let corrected = dense.encoded(&dense.base);
            dense.match_all(&corrected, &corrected, state);
        }
        let v = dense.codes_of(&dense.base);
        dense.residual = dense.errors(&v, &dense.base, 0..F).iter().map(|e| -e).collect();
        dense.weights = dense.row_weights();
        dense.help(&z, state);
        dense
    }

    /// Numbers of all parameters.
    pub(super) fn base(&self) -> &Numbers {
        &self.base
    }

    fn pre_activations(&self, [w_enc, b_enc, _, b_dec, _, _]: &Numbers) -> Vec<f64> {
        let mut z = vec![0.0; B * F];
        let bias = |c: usize| if self.targets.is_empty() { b_dec[c] } else { 0.0 };
        for (i, z) in z.iter_mut().enumerate() {
            let (b, f) = (i / F, i % F);
            *z = b_enc[f] + (0..D).map(|c| (self.x[b * D + c] - bias(c)) * w_enc[f * D + c]).sum::<f64>();
        }
        z
    }

    /// What is encoded, x̄.
    fn centred(&self, p: &Numbers, b: usize) -> Vec<f64> {
        let bias = |c: usize| if self.targets.is_empty() { p[3][c] } else { 0.0 };
        (0..D).map(|c| self.x[b * D + c] - bias(c)).collect()
    }

    /// What codes are made of: pre-activations, those of a corrected input, or values between cosine and inner product.
    fn encoded(&self, p: &Numbers) -> Vec<f64> {
        let mut z = self.pre_activations(p);
        if let Rule::Cosine(_) = self.options.rule {
            for (i, z) in z.iter_mut().enumerate() {
                let norm = self.centred(p, i / F).iter().map(|c| c * c).sum::<f64>().sqrt();
                let alpha = 1.0 / (1.0 + (-p[4][i % F]).exp());
                *z += p[1][i % F] * (norm.powf(1.0 - alpha) - 1.0);
            }
        }
        let Some(step) = self.options.refine.map(f64::from) else { return z };
        let guess = Self::masked(&self.first, &z);
        let mut corrected = vec![0.0; B * F];
        for b in 0..B {
            let mut x = self.centred(p, b);
            for (c, x) in x.iter_mut().enumerate() {
                let made: f64 = (0..F).map(|f| guess[b * F + f] * p[2][f * D + c]).sum();
                *x += step * (*x - made);
            }
            for f in 0..F {
                corrected[b * F + f] = p[1][f] + (0..D).map(|c| x[c] * p[0][f * D + c]).sum::<f64>();
            }
        }
        corrected
    }

    fn codes_of(&self, p: &Numbers) -> Vec<f64> {
        self.codes(p, &self.encoded(p))
    }

    /// Takes features from each token, one at a time, as long as there is one with a positive product.
    fn pursue(&mut self, k: usize) {
        for b in 0..B {
            let (mut residual, mut taken) = (self.centred(&self.base, b), Vec::new());
            while taken.len() < k {
                let product = |f: usize| (0..D).map(|c| residual[c] * self.base[2][f * D + c]).sum::<f64>();
                let Some(best) = (0..F).max_by(|&f, &g| product(f).total_cmp(&product(g))) else { break };
                let value = product(best);
                if value <= 0.0 {
                    break;
                }
                (0..D).for_each(|c| residual[c] -= value * self.base[2][best * D + c]);
                let again = taken.contains(&best);
                taken.push(best);
                self.main[b * F + best] = true;
                if again || residual.iter().map(|r| r * r).sum::<f64>() < 1e-4 {
                    break;
                }
            }
            self.taken.push(taken);
        }
    }

    fn wanted(&self) -> &[f64] {
        if self.targets.is_empty() { &self.x } else { &self.targets }
    }

    fn scores(&self, z: &[f64], g: &[f64]) -> Vec<f64> {
        if let Rule::Cosine(_) = self.options.rule {
            let values = self.encoded(&self.base);
            let score = |(i, value): (usize, &f64)| {
                let norm = self.centred(&self.base, i / F).iter().map(|c| c * c).sum::<f64>().sqrt();
                let alpha = 1.0 / (1.0 + (-self.base[4][i % F]).exp());
                value * norm.powf(alpha - 1.0)
            };
            return values.iter().enumerate().map(score).collect();
        }
        let Score::Gradient { lambda, beta, norm } = self.options.score else { return z.to_vec() };
        let square = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>();
        let batch = (square(g) / B as f64).sqrt();
        let score = |(i, z): (usize, &f64)| {
            let (b, f) = (i / F, i % F);
            let g = &g[b * D..(b + 1) * D];
            let size = if norm == GradientNorm::Token { square(g).sqrt() } else { batch };
            let along = if square(g) == 0.0 {
                1.0
            } else {
                (0..D).map(|c| self.base[2][f * D + c] * g[c]).sum::<f64>().abs() * (D as f64).sqrt() / size
            };
            z.max(0.0) * (f64::from(lambda) + f64::from(beta) * along)
        };
        z.iter().enumerate().map(score).collect()
    }

    fn match_all(&mut self, z: &[f64], scores: &[f64], state: &TrainState) {
        let plan = self.options.plan(state.step + 1);
        let k = plan.k;
        let all: Vec<(usize, f64)> = scores.iter().copied().enumerate().collect();
        let multiple = self.options.multi.map(|m| m.multiple);
        match plan.rule {
            Rule::Pursuit => self.pursue(k as usize),
            Rule::Token | Rule::Cosine(CosineRule { of_batch: false, .. }) => {
                for row in all.chunks(F) {
                    best(row, k as usize).into_iter().for_each(|i| self.main[i] = true);
                    let more = multiple.map_or(0, |m| (k * m) as usize);
                    best(row, more).into_iter().for_each(|i| self.second[i] = true);
                }
            }
            Rule::AbsToken => {
                let sizes: Vec<(usize, f64)> = scores.iter().map(|z| z.abs()).enumerate().collect();
                for row in sizes.chunks(F) {
                    best(row, k as usize).into_iter().for_each(|i| self.main[i] = true);
                    let more = multiple.map_or(0, |m| (k * m) as usize);
                    best(row, more).into_iter().for_each(|i| self.second[i] = true);
                }
            }
            Rule::Block(blocks) => {
                for block in all.chunks(F / blocks.count) {
                    best(block, blocks.k / blocks.count).into_iter().for_each(|i| self.main[i] = true);
                }
            }
            Rule::Mutual | Rule::Cosine(_) => {
                best(&all, (k * B as f64).round() as usize).into_iter().for_each(|i| self.main[i] = true);
                let more = multiple.map_or(0, |m| (k * m * B as f64).round() as usize);
                best(&all, more).into_iter().for_each(|i| self.second[i] = true);
            }
            Rule::Feature => {
                for (f, &m) in state.budgets.iter().enumerate() {
                    let column: Vec<_> = all.iter().copied().filter(|(i, _)| i % F == f).collect();
                    best(&column, m as usize).into_iter().for_each(|i| self.main[i] = true);
                }
            }
            // What a shrinkage's code must be above: in the tests' cases a code is never between 0 and this.
            Rule::Shrunk(shrunk) => {
                for (i, m) in self.main.iter_mut().enumerate() {
                    *m = argmin(shrunk.kind, z[i], f64::from(shrunk.lambda)) > 0.0;
                }
            }
            Rule::Active => self.main.iter_mut().zip(z).for_each(|(m, z)| *m = *z > 0.0),
            Rule::Jump { .. } => {
                for (i, m) in self.main.iter_mut().enumerate() {
                    *m = z[i] > self.base[4][i % F].exp();
                }
            }
            Rule::Gated => {
                for (i, &z) in z.iter().enumerate() {
                    let (f, b_enc) = (i % F, &self.base[1]);
                    self.second[i] = z > 0.0;
                    let own = &self.base[4][2 * f..2 * f + 2];
                    self.main[i] = z > 0.0 && own[0].exp() * (z - b_enc[f]) + own[1] > 0.0;
                }
            }
        }
    }

    fn help(&mut self, z: &[f64], state: &TrainState) {
        let aux = self.options.aux;
        let helped = |f: usize| {
            let low = aux.zipf.is_some_and(|(_, rho)| {
                let seen = 1.0 - (1.0 - self.options.rate_share(B as u64)).powf(state.step as f64);
                f64::from(state.rates[f]) / seen < rho * f64::from(state.expected_rates[f])
            });
            low || state.since_fired[f] >= self.options.dead_after
        };
        if aux.coefficient > 0.0 {
            for b in 0..B {
                let row: Vec<_> = (0..F).filter(|&f| helped(f)).map(|f| (b * F + f, z[b * F + f])).collect();
                best(&row, aux.k).into_iter().for_each(|i| self.aux[i] = true);
            }
        }
    }

    fn codes(&self, p: &Numbers, z: &[f64]) -> Vec<f64> {
        if self.options.rule == Rule::Pursuit {
            let mut codes = vec![0.0; B * F];
            for (b, taken) in self.taken.iter().enumerate() {
                let mut residual = self.centred(p, b);
                for &f in taken {
                    let value = (0..D).map(|c| residual[c] * p[2][f * D + c]).sum::<f64>();
                    (0..D).for_each(|c| residual[c] -= value * p[2][f * D + c]);
                    codes[b * F + f] += value;
                }
            }
            return codes;
        }
        let code = |i: usize| match self.options.rule {
            _ if !self.main[i] => 0.0,
            Rule::Shrunk(shrunk) => shrink(shrunk.kind, z[i], f64::from(shrunk.lambda)),
            Rule::Gated => p[4][2 * (i % F)].exp() * (z[i] - p[1][i % F]) + p[4][2 * (i % F) + 1],
            _ => z[i],
        };
        (0..B * F).map(code).collect()
    }

    /// Errors of the reconstruction from the codes of the features whose places are in `range`.
    fn errors(&self, v: &[f64], [_, _, w_dec, b_dec, _, skip]: &Numbers, range: Range<usize>) -> Vec<f64> {
        let mut errors = vec![0.0; B * D];
        for (i, e) in errors.iter_mut().enumerate() {
            let (b, c) = (i / D, i % D);
            let features = (0..F).filter(|&f| range.contains(&self.places[f]));
            *e = b_dec[c] - self.wanted()[i] + features.map(|f| v[b * F + f] * w_dec[f * D + c]).sum::<f64>();
            if !skip.is_empty() {
                *e += (0..D).map(|i| self.x[b * D + i] * skip[c * D + i]).sum::<f64>();
            }
        }
        errors
    }

    /// Errors of each nested dictionary, the smallest first.
    fn nested(&self, v: &[f64], p: &Numbers) -> Vec<Vec<f64>> {
        let widths = self.widths();
        if !self.options.detached_widths {
            return widths.iter().map(|&width| self.errors(v, p, 0..width)).collect();
        }
        let held = self.codes_of(&self.base);
        let inner = |(level, &width): (usize, &usize)| {
            if level == 0 || level + 1 == widths.len() {
                return self.errors(v, p, 0..width);
            }
            // What the smaller ones reconstruct is held; their errors without any feature are the bias, held too.
            let before = self.errors(&held, &self.base, 0..widths[level - 1]);
            let (own, nothing) = (self.errors(v, p, widths[level - 1]..width), self.errors(v, p, 0..0));
            before
                .iter()
                .zip(own)
                .zip(nothing)
                .map(|((before, own), nothing)| before + own - nothing)
                .collect()
        };
        widths.iter().enumerate().map(inner).collect()
    }

    /// Loss of each row: the mean over nested dictionaries.
    fn row_losses(&self, v: &[f64], p: &Numbers) -> Vec<f64> {
        let nested = self.nested(v, p);
        let of_row = |b: usize| {
            let all = nested.iter().flat_map(|errors| &errors[b * D..(b + 1) * D]);
            all.map(|e| e * e).sum::<f64>() / nested.len() as f64
        };
        (0..B).map(of_row).collect()
    }

    /// B times softmax(t·ℓ/mean ℓ).
    fn row_weights(&self) -> Vec<f64> {
        let losses = self.row_losses(&self.codes_of(&self.base), &self.base);
        let mean = losses.iter().sum::<f64>() / B as f64;
        let powers: Vec<f64> = losses.iter().map(|l| (self.options.tilt * l / mean).exp()).collect();
        let sum = powers.iter().sum::<f64>();
        powers.iter().map(|p| p * B as f64 / sum).collect()
    }

    fn masked(mask: &Mask, z: &[f64]) -> Vec<f64> {
        z.iter().zip(mask).map(|(z, m)| if *m { *z } else { 0.0 }).collect()
    }

    fn penalty_of(&self, v: f64, power: f64) -> f64 {
        match self.options.penalty {
            Penalty::None => 0.0,
            Penalty::Sum => v,
            Penalty::Power if v > 0.0 => (v + penalty::POWER_OFFSET).powf(power),
            Penalty::Power => 0.0,
            Penalty::Tanh(c) => (f64::from(c) * v).tanh(),
            Penalty::Count => f64::from(u8::from(v > 0.0)),
            Penalty::Shrunk(_) if v <= 0.0 => 0.0,
            Penalty::Shrunk(kind) => {
                2.0 * g(kind, v, self.penalty_constants().0) / self.penalty_constants().0
            }
        }
    }

    fn spread(&self) -> f64 {
        let mean = |c: usize| (0..B).map(|b| self.residual[b * D + c]).sum::<f64>() / B as f64;
        (0..D).map(|c| (0..B).map(|b| (self.residual[b * D + c] - mean(c)).powi(2)).sum::<f64>()).sum()
    }

    fn widths(&self) -> Vec<usize> {
        if self.options.widths.is_empty() { vec![F] } else { self.options.widths.clone() }
    }

    /// λ and p at the first step.
    fn penalty_constants(&self) -> (f64, f64) {
        let plan = self.options.plan(1);
        (plan.sparsity * self.power_scale, plan.power)
    }

    /// The loss at `p`, the active pairs held.
    pub(super) fn loss(&self, p: &Numbers) -> f64 {
        let squares = |e: &[f64]| e.iter().map(|v| v * v).sum::<f64>();
        let (n, z) = (B as f64, self.pre_activations(p));
        let v = self.codes_of(p);
        let rows = self.row_losses(&v, p);
        let mut loss = rows.iter().zip(&self.weights).map(|(loss, weight)| loss * weight).sum::<f64>() / n;
        let further = Self::masked(&self.second, &z);
        let mut costly = &v;
        if self.options.rule == Rule::Gated {
            loss += squares(&self.errors(&further, &self.base, 0..F)) / n;
            costly = &further;
        } else if let Some(multi) = self.options.multi {
            loss += multi.weight * squares(&self.errors(&further, p, 0..F)) / n;
        }
        let (lambda, power) = self.penalty_constants();
        loss += lambda / n * costly.iter().map(|v| self.penalty_of(*v, power)).sum::<f64>();
        if self.aux.iter().any(|m| *m) {
            let u = Self::masked(&self.aux, &z);
            let mut wrong = vec![0.0; B * D];
            for (i, q) in wrong.iter_mut().enumerate() {
                let (b, c) = (i / D, i % D);
                *q = (0..F).map(|f| u[b * F + f] * p[2][f * D + c]).sum::<f64>() - self.residual[i];
            }
            loss +=
                self.options.aux.coefficient * self.options.input_variance * squares(&wrong) / self.spread();
        }
        loss
    }

    /// What each token takes, `[B, F]`.
    fn pursued(&self, centred: &Tensor, w_dec: &Tensor) -> Result<Tensor> {
        let mut rows = Vec::new();
        for (b, taken) in self.taken.iter().enumerate() {
            let (mut residual, mut codes) =
                (centred.narrow(0, b, 1)?, Tensor::zeros((1, F), DType::F64, &Device::Cpu)?);
            for &f in taken {
                let row = w_dec.narrow(0, f, 1)?;
                let value = residual.mul(&row)?.sum_keepdim(1)?;
                residual = residual.sub(&row.broadcast_mul(&value)?)?;
                let place: Vec<f64> = (0..F).map(|g| f64::from(u8::from(f == g))).collect();
                let place = Tensor::from_slice(&place, (1, F), &Device::Cpu)?;
                codes = codes.add(&place.broadcast_mul(&value)?)?;
            }
            rows.push(codes);
        }
        Tensor::cat(&rows, 0)
    }

    /// The same loss from tensors, differentiated by candle: its value and its gradients.
    pub(super) fn autograd(&self) -> Result<(f64, Vec<Vec<f64>>)> {
        let own = self.base[4].len() / F;
        let shapes = [(F, D), (1, F), (F, D), (1, D), (F, own.max(1)), (D, D)];
        let tensor = |v: &[f64], shape: (usize, usize)| Tensor::from_slice(v, shape, &Device::Cpu);
        let mask = |m: &Mask| {
            let numbers: Vec<f64> = m.iter().map(|&m| f64::from(u8::from(m))).collect();
            tensor(&numbers, (B, F))
        };
        let mut vars = Vec::new();
        for (i, (numbers, shape)) in self.base.iter().zip(shapes).enumerate() {
            let padded = match i {
                4 if own == 0 => vec![0.0; F],
                5 if numbers.is_empty() => vec![0.0; D * D],
                _ => numbers.clone(),
            };
            vars.push(Var::from_tensor(&tensor(&padded, shape)?)?);
        }
        let [w_enc, b_enc, w_dec, b_dec, own_var, skip] = &vars[..] else { unreachable!() };
        let (n, x) = (B as f64, tensor(&self.x, (B, D))?);
        let products = match self.targets.is_empty() {
            true => x.broadcast_sub(b_dec)?.matmul(&w_enc.t()?)?,
            false => x.matmul(&w_enc.t()?)?,
        };
        let wanted = tensor(self.wanted(), (B, D))?.sub(&x.matmul(&skip.t()?)?)?;
        let z = products.broadcast_add(b_enc)?;
        let squares = |e: &Tensor| e.sqr()?.sum_all();
        // What codes are made of; the auxiliary loss has the pre-activations of the input itself.
        let mut made = z.clone();
        let centred = x.broadcast_sub(b_dec)?;
        if let Rule::Cosine(_) = self.options.rule {
            let log = centred.sqr()?.sum_keepdim(1)?.sqrt()?.log()?;
            let rest = own_var.reshape((1, F))?.neg()?.exp()?.affine(1.0, 1.0)?.recip()?.affine(-1.0, 1.0)?;
            made = products.add(&log.broadcast_mul(&rest)?.exp()?.broadcast_mul(b_enc)?)?;
        }
        if let Some(step) = self.options.refine {
            let guess = z.mul(&mask(&self.first)?)?.matmul(w_dec)?;
            let corrected = centred.add(&centred.sub(&guess)?.affine(f64::from(step), 0.0)?)?;
            made = corrected.matmul(&w_enc.t()?)?.broadcast_add(b_enc)?;
        }
        if self.options.rule == Rule::Pursuit {
            made = self.pursued(&centred, w_dec)?;
        }
        // Codes may be negative where magnitudes are ranked.
        let positive = if self.options.rule == Rule::AbsToken { made } else { made.relu()? };
        let mut v = positive.mul(&mask(&self.main)?)?;
        if self.options.rule == Rule::Gated {
            let factor = own_var.narrow(1, 0, 1)?.exp()?.reshape((1, F))?;
            let bias = own_var.narrow(1, 1, 1)?.reshape((1, F))?;
            let magnitude = products.broadcast_mul(&factor)?.broadcast_add(&bias)?;
            v = magnitude.relu()?.mul(&mask(&self.main)?)?;
        }
        // Where nothing is active, a number at which all of these are smooth stands for z.
        let far = mask(&self.main)?.affine(-9.0, 9.0)?;
        if let Rule::Shrunk(shrunk) = self.options.rule {
            let z = z.mul(&mask(&self.main)?)?.add(&far)?;
            v = shrink_tensor(shrunk.kind, &z, f64::from(shrunk.lambda))?.mul(&mask(&self.main)?)?;
        }
        let mut steps = None;
        if let Rule::Jump { bandwidth } = self.options.rule {
            // Straight-through: θ − θ as a constant is 0 and has the derivative that the estimator gives to it.
            let threshold = own_var.exp()?.reshape((1, F))?;
            let constant = threshold.detach();
            let moved = threshold.sub(&constant)?;
            let near = z.broadcast_sub(&constant)?.abs()?.le(f64::from(bandwidth) / 2.0)?;
            let near = near.to_dtype(DType::F64)?.detach();
            let slope = near.broadcast_mul(&constant)?.affine(-1.0 / f64::from(bandwidth), 0.0)?;
            v = v.add(&slope.broadcast_mul(&moved)?)?;
            let slope = near.affine(-1.0 / f64::from(bandwidth), 0.0)?;
            steps = Some(mask(&self.main)?.add(&slope.broadcast_mul(&moved)?)?);
        }
        let widths = self.widths();
        let mut loss = Tensor::new(0.0_f64, &Device::Cpu)?;
        let weights = tensor(&self.weights, (B, 1))?;
        let part = |range: Range<usize>| {
            let is_in = |place: &usize| f64::from(u8::from(range.contains(place)));
            let mask = tensor(&self.places.iter().map(is_in).collect::<Vec<_>>(), (1, F))?;
            v.broadcast_mul(&mask)?.matmul(w_dec)
        };
        for (level, &width) in widths.iter().enumerate() {
            let detached = self.options.detached_widths && level > 0 && level + 1 < widths.len();
            let before = if detached { widths[level - 1] } else { 0 };
            let mut error = part(0..before)?.broadcast_add(b_dec)?.sub(&wanted)?;
            if detached {
                error = error.detach();
            }
            let error = error.add(&part(before..width)?)?;
            let rows = error.sqr()?.broadcast_mul(&weights)?.sum_all()?;
            loss = (loss + (rows / (n * widths.len() as f64))?)?;
        }
        let further = positive.mul(&mask(&self.second)?)?;
        let mut costly = v;
        if self.options.rule == Rule::Gated {
            let error = further.matmul(&w_dec.detach())?.broadcast_add(&b_dec.detach())?.sub(&wanted)?;
            loss = (loss + (squares(&error)? / n)?)?;
            costly = further;
        } else if let Some(multi) = self.options.multi {
            let error = further.matmul(w_dec)?.broadcast_add(b_dec)?.sub(&wanted)?;
            loss = (loss + (squares(&error)? * (multi.weight / n))?)?;
        }
        let (lambda, power) = self.penalty_constants();
        let cost = match self.options.penalty {
            Penalty::None => None,
            Penalty::Sum => Some(costly),
            Penalty::Power => {
                let moved = costly.affine(1.0, penalty::POWER_OFFSET)?.powf(power)?;
                Some(moved.mul(&mask(&self.main)?)?)
            }
            Penalty::Tanh(c) => Some(costly.affine(f64::from(c), 0.0)?.tanh()?),
            Penalty::Count => steps,
            Penalty::Shrunk(kind) => {
                let cost = g_tensor(kind, &costly.add(&far)?, lambda)?.affine(2.0 / lambda, 0.0)?;
                Some(cost.mul(&mask(&self.main)?)?)
            }
        };
        if let Some(cost) = cost {
            loss = (loss + (cost.sum_all()? * (lambda / n))?)?;
        }
        if self.aux.iter().any(|m| *m) {
            let u = z.relu()?.mul(&mask(&self.aux)?)?.matmul(w_dec)?;
            let wrong = u.sub(&tensor(&self.residual, (B, D))?)?;
            let factor = self.options.aux.coefficient * self.options.input_variance / self.spread();
            loss = (loss + (squares(&wrong)? * factor)?)?;
        }
        let store = loss.backward()?;
        let mut gradients = Vec::new();
        for var in &vars {
            gradients.push(match store.get(var) {
                Some(gradient) => gradient.flatten_all()?.to_vec1::<f64>()?,
                None => Vec::new(),
            });
        }
        Ok((loss.to_scalar::<f64>()?, gradients))
    }
}

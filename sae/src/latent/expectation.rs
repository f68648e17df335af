//! The E-step: sums over all rows' truncated posteriors.
//!
//! Rows are cut into at most 64 pieces whose size does not depend on the number of threads, and their sums are added in order, so the
//! result is the same for any number of threads.

use rayon::prelude::*;

use super::parameters::{Kind, Parameters};
use super::posterior::{Evidence, NEGLIGIBLE, Prepared, Row, Slab, dot};

/// Pieces at most.
const PIECES: usize = 64;
/// Rows of a piece at least.
const LEAST_ROWS: usize = 64;
/// What a first look found is kept for the second if it takes at most so much memory; otherwise it is found again.
const KEPT_BYTES: usize = 512 << 20;

/// Sums over rows. H latents, V values that are not 0.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sums {
    /// Rows that were used.
    pub rows: f64,
    /// Σ of free energies.
    pub free_energy: f64,
    /// Σ‖y‖².
    pub squared: f64,
    /// Σ⟨‖y − ȳ(s)‖²⟩; not of spikes with slabs, for which the M-step needs none.
    pub error: f64,
    /// How often each latent has each value, Σ⟨1(s_h = v)⟩, `[H, V]`.
    pub active: Vec<f64>,
    /// Σ⟨s⟩yᵀ, Σ⟨sz⟩yᵀ, or Σ⟨A⟩∘y of maximal causes, `[H, d]`.
    pub with_row: Vec<f64>,
    /// Σ⟨ssᵀ⟩ or Σ⟨sz (sz)ᵀ⟩, `[H, H]`; or Σ⟨A⟩ of maximal causes, `[H, d]`.
    pub pairs: Vec<f64>,
    /// Σ⟨sz⟩, `[H]`; spikes with slabs only.
    pub codes: Vec<f64>,
}

impl Sums {
    fn new(parameters: &Parameters) -> Self {
        let (h, d) = (parameters.latents(), parameters.d);
        Self {
            rows: 0.0,
            free_energy: 0.0,
            squared: 0.0,
            error: 0.0,
            active: vec![0.0; h * parameters.values.len()],
            with_row: vec![0.0; h * d],
            pairs: vec![0.0; h * if parameters.kind.is_maximum() { d } else { h }],
            codes: vec![0.0; if parameters.kind == Kind::Gsc { h } else { 0 }],
        }
    }

    fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.free_energy += other.free_energy;
        self.squared += other.squared;
        self.error += other.error;
        for (sums, others) in [
            (&mut self.active, &other.active),
            (&mut self.with_row, &other.with_row),
            (&mut self.pairs, &other.pairs),
            (&mut self.codes, &other.codes),
        ] {
            sums.iter_mut().zip(others).for_each(|(a, b)| *a += b);
        }
    }
}

/// Numbers of values of each row of a piece of `n` rows.
fn piece(n: usize) -> usize {
    n.div_ceil(PIECES).max(LEAST_ROWS)
}

/// Sums over the share `1 − cut·(1 − A)` of `rows[n, d]` that the model explains best, where A is how likely at most γ latents are
/// active: rows with more would only teach the model what it cannot express.
pub(super) fn expect(model: &Prepared<'_>, rows: &[f32], active: usize, cut: f64) -> Sums {
    expect_within(model, rows, active, cut, KEPT_BYTES)
}

/// As [`expect`], keeping at most so many bytes of what a first look found; the sums do not depend on it.
pub(super) fn expect_within(
    model: &Prepared<'_>,
    rows: &[f32],
    active: usize,
    cut: f64,
    bytes: usize,
) -> Sums {
    let d = model.parameters.d;
    let n = rows.len() / d;
    let (share, _) = model.parameters.at_most(active);
    // As in the golden program: rounded down.
    let used = ((n as f64 * (1.0 - (1.0 - share) * cut)) as usize).clamp(1, n);
    let pieces = rows.par_chunks(piece(n) * d);
    let parts: Vec<Sums> = if used < n {
        let kept = n * (model.len() * 8 + model.candidates * 4) <= bytes;
        let looked: Vec<Looked> = pieces.map(|rows| Looked::new(model, rows, kept)).collect();
        let least = threshold(&looked, used);
        let pieces = rows.par_chunks(piece(n) * d).zip(&looked);
        pieces.map(|(rows, looked)| Work::new(model).add_best(rows, looked, least)).collect()
    } else {
        pieces.map(|rows| Work::new(model).add_all(rows)).collect()
    };
    let mut sums = Sums::new(model.parameters);
    parts.iter().for_each(|part| sums.add(part));
    sums
}

/// What a first look at the rows of a piece found.
struct Looked {
    evidence: Vec<Evidence>,
    /// Of each row the likelihoods of its states, `[rows, states]`, and its candidates, `[rows, H']`; empty unless they are kept.
    likelihood: Vec<f64>,
    candidates: Vec<u32>,
}

impl Looked {
    fn new(model: &Prepared<'_>, rows: &[f32], kept: bool) -> Self {
        let mut row = Row::default();
        let mut looked = Self { evidence: Vec::new(), likelihood: Vec::new(), candidates: Vec::new() };
        for y in rows.chunks_exact(model.parameters.d) {
            looked.evidence.push(model.look(y, &mut row));
            if kept {
                looked.likelihood.extend_from_slice(&row.likelihood);
                looked.candidates.extend(row.candidates.iter().map(|&latent| latent as u32));
            }
        }
        looked
    }
}

/// The `used`-th largest rank.
fn threshold(looked: &[Looked], used: usize) -> f64 {
    let mut ranks: Vec<f64> = looked.iter().flat_map(|piece| &piece.evidence).map(|e| e.rank).collect();
    ranks.sort_unstable_by(|a, b| b.total_cmp(a));
    ranks[used - 1]
}

/// A piece's sums with what its rows are computed in.
#[derive(Debug)]
struct Work<'a> {
    model: &'a Prepared<'a>,
    sums: Sums,
    row: Row,
    slab: Slab,
    active: Vec<(usize, usize)>,
    /// ⟨s⟩ or ⟨sz⟩ of the row, `[H]`.
    codes: Vec<f64>,
    made: Vec<f64>,
    slope: Vec<f64>,
    /// Σ q·slope of the row by latent, `[H, width]`; maximal causes only.
    weights: Vec<f64>,
}

impl<'a> Work<'a> {
    fn new(model: &'a Prepared<'a>) -> Self {
        let parameters = model.parameters;
        let maximum = usize::from(parameters.kind.is_maximum());
        Self {
            sums: Sums::new(parameters),
            row: Row::default(),
            slab: Slab::default(),
            active: Vec::new(),
            codes: vec![0.0; parameters.latents()],
            made: vec![0.0; model.width],
            slope: vec![0.0; model.width],
            weights: vec![0.0; parameters.latents() * model.width * maximum],
            model,
        }
    }

    /// The sums of `rows[n, d]`.
    fn add_all(mut self, rows: &[f32]) -> Sums {
        for y in rows.chunks_exact(self.model.parameters.d) {
            let evidence = self.model.look(y, &mut self.row);
            self.add(evidence);
        }
        self.sums
    }

    /// The sums of those of `rows[n, d]` that rank at least `least`.
    fn add_best(mut self, rows: &[f32], looked: &Looked, least: f64) -> Sums {
        let (states, candidates) = (self.model.len(), self.model.candidates);
        let rows = rows.chunks_exact(self.model.parameters.d).zip(&looked.evidence).enumerate();
        for (at, (y, evidence)) in rows.filter(|(_, (_, evidence))| evidence.rank >= least) {
            if looked.likelihood.is_empty() {
                self.model.look(y, &mut self.row);
            } else {
                let candidates = &looked.candidates[at * candidates..(at + 1) * candidates];
                let likelihood = &looked.likelihood[at * states..(at + 1) * states];
                self.model.look_again(y, candidates, likelihood, &mut self.row);
            }
            self.add(*evidence);
        }
        self.sums
    }

    /// Adds the row that was looked at.
    fn add(&mut self, evidence: Evidence) {
        let model = self.model;
        model.share(&mut self.row, evidence);
        self.sums.rows += 1.0;
        self.sums.free_energy += evidence.free_energy;
        self.sums.squared += self.row.squared;
        self.codes.fill(0.0);
        self.weights.fill(0.0);
        for at in 0..self.row.q.len() {
            let q = self.row.q[at];
            if q < NEGLIGIBLE {
                continue;
            }
            model.active(&self.row, at, &mut self.active);
            for &(latent, value) in &self.active {
                self.sums.active[latent * model.parameters.values.len() + value] += q;
            }
            match model.parameters.kind {
                Kind::Gsc => self.add_slab(q),
                Kind::Mca | Kind::Mmca => self.add_maximum(at, q),
                _ => self.add_sum(at, q),
            }
        }
        self.add_row();
    }

    fn add_sum(&mut self, at: usize, q: f64) {
        let (h, values) = (self.codes.len(), &self.model.parameters.values);
        self.sums.error += q * self.model.error(&self.row, at);
        for &(i, s) in &self.active {
            self.codes[i] += q * values[s];
            for &(j, t) in &self.active {
                self.sums.pairs[i * h + j] += q * values[s] * values[t];
            }
        }
    }

    fn add_slab(&mut self, q: f64) {
        let (h, k) = (self.codes.len(), self.active.len());
        if k == 0 {
            return;
        }
        self.slab.active.clear();
        self.slab.active.extend(self.active.iter().map(|(latent, _)| *latent));
        self.model.slab(&self.row, &mut self.slab);
        let Slab { active, mean, covariance, .. } = &self.slab;
        for (i, &latent) in active.iter().enumerate() {
            self.codes[latent] += q * mean[i];
            for (j, &other) in active.iter().enumerate() {
                self.sums.pairs[latent * h + other] += q * (covariance[i * k + j] + mean[i] * mean[j]);
            }
        }
    }

    fn add_maximum(&mut self, at: usize, q: f64) {
        let d = self.model.width;
        self.sums.error += q * self.model.error(&self.row, at);
        if let [(latent, _)] = self.active[..] {
            // Nothing competes with a latent that is alone: its weight is 1 everywhere.
            self.codes[latent] += q;
            return;
        }
        if self.active.is_empty() {
            return;
        }
        self.model.made(&self.active, &mut self.made, &mut self.slope);
        for (latent, _) in &self.active {
            let own = latent * d..(latent + 1) * d;
            let parts = self.weights[own.clone()].iter_mut().zip(&self.model.lowered[own]).zip(&self.slope);
            // Above 1 only where maxima of both signs cancel.
            parts.for_each(|((w, lowered), slope)| *w += q * (lowered * slope).min(1.0));
        }
    }

    fn add_row(&mut self) {
        let (d, width) = (self.model.parameters.d, self.model.width);
        let maximum = self.model.parameters.kind.is_maximum();
        for (latent, &code) in self.codes.iter().enumerate() {
            let own = latent * d..(latent + 1) * d;
            let with_row = self.sums.with_row[own.clone()].iter_mut().zip(&self.row.y);
            if maximum {
                let weights = self.weights[latent * width..].iter().zip(&mut self.sums.pairs[own]);
                for ((sum, y), (w, total)) in with_row.zip(weights) {
                    *sum += (code + w) * y;
                    *total += code + w;
                }
            } else if code != 0.0 {
                with_row.for_each(|(sum, y)| *sum += code * y);
            }
        }
        if !self.sums.codes.is_empty() {
            self.sums.codes.iter_mut().zip(&self.codes).for_each(|(sum, code)| *sum += code);
        }
    }
}

/// How well a model explains rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Rows.
    pub rows: u64,
    /// Mean free energy, nats per row: a lower bound on the log likelihood.
    pub free_energy: f64,
    /// Fraction of variance explained by the posterior's mean reconstruction; `None` if rows do not vary.
    pub fve: Option<f64>,
    /// … by the reconstruction of the most probable state.
    pub fve_map: Option<f64>,
    /// Active latents per row on average over the posterior.
    pub l0: f64,
    /// Active latents per row in the most probable state.
    pub l0_map: f64,
}

/// How well `model` explains `rows[n, d]`.
pub(super) fn score(model: &Prepared<'_>, rows: &[f32]) -> Score {
    let d = model.parameters.d;
    let n = rows.len() / d;
    let parts: Vec<[f64; 5]> = rows
        .par_chunks(piece(n) * d)
        .map(|rows| {
            let mut work = Work::new(model);
            rows.chunks_exact(d).fold([0.0; 5], |sums, y| {
                let row = work.score(y);
                std::array::from_fn(|i| sums[i] + row[i])
            })
        })
        .collect();
    let sums = parts.iter().fold([0.0; 5], |sums, part| std::array::from_fn(|i| sums[i] + part[i]));
    let (_, deviation) = super::parameters::moments(rows, d);
    let variance: f64 = deviation.iter().map(|s| s * s).sum::<f64>() * n as f64;
    let fve = |error: f64| (variance > 0.0).then(|| 1.0 - error / variance);
    let per_row = |sum: f64| sum / n.max(1) as f64;
    Score {
        rows: n as u64,
        free_energy: per_row(sums[0]),
        fve: fve(sums[1]),
        fve_map: fve(sums[2]),
        l0: per_row(sums[3]),
        l0_map: per_row(sums[4]),
    }
}

impl Work<'_> {
    /// Free energy, squared errors of the mean and of the most probable state, and active latents by both.
    fn score(&mut self, y: &[f32]) -> [f64; 5] {
        let evidence = self.model.look(y, &mut self.row);
        self.model.share(&mut self.row, evidence);
        let mut mean = vec![0.0; y.len()];
        let mut best = (0, 0.0);
        let mut l0 = 0.0;
        for at in 0..self.row.q.len() {
            let q = self.row.q[at];
            if q > best.1 {
                best = (at, q);
            }
            if q >= NEGLIGIBLE {
                self.reconstruct(at);
                mean.iter_mut().zip(&self.made).for_each(|(m, made)| *m += q * made);
                l0 += q * self.active.len() as f64;
            }
        }
        self.reconstruct(best.0);
        let error = |made: &[f64]| {
            let rest: Vec<f64> = self.row.y.iter().zip(made).map(|(y, m)| y - m).collect();
            dot(&rest, &rest)
        };
        [evidence.free_energy, error(&mean), error(&self.made), l0, self.active.len() as f64]
    }

    /// ȳ of state `at` into `made`, its active latents into `active`.
    fn reconstruct(&mut self, at: usize) {
        let (model, parameters) = (self.model, self.model.parameters);
        model.active(&self.row, at, &mut self.active);
        if parameters.kind.is_maximum() {
            model.made(&self.active, &mut self.made, &mut self.slope);
            return;
        }
        let latents: Vec<usize> = self.active.iter().map(|(latent, _)| *latent).collect();
        self.made.fill(0.0);
        let codes: Vec<f64> = if parameters.kind == Kind::Gsc && !latents.is_empty() {
            self.slab.active.clone_from(&latents);
            model.slab(&self.row, &mut self.slab);
            self.slab.mean.clone()
        } else {
            self.active.iter().map(|(_, value)| parameters.values[*value]).collect()
        };
        for (latent, code) in latents.iter().zip(codes) {
            self.made.iter_mut().zip(parameters.row(*latent)).for_each(|(m, w)| *m += code * w);
        }
    }
}

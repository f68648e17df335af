//! Learning a model on rows in memory, an iteration at a time.

use kernels::chance::{Purpose, generator, normal};

use super::expectation::{Score, expect, score};
use super::maximisation::maximise;
use super::parameters::{Kind, LEAST_WEIGHT, Parameters, moments};
use super::posterior::Prepared;
use super::schedule::Schedule;
use super::states::States;
use crate::{Error, Result};

/// What a model is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelOptions {
    /// The model.
    pub kind: Kind,
    /// Latents, H.
    pub latents: usize,
    /// Candidates of a row, H′; at most H.
    pub candidates: usize,
    /// Latents that a state may have active, γ; at most H′.
    pub active: usize,
    /// What an active latent may be: of [`Kind::Dsc`] alone, none of them 0.
    pub values: Vec<f64>,
    /// Annealing.
    pub schedule: Schedule,
    /// Decides first parameters and noise.
    pub seed: u64,
}

impl ModelOptions {
    /// What ProSper's authors take for the bars test, for `latents` latents, with a little noise, without which two of 20 seeds of binary
    /// coding end with two latents for one bar. Ternary coding needs more: its signs let a bar be the difference of two latents.
    pub fn usual(kind: Kind, latents: usize) -> Self {
        let (candidates, active, iterations, temperature, noise, cool) = match kind {
            Kind::Bsc => (8, 5, 150, 5.0, 0.1, 0.8),
            Kind::Mca => (8, 5, 300, 4.0, 0.1, 0.8),
            Kind::Mmca => (7, 5, 300, 4.0, 0.1, 0.8),
            Kind::Tsc => (7, 5, 300, 2.0, 0.3, 0.7),
            Kind::Dsc => (7, 5, 100, 2.0, 0.1, 0.7),
            Kind::Gsc => (7, 4, 150, 4.0, 0.1, 0.8),
        };
        let candidates = candidates.min(latents);
        Self {
            kind,
            latents,
            candidates,
            active: active.min(candidates),
            values: vec![1.0, 2.0],
            schedule: Schedule { iterations, temperature, noise, cool, cut: 2.0 / 3.0 },
            seed: 0,
        }
    }

    /// # Errors
    /// Options that make no sense.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |problem: String, remedy: &str| Err(Error::request(problem).with_remedy(remedy));
        let Schedule { iterations, temperature, noise, cool, cut } = self.schedule;
        if self.latents == 0 || iterations == 0 {
            return refuse("a model needs at least 1 latent and 1 iteration".to_owned(), "give more");
        }
        if self.candidates == 0 || self.candidates > self.latents {
            let problem = format!("{} candidates of {} latents", self.candidates, self.latents);
            return refuse(problem, "give from 1 candidate to as many as there are latents");
        }
        if self.active == 0 || self.active > self.candidates {
            let problem = format!("{} active latents of {} candidates", self.active, self.candidates);
            return refuse(problem, "give from 1 active latent to as many as there are candidates");
        }
        if !(1.0..=1e6).contains(&temperature) {
            return refuse(format!("a temperature of {temperature}"), "give one from 1 to 1,000,000");
        }
        if !(0.0..=100.0).contains(&noise) || ![cool, cut].iter().all(|share| (0.0..=1.0).contains(share)) {
            return refuse(
                format!("noise of {noise}, shares of {cool} and {cut}"),
                "give noise from 0 to 100 and shares from 0 to 1",
            );
        }
        let distinct = |i: usize, value: &f64| !self.values[..i].contains(value);
        let fits = self.values.iter().enumerate().all(|(i, v)| *v != 0.0 && v.is_finite() && distinct(i, v));
        if self.kind == Kind::Dsc && (self.values.is_empty() || !fits) {
            return refuse(
                format!("values {:?}", self.values),
                "give the values of an active latent, all different and none of them 0",
            );
        }
        Ok(())
    }
}

/// What an iteration came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Iteration {
    /// Rows that it learned from.
    pub rows: u64,
    /// Their mean free energy before it, nats per row.
    pub free_energy: f64,
    /// Mean ‖y − ȳ‖² over the posterior before it; `None` for spikes with slabs.
    pub error: Option<f64>,
    /// Active latents per row, mean over the posterior.
    pub l0: f64,
}

/// A model that learns from rows.
#[derive(Debug)]
pub struct Model {
    /// What it is made of.
    pub options: ModelOptions,
    /// Its parameters.
    pub parameters: Parameters,
    /// Iterations that are done.
    pub step: usize,
    states: States,
    /// Mean standard deviation of the rows.
    deviation: f64,
}

impl Model {
    /// A model that has learned nothing from `rows[n, d]` yet.
    ///
    /// # Errors
    /// Options that make no sense; rows that do not vary.
    pub fn new(options: &ModelOptions, rows: &[f32], d: usize) -> Result<Self> {
        options.check()?;
        let ModelOptions { kind, latents, seed, .. } = *options;
        let parameters = Parameters::first(kind, rows, d, latents, &options.values, seed);
        let states = States::new(options.candidates, options.active, parameters.values.len())?;
        let deviation = moments(rows, d).1.iter().sum::<f64>() / d as f64;
        let first = rows.get(..d).unwrap_or_default();
        if rows.chunks_exact(d).all(|row| row == first) {
            return Err(Error::data("the rows do not vary, so there is nothing to explain"));
        }
        Ok(Self { options: options.clone(), parameters, step: 0, states, deviation })
    }

    /// Whether all iterations are done.
    pub fn is_done(&self) -> bool {
        self.step >= self.options.schedule.iterations
    }

    /// One iteration on `rows[n, d]`.
    ///
    /// # Errors
    /// Parameters that are not finite afterwards.
    pub fn iterate(&mut self, rows: &[f32]) -> Result<Iteration> {
        let schedule = &self.options.schedule;
        let (active, cut) = (self.options.active, schedule.cut_at(self.step));
        let prepared = self.prepared(schedule.temperature_at(self.step));
        let sums = expect(&prepared, rows, active, cut);
        let mut next = maximise(&self.parameters, &sums, active);
        self.add_noise(&mut next);
        next.check(self.step)?;
        self.parameters = next;
        self.step += 1;
        Ok(Iteration {
            rows: sums.rows as u64,
            free_energy: sums.free_energy / sums.rows,
            error: (self.options.kind != Kind::Gsc).then_some(sums.error / sums.rows),
            l0: sums.active.iter().sum::<f64>() / sums.rows,
        })
    }

    /// How well it explains `rows[n, d]`, at a temperature of 1.
    pub fn score(&self, rows: &[f32]) -> Score {
        score(&self.prepared(1.0), rows)
    }

    pub(super) fn prepared(&self, temperature: f64) -> Prepared<'_> {
        Prepared::new(&self.parameters, &self.states, self.options.candidates, temperature)
    }

    fn add_noise(&self, next: &mut Parameters) {
        let size = self.options.schedule.noise_at(self.step) * self.deviation;
        if size == 0.0 {
            return;
        }
        let d = next.d;
        for (h, row) in next.w.chunks_exact_mut(d).enumerate() {
            let mut rng = generator(self.options.seed, Purpose::Latents, h as u64, 4 + self.step as u64);
            row.iter_mut().for_each(|w| *w += size * f64::from(normal(&mut rng)));
        }
        if next.kind == Kind::Mca {
            next.w.iter_mut().for_each(|w| *w = w.max(LEAST_WEIGHT));
        }
    }
}

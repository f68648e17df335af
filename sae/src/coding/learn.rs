//! Learning a dictionary, a batch of rows at a time.

use kernels::chance::{Purpose, below, generator, normal};
use kernels::encode::products;
use kernels::shrink::Shrinkage;

use super::infer::{Coder, Penalised};
use crate::{Error, Result};

/// Share of the run after which λ stays.
const SETTLED: f64 = 0.8;
/// How fast λ follows: its logarithm changes by this times that of the ratio of active units to those that are wanted.
const FOLLOWS: f64 = 0.3;
/// Units that were active less often than once in so many rows, of late, are put at rows that are explained badly.
const SELDOM: f64 = 1e-4;
/// Relative change of codes at which a batch's inference ends.
const TOLERANCE: f64 = 3e-3;

/// How a dictionary is learned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LearnOptions {
    /// The penalty.
    pub kind: Shrinkage,
    /// Units.
    pub units: usize,
    /// Active units per row that λ is adapted to; none if λ is given.
    pub l0: Option<f64>,
    /// λ, where it is given.
    pub lambda: Option<f64>,
    /// Batches.
    pub steps: usize,
    /// Rows of a batch.
    pub batch: usize,
    /// Steps of inference per batch, at most.
    pub iterations: usize,
    /// Decides first directions and batches.
    pub seed: u64,
}

impl LearnOptions {
    /// What cannot be.
    pub(super) fn check(&self) -> Result<()> {
        let ok = |ok: bool, problem: String| if ok { Ok(()) } else { Err(Error::request(problem)) };
        ok(self.units > 0 && self.batch > 0 && self.steps > 0 && self.iterations > 0, {
            "units, batch, steps and iterations must be at least 1".to_owned()
        })?;
        match (self.l0, self.lambda) {
            (Some(l0), None) => ok(
                l0 > 0.0 && l0 < self.units as f64,
                format!("l0 is {l0}; it must be above 0 and below the {} units", self.units),
            ),
            (None, Some(lambda)) => {
                ok(lambda > 0.0 && lambda.is_finite(), format!("lambda is {lambda}; it must be above 0"))
            }
            _ => Err(Error::request("either l0 or lambda must be given, and not both")),
        }
    }
}

/// A dictionary that is learned.
#[derive(Debug, Clone)]
pub struct CodingModel {
    /// How.
    pub options: LearnOptions,
    /// Width of a row.
    pub d: usize,
    /// Φ `[units, d]`.
    pub rows: Vec<f32>,
    /// λ now.
    pub lambda: f64,
    /// Batches done.
    pub step: usize,
    /// Σ rᵀr and Σ rᵀx over all batches, the latest most.
    codes_codes: Vec<f64>,
    codes_rows: Vec<f64>,
    /// How often units were active of late.
    rates: Vec<f64>,
}

/// What a batch came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchFigures {
    /// Squared error per row.
    pub error: f64,
    /// Active units per row.
    pub l0: f64,
    /// Units that were put at other places.
    pub moved: usize,
}

impl CodingModel {
    /// Random directions; λ, where it is adapted, so that as many products as wanted pass the threshold on the first rows.
    ///
    /// # Errors
    /// Options that cannot be; rows that are all 0.
    pub fn new(options: &LearnOptions, x: &[f32], d: usize) -> Result<Self> {
        options.check()?;
        let units = options.units;
        let mut rows = Vec::with_capacity(units * d);
        for unit in 0..units {
            let mut rng = generator(options.seed, Purpose::Codings, unit as u64, 0);
            rows.extend((0..d).map(|_| normal(&mut rng)));
        }
        rows.chunks_exact_mut(d).for_each(kernels::wide::scale_to_unit);
        let coder = Coder::new(&rows, d);
        let lambda = match options.l0 {
            None => options.lambda.unwrap_or_default(),
            Some(l0) => {
                let mut along = Vec::new();
                products(&mut along, &x[..options.batch.min(x.len() / d) * d], &rows, d);
                along.iter_mut().for_each(|a| *a = a.abs());
                along.sort_unstable_by(|a, b| b.total_cmp(a));
                let at = (along.len() as f64 * l0 / units as f64) as usize;
                let cut = along
                    .get(at)
                    .copied()
                    .filter(|cut| *cut > 0.0)
                    .ok_or_else(|| Error::request("the rows are all 0: there is nothing to code"))?;
                options.kind.lambda(coder.step * f64::from(cut), coder.step)
            }
        };
        Ok(Self {
            options: *options,
            d,
            lambda,
            step: 0,
            codes_codes: vec![0.0; units * units],
            codes_rows: vec![0.0; units * d],
            rates: vec![1.0; units],
            rows,
        })
    }

    /// The penalty as it is now.
    pub fn penalty(&self) -> Penalised {
        Penalised { kind: self.options.kind, lambda: self.lambda }
    }

    /// One batch of the rows `x[n, d]`.
    pub fn learn(&mut self, x: &[f32]) -> BatchFigures {
        let (d, units, options) = (self.d, self.options.units, self.options);
        let batch = self.draw(x);
        let n = batch.len() / d;
        let coder = Coder::new(&self.rows, d);
        let codes = coder.infer(&batch, self.penalty(), options.iterations, TOLERANCE);
        let decoded = coder.decode(&codes);
        let errors: Vec<f64> = decoded
            .chunks_exact(d)
            .zip(batch.chunks_exact(d))
            .map(|(a, b)| a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum())
            .collect();
        let active = codes.iter().filter(|code| **code != 0.0).count();
        let l0 = active as f64 / n as f64;
        self.gather(&batch, &codes);
        self.move_rows();
        let moved = self.replace_unused(&batch, &codes, &errors, units);
        self.step += 1;
        let settled = self.step as f64 >= SETTLED * options.steps as f64;
        if let Some(wanted) = options.l0.filter(|_| !settled) {
            let ratio = (l0.max(0.1 * wanted) / wanted).min(10.0);
            self.lambda *= (FOLLOWS * ratio.ln()).exp();
        }
        BatchFigures { error: errors.iter().sum::<f64>() / n as f64, l0, moved }
    }

    /// Rows that the step's number decides.
    fn draw(&self, x: &[f32]) -> Vec<f32> {
        let (d, n) = (self.d, x.len() / self.d);
        let mut rng = generator(self.options.seed, Purpose::Codings, self.step as u64, 1);
        let mut batch = Vec::with_capacity(self.options.batch * d);
        for _ in 0..self.options.batch {
            let row = below(n, &mut rng);
            batch.extend_from_slice(&x[row * d..(row + 1) * d]);
        }
        batch
    }

    /// Adds a batch to the sums. What is older counts less, (1 − 1/t)³ per step: the first codes were those of random directions.
    fn gather(&mut self, batch: &[f32], codes: &[f32]) {
        let (d, units) = (self.d, self.options.units);
        let keep = (1.0 - 1.0 / (self.step as f64 + 1.0)).powi(3);
        self.codes_codes.iter_mut().chain(&mut self.codes_rows).for_each(|sum| *sum *= keep);
        self.rates.iter_mut().for_each(|rate| *rate *= 0.95);
        let share = 0.05 / (batch.len() / d) as f64;
        for (codes, row) in codes.chunks_exact(units).zip(batch.chunks_exact(d)) {
            let active: Vec<usize> = (0..units).filter(|&i| codes[i] != 0.0).collect();
            for &i in &active {
                let code = f64::from(codes[i]);
                self.rates[i] += share;
                for &j in &active {
                    self.codes_codes[i * units + j] += code * f64::from(codes[j]);
                }
                let sums = &mut self.codes_rows[i * d..(i + 1) * d];
                sums.iter_mut().zip(row).for_each(|(sum, x)| *sum += code * f64::from(*x));
            }
        }
    }

    /// Every row to where it is best if the others stay, with norm 1, one after the other.
    fn move_rows(&mut self) {
        let (d, units) = (self.d, self.options.units);
        let mut moved = vec![0.0_f64; d];
        for i in 0..units {
            let own = self.codes_codes[i * units + i];
            if own <= 0.0 {
                continue;
            }
            moved.copy_from_slice(&self.codes_rows[i * d..(i + 1) * d]);
            for (j, row) in self.rows.chunks_exact(d).enumerate().filter(|(j, _)| *j != i) {
                let weight = self.codes_codes[i * units + j];
                if weight != 0.0 {
                    moved.iter_mut().zip(row).for_each(|(m, w)| *m -= weight * f64::from(*w));
                }
            }
            let norm = moved.iter().map(|m| m * m).sum::<f64>().sqrt();
            if norm > 0.0 {
                let row = &mut self.rows[i * d..(i + 1) * d];
                row.iter_mut().zip(&moved).for_each(|(w, m)| *w = (m / norm) as f32);
            }
        }
    }

    /// Puts units that are hardly ever active at what the batch's worst rows lack, in the first half of the run.
    fn replace_unused(&mut self, batch: &[f32], codes: &[f32], errors: &[f64], units: usize) -> usize {
        if 2 * self.step > self.options.steps {
            return 0;
        }
        let d = self.d;
        let unused: Vec<usize> = (0..units).filter(|&i| self.rates[i] < SELDOM).collect();
        let mut worst: Vec<usize> = (0..errors.len()).collect();
        worst.sort_by(|&a, &b| errors[b].total_cmp(&errors[a]).then(a.cmp(&b)));
        for (&unit, &at) in unused.iter().zip(&worst) {
            let mut rest: Vec<f32> = batch[at * d..(at + 1) * d].to_vec();
            for (code, row) in codes[at * units..(at + 1) * units].iter().zip(self.rows.chunks_exact(d)) {
                rest.iter_mut().zip(row).for_each(|(rest, w)| *rest -= code * w);
            }
            if rest.iter().all(|x| *x == 0.0) {
                continue;
            }
            kernels::wide::scale_to_unit(&mut rest);
            self.rows[unit * d..(unit + 1) * d].copy_from_slice(&rest);
            self.rates[unit] = 1.0;
            for j in 0..units {
                self.codes_codes[unit * units + j] = 0.0;
                self.codes_codes[j * units + unit] = 0.0;
            }
            self.codes_rows[unit * d..(unit + 1) * d].fill(0.0);
        }
        unused.len().min(worst.len())
    }
}

//! The truncated posterior of one row.
//!
//! With b = W y and G = W Wᵀ a linear state's error is ‖y‖² − 2 s·b + sᵀ G s, so a combination costs a few operations more than its
//! parent and never touches the row's d components. Maximal causes have no such shortcut: their reconstruction is
//! ȳ_d = (Σ s_h W_hd^ρ)^(1/ρ), which becomes the maximum for large ρ.

use super::parameters::{Kind, Parameters};
use super::solve::decompose;
use super::states::States;
use kernels::cholesky;
use kernels::root::{self, distance_of_roots, roots};

/// States that have less of a row than this change no sum of f64.
pub(super) const NEGLIGIBLE: f64 = 1e-16;

/// A model with its states, ready for rows: everything that does not depend on the row.
#[derive(Debug)]
pub(super) struct Prepared<'a> {
    pub parameters: &'a Parameters,
    pub states: &'a States,
    /// Candidates of a row.
    pub candidates: usize,
    /// 1 / temperature.
    pub beta: f64,
    /// Exponent of the softened maximum.
    pub rho: f64,
    /// Log prior of each value of each latent against 0, `[H, V]`.
    ratios: Vec<f64>,
    /// Log joint of the zero state without its error.
    constant: f64,
    /// W Wᵀ, `[H, H]`.
    gram: Vec<f64>,
    /// d, made a multiple of what roots are taken of at once; what is added is 0 in rows and in W.
    pub width: usize,
    /// sign(W)·|W|^ρ, `[H, width]`; maximal causes only.
    raised: Vec<f64>,
    /// |W|^(ρ − 1), `[H, width]`; maximal causes only.
    pub lowered: Vec<f64>,
}

/// What a thread keeps for the row that it looks at.
#[derive(Debug, Default)]
pub(super) struct Row {
    /// The row, `[width]`.
    pub y: Vec<f64>,
    /// ‖y‖².
    pub squared: f64,
    /// W y, `[H]`.
    along: Vec<f64>,
    /// The candidates, ascending, `[H']`.
    pub candidates: Vec<usize>,
    /// Log prior of each state against that of the zero state: zero, each latent with each value, combinations.
    prior: Vec<f64>,
    /// Log likelihood of each state but for its constant.
    pub likelihood: Vec<f64>,
    /// Share of each state.
    pub q: Vec<f64>,
    /// Scores of latents.
    scores: Vec<f64>,
    /// Sums of a path of combinations, `[γ + 1, width]`.
    sums: Vec<f64>,
    slab: Slab,
}

/// The codes of a spike-and-slab state.
#[derive(Debug, Default)]
pub(super) struct Slab {
    /// Latents, `[k]`.
    pub active: Vec<usize>,
    /// Means of their codes, `[k]`.
    pub mean: Vec<f64>,
    /// Covariance, `[k, k]`.
    pub covariance: Vec<f64>,
    factor: Vec<f64>,
    rest: Vec<f64>,
}

/// Sums that a row's states come to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Evidence {
    /// log Σ p(s, y) over its states: the row's free energy.
    pub free_energy: f64,
    /// The same at the temperature, up to a constant: by this rows are ranked.
    pub rank: f64,
}

pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let (a8, ar) = a.as_chunks::<8>();
    let (b8, br) = b.as_chunks::<8>();
    let mut lanes = [0.0; 8];
    for (a, b) in a8.iter().zip(b8) {
        lanes.iter_mut().zip(a).zip(b).for_each(|((lane, a), b)| *lane += a * b);
    }
    let rest: f64 = ar.iter().zip(br).map(|(a, b)| a * b).sum();
    lanes.iter().sum::<f64>() + rest
}

impl<'a> Prepared<'a> {
    /// Of `parameters` at `temperature`.
    pub fn new(parameters: &'a Parameters, states: &'a States, candidates: usize, temperature: f64) -> Self {
        let (h, d) = (parameters.latents(), parameters.d);
        let mut gram = vec![0.0; h * h];
        for i in 0..h {
            for j in 0..=i {
                let product = dot(parameters.row(i), parameters.row(j));
                (gram[i * h + j], gram[j * h + i]) = (product, product);
            }
        }
        let rho = exponent(parameters.kind, temperature);
        let width = d.next_multiple_of(root::WIDTH);
        let (mut raised, mut lowered) = (Vec::new(), Vec::new());
        if parameters.kind.is_maximum() {
            for row in parameters.w.chunks_exact(d) {
                let row = row.iter().copied().chain(std::iter::repeat_n(0.0, width - d));
                let powers = row.map(|w| (w, w.abs().powf(rho - 1.0)));
                powers.for_each(|(w, power)| {
                    lowered.push(power);
                    raised.push(power * w);
                });
            }
        }
        let variance = parameters.sigma * parameters.sigma;
        let constant = parameters.log_none() - 0.5 * d as f64 * (std::f64::consts::TAU * variance).ln();
        let beta = 1.0 / temperature;
        let ratios = parameters.log_ratios();
        Self {
            parameters,
            states,
            candidates: candidates.min(h),
            beta,
            rho,
            ratios,
            constant,
            gram,
            width,
            raised,
            lowered,
        }
    }

    /// States of a row.
    pub fn len(&self) -> usize {
        1 + self.ratios.len() + self.states.several()
    }

    /// Where combinations begin.
    pub fn several_from(&self) -> usize {
        1 + self.ratios.len()
    }

    /// The states of `y[d]`: candidates, priors and likelihoods.
    pub fn look(&self, y: &[f32], row: &mut Row) -> Evidence {
        self.take(y, row);
        row.likelihood.clear();
        row.likelihood.resize(self.len(), 0.0);
        self.alone(row);
        self.choose(row);
        self.priors(row);
        match self.parameters.kind {
            Kind::Gsc => self.slabs(row),
            Kind::Mca | Kind::Mmca => self.maxima(row),
            _ => self.sums(row),
        }
        self.evidence(row)
    }

    /// As [`Self::look`] at a row that was looked at before, from its candidates and the likelihoods of its states.
    pub fn look_again(&self, y: &[f32], candidates: &[u32], likelihood: &[f64], row: &mut Row) {
        self.take(y, row);
        row.likelihood.clear();
        row.likelihood.extend_from_slice(likelihood);
        row.candidates.clear();
        row.candidates.extend(candidates.iter().map(|&latent| latent as usize));
        self.priors(row);
    }

    /// The row and its products with W.
    fn take(&self, y: &[f32], row: &mut Row) {
        row.y.clear();
        row.y.extend(y.iter().map(|&y| f64::from(y)));
        row.squared = dot(&row.y, &row.y);
        row.along.clear();
        row.along.extend(self.parameters.w.chunks_exact(self.parameters.d).map(|w| dot(w, &row.y)));
        row.y.resize(self.width, 0.0);
    }

    /// Log priors of the states of a row whose candidates are known.
    fn priors(&self, row: &mut Row) {
        row.prior.clear();
        row.prior.push(0.0);
        row.prior.extend_from_slice(&self.ratios);
        for node in &self.states.nodes()[self.states.singles()..] {
            let value = self.place(row, usize::from(node.place), usize::from(node.value));
            let parent = self.index(row, node.parent as usize);
            row.prior.push(row.prior[parent] + self.ratios[value - 1]);
        }
    }

    /// Where a candidate's value stands among the states of one latent.
    fn place(&self, row: &Row, place: usize, value: usize) -> usize {
        1 + row.candidates[place] * self.parameters.values.len() + value
    }

    /// Where node `at` of the tree stands among a row's states.
    fn index(&self, row: &Row, at: usize) -> usize {
        let singles = self.states.singles();
        if at >= singles {
            return self.several_from() + at - singles;
        }
        let values = self.parameters.values.len();
        self.place(row, at / values, at % values)
    }

    /// The zero state and every latent alone.
    fn alone(&self, row: &mut Row) {
        let (h, v, parameters) = (self.parameters.latents(), self.parameters.values.len(), self.parameters);
        let precision = 1.0 / (parameters.sigma * parameters.sigma);
        row.likelihood[0] = -0.5 * precision * row.squared;
        for latent in 0..h {
            let (along, norm) = (row.along[latent], self.gram[latent * h + latent]);
            for (at, s) in parameters.values.iter().enumerate() {
                let error = row.squared - 2.0 * s * along + s * s * norm;
                row.likelihood[1 + latent * v + at] = if parameters.kind == Kind::Gsc {
                    // One dimension of what `slab` does for several.
                    let (mean, variance) = (parameters.mean[latent], parameters.variance[latent]);
                    let inverse = norm * precision + 1.0 / variance;
                    let push = (along - norm * mean) * precision;
                    let error = row.squared - 2.0 * along * mean + norm * mean * mean;
                    -0.5 * ((variance * inverse).ln() + error * precision - push * push / inverse)
                } else {
                    -0.5 * precision * error
                };
            }
        }
    }

    /// The candidates: by cosine with W (binary), by what of W the row does not cover (maximal causes), by distance (maximum
    /// magnitudes), by the log joint of the latent alone (the others). Ties to the lower latent.
    fn choose(&self, row: &mut Row) {
        let (h, v, parameters) = (self.parameters.latents(), self.parameters.values.len(), self.parameters);
        row.scores.clear();
        for latent in 0..h {
            let norm = self.gram[latent * h + latent];
            let score = match parameters.kind {
                Kind::Bsc => row.along[latent] / norm.sqrt().max(f64::MIN_POSITIVE),
                Kind::Mca => {
                    let w = parameters.row(latent).iter().zip(&row.y);
                    -w.map(|(w, y)| (w - y).max(0.0)).sum::<f64>()
                }
                Kind::Mmca => 2.0 * row.along[latent] - norm,
                _ => (latent * v..latent * v + v)
                    .map(|at| self.ratios[at] + row.likelihood[1 + at])
                    .fold(f64::NEG_INFINITY, f64::max),
            };
            row.scores.push(score);
        }
        row.candidates.clear();
        row.candidates.extend(0..h);
        let scores = &row.scores;
        if self.candidates < h {
            row.candidates.select_nth_unstable_by(self.candidates, |&a, &b| {
                scores[b].total_cmp(&scores[a]).then(a.cmp(&b))
            });
            row.candidates.truncate(self.candidates);
        }
        row.candidates.sort_unstable();
    }

    /// Combinations that add up.
    fn sums(&self, row: &mut Row) {
        let h = self.parameters.latents();
        let precision = 1.0 / (self.parameters.sigma * self.parameters.sigma);
        let (from, singles) = (self.several_from(), self.states.singles());
        for (at, node) in self.states.nodes().iter().enumerate().skip(singles) {
            let latent = row.candidates[usize::from(node.place)];
            let s = self.parameters.values[usize::from(node.value)];
            let parent = node.parent as usize;
            // Products with what is active already.
            let crossed: f64 = self
                .states
                .path(parent)
                .map(|(place, value)| {
                    self.parameters.values[value] * self.gram[latent * h + row.candidates[place]]
                })
                .sum();
            let change = s * (2.0 * (crossed - row.along[latent]) + s * self.gram[latent * h + latent]);
            row.likelihood[from + at - singles] =
                row.likelihood[self.index(row, parent)] - 0.5 * precision * change;
        }
    }

    /// Combinations of which the largest counts.
    fn maxima(&self, row: &mut Row) {
        let d = self.width;
        let precision = 1.0 / (self.parameters.sigma * self.parameters.sigma);
        let (from, singles) = (self.several_from(), self.states.singles());
        let depth = self.states.nodes().iter().map(|node| usize::from(node.size)).max().unwrap_or(1);
        row.sums.resize((depth + 1) * d, 0.0);
        let raised = |latent: usize| &self.raised[latent * d..(latent + 1) * d];
        for (at, node) in self.states.nodes().iter().enumerate().skip(singles) {
            let (place, size) = (usize::from(node.place), usize::from(node.size));
            let (before, after) = row.sums.split_at_mut(size * d);
            let own = raised(row.candidates[place]);
            // Depth first: whatever came between a node and its parent was deeper than the parent.
            let parent: &[f64] = if size == 2 {
                raised(row.candidates[usize::from(self.states.nodes()[node.parent as usize].place)])
            } else {
                &before[(size - 1) * d..]
            };
            let error = distance_of_roots(&mut after[..d], &parent[..d], own, &row.y, 1.0 / self.rho);
            row.likelihood[from + at - singles] = -0.5 * precision * error;
        }
    }

    /// What the active latents of a state of maximal causes make together: ȳ `[width]` and, for ∂ȳ/∂W, |ȳ| / |ȳ^ρ|.
    pub fn made(&self, active: &[(usize, usize)], made: &mut [f64], slope: &mut [f64]) {
        let d = self.width;
        slope.fill(0.0);
        for (latent, _) in active {
            slope.iter_mut().zip(&self.raised[latent * d..(latent + 1) * d]).for_each(|(s, r)| *s += r);
        }
        roots(made, slope, 1.0 / self.rho);
        for (made, slope) in made.iter().zip(slope) {
            *slope = if *slope == 0.0 { f64::MAX } else { made.abs() / slope.abs() };
        }
    }

    /// Combinations of spikes with slabs.
    fn slabs(&self, row: &mut Row) {
        let (from, singles) = (self.several_from(), self.states.singles());
        let mut slab = std::mem::take(&mut row.slab);
        for at in singles..self.states.nodes().len() {
            slab.active.clear();
            slab.active.extend(self.states.path(at).map(|(place, _)| row.candidates[place]));
            row.likelihood[from + at - singles] = self.slab(row, &mut slab);
        }
        row.slab = slab;
    }

    /// The codes of `slab.active`, given that exactly those are active; the log likelihood but for its constant.
    pub fn slab(&self, row: &Row, slab: &mut Slab) -> f64 {
        let (k, h, parameters) = (slab.active.len(), self.parameters.latents(), self.parameters);
        let precision = 1.0 / (parameters.sigma * parameters.sigma);
        slab.factor.clear();
        slab.rest.clear();
        slab.mean.clear();
        let (mut error, mut log_variance) = (row.squared, 0.0);
        for &i in &slab.active {
            let mut along = row.along[i];
            for &j in &slab.active {
                let product = self.gram[i * h + j];
                slab.factor.push(product * precision);
                along -= product * parameters.mean[j];
            }
            // ‖y − Wμ‖² = ‖y‖² − μ·(b + (b − Gμ)).
            error -= parameters.mean[i] * (row.along[i] + along);
            log_variance += parameters.variance[i].ln();
            slab.rest.push(along * precision);
            slab.mean.push(parameters.mean[i]);
        }
        (0..k).for_each(|i| slab.factor[i * k + i] += 1.0 / parameters.variance[slab.active[i]]);
        if !decompose(&mut slab.factor, k) {
            // Rounding alone makes it so; such a state explains nothing.
            slab.covariance.clear();
            slab.covariance.resize(k * k, 0.0);
            return f64::NEG_INFINITY;
        }
        let log_inverse: f64 = (0..k).map(|i| 2.0 * slab.factor[i * k + i].ln()).sum();
        slab.covariance.clear();
        slab.covariance.resize(k * k, 0.0);
        for i in 0..k {
            let column = &mut slab.covariance[i * k..(i + 1) * k];
            column[i] = 1.0;
            cholesky::solve(&slab.factor, k, column);
        }
        let mut explained = 0.0;
        for i in 0..k {
            let step = dot(&slab.covariance[i * k..(i + 1) * k], &slab.rest);
            explained += step * slab.rest[i];
            slab.mean[i] += step;
        }
        -0.5 * (log_variance + log_inverse + error * precision - explained)
    }

    /// β or 1 for the log prior.
    fn tempered(&self) -> f64 {
        if self.parameters.kind.anneals_prior() { self.beta } else { 1.0 }
    }

    /// What the states of a row come to.
    fn evidence(&self, row: &Row) -> Evidence {
        let tempered = self.tempered();
        let plain = self.beta == 1.0;
        let log_sum = |of: &dyn Fn(f64, f64) -> f64| {
            let joints = || row.prior.iter().zip(&row.likelihood).map(|(p, l)| of(*p, *l));
            let largest = joints().fold(f64::NEG_INFINITY, f64::max);
            largest + joints().map(|joint| (joint - largest).exp()).sum::<f64>().ln()
        };
        let rank = log_sum(&|p, l| tempered * p + self.beta * l);
        let free_energy = self.constant + if plain { rank } else { log_sum(&|p, l| p + l) };
        Evidence { free_energy, rank }
    }

    /// The share of each state, into `row.q`.
    pub fn share(&self, row: &mut Row, evidence: Evidence) {
        let tempered = self.tempered();
        row.q.clear();
        let joints = row.prior.iter().zip(&row.likelihood);
        row.q.extend(joints.map(|(p, l)| (tempered * p + self.beta * l - evidence.rank).exp()));
    }

    /// ‖y − ȳ(s)‖² of state `at`; not of spikes with slabs.
    pub fn error(&self, row: &Row, at: usize) -> f64 {
        -2.0 * self.parameters.sigma * self.parameters.sigma * row.likelihood[at]
    }

    /// The latents of state `at` that are active, with their values, into `active`.
    pub fn active(&self, row: &Row, at: usize, active: &mut Vec<(usize, usize)>) {
        active.clear();
        let (from, v) = (self.several_from(), self.parameters.values.len());
        if at >= from {
            let node = at - from + self.states.singles();
            active.extend(self.states.path(node).map(|(place, value)| (row.candidates[place], value)));
        } else if at > 0 {
            active.push(((at - 1) / v, (at - 1) % v));
        }
    }
}

/// ρ of the softened maximum: 1 / (1 − 1/T), T not below 1.05 (maximal causes) or 1.2 (maximum magnitudes).
fn exponent(kind: Kind, temperature: f64) -> f64 {
    let least = if kind == Kind::Mca { 1.05 } else { 1.2 };
    1.0 / (1.0 - 1.0 / temperature.max(least))
}

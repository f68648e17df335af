//! Training steps to be timed: for `sae bench` and `benches/train_step.rs`.
//!
//! | file | subject |
//! |---|---|
//! | `planted` | rows to train on: a sparse dictionary that is known |
//! | `limits` | what this machine's arithmetic and memory can do at most |
//! | `growth` | how the time grows with F, d, B, k, dead features and threads, next to a law |

pub mod growth;
pub mod limits;

mod planted;

use std::time::Instant;

use rayon::ThreadPool;
use serde::Serialize;

use super::config::Method;
use super::state::TrainState;
use super::step::options::{Aux, Budgets, Rule, Search};
use super::step::parts::PARTS;
use super::step::{Audit, StepOptions, Stepper, Tokens};
use super::thread_pool;
use crate::dictionary::allocation::blocks::Blocks;
use crate::dictionary::allocation::law::BudgetLaw;
use crate::dictionary::score::{GradientNorm, Score};
use crate::dictionary::{Dictionary, DictionaryInfo, Normalisation, Selection};
use crate::{Error, Progress, Result};
use kernels::chance::{Purpose, generator, normal};
use planted::planted;

/// Batches that are made; steps take them in turn.
const BATCHES: usize = 4;
/// Steps before time is taken: the first touches memory, packs rows and knows no floors.
const WARM_UP: usize = 2;

/// Which step is timed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepShape {
    /// Width of the activations.
    pub d: usize,
    /// Features, F.
    pub features: usize,
    /// Active features per token.
    pub k: usize,
    /// Tokens per step.
    pub batch: usize,
    /// Which features are active: one of the methods without a penalty.
    pub method: Method,
    /// All pre-activations in f32.
    pub exact: bool,
    /// Share of the features that are dead at every step, so that AuxK has work.
    pub dead: f64,
}

/// Time of a part of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartTime {
    /// Which.
    pub part: &'static str,
    /// Mean over the timed steps.
    pub milliseconds: f64,
}

/// How long steps take.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepTimes {
    /// Of what.
    pub shape: StepShape,
    /// Threads that computed.
    pub threads: usize,
    /// Each timed step.
    pub milliseconds: Vec<f64>,
    /// Their median.
    pub median: f64,
    /// Tokens per second at the median.
    pub tokens_per_second: f64,
    /// Where the time went.
    pub parts: Vec<PartTime>,
    /// Candidates computed in f32 for every active pair; `None` where all pre-activations were.
    pub candidates_per_match: Option<f64>,
    /// Share of the active pairs looked at again that candidates had; `None` where none were.
    pub recall: Option<f64>,
    /// Tokens per second of encoding alone, with the same weights.
    pub encode_tokens_per_second: f64,
    /// Most memory that the process ever had, in bytes; `None` where the system does not say.
    pub peak_memory: Option<u64>,
    /// 2·B·d·F operations of the encoder's product per second of the search, in billions.
    pub search_gops: f64,
}

/// Times `steps` steps of a new dictionary, on `threads` threads, all cores if `None`. Batches are taken from `rows` `[n, d]` in turn; from
/// rows made of a planted dictionary if there are none.
///
/// # Errors
/// A shape that no step has, such as k > F; `rows` that are not rows of width d, or fewer than a batch;
/// threads that the system does not give; a stop that was asked for.
pub fn time_steps(
    shape: StepShape,
    rows: Option<Vec<f32>>,
    steps: usize,
    threads: Option<usize>,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<StepTimes> {
    check(&shape, steps)?;
    let threads = thread_pool(threads)?;
    let StepShape { d, features, batch, .. } = shape;
    let batches = Batches::new(&shape, rows, seed)?;
    let mut state = TrainState::new(features, mean(&batches.x, d), seed);
    state.use_large_pages();
    let StepFigures { milliseconds, parts, audit, active } =
        step_figures(&shape, &mut state, &batches, (steps, seed), &threads, progress)?;
    // Of steps: encoding comes after them.
    let peak_memory = peak_memory();
    let median_step = median(milliseconds.clone());
    let search: f64 = parts.iter().filter(|p| p.part == "search").map(|p| p.milliseconds).sum();
    let known = |part: u64, whole: u64| (part > 0).then(|| part as f64 / whole as f64);
    let encoding = encode_seconds(&dictionary(state, &shape), &batches, steps, &threads);
    progress.end(&format!("{median_step:.1} ms per step"));
    Ok(StepTimes {
        shape,
        threads: threads.current_num_threads(),
        median: median_step,
        tokens_per_second: batch as f64 / median_step * 1e3,
        candidates_per_match: known(audit.candidates, active),
        recall: known(audit.found, audit.wanted),
        encode_tokens_per_second: batch as f64 / encoding,
        peak_memory,
        search_gops: 2e-6 * batch as f64 * d as f64 * features as f64 / search,
        milliseconds,
        parts,
    })
}

/// Rows `[n, d]` that steps take their batches from in turn.
struct Batches {
    x: Vec<f32>,
    /// Numbers of a batch, batch · d.
    len: usize,
}

impl Batches {
    fn new(shape: &StepShape, rows: Option<Vec<f32>>, seed: u64) -> Result<Self> {
        let StepShape { d, k, batch, .. } = *shape;
        let x = rows.unwrap_or_else(|| planted(d, k, BATCHES * batch, seed));
        if x.len() < batch * d || !x.len().is_multiple_of(d) {
            return Err(Error::request(format!(
                "{} numbers are not rows of {d}, or fewer than one batch of {batch}",
                x.len()
            )));
        }
        Ok(Self { x, len: batch * d })
    }

    /// The batch of step `i`.
    fn get(&self, i: usize) -> &[f32] {
        &self.x[i % (self.x.len() / self.len) * self.len..][..self.len]
    }
}

/// What the timed steps gave; the audit and the active pairs are also of those before.
struct StepFigures {
    milliseconds: Vec<f64>,
    parts: Vec<PartTime>,
    audit: Audit,
    active: u64,
}

fn step_figures(
    shape: &StepShape,
    state: &mut TrainState,
    batches: &Batches,
    (steps, seed): (usize, u64),
    threads: &ThreadPool,
    progress: &mut dyn Progress,
) -> Result<StepFigures> {
    let mut stepper = Stepper::new(shape.options()?);
    let gradients = match shape.method.scores_gradients() {
        true => loss_gradients(batches.len, seed),
        false => Vec::new(),
    };
    let dead = shape.features - (shape.dead * shape.features as f64).round() as usize;
    let (mut milliseconds, mut audit, mut active) = (Vec::new(), Audit::default(), 0);
    let mut before = stepper.parts().clone();
    progress.begin("bench", Some((steps + WARM_UP) as u64), "steps");
    for i in 0..steps + WARM_UP {
        if progress.stop_requested() {
            return Err(Error::stopped("the benchmark was not finished"));
        }
        state.since_fired[dead..].fill(u64::MAX / 2);
        if i == WARM_UP {
            before = stepper.parts().clone();
        }
        let began = Instant::now();
        let tokens = Tokens { x: batches.get(i), gradients: &gradients, targets: &[] };
        let report = threads.install(|| stepper.step(state, tokens, 1e-4))?;
        if i >= WARM_UP {
            milliseconds.push(began.elapsed().as_secs_f64() * 1e3);
        }
        audit.add(&report.audit);
        active += report.active;
        progress.advance(i as u64 + 1, "");
    }
    let part = |(part, name)| {
        let time = stepper.parts().of(part).saturating_sub(before.of(part));
        PartTime { part: name, milliseconds: time.as_secs_f64() * 1e3 / steps as f64 }
    };
    let parts = PARTS.into_iter().map(part).collect();
    Ok(StepFigures { milliseconds, parts, audit, active })
}

/// The dictionary with the weights of `state`.
fn dictionary(state: TrainState, shape: &StepShape) -> Dictionary {
    Dictionary {
        d_in: shape.d,
        d_sae: shape.features,
        w_enc: state.w_enc.value,
        b_enc: state.b_enc.value,
        w_dec: state.w_dec.value,
        b_dec: state.b_dec.value,
        selection: Selection::TopK(shape.k),
        prune_below: None,
        normalisation: Normalisation::None,
        target: None,
        info: DictionaryInfo::default(),
    }
}

/// Median time of encoding a batch.
fn encode_seconds(dictionary: &Dictionary, batches: &Batches, steps: usize, threads: &ThreadPool) -> f64 {
    let mut encoder = dictionary.encoder();
    let mut encode = |i: usize| {
        let began = Instant::now();
        threads.install(|| std::hint::black_box(encoder.encode(batches.get(i))));
        began.elapsed().as_secs_f64()
    };
    median((0..steps).map(&mut encode).collect())
}

/// The upper median of at least one number.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn check(shape: &StepShape, steps: usize) -> Result<()> {
    let StepShape { d, features, k, batch, .. } = *shape;
    if d == 0 || features == 0 || k == 0 || batch == 0 || steps == 0 {
        return Err(Error::request("d, d_sae, k, batch and steps must be above 0"));
    }
    if k > features {
        return Err(Error::request(format!("k = {k} is more than d_sae = {features}")));
    }
    if shape.method == Method::BlockChoice {
        Blocks { count: k, k }.check(features).map_err(Error::request)?;
    }
    if !(0.0..1.0).contains(&shape.dead) {
        return Err(Error::request(format!("a share of dead features is in [0, 1), not {}", shape.dead)));
    }
    Ok(())
}

impl StepShape {
    fn options(&self) -> Result<StepOptions> {
        let rule = match self.method {
            Method::Topk | Method::Gradient => Rule::Token,
            Method::AbsTopk => Rule::AbsToken,
            Method::MutualChoice | Method::GradientMutual => Rule::Mutual,
            Method::FeatureChoice | Method::GradientFeature => Rule::Feature,
            Method::BlockChoice if !self.features.is_multiple_of(self.k) => {
                let (features, k) = (self.features, self.k);
                return Err(Error::request(format!(
                    "{features} features cannot be cut into {k} equal blocks"
                )));
            }
            Method::BlockChoice => Rule::Block(Blocks { count: self.k, k: self.k }),
            other => {
                return Err(Error::request(format!("{other} is not among the methods that are timed")));
            }
        };
        let score = match self.method.scores_gradients() {
            true => Score::gradient(1.0, 1.0, GradientNorm::Token),
            false => Score::Plain,
        };
        let budgets = Budgets { law: BudgetLaw::Uniform, cap: 0.5, after: 0 };
        Ok(StepOptions {
            rule,
            score,
            budgets: (rule == Rule::Feature).then_some(budgets),
            search: if self.exact { Search::Exact } else { Search::Auto },
            coarse_aux: !self.exact,
            ..options(self.d, self.k)
        })
    }
}

/// Gradients without a preference.
fn loss_gradients(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = generator(seed, Purpose::Rows, 1, 0);
    (0..n).map(|_| normal(&mut rng)).collect()
}

fn options(d: usize, k: usize) -> StepOptions {
    StepOptions {
        aux: Aux { coefficient: 1.0 / 32.0, k: d / 2, zipf: None },
        dead_after: 10_000_000,
        input_variance: d as f64,
        ..StepOptions::topk(k)
    }
}

/// `VmHWM` of `/proc/self/status`.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// `[d]`
fn mean(x: &[f32], d: usize) -> Vec<f32> {
    let mut sums = vec![0.0; d];
    kernels::reduce::add_column_sums(&mut sums, x);
    sums.into_iter().map(|sum| (sum / (x.len() / d) as f64) as f32).collect()
}

/// A step on one random batch `[rows, d]` that can be repeated, with `features` features and `k` active ones per token. It uses the threads
/// of the pool that it is called in.
pub fn repeated_step(d: usize, features: usize, k: usize, rows: usize) -> impl FnMut() -> Result<()> + Send {
    let x = planted(d, k, rows, 1);
    let mut state = TrainState::new(features, vec![0.0; d], 1);
    let mut stepper = Stepper::new(options(d, k));
    move || stepper.step(&mut state, &x, 1e-4).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Quiet;

    const SHAPE: StepShape =
        StepShape { d: 64, features: 1100, k: 8, batch: 200, method: Method::Topk, exact: false, dead: 0.1 };

    #[test]
    fn times_are_of_as_many_steps_as_wanted() {
        for method in Method::ALL {
            let shape = StepShape { method, ..SHAPE };
            let Ok(times) = time_steps(shape, None, 3, None, 1, &mut Quiet) else {
                assert!(shape.options().is_err(), "{method}");
                continue;
            };
            assert_eq!(times.milliseconds.len(), 3);
            assert!(times.milliseconds.contains(&times.median) && times.tokens_per_second > 0.0);
            let parts: f64 = times.parts.iter().map(|p| p.milliseconds).sum();
            assert!(parts <= times.milliseconds.iter().sum::<f64>() / 3.0 + 0.1);
        }
        let exact = time_steps(StepShape { exact: true, ..SHAPE }, None, 1, None, 1, &mut Quiet).unwrap();
        assert_eq!((exact.candidates_per_match, exact.recall), (None, None));
    }

    #[test]
    fn nonsense_is_refused() {
        for shape in
            [StepShape { k: 0, ..SHAPE }, StepShape { k: 2000, ..SHAPE }, StepShape { dead: 1.0, ..SHAPE }]
        {
            assert!(time_steps(shape, None, 1, None, 1, &mut Quiet).is_err());
        }
        let short = Some(vec![0.5; 199 * 64]);
        assert!(time_steps(SHAPE, short, 1, None, 1, &mut Quiet).is_err());
        assert!(time_steps(SHAPE, None, 0, None, 1, &mut Quiet).is_err());
    }
}

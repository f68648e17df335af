//! Every method's step against oracles, and what holds for all of them.

mod aligned;
mod candidates;
mod cross_layer;
mod dense;
mod gradients;
mod rules;

use super::gradients::EncoderGradients;
use super::options::{Aux, Budgets, CosineRule, Multi, Penalty, Ramp, Resampling, Rule, Search};
use super::*;
use crate::dictionary::Shrunk;
use crate::dictionary::allocation::blocks::Blocks;
use crate::dictionary::allocation::law::BudgetLaw;
use crate::dictionary::score::{GradientNorm, Score};
use crate::train::state::Parameter;
use kernels::chance::{Purpose, generator, normal};
use kernels::encode::{chunk_rows, products};
use kernels::shrink::Shrinkage;

const D: usize = 9;
const F: usize = 30;
const B: usize = 21;

fn options() -> StepOptions {
    StepOptions {
        aux: Aux { coefficient: 1.0 / 32.0, k: 4, zipf: None },
        dead_after: 1000,
        input_variance: 8.5,
        ..StepOptions::topk(3)
    }
}

fn normals(n: usize, stream: u64) -> Vec<f32> {
    let mut rng = generator(11, Purpose::Directions, 1_000_000 + stream, 0);
    (0..n).map(|_| normal(&mut rng)).collect()
}

/// A state in which nothing is tied or zero any more, and some features are dead.
fn state(dead: &[usize]) -> TrainState {
    let mut state = TrainState::new(F, normals(D, 1), 5);
    state.w_enc.value.iter_mut().zip(normals(F * D, 2)).for_each(|(w, n)| *w += 0.2 * n);
    state.b_enc.value = normals(F, 3).iter().map(|b| 0.1 * b).collect();
    for &f in dead {
        state.since_fired[f] = 5000;
        state.b_enc.value[f] -= 0.7;
    }
    state
}

/// Makes encoder rows d + v, v at right angles to the decoder row d.
fn align(state: &mut TrainState) {
    for (e, d) in state.w_enc.value.chunks_exact_mut(D).zip(state.w_dec.value.chunks_exact(D)) {
        let along = kernels::wide::dot(e, d) as f32 - 1.0;
        e.iter_mut().zip(d).for_each(|(e, d)| *e -= along * d);
    }
}

fn batch() -> Vec<f32> {
    normals(B * D, 4).iter().map(|x| 2.0 * x + 0.3).collect()
}

/// Gradients of a model's loss; some tokens have none.
fn model_gradients() -> Vec<f32> {
    let scaled = |(i, g): (usize, f32)| if i / D % 5 == 2 { 0.0 } else { g * (1.0 + (i / D) as f32) };
    normals(B * D, 6).into_iter().enumerate().map(scaled).collect()
}

/// Features and codes of every token.
fn codes(stepper: &Stepper) -> Vec<(Vec<u32>, Vec<f32>)> {
    let rows = |chunk: &select::ChunkPairs| {
        let row = |i: usize| (chunk.main.codes.row(i).0.to_vec(), chunk.main.codes.row(i).1.to_vec());
        (0..chunk.main.codes.rows()).map(row).collect::<Vec<_>>()
    };
    stepper.memory.pairs.chunks.iter().flat_map(rows).collect()
}

/// A method at work: what it is called, what it is told, and the state that it needs.
struct Case {
    name: &'static str,
    options: StepOptions,
    state: TrainState,
}

impl Case {
    fn new(name: &'static str, change: impl FnOnce(&mut StepOptions, &mut TrainState)) -> Self {
        let (mut options, mut state) = (options(), state(&[]));
        change(&mut options, &mut state);
        Self { name, options, state }
    }
}

/// Every method, and every option that changes a loss.
fn cases() -> Vec<Case> {
    const DEAD: [usize; 7] = [2, 7, 8, 15, 16, 23, 29];
    let gradient = |norm| Score::gradient(0.5, 1.5, norm);
    let budgets = Budgets { law: BudgetLaw::Uniform, cap: 1.0, after: 0 };
    let own = |state: &mut TrainState, n: usize, scale: f32, shift: f32| {
        state.own = Parameter::new(normals(n * F, 9).iter().map(|v| scale * v + shift).collect());
    };
    let penalised = |options: &mut StepOptions, penalty, lambda| {
        (options.penalty, options.sparsity) = (penalty, Ramp::constant(lambda));
    };
    let shrunk = |name, kind, lambda: f64| {
        Case::new(name, |options, _| {
            options.rule = Rule::Shrunk(Shrunk { kind, lambda: lambda as f32, unit: 1.0 });
            penalised(options, Penalty::Shrunk(kind), lambda);
        })
    };
    vec![
        Case::new("topk", |_, _| {}),
        Case::new("topk, auxk", |_, s| *s = state(&DEAD)),
        Case::new("topk, auxk of few", |o, s| {
            o.aux.k = 1;
            *s = state(&DEAD);
        }),
        Case::new("topk, candidates, auxk of few", |o, s| {
            (o.search, o.aux.k) = (Search::Candidates, 1);
            *s = state(&DEAD);
        }),
        Case::new("topk, candidates", |o, _| o.search = Search::Candidates),
        Case::new("topk, candidates, auxk, multi", |o, s| {
            o.search = Search::Candidates;
            o.multi = Some(Multi { multiple: 2.0, weight: 0.125 });
            *s = state(&DEAD);
        }),
        Case::new("topk, aux-zipf", |o, s| {
            o.aux.zipf = Some((BudgetLaw::Fit, 0.5));
            o.rate_window = 100;
            *s = state(&[3]);
            s.step = 10;
            s.rates = (0..F).map(|f| 0.02 * (f % 5) as f32).collect();
            s.expected_rates = vec![0.07; F];
        }),
        Case::new("topk, multi", |o, _| o.multi = Some(Multi { multiple: 4.0, weight: 0.125 })),
        Case::new("abs-topk", |o, _| o.rule = Rule::AbsToken),
        Case::new("abs-topk, auxk, multi", |o, s| {
            o.rule = Rule::AbsToken;
            o.multi = Some(Multi { multiple: 2.0, weight: 0.125 });
            *s = state(&DEAD);
        }),
        Case::new("mutual-choice", |o, _| o.rule = Rule::Mutual),
        Case::new("mutual-choice, candidates, auxk, multi", |o, s| {
            (o.rule, o.search) = (Rule::Mutual, Search::Candidates);
            o.multi = Some(Multi { multiple: 3.0, weight: 0.25 });
            *s = state(&DEAD);
        }),
        Case::new("mutual-choice, auxk, multi", |o, s| {
            o.rule = Rule::Mutual;
            o.multi = Some(Multi { multiple: 3.0, weight: 0.25 });
            *s = state(&DEAD);
        }),
        Case::new("feature-choice", |o, s| {
            (o.rule, o.budgets) = (Rule::Feature, Some(budgets));
            s.budgets = (0..F as u32).map(|f| 1 + f % 4).collect();
        }),
        Case::new("feature-choice, auxk", |o, s| {
            (o.rule, o.budgets) = (Rule::Feature, Some(budgets));
            *s = state(&DEAD);
            s.budgets = (0..F as u32).map(|f| 1 + f % 4).collect();
        }),
        Case::new("block-choice", |o, _| o.rule = Rule::Block(Blocks { count: 5, k: 10 })),
        Case::new("block-choice, auxk", |o, s| {
            o.rule = Rule::Block(Blocks { count: 3, k: 3 });
            *s = state(&DEAD);
        }),
        Case::new("gradient", |o, _| o.score = gradient(GradientNorm::Token)),
        Case::new("gradient-mutual", |o, _| {
            (o.rule, o.score) = (Rule::Mutual, gradient(GradientNorm::Batch));
        }),
        Case::new("gradient-feature", |o, s| {
            (o.rule, o.budgets, o.score) = (Rule::Feature, Some(budgets), gradient(GradientNorm::Token));
            s.budgets = (0..F as u32).map(|f| 1 + f % 4).collect();
        }),
        Case::new("relu", |o, _| {
            o.rule = Rule::Active;
            penalised(o, Penalty::Sum, 0.6);
        }),
        Case::new("p-anneal", |o, s| {
            o.rule = Rule::Active;
            penalised(o, Penalty::Power, 0.6);
            (o.power, s.penalty_scale) = (Ramp::constant(0.4), 1.3);
        }),
        shrunk("shrinkage, soft", Shrinkage::Soft, 0.5),
        shrunk("shrinkage, hard", Shrinkage::Hard, 0.5),
        shrunk("shrinkage, half", Shrinkage::Half, 0.5),
        shrunk("shrinkage, firm", Shrinkage::Firm, 0.5),
        shrunk("shrinkage, log-sum", Shrinkage::LogSum, 0.4),
        Case::new("shrinkage, half, auxk", |o, s| {
            o.rule = Rule::Shrunk(Shrunk { kind: Shrinkage::Half, lambda: 0.5, unit: 1.0 });
            penalised(o, Penalty::Shrunk(Shrinkage::Half), 0.5);
            *s = state(&DEAD);
        }),
        Case::new("jumprelu, number", |o, s| {
            o.rule = Rule::Jump { bandwidth: 0.8 };
            penalised(o, Penalty::Count, 0.6);
            own(s, 1, 0.3, -0.5);
        }),
        Case::new("jumprelu, tanh", |o, s| {
            o.rule = Rule::Jump { bandwidth: 2.5 };
            penalised(o, Penalty::Tanh(1.5), 0.6);
            own(s, 1, 0.3, -0.5);
        }),
        Case::new("gated", |o, s| {
            o.rule = Rule::Gated;
            penalised(o, Penalty::Sum, 0.6);
            own(s, 2, 0.2, 0.0);
        }),
        Case::new("matryoshka, auxk", |o, s| {
            (o.rule, o.widths) = (Rule::Mutual, vec![3, 11, 12, F]);
            *s = state(&DEAD);
        }),
        Case::new("matryoshka, detached", |o, _| {
            (o.rule, o.widths, o.detached_widths) = (Rule::Mutual, vec![3, 11, 20, F], true);
        }),
        Case::new("matryoshka, detached, sorted, auxk", |o, s| {
            (o.rule, o.widths) = (Rule::Mutual, vec![3, 11, 20, F]);
            (o.detached_widths, o.sorted_widths) = (true, true);
            *s = state(&DEAD);
            s.rates = (0..F).map(|f| 0.02 * (f * 7 % 11) as f32).collect();
        }),
        Case::new("matryoshka, sorted, tilted", |o, s| {
            (o.rule, o.widths, o.sorted_widths) = (Rule::Mutual, vec![5, 16, F], true);
            o.tilt = 0.7;
            s.rates = (0..F).map(|f| 0.02 * (f * 7 % 11) as f32).collect();
        }),
        Case::new("matryoshka, sorted, detached, corrected, tilted", |o, s| {
            (o.rule, o.widths) = (Rule::Mutual, vec![5, 16, F]);
            (o.detached_widths, o.sorted_widths, o.tilt, o.refine) = (true, true, 0.7, Some(0.3));
            s.rates = (0..F).map(|f| 0.02 * (f * 7 % 11) as f32).collect();
        }),
        Case::new("topk, corrected", |o, _| o.refine = Some(0.3)),
        Case::new("topk, corrected, candidates, auxk", |o, s| {
            (o.refine, o.search) = (Some(0.4), Search::Candidates);
            *s = state(&DEAD);
        }),
        Case::new("mutual-choice, corrected, auxk", |o, s| {
            (o.rule, o.refine) = (Rule::Mutual, Some(0.2));
            *s = state(&DEAD);
        }),
        Case::new("cosine", |o, s| {
            o.rule = Rule::Cosine(CosineRule { of_batch: false, shared: false });
            own(s, 1, 0.7, 0.2);
        }),
        Case::new("cosine-mutual, auxk", |o, s| {
            o.rule = Rule::Cosine(CosineRule { of_batch: true, shared: false });
            *s = state(&DEAD);
            own(s, 1, 0.7, -0.4);
        }),
        Case::new("matching-pursuit", |o, _| (o.rule, o.aux.coefficient) = (Rule::Pursuit, 0.0)),
        Case::new("matching-pursuit of many, tilted", |o, _| {
            (o.rule, o.aux.coefficient, o.tilt) = (Rule::Pursuit, 0.0, 0.6);
            o.k = Ramp::constant(14.0);
        }),
        Case::new("topk, aligned, auxk", |o, s| {
            o.aligned = true;
            *s = state(&DEAD);
            align(s);
        }),
        Case::new("topk, tilted, auxk", |o, s| {
            o.tilt = 0.5;
            *s = state(&DEAD);
        }),
        Case::new("relu, tilted", |o, _| {
            (o.rule, o.tilt) = (Rule::Active, 1.5);
            penalised(o, Penalty::Sum, 0.6);
        }),
    ]
}

#[test]
fn decoder_rows_have_norm_1_after_every_step() {
    let (mut state, x) = (state(&[3, 4]), batch());
    let mut stepper = Stepper::new(options());
    for _ in 0..20 {
        let report = stepper.step(&mut state, &x, 0.01).unwrap();
        assert!(
            report.decoder_norm >= 1.0 - 1e-6,
            "without its parallel part a step can only lengthen a row"
        );
        for row in state.w_dec.value.chunks_exact(D) {
            assert!((row.iter().map(|w| w * w).sum::<f32>().sqrt() - 1.0).abs() < 1e-6);
        }
    }
    assert_eq!(state.step, 20);
}

#[test]
fn silence_is_counted_in_tokens() {
    let (mut state, x) = (state(&[3]), batch());
    state.b_enc.value[7] = -1e3;
    let mut stepper = Stepper::new(options());
    stepper.step(&mut state, &x, 1e-6).unwrap();
    stepper.step(&mut state, &x, 1e-6).unwrap();
    assert_eq!(state.since_fired[7], 2 * B as u64);
    assert!(state.since_fired.iter().filter(|&&s| s == 0).count() > F / 2);
}

#[test]
fn a_step_gives_the_same_bits_on_any_number_of_threads() {
    // Wide enough for several chunks and tasks.
    let (d, f) = (16, 20_000);
    let x = normals(700 * d, 8);
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut state = TrainState::new(f, vec![0.1; d], 2);
            let mut stepper = Stepper::new(StepOptions { dead_after: 1400, ..options() });
            let reports: Vec<_> = (0..4).map(|_| stepper.step(&mut state, &x, 1e-3).unwrap()).collect();
            (state, reports)
        })
    };
    let one = run(1);
    assert!(one.1[3].dead > 0 && one.1[3].auxk > 0.0, "dead features take part");
    assert_eq!(one, run(2));
    assert_eq!(one, run(5));
}

#[test]
fn the_loss_falls() {
    let (mut state, x) = (state(&[]), batch());
    let mut stepper = Stepper::new(options());
    let losses: Vec<f64> = (0..200).map(|_| stepper.step(&mut state, &x, 3e-3).unwrap().mse).collect();
    assert!(losses[199] < 0.4 * losses[0], "{} → {}", losses[0], losses[199]);
}

#[test]
fn a_loss_that_is_not_finite_names_the_step() {
    let (mut state, mut x) = (state(&[]), batch());
    state.step = 41;
    x[3] = f32::MAX;
    let message = Stepper::new(options()).step(&mut state, &x, 1e-3).unwrap_err().to_string();
    assert!(message.contains("step 42"), "{message}");
    let mut lost = self::state(&[]);
    lost.w_enc.value[5 * D] = f32::NAN;
    let message = Stepper::new(options()).step(&mut lost, &batch(), 1e-3).unwrap_err().to_string();
    assert!(message.contains("feature 5"), "{message}");
}

/// `cargo test --lib train::step -- --ignored --nocapture`, on an idle machine.
#[test]
#[ignore = "a measurement, not a check"]
fn time_of_a_step_and_of_its_dense_product() {
    for (d, features, k, rows) in [(640, 10_240, 32, 2048), (128, 2048, 32, 2048)] {
        let mut step = crate::train::measure::repeated_step(d, features, k, rows);
        let (a, b) = (normals(rows * d, 1), normals(features * d, 2));
        let mut out = Vec::new();
        let mut product = || {
            for chunk in a.chunks(chunk_rows(features) * d) {
                products(&mut out, chunk, &b, d);
            }
        };
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let best_of = |work: &mut dyn FnMut()| {
            work();
            let time = |work: &mut dyn FnMut()| {
                let began = std::time::Instant::now();
                work();
                began.elapsed().as_secs_f64() * 1e3
            };
            (0..5).map(|_| time(work)).fold(f64::INFINITY, f64::min)
        };
        let dense = best_of(&mut product);
        let mut milliseconds = f64::INFINITY;
        one.scope(|_| milliseconds = best_of(&mut || drop(step())));
        println!(
            "d {d}, F {features}: step {milliseconds:.1} ms, dense product {dense:.1} ms, on one thread"
        );
    }
}

/// The same for every method, at d = 640, F = 10,240, k = 32, 2048 tokens.
#[test]
#[ignore = "a measurement, not a check"]
fn time_of_a_step_of_every_method() {
    let (d, f, rows) = (640, 10_240, 2048);
    let (x, g) = (normals(rows * d, 1), normals(rows * d, 2));
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
    for case in cases().into_iter().filter(|case| !case.name.contains("aux")) {
        let mut options = StepOptions { k: Ramp::constant(32.0), ..case.options };
        options.widths = if options.widths.is_empty() { Vec::new() } else { vec![640, 2560, f] };
        let mut state = TrainState::new(f, vec![0.0; d], 2);
        state.own = Parameter::new(vec![0.5; f * options.rule.own_parameters()]);
        if options.rule == Rule::Feature {
            state.budgets = vec![(32 * rows / f) as u32; f];
        }
        let mut stepper = Stepper::new(options);
        let mut milliseconds = f64::INFINITY;
        one.install(|| {
            for _ in 0..4 {
                let began = std::time::Instant::now();
                stepper.step(&mut state, Tokens { x: &x, gradients: &g, targets: &[] }, 1e-4).unwrap();
                milliseconds = milliseconds.min(began.elapsed().as_secs_f64() * 1e3);
            }
        });
        println!("{}: {milliseconds:.0} ms", case.name);
    }
}

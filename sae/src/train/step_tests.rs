use candle_core::{DType, Device, Tensor, Var};

use super::*;
use crate::train::random::{Purpose, generator, normal};

const D: usize = 9;
const F: usize = 30;
const B: usize = 21;

fn options() -> StepOptions {
    StepOptions {
        k: 3,
        k_aux: 4,
        dead_after: 1000,
        auxk_coefficient: 1.0 / 32.0,
        input_variance: 8.5,
        betas: (0.9, 0.999),
        epsilon: 6.25e-10,
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

fn batch() -> Vec<f32> {
    normals(B * D, 4).iter().map(|x| 2.0 * x + 0.3).collect()
}

/// All gradients of the loss: W_enc, b_enc, W_dec, b_dec; end to end.
fn kernel_gradients(state: &TrainState, x: &[f32]) -> (StepReport, [Vec<f64>; 4]) {
    let mut stepper = Stepper::new(F, options());
    let report = stepper.forward(state, x);
    let mut all = [Vec::new(), Vec::new(), Vec::new(), stepper.b_dec_gradient(D, B as u64)];
    let (mut gradient, mut sources) = (Gradient::default(), Vec::new());
    for f in 0..F {
        stepper.sources(f, &mut sources);
        gradient.collect(D, &sources);
        all[0].extend(gradient.encoder.iter().map(|&g| f64::from(g)));
        all[1].push(f64::from(gradient.bias));
        all[2].extend(gradient.decoder.iter().map(|&g| f64::from(g)));
        for (g, w) in all[3].iter_mut().zip(&state.w_enc.value[f * D..(f + 1) * D]) {
            *g -= f64::from(gradient.bias) * f64::from(*w);
        }
    }
    (report, all)
}

/// Parameters in double precision: W_enc, b_enc, W_dec, b_dec.
fn parameters(state: &TrainState) -> [Vec<f64>; 4] {
    [&state.w_enc, &state.b_enc, &state.w_dec, &state.b_dec]
        .map(|p| p.value.iter().map(|&v| f64::from(v)).collect())
}

fn pre_activations([w_enc, b_enc, _, b_dec]: &[Vec<f64>; 4], x: &[f64]) -> Vec<f64> {
    (0..F).map(|f| b_enc[f] + (0..D).map(|c| (x[c] - b_dec[c]) * w_enc[f * D + c]).sum::<f64>()).collect()
}

/// The `k` largest positive entries among `allowed`, found by sorting.
fn best(z: &[f64], k: usize, allowed: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut order: Vec<usize> = (0..F).filter(|&f| allowed(f) && z[f] > 0.0).collect();
    order.sort_by(|&a, &b| z[b].total_cmp(&z[a]));
    order.truncate(k);
    order
}

/// The loss written down densely in double precision. `residual` is the constant that dead features reconstruct; it comes from
/// the unchanged parameters.
struct Dense<'a> {
    x: Vec<Vec<f64>>,
    state: &'a TrainState,
}

impl Dense<'_> {
    fn errors(&self, p: &[Vec<f64>; 4]) -> Vec<Vec<f64>> {
        let row = |x: &Vec<f64>| {
            let z = pre_activations(p, x);
            let chosen = best(&z, options().k, |_| true);
            (0..D)
                .map(|c| p[3][c] - x[c] + chosen.iter().map(|&f| z[f] * p[2][f * D + c]).sum::<f64>())
                .collect()
        };
        self.x.iter().map(row).collect()
    }

    fn loss(&self, p: &[Vec<f64>; 4], residual: &[Vec<f64>]) -> (f64, f64) {
        let squares = |rows: &[Vec<f64>]| rows.iter().flatten().map(|v| v * v).sum::<f64>();
        let mse = squares(&self.errors(p)) / B as f64;
        let is_dead = |f: usize| self.state.since_fired[f] >= options().dead_after;
        if !(0..F).any(is_dead) {
            return (mse, 0.0);
        }
        let wrong: Vec<Vec<f64>> = self
            .x
            .iter()
            .zip(residual)
            .map(|(x, r)| {
                let z = pre_activations(p, x);
                let chosen = best(&z, options().k_aux, is_dead);
                (0..D).map(|c| chosen.iter().map(|&f| z[f] * p[2][f * D + c]).sum::<f64>() - r[c]).collect()
            })
            .collect();
        let mean: Vec<f64> = (0..D).map(|c| residual.iter().map(|r| r[c]).sum::<f64>() / B as f64).collect();
        let spread: f64 =
            residual.iter().map(|r| (0..D).map(|c| (r[c] - mean[c]).powi(2)).sum::<f64>()).sum();
        (mse, options().auxk_coefficient * options().input_variance * squares(&wrong) / spread)
    }
}

fn check_against_finite_differences(dead: &[usize]) {
    let state = state(dead);
    let x = batch();
    let (report, gradients) = kernel_gradients(&state, &x);
    let dense =
        Dense { x: x.chunks(D).map(|r| r.iter().map(|&v| f64::from(v)).collect()).collect(), state: &state };
    let base = parameters(&state);
    let residual: Vec<Vec<f64>> =
        dense.errors(&base).iter().map(|e| e.iter().map(|v| -v).collect()).collect();
    let (mse, auxk) = dense.loss(&base, &residual);
    assert!((report.mse - mse).abs() < 1e-5 * mse, "{} and {mse}", report.mse);
    assert!((report.auxk - auxk).abs() < 1e-5 * auxk.max(1e-9), "{} and {auxk}", report.auxk);
    assert_eq!(auxk > 0.0, !dead.is_empty());
    let step = 1e-6;
    for (name, which) in ["W_enc", "b_enc", "W_dec", "b_dec"].iter().zip(0..) {
        let largest = gradients[which].iter().fold(0.0_f64, |a, g| a.max(g.abs()));
        for i in 0..base[which].len() {
            let loss = |shift: f64| {
                let mut moved = base.clone();
                moved[which][i] += shift;
                let (mse, auxk) = dense.loss(&moved, &residual);
                mse + auxk
            };
            let expected = (loss(step) - loss(-step)) / (2.0 * step);
            let got = gradients[which][i];
            assert!(
                (got - expected).abs() < 1e-4 * largest,
                "{name}[{i}]: {got}, finite difference {expected}"
            );
        }
    }
}

#[test]
fn gradients_equal_finite_differences() {
    check_against_finite_differences(&[]);
}

#[test]
fn gradients_with_dead_features_equal_finite_differences() {
    check_against_finite_differences(&[2, 7, 8, 15, 16, 23, 29]);
}

/// The same loss built from tensors, differentiated by candle.
#[test]
fn gradients_equal_autograd() -> Result<()> {
    let state = state(&[1, 5, 6, 20, 28]);
    let x = batch();
    let (report, gradients) = kernel_gradients(&state, &x);
    let p = parameters(&state);
    let tensor = |v: &[f64], shape: (usize, usize)| Tensor::from_slice(v, shape, &Device::Cpu);
    let var = |v: &[f64], shape: (usize, usize)| Var::from_tensor(&tensor(v, shape)?);
    let vars = [var(&p[0], (F, D))?, var(&p[1], (1, F))?, var(&p[2], (F, D))?, var(&p[3], (1, D))?];
    let [w_enc, b_enc, w_dec, b_dec] = vars.each_ref();
    let x64: Vec<f64> = x.iter().map(|&v| f64::from(v)).collect();
    let input = tensor(&x64, (B, D))?;
    let mask = |allowed: &dyn Fn(usize) -> bool, k: usize| {
        let mut mask = vec![0.0; B * F];
        for (b, row) in x64.chunks(D).enumerate() {
            best(&pre_activations(&p, row), k, allowed).into_iter().for_each(|f| mask[b * F + f] = 1.0);
        }
        tensor(&mask, (B, F))
    };
    let z = input.broadcast_sub(b_dec)?.matmul(&w_enc.t()?)?.broadcast_add(b_enc)?;
    let codes = z.relu()?.mul(&mask(&|_| true, options().k)?)?;
    let reconstruction = codes.matmul(w_dec)?.broadcast_add(b_dec)?;
    let mse = (reconstruction.sub(&input)?.sqr()?.sum_all()? / B as f64)?;
    let residual = input.sub(&reconstruction)?.detach();
    let dead = |f: usize| state.since_fired[f] >= options().dead_after;
    let aux = z.relu()?.mul(&mask(&dead, options().k_aux)?)?.matmul(w_dec)?;
    let spread = residual.broadcast_sub(&residual.mean_keepdim(0)?)?.sqr()?.sum_all()?.to_scalar::<f64>()?;
    let factor = options().auxk_coefficient * options().input_variance / spread;
    let auxk = (aux.sub(&residual)?.sqr()?.sum_all()? * factor)?;
    let loss = (mse + auxk)?;
    assert_eq!(loss.dtype(), DType::F64);
    assert!((loss.to_scalar::<f64>()? - report.loss).abs() < 1e-5 * report.loss);
    let store = loss.backward()?;
    for ((name, var), got) in ["W_enc", "b_enc", "W_dec", "b_dec"].iter().zip(&vars).zip(&gradients) {
        let expected = store.get(var).expect(name).flatten_all()?.to_vec1::<f64>()?;
        let largest = expected.iter().fold(0.0_f64, |a, g| a.max(g.abs()));
        for (i, (got, expected)) in got.iter().zip(&expected).enumerate() {
            assert!((got - expected).abs() < 2e-6 * largest, "{name}[{i}]: {got}, autograd {expected}");
        }
    }
    Ok(())
}

#[test]
fn decoder_rows_have_norm_1_after_every_step() {
    let (mut state, x) = (state(&[3, 4]), batch());
    let mut stepper = Stepper::new(F, options());
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
    let mut stepper = Stepper::new(F, options());
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
            let mut stepper = Stepper::new(f, StepOptions { dead_after: 1400, ..options() });
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
    let mut stepper = Stepper::new(F, options());
    let losses: Vec<f64> = (0..200).map(|_| stepper.step(&mut state, &x, 3e-3).unwrap().mse).collect();
    assert!(losses[199] < 0.4 * losses[0], "{} → {}", losses[0], losses[199]);
}

#[test]
fn a_loss_that_is_not_finite_names_the_step() {
    let (mut state, mut x) = (state(&[]), batch());
    state.step = 41;
    x[3] = f32::MAX;
    let message = Stepper::new(F, options()).step(&mut state, &x, 1e-3).unwrap_err().to_string();
    assert!(message.contains("step 42"), "{message}");
    let mut lost = self::state(&[]);
    lost.w_enc.value[5 * D] = f32::NAN;
    let message = Stepper::new(F, options()).step(&mut lost, &batch(), 1e-3).unwrap_err().to_string();
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

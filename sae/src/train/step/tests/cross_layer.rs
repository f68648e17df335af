//! Cross-layer transcoders: a step's codes, loss and gradients against a twin in double precision that follows the definition, with
//! finite differences.

use super::super::cross_layer::{LayerSteppers, LayerTokens};
use super::*;

const L: usize = 3;
const K: usize = 3;

/// Parameters of a layer in double precision.
#[derive(Clone)]
struct Layer {
    w_enc: Vec<f64>,
    b_enc: Vec<f64>,
    /// `[F][L − layer][D]`
    w_dec: Vec<f64>,
    thresholds: Vec<f64>,
    dead: Vec<usize>,
}

/// What counts as constant when gradients are taken: which pairs are active, and the residual that dead features explain.
#[derive(Clone, Default)]
struct Constant {
    /// `[layer][B][…]`
    active: Vec<Vec<Vec<usize>>>,
    aux: Vec<Vec<Vec<usize>>>,
    /// `[B][L · D]`
    residual: Vec<f64>,
}

#[derive(Clone)]
struct Twin {
    layers: Vec<Layer>,
    b_dec: Vec<f64>,
    x: Vec<Vec<f64>>,
    y: Vec<f64>,
    options: Vec<StepOptions>,
}

fn doubles(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&x| f64::from(x)).collect()
}

impl Twin {
    fn z(&self, layer: usize, b: usize, f: usize) -> f64 {
        let (of, x) = (&self.layers[layer], &self.x[layer][b * D..(b + 1) * D]);
        of.b_enc[f] + (0..D).map(|c| x[c] * of.w_enc[f * D + c]).sum::<f64>()
    }

    fn best(&self, mut pairs: Vec<(f64, usize, usize)>, most: usize) -> Vec<Vec<usize>> {
        pairs.retain(|pair| pair.0 > 0.0);
        pairs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut rows = vec![Vec::new(); B];
        pairs.into_iter().take(most).for_each(|(_, b, f)| rows[b].push(f));
        rows
    }

    /// Which pairs of a layer are active, by the definition of its rule.
    fn active(&self, layer: usize) -> Vec<Vec<usize>> {
        let all = |b: usize| (0..F).map(move |f| (self.z(layer, b, f), b, f));
        let rows = |keep: &dyn Fn(usize, f64) -> bool| -> Vec<Vec<usize>> {
            (0..B).map(|b| (0..F).filter(|&f| keep(f, self.z(layer, b, f))).collect()).collect()
        };
        match self.options[layer].rule {
            Rule::Token => (0..B).map(|b| self.best(all(b).collect(), K).swap_remove(b)).collect(),
            Rule::Mutual => self.best((0..B).flat_map(all).collect(), K * B),
            Rule::Active => rows(&|_, z| z > 0.0),
            Rule::Jump { .. } => rows(&|f, z| z > self.layers[layer].thresholds[f]),
            other => panic!("{other:?} has no twin"),
        }
    }

    /// Adds `v · W_dec` of the pairs of a layer to `out[L · D]` of token `b`.
    fn write(&self, layer: usize, b: usize, features: &[usize], out: &mut [f64]) {
        let width = (L - layer) * D;
        for &f in features {
            let v = self.z(layer, b, f);
            for c in 0..width {
                out[layer * D + c] += v * self.layers[layer].w_dec[f * width + c];
            }
        }
    }

    /// What is constant at these parameters.
    fn constant(&self) -> Constant {
        let active: Vec<_> = (0..L).map(|layer| self.active(layer)).collect();
        let aux = (0..L).map(|layer| {
            let of_token = |b: usize| {
                let dead = self.layers[layer].dead.iter().map(|&f| (self.z(layer, b, f), b, f)).collect();
                self.best(dead, self.options[layer].aux.k).swap_remove(b)
            };
            (0..B).map(of_token).collect()
        });
        let aux = aux.collect();
        let residual = self.errors(&active).into_iter().map(|e| -e).collect();
        Constant { active, aux, residual }
    }

    /// ŷ − y, `[B][L · D]`.
    fn errors(&self, active: &[Vec<Vec<usize>>]) -> Vec<f64> {
        let row = |b: usize| {
            let mut out = self.b_dec.clone();
            active.iter().enumerate().for_each(|(layer, rows)| self.write(layer, b, &rows[b], &mut out));
            out.iter().zip(&self.y[b * L * D..]).map(|(made, y)| made - y).collect::<Vec<f64>>()
        };
        (0..B).flat_map(row).collect()
    }

    /// The whole loss: mean squared errors of all layers, penalties, and the auxiliary loss of each layer.
    fn loss(&self, constant: &Constant) -> f64 {
        let n = B as f64;
        let mut loss = self.errors(&constant.active).iter().map(|e| e * e).sum::<f64>() / n;
        for (layer, options) in self.options.iter().enumerate() {
            let lambda = options.sparsity.to;
            for (b, features) in constant.active[layer].iter().enumerate() {
                for &f in features {
                    let v = self.z(layer, b, f);
                    loss += match options.penalty {
                        Penalty::Sum => lambda * v / n,
                        Penalty::Tanh(c) => lambda * (f64::from(c) * v).tanh() / n,
                        _ => 0.0,
                    };
                }
            }
            if self.layers[layer].dead.is_empty() {
                continue;
            }
            let tail = layer * D..L * D;
            let (mut squares, mut rows) = (0.0, Vec::new());
            for b in 0..B {
                let mut made = vec![0.0; L * D];
                self.write(layer, b, &constant.aux[layer][b], &mut made);
                let residual = &constant.residual[b * L * D..(b + 1) * L * D];
                squares +=
                    tail.clone().map(|c| (made[c] - residual[c]) * (made[c] - residual[c])).sum::<f64>();
                rows.push(&residual[tail.clone()]);
            }
            let mean = |c: usize| rows.iter().map(|row| row[c]).sum::<f64>() / n;
            let spread: f64 = (0..tail.len())
                .map(|c| {
                    let mean = mean(c);
                    rows.iter().map(|row| (row[c] - mean) * (row[c] - mean)).sum::<f64>()
                })
                .sum();
            loss += options.aux.coefficient * options.input_variance * squares / spread;
        }
        loss
    }
}

/// A case: rule, penalty, whether features are dead, and whether candidates are searched.
struct Case {
    name: &'static str,
    options: StepOptions,
    dead: Vec<usize>,
}

fn layer_cases() -> Vec<Case> {
    let plain = || StepOptions { k: Ramp::constant(K as f64), ..options() };
    let penalised = |rule, penalty| StepOptions { rule, penalty, sparsity: Ramp::constant(0.4), ..plain() };
    let dead = vec![2, 7, 8, 15, 16, 23, 29];
    let few = Aux { coefficient: 1.0 / 32.0, k: 1, zipf: None };
    let found = StepOptions { search: Search::Candidates, ..plain() };
    vec![
        Case { name: "topk", options: plain(), dead: vec![] },
        Case { name: "topk, auxk", options: plain(), dead: dead.clone() },
        Case { name: "topk, auxk of few", options: StepOptions { aux: few, ..plain() }, dead: dead.clone() },
        Case { name: "topk, candidates, auxk", options: found.clone(), dead: dead.clone() },
        Case { name: "batch-topk", options: StepOptions { rule: Rule::Mutual, ..plain() }, dead },
        Case {
            name: "batch-topk, candidates",
            options: StepOptions { rule: Rule::Mutual, ..found },
            dead: vec![],
        },
        Case { name: "relu", options: penalised(Rule::Active, Penalty::Sum), dead: vec![] },
        Case {
            name: "jumprelu",
            options: penalised(Rule::Jump { bandwidth: 0.01 }, Penalty::Tanh(1.5)),
            dead: vec![],
        },
    ]
}

/// States of all layers in which nothing is tied or zero any more.
fn states(case: &Case) -> Vec<TrainState> {
    let layer = |layer: usize| {
        let stream = 100 * (layer as u64 + 1);
        let b_dec = if layer == 0 { normals(L * D, 1) } else { Vec::new() };
        let mut state = TrainState::of_layer((layer, L), F, D, b_dec, 5);
        state.w_enc.value.iter_mut().zip(normals(F * D, stream)).for_each(|(w, n)| *w += 0.2 * n);
        state.w_dec.value = normals(state.w_dec.value.len(), stream + 1);
        for row in state.w_dec.value.chunks_exact_mut(state.d_out) {
            kernels::feature::make_unit(row);
        }
        state.b_enc.value = normals(F, stream + 2).iter().map(|b| 0.1 * b).collect();
        if case.options.rule.own_parameters() == 1 {
            state.own = Parameter::new(normals(F, stream + 3).iter().map(|v| 0.3 * v - 0.5).collect());
        }
        for &f in &case.dead {
            state.since_fired[f] = 5000;
            state.b_enc.value[f] -= 0.7;
        }
        state
    };
    (0..L).map(layer).collect()
}

fn inputs() -> (Vec<Vec<f32>>, Vec<f32>) {
    let x: Vec<Vec<f32>> =
        (0..L as u64).map(|i| normals(B * D, 40 + i).iter().map(|x| 2.0 * x + 0.3).collect()).collect();
    let noise = normals(B * L * D, 50);
    let y = (0..B * L * D).map(|i| {
        let (b, column) = (i / (L * D), i % (L * D));
        1.5 * x[column / D][b * D + (column + 3) % D] - 0.7 + noise[i]
    });
    let y = y.collect();
    (x, y)
}

/// V of each layer differs.
fn options_of(case: &Case) -> Vec<StepOptions> {
    (0..L).map(|i| StepOptions { input_variance: 8.5 - i as f64, ..case.options.clone() }).collect()
}

fn twin(case: &Case, states: &[TrainState]) -> Twin {
    let (x, y) = inputs();
    let layer = |state: &TrainState| Layer {
        w_enc: doubles(&state.w_enc.value),
        b_enc: doubles(&state.b_enc.value),
        w_dec: doubles(&state.w_dec.value),
        thresholds: doubles(&state.own.value).into_iter().map(f64::exp).collect(),
        dead: case.dead.clone(),
    };
    Twin {
        layers: states.iter().map(layer).collect(),
        b_dec: doubles(&states[0].b_dec.value),
        x: x.iter().map(|x| doubles(x)).collect(),
        y: doubles(&y),
        options: options_of(case),
    }
}

/// The kernels' forward pass of a case.
fn forward(case: &Case, states: &mut [TrainState]) -> (LayerSteppers, StepReport) {
    let (x, y) = inputs();
    let x: Vec<&[f32]> = x.iter().map(Vec::as_slice).collect();
    let mut steppers = LayerSteppers::new(options_of(case));
    let mut states: Vec<&mut TrainState> = states.iter_mut().collect();
    let report = steppers.forward(&mut states, LayerTokens { x: &x, targets: &y });
    (steppers, report)
}

#[test]
fn codes_and_loss_equal_the_definition() {
    for case in layer_cases() {
        let mut states = states(&case);
        let twin = twin(&case, &states);
        let constant = twin.constant();
        let (steppers, report) = forward(&case, &mut states);
        let name = case.name;
        for (layer, stepper) in steppers.steppers().iter().enumerate() {
            for (b, (features, values)) in codes(stepper).into_iter().enumerate() {
                let fired: Vec<usize> = features
                    .iter()
                    .zip(&values)
                    .filter(|(_, v)| **v > 0.0)
                    .map(|(&f, _)| f as usize)
                    .collect();
                let mut expected = constant.active[layer][b].clone();
                expected.sort_unstable();
                assert_eq!(fired, expected, "{name}: layer {layer}, token {b}");
                for (&f, &v) in features.iter().zip(&values).filter(|(_, v)| **v > 0.0) {
                    assert!((f64::from(v) - twin.z(layer, b, f as usize)).abs() < 1e-4, "{name}");
                }
            }
        }
        let loss = twin.loss(&constant);
        assert!((report.loss - loss).abs() < 1e-5 * loss, "{name}: {} and {loss}", report.loss);
        let wrong: f64 = twin.errors(&constant.active).iter().map(|e| e * e).sum();
        assert!((report.squared_error - wrong).abs() < 1e-5 * wrong, "{name}");
        let squares: f64 = twin.y.iter().map(|y| y * y).sum();
        assert!((report.squares - squares).abs() < 1e-5 * squares, "{name}");
        let column: f64 = twin.y.iter().skip(L * D - 1).step_by(L * D).sum();
        assert!((report.columns[L * D - 1] - column).abs() < 1e-4, "{name}");
        let active: usize = constant.active.iter().flatten().map(Vec::len).sum();
        assert_eq!((report.active as usize, report.dead as usize), (active, L * case.dead.len()), "{name}");
        assert_eq!(report.auxk > 0.0, !case.dead.is_empty(), "{name}");
    }
}

#[test]
fn gradients_equal_finite_differences() {
    for case in layer_cases() {
        let mut states = states(&case);
        let twin = twin(&case, &states);
        let constant = twin.constant();
        let (steppers, _) = forward(&case, &mut states);
        let difference = |change: &dyn Fn(&mut Twin, f64)| {
            let loss = |shift: f64| {
                let mut moved = twin.clone();
                change(&mut moved, shift);
                moved.loss(&constant)
            };
            (loss(1e-6) - loss(-1e-6)) / 2e-6
        };
        let name = case.name;
        let check = |what: &str, got: &[f64], change: &dyn Fn(&mut Twin, usize, f64)| {
            let scale = got.iter().fold(0.0_f64, |a, g| a.max(g.abs()));
            assert!(scale > 0.0, "{name}, {what}: there is a gradient");
            for (i, got) in got.iter().enumerate() {
                let expected = difference(&|twin, shift| change(twin, i, shift));
                assert!(
                    (got - expected).abs() < 1e-4 * scale,
                    "{name}, {what}[{i}]: {got}, difference {expected}"
                );
            }
        };
        for (layer, (state, stepper)) in states.iter().zip(steppers.steppers()).enumerate() {
            let made = Stepper::joint_gradients(&stepper.options, &stepper.memory, state);
            let (mut decoder, mut gradients) = (Vec::new(), EncoderGradients::default());
            let (mut of_w_enc, mut of_b_enc, mut of_w_dec) = (Vec::new(), Vec::new(), Vec::new());
            let own = case.options.rule.own_parameters();
            for f in 0..F {
                made.decoder(f, &mut decoder);
                made.encoder(
                    f,
                    (state.b_enc.value[f], &state.own.value[f * own..(f + 1) * own]),
                    &mut gradients,
                );
                of_w_enc.extend(doubles(&gradients.encoder.row));
                of_b_enc.push(f64::from(gradients.encoder.bias));
                of_w_dec.extend(doubles(&decoder));
            }
            assert_eq!(of_w_dec.len(), F * (L - layer) * D);
            check("W_enc", &of_w_enc, &|twin, i, shift| twin.layers[layer].w_enc[i] += shift);
            check("b_enc", &of_b_enc, &|twin, i, shift| twin.layers[layer].b_enc[i] += shift);
            check("W_dec", &of_w_dec, &|twin, i, shift| twin.layers[layer].w_dec[i] += shift);
            if layer == 0 {
                check("b_dec", &made.b_dec(), &|twin, i, shift| twin.b_dec[i] += shift);
            }
        }
    }
}

#[test]
fn rows_have_norm_1_over_all_layers_and_the_loss_falls() {
    let case = &layer_cases()[1];
    let (mut states, (x, y)) = (states(case), inputs());
    let x: Vec<&[f32]> = x.iter().map(Vec::as_slice).collect();
    let mut steppers = LayerSteppers::new(options_of(case));
    let mut losses = Vec::new();
    for _ in 0..200 {
        let mut states: Vec<&mut TrainState> = states.iter_mut().collect();
        let tokens = LayerTokens { x: &x, targets: &y };
        losses.push(steppers.step(&mut states, tokens, 3e-3).unwrap().mse);
    }
    assert!(losses[199] < 0.5 * losses[0], "{} → {}", losses[0], losses[199]);
    for state in &states {
        assert_eq!(state.step, 200);
        for row in state.w_dec.value.chunks_exact(state.d_out) {
            assert!((row.iter().map(|w| w * w).sum::<f32>().sqrt() - 1.0).abs() < 1e-6);
        }
    }
}

#[test]
fn a_step_gives_the_same_bits_on_any_number_of_threads() {
    let (d, f, rows) = (16, 5000, 700);
    let x: Vec<Vec<f32>> = (0..L as u64).map(|i| normals(rows * d, 60 + i)).collect();
    let (x, y): (Vec<&[f32]>, _) = (x.iter().map(Vec::as_slice).collect(), normals(rows * L * d, 70));
    let run = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let b_dec = |layer| if layer == 0 { vec![0.1; L * d] } else { Vec::new() };
            let mut states: Vec<TrainState> =
                (0..L).map(|layer| TrainState::of_layer((layer, L), f, d, b_dec(layer), 2)).collect();
            let mut steppers =
                LayerSteppers::new((0..L).map(|_| StepOptions { dead_after: 1400, ..options() }));
            let tokens = LayerTokens { x: &x, targets: &y };
            let reports: Vec<_> = (0..4)
                .map(|_| {
                    let mut states: Vec<&mut TrainState> = states.iter_mut().collect();
                    steppers.step(&mut states, tokens, 1e-3).unwrap()
                })
                .collect();
            (states, reports)
        })
    };
    let one = run(1);
    assert!(one.1[3].dead > 0 && one.1[3].auxk > 0.0, "dead features take part");
    assert!(one == run(2) && one == run(5));
}

#[test]
fn what_is_not_finite_names_the_step_and_the_layer() {
    let case = &layer_cases()[0];
    let (x, mut y) = inputs();
    let x: Vec<&[f32]> = x.iter().map(Vec::as_slice).collect();
    let message = |states: &mut [TrainState], y: &[f32]| {
        let mut states: Vec<&mut TrainState> = states.iter_mut().collect();
        let tokens = LayerTokens { x: &x, targets: y };
        LayerSteppers::new(options_of(case)).step(&mut states, tokens, 1e-3).unwrap_err().to_string()
    };
    let mut lost = states(case);
    lost[1].w_enc.value[5 * D] = f32::NAN;
    let told = message(&mut lost, &y);
    assert!(told.contains("layer 1") && told.contains("feature 5"), "{told}");
    y[3] = f32::INFINITY;
    let told = message(&mut states(case), &y);
    assert!(told.contains("step 1: the loss is inf"), "{told}");
}

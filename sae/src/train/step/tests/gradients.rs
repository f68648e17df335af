//! Every method's loss and gradients against finite differences and against candle's autograd.

use super::dense::{Dense, NAMES};
use super::*;

/// What a transcoder reconstructs: something that the batch decides, and noise.
fn targets() -> Vec<f32> {
    let x = batch();
    let turned = |(i, noise): (usize, f32)| 1.5 * x[i / D * D + (i + 3) % D] - 0.7 + noise;
    normals(B * D, 12).into_iter().enumerate().map(turned).collect()
}

/// A case as a dictionary that reconstructs its input (`targets` is empty) or as a transcoder.
struct Variant {
    name: String,
    case: Case,
    targets: Vec<f32>,
}

impl Variant {
    fn tokens<'a>(&'a self, x: &'a [f32], gradients: &'a [f32]) -> Tokens<'a> {
        Tokens { x, gradients, targets: &self.targets }
    }
}

fn variants() -> Vec<Variant> {
    let own =
        cases().into_iter().map(|case| Variant { name: case.name.to_owned(), case, targets: Vec::new() });
    let needs_its_input = |case: &Case| {
        matches!(case.options.rule, Rule::Cosine(_) | Rule::Pursuit) || case.options.refine.is_some()
    };
    let may = |case: &Case| case.options.score == Score::Plain && !needs_its_input(case);
    let may_skip = |case: &Case| case.options.rule != Rule::Gated && may(case);
    let transcoders = cases().into_iter().filter(may).map(|case| Variant {
        name: format!("transcoder, {}", case.name),
        case,
        targets: targets(),
    });
    let skipping = cases().into_iter().filter(may_skip).map(|mut case| {
        case.state.skip = Parameter::new(normals(D * D, 13).iter().map(|w| 0.2 * w).collect());
        Variant {
            name: format!("transcoder with a skip connection, {}", case.name),
            case,
            targets: targets(),
        }
    });
    own.chain(transcoders).chain(skipping).collect()
}

/// All gradients of the loss, in the order of `NAMES`.
fn kernel_gradients(variant: &Variant) -> (StepReport, [Vec<f64>; 6], Vec<bool>) {
    let case = &variant.case;
    let (x, g, state) = (batch(), model_gradients(), &case.state);
    let mut stepper = Stepper::new(case.options.clone());
    let (report, made) = stepper.forward(state, variant.tokens(&x, &g));
    let own = case.options.rule.own_parameters();
    let skip = if state.skip.value.is_empty() { Vec::new() } else { made.skip() };
    let mut all =
        [vec![], vec![], vec![], made.b_dec(), vec![], skip.iter().map(|&g| f64::from(g)).collect()];
    let (mut decoder, mut gradients) = (Vec::new(), EncoderGradients::default());
    let doubles = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    for f in 0..F {
        let own_values = &state.own.value[f * own..(f + 1) * own];
        made.decoder(f, &mut decoder);
        made.encoder(f, (state.b_enc.value[f], own_values), &mut gradients);
        let by_norm = gradients.by_norm.iter().copied().chain(std::iter::repeat(0.0));
        all[0].extend(doubles(&gradients.encoder.row));
        all[1].push(f64::from(gradients.encoder.bias));
        all[2].extend(doubles(&decoder));
        all[4].extend(doubles(&gradients.own[..own]));
        if variant.targets.is_empty() {
            let row = &state.w_enc.value[f * D..(f + 1) * D];
            for ((g, w), by_norm) in all[3].iter_mut().zip(row).zip(by_norm) {
                *g -= f64::from(gradients.encoder.input) * f64::from(*w) + f64::from(by_norm);
            }
        }
    }
    let mut mask = vec![false; B * F];
    for (token, (features, values)) in codes(&stepper).into_iter().enumerate() {
        let fired = features.iter().zip(values).filter(|(_, v)| *v != 0.0);
        fired.for_each(|(&f, _)| mask[token * F + f as usize] = true);
    }
    (report, all, mask)
}

fn dense(variant: &Variant) -> Dense {
    Dense::new(&variant.case.options, &variant.case.state, variant.tokens(&batch(), &model_gradients()))
}

fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0_f64, |a, g| a.max(g.abs()))
}

#[test]
fn losses_and_active_pairs_equal_the_dense_form() {
    for case in variants() {
        let (report, _, mask) = kernel_gradients(&case);
        let dense = dense(&case);
        let expected = dense.loss(dense.base());
        let name = &case.name;
        assert!((report.loss - expected).abs() < 1e-5 * expected, "{name}: {} and {expected}", report.loss);
        assert_eq!(mask, dense.main, "{name}");
        assert_eq!(report.active as usize, mask.iter().filter(|m| **m).count(), "{name}");
        assert_eq!(report.auxk > 0.0, name.contains("aux"), "{name}: {}", report.auxk);
    }
}

#[test]
fn gradients_equal_finite_differences() {
    for case in variants() {
        let (_, gradients, _) = kernel_gradients(&case);
        let dense = dense(&case);
        let step = 1e-6;
        // A threshold has no derivative of its own: the estimator is checked against autograd.
        let threshold = matches!(case.case.options.rule, Rule::Jump { .. });
        for which in (0..NAMES.len()).filter(|&which| !(threshold && which == 4)) {
            let scale = largest(&gradients[which]);
            for (i, got) in gradients[which].iter().enumerate() {
                let loss = |shift: f64| {
                    let mut moved = dense.base().clone();
                    moved[which][i] += shift;
                    dense.loss(&moved)
                };
                let expected = (loss(step) - loss(-step)) / (2.0 * step);
                let name = (&case.name, NAMES[which]);
                assert!(
                    (got - expected).abs() <= 1e-4 * scale,
                    "{name:?}[{i}]: {got}, difference {expected}"
                );
            }
        }
    }
}

#[test]
fn gradients_equal_autograd() {
    for case in variants() {
        let (report, gradients, _) = kernel_gradients(&case);
        let (loss, expected) = dense(&case).autograd().unwrap();
        assert!((loss - report.loss).abs() < 1e-5 * loss, "{}", case.name);
        for ((name, got), expected) in NAMES.iter().zip(&gradients).zip(&expected) {
            let scale = largest(expected).max(largest(got));
            if got.is_empty() {
                continue;
            }
            // The encoder of a pursuit is its decoder.
            let there_is = case.case.options.rule != Rule::Pursuit || !name.ends_with("enc");
            assert!(!there_is || scale > 0.0, "{} {name}: there is a gradient", case.name);
            for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                assert!(
                    (got - expected).abs() <= 5e-6 * scale,
                    "{} {name}[{i}]: {got}, autograd {expected}",
                    case.name
                );
            }
        }
    }
}

/// What the update moves a skip connection by: its first moment after a step says what the gradient was.
#[test]
fn a_skip_connection_moves_by_its_gradient() {
    for variant in variants().iter().filter(|variant| !variant.case.state.skip.value.is_empty()) {
        let (_, gradients, _) = kernel_gradients(variant);
        let (x, g, mut state) = (batch(), model_gradients(), variant.case.state.clone());
        let share = 1.0 - variant.case.options.betas.0;
        Stepper::new(variant.case.options.clone()).step(&mut state, variant.tokens(&x, &g), 1e-4).unwrap();
        let scale = largest(&gradients[5]);
        assert!(scale > 0.0 && state.skip.value != variant.case.state.skip.value, "{}", variant.name);
        for (first, expected) in state.skip.first.iter().zip(&gradients[5]) {
            assert!((f64::from(*first) / share - expected).abs() < 1e-5 * scale, "{}", variant.name);
        }
    }
}

/// The bias's gradient is put together in the update: its first moment after a step says what it was.
#[test]
fn the_bias_moves_by_its_whole_gradient() {
    for variant in variants() {
        let (_, gradients, _) = kernel_gradients(&variant);
        let (x, g, mut state) = (batch(), model_gradients(), variant.case.state.clone());
        let (before, share) = (state.b_dec.first.clone(), 1.0 - variant.case.options.betas.0);
        Stepper::new(variant.case.options.clone()).step(&mut state, variant.tokens(&x, &g), 1e-4).unwrap();
        let scale = largest(&gradients[3]);
        for ((after, before), expected) in state.b_dec.first.iter().zip(before).zip(&gradients[3]) {
            let moved = (f64::from(*after) - (1.0 - share) * f64::from(before)) / share;
            assert!(
                (moved - expected).abs() < 1e-5 * scale,
                "{}: {moved}, expected {expected}",
                variant.name
            );
        }
    }
}

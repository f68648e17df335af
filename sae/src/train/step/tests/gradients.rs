//! Every method's loss and gradients against finite differences and against candle's autograd.

use super::dense::{Dense, NAMES};
use super::*;

/// All gradients of the loss, in the order of `NAMES`.
fn kernel_gradients(case: &Case) -> (StepReport, [Vec<f64>; 5], Vec<bool>) {
    let (x, g, state) = (batch(), model_gradients(), &case.state);
    let mut stepper = Stepper::new(case.options.clone());
    let (report, made) = stepper.forward(state, Tokens { x: &x, gradients: &g });
    let own = case.options.rule.own_parameters();
    let mut all = [vec![], vec![], vec![], made.b_dec(), vec![]];
    let (mut decoder, mut gradients) = (Vec::new(), EncoderGradients::default());
    let doubles = |v: &[f32]| v.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    for f in 0..F {
        let own_values = &state.own.value[f * own..(f + 1) * own];
        made.decoder(f, &mut decoder);
        made.encoder(f, own_values, &mut gradients);
        all[0].extend(doubles(&gradients.encoder.row));
        all[1].push(f64::from(gradients.encoder.bias));
        all[2].extend(doubles(&decoder));
        all[4].extend(doubles(&gradients.own[..own]));
        for (g, w) in all[3].iter_mut().zip(&state.w_enc.value[f * D..(f + 1) * D]) {
            *g -= f64::from(gradients.encoder.input) * f64::from(*w);
        }
    }
    let mut mask = vec![false; B * F];
    for (token, (features, values)) in codes(&stepper).into_iter().enumerate() {
        let fired = features.iter().zip(values).filter(|(_, v)| *v > 0.0);
        fired.for_each(|(&f, _)| mask[token * F + f as usize] = true);
    }
    (report, all, mask)
}

fn dense(case: &Case) -> Dense {
    Dense::new(&case.options, &case.state, &batch(), &model_gradients())
}

fn largest(numbers: &[f64]) -> f64 {
    numbers.iter().fold(0.0_f64, |a, g| a.max(g.abs()))
}

#[test]
fn losses_and_active_pairs_equal_the_dense_form() {
    for case in cases() {
        let (report, _, mask) = kernel_gradients(&case);
        let dense = dense(&case);
        let expected = dense.loss(dense.base());
        let name = case.name;
        assert!((report.loss - expected).abs() < 1e-5 * expected, "{name}: {} and {expected}", report.loss);
        assert_eq!(mask, dense.main, "{name}");
        assert_eq!(report.active as usize, mask.iter().filter(|m| **m).count(), "{name}");
        assert_eq!(report.auxk > 0.0, name.contains("aux"), "{name}: {}", report.auxk);
    }
}

#[test]
fn gradients_equal_finite_differences() {
    for case in cases() {
        let (_, gradients, _) = kernel_gradients(&case);
        let dense = dense(&case);
        let step = 1e-6;
        // A threshold has no derivative of its own: the estimator is checked against autograd.
        let parameters = if matches!(case.options.rule, Rule::Jump { .. }) { 4 } else { 5 };
        for which in 0..parameters {
            let scale = largest(&gradients[which]);
            for (i, got) in gradients[which].iter().enumerate() {
                let loss = |shift: f64| {
                    let mut moved = dense.base().clone();
                    moved[which][i] += shift;
                    dense.loss(&moved)
                };
                let expected = (loss(step) - loss(-step)) / (2.0 * step);
                let name = (case.name, NAMES[which]);
                assert!((got - expected).abs() < 1e-4 * scale, "{name:?}[{i}]: {got}, difference {expected}");
            }
        }
    }
}

#[test]
fn gradients_equal_autograd() {
    for case in cases() {
        let (report, gradients, _) = kernel_gradients(&case);
        let (loss, expected) = dense(&case).autograd().unwrap();
        assert!((loss - report.loss).abs() < 1e-5 * loss, "{}", case.name);
        for ((name, got), expected) in NAMES.iter().zip(&gradients).zip(&expected) {
            let scale = largest(expected).max(largest(got));
            if got.is_empty() {
                continue;
            }
            assert!(scale > 0.0, "{} {name}: there is a gradient", case.name);
            for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
                assert!(
                    (got - expected).abs() < 5e-6 * scale,
                    "{} {name}[{i}]: {got}, autograd {expected}",
                    case.name
                );
            }
        }
    }
}

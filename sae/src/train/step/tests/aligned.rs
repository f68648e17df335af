//! Encoder rows that are tied to decoder rows by ⟨e, d⟩ = 1, and θ that all features share.

use super::dense::Dense;
use super::*;
use kernels::wide::dot;

fn aligned(rule: Rule) -> (StepOptions, TrainState) {
    let mut state = state(&[]);
    align(&mut state);
    (StepOptions { rule, aligned: true, ..options() }, state)
}

#[test]
fn products_of_encoder_and_decoder_rows_stay_1() {
    let blocks = Rule::Block(Blocks { count: 5, k: 10 });
    for rule in [Rule::Token, Rule::Mutual, Rule::AbsToken, blocks] {
        let ((options, mut state), x) = (aligned(rule), batch());
        let begun = state.clone();
        let mut stepper = Stepper::new(options);
        for _ in 0..30 {
            stepper.step(&mut state, &x, 0.02).unwrap();
            for (e, d) in state.w_enc.value.chunks_exact(D).zip(state.w_dec.value.chunks_exact(D)) {
                assert!((dot(e, d) - 1.0).abs() < 1e-6, "{rule:?}: {}", dot(e, d));
            }
        }
        assert!(begun.w_enc.value != state.w_enc.value && begun.w_dec.value != state.w_dec.value);
    }
}

/// With e = d + v − (v·d) d the loss is a function of d and v: its derivatives by the numbers of d are the decoder's gradient and what
/// goes through the encoder row, those by v what of the encoder's gradient is at right angles to d.
#[test]
fn gradients_by_d_and_v_equal_finite_differences() {
    let ((options, state), x) = (aligned(Rule::Token), batch());
    let dense = Dense::new(&options, &state, (&x).into());
    let loss = |d: &[f64], v: &[f64]| {
        let mut numbers = dense.base().clone();
        for f in 0..F {
            let row = f * D..(f + 1) * D;
            let along: f64 = d[row.clone()].iter().zip(&v[row.clone()]).map(|(d, v)| d * v).sum();
            for i in row {
                numbers[0][i] = d[i] + v[i] - along * d[i];
            }
        }
        numbers[2] = d.to_vec();
        dense.loss(&numbers)
    };
    let d = dense.base()[2].clone();
    let v: Vec<f64> = dense.base()[0].iter().zip(&d).map(|(e, d)| e - d).collect();
    let mut stepper = Stepper::new(options);
    let (_, made) = stepper.forward(&state, &x);
    let (mut of_decoder, mut of_encoder) = (Vec::new(), EncoderGradients::default());
    let mut largest = [0.0_f64; 2];
    for f in 0..F {
        let row = f * D..(f + 1) * D;
        let rows = (&state.w_enc.value[row.clone()], &state.w_dec.value[row.clone()]);
        made.decoder(f, &mut of_decoder);
        made.through_encoder(f, rows, (state.b_enc.value[f], &[]), &mut of_encoder, &mut of_decoder);
        let along = dot(&of_encoder.encoder.row, rows.1) as f32;
        for (c, i) in row.enumerate() {
            let by_v = of_encoder.encoder.row[c] - along * rows.1[c];
            for (which, got) in [of_decoder[c], by_v].into_iter().enumerate() {
                let moved = |shift: f64| {
                    let mut numbers = [d.clone(), v.clone()];
                    numbers[which][i] += shift;
                    loss(&numbers[0], &numbers[1])
                };
                let expected = (moved(1e-6) - moved(-1e-6)) / 2e-6;
                largest[which] = largest[which].max(expected.abs());
                assert!((f64::from(got) - expected).abs() < 1e-3, "{which} {f} {c}: {got}, {expected}");
            }
        }
    }
    assert!(largest.iter().all(|g| *g > 0.1), "{largest:?}");
}

#[test]
fn a_shared_theta_moves_by_the_sum_of_all_gradients() {
    for of_batch in [false, true] {
        let rule = |shared| Rule::Cosine(CosineRule { of_batch, shared });
        let mut state = state(&[]);
        state.own = Parameter::new(vec![0.3; F]);
        let x = batch();
        let mut stepper = Stepper::new(StepOptions { rule: rule(false), ..options() });
        let (_, made) = stepper.forward(&state, &x);
        let mut gradients = EncoderGradients::default();
        let each: Vec<f32> = (0..F)
            .map(|f| {
                made.encoder(f, (state.b_enc.value[f], &[0.3]), &mut gradients);
                gradients.own[0]
            })
            .collect();
        let sum: f32 = each.iter().sum();
        assert!(sum.abs() > 1e-3 && each.iter().any(|g| (g - sum).abs() > 1e-3));
        Stepper::new(StepOptions { rule: rule(true), ..options() }).step(&mut state, &x, 1e-3).unwrap();
        assert!(state.own.first.iter().all(|first| (first / 0.1 - sum).abs() < 1e-4 * sum.abs()));
        assert!(state.own.value.iter().all(|theta| *theta == state.own.value[0] && *theta != 0.3));
        for row in state.w_enc.value.chunks_exact(D) {
            assert!((kernels::wide::norm(row) - 1.0).abs() < 1e-6);
        }
    }
}

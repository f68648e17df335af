//! What ties the methods to each other: limits in which one is another, and what holds over several steps.

use super::*;
use crate::dictionary::{Dictionary, DictionaryInfo, Normalisation};
use crate::train::runs::selecting::{Selecting, encoder};

/// States after some steps, with the reports.
fn train(
    options: &StepOptions,
    mut state: TrainState,
    gradients: &[f32],
    steps: u64,
) -> (TrainState, Vec<StepReport>) {
    let (x, mut stepper) = (batch(), Stepper::new(options.clone()));
    let reports = (0..steps)
        .map(|_| stepper.step(&mut state, Tokens { x: &x, gradients, targets: &[] }, 3e-3).unwrap())
        .collect();
    (state, reports)
}

#[test]
fn without_beta_gradient_methods_are_the_plain_ones_to_the_bit() {
    for rule in [Rule::Token, Rule::Mutual] {
        let plain = StepOptions { rule, ..options() };
        let scored = StepOptions { score: Score::gradient(0.7, 0.0, GradientNorm::Token), ..plain.clone() };
        let (a, b) = (train(&plain, state(&[4]), &[], 5), train(&scored, state(&[4]), &model_gradients(), 5));
        assert!(a == b);
    }
}

#[test]
fn without_gradients_at_any_token_the_selection_is_the_plain_one() {
    let zeros = vec![0.0; B * D];
    for rule in [Rule::Token, Rule::Mutual] {
        let plain = StepOptions { rule, ..options() };
        let scored = StepOptions { score: Score::gradient(0.0, 1.0, GradientNorm::Token), ..plain.clone() };
        assert!(train(&plain, state(&[]), &[], 3) == train(&scored, state(&[]), &zeros, 3));
    }
}

#[test]
fn scaling_a_token_s_gradient_changes_nothing_for_token_choice() {
    let options = StepOptions { score: Score::gradient(1.0, 1.0, GradientNorm::Token), ..options() };
    let g = model_gradients();
    let scaled: Vec<f32> = g.iter().enumerate().map(|(i, g)| g * 2.0_f32.powi((i / D) as i32 - 9)).collect();
    assert!(train(&options, state(&[]), &g, 3) == train(&options, state(&[]), &scaled, 3));
    assert!(train(&options, state(&[]), &g, 1).0 != train(&self::options(), state(&[]), &[], 1).0);
}

/// Nothing but the order of sums depends on the order of tokens.
#[test]
fn permuting_tokens_permutes_codes() {
    let order: Vec<usize> = (0..B).map(|i| (i * 8 + 3) % B).collect();
    let permuted =
        |rows: &[f32]| order.iter().flat_map(|&t| rows[t * D..][..D].to_vec()).collect::<Vec<f32>>();
    for case in cases() {
        let codes = |x: &[f32], g: &[f32]| {
            let mut stepper = Stepper::new(case.options.clone());
            stepper.forward(&case.state, Tokens { x, gradients: g, targets: &[] });
            codes(&stepper).into_iter().map(|(features, _)| features).collect::<Vec<_>>()
        };
        let (x, g) = (batch(), model_gradients());
        let (plain, moved) = (codes(&x, &g), codes(&permuted(&x), &permuted(&g)));
        for (place, &token) in order.iter().enumerate() {
            assert_eq!(moved[place], plain[token], "{}", case.name);
        }
    }
}

#[test]
fn aux_zipf_is_auxk_when_nothing_is_expected() {
    let prepared = || {
        let mut state = state(&[2, 9, 11]);
        // Not a step at which the law is looked at again.
        state.step = 501;
        state.rates = (0..F).map(|f| 0.01 * (f % 3) as f32).collect();
        state
    };
    let auxk = train(&options(), prepared(), &[], 4);
    assert!(auxk.1[0].auxk > 0.0);
    // A law that expects nothing, and a share of nothing.
    for (expected, rho) in [(0.0, 0.9), (0.2, 0.0)] {
        let mut zipf = options();
        zipf.aux.zipf = Some((BudgetLaw::Fit, rho));
        zipf.rate_window = 100;
        let mut state = prepared();
        state.expected_rates = vec![expected; F];
        let (mut after, reports) = train(&zipf, state, &[], 4);
        after.expected_rates.clear();
        let (mut auxk_state, auxk_reports) = auxk.clone();
        // The window of the averages is not part of the loss.
        auxk_state.rates.clone_from(&after.rates);
        assert!((after, reports) == (auxk_state, auxk_reports));
    }
    let mut zipf = options();
    zipf.aux.zipf = Some((BudgetLaw::Fit, 0.9));
    zipf.rate_window = 100;
    let mut state = prepared();
    state.expected_rates = vec![0.02; F];
    assert_ne!(
        train(&zipf, state, &[], 1).1[0].auxk,
        auxk.1[0].auxk,
        "under-used features have the loss too"
    );
}

#[test]
fn feature_choice_follows_its_phase_of_mutual_choice() {
    let law = BudgetLaw::Zipf { exponent: 0.8, offset: 2.0 };
    let options =
        StepOptions { rule: Rule::Feature, budgets: Some(Budgets { law, cap: 0.5, after: 3 }), ..options() };
    let mutual = StepOptions { rule: Rule::Mutual, ..options.clone() };
    let (state, _) = train(&options, state(&[]), &[], 3);
    assert!(state == train(&mutual, self::state(&[]), &[], 3).0, "until then it is mutual choice");
    let rates = state.rates.clone();
    let (state, reports) = train(&options, state, &[], 2);
    assert_eq!(state.budgets.iter().sum::<u32>() as usize, 3 * B);
    assert!(state.budgets.iter().all(|m| (1..=B as u32 / 2 + 1).contains(m)));
    let most = (0..F).max_by(|&a, &b| rates[a].total_cmp(&rates[b])).unwrap();
    assert_eq!(state.budgets[most], *state.budgets.iter().max().unwrap(), "ranks come from rates");
    assert!(reports.iter().all(|r| r.active <= 3 * B as u64));
}

#[test]
fn annealing_the_power_does_not_change_what_codes_cost() {
    let options = StepOptions {
        rule: Rule::Active,
        penalty: Penalty::Power,
        sparsity: Ramp::constant(0.5),
        power: Ramp { from: 1.0, to: 0.2, begin: 2, end: 6 },
        ..options()
    };
    // With a learning rate of next to nothing codes stay, so their cost must too.
    let (x, mut state, mut stepper) = (batch(), state(&[]), Stepper::new(options));
    let costs: Vec<f64> = (0..8).map(|_| stepper.step(&mut state, &x, 1e-12).unwrap().penalty).collect();
    assert!(costs.iter().all(|cost| (cost / costs[0] - 1.0).abs() < 1e-4), "{costs:?}");
    assert!(state.penalty_scale != 1.0);
}

#[test]
fn dead_features_get_rows_of_tokens() {
    let resampling = Resampling { every: 2, until: 4, seed: 3 };
    let options = StepOptions { rule: Rule::Active, resampling: Some(resampling), ..options() };
    let mut state = state(&[5, 6]);
    [5, 6].iter().for_each(|&f| state.b_enc.value[f] = -1e3);
    let (one, _) = train(&options, state.clone(), &[], 1);
    assert!(one.b_enc.value[5] < -900.0 && one.since_fired[5] > 5000);
    let (two, _) = train(&options, state, &[], 2);
    let x = batch();
    for f in [5, 6] {
        assert_eq!((two.b_enc.value[f], two.since_fired[f], two.w_dec.second[f * D]), (0.0, 0, 0.0));
        let row = &two.w_dec.value[f * D..(f + 1) * D];
        let is_row = |token: &[f32]| {
            let centred: Vec<f32> = token.iter().zip(&two.b_dec.value).map(|(x, b)| x - b).collect();
            let norm = centred.iter().map(|c| c * c).sum::<f32>().sqrt();
            row.iter().zip(&centred).all(|(w, c)| (w - c / norm).abs() < 1e-5)
        };
        assert!(x.chunks(D).any(is_row), "feature {f} is a token's direction");
    }
    assert_ne!(two.w_dec.value[5 * D..6 * D], two.w_dec.value[6 * D..7 * D]);
}

#[test]
fn every_method_s_step_gives_the_same_bits_on_any_number_of_threads() {
    // Wide enough for several chunks, tiles and tasks.
    let (d, f, rows) = (8, 20_000, 700);
    let (x, g) = (normals(rows * d, 8), normals(rows * d, 9));
    for case in cases() {
        let mut options = StepOptions { dead_after: 1400, ..case.options };
        options.widths = if options.widths.is_empty() { Vec::new() } else { vec![1000, 4000, f] };
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let mut state = TrainState::new(f, vec![0.1; d], 2);
                state.own = Parameter::new(vec![0.5; f * options.rule.own_parameters()]);
                if options.rule == Rule::Feature {
                    state.budgets = (0..f as u32).map(|f| f % 3).collect();
                }
                let mut stepper = Stepper::new(options.clone());
                let tokens = Tokens { x: &x, gradients: &g, targets: &[] };
                let reports: Vec<_> =
                    (0..3).map(|_| stepper.step(&mut state, tokens, 1e-3).unwrap()).collect();
                (state, reports)
            })
        };
        assert!(run(1) == run(3), "{}", case.name);
    }
}

/// What a dictionary on disk selects is what training selected, gates and learned thresholds included.
#[test]
fn the_dictionary_of_a_method_has_the_codes_of_training() {
    let x = batch();
    for case in cases().into_iter().filter(|case| case.options.rule.decides_alone()) {
        let mut stepper = Stepper::new(case.options.clone());
        let state = &case.state;
        stepper.forward(state, &x);
        let (w_enc, b_enc, selection) = encoder(
            state,
            &Selecting {
                rule: case.options.rule,
                k: case.options.k.to as usize,
                refine: case.options.refine,
            },
            None,
        );
        let dictionary = Dictionary {
            d_in: D,
            d_sae: F,
            w_enc,
            b_enc,
            w_dec: state.w_dec.value.clone(),
            b_dec: state.b_dec.value.clone(),
            selection,
            prune_below: None,
            normalisation: Normalisation::None,
            target: None,
            info: DictionaryInfo::default(),
        };
        let codes = dictionary.encode(&x);
        for token in 0..B {
            let (features, values) = stepper.memory.pairs.chunks[0].main.codes.row(token);
            let fired: Vec<(u32, f32)> =
                features.iter().copied().zip(values.iter().copied()).filter(|(_, v)| *v != 0.0).collect();
            let (features, values) = codes.row(token);
            assert_eq!(features, fired.iter().map(|(f, _)| *f).collect::<Vec<_>>(), "{}", case.name);
            assert!(values.iter().zip(&fired).all(|(a, (_, b))| (a - b).abs() < 1e-5), "{}", case.name);
        }
    }
}

//! The search among candidates against the search in all pre-activations.

use super::*;

const WIDE: usize = 64;
const MANY: usize = 1500;
const TOKENS: usize = 300;

/// A rule and whether its scores have gradients.
type Kind = (Rule, bool);

const KINDS: [Kind; 6] = [
    (Rule::Token, false),
    (Rule::Mutual, false),
    (Rule::Feature, false),
    (Rule::Token, true),
    (Rule::Mutual, true),
    (Rule::Feature, true),
];

fn options((rule, gradient): Kind, search: Search) -> StepOptions {
    let score = match gradient {
        true => Score::gradient(0.5, 1.0, GradientNorm::Token),
        false => Score::Plain,
    };
    StepOptions {
        rule,
        score,
        search,
        budgets: (rule == Rule::Feature).then_some(Budgets { law: BudgetLaw::Uniform, cap: 0.5, after: 0 }),
        aux: Aux { coefficient: 1.0 / 32.0, k: 20, zipf: None },
        dead_after: 1000,
        input_variance: WIDE as f64,
        ..StepOptions::topk(16)
    }
}

fn wide() -> (TrainState, Vec<f32>) {
    let mut state = TrainState::new(MANY, normals(WIDE, 1), 5);
    state.w_enc.value.iter_mut().zip(normals(MANY * WIDE, 2)).for_each(|(w, n)| *w += 0.02 * n);
    state.b_enc.value = normals(MANY, 3).iter().map(|b| 0.1 * b).collect();
    state.since_fired[100..160].fill(5000);
    (state, normals(TOKENS * WIDE, 4))
}

/// Gradients of a model's loss; every fifth token has none.
fn loss_gradients() -> Vec<f32> {
    let g = normals(TOKENS * WIDE, 6);
    g.into_iter().enumerate().map(|(i, g)| if (i / WIDE).is_multiple_of(5) { 0.0 } else { g }).collect()
}

fn tokens<'a>((_, gradient): Kind, x: &'a [f32], g: &'a [f32]) -> Tokens<'a> {
    Tokens { x, gradients: if gradient { g } else { &[] }, targets: &[] }
}

#[test]
fn candidates_have_the_active_pairs_of_all_pre_activations() {
    KINDS.into_iter().for_each(same_pairs);
}

fn same_pairs(kind: Kind) {
    let ((mut state, x), g) = (wide(), loss_gradients());
    let mut found = Vec::new();
    for search in [Search::Exact, Search::Candidates] {
        let mut stepper = Stepper::new(options(kind, search));
        prepare::prepare(&mut state, &stepper.options, TOKENS as u64).unwrap();
        let (report, _) = stepper.forward(&state, tokens(kind, &x, &g));
        found.push((codes(&stepper), report));
    }
    let [(exact, all), (candidates, some)] = &found[..] else { panic!("two searches") };
    assert_eq!(exact.len(), TOKENS);
    for ((a, x), (b, y)) in exact.iter().zip(candidates) {
        assert_eq!(a, b);
        assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-5 * x.abs().max(1.0)));
    }
    assert!((all.loss - some.loss).abs() < 1e-6 * all.loss && (all.auxk - some.auxk).abs() < 1e-6 * all.auxk);
    assert!(some.auxk > 0.0, "dead features have their loss");
    assert_eq!(all.audit, Audit::default());
    assert_eq!(some.audit.found, some.audit.wanted, "{kind:?}");
    assert!(some.audit.wanted > 0, "the first step looks at its recall");
    assert!(some.audit.candidates < 2 * some.active, "{kind:?}");
}

#[test]
fn chunks_computed_together_or_one_by_one_give_the_same_bits() {
    let g = loss_gradients();
    for kind in KINDS {
        let (mut state, x) = wide();
        let mut found = Vec::new();
        for at_once in [1, 3, 100] {
            let mut stepper = Stepper::new(options(kind, Search::Candidates));
            prepare::prepare(&mut state, &stepper.options, TOKENS as u64).unwrap();
            let mut search = PairSearch::choose(&state, &stepper.options);
            search.chunking.at_once = at_once;
            stepper.search = Some(search);
            let (report, _) = stepper.forward(&state, tokens(kind, &x, &g));
            assert!(stepper.memory.pairs.chunks.len() > 3);
            found.push((codes(&stepper), report));
        }
        assert!(found[0] == found[1] && found[1] == found[2], "{kind:?}");
    }
}

#[test]
fn packed_rows_follow_the_rows() {
    // A stepper that continues has packed each row when it changed it, and knows a floor; a new one packs what it finds.
    let g = loss_gradients();
    for kind in KINDS {
        let (start, x) = wide();
        let (mut a, mut b) = (start.clone(), start);
        let mut told = options(kind, Search::Candidates);
        // Feature choice begins with mutual choice.
        if let Some(budgets) = &mut told.budgets {
            budgets.after = 2;
        }
        let mut continued = Stepper::new(told.clone());
        for _ in 0..4 {
            let one = continued.step(&mut a, tokens(kind, &x, &g), 3e-3).unwrap();
            let other = Stepper::new(told.clone()).step(&mut b, tokens(kind, &x, &g), 3e-3).unwrap();
            assert!(a == b && one == other, "{kind:?}");
        }
        assert!(a.w_enc.value != wide().0.w_enc.value);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let g = loss_gradients();
    let run = |kind, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (mut state, x) = wide();
            let mut stepper = Stepper::new(options(kind, Search::Candidates));
            let mut step = || stepper.step(&mut state, tokens(kind, &x, &g), 1e-3).unwrap();
            let reports: Vec<_> = (0..4).map(|_| step()).collect();
            (state, reports)
        })
    };
    for kind in KINDS {
        let one = run(kind, 1);
        assert!(one == run(kind, 2) && one == run(kind, 5), "{kind:?}");
    }
}

#[test]
fn new_rows_of_dead_features_are_packed() {
    let (mut state, x) = wide();
    let resampling = Resampling { every: 1, until: 10, seed: 3 };
    let told =
        StepOptions { resampling: Some(resampling), ..options((Rule::Token, false), Search::Candidates) };
    let mut stepper = Stepper::new(told.clone());
    stepper.step(&mut state, &x, 1e-3).unwrap();
    let mut other = state.clone();
    let (a, b) = (stepper.step(&mut state, &x, 1e-3), Stepper::new(told).step(&mut other, &x, 1e-3));
    assert!(a.unwrap() == b.unwrap() && state == other);
}

#[test]
fn the_rounded_auxiliary_loss_points_where_the_exact_one_does() {
    let (state, x) = wide();
    let gradients = |coarse_aux| {
        let told = StepOptions { coarse_aux, ..options((Rule::Token, false), Search::Candidates) };
        let mut stepper = Stepper::new(told);
        let auxk = stepper.forward(&state, &x).0.auxk;
        assert!(stepper.memory.aux.dense && !stepper.memory.by_feature.dense.is_empty());
        (stepper.memory.by_feature.dense, auxk)
    };
    let ((exact, loss), (rounded, other)) = (gradients(false), gradients(true));
    assert!((loss - other).abs() < 1e-3 * loss, "{loss} and {other}");
    // Which of two nearly equal codes is among the k may differ.
    let (mut distance, mut size) = (0.0, 0.0);
    for (a, b) in exact.iter().zip(&rounded) {
        for (a, b) in a.encoder.iter().chain(&a.decoder).zip(b.encoder.iter().chain(&b.decoder)) {
            distance += (a - b) * (a - b);
            size += a * a;
        }
    }
    assert!(size > 0.0 && distance.sqrt() < 0.03 * size.sqrt(), "{distance} of {size}");
}

#[test]
fn candidates_that_miss_active_pairs_are_noticed_and_left() {
    let g = loss_gradients();
    for kind in KINDS.into_iter().filter(|(rule, _)| *rule != Rule::Feature) {
        let (mut state, x) = wide();
        let mut stepper = Stepper::new(options(kind, Search::Candidates));
        // Rows in 8 bits that are those of other features: what they propose is not active.
        let mut search = PairSearch::choose(&state, &stepper.options);
        search.rows.pack(&state, &stepper.options);
        let turned: Vec<f32> = state.w_enc.value.iter().map(|w| -w).collect();
        let [encoder, _] = search.rows.renew(state.step, &stepper.options);
        encoder.unwrap().pack(&turned, |_| 0.0);
        stepper.search = Some(search);
        let recall = stepper.forward(&state, tokens(kind, &x, &g)).0.audit.recall().unwrap();
        assert!(recall < 0.5, "{kind:?}: {recall}");
        stepper.search_exactly();
        let mut exact = Stepper::new(options(kind, Search::Exact));
        let mut other = state.clone();
        let a = stepper.step(&mut state, tokens(kind, &x, &g), 1e-3).unwrap();
        let b = exact.step(&mut other, tokens(kind, &x, &g), 1e-3).unwrap();
        assert!(a == b && state == other, "{kind:?}");
        assert_eq!(a.audit.recall(), None);
    }
}

//! The search by candidates beside the search in all pre-activations.

use super::*;
use crate::train::step::prefilter::Audit;

const WIDE: usize = 64;
const MANY: usize = 1500;
const TOKENS: usize = 300;

const RULES: [Rule; 2] = [Rule::Token, Rule::Mutual];

fn options(rule: Rule, search: Search) -> StepOptions {
    StepOptions {
        rule,
        search,
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

/// Features and codes of every token.
fn matches(stepper: &Stepper) -> Vec<(Vec<u32>, Vec<f32>)> {
    let rows = |chunk: &Chunk| {
        let row = |i: usize| (chunk.main.codes.row(i).0.to_vec(), chunk.main.codes.row(i).1.to_vec());
        (0..chunk.main.codes.rows()).map(row).collect::<Vec<_>>()
    };
    stepper.chunks.iter().flat_map(rows).collect()
}

#[test]
fn candidates_have_the_matches_of_all_pre_activations() {
    for rule in RULES {
        same_matches(rule);
    }
}

fn same_matches(rule: Rule) {
    let (state, x) = wide();
    let mut found = Vec::new();
    for search in [Search::Exact, Search::Candidates] {
        let mut stepper = Stepper::new(options(rule, search));
        let report = stepper.forward(&state, &x);
        found.push((matches(&stepper), report));
    }
    let [(exact, all), (candidates, some)] = &found[..] else { panic!("two searches") };
    assert_eq!(exact.len(), TOKENS);
    for ((a, x), (b, y)) in exact.iter().zip(candidates) {
        assert_eq!(a, b);
        assert!(x.iter().zip(y).all(|(x, y)| (x - y).abs() < 1e-5 * x.abs().max(1.0)));
    }
    assert!((all.loss - some.loss).abs() < 1e-6 * all.loss && (all.auxk - some.auxk).abs() < 1e-6 * all.auxk);
    assert!(some.auxk > 0.0, "dead features get help");
    assert_eq!(all.audit, Audit::default());
    assert_eq!(some.audit.found, some.audit.wanted, "the first step looks at its recall");
    assert!(some.audit.candidates < 2 * some.matches);
}

#[test]
fn packed_rows_follow_the_rows() {
    // A stepper that goes on has packed each row when it changed it, and knows a floor; a new one packs what it finds.
    for rule in RULES {
        let (start, x) = wide();
        let (mut a, mut b) = (start.clone(), start);
        let mut going_on = Stepper::new(options(rule, Search::Candidates));
        for _ in 0..4 {
            let one = going_on.step(&mut a, &x, 3e-3).unwrap();
            let other = Stepper::new(options(rule, Search::Candidates)).step(&mut b, &x, 3e-3).unwrap();
            assert!(a == b && one == other);
        }
        assert!(a.w_enc.value != wide().0.w_enc.value);
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let run = |rule, threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let (mut state, x) = wide();
            let mut stepper = Stepper::new(options(rule, Search::Candidates));
            let reports: Vec<_> = (0..4).map(|_| stepper.step(&mut state, &x, 1e-3).unwrap()).collect();
            (state, reports)
        })
    };
    for rule in RULES {
        let one = run(rule, 1);
        assert!(one == run(rule, 2) && one == run(rule, 5));
    }
}

#[test]
fn new_rows_of_dead_features_are_packed() {
    let (mut state, x) = wide();
    let resampling = Resampling { every: 1, until: 10, seed: 3 };
    let told = StepOptions { resampling: Some(resampling), ..options(Rule::Token, Search::Candidates) };
    let mut stepper = Stepper::new(told.clone());
    stepper.step(&mut state, &x, 1e-3).unwrap();
    let mut other = state.clone();
    let (a, b) = (stepper.step(&mut state, &x, 1e-3), Stepper::new(told).step(&mut other, &x, 1e-3));
    assert!(a.unwrap() == b.unwrap() && state == other);
}

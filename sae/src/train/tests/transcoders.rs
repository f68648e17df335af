//! Transcoders on datasets on disk.

use super::*;

const INPUT: &str = "blocks.0.hook_mlp_in";
const TARGET: &str = "blocks.0.hook_mlp_out";
const D: usize = 12;
const ROWS: usize = 3000;

/// Inputs that are sums of two of 24 directions, and targets that are the same sums of 24 other ones, in units of their own.
fn pairs() -> (Vec<f32>, Vec<f32>) {
    let of = |stream| {
        let mut rng = generator(41, Purpose::Directions, stream, 0);
        let mut row = || (0..D).map(|_| normal(&mut rng)).collect::<Vec<f32>>();
        (0..24).map(|_| row()).collect::<Vec<_>>()
    };
    let (read, written) = (of(0), of(1));
    let mut rng = generator(41, Purpose::Rows, 0, 0);
    let (mut x, mut y) = (vec![5.0; ROWS * D], vec![-0.02; ROWS * D]);
    for (x, y) in x.chunks_exact_mut(D).zip(y.chunks_exact_mut(D)) {
        for _ in 0..2 {
            let (which, weight) = ((rng.next_u32() % 24) as usize, 1.0 + (rng.next_u32() as f32) / 4.3e9);
            x.iter_mut().zip(&read[which]).for_each(|(x, v)| *x += 3.0 * weight * v);
            y.iter_mut().zip(&written[which]).for_each(|(y, v)| *y += 0.01 * weight * v);
        }
    }
    (x, y)
}

fn datasets(folder: &Path) -> (PathBuf, PathBuf) {
    let ((x, y), held_out) = (pairs(), |document: usize| document % 5 == 4);
    let (input, target) = (folder.join("in"), folder.join("out"));
    write_at(INPUT, &input, &x, None, D, 50, held_out);
    write_at(TARGET, &target, &y, None, D, 50, held_out);
    (input, target)
}

fn config(method: Method, target: &Path) -> TrainConfig {
    TrainConfig {
        method,
        target: Some(target.to_owned()),
        d_sae: Some(48),
        k: 2,
        batch: 100,
        tokens: Some(60_000),
        learning_rate: Some(3e-3),
        ..small_config()
    }
}

/// 1 − Σ‖y − ŷ‖² / Σ‖y − mean‖², in double precision from the definition.
fn explained(dictionary: &Dictionary) -> f64 {
    let (x, y) = pairs();
    let made = dictionary.decode_with(&dictionary.encode(&x), &x);
    let mean = |c: usize| y.iter().skip(c).step_by(D).map(|y| f64::from(*y)).sum::<f64>() / ROWS as f64;
    let means: Vec<f64> = (0..D).map(mean).collect();
    let (mut wrong, mut all) = (0.0, 0.0);
    for (i, (y, made)) in y.iter().zip(&made).enumerate() {
        wrong += f64::from(y - made).powi(2);
        all += (f64::from(*y) - means[i % D]).powi(2);
    }
    1.0 - wrong / all
}

#[test]
fn a_transcoder_explains_a_target_in_another_unit() {
    let folder = tempfile::tempdir().unwrap();
    let (input, target) = datasets(folder.path());
    // Budgets by rank suit these features, which all fire equally often, less.
    let least = [
        (Method::Topk, 0.8),
        (Method::AbsTopk, 0.5),
        (Method::MutualChoice, 0.8),
        (Method::FeatureChoice, 0.4),
        (Method::Jumprelu, 0.6),
        (Method::BlockChoice, 0.4),
        (Method::Matryoshka, 0.5),
        (Method::Relu, 0.3),
        (Method::PAnneal, 0.3),
        (Method::Gated, 0.3),
        (Method::Shrinkage, 0.3),
    ];
    for (method, least) in least {
        let out = folder.path().join(method.name());
        let outcome = run(&config(method, &target), &input, &out, false, &mut Quiet).unwrap();
        let dictionary = Dictionary::load(&out).unwrap();
        let read = dictionary.target.as_ref().unwrap();
        assert_eq!((dictionary.info.hook_name.as_deref(), read.hook.as_deref()), (Some(INPUT), Some(TARGET)));
        let fve = explained(&dictionary);
        // The last logged window is of training rows, by the rule of training.
        assert!((fve - outcome.fve).abs() < 0.05, "{method}: {fve} on disk, {} in training", outcome.fve);
        assert!(fve > least, "{method}: {fve}");
        for row in dictionary.w_dec.chunks_exact(D) {
            assert!((row.iter().map(|w| w * w).sum::<f32>() - 1.0).abs() < 1e-5);
        }
        assert_eq!(RunRecord::read(&out).unwrap().target_hook.as_deref(), Some(TARGET));
    }
}

/// Gradients of the loss at the target choose features by what they write there. Here the loss depends on half of them alone.
#[test]
fn gradients_at_the_target_choose_what_matters() {
    let folder = tempfile::tempdir().unwrap();
    let (input, target) = (folder.path().join("in"), folder.path().join("out"));
    let ((x, y), held_out) = (pairs(), |document: usize| document % 5 == 4);
    let mut rng = generator(41, Purpose::Directions, 1, 0);
    let written: Vec<Vec<f32>> = (0..24).map(|_| (0..D).map(|_| normal(&mut rng)).collect()).collect();
    let mut gradients = vec![0.0; ROWS * D];
    for (i, g) in gradients.chunks_exact_mut(D).enumerate() {
        g.iter_mut().zip(&written[i % 12]).for_each(|(g, v)| *g = *v);
    }
    write_at(INPUT, &input, &x, None, D, 50, held_out);
    write_at(TARGET, &target, &y, Some(&gradients), D, 50, held_out);
    let trained = |name: &str, config: &TrainConfig| {
        let out = folder.path().join(name);
        run(config, &input, &out, false, &mut Quiet).unwrap();
        (weights(&out), explained(&Dictionary::load(&out).unwrap()))
    };
    let gradient = config(Method::Gradient, &target);
    let (chosen, fve) = trained("gradient", &gradient);
    assert!(fve > 0.4, "{fve}");
    let (plain, _) = trained("topk", &config(Method::Topk, &target));
    let deaf = TrainConfig { score_lambda: Some(1.0), score_beta: Some(0.0), ..gradient.clone() };
    assert!(trained("deaf", &deaf).0 == plain, "without gradients it is TopK");
    let (shuffled, _) = trained("shuffled", &TrainConfig { shuffle_gradients: true, ..gradient });
    assert!(chosen != plain && chosen != shuffled);
}

#[test]
fn a_transcoder_is_resumed_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let (input, target) = datasets(folder.path());
    let config = TrainConfig { tokens: Some(6000), ..config(Method::Topk, &target) };
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    run(&TrainConfig { threads: Some(1), ..config.clone() }, &input, &whole, false, &mut Quiet).unwrap();
    let stopped = run(&config, &input, &parts, false, &mut StopAfter::new(25));
    assert!(matches!(stopped, Err(Error::Stopped(_))));
    resume(&parts, &mut Quiet).unwrap();
    assert_eq!(weights(&whole), weights(&parts));
}

/// A target that is a dense linear map of its input besides the sparse part: without a skip connection features must stand in for it.
#[test]
fn a_skip_connection_explains_what_is_linear() {
    let folder = tempfile::tempdir().unwrap();
    let (input, target) = (folder.path().join("in"), folder.path().join("out"));
    let (x, mut y) = pairs();
    let mut rng = generator(43, Purpose::Directions, 2, 0);
    let turned: Vec<f32> = (0..D * D).map(|_| 0.004 * normal(&mut rng)).collect();
    for (y, x) in y.chunks_exact_mut(D).zip(x.chunks_exact(D)) {
        for (y, row) in y.iter_mut().zip(turned.chunks_exact(D)) {
            *y += x.iter().zip(row).map(|(x, w)| (x - 5.0) * w).sum::<f32>();
        }
    }
    let held_out = |document: usize| document % 5 == 4;
    write_at(INPUT, &input, &x, None, D, 50, held_out);
    write_at(TARGET, &target, &y, None, D, 50, held_out);
    let trained = |skip: bool| {
        let out = folder.path().join(if skip { "skip" } else { "plain" });
        // Few features: the sparse part alone needs more.
        let config = TrainConfig { skip, d_sae: Some(24), k: 1, ..config(Method::Topk, &target) };
        let outcome = run(&config, &input, &out, false, &mut Quiet).unwrap();
        let dictionary = Dictionary::load(&out).unwrap();
        let made = dictionary.decode_with(&dictionary.encode(&x), &x);
        let mean = |c: usize| y.iter().skip(c).step_by(D).map(|y| f64::from(*y)).sum::<f64>() / ROWS as f64;
        let means: Vec<f64> = (0..D).map(mean).collect();
        let wrong: f64 = y.iter().zip(&made).map(|(y, made)| f64::from(y - made).powi(2)).sum();
        let all: f64 = y.iter().enumerate().map(|(i, y)| (f64::from(*y) - means[i % D]).powi(2)).sum();
        let fve = 1.0 - wrong / all;
        assert!((fve - outcome.fve).abs() < 0.05, "{fve} on disk, {} in training", outcome.fve);
        assert_eq!(dictionary.target.unwrap().skip.is_some(), skip);
        let config = std::fs::read_to_string(out.join("cfg.json")).unwrap();
        assert_eq!(config.contains("skip_transcoder"), skip, "{config}");
        fve
    };
    let (with, without) = (trained(true), trained(false));
    assert!(with > without + 0.1, "{with} with a skip connection, {without} without");
}

#[test]
fn a_skip_connection_is_resumed_to_the_same_bits_and_needs_a_target() {
    let folder = tempfile::tempdir().unwrap();
    let (input, target) = datasets(folder.path());
    let config = TrainConfig { tokens: Some(6000), skip: true, ..config(Method::MutualChoice, &target) };
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    run(&TrainConfig { threads: Some(1), ..config.clone() }, &input, &whole, false, &mut Quiet).unwrap();
    let stopped = run(&config, &input, &parts, false, &mut StopAfter::new(25));
    assert!(matches!(stopped, Err(Error::Stopped(_))));
    resume(&parts, &mut Quiet).unwrap();
    assert_eq!(weights(&whole), weights(&parts));
    let alone = TrainConfig { target: None, ..config };
    let error = run(&alone, &input, &folder.path().join("alone"), false, &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("skip is given") && error.remedy().is_some(), "{error}");
}

#[test]
fn targets_of_other_tokens_and_methods_without_them_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (input, target) = datasets(folder.path());
    let (_, y) = pairs();
    let other = folder.path().join("other");
    write_at(TARGET, &other, &y, None, D, 60, |document| document % 5 == 4);
    let message = |config: &TrainConfig| {
        let error = run(config, &input, &folder.path().join("run"), false, &mut Quiet).unwrap_err();
        assert!(error.remedy().is_some(), "{error}");
        error.to_string()
    };
    assert!(message(&config(Method::Topk, &other)).contains("do not hold the same tokens"));
    let skipping = TrainConfig { skip: true, ..config(Method::Gated, &target) };
    assert!(message(&skipping).contains("the gate's codes"));
    let without = message(&config(Method::Gradient, &target));
    assert!(without.contains("out has no gradients") && !without.contains("in has"), "{without}");
    assert!(!folder.path().join("run").exists());
}

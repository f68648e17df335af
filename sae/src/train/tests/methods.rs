//! Whole runs of every method, on datasets on disk.

use std::path::{Path, PathBuf};

use storage::RunRecord;

use super::{planted, planted_unevenly, small_config, weights, write};
use crate::Quiet;
use crate::dictionary::{Dictionary, Pick, Selection};
use crate::train::*;
use kernels::chance::{Purpose, generator, normal};
use lm::progress::StopAfter;

/// 2500 rows of planted features with gradients; every fifth document is held out.
pub fn write_with_gradients(dir: &Path, rows: usize, d: usize) -> Vec<f32> {
    let x = planted(rows, d, 40, 3).0;
    let mut rng = generator(3, Purpose::Rows, 9, 9);
    let gradients: Vec<f32> = (0..x.len()).map(|_| 0.01 * normal(&mut rng)).collect();
    write(dir, &x, Some(&gradients), d, 130, |document| document % 5 == 4);
    x
}

pub fn config_of(method: Method) -> TrainConfig {
    let mut config = TrainConfig { method, threads: Some(2), ..small_config() };
    if method.is_feature_choice() {
        // 60 steps: the rates of the first half are what the law is fitted to.
        (config.aux_rho, config.k) = (Some(0.5), 5);
    }
    if method == Method::Relu {
        config.resample_every = Some(10);
    }
    config
}

#[test]
fn every_method_is_resumed_to_the_same_bits_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_with_gradients(&data, 2500, 16);
    for method in Method::ALL {
        resumes(folder.path(), &data, method.name(), &config_of(method));
    }
}

/// Trains `config` without a stop and with three, and expects the same bits. Returns the folder of a run.
pub fn resumes(folder: &Path, data: &Path, name: &str, config: &TrainConfig) -> PathBuf {
    let (whole, out) = (folder.join(format!("{name} whole")), folder.join(format!("{name} stopped")));
    let outcome = run(config, data, &whole, false, &mut Quiet).unwrap();
    assert!(outcome.l0 > 0.0 && outcome.fve.is_finite(), "{name}: {outcome:?}");
    assert_eq!(RunRecord::read(&whole).unwrap().method, config.method.name());
    for (i, steps) in [14, 21, 9].into_iter().enumerate() {
        let config = TrainConfig { threads: Some(1 + i % 2), ..config.clone() };
        let stopped = run(&config, data, &out, i > 0, &mut StopAfter::new(steps));
        assert!(matches!(stopped, Err(Error::Stopped(_))), "{name}: {stopped:?}");
    }
    resume(&out, &mut Quiet).unwrap();
    assert!(weights(&out) == weights(&whole), "{name}");
    let (a, b) = (RunRecord::read(&out).unwrap(), RunRecord::read(&whole).unwrap());
    assert_eq!(a.thresholds, b.thresholds, "{name}");
    assert_eq!(a.thresholds.is_some(), config.method.fits_thresholds());
    whole
}

#[test]
fn a_penalty_that_leaves_no_codes_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_with_gradients(&data, 2500, 16);
    let told = |name: &str, lambda: f64, learning_rate: f64| {
        let config = TrainConfig {
            sparsity_coefficient: Some(lambda),
            learning_rate: Some(learning_rate),
            log_every: Some(5),
            ..config_of(Method::Gated)
        };
        let mut progress = StopAfter::new(u64::MAX);
        run(&config, &data, &folder.path().join(name), false, &mut progress).unwrap();
        progress.remarks.iter().filter(|remark| remark.contains("features left: λ =")).count()
    };
    assert_eq!((told("large", 1000.0, 0.05), told("small", 0.01, 1e-3)), (1, 0));
}

/// Codes per token by the dictionary on disk, on raw held-out rows.
fn l0_on_disk(run: &Path, rows: &[f32]) -> f64 {
    let dictionary = Dictionary::load(run).unwrap();
    let codes = dictionary.encode(rows);
    codes.features.len() as f64 / codes.rows() as f64
}

#[test]
fn thresholds_give_the_l0_of_training_on_held_out_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let (data, d) = (folder.path().join("data"), 24);
    let x = write_with_gradients(&data, 26_000, d);
    let held_out: Vec<f32> = x.chunks(130 * d).skip(4).step_by(5).flatten().copied().collect();
    for method in Method::ALL.into_iter().filter(|method| method.fits_thresholds()) {
        let out = folder.path().join(method.name());
        let config = TrainConfig {
            method,
            d_sae: Some(96),
            k: 6,
            batch: 512,
            tokens: Some(200_000),
            aux: Some(AuxLoss::None),
            ..TrainConfig::default()
        };
        let outcome = run(&config, &data, &out, false, &mut Quiet).unwrap();
        let record = RunRecord::read(&out).unwrap();
        let fit = record.thresholds.clone().unwrap();
        println!("{method}: {fit:?}, FVE {:.3}", outcome.fve);
        assert_eq!((fit.split.as_str(), fit.tokens + fit.check_tokens), ("held-out", 5200));
        assert_eq!(fit.kind, if method.is_feature_choice() { "each" } else { "one" });
        assert!((fit.l0_threshold / fit.l0_training - 1.0).abs() < 0.05, "{method}: {fit:?}");
        let on_disk = l0_on_disk(&out, &held_out);
        assert!((on_disk / fit.l0_training - 1.0).abs() < 0.05, "{method}: {on_disk} and {fit:?}");
        let thresholds = match Dictionary::load(&out).unwrap().selection {
            Selection::Threshold(thresholds) => thresholds,
            Selection::Cosine(cosine) if matches!(cosine.pick, Pick::Above(_)) => continue,
            other => panic!("{method} selects by {other:?}"),
        };
        let same = thresholds.iter().all(|t| *t == thresholds[0]);
        assert_eq!(same, fit.kind == "one");
        let config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(out.join("cfg.json")).unwrap()).unwrap();
        assert_eq!(config["architecture"], "jumprelu");
    }
}

#[test]
fn without_held_out_documents_unused_rows_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write(&data, &planted(2500, 16, 40, 3).0, None, 16, 130, |_| false);
    for (tokens, split) in [(1500, "unused"), (5000, "training")] {
        let out = folder.path().join(split);
        let config = TrainConfig { method: Method::MutualChoice, tokens: Some(tokens), ..small_config() };
        let mut progress = StopAfter::new(10_000);
        run(&config, &data, &out, false, &mut progress).unwrap();
        assert_eq!(RunRecord::read(&out).unwrap().thresholds.unwrap().split, split);
        let said = progress.remarks.iter().any(|remark| remark.contains("fitted on training rows"));
        assert_eq!(said, split == "training");
    }
}

#[test]
fn penalised_methods_reach_a_dictionary_that_selects_as_training_did() {
    let folder = tempfile::tempdir().unwrap();
    let (data, d) = (folder.path().join("data"), 24);
    let x = write_with_gradients(&data, 10_000, d);
    for method in Method::ALL.into_iter().filter(|method| method.is_penalised()) {
        let out = folder.path().join(method.name());
        let config = TrainConfig {
            method,
            d_sae: Some(96),
            batch: 512,
            tokens: Some(300_000),
            ..TrainConfig::default()
        };
        let outcome = run(&config, &data, &out, false, &mut Quiet).unwrap();
        println!("{method}: L0 {:.2}, FVE {:.3}", outcome.l0, outcome.fve);
        assert!(outcome.fve > 0.7 && outcome.l0 < 48.0, "{method}: {outcome:?}");
        let on_disk = l0_on_disk(&out, &x);
        assert!((on_disk / outcome.l0 - 1.0).abs() < 0.1, "{method}: {on_disk}, in training {}", outcome.l0);
        assert_eq!(RunRecord::read(&out).unwrap().k, 0);
    }
}

#[test]
fn without_beta_a_gradient_run_is_a_topk_run_to_the_bit() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_with_gradients(&data, 2500, 16);
    let train = |name: &str, config: TrainConfig| {
        let out = folder.path().join(name);
        run(&config, &data, &out, false, &mut Quiet).unwrap();
        weights(&out)
    };
    let plain = train("plain", config_of(Method::Topk));
    let config = config_of(Method::Gradient);
    assert!(train("no beta", TrainConfig { score_beta: Some(0.0), ..config.clone() }) == plain);
    assert!(train("beta", config) != plain);
}

#[test]
fn what_a_method_cannot_do_is_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write(&data, &planted(600, 16, 40, 3).0, None, 16, 130, |_| false);
    let refused = |change: &dyn Fn(&mut TrainConfig)| {
        let mut config = small_config();
        change(&mut config);
        let message = run(&config, &data, &out, false, &mut Quiet).unwrap_err().to_string();
        assert!(!out.exists(), "{message}");
        message
    };
    let message = refused(&|c| c.method = Method::GradientMutual);
    assert!(message.contains("has no gradients") && message.contains("--gradients"), "{message}");
    let message = refused(&|c| (c.method, c.k, c.batch) = (Method::FeatureChoice, 2, 40));
    assert!(message.contains("a batch of 48 or more (384 gives eight"), "{message}");
    let message = refused(&|c| (c.method, c.budget_cap) = (Method::FeatureChoice, Some(0.01)));
    assert!(message.contains("budget_cap"), "{message}");
    let message = refused(&|c| (c.method, c.mutual_share) = (Method::FeatureChoice, Some(0.0)));
    assert!(message.contains("uniform or zipf:s,q"), "{message}");
    let message = refused(&|c| c.score_beta = Some(0.5));
    assert!(message.contains("score_beta has no meaning for method topk"), "{message}");
    let message = refused(&|c| (c.method, c.widths) = (Method::Matryoshka, Some(vec![8, 4, 96])));
    assert!(message.contains("they must rise and end with d_sae = 96"), "{message}");
    let message = refused(&|c| (c.method, c.power_end) = (Method::PAnneal, Some(0.0)));
    assert!(message.contains("power_end is 0"), "{message}");
    let message = refused(&|c| c.k_start = Some(2));
    assert!(message.contains("k_start is 2"), "{message}");
}

/// Tokens that need one feature and tokens that need seven: a budget of the batch serves both, four per token serve neither.
#[test]
fn mutual_choice_gives_tokens_what_they_need() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let d = 32;
    let x = planted_unevenly(20_000, d, 64, |row| if row % 2 == 0 { 1 } else { 7 }).0;
    write(&data, &x, None, d, 500, |document| document % 5 == 4);
    let train = |method: Method| {
        let out = folder.path().join(method.name());
        let config = TrainConfig {
            method,
            d_sae: Some(128),
            k: 4,
            batch: 512,
            tokens: Some(800_000),
            learning_rate: Some(3e-3),
            ..TrainConfig::default()
        };
        let outcome = run(&config, &data, &out, false, &mut Quiet).unwrap();
        let codes = Dictionary::load(&out).unwrap().encode(&x[..1000 * d]);
        let mean = |odd: usize| (0..500).map(|i| codes.row(2 * i + odd).0.len() as f64).sum::<f64>() / 500.0;
        (outcome.fve, [mean(0), mean(1)])
    };
    let (topk, mutual) = (train(Method::Topk), train(Method::MutualChoice));
    println!("topk {topk:?}, mutual choice {mutual:?}");
    assert!(mutual.0 > topk.0 + 0.02, "FVE {} with topk, {} with mutual choice", topk.0, mutual.0);
    assert!(mutual.1[1] > 2.0 * mutual.1[0], "{mutual:?}");
}

/// The controls: gradients of other tokens, and a decoder that stays as it began.
#[test]
fn controls_change_what_they_say_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (data, d) = (folder.path().join("data"), 16);
    write_with_gradients(&data, 2500, d);
    let train = |name: &str, config: &TrainConfig| {
        let out = folder.path().join(name);
        run(config, &data, &out, false, &mut Quiet).unwrap();
        out
    };
    let gradient = config_of(Method::Gradient);
    let shuffled = TrainConfig { shuffle_gradients: true, ..gradient.clone() };
    let (plain, other) = (train("gradient", &gradient), train("shuffled", &shuffled));
    assert!(weights(&plain) != weights(&other));
    // Shuffling is a function of the seed and the step: stopped and resumed, the bits are the same.
    let out = folder.path().join("stopped");
    let stopped = run(&shuffled, &data, &out, false, &mut StopAfter::new(23));
    assert!(matches!(stopped, Err(Error::Stopped(_))));
    resume(&out, &mut Quiet).unwrap();
    assert!(weights(&out) == weights(&other));

    for method in [Method::Topk, Method::MutualChoice, Method::Gated] {
        let config = TrainConfig { freeze_decoder: Some(FrozenDecoder::Random), ..config_of(method) };
        let frozen = Dictionary::load(&train(&format!("frozen {method}"), &config)).unwrap();
        let first = state::TrainState::new(96, vec![0.0; d], config.seed).w_dec.value;
        assert_eq!(frozen.w_dec, first, "{method}: to the bit");
        assert_ne!(frozen.w_enc, first, "{method}: the encoder learns");
    }
    for method in [Method::Topk, Method::MutualChoice, Method::Jumprelu] {
        let config = TrainConfig {
            freeze_decoder: Some(FrozenDecoder::Soft),
            learning_rate: Some(0.1),
            ..config_of(method)
        };
        let soft = Dictionary::load(&train(&format!("soft {method}"), &config)).unwrap();
        let first = state::directions(96, d, config.seed);
        let rows = soft.w_dec.chunks_exact(d).zip(first.chunks_exact(d));
        let cosines: Vec<f64> = rows.map(|(row, begun)| kernels::wide::dot(row, begun)).collect();
        assert!(cosines.iter().all(|&c| (0.8 - 1e-5..=1.0 + 1e-5).contains(&c)), "{method}: {cosines:?}");
        assert!(cosines.iter().any(|&c| c < 0.81), "{method}: some come to the edge: {cosines:?}");

        let config = TrainConfig { freeze_encoder: true, ..config_of(method) };
        let frozen = Dictionary::load(&train(&format!("frozen encoder {method}"), &config)).unwrap();
        // The norm that fits the first batch is given to all rows alike.
        let rows = frozen.w_enc.chunks_exact(d).zip(first.chunks_exact(d));
        let norms: Vec<f64> = rows.clone().map(|(row, begun)| kernels::wide::dot(row, begun)).collect();
        assert!(norms.iter().all(|n| (n - norms[0]).abs() < 1e-5 && *n > 0.0), "{method}: {norms:?}");
        for (row, begun) in rows {
            assert!(row.iter().zip(begun).all(|(w, b)| (w - norms[0] as f32 * b).abs() < 1e-6), "{method}");
        }
        assert!(frozen.b_enc.iter().all(|b| *b == 0.0) && frozen.w_dec != first, "{method}");
    }
    let refused = |config: TrainConfig| {
        run(&config, &data, &folder.path().join("no"), false, &mut Quiet).unwrap_err().to_string()
    };
    let message = refused(TrainConfig { freeze_encoder: true, ..config_of(Method::Relu) });
    assert!(message.contains("freeze_encoder has no meaning for method relu"), "{message}");
    let both = TrainConfig { freeze_decoder: Some(FrozenDecoder::Soft), ..config_of(Method::Topk) };
    let message = refused(TrainConfig { freeze_encoder: true, ..both });
    assert!(message.contains("nothing would be trained"), "{message}");
    let message = refused(TrainConfig { shuffle_gradients: true, ..config_of(Method::Topk) });
    assert!(message.contains("shuffle_gradients has no meaning for method topk"), "{message}");
    let message =
        refused(TrainConfig { freeze_decoder: Some(FrozenDecoder::Random), ..config_of(Method::Relu) });
    assert!(message.contains("freeze_decoder forbids"), "{message}");
}

/// Training in another unit is training in this one: thresholds and both biases move with the activations, codes too.
#[test]
fn rescaled_activations_give_the_same_dictionary_in_their_unit() {
    let folder = tempfile::tempdir().unwrap();
    let d = 16;
    let x = planted(2500, d, 40, 3).0;
    // A power of two, so that every product is the same to the bit.
    let factor = 64.0_f32;
    let scaled: Vec<f32> = x.iter().map(|v| v * factor).collect();
    for method in [
        Method::Topk,
        Method::MutualChoice,
        Method::FeatureChoice,
        Method::Jumprelu,
        Method::AbsTopk,
        Method::CosineMutual,
        Method::MatchingPursuit,
    ] {
        let train = |name: &str, x: &[f32]| {
            let (data, out) = (
                folder.path().join(format!("{name} {method}")),
                folder.path().join(format!("{name} {method} run")),
            );
            write(&data, x, None, d, 130, |document| document % 5 == 4);
            run(&config_of(method), &data, &out, false, &mut Quiet).unwrap();
            Dictionary::load(&out).unwrap()
        };
        let (a, b) = (train("plain", &x), train("scaled", &scaled));
        assert_eq!(a.w_enc, b.w_enc, "{method}");
        assert_eq!(a.w_dec, b.w_dec, "{method}");
        let times = |v: &[f32]| v.iter().map(|v| v * factor).collect::<Vec<f32>>();
        assert_eq!((times(&a.b_enc), times(&a.b_dec)), (b.b_enc.clone(), b.b_dec.clone()), "{method}");
        if let (Selection::Threshold(ours), Selection::Threshold(theirs)) = (&a.selection, &b.selection) {
            assert_eq!(&times(ours), theirs, "{method}");
        }
        let (ours, theirs) = (a.encode(&x), b.encode(&scaled));
        assert_eq!((ours.features, times(&ours.values)), (theirs.features, theirs.values), "{method}");
    }
}

#[test]
fn a_search_that_misses_too_much_is_left_for_good() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_with_gradients(&data, 2500, 16);
    let source = Source::open(&data, &TrainConfig::default()).unwrap();
    let resolved = |least_recall| {
        // No recall is above 1, so 1.5 is a limit that no search reaches.
        let resolved = source.resolve(&config_of(Method::Topk)).unwrap();
        Resolved { search: step::options::Search::Candidates, least_recall, ..resolved }
    };
    let run = |name: &str, least, resume, steps| {
        let out = folder.path().join(name);
        let mut progress = StopAfter::new(steps);
        let outcome = run_resolved(&source, resolved(least), &out, resume, &mut progress);
        (out, outcome, progress.remarks)
    };
    let (whole, outcome, remarks) = run("whole", 1.5, false, 10_000);
    outcome.unwrap();
    assert!(remarks.iter().any(|remark| remark.contains("all pre-activations are computed")), "{remarks:?}");
    let left = RunRecord::read(&whole).unwrap().exact_search.unwrap();
    assert_eq!((left.from_step, left.recall), (2, 1.0));
    assert!(left.reason.contains("at step 1 "), "{}", left.reason);
    // Stopped and resumed it does not return to candidates.
    let (stopped, outcome, _) = run("stopped", 1.5, false, 14);
    assert!(matches!(outcome, Err(Error::Stopped(_))));
    let (_, outcome, remarks) = run("stopped", 1.5, true, 10_000);
    outcome.unwrap();
    assert!(weights(&stopped) == weights(&whole));
    assert_eq!(RunRecord::read(&stopped).unwrap().exact_search, Some(left));
    assert!(!remarks.iter().any(|remark| remark.contains("all pre-activations are computed")));
    let (candidates, outcome, _) = run("candidates", 0.999, false, 10_000);
    outcome.unwrap();
    assert_eq!(RunRecord::read(&candidates).unwrap().exact_search, None);
    assert!(weights(&candidates) != weights(&whole), "the searches differ in rounding");
}

/// What a run ended with is what the next one begins with: the first step's loss is that of the finished dictionary.
#[test]
fn a_run_begins_with_the_weights_of_another_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_with_gradients(&data, 2500, 16);
    for method in [Method::Topk, Method::Jumprelu, Method::MutualChoice] {
        let first = folder.path().join(format!("{method} first"));
        let config = TrainConfig { tokens: Some(30_000), ..config_of(method) };
        let finished = run(&config, &data, &first, false, &mut Quiet).unwrap();
        let more = TrainConfig { tokens: Some(60_000), ..config.clone() };
        let error = run(&more, &data, &first, true, &mut Quiet).unwrap_err();
        assert!(error.remedy().unwrap().contains("--from"), "{error}");
        let second = folder.path().join(format!("{method} second"));
        let config = TrainConfig {
            from: Some(first.clone()),
            d_sae: None,
            tokens: Some(100),
            learning_rate: Some(1e-9),
            ..config_of(method)
        };
        let began = run(&config, &data, &second, false, &mut Quiet).unwrap();
        assert!(began.fve > finished.fve - 0.05, "{method}: {} after {}", began.fve, finished.fve);
        let (a, b) = (Dictionary::load(&first).unwrap(), Dictionary::load(&second).unwrap());
        let near =
            |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5 * (1.0 + a.abs()));
        assert!(near(&a.w_dec, &b.w_dec) && near(&a.w_enc, &b.w_enc) && near(&a.b_dec, &b.b_dec), "{method}");
    }
    let wrong = TrainConfig {
        from: Some(folder.path().join("topk first")),
        d_sae: Some(64),
        ..config_of(Method::Topk)
    };
    let error = run(&wrong, &data, &folder.path().join("wrong"), false, &mut Quiet).unwrap_err();
    assert!(error.to_string().contains("expected (16, 64)"), "{error}");
}

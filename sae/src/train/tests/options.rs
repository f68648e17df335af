//! Whole runs with options that methods share: nested dictionaries, tilting, alignment, a correction, whitening.

use super::methods::{config_of, resumes, write_with_gradients};
use super::{small_config, weights, write};
use crate::Quiet;
use crate::dictionary::{Dictionary, Pick, Selection};
use crate::train::*;
use kernels::chance::{Purpose, generator, normal};
use kernels::wide;

fn matryoshka() -> TrainConfig {
    TrainConfig { widths: Some(vec![8, 32, 96]), ..config_of(Method::Matryoshka) }
}

#[test]
fn options_are_resumed_to_the_same_bits_and_change_them() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_with_gradients(&data, 2500, 16);
    let of = |method: Method| config_of(method);
    let cases = [
        ("matryoshka", matryoshka()),
        ("detached", TrainConfig { detach_widths: true, ..matryoshka() }),
        ("sorted", TrainConfig { sort_widths: true, ..matryoshka() }),
        ("detached and sorted", TrainConfig { detach_widths: true, sort_widths: true, ..matryoshka() }),
        (
            "all of it",
            TrainConfig {
                detach_widths: true,
                sort_widths: true,
                tilt: Some(0.01),
                lista_step: Some(0.3),
                k_start: Some(12),
                ..matryoshka()
            },
        ),
        ("topk", of(Method::Topk)),
        ("tilted", TrainConfig { tilt: Some(0.3), ..of(Method::Topk) }),
        ("corrected", TrainConfig { lista_step: Some(0.3), ..of(Method::Topk) }),
        ("aligned", TrainConfig { align_encoder: true, ..of(Method::Topk) }),
        ("whitened", TrainConfig { input_normalisation: InputNormalisation::Whiten, ..of(Method::Topk) }),
        ("cosine", of(Method::Cosine)),
        ("shared", TrainConfig { cosine_alpha: Some(CosineAlpha::Shared), ..of(Method::Cosine) }),
    ];
    let mut seen: Vec<Vec<u8>> = Vec::new();
    for (name, config) in cases {
        let bytes = weights(&resumes(folder.path(), &data, name, &config));
        assert!(!seen.contains(&bytes), "{name} changes something");
        seen.push(bytes);
    }
    // A tilt of 0 is the mean, to the bit.
    let flat = TrainConfig { tilt: Some(0.0), ..of(Method::Topk) };
    assert!(seen.contains(&weights(&resumes(folder.path(), &data, "flat", &flat))));
}

#[test]
fn rows_stay_aligned_in_the_dictionary_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_with_gradients(&data, 2500, 16);
    for (name, normalisation) in
        [("plain", InputNormalisation::MeanSquare), ("whitened", InputNormalisation::Whiten)]
    {
        let config = TrainConfig {
            align_encoder: true,
            input_normalisation: normalisation,
            ..config_of(Method::MutualChoice)
        };
        let out = folder.path().join(name);
        run(&config, &data, &out, false, &mut Quiet).unwrap();
        let dictionary = Dictionary::load(&out).unwrap();
        for f in 0..dictionary.d_sae {
            let product = wide::dot(dictionary.encoder_row(f), dictionary.decoder_row(f));
            assert!((product - 1.0).abs() < 1e-4, "{name}, feature {f}: {product}");
        }
        assert_ne!(dictionary.w_enc, dictionary.w_dec);
    }
}

#[test]
fn corrected_codes_have_the_l0_of_training_on_held_out_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let (data, d) = (folder.path().join("data"), 24);
    let x = write_with_gradients(&data, 26_000, d);
    let held_out: Vec<f32> = x.chunks(130 * d).skip(4).step_by(5).flatten().copied().collect();
    let out = folder.path().join("run");
    let config = TrainConfig {
        method: Method::MutualChoice,
        lista_step: Some(0.3),
        d_sae: Some(96),
        k: 6,
        batch: 512,
        tokens: Some(200_000),
        ..TrainConfig::default()
    };
    let outcome = run(&config, &data, &out, false, &mut Quiet).unwrap();
    let fit = storage::RunRecord::read(&out).unwrap().thresholds.unwrap();
    assert!((fit.l0_threshold / fit.l0_training - 1.0).abs() < 0.06, "{fit:?}");
    let dictionary = Dictionary::load(&out).unwrap();
    let Selection::Refined(refined) = &dictionary.selection else { panic!("{:?}", dictionary.selection) };
    assert!(matches!((refined.first, refined.then), (Pick::Above(_), Pick::Above(_))) && refined.step == 0.3);
    let codes = dictionary.encode(&held_out);
    let l0 = codes.features.len() as f64 / codes.rows() as f64;
    assert!((l0 / fit.l0_training - 1.0).abs() < 0.08, "{l0} and {fit:?}");
    let fve = explained(&dictionary, &held_out, d);
    assert!((fve - outcome.fve).abs() < 0.05, "{fve} on disk, {} in training", outcome.fve);
}

fn explained(dictionary: &Dictionary, x: &[f32], d: usize) -> f64 {
    let made = dictionary.decode_with(&dictionary.encode(x), x);
    let n = (x.len() / d) as f64;
    let means: Vec<f64> =
        (0..d).map(|c| x.iter().skip(c).step_by(d).map(|x| f64::from(*x)).sum::<f64>() / n).collect();
    let wrong: f64 = x.iter().zip(&made).map(|(x, made)| f64::from(x - made).powi(2)).sum();
    let all: f64 = x.iter().enumerate().map(|(i, x)| (f64::from(*x) - means[i % d]).powi(2)).sum();
    1.0 - wrong / all
}

/// Rows of which one dimension varies a hundred times as much as the others, about a mean far from 0.
#[test]
fn a_whitened_run_is_a_dictionary_of_rows_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (data, d, rows) = (folder.path().join("data"), 12, 6000);
    let mut rng = generator(5, Purpose::Rows, 1, 1);
    let x: Vec<f32> =
        (0..rows * d).map(|i| normal(&mut rng) * if i % d == 3 { 100.0 } else { 1.0 } + 20.0).collect();
    write(&data, &x, None, d, 130, |document| document % 5 == 4);
    let trained = |name: &str, normalisation: InputNormalisation| {
        let out = folder.path().join(name);
        let config = TrainConfig {
            input_normalisation: normalisation,
            d_sae: Some(48),
            k: 10,
            tokens: Some(60_000),
            batch: 256,
            learning_rate: Some(3e-3),
            max_norm: MaxNorm::Multiple(50.0),
            ..small_config()
        };
        run(&config, &data, &out, false, &mut Quiet).unwrap();
        let config = std::fs::read_to_string(out.join("cfg.json")).unwrap();
        assert_eq!(config.contains("folded into the weights"), name == "whitened", "{config}");
        Dictionary::load(&out).unwrap()
    };
    let whitened = trained("whitened", InputNormalisation::Whiten);
    assert!(explained(&whitened, &x, d) > 0.7);
    // Of the dimensions that hardly vary the plain run explains next to nothing.
    let plain = trained("plain", InputNormalisation::MeanSquare);
    let small = |dictionary: &Dictionary| {
        let made = dictionary.decode(&dictionary.encode(&x));
        let of = |i: &usize| i % d != 3;
        let wrong: f64 = (0..x.len()).filter(of).map(|i| f64::from(x[i] - made[i]).powi(2)).sum();
        1.0 - wrong / (0..x.len()).filter(of).map(|i| f64::from(x[i] - 20.0).powi(2)).sum::<f64>()
    };
    let (with, without) = (small(&whitened), small(&plain));
    assert!(with > 0.7 && with > without + 0.2, "{with} whitened, {without} plain");
}

#[test]
fn options_that_do_not_go_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_with_gradients(&data, 600, 16);
    let refused = |change: &dyn Fn(&mut TrainConfig)| {
        let mut config = small_config();
        change(&mut config);
        let out = folder.path().join("run");
        let error = run(&config, &data, &out, false, &mut Quiet).unwrap_err();
        assert!(!out.exists(), "{error}");
        error.to_string()
    };
    let whiten = |c: &mut TrainConfig| c.input_normalisation = InputNormalisation::Whiten;
    for (expected, change) in [
        (
            "detach_widths has no meaning for method topk",
            &(|c: &mut TrainConfig| c.detach_widths = true) as &dyn Fn(&mut TrainConfig),
        ),
        ("sort_widths has no meaning for method topk", &|c| c.sort_widths = true),
        ("tilt is -1; it must be 0 or more", &|c| c.tilt = Some(-1.0)),
        ("tilt has no meaning for method gated", &|c| (c.method, c.tilt) = (Method::Gated, Some(0.1))),
        ("tilt weights the rows of one", &|c| (c.tilt, c.multi_topk) = (Some(0.1), Some(4.0))),
        ("lista_step is 2", &|c| c.lista_step = Some(2.0)),
        ("lista_step has no meaning for method relu", &|c| {
            (c.method, c.lista_step) = (Method::Relu, Some(0.3));
        }),
        ("lista_step corrects the codes of one", &|c| (c.lista_step, c.multi_topk) = (Some(0.3), Some(4.0))),
        ("cosine_alpha has no meaning for method topk", &|c| c.cosine_alpha = Some(CosineAlpha::Shared)),
        ("align_encoder has no meaning for method cosine", &|c| {
            (c.method, c.align_encoder) = (Method::Cosine, true);
        }),
        ("freeze_decoder is given with align_encoder", &|c| {
            (c.align_encoder, c.freeze_decoder) = (true, Some(FrozenDecoder::Random));
        }),
        ("aux has no meaning for method matching-pursuit", &|c| {
            (c.method, c.aux) = (Method::MatchingPursuit, Some(AuxLoss::Auxk));
        }),
        ("multi_topk has no meaning for method matching-pursuit", &|c| {
            (c.method, c.multi_topk) = (Method::MatchingPursuit, Some(4.0));
        }),
        ("does not go with method: norms", &|c| {
            whiten(c);
            c.method = Method::CosineMutual;
        }),
        ("does not go with method: gradients", &|c| {
            whiten(c);
            c.method = Method::Gradient;
        }),
    ] {
        let message = refused(change);
        assert!(message.contains(expected), "{message}");
    }
}

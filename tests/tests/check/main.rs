//! Dictionaries trained here and published wrongly on purpose, in the layout of a different program: the check names what is wrong.

#![allow(clippy::unwrap_used, clippy::panic)]

mod golden;
mod layouts;
mod made;
mod misreadings;
mod sets;

use sae::dictionary::Selection;
use sae::train::Method;
use serde_json::{Value, json};
use storage::check::{Check, Judgement};
use tests::{Chance, sae};

use made::{
    D, HOOK, checked, data, drifting_and_centred, imported, in_a_different_basis, mean_norm,
    norm_folded_away, published, rows, table, topk, trained, with_rows_of_bos,
};

#[track_caller]
fn is_misread(check: &Check, id: &str) {
    assert_eq!(check.judgement, Judgement::Misread, "{}", table(check));
    let remedy = check.remedy.as_deref().unwrap_or_default();
    assert!(remedy.contains(id), "{remedy}\n{}", table(check));
}

#[test]
fn read_as_it_was_meant() {
    let folder = published(topk(), HOOK, &[]);
    for data in [None, Some(data(HOOK))] {
        let check = checked(folder.path(), data.as_deref());
        assert_eq!(check.judgement, Judgement::Fits, "{}", table(&check));
        assert_eq!(check.remedy, None);
    }
}

#[test]
fn a_pre_bias_that_is_not_meant_and_one_that_is_missing() {
    // Trained with a pre-bias, published as one without.
    let folder = published(topk(), HOOK, &[("apply_b_dec_to_input", json!(false))]);
    is_misread(&checked(folder.path(), Some(&data(HOOK))), "--reading with-pre-bias");
    // And the other way round: without one the encoder's bias holds it.
    let mut folded = topk().clone();
    for f in 0..folded.d_sae {
        let shift: f32 = folded.encoder_row(f).iter().zip(&folded.b_dec).map(|(w, b)| w * b).sum();
        folded.b_enc[f] -= shift;
    }
    let folder = published(&folded, HOOK, &[("apply_b_dec_to_input", json!(true))]);
    is_misread(&checked(folder.path(), Some(&data(HOOK))), "--reading without-pre-bias");
}

/// Trained on `x·√d/mean norm`, published without a word of that.
#[test]
fn a_scale_that_is_not_said() {
    let (d, factor) = ((D as f64).sqrt(), 12.0);
    // The embedded model's rows are nearly of norm √d already: make them twelve times as long.
    let at = tempfile::tempdir().unwrap();
    let long: Vec<f32> = rows(&data(HOOK)).iter().map(|x| x * factor as f32).collect();
    let long = imported(at.path(), "long", &long);
    let scale = d / mean_norm(&long);
    let raw = trained(&long, Method::MutualChoice, 512);
    let scaled = raw.for_raw_activations((1.0 / scale) as f32);
    let check = checked(published(&scaled, HOOK, &[]).path(), Some(&long));
    is_misread(&check, "--reading with-scale");
}

#[test]
fn a_square_decoder_that_lies_on_its_side() {
    let square = trained(&data(HOOK), Method::Topk, D);
    let mut turned = square.clone();
    for f in 0..D {
        for i in 0..D {
            turned.w_dec[f * D + i] = square.w_dec[i * D + f];
        }
    }
    let check = checked(published(&turned, HOOK, &[]).path(), Some(&data(HOOK)));
    is_misread(&check, "--reading decoder-transposed");
}

/// What TransformerLens does to models with layer norms: the mean over the components is taken off the residual stream.
#[test]
fn centred_weights() {
    let at = tempfile::tempdir().unwrap();
    let mut chance = Chance::new(5);
    let [raw, centred] = drifting_and_centred(at.path(), &mut chance);
    let folder = published(&trained(&centred, Method::Topk, 512), HOOK, &[]);
    is_misread(&checked(folder.path(), Some(&raw)), "--reading centred");
    assert_eq!(checked(folder.path(), Some(&centred)).judgement, Judgement::Fits);
}

/// A dataset with the rows of BOS, which models make a hundred times as long as others.
#[test]
fn rows_of_bos() {
    let at = tempfile::tempdir().unwrap();
    let with_bos = with_rows_of_bos(at.path());
    let check = checked(published(topk(), HOOK, &[]).path(), Some(&with_bos));
    assert_eq!(check.judgement, Judgement::Rows, "{}", table(&check));
    assert!(check.remedy.as_deref().unwrap().contains("--norm-limit"), "{:?}", check.remedy);
}

/// TransformerLens folds the gain of a norm into what reads it: its rows after the norm are without.
#[test]
fn folded_norms() {
    let hook = "blocks.1.hook_mlp_in";
    let at = tempfile::tempdir().unwrap();
    let folded = norm_folded_away(at.path());
    let folder = published(&trained(&folded, Method::Topk, 512), hook, &[]);
    let check = checked(folder.path(), None);
    assert_eq!(check.judgement, Judgement::Misread, "{}", table(&check));
    assert!(check.verdict.contains("fold_ln"), "{}", table(&check));
}

#[test]
fn a_wrong_hook_and_a_wrong_layer() {
    for hook in ["blocks.2.hook_mlp_out", "blocks.0.hook_resid_post", "blocks.3.hook_resid_post"] {
        let check = checked(published(topk(), hook, &[]).path(), None);
        assert_eq!(check.judgement, Judgement::Elsewhere, "{hook}: {}", table(&check));
        assert!(
            check.remedy.as_deref().unwrap().contains(&format!("--hook {HOOK}")),
            "{hook}: {}",
            table(&check)
        );
    }
}

/// A dictionary of a different model has the width, and its directions are others.
#[test]
fn a_wrong_model() {
    let at = tempfile::tempdir().unwrap();
    let mut chance = Chance::new(3);
    let other = in_a_different_basis(at.path(), &mut chance);
    let folder = published(&trained(&other, Method::Topk, 512), HOOK, &[]);
    assert_eq!(checked(folder.path(), Some(&other)).judgement, Judgement::Fits);
    let check = checked(folder.path(), None);
    assert_eq!(check.judgement, Judgement::Foreign, "{}", table(&check));
}

/// Thresholds in units of scaled activations next to weights for raw ones, as Llama Scope has them.
#[test]
fn a_threshold_in_a_different_unit() {
    let at = tempfile::tempdir().unwrap();
    let long: Vec<f32> = rows(&data(HOOK)).iter().map(|x| x * 12.0).collect();
    let long = imported(at.path(), "long", &long);
    let scale = ((D as f64).sqrt() / mean_norm(&long)) as f32;
    let mut dictionary = trained(&long, Method::MutualChoice, 512);
    let Selection::Threshold(thresholds) = &mut dictionary.selection else { panic!("thresholds") };
    thresholds.iter_mut().for_each(|t| *t /= scale);
    let check = checked(published(&dictionary, HOOK, &[]).path(), Some(&long));
    is_misread(&check, "--reading thresholds-times-scale");
}

/// What the verdict says to do, done: the imported run is read as it was meant, and evaluates as the one that was trained.
#[test]
fn the_remedy_helps() {
    let at = tempfile::tempdir().unwrap();
    let folder = published(topk(), HOOK, &[("apply_b_dec_to_input", json!(false))]);
    std::fs::rename(folder.path(), at.path().join("wrong")).unwrap();
    let right = published(topk(), HOOK, &[]);
    std::fs::rename(right.path(), at.path().join("right")).unwrap();
    let data = data(HOOK);
    std::os::unix::fs::symlink(&data, at.path().join("data")).unwrap();
    sae(at.path(), "check wrong --data data").refused(1, &["not read as it was meant"]);
    sae(at.path(), "index wrong --data data").refused(2, &["sae import dictionary wrong --out RUN"]);
    sae(at.path(), "evaluate wrong").refused(2, &["--data"]);
    let printed = sae(at.path(), "evaluate wrong --data data --no-model --all-documents --json").ok().json();
    assert!(!at.path().join("wrong/evaluation").exists(), "nothing is written next to foreign files");
    let import = "import dictionary wrong --data data --reading with-pre-bias --out run --json";
    let made = sae(at.path(), import).ok().json();
    assert_eq!(made["check"]["judgement"], "fits", "{made:#}");
    assert_eq!(made["record"]["imported"]["reading"], "with-pre-bias");
    let run = sae(at.path(), "evaluate run --no-model --all-documents --json").ok().json();
    let fve = |json: &Value| json["fve"].as_f64().unwrap();
    let right = sae(at.path(), "evaluate right --data data --no-model --all-documents --json").ok().json();
    assert!((fve(&run) - fve(&right)).abs() < 1e-6, "{} and {}", fve(&run), fve(&right));
    assert!(fve(&run) > fve(&printed), "{} and {}", fve(&run), fve(&printed));
    sae(at.path(), "index run --no-model").ok();
    sae(at.path(), "import dictionary wrong --out run").refused(2, &["run exists"]);
    let inspected = sae(at.path(), "inspect run").ok();
    assert!(inspected.stdout.contains("imported") && !inspected.stdout.contains("tokens"), "{inspected}");
}

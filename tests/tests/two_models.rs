//! Two models, a lens and a prediction by few features, as a user does it, on the model inside the program.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use tests::sae;

const HOOK: &str = "blocks.2.hook_resid_post";

fn harvest(at: &Path, model: &str, out: &str) {
    let line = format!("harvest --text text.jsonl --model {model} --hook {HOOK} --dtype f32 --out {out}");
    sae(at, &line).ok();
}

/// The same model twice finds nothing; a tuned one is compared with its base.
#[test]
fn a_crosscoder_compares_a_model_with_itself_and_with_its_tuned_copy() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fixtures::write_text(&at.join("text.jsonl"));
    harvest(at, "default", "base");
    harvest(at, "default", "again");
    let joined = sae(at, "join base again --out twice --json").ok().json();
    assert_eq!(joined["sites"].as_array().unwrap().len(), 2);
    let options = "--method batch-topk --d-sae 64 --k 8 --batch 256 --tokens 30000";
    sae(at, &format!("train --data twice {options} --out same")).ok();
    let same = sae(at, "diff same --json").ok().json();
    let features = same["features"].as_array().unwrap();
    assert_eq!(features.len(), 64);
    assert!(features.iter().all(|feature| feature["relative_norm"] == 0.5), "{same}");
    assert!(same["difference"]["classes"].get("exclusive").is_none());
    sae(at, "pretrain --from default --text text.jsonl --tokens 2000 --out tuned").ok();
    harvest(at, "tuned", "after");
    sae(at, "join base after --out both").ok();
    sae(at, &format!("train --data both {options} --out crosscoder")).ok();
    let found = sae(at, "diff crosscoder --json").ok().json();
    assert!(found["difference"]["sites"][1]["fve"].as_f64().unwrap() > 0.3, "{}", found["difference"]);
    assert!(found["features"].as_array().unwrap().iter().any(|feature| feature["relative_norm"] != 0.5));
    assert!(at.join("crosscoder/difference/difference.json").exists());
    // What no one model has cannot be put into one.
    let refused = sae(at, "prompt crosscoder --text hello");
    assert!(refused.code() == Some(2) && !refused.stderr.is_empty(), "{refused}");
    sae(at, "join base --out alone").refused(2, &[]);
    let missing = sae(at, "diff missing");
    assert!(missing.code() != Some(0) && missing.stderr.contains("missing"), "{missing}");
}

#[test]
fn a_prediction_is_explained_and_seen_through_a_lens() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fixtures::write_text(&at.join("text.jsonl"));
    harvest(at, "default", "data");
    sae(at, "train --data data --d-sae 128 --k 8 --batch 256 --tokens 40000 --out run").ok();
    let line = "prompt run --text The-court-held-that --explain #262 --within 20 --controls 2 --json";
    let explained = sae(at, line).ok().json()["explained"].clone();
    let number = |name: &str| explained[name].as_f64().unwrap();
    assert!((number("value") - number("clean")).abs() <= 0.2 * number("clean") + 1e-9, "{explained}");
    assert_eq!(explained["random"].as_array().unwrap().len(), 2);
    let told = sae(at, &line.replace(" --json", "")).ok();
    for word in ["explained", "few features", "no features", "all features"] {
        assert!(told.stdout.contains(word), "{told}");
    }
    sae(at, "prompt run --text hello --within 20").refused(2, &["--explain"]);
    sae(at, "prompt run --text hello --explain #262 --rest mean").refused(2, &["no index"]);
    let line =
        format!("lens --hook {HOOK} --text text.jsonl --prompts 2 --context 24 --skip 4 --out lens --json");
    let lens = sae(at, &line).ok().json();
    assert_eq!((&lens["prompts"], &lens["hooks"][0]), (&serde_json::json!(2), &serde_json::json!(HOOK)));
    sae(at, &line).refused(2, &["holds a lens already"]);
    let index = sae(at, "index run --lens lens --no-map --json").ok().json();
    assert!(index["logits"].as_str().unwrap().contains("mean Jacobian"), "{index}");
    let seen = sae(at, "prompt run --text The-court --lens lens --json").ok().json();
    assert_eq!(seen["tokens"][0]["lens"].as_array().unwrap().len(), 5);
}

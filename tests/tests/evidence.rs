//! Explanations by a language model, activation sparsity and a known task as a user asks for them.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use lm::remote::scripted::{Reply, start};
use serde_json::{Value, json};
use tests::{sae, sae_with};

/// A small dictionary of the embedded model, indexed.
fn indexed(dir: &Path) {
    std::fs::create_dir_all(dir.join("text")).unwrap();
    for (name, bytes) in lm::embedded::CORPUS {
        let most = bytes[..120_000.min(bytes.len())].iter().rposition(|b| *b == b'\n').unwrap();
        std::fs::write(dir.join("text").join(name), &bytes[..=most]).unwrap();
    }
    sae(dir, "harvest --text text --hook blocks.2.hook_resid_post --out data").ok();
    sae(dir, "train --data data --d-sae 256 --k 8 --tokens 100000 --batch 512 --out topk").ok();
    sae(dir, "index topk --no-model").ok();
}

/// Judges by whether any word of the description is in the passage; explains by the first marked word.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is not a number"))
}

fn reader(body: &Value) -> String {
    let system = body["messages"][0]["content"].as_str().unwrap();
    let user = body["messages"][1]["content"].as_str().unwrap();
    if system.contains("[EXPLANATION]") {
        let word = user.split("<<").nth(1).and_then(|rest| rest.split(">>").next()).unwrap_or("nothing");
        return format!("[EXPLANATION]: the text {}", word.trim());
    }
    let described = user.lines().next().unwrap().rsplit(' ').next().unwrap();
    if system.contains("List the words") {
        return json!([described]).to_string();
    }
    let passages = user.lines().filter(|line| line.starts_with("Passage "));
    json!(passages.map(|line| u8::from(line.contains(described))).collect::<Vec<u8>>()).to_string()
}

#[test]
fn a_server_explains_features_and_its_key_stays_secret() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    indexed(dir);
    let address = start(|body, key| match key {
        "Bearer sk-very-secret" => Reply::said(&reader(body)),
        _ => Reply::Status(401, "", json!({"error": {"message": format!("bad key {key}")}}).to_string()),
    })
    .unwrap();

    let refused = sae(dir, "explain topk --url https://192.0.2.7/v1 --model m --number 3");
    refused.refused(2, &["192.0.2.7", "requests", "tokens", "--yes"]);
    sae(dir, &format!("explain topk --url {address}")).refused(2, &["--model"]);
    let line =
        format!("explain topk --url {address} --model some/reader --number 4 --tested 8 --shown 10 --json");
    sae(dir, &format!("{line} --key-env SAE_NO_SUCH_VARIABLE")).refused(2, &["SAE_NO_SUCH_VARIABLE"]);
    let wrong = sae_with(dir, &format!("{line} --key-env SAE_TEST_KEY"), &[("SAE_TEST_KEY", "sk-wrong-one")]);
    wrong.refused(2, &["401", "--key-env"]);
    assert!(!wrong.stderr.contains("sk-wrong"), "{wrong}");

    let line = format!("{line} --key-env SAE_TEST_KEY --price 1 2");
    let variables = [("SAE_TEST_KEY", "sk-very-secret")];
    let done = sae_with(dir, &line, &variables).ok();
    assert!(done.stderr.contains("requests") && done.stderr.contains("127.0.0.1"), "{done}");
    let json = done.json();
    assert_eq!((json["features"].as_u64(), json["unexplained"].as_u64()), (Some(4), Some(0)), "{json:#}");
    let sources: Vec<&str> =
        json["sources"].as_array().unwrap().iter().map(|s| s["source"].as_str().unwrap()).collect();
    assert_eq!(sources, ["model", "rule", "other feature", "shuffled", "top tokens"]);
    assert!(json["cost"].as_f64().unwrap() > 0.0 && json["prompt_tokens"].as_u64().unwrap() > 0);
    for entry in walk(&dir.join("topk/explanations")) {
        let bytes = std::fs::read(&entry).unwrap();
        assert!(!bytes.windows(9).any(|w| w == b"sk-very-s"), "{} holds the key", entry.display());
    }
    let again = sae_with(dir, &line, &variables).ok();
    assert_eq!(again.json()["requests"], 0, "everything was kept");
    assert!(again.stderr.contains("nothing is sent"), "{again}");
    let table = sae_with(dir, &line.replace(" --json", ""), &variables).ok();
    for part in ["detection", "fuzzing", "(control)", "model − other feature, detection"] {
        assert!(table.stdout.contains(part), "`{part}`: {table}");
    }
}

fn walk(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

/// What an audit says that codes cost the model is what an evaluation with these codes finds, and a prompt shows them.
#[test]
fn codes_that_are_searched_for_are_audited_evaluated_and_shown() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    indexed(dir);
    let audited = sae(dir, "audit topk --tokens 1200 --all-documents --iterations 100 --json").ok().json();
    let audit = &audited["audit"];
    let evaluated =
        sae(dir, "evaluate topk --recode pursuit --tokens 1200 --all-documents --json").ok().json();
    let of = |name: &str| {
        let codings = audited["codings"].as_array().unwrap();
        codings.iter().find(|row| row["coding"] == name).unwrap().clone()
    };
    let near = |a: &Value, b: &Value| {
        let (a, b) = (number(a), number(b));
        assert!((a - b).abs() < 2e-3, "{a} is not {b}");
    };
    let (own, pursued) = (&evaluated["run"][0], &evaluated["recoded"][0]);
    near(&audit["fve"], &own["fve"]);
    near(&audit["ce"], &own["ce_reconstructed"]);
    near(&audit["ce_clean"], &own["ce_clean"]);
    near(&of("pursuit")["fve_refitted"], &pursued["fve"]);
    near(&of("pursuit")["ce"], &pursued["ce_reconstructed"]);
    assert_eq!(audit["predicted_tokens"], own["predicted_tokens"]);
    assert!(number(&pursued["fve"]) > number(&own["fve"]), "{pursued}");
    near(&of("best")["ce"], &audit["ce_best"]);
    near(&of("encoder")["ce"], &audit["ce_refitted"]);
    let read = sae(dir, "evaluate topk --recode refit --tokens 1200 --all-documents --json").ok().json();
    near(&read["recoded"][0]["ce_reconstructed"], &audit["ce_refitted"]);

    let without = sae(dir, "audit topk --tokens 300 --all-documents --no-model --json").ok().json();
    assert!(without["audit"]["ce"].is_null() && without["codings"][0]["ce"].is_null(), "{without}");
    let active = |options: &str| -> Vec<Value> {
        let line = format!("prompt topk --text court {options} --json");
        let shown = sae(dir, &line).ok().json();
        shown["tokens"].as_array().unwrap().iter().map(|token| token["features"].clone()).collect()
    };
    let (own, pursued, posterior) =
        (active(""), active("--recode pursuit"), active("--recode posterior --data data"));
    assert!(own != pursued && own != posterior);
    for (own, found) in own.iter().zip(pursued.iter().chain(&posterior)) {
        assert!(found.as_array().unwrap().len() <= own.as_array().unwrap().len(), "{found}");
    }
    sae(dir, "evaluate topk --recode better").refused(2, &["expected one of refit, pursuit"]);
}

/// The embedded mixture of experts and a small ReLU model, whose units are 0 half of the time.
#[test]
fn what_can_be_spared_is_measured_in_experts_and_mlps() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    indexed(dir);
    let json = sae(dir, "evaluate topk --cett --tokens 1500 --all-documents --json").ok().json();
    let spared = |of: &Value| {
        let losses = of["by_loss"].as_array().unwrap();
        losses.iter().map(|one| one["left_out"].as_f64().unwrap()).collect::<Vec<f64>>()
    };
    let cett = &json["cett"];
    for of in [&cett["neurons"], &cett["codes"]] {
        let shares = spared(of);
        assert!(shares.is_sorted() && shares[0] < 1.0, "{shares:?}");
        let errors = of["by_error"].as_array().unwrap();
        assert!(errors.is_sorted_by_key(|point| point["left_out"].as_f64().unwrap().to_bits()), "{errors:?}");
    }
    assert!(cett["neurons"]["zero"].as_f64().unwrap() < 0.01, "SiLU units are hardly ever 0");
    assert!(dir.join("topk/evaluation/cett.json").exists());

    let config = "architecture = \"dense\"\ngated = false\nactivation = \"relu\"\nd_model = 32\nlayers = 2\nheads = 2\n\
                  vocab_size = 512\nexperts_per_token = 2\nexpert_width = 64\ncontext_length = 64\nbatch_rows = 4\n";
    std::fs::write(dir.join("relu.toml"), config).unwrap();
    sae(dir, "pretrain --config relu.toml --text text --tokens 20000 --out relu").ok();
    sae(dir, "harvest --model relu --text text --hook blocks.0.hook_resid_post --tokens 30000 --out of-relu")
        .ok();
    sae(dir, "train --data of-relu --d-sae 64 --k 4 --tokens 20000 --batch 512 --out small").ok();
    let json = sae(dir, "evaluate small --cett --tokens 1000 --all-documents --json").ok().json();
    let neurons = &json["cett"]["neurons"];
    let zero = neurons["zero"].as_f64().unwrap();
    assert!((0.2..0.9).contains(&zero), "ReLU units are 0 about half of the time: {zero}");
    assert_eq!(neurons["units"].as_f64(), Some(2.0 * 128.0));
    assert!(spared(neurons)[0] >= zero - 0.05, "what is 0 costs nothing: {neurons}");
    sae(dir, "evaluate topk --cett --no-model").refused(2, &["--no-model"]);
}

/// Golden numbers: SmolLM2-135M solves indirect-object identification, with a mean logit difference of 5.5.
#[test]
fn smollm2_identifies_indirect_objects() {
    // target/PROFILE/deps/TEST
    let test = std::env::current_exe().unwrap();
    let model = test.ancestors().nth(3).unwrap().join("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !model.exists() {
        fixtures::skip("a task on SmolLM2", "tests/models/fetch.sh has not fetched the model");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    tests::small_text(&dir.join("text"), 12);
    let last = "blocks.29.hook_resid_post";
    sae(
        dir,
        &format!("harvest --model {} --text text --hook {last} --tokens 600 --out data", model.display()),
    )
    .ok();
    sae(dir, "train --data data --d-sae 64 --k 8 --tokens 2000 --batch 128 --out topk").ok();
    let json = sae(dir, "evaluate topk --task ioi --task-prompts 24 16 --json").ok().json();
    let (accuracy, difference) =
        (json["accuracy"].as_f64().unwrap(), json["logit_difference"].as_f64().unwrap());
    assert!(accuracy >= 0.9 && (4.0..7.5).contains(&difference), "{accuracy} {difference}");
    assert_eq!(json["position"], "last", "after the last block nothing but the last token matters");
    let effect = |position: &str, attribute: &str| {
        let sites = json["sites"].as_array().unwrap();
        let site = sites.iter().find(|s| s["position"] == position && s["attribute"] == attribute);
        site.unwrap()["effect"].as_f64().unwrap()
    };
    assert!(effect("last", "io") > 0.5 && effect("s 2", "io").abs() < 1e-3, "{json:#}");
    assert_eq!(json["results"].as_array().unwrap().len(), 4);
    // Several at once: the first is what it is alone, and the ceiling is printed once.
    sae(dir, "train --data data --d-sae 64 --k 4 --tokens 2000 --batch 128 --out narrow").ok();
    let both = sae(dir, "evaluate topk narrow --task ioi --task-prompts 24 16 --json").ok().json();
    assert_eq!(both["dictionaries"][0]["record"], json);
    assert_eq!(both["dictionaries"][1]["source"], "narrow");
    let shown = sae(dir, "evaluate topk narrow --task ioi --task-prompts 24 16 --no-controls").ok().stdout;
    assert_eq!(shown.matches("supervised").count(), 1, "{shown}");
    assert!(shown.contains("narrow") && shown.contains("topk"), "{shown}");
    sae(dir, "evaluate topk narrow").refused(2, &["--task alone", "sae compare"]);
    let refused = sae(dir, "evaluate topk --task nothing.toml");
    refused.refused(1, &["nothing.toml"]);
}

//! The main job as a user types it, on a small text and the embedded model: harvest, train, index, explain, evaluate, experts.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use arrow::datatypes::UInt32Type;
use serde_json::Value;
use storage::schema::{ACTIVATIONS, DOCUMENT, DOCUMENTS, POSITION, ROUTING, TOKEN, VOCABULARY};
use storage::{Dataset, Run, RunStatus, column, documents, features, metrics, vocabulary};
use tests::{Document, sae, small_text};

/// Layers of the embedded model, all with experts.
const LAYERS: u64 = 4;

#[test]
fn from_text_to_features() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let text = small_text(&at.join("text"), 40);
    let rows = harvest(at, &text);
    train(at);
    index(at, rows);
    explain(at, rows);
    evaluate(at);
    prompt(at);
    experts(at, rows);
    the_configuration_gives_the_run_again(at);
    a_run_that_moved_finds_its_dataset(at);
}

/// The run and its index name `data` from the folder where they were made.
fn a_run_that_moved_finds_its_dataset(at: &Path) {
    let moved = at.join("moved");
    fs::create_dir(&moved).unwrap();
    for name in ["data", "run"] {
        fs::rename(at.join(name), moved.join(name)).unwrap();
    }
    let before = Run::open(&moved.join("run")).unwrap().evaluation().unwrap();
    let json = sae(at, "evaluate moved/run --json").ok().json();
    let before = serde_json::to_value(before.unwrap()).unwrap();
    for figure in ["fve", "l0", "ce_reconstructed", "tokens"] {
        assert_eq!(before[figure], json[figure], "the same dataset gives the same {figure}");
    }
    sae(at, "explain moved/run").ok();
    sae(at, "check moved/run").ok();
    fs::rename(moved.join("data"), moved.join("rows")).unwrap();
    sae(at, "evaluate moved/run").refused(2, &["data is not there any more", "--data"]);
    sae(at, "evaluate moved/run --data moved/rows").ok();
}

fn files_are_there(folder: &Path, names: &[&str]) {
    for name in names {
        let length = fs::metadata(folder.join(name)).map_or(0, |m| m.len());
        assert!(length > 0, "{name} is missing or empty in {}", folder.display());
    }
}

fn has_keys(json: &Value, keys: &str) {
    for key in keys.split_whitespace() {
        assert!(json.get(key).is_some_and(|v| !v.is_null()), "`{key}` is missing in {json:#}");
    }
}

fn harvest(at: &Path, text: &[Document]) -> u64 {
    let line =
        "harvest --model default --text text --hook blocks.1.hook_resid_post --routing --out data --json";
    let json = sae(at, line).ok().json();
    has_keys(&json, "datasets rows documents held_out");
    let held_out = text.iter().filter(|d| d.held_out).count();
    assert_eq!((&json["documents"], &json["held_out"]), (&text.len().into(), &held_out.into()));

    let data = at.join("data");
    files_are_there(
        &data,
        &[
            "dataset.json",
            "vocabulary.parquet",
            "documents.parquet",
            "activations-00000.parquet",
            "routing-00000.parquet",
        ],
    );
    assert!(!data.join("journal.json").exists() && !data.join(".lock").exists());
    let dataset = Dataset::open(&data).unwrap();
    dataset.verify(&mut |_, _| {}).unwrap();
    assert_eq!(json["rows"], dataset.manifest().rows);
    assert_eq!(dataset.manifest().left_out, ["BOS", "padding"]);
    rows_are_the_texts_tokens(&dataset, text);
    assert_eq!(dataset.table(ROUTING).unwrap().rows(), LAYERS * dataset.manifest().rows);
    dataset.manifest().rows
}

/// Every token of every document has its row, in order, and nothing else has one: neither BOS nor padding.
fn rows_are_the_texts_tokens(dataset: &Dataset, text: &[Document]) {
    let rows = documents::read(&dataset.table(DOCUMENTS).unwrap()).unwrap();
    let bytes = vocabulary::read_bytes(&dataset.table(VOCABULARY).unwrap()).unwrap();
    let (mut places, mut tokens) = (Vec::new(), Vec::new());
    for batch in dataset.table(ACTIVATIONS).unwrap().columns(&[DOCUMENT, POSITION, TOKEN]).unwrap() {
        let batch = batch.unwrap();
        let numbers = |name: &str| column::primitive::<UInt32Type>(&batch, name).unwrap().values().to_vec();
        places.extend(numbers(DOCUMENT).into_iter().zip(numbers(POSITION)));
        tokens.extend(numbers(TOKEN));
    }
    let expected: Vec<(u32, u32)> =
        rows.iter().flat_map(|d| (0..d.tokens).map(move |position| (d.document, position))).collect();
    let differs = places.iter().zip(&expected).find(|(found, expected)| found != expected);
    assert!(places.len() == expected.len() && differs.is_none(), "{} rows, {differs:?}", places.len());

    assert_eq!(rows.len(), text.len(), "the empty documents are left out");
    for (row, document) in rows.iter().zip(text) {
        assert_eq!((row.held_out, row.domain.as_str()), (document.held_out, document.domain), "{row:?}");
        assert_eq!((&row.name, row.source.as_str()), (&document.title, "tests"));
        let tokens = &tokens[row.first_row as usize..][..row.tokens as usize];
        let read: Vec<u8> = tokens.iter().flat_map(|&token| bytes[token as usize].iter().copied()).collect();
        assert_eq!(String::from_utf8_lossy(&read), document.text, "{}", row.name);
    }
    let context = dataset.manifest().context_length;
    assert!(rows.iter().any(|d| d.tokens as usize > context), "one document is longer than {context} tokens");
}

fn train(at: &Path) {
    let line = "train --data data --d-sae 256 --k 8 --batch 512 --tokens 20000 --checkpoint-every 10 --seed 7 --out run --json";
    let json = sae(at, line).ok().json();
    has_keys(&json, "run steps tokens seconds loss fve l0 dead dead_share dead_after left_out");
    assert_eq!((&json["steps"], &json["tokens"]), (&40.into(), &20480.into()));

    let folder = at.join("run");
    files_are_there(
        &folder,
        &["run.json", "train.toml", "metrics.parquet", "cfg.json", "sae_weights.safetensors"],
    );
    assert!(fs::read_dir(folder.join("checkpoints")).unwrap().count() > 0);
    let run = Run::open(&folder).unwrap();
    let record = run.record();
    assert_eq!((record.status, record.step, record.k, record.d_sae), (RunStatus::Finished, 40, 8, 256));
    assert_eq!(record.hook, "blocks.1.hook_resid_post");
    let log = metrics::read(&run.metrics().unwrap()).unwrap();
    assert_eq!(log.last().map(|row| (row.step, row.tokens)), Some((39, 20480)));
    assert_eq!(log.last().unwrap().l0.map(f64::from), json["l0"].as_f64());
}

/// Rules, and a file of another tool.
fn explain(at: &Path, rows: u64) {
    let json = sae(at, "explain run --json --quiet --least 0.2").ok().json();
    has_keys(&json, "table features explained unexplained rare tokens_made tokens_measured mean_f1 best");
    let number = |name: &str| json[name].as_u64().unwrap();
    assert_eq!(number("explained") + number("unexplained") + number("rare"), 256);
    assert_eq!(number("tokens_made") + number("tokens_measured"), rows);
    let run = at.join("run");
    let rules = storage::explanations::read(&run, "rules").unwrap();
    assert!(rules.len() as u64 == number("explained") && !rules.is_empty(), "{json:#}");
    assert!(
        rules
            .iter()
            .all(|rule| rule.scores.iter().all(|s| s.value.is_finite()) && rule.scores[0].value >= 0.2)
    );

    fs::write(at.join("said.csv"), "feature,text,score\n3,\"a, b\",0.5\n").unwrap();
    let json = sae(at, "explain run --import said.csv --json --quiet").ok().json();
    assert_eq!((&json["explanations"], &json["format"]), (&1.into(), &"CSV".into()));
    assert_eq!(storage::explanations::sources(&run).unwrap(), ["rules", "said"]);
    fs::write(at.join("said.csv"), "feature,text\n256,x\n").unwrap();
    sae(at, "explain run --import said.csv").refused(1, &["said.csv", "feature 256"]);
}

fn index(at: &Path, rows: u64) {
    let ended = sae(at, "index run --json --quiet").ok();
    assert_eq!(ended.stderr, "", "--quiet");
    let json = ended.json();
    has_keys(&json, "features dead tokens documents activations logits");
    assert_eq!((&json["features"], &json["tokens"]), (&256.into(), &rows.into()));

    let run = Run::open(&at.join("run")).unwrap();
    files_are_there(
        &run.features_dir(),
        &[
            "features.parquet",
            "activations-00000.parquet",
            "examples.parquet",
            "map.parquet",
            "index.json",
            "vocabulary.parquet",
        ],
    );
    let all = features::read(&run.features().unwrap().unwrap(), 0..256).unwrap();
    assert!(all.iter().zip(0..).all(|(row, number)| row.feature == number));
    let fired: u64 = all.iter().map(|row| row.count).sum();
    assert_eq!(run.activations().unwrap().unwrap().rows(), fired);
    assert_eq!(json["activations"], fired);
    assert!(all.iter().any(|row| !row.top_logits.is_empty()), "the model is there, so there are logits");
}

fn evaluate(at: &Path) {
    let json = sae(at, "evaluate run --json").ok().json();
    has_keys(
        &json,
        "fve fvu l0 dead_share cosine ce_clean ce_reconstructed ce_zero ce_mean loss_recovered kl",
    );
    let number = |name: &str| json[name].as_f64().unwrap();
    assert!((number("fve") + number("fvu") - 1.0).abs() < 1e-9 && number("fve") < 1.0);
    assert!(number("l0") > 0.0 && number("l0") <= 8.0);
    assert!(number("ce_clean") > 0.0 && number("kl") >= 0.0);
    assert_eq!(json["split"], "held-out");
    assert_eq!(json["documents"], 8, "every fifth of 40 documents");
    let kept = Run::open(&at.join("run")).unwrap().evaluation().unwrap();
    let kept = serde_json::to_value(kept.unwrap()).unwrap();
    assert_eq!(kept, json, "evaluation/core.json holds what was printed");
}

fn prompt(at: &Path) {
    let json = sae(at, "prompt run --text Dear_reader --by loss --json").ok().json();
    has_keys(&json, "opened text effect_on tokens continuations");
    assert_eq!(
        (&json["opened"]["hook"], &json["opened"]["indexed"]),
        (&"blocks.1.hook_resid_post".into(), &true.into())
    );
    let tokens = json["tokens"].as_array().unwrap();
    let text: String = tokens.iter().map(|token| token["text"].as_str().unwrap()).collect();
    assert_eq!(text, "Dear_reader");
    assert!(tokens.iter().all(|token| token["features"].as_array().unwrap().len() <= 8));
    let code = &tokens[1]["features"][0];
    assert!(code["activation"].as_f64().unwrap() > 0.0 && code["effect"].is_f64());
    let feature = &code["feature"];
    let line = format!(
        "prompt run --text Dear_reader --ablate {feature} --add {feature}=2 --tokens 3 --controls 2 --json"
    );
    let json = sae(at, &line).ok().json();
    let changed = &json["changed"];
    has_keys(
        changed,
        "changes maxima mean_ratio mean_kl control_kl loss_before loss_after control_loss tokens",
    );
    assert_eq!(changed["maxima"][0]["of"], "index");
    assert!(changed["mean_kl"].as_f64().unwrap() > 0.0);
    assert_eq!(changed["tokens"]["controls"].as_array().unwrap().len(), 2);
    assert_eq!(json["continuations"].as_array().unwrap().len(), 3);
    let table = sae(at, &line.replace(" --json", "")).ok();
    assert!(table.stdout.contains("‖δ‖/‖x‖") && table.stdout.contains("continued, changed"), "{table}");
    let shares = sae(at, "prompt run --text Dear_reader --by share").ok();
    assert!(shares.stdout.contains(" %)"), "{shares}");
    sae(at, "prompt run --text a --ablate 256").refused(2, &["no feature 256", "256 features"]);
    sae(at, "prompt run --text a --add 3").refused(2, &["FEATURE=SHARE"]);
    sae(at, "prompt run --text a --by luck").refused(2, &["activation, share, loss, or logit:"]);
    sae(at, "prompt run --text Dear_reader --by logit:Dear_reader").refused(2, &["tokens", "#NUMBER"]);
    sae(at, "prompt run --text a --ablate 1 --at 9").refused(2, &["token 9"]);
    sae(at, "prompt run").refused(2, &["--text"]);
}

fn experts(at: &Path, rows: u64) {
    let json = sae(at, "experts data --json").ok().json();
    assert_eq!(json["domains"], serde_json::json!(["code", "prose"]));
    let all_text = |row: &&Value| row["domain"].is_null();
    let layers: Vec<_> = json["balance"].as_array().unwrap().iter().filter(all_text).collect();
    assert!(!layers.is_empty());
    for layer in layers {
        has_keys(layer, "layer experts k tokens cv load_entropy effective_experts router_entropy dead");
        assert_eq!(layer["tokens"], rows);
    }
    files_are_there(&at.join("data/experts"), &["load.parquet", "balance.parquet", "kinds.parquet"]);
    let kinds = json["kinds"].as_array().unwrap();
    assert!(kinds.iter().any(|row| row["domain"] == "word begin"));
    masks(at);
    weights(at);
}

fn masks(at: &Path) {
    let json = sae(at, "experts mask data --expert 1:3,0:5 --tokens 300 --controls 1 --json").ok().json();
    let mask = &json["masks"][0];
    assert_eq!(mask["masked"], serde_json::json!([[0, 5], [1, 3]]));
    for row in mask["domains"].as_array().unwrap() {
        has_keys(row, "domain tokens before after control control_low control_high");
        assert_ne!(row["before"], row["after"]);
    }
    files_are_there(&at.join("data/experts"), &["masking.parquet", "masked.parquet"]);
    sae(at, "experts mask data").refused(2, &["--domain"]);
    sae(at, "experts mask data --expert 3").refused(2, &["LAYER:EXPERT"]);
    sae(at, "experts mask data --domain law").refused(2, &["no domain `law`", "code, prose"]);
    sae(at, "experts mask data --expert 7:0").refused(2, &["layer 7 has no experts"]);
}

fn weights(at: &Path) {
    let json = sae(at, "experts weights data --json").ok().json();
    assert_eq!(json["similarity"].as_array().unwrap().len(), 4 * 16 * 15 / 2);
    assert!(json["gaps"][0].as_str().unwrap().contains("silu"), "{json:#}");
    files_are_there(&at.join("data/experts"), &["similarity.parquet"]);
    let alone = sae(at, "experts weights default --json").ok().json();
    assert_eq!(alone["similarity"], json["similarity"]);
    let cells = sae(at, "experts cells run run --json").ok().json();
    assert_eq!((&cells["missed"], &cells["matched"], &cells["split"]), (&0.into(), &256.into(), &0.into()));
    files_are_there(&at.join("run/features"), &["cells.parquet"]);
    sae(at, "experts cells run default").refused(2, &["run is a dictionary", "default is not"]);
}

fn the_configuration_gives_the_run_again(at: &Path) {
    sae(at, "train --config run/train.toml --out again").ok();
    let weights = |run: &str| fs::read(at.join(run).join("sae_weights.safetensors")).unwrap();
    assert!(weights("run") == weights("again"), "train.toml reproduces a run to the bit");
}

#[test]
fn several_hooks_with_gradients_in_one_pass() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    small_text(&at.join("text"), 20);
    let hooks = ["blocks.0.hook_mlp_out", "blocks.2.hook_resid_post"];
    let [first, second] = hooks;
    let line = format!(
        "harvest --text text --hook {first} --hook {second} --routing --gradients --tokens 1000 --out data"
    );
    sae(at, &line).ok();
    for hook in hooks {
        let dataset = Dataset::open(&at.join("data").join(hook)).unwrap();
        dataset.verify(&mut |_, _| {}).unwrap();
        assert_eq!((dataset.manifest().rows, dataset.manifest().hook.as_deref()), (1000, Some(hook)));
        assert!(dataset.table(ACTIVATIONS).unwrap().has_column("gradient"));
    }
    assert!(Dataset::open(&at.join("data/routing")).unwrap().has_table(ROUTING));
    sae(at, "experts data").ok();
    sae(at, &format!("train --data data/{second} --d-sae 64 --k 4 --batch 256 --tokens 512 --out run")).ok();
}

/// Rows of both kinds differ, but little; what is measured on either follows its dataset unless it is told otherwise.
#[test]
fn a_harvest_in_bfloat16_is_close_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    small_text(&at.join("text"), 40);
    let line = |numbers: &str| {
        format!(
            "harvest --text text --hook blocks.2.hook_resid_post --dtype f32 --held-out 0.3 --compute {numbers} --out {numbers}"
        )
    };
    let rows = ["f32", "bf16"].map(|numbers| {
        sae(at, &line(numbers)).ok();
        let dataset = Dataset::open(&at.join(numbers)).unwrap();
        let recorded = dataset.manifest().settings.get("compute").cloned();
        assert_eq!(recorded, (numbers == "bf16").then(|| numbers.into()));
        let (mut rows, table) = (Vec::new(), dataset.table(ACTIVATIONS).unwrap());
        let all = 0..table.rows();
        for batch in table.take(&[all], &["activation"]).unwrap() {
            storage::vector::fixed_size_rows(&batch, "activation", &mut rows).unwrap();
        }
        rows
    });
    let squares = |of: &mut dyn Iterator<Item = f32>| of.map(|x| f64::from(x).powi(2)).sum::<f64>();
    let away = squares(&mut rows[0].iter().zip(&rows[1]).map(|(a, b)| a - b));
    let share = away / squares(&mut rows[0].iter().copied());
    assert!(0.0 < share && share < 1e-3, "{share} of the squares");
    sae(at, "train --data bf16 --d-sae 64 --k 8 --batch 256 --tokens 4000 --out run").ok();
    let loss = |options: &str| sae(at, &format!("evaluate run --json {options}")).ok().json();
    let (own, single) = (loss(""), loss("--compute f32"));
    assert_eq!((&own["compute"], &single["compute"]), (&Value::from("bf16"), &Value::Null));
    let clean = |found: &Value| found["ce_clean"].as_f64().unwrap();
    assert!(clean(&own) != clean(&single) && (clean(&own) - clean(&single)).abs() < 0.05);
    sae(at, "prompt run --text hello --compute f32").ok();
    sae(at, "prompt run --text hello --compute f64").refused(2, &["f64", "bf16"]);
    // What was made in one kind of numbers is not taken for the other.
    sae(at, &line("f32").replace("--out f32", "--out bf16")).refused(1, &["bf16", "a different folder"]);
}

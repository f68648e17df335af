//! `sae export` as a user types it, on a real indexed run: every format, what it refuses, and what it leaves alone.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use sae::dictionary::{Dictionary, Selection};
use serde_json::Value;
use tests::sae;

/// A copy of the sample run, and a folder to export into.
fn run() -> fixtures::Copied {
    fixtures::copy(fixtures::sample())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

#[test]
fn weights_go_to_each_format_and_saelens_comes_back_the_same() {
    let copied = run();
    let at = &copied.path();
    for format in ["saelens", "sparsify", "dictionary-learning"] {
        let line = format!("export topk --to {format} --out out/{format} --json");
        let report = sae(at, &line).ok().json();
        assert_eq!(report["features"], fixtures::FEATURES);
        assert_eq!(json(&at.join("out").join(format).join("export.json"))["to"], format);
    }
    let (before, after) =
        (Dictionary::load(&at.join("topk")).unwrap(), Dictionary::load(&at.join("out/saelens")).unwrap());
    assert_eq!((&before.w_enc, &before.w_dec, &before.b_enc), (&after.w_enc, &after.w_dec, &after.b_enc));
    assert!(at.join("out/saelens/sparsity.safetensors").exists());
    let config = json(&at.join("out/sparsify/layers.2/cfg.json"));
    assert_eq!(config["num_latents"], fixtures::FEATURES);
    let config = json(&at.join("out/dictionary-learning/trainer_0/config.json"));
    assert_eq!(config["trainer"]["dict_class"], "AutoEncoderTopK");
}

#[test]
fn the_same_run_gives_the_same_bytes() {
    let copied = run();
    let at = &copied.path();
    for (format, file) in [("html", "data/shard-0.js"), ("dictionary-learning", "trainer_0/ae.pt")] {
        let export = |out: &str| {
            sae(at, &format!("export topk --to {format} --out {out}")).ok();
            fs::read(at.join(out).join(file)).unwrap()
        };
        assert!(export("a") == export("b"), "{file}");
        fs::remove_dir_all(at.join("a")).unwrap();
        fs::remove_dir_all(at.join("b")).unwrap();
    }
}

#[test]
fn only_an_export_is_replaced() {
    let copied = run();
    let at = &copied.path();
    fs::create_dir(at.join("mine")).unwrap();
    fs::write(at.join("mine/thesis.tex"), "years").unwrap();
    fs::create_dir(at.join("mine.old")).unwrap();
    sae(at, "export topk --to html --out mine").refused(2, &["is not an export", "choose a new path"]);
    assert_eq!(fs::read_to_string(at.join("mine/thesis.tex")).unwrap(), "years");

    sae(at, "export topk --to html --features 0 --out pages").ok();
    sae(at, "export topk --to html --features 0-3 --out pages").ok();
    let shard = fs::read_to_string(at.join("pages/data/shard-0.js")).unwrap();
    assert!(shard.contains("\"feature\":3"));
    // Nor is a file that a person put into an export.
    fs::write(at.join("pages/data/notes.txt"), "mine").unwrap();
    sae(at, "export topk --to html --features 0 --out pages").refused(2, &["data/notes.txt", "did not make"]);
    assert_eq!(fs::read_to_string(at.join("pages/data/notes.txt")).unwrap(), "mine");
    fs::remove_file(at.join("pages/data/notes.txt")).unwrap();
    sae(at, "export topk --to html --features 0 --out pages").ok();
    fs::write(at.join("card.svg"), "<svg>a drawing</svg>").unwrap();
    sae(at, "export topk --to card --features 0 --out card.svg").refused(2, &["is not an export"]);
    // Nothing is left next to the exports.
    let hidden = fs::read_dir(at)
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("sae-export"));
    assert_eq!(hidden.count(), 0);
}

#[test]
fn what_a_format_cannot_express_is_refused_with_a_remedy() {
    let copied = run();
    let at = &copied.path();
    let mut dictionary = Dictionary::load(&at.join("topk")).unwrap();
    let thresholds = (0..dictionary.d_sae).map(|f| 0.5 + f as f32 / 100.0).collect();
    dictionary.selection = Selection::Threshold(thresholds);
    dictionary.save(&at.join("jumprelu")).unwrap();

    sae(at, "export jumprelu --to sparsify --out no").refused(2, &["sparsify has no thresholds", "--k"]);
    assert!(!at.join("no").exists());
    let report = sae(at, "export jumprelu --to sparsify --k 8 --out yes --json").ok().json();
    assert!(report["notes"][0].as_str().unwrap().contains("codes differ"));
    sae(at, "export jumprelu --to dictionary-learning --out dl").ok();
    let config = json(&at.join("dl/trainer_0/config.json"));
    assert_eq!(config["trainer"]["dict_class"], "JumpReluAutoEncoder");

    for (line, words) in [
        ("export topk --to circuit-tracer --out no", "is a sparse autoencoder"),
        ("export jumprelu --to html --out no", "index it first"),
        ("export topk --to card --out no.svg", "a card shows one feature"),
        ("export topk --to saelens --top 3 --out no", "does not apply to saelens"),
        ("export topk --to html --features 1,x --out no", "is not a number or a range"),
        ("export topk --to html --features 99999 --out no", "there is no feature 99999"),
        ("export topk --to html --label zzzzzz --out no", "no feature was chosen"),
    ] {
        sae(at, line).refused(2, &[words]);
    }
    assert!(!at.join("no").exists() && !at.join("no.svg").exists());
}

#[test]
fn an_index_of_other_weights_is_not_shown() {
    let copied = run();
    let at = &copied.path();
    let mut dictionary = Dictionary::load(&at.join("topk")).unwrap();
    dictionary.b_enc[0] += 1.0;
    dictionary.save(&at.join("topk")).unwrap();
    sae(at, "export topk --to html --out no").refused(1, &["of other weights", "index the run again"]);
}

#[test]
fn pages_and_cards_need_nothing_from_outside() {
    let copied = run();
    let at = &copied.path();
    sae(at, "export topk --to html --top 5 --out one.html").ok();
    sae(at, "export topk --to card --top 1 --out card.svg").ok();
    let page = fs::read_to_string(at.join("one.html")).unwrap();
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http") && !page.contains("url("));
    let card = fs::read_to_string(at.join("card.svg")).unwrap();
    assert!(!card.contains("href") && card.contains("</svg>"));
    // The same card in points, two per unit; it replaces an export, and nothing else.
    sae(at, "export topk --to card --top 1 --out card.png").ok();
    sae(at, "export topk --to card --top 1 --out card.png").ok();
    let size = |name: &str| {
        let (_, rest) = card.split_once(&format!(" {name}=\"")).unwrap();
        rest[..rest.find('"').unwrap()].parse::<f32>().unwrap()
    };
    let points = fs::read(at.join("card.png")).unwrap();
    let number = |i: usize| u32::from_be_bytes(points[i..i + 4].try_into().unwrap());
    assert_eq!(&points[..8], b"\x89PNG\r\n\x1a\n");
    assert_eq!(
        (number(16), number(20)),
        ((2.0 * size("width")) as u32, (2.0 * size("height")).ceil() as u32)
    );
    fs::copy(at.join("topk/run.json"), at.join("mine.png")).unwrap();
    sae(at, "export topk --to card --top 1 --out mine.png").refused(2, &["is not an export"]);
}

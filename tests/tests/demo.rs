//! `sae demo`: the main job on the embedded model and text is good enough, and a second start changes nothing.

use serde_json::Value;
use tests::sae;

const KEYS: [&str; 11] = [
    "fve",
    "fvu",
    "l0",
    "dead_share",
    "cosine",
    "ce_clean",
    "ce_reconstructed",
    "ce_zero",
    "ce_mean",
    "loss_recovered",
    "kl",
];

#[test]
fn the_demo_s_dictionary_is_good_and_stays_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let run = || sae(folder.path(), "demo --json --out demo").ok().json();
    let mut first = run();
    let number = |json: &Value, name: &str| {
        json[name].as_f64().unwrap_or_else(|| panic!("`{name}` is not a number in {json:#}"))
    };
    for key in KEYS {
        number(&first, key);
    }
    assert_eq!(first["split"], "held-out");
    assert!(number(&first, "fve") >= 0.80, "{first:#}");
    assert!(number(&first, "loss_recovered") >= 0.90, "{first:#}");
    assert!(number(&first, "dead_share") <= 0.05, "{first:#}");
    assert!(number(&first, "explained") >= 50.0, "{first:#}");
    for (key, file) in
        [("dataset", "dataset.json"), ("run", "cfg.json"), ("run", "features/features.parquet")]
    {
        let path = first[key].as_str().map(|path| folder.path().join(path).join(file));
        assert!(path.is_some_and(|path| path.exists()), "{key} has no {file}: {first:#}");
    }

    let mut second = run();
    for json in [&mut first, &mut second] {
        json["seconds"].take();
    }
    assert_eq!(first, second, "starting the demo again gives the same numbers");
}

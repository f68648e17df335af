//! `sae probe` as a user types it, on texts of the embedded corpus, and the published splits.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};

use sae::Quiet;
use sae::probe::{published_split, read_sets};
use serde_json::Value;
use storage::Scan;
use storage::probe::{ProbeRow, ProbeSetRow};
use tests::sae;

/// The prompts that `tests/probe/fetch.sh` fetches; `None`, and a skip, where they are not.
fn fetched() -> Option<PathBuf> {
    // target/PROFILE/deps/TEST
    let test = std::env::current_exe().unwrap();
    let folder = test.ancestors().nth(3).unwrap().join("sae-probes");
    if !folder.is_dir() {
        fixtures::skip("published splits", "tests/probe/fetch.sh has not fetched the prompts");
        return None;
    }
    Some(folder)
}

/// Golden numbers: drawn by sae-probes 0.4.2 with NumPy, seed 42.
#[test]
fn splits_are_the_published_ones() {
    let Some(folder) = fetched() else { return };
    let sets = read_sets(&folder, &[], &mut Quiet).unwrap();
    assert_eq!(sets.len(), 113);
    assert_eq!(sets.iter().map(|set| set.prompts.len()).sum::<usize>(), 334_092);
    let split = |name: &str| published_split(sets.iter().find(|set| set.name == name).unwrap(), 42).unwrap();
    let male = split("5_hist_fig_ismale");
    assert_eq!(male.train[..5], [3182, 3527, 925, 2841, 4416]);
    assert_eq!(male.test[..5], [584, 299, 329, 1797, 12]);
    assert_eq!(split("131_temp_cat_Typical Time").train[..5], [869, 211, 796, 654, 192]);
}

/// Lines of two files of the corpus, a third of them twice, as a set of two classes.
fn write_set(folder: &Path, name: &str, files: [&str; 2]) {
    let lines = |file: &str| {
        let (_, bytes) = lm::embedded::CORPUS.iter().find(|(name, _)| *name == file).unwrap();
        let text = String::from_utf8_lossy(bytes);
        let documents = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let texts = documents.filter_map(|document| Some(document.get("text")?.as_str()?.to_owned()));
        // Pieces from the middle of documents: where a text begins would tell too much.
        let piece = |text: String| text.chars().skip(40).take(60).collect::<String>();
        texts.map(piece).filter(|piece| piece.chars().count() == 60).take(150).collect::<Vec<String>>()
    };
    let mut rows = Vec::new();
    for (file, class) in files.iter().zip(["first", "second"]) {
        for (i, line) in lines(file).into_iter().enumerate() {
            let row = serde_json::json!({"prompt": line, "target": class}).to_string();
            rows.push(row.clone());
            if i % 3 == 0 {
                rows.push(row);
            }
        }
    }
    std::fs::write(folder.join(format!("{name}.jsonl")), rows.join("\n")).unwrap();
}

fn rows(out: &Path) -> Vec<ProbeRow> {
    let table = storage::row::open::<ProbeRow>(&out.join("probes.parquet")).unwrap();
    storage::row::read::<ProbeRow>(&table, Scan::default()).unwrap()
}

#[test]
fn dictionaries_and_controls_are_probed_and_a_probe_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path();
    std::fs::create_dir_all(dir.join("text")).unwrap();
    for (name, bytes) in lm::embedded::CORPUS {
        let most = bytes[..120_000.min(bytes.len())].iter().rposition(|b| *b == b'\n').unwrap();
        std::fs::write(dir.join("text").join(name), &bytes[..=most]).unwrap();
    }
    sae(dir, "harvest --text text --hook blocks.2.hook_resid_post --out data").ok();
    sae(dir, "train --data data --d-sae 256 --k 8 --tokens 60000 --batch 512 --out topk").ok();
    sae(
        dir,
        "train --data data --d-sae 256 --k 8 --tokens 60000 --batch 512 --freeze-decoder random --out frozen",
    )
    .ok();
    std::fs::create_dir_all(dir.join("sets")).unwrap();
    write_set(&dir.join("sets"), "1_code_english", ["code.jsonl", "english.jsonl"]);
    write_set(&dir.join("sets"), "2_french_legal", ["french.jsonl", "legal.jsonl"]);
    std::fs::copy(dir.join("sets/1_code_english.jsonl"), dir.join("sets/1_code_english_OOD.jsonl")).unwrap();

    let line = "probe topk frozen --sets sets --k 1,5 --penalty l1,l2 --setting normal,shifted --seeds 2 --out probes --json";
    let json = sae(dir, line).ok().json();
    let found = rows(&dir.join("probes"));
    let table = storage::row::open::<ProbeSetRow>(&dir.join("probes/sets.parquet")).unwrap();
    let sets = storage::row::read::<ProbeSetRow>(&table, Scan::default()).unwrap();
    // 300 of 400, less what the corpus itself repeats.
    assert!(sets.iter().all(|set| set.prompts == 400 && (280..=300).contains(&set.different)), "{sets:?}");
    // Each of a quarter of the prompts is twice, so about as many of those tested on are trained on.
    assert!(sets.iter().all(|set| set.leak.unwrap() > 0.1), "{sets:?}");
    for row in &found {
        assert!((0.0..=1.0).contains(&row.test_auc) && row.features.len() == row.k as usize, "{row:?}");
        assert_eq!(row.leak == 0.0, row.split == "different" && row.setting == "normal", "{row:?}");
    }
    let auc = |dictionary: &str, k: u32| {
        let own =
            found.iter().filter(|row| row.dictionary == dictionary && row.k == k && row.split == "different");
        let values: Vec<f64> = own.filter(|row| row.setting == "normal").map(|row| row.test_auc).collect();
        values.iter().sum::<f64>() / values.len() as f64
    };
    for dictionary in ["topk", "frozen", "raw dimensions", "principal components", "random rows"] {
        assert!(auc(dictionary, 5) > 0.6, "{dictionary}: {}", auc(dictionary, 5));
    }
    assert!(auc("all dimensions", 0) > 0.9 && auc("difference of means", 0) > 0.8);
    let controls: Vec<&str> =
        found.iter().filter(|row| row.dictionary == "frozen").map(|row| row.control.as_str()).collect();
    assert!(!controls.is_empty() && controls.iter().all(|control| *control == "frozen decoder"));
    let means = json["means"].as_array().unwrap();
    let raw = means.iter().find(|mean| mean["dictionary"] == "topk" && mean["k"] == 1).unwrap();
    assert!(
        raw["over_raw"].is_number() && raw["detectable"].is_number() && raw["seed_sd"].is_number(),
        "{raw}"
    );

    let peer = dir.join("probes/sae_probes/topk");
    let model = std::fs::read_dir(&peer).unwrap().next().unwrap().unwrap().path();
    let file = model.join("normal_setting/1_code_english_blocks.2.hook_resid_post_l1.json");
    let entries: Vec<Value> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(entries.iter().map(|entry| entry["k"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 5]);
    assert_eq!(entries[1]["indices"].as_array().unwrap().len(), 5);

    // One set was not finished: it is made again, from the activations that were kept, and all is as before.
    let of_set = |name: &str| {
        let all = std::fs::read_dir(dir.join("probes/sets")).unwrap().map(|entry| entry.unwrap().path());
        all.into_iter().find(|path| path.file_name().unwrap().to_str().unwrap().starts_with(name)).unwrap()
    };
    std::fs::remove_file(of_set("2_french_legal")).unwrap();
    std::fs::remove_file(dir.join("probes/probes.parquet")).unwrap();
    let kept = |path: PathBuf| std::fs::metadata(path).unwrap().modified().unwrap();
    let before = kept(of_set("1_code_english"));
    sae(dir, &format!("{line} --threads 1")).ok();
    assert_eq!(rows(&dir.join("probes")), found);
    assert_eq!(kept(of_set("1_code_english")), before);
    sae(dir, &line.replace("--k 1,5", "--k 1")).refused(2, &["different question", "--out"]);
}

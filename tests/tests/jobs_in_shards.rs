//! Index, explain, probe and made rows in three shards, in any order, one of them killed and given again, merged: the bytes of one process.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tests::{sae, small_text, start};

/// Bytes of every file below `folder`, without the records of who worked and what only other processes see.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let (mut found, mut folders) = (BTreeMap::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true if path.ends_with("shards") => {}
                true => folders.push(path),
                false => {
                    found.insert(path.strip_prefix(folder).unwrap().to_owned(), fs::read(&path).unwrap());
                }
            }
        }
    }
    found
}

fn assert_same(one: &Path, other: &Path) {
    let (one, other) = (files(one), files(other));
    assert_eq!(one.keys().collect::<Vec<_>>(), other.keys().collect::<Vec<_>>());
    let differ: Vec<&PathBuf> = one.keys().filter(|name| one[*name] != other[*name]).collect();
    assert!(differ.is_empty(), "{differ:?}");
}

fn shard(folder: &Path, index: usize) -> PathBuf {
    folder.join(format!("shard-{index:05}-of-00003"))
}

fn record(folder: &Path, index: usize) -> Value {
    serde_json::from_slice(&fs::read(shard(folder, index).join("work.json")).unwrap()).unwrap()
}

/// Shards 2, 0 and 1 of `line`, the last killed when there is `file`, or one that begins so if it ends with `-`, in `made`, its folder, and given
/// again; the merge is refused before that.
fn in_shards(at: &Path, line: &str, shards: &Path, (made, file): (&Path, &str)) {
    sae(at, &format!("{line} --merge")).refused(2, &["no folders shard-I-of-N"]);
    for index in [2, 0] {
        sae(at, &format!("{line} --shard {index}/3 --threads 1")).ok();
    }
    sae(at, &format!("{line} --merge")).refused(2, &["1 of 3 shards", "1/3: not begun"]);
    let mut program = start(at, &format!("{line} --shard 1/3"));
    let begun = |entry: fs::DirEntry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        name == file || file.ends_with('-') && name.starts_with(file)
    };
    program.wait_until(|| fs::read_dir(made).is_ok_and(|entries| entries.flatten().any(begun)));
    let ended = program.kill();
    assert!(ended.killed(), "{ended}");
    sae(at, &format!("{line} --merge")).refused(2, &["1 of 3 shards", "1/3: at work, or killed, on"]);
    let done = sae(at, &format!("{line} --shard 1/3 --json")).ok().json();
    assert_eq!((done["status"].as_str(), done["starts"].as_u64()), (Some("done"), Some(2)));
    assert_eq!(done["host"], record(shards, 1)["host"]);
    // What is finished does nothing.
    let again = sae(at, &format!("{line} --shard 1/3 --json")).ok();
    assert!(again.stderr.contains("already finished"), "{again}");
    assert_eq!(again.json(), done);
}

/// A dataset of three batches of the index and a dictionary of three chunks of features, wide enough for candidates in 8 bits.
fn indexable(at: &Path) {
    small_text(&at.join("text"), 220);
    sae(at, "harvest --text text --hook blocks.1.hook_resid_post --tokens 20000 --out data").ok();
    sae(at, "train --data data --d-sae 1100 --k 8 --tokens 10000 --out whole").ok();
    copy(&at.join("whole"), &at.join("run"));
}

fn copy(from: &Path, to: &Path) {
    for (name, bytes) in files(from) {
        fs::create_dir_all(to.join(&name).parent().unwrap()).unwrap();
        fs::write(to.join(name), bytes).unwrap();
    }
}

#[test]
fn an_index_and_its_explanations() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    indexable(at);
    let whole = sae(at, "index whole --json").ok().json();
    let shards = at.join("run/shards/index");
    in_shards(at, "index run", &shards, (&shard(&shards, 1), "codes-"));
    let kept = ["codes-00000.parquet", "weights-00000.parquet"];
    for index in 0..3 {
        let names: Vec<Value> = record(&shards, index)["files"].as_array().unwrap().clone();
        assert_eq!(names.iter().map(|f| f["file"].as_str().unwrap()).collect::<Vec<_>>(), kept, "{index}");
    }
    // Other options, a damaged file.
    let foreign = ["shard-00000-of-00003", "tokens: null there, 9000 here"];
    sae(at, "index run --tokens 9000 --merge").refused(1, &foreign);
    sae(at, "index run --tokens 9000 --shard 0/3").refused(1, &foreign);
    sae(at, "index run --shard 0/2").ok();
    sae(at, "index run --merge").refused(2, &["shards of [2, 3]"]);
    fs::remove_dir_all(shards.join("shard-00000-of-00002")).unwrap();
    let file = shard(&shards, 2).join(kept[0]);
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();
    sae(at, "index run --merge").refused(1, &["codes-00000.parquet", "is not what shard 2/3 made"]);
    assert!(!at.join("run/features").exists());
    // A file that was cut off is made again.
    sae(at, "index run --shard 2/3").ok();
    assert!(fs::read(&file).unwrap() == bytes);

    let merged = sae(at, "index run --merge --json").ok().json();
    assert_eq!(merged, whole);
    assert_same(&at.join("whole/features"), &at.join("run/features"));
    assert_eq!(record(&shards, 1)["status"], "merged");
    assert!(!file.exists(), "what is merged takes no room");
    // Again: nothing is done, and nothing is lost.
    assert_eq!(sae(at, "index run --merge --json").ok().json(), merged);
    sae(at, "index run --shard 1/3").ok();
    assert_same(&at.join("whole/features"), &at.join("run/features"));

    let mut whole = sae(at, "explain whole --least 0.2 --json").ok().json();
    let shards = at.join("run/shards/explain");
    for index in [1, 2, 0] {
        sae(at, &format!("explain run --least 0.2 --shard {index}/3")).ok();
    }
    sae(at, "explain run --merge").refused(1, &["least: 0.2 there, 0.5 here"]);
    let mut merged = sae(at, "explain run --least 0.2 --merge --json").ok().json();
    for summary in [&mut whole, &mut merged] {
        summary.as_object_mut().unwrap().remove("table");
    }
    assert_eq!(whole, merged);
    assert!(whole["explained"].as_u64().unwrap() > 10, "{whole}");
    assert_same(&at.join("whole/explanations"), &at.join("run/explanations"));
    sae(at, "explain run --least 0.2 --merge").ok();
    assert_eq!(record(&shards, 2)["status"], "merged");
    sae(at, "explain run --shard 0/3 --url http://127.0.0.1:1 --model m").refused(2, &["--shard", "--url"]);
    sae(at, "index whole --out made --data data --merge").refused(2, &["--out makes one"]);
}

/// Two kinds of sentences, as sets of two classes.
fn labelled(folder: &Path, sets: usize) {
    fs::create_dir_all(folder).unwrap();
    for set in 0..sets {
        let row = |i: usize| {
            let text = match i % 2 {
                0 => format!("let x{i} = f({set}) + {i};"),
                _ => format!("They came home at {i} and ate {set} apples."),
            };
            serde_json::json!({ "prompt": text, "target": i % 2 }).to_string()
        };
        let rows: Vec<String> = (0..80).map(row).collect();
        fs::write(folder.join(format!("{set}_kind.jsonl")), rows.join("\n")).unwrap();
    }
}

#[test]
fn probes() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    small_text(&at.join("text"), 30);
    sae(at, "harvest --text text --hook blocks.1.hook_resid_post --tokens 2500 --out data").ok();
    sae(at, "train --data data --d-sae 64 --k 4 --tokens 2500 --out topk").ok();
    labelled(&at.join("sets"), 4);
    let line = "probe topk --sets sets --k 1,5 --seeds 2";
    let whole = sae(at, &format!("{line} --out whole --json")).ok().json();
    let (out, line) = (at.join("probes"), format!("{line} --out probes"));
    in_shards(at, &line, &out.join("shards"), (&shard(&out.join("shards"), 1), "work.json"));
    assert_eq!(record(&out.join("shards"), 0)["pieces"], serde_json::json!(["0_kind", "3_kind"]));
    let mut merged = sae(at, &format!("{line} --merge --json")).ok().json();
    merged["out"] = whole["out"].clone();
    assert_eq!(merged, whole);
    assert_same(&at.join("whole"), &out);
    sae(at, &format!("{line} --merge")).ok();
    assert_same(&at.join("whole"), &out);
    labelled(&at.join("sets"), 5);
    sae(at, &format!("{line} --merge")).refused(1, &["other input or options", "sets: "]);
}

#[test]
fn rows_of_a_made_world() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for (world, seed) in [("world", 1), ("other", 2)] {
        let make = "synth make --features 16 --d-model 8 --roots 0 --orthogonal-steps 2";
        sae(at, &format!("{make} --seed {seed} --out {world}")).ok();
    }
    // Parts of 262,144 rows: three.
    let rows = "--rows 600000 --held-out 0.1 --seed 5";
    sae(at, &format!("synth rows world {rows} --out whole")).ok();
    let (out, line) = (at.join("data"), format!("synth rows world {rows} --out data"));
    in_shards(at, &line, &out.join("shards"), (&shard(&out, 1), "activations-"));
    sae(at, &format!("synth rows other {rows} --out data --merge")).refused(1, &["different world"]);
    sae(at, "synth rows world --rows 600000 --seed 6 --out data --merge").refused(1, &["other options"]);
    sae(at, &format!("{line} --merge")).ok();
    assert_same(&at.join("whole"), &out);
    assert_eq!(record(&out.join("shards"), 2)["status"], "merged");
    sae(at, &format!("{line} --shard 1/3")).ok();
    assert_same(&at.join("whole"), &out);
    sae(at, &format!("synth rows world {rows} --generate --shard 0/2 --out generated"))
        .refused(2, &["have no shards"]);
    sae(at, &format!("synth rows world {rows} --shard 0/2 --out whole")).refused(1, &["already finished"]);
}

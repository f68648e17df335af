//! Memory limited to what `sae train --dry-run` promises: the training ends well, or says before it begins that it does not fit.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::path::Path;

use tests::{sae, sae_within};

const TRAININGS: [&str; 3] = [
    "--method topk --d-sae 2048 --k 8",
    "--method batch-topk --d-sae 8192 --k 16",
    "--method feature-choice --d-sae 2048 --k 8",
];

/// What the process has before it trains, and stacks of its threads: the promise is about a machine, not about `ulimit`.
const BEFORE_KIB: u64 = 48 << 10;

fn promise(at: &Path, training: &str) -> u64 {
    let planned = sae(at, &format!("{training} --dry-run --json")).ok().json();
    planned["peak_bytes_with_help"].as_u64().unwrap() >> 10
}

#[test]
fn no_training_is_cut_short_by_a_limit_that_it_did_not_see() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fixtures::write_text(&at.join("text.jsonl"));
    sae(at, "harvest --text text.jsonl --hook blocks.2.hook_resid_post --tokens 30000 --out data").ok();
    for (number, options) in TRAININGS.iter().enumerate() {
        let training = format!("train --data data {options} --tokens 30000 --threads 2 --out run{number}");
        let promise = promise(at, &training);
        for percent in [40, 70, 100] {
            let limit = promise * percent / 100;
            let ended = sae_within(at, &training, limit);
            println!("{options}: promised {} MiB, limit {percent} %: {:?}", promise >> 10, ended.code());
            let run = at.join(format!("run{number}"));
            match ended.code() {
                Some(0) => std::fs::remove_dir_all(run).unwrap(),
                Some(2) => {
                    assert!(
                        ended.stderr.contains("MiB of memory") && ended.stderr.contains("ulimit"),
                        "{ended}"
                    );
                    assert!(!run.exists(), "{options}: something was begun");
                }
                // What it may need only if many features die is a remark.
                _ => assert!(ended.stderr.contains("if many features die"), "{ended}"),
            }
        }
        sae_within(at, &training, promise + promise / 16 + BEFORE_KIB).ok();
    }
}

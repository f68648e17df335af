//! A sweep as a user starts it: what it tells before, killed and resumed, compared.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::time::Duration;

use storage::RunRecord;
use tests::{Chance, dataset, sae, start};

const SWEEP: &str = r#"
[base]
data = "data"
d_sae = 256
batch = 256
tokens = 60_000
data_seed = 5
checkpoint_every = 20

[[cross]]
method = ["topk", "mutual-choice"]
k = 8
seed = [0, 1]

[[run]]
name = "few"
k = 4
"#;
const RUNS: [&str; 5] = ["topk-seed0", "topk-seed1", "mutual-choice-seed0", "mutual-choice-seed1", "few"];

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("sae_weights.safetensors")).unwrap()
}

#[test]
fn killed_and_resumed_every_run_is_what_it_is_alone() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    dataset(&at.join("data"), 6000, 64);
    fs::write(at.join("sweep.toml"), SWEEP).unwrap();

    let plan = sae(at, "train --config sweep.toml --out killed --dry-run --json").ok().json();
    assert_eq!(plan["runs"].as_array().unwrap().len(), 5);
    assert_eq!(plan["waves"].as_array().unwrap().len(), 1, "all share their batches");
    assert!(plan["peak_bytes"].as_u64().unwrap() > 1 << 20 && !at.join("killed").exists());

    let newest = || {
        let steps = |name: &&str| {
            let entries = fs::read_dir(at.join("killed").join(name).join("checkpoints")).ok()?;
            entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<u64>().ok()).max()
        };
        RUNS.iter().filter_map(steps).max()
    };
    let (mut chance, mut kills) = (Chance::new(3), 0);
    for attempt in 0..6 {
        let line = match (at.join("killed/sweep.toml").exists(), attempt % 2) {
            (false, _) => "train --config sweep.toml --out killed",
            (true, 0) => "train --config sweep.toml --out killed --resume",
            // Everything from the sweep's folder.
            (true, _) => "train --out killed --resume",
        };
        let mut program = start(at, line);
        let before = newest();
        if attempt < 5 {
            program.wait_until(|| newest() > before);
            std::thread::sleep(Duration::from_secs_f64(0.05 * chance.unit()));
        }
        let ended = if attempt < 5 { program.kill() } else { program.end() };
        if !ended.killed() {
            let ended = ended.ok();
            assert!(RUNS.iter().all(|name| ended.stdout.contains(name)), "{ended}");
            break;
        }
        kills += 1;
    }
    assert!(kills > 0, "no kill hit");
    sae(at, "train --data data --d-sae 256 --batch 256 --tokens 60000 --data-seed 5 --k 8 --seed 1 --method mutual-choice --out alone")
        .ok();
    sae(
        at,
        "train --data data --d-sae 256 --batch 256 --tokens 60000 --data-seed 5 --k 4 --threads 1 --out few",
    )
    .ok();
    assert!(weights(&at.join("killed/mutual-choice-seed1")) == weights(&at.join("alone")));
    assert!(weights(&at.join("killed/few")) == weights(&at.join("few")));
    assert_eq!(RunRecord::read(&at.join("killed/few")).unwrap().k, 4);
    assert!(at.join("killed/sweep.parquet").exists());

    // There is no model to this made-up dataset.
    let compared = sae(at, "compare killed --no-model --json").ok().json();
    let groups: Vec<&str> =
        compared["means"].as_array().unwrap().iter().filter_map(|row| row["group"].as_str()).collect();
    assert!(groups.contains(&"mutual-choice k 8") && groups.contains(&"pca-largest k 4"), "{groups:?}");
    for name in ["runs.parquet", "means.parquet", "comparison.md", "fve.svg", "l0.svg"] {
        assert!(at.join("killed/comparison").join(name).exists(), "{name}");
    }
}

#[test]
fn mistakes_in_a_sweep_are_said_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    dataset(&at.join("data"), 2000, 16);
    let refused = |text: &str, parts: &[&str]| {
        fs::write(at.join("sweep.toml"), text).unwrap();
        let ended = sae(at, "train --config sweep.toml --out out");
        assert!(ended.code().is_some_and(|code| code != 0), "{ended}");
        assert!(parts.iter().all(|part| ended.stderr.contains(part)), "{ended}");
        assert!(!at.join("out").exists());
    };
    refused("[base]\ndata = \"data\"\n[cross]\nks = [4, 8]", &["sweep.toml", "unknown field `ks`"]);
    refused(
        "[base]\ndata = \"data\"\nd_sae = 64\n[cross]\nk = [4, 80]",
        &["run topk-k80", "between 1 and d_sae = 64"],
    );
    refused(
        "[base]\ndata = \"data\"\n[cross]\nmethod = \"relu\"\nk = [4, 8]",
        &["relu-k4 and relu-k8 would be the same"],
    );
    refused("[base]\ndata = \"nowhere\"\n[[run]]\nk = 4", &["nowhere"]);
    fs::write(
        at.join("sweep.toml"),
        "[base]\ndata = \"data\"\nd_sae = 64\ntokens = 2000\n[cross]\nk = [4, 8]",
    )
    .unwrap();
    sae(at, "train --config sweep.toml --out out --k 5").refused(2, &["would be the same", "command line"]);
    sae(at, "train --config sweep.toml --out out").ok();
    sae(at, "train --config sweep.toml --out out").refused(2, &["already holds a sweep", "--resume"]);
}

//! A training that one machine begins and another continues, by what they find in the store. The training itself is in `tests/outside/resumed.py`.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::scripted::{Fault, Server};
use super::tests::{at, connect, quiet};
use super::*;
use crate::run::{RunRecord, RunStatus};

const STATE: usize = 20 << 20;

/// Brings the run in `run` to `step`, as training does: a checkpoint, the record last.
fn train(run: &Path, step: u64) {
    let checkpoint = run.join("checkpoints").join(step.to_string());
    fs::create_dir_all(&checkpoint).unwrap();
    fs::write(checkpoint.join("state.safetensors"), vec![step as u8; STATE]).unwrap();
    fs::write(checkpoint.join("checkpoint.json"), format!("{{\"step\":{step}}}")).unwrap();
    fs::write(run.join("train.toml"), "k = 6\n").unwrap();
    fs::write(run.join("metrics.parquet"), format!("rows until {step}")).unwrap();
    RunRecord { step, status: RunStatus::Running, ..RunRecord::new() }.write(run).unwrap();
}

fn step_of(run: &Path) -> u64 {
    RunRecord::read(run).unwrap().step
}

/// A store and two machines that use it.
struct Desk {
    folder: tempfile::TempDir,
    server: Server,
    a: Arc<Store>,
    b: Arc<Store>,
}

impl Desk {
    fn new() -> Self {
        let (folder, server) = (tempfile::tempdir().unwrap(), Server::start());
        let [a, b] = ["a", "b"].map(|name| connect(&server, &folder.path().join(name), DEFAULT_LIMIT));
        Self { folder, server, a, b }
    }
}

fn state(run: &Path, step: u64) -> Vec<u8> {
    fs::read(run.join(format!("checkpoints/{step}/state.safetensors"))).unwrap()
}

#[test]
fn a_training_is_continued_elsewhere_and_then_here_again() {
    let Desk { folder: _desk, server, a, b } = Desk::new();
    let address = at("s3://lake/run");
    let here = a.open(&address, &quiet).unwrap().path;
    train(&here, 15);
    assert!(keep(&here).unwrap());
    train(&here, 30);
    assert!(keep(&here).unwrap());
    let of = |step: u64| {
        ["checkpoint.json", "state.safetensors"].map(|name| format!("run/checkpoints/{step}/{name}"))
    };
    let expected: Vec<String> = of(30)
        .into_iter()
        .chain(["metrics.parquet", "run.json", "train.toml"].map(|name| format!("run/{name}")))
        .collect();
    assert_eq!(server.keys(), expected, "the newest checkpoint alone");
    // A crash: 40 is on this machine alone.
    train(&here, 40);

    // Whoever reads the run elsewhere fetches no checkpoint; whoever resumes it does, whatever fails on the way.
    let there = b.open(&address, &quiet).unwrap().path;
    assert_eq!((step_of(&there), there.join("checkpoints").exists()), (30, false));
    server.fail(|n, _| (n % 3 == 1).then_some(Fault::Truncate));
    restore(&there).unwrap();
    assert_eq!(state(&there, 30), vec![30; STATE]);
    server.fail(|_, _| None);
    let asked = b.figures().received;
    restore(&there).unwrap();
    assert!(b.figures().received < asked + 10_000, "it is here already");
    train(&there, 45);
    keep(&there).unwrap();

    // Back on the first machine: what it has is older, its own checkpoint of 40 goes.
    let mirror = a.open(&address, &quiet).unwrap();
    assert_eq!((mirror.left_behind(), step_of(&here)), (0, 45));
    restore(&here).unwrap();
    assert_eq!(state(&here, 45), vec![45; STATE]);
    assert!(!here.join("checkpoints/40").exists());
    RunRecord { step: 60, status: RunStatus::Finished, ..RunRecord::new() }.write(&here).unwrap();
    fs::write(here.join("sae_weights.safetensors"), "weights").unwrap();
    mirror.upload(&quiet).unwrap();
    assert!(!server.keys().iter().any(|key| key.contains("checkpoints")), "{:?}", server.keys());
    // And on the second, which thought that it was still training.
    train(&there, 50);
    assert_eq!((b.open(&address, &quiet).unwrap().left_behind(), step_of(&there)), (0, 60));
}

#[test]
fn a_run_that_was_told_something_else_is_not_replaced() {
    let Desk { folder: _desk, server: _server, a, b } = Desk::new();
    let address = at("s3://lake/run");
    let here = a.open(&address, &quiet).unwrap().path;
    train(&here, 15);
    keep(&here).unwrap();
    let there = b.open(&address, &quiet).unwrap().path;
    train(&there, 20);
    fs::write(there.join("train.toml"), "k = 7\n").unwrap();
    keep(&there).unwrap();
    train(&here, 30);
    a.open(&address, &quiet).unwrap();
    assert_eq!((step_of(&here), state(&here, 30)), (30, vec![30; STATE]));
    let error = keep(&here).unwrap_err().to_string();
    assert!(error.contains("somebody else"), "{error}");
}

#[test]
fn a_checkpoint_that_is_not_whole_is_not_found() {
    let Desk { folder: desk, server, a, b } = Desk::new();
    let address = at("s3://lake/sweep");
    let here = a.open(&address, &quiet).unwrap().path.join("one");
    train(&here, 15);
    keep(&here).unwrap();
    train(&here, 30);
    // Its record comes last, and never arrives.
    server.fail(|_, line| line.contains("/30/checkpoint.json").then_some(Fault::Status(403)));
    keep(&here).unwrap_err();
    server.fail(|_, _| None);
    let there = b.open(&address, &quiet).unwrap().path.join("one");
    restore(&there).unwrap();
    assert_eq!(state(&there, 15), vec![15; STATE]);
    assert!(!there.join("checkpoints/30").exists());
    // The next attempt sends what is missing.
    keep(&here).unwrap();
    assert!(!keep(&desk.path().join("elsewhere")).unwrap());
}

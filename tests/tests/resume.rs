//! Killed and resumed: what comes out is what an undisturbed run gives.

#![cfg(unix)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use storage::{Dataset, Run, RunRecord, RunStatus, Scan, metrics};
use tests::{Chance, dataset, sae, small_text, start};

const TRAIN: &str = "train --data data --d-sae 256 --k 8 --batch 256 --tokens 150000 --log-every 10 --checkpoint-every 20 --seed 3";

/// After so many kills a run is left in peace.
const KILLS: usize = 8;

/// Trains undisturbed into `whole`; gives the wall time.
fn undisturbed(at: &Path) -> Duration {
    dataset(&at.join("data"), 6000, 64);
    let began = Instant::now();
    sae(at, &format!("{TRAIN} --threads 1 --out whole")).ok();
    began.elapsed()
}

fn weights(run: &Path) -> Vec<u8> {
    fs::read(run.join("sae_weights.safetensors")).unwrap()
}

/// The newest checkpoint's step.
fn newest_checkpoint(run: &Path) -> Option<u64> {
    let entries = fs::read_dir(run.join("checkpoints")).ok()?;
    entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).max()
}

#[test]
fn killed_training_gives_the_same_weights() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let time = undisturbed(at);
    let steps = |run: &Path| -> Vec<u64> {
        metrics::read(&Run::open(run).unwrap().metrics().unwrap()).unwrap().iter().map(|r| r.step).collect()
    };
    for threads in [1, 2] {
        let run = at.join(format!("killed-{threads}"));
        let (kills, resumed) = train_with_kills(at, &run, threads, time, &mut Chance::new(threads));
        assert!(kills > 0 && resumed > 0, "{kills} kills hit, {resumed} resumed from a checkpoint");
        assert!(weights(&run) == weights(&at.join("whole")), "{threads} threads, {kills} kills");
        assert_eq!(RunRecord::read(&run).unwrap().status, RunStatus::Finished);
        assert!(steps(&run).is_sorted_by(|a, b| a < b), "no step is logged twice");
        assert_eq!(steps(&run), steps(&at.join("whole")), "every logged step is there, once");
        for table in ["snapshots.parquet", "events.parquet", "history.json"] {
            let bytes = |run: &Path| fs::read(run.join("history").join(table)).unwrap();
            assert!(
                bytes(&run) == bytes(&at.join("whole")),
                "history/{table}, {threads} threads, {kills} kills"
            );
        }
    }
}

/// Kills that hit, and starts that resumed from a checkpoint.
fn train_with_kills(
    at: &Path,
    run: &Path,
    threads: u64,
    time: Duration,
    chance: &mut Chance,
) -> (usize, usize) {
    let (mut kills, mut resumed) = (0, 0);
    for attempt in 0.. {
        // The second form takes everything from the run's folder.
        let line = match (run.join("run.json").exists(), attempt % 3) {
            (false, _) => format!("{TRAIN} --threads {threads} --out {}", run.display()),
            (true, 0) => format!("{TRAIN} --threads {threads} --out {} --resume", run.display()),
            (true, _) => format!("train --out {} --resume", run.display()),
        };
        let mut program = start(at, &line);
        let before = newest_checkpoint(run);
        let ended = if attempt >= KILLS {
            program.end()
        } else if attempt % 2 == 0 {
            // Soon after a checkpoint, or while the next one is written.
            program.wait_until(|| newest_checkpoint(run) > before);
            std::thread::sleep(Duration::from_secs_f64(0.06 * chance.unit()));
            program.kill()
        } else {
            // At any moment: before the first step, between two files, in the middle of one.
            std::thread::sleep(time.mul_f64(0.6 * chance.unit()));
            program.kill()
        };
        resumed += usize::from(ended.stderr.contains("resuming from step"));
        if !ended.killed() {
            ended.ok();
            break;
        }
        kills += 1;
    }
    (kills, resumed)
}

#[test]
fn ctrl_c_stops_training_with_a_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    undisturbed(at);
    let run = at.join("run");
    let mut program = start(at, &format!("{TRAIN} --out run"));
    program.wait_until(|| newest_checkpoint(&run).is_some());
    program.interrupt().refused(1, &["stopped", "--resume"]);
    assert_eq!(RunRecord::read(&run).unwrap().status, RunStatus::Stopped);
    assert!(!run.join("cfg.json").exists(), "there is no dictionary yet");

    let ended = sae(at, "train --out run --resume").ok();
    assert!(ended.stderr.contains("resuming from step"), "{ended}");
    assert_eq!(RunRecord::read(&run).unwrap().status, RunStatus::Finished);
    assert!(weights(&run) == weights(&at.join("whole")));
}

const HARVEST: &str = "harvest --model default --text text --hook blocks.1.hook_resid_post --routing --gradients --batch-rows 1";

#[test]
fn an_interrupted_harvest_gives_the_same_rows() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    small_text(&at.join("text"), 60);
    let began = Instant::now();
    sae(at, &format!("{HARVEST} --out whole")).ok();
    let (kills, stops) = harvest_with_kills(at, &at.join("data"), began.elapsed());
    assert!(kills > 0 && stops > 0, "{kills} kills and {stops} interruptions hit");

    let [whole, data] = ["whole", "data"].map(|name| Dataset::open(&at.join(name)).unwrap());
    data.verify(&mut |_, _| {}).unwrap();
    assert!(data.manifest().tables["activations"].parts.len() > 1, "it continued where whole parts ended");
    for name in whole.manifest().tables.keys() {
        assert!(table(&whole, name) == table(&data, name), "the table {name} differs");
    }
    let left: Vec<PathBuf> = fs::read_dir(at.join("data")).unwrap().map(|e| e.unwrap().path()).collect();
    let parts: usize = data.manifest().tables.values().map(|table| table.parts.len()).sum();
    assert_eq!(left.len(), parts + 1, "only the parts and dataset.json: {left:?}");
}

/// Kills and interruptions that hit. The first is Ctrl-C, which makes what is there whole; a kill loses what is not.
fn harvest_with_kills(at: &Path, data: &Path, time: Duration) -> (usize, usize) {
    let (mut kills, mut stops) = (0, 0);
    let mut chance = Chance::new(5);
    let writing = || {
        let entries = fs::read_dir(data).into_iter().flatten().flatten();
        entries.map(|e| e.file_name()).any(|name| name.to_string_lossy().ends_with(".parquet.partial"))
    };
    for attempt in 0.. {
        let mut program = start(at, &format!("{HARVEST} --out {}", data.display()));
        if attempt < KILLS {
            program.wait_until(writing);
            std::thread::sleep(time.mul_f64(0.25 * chance.unit()));
        }
        let ended = match attempt {
            KILLS.. => program.end(),
            n if n % 2 == 0 => program.interrupt(),
            _ => program.kill(),
        };
        match ended.code() {
            None => kills += 1,
            Some(1) => {
                ended.refused(1, &["stopped", "give the same command again"]);
                stops += 1;
            }
            _ => {
                ended.ok();
                break;
            }
        }
        let message = Dataset::open(data).unwrap_err().to_string();
        assert!(message.contains("unfinished"), "what is not whole does not pass for whole: {message}");
    }
    (kills, stops)
}

fn table(dataset: &Dataset, name: &str) -> RecordBatch {
    let reader = dataset.table(name).unwrap();
    let batches: Vec<RecordBatch> = reader.scan(Scan::default()).unwrap().map(Result::unwrap).collect();
    concat_batches(&batches[0].schema(), &batches).unwrap()
}

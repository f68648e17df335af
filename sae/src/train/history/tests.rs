//! Histories of whole runs.

use std::path::Path;

use storage::Scan;
use storage::history::{
    EVENTS, EventsRow, FILE, FOLDER, HistoryRecord, HistoryRow, SNAPSHOTS, snapshot_steps,
};
use storage::row;

use super::*;
use crate::train::runs::checkpoint;
use crate::train::state::TrainState;
use crate::train::tests::{planted, small_config, weights, write};
use crate::train::{TrainConfig, read_config_file, run};
use crate::{Error, Quiet};
use lm::progress::StopAfter;

const D: usize = 16;

fn config() -> TrainConfig {
    TrainConfig { history: Some(8), keep_checkpoints: 100, ..small_config() }
}

fn data(folder: &Path) -> std::path::PathBuf {
    let data = folder.join("data");
    write(&data, &planted(2500, D, 40, 3).0, None, D, 130, |document| document % 5 == 4);
    data
}

fn rows(run: &Path) -> Vec<HistoryRow> {
    row::read(&row::open::<HistoryRow>(&run.join(FOLDER).join(SNAPSHOTS)).unwrap(), Scan::default()).unwrap()
}

fn told(run: &Path) -> Vec<EventsRow> {
    row::read(&row::open::<EventsRow>(&run.join(FOLDER).join(EVENTS)).unwrap(), Scan::default()).unwrap()
}

fn files(run: &Path) -> Vec<Vec<u8>> {
    [SNAPSHOTS, EVENTS, FILE].map(|name| std::fs::read(run.join(FOLDER).join(name)).unwrap()).into()
}

/// Tokens that each feature fired on in the step between two states, from their moving averages.
fn fired_between(before: &TrainState, after: &TrainState, share: f64, batch: f64) -> Vec<u64> {
    let of = |(&before, &after): (&f32, &f32)| {
        let (before, after) = (f64::from(before), f64::from(after));
        let fired = batch * ((after - before) / share + before);
        assert!((fired - fired.round()).abs() < 0.05, "{fired}");
        fired.round() as u64
    };
    before.rates.iter().zip(&after.rates).map(of).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot =
        |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Every number of the table, made again from checkpoints of all steps.
#[test]
fn the_table_says_what_checkpoints_say() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (data(folder.path()), folder.path().join("run"));
    let config = TrainConfig { checkpoint_every: 1, learning_rate: Some(5e-2), ..config() };
    run(&config, &data, &out, false, &mut Quiet).unwrap();
    let record = HistoryRecord::read(&out).unwrap().unwrap();
    let steps: Vec<u64> = record.snapshots.iter().map(|moment| moment.step).collect();
    assert_eq!(steps, [0, 1, 3, 6, 12, 24, 36, 48, 60]);
    assert!(record.snapshots.iter().all(|moment| moment.tokens == moment.step * 100));
    assert_eq!(record.dead_after, 900);
    let table = rows(&out);
    assert_eq!(table.len(), 96 * 9);
    assert!(table.is_sorted_by_key(|row| (row.feature, row.step)));
    // Of a batch of 100 in averages over 900 tokens.
    let share = 1.0 - (-100.0_f64 / 900.0).exp();
    // The state after the last step is in no checkpoint; the dictionary has it.
    let state = |step: u64| checkpoint::read(&out.join("checkpoints").join(step.to_string())).unwrap().0;
    let states: Vec<TrainState> = (1..60).map(state).collect();
    let of_step = |step: u64| &states[step as usize - 1];
    let last = crate::dictionary::Dictionary::load(&out).unwrap();
    let within = |allowed: f64, found: f32, expected: f64, what: &str| {
        assert!((f64::from(found) - expected).abs() < allowed, "{what}: {found}, not {expected}");
    };
    // Rows in 8 bits, of 16 numbers.
    let near = |found, expected, what| within(0.01, found, expected, what);
    let (mut moved, mut died, mut counted) = (0, 0, 0);
    for row in table.iter().filter(|row| (3..60).contains(&row.step)) {
        let (state, f) = (of_step(row.step), row.feature as usize);
        let span = f * D..(f + 1) * D;
        let before = steps[steps.binary_search(&row.step).unwrap() - 1];
        let (decoder, encoder) = (&state.w_dec.value[span.clone()], &state.w_enc.value[span.clone()]);
        assert_eq!(row.dead, state.since_fired[f] >= 900);
        assert_eq!((row.bias, row.over), (state.b_enc.value[f], (row.step - before) * 100));
        within(
            1e-5,
            row.encoder_norm,
            encoder.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt(),
            "norm",
        );
        within(1e-5, row.encoder_decoder_cosine, cosine(encoder, decoder), "encoder and decoder");
        near(row.moved.unwrap(), 1.0 - cosine(decoder, &of_step(before).w_dec.value[span]), "moved");
        near(row.cosine_final.unwrap(), cosine(decoder, last.decoder_row(f)), "cosine with the last");
        let first = TrainState::new(96, vec![0.0; D], 0);
        near(
            row.cosine_first.unwrap(),
            cosine(decoder, &first.w_dec.value[f * D..(f + 1) * D]),
            "with the first",
        );
        let fired: u64 = (before..row.step)
            .map(|step| fired_between(of_step(step), of_step(step + 1), share, 100.0)[f])
            .sum();
        assert_eq!(row.fired, fired, "feature {f} at step {}", row.step);
        moved += usize::from(row.moved.unwrap() > 0.03);
        died += usize::from(row.dead);
        counted += usize::from(fired > 0);
    }
    assert!(moved > 20 && died > 20 && counted > 200, "{moved} {died} {counted}");
    let beginning = table.iter().filter(|row| row.step == 0);
    assert!(beginning.clone().all(|row| row.over == 0 && row.fired == 0 && row.moved.is_none()));
    assert!(beginning.clone().all(|row| row.cosine_first == Some(1.0)));
    assert!(table.iter().filter(|row| row.step == 60).all(|row| row.cosine_final == Some(1.0)));
    // The second table and the record are what the functions make of the first.
    let expected: Vec<EventsRow> = table.chunks(9).map(events).collect();
    assert_eq!(told(&out), expected);
    assert_eq!(record.summary, summary(&expected));
    assert_eq!(snapshot_steps(&out).unwrap(), [0; 0], "only the tables stay");
}

#[test]
fn stopped_killed_and_resumed_runs_have_the_same_history() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(folder.path());
    let whole = folder.path().join("whole");
    run(&config(), &data, &whole, false, &mut Quiet).unwrap();
    let expected = files(&whole);
    for (threads, stops, killed) in [(1, vec![1, 3, 4, 22], false), (2, vec![31], true), (2, vec![4], true)] {
        let out = folder.path().join(format!("stopped {stops:?}"));
        let config = TrainConfig { threads: Some(threads), ..config() };
        for (i, &steps) in stops.iter().enumerate() {
            let stopped = run(&config, &data, &out, i > 0, &mut StopAfter::new(steps));
            assert!(matches!(stopped, Err(Error::Stopped(_))), "{stopped:?}");
        }
        if killed {
            // As if the process had been killed before its last checkpoint was written: there are snapshots after the one before.
            let newest = checkpoint::newest(&out).unwrap().unwrap();
            std::fs::remove_dir_all(newest).unwrap();
        }
        run(&config, &data, &out, true, &mut Quiet).unwrap();
        assert!(files(&out) == expected, "{threads} threads, {stops:?}");
        assert!(weights(&out) == weights(&whole));
    }
}

#[test]
fn a_run_of_an_older_program_has_a_history_from_where_it_is_gone_on_with() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (data(folder.path()), folder.path().join("run"));
    let without = TrainConfig { history: Some(0), ..config() };
    let stopped = run(&without, &data, &out, false, &mut StopAfter::new(20));
    assert!(matches!(stopped, Err(Error::Stopped(_))) && !out.join(FOLDER).exists());
    let newest = checkpoint::newest(&out).unwrap().unwrap();
    let record = std::fs::read_to_string(newest.join("checkpoint.json")).unwrap();
    // As older programs wrote it: nothing is known of counts.
    assert!(!record.contains("counted_from"));
    let old = record.replace(",\n    \"fired\": false", "");
    assert!(old.len() < record.len());
    std::fs::write(newest.join("checkpoint.json"), old).unwrap();
    let toml = std::fs::read_to_string(out.join("train.toml")).unwrap();
    std::fs::write(out.join("train.toml"), toml.replace("history = 0\n", "")).unwrap();
    assert_eq!(read_config_file(&out.join("train.toml")).unwrap().history, None);
    crate::train::resume(&out, &mut Quiet).unwrap();
    let record = HistoryRecord::read(&out).unwrap().unwrap();
    let steps: Vec<u64> = record.snapshots.iter().map(|moment| moment.step).collect();
    assert_eq!(steps, [30, 60], "as many as a new run of this length");
    let table = rows(&out);
    assert_eq!((table[0].over, table[0].moved, table[1].over), (1000, None, 3000), "counted from step 20 on");
    let whole = folder.path().join("whole");
    run(&without, &data, &whole, false, &mut Quiet).unwrap();
    assert!(weights(&out) == weights(&whole), "a history changes no weight");
    assert!(!whole.join(FOLDER).exists());
}

#[test]
fn a_history_can_be_given_up_and_a_damaged_snapshot_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (data(folder.path()), folder.path().join("run"));
    let stop = |resume, history| {
        let config = TrainConfig { history: Some(history), ..config() };
        let stopped = run(&config, &data, &out, resume, &mut StopAfter::new(10));
        assert!(matches!(stopped, Err(Error::Stopped(_))), "{stopped:?}");
    };
    stop(false, 8);
    assert_eq!(snapshot_steps(&out).unwrap(), [0, 1, 3, 6]);
    stop(true, 0);
    assert_eq!(snapshot_steps(&out).unwrap(), [0; 0]);
    stop(true, 8);
    assert_eq!(snapshot_steps(&out).unwrap(), [24]);
    let damaged = storage::history::snapshot_path(&out, 24);
    std::fs::write(&damaged, b"PAR1").unwrap();
    let error = run(&config(), &data, &out, true, &mut Quiet).unwrap_err().to_string();
    assert!(error.contains("24.parquet"), "{error}");
}

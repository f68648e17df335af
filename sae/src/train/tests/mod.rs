//! Whole runs on datasets on disk.

mod cross_layer;
pub mod methods;
mod options;
mod transcoders;

use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, UInt32Array};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use storage::documents::{self, DocumentRow};
use storage::{DatasetWriter, Dtype, Layout, Manifest, ModelRef, Run, RunRecord, RunStatus, schema, vector};

use super::*;
use crate::Quiet;
use crate::dictionary::Dictionary;
use kernels::chance::{Purpose, generator, normal};
use lm::progress::StopAfter;

const HOOK: &str = "blocks.0.hook_resid_post";

/// Writes `x[n, d]` as a dataset of documents of `document_rows` rows each; every fifth is held out.
fn write_dataset(dir: &Path, x: &[f32], d: usize, document_rows: usize) {
    write(dir, x, None, d, document_rows, |document| document % 5 == 4);
}

/// Writes `x[n, d]`, with gradients if there are any.
pub fn write(
    dir: &Path,
    x: &[f32],
    gradients: Option<&[f32]>,
    d: usize,
    document_rows: usize,
    held_out: impl Fn(usize) -> bool,
) {
    write_at(HOOK, dir, x, gradients, d, document_rows, held_out);
}

/// The same, of a different hook.
pub fn write_at(
    hook: &str,
    dir: &Path,
    x: &[f32],
    gradients: Option<&[f32]>,
    d: usize,
    document_rows: usize,
    held_out: impl Fn(usize) -> bool,
) {
    let model = ModelRef { id: "planted".into(), path: None, sha256: "00".into() };
    let mut header = Manifest::new(model, Some(hook.into()), d, Dtype::F32);
    header.left_out = vec!["BOS".into()];
    let mut writer = DatasetWriter::begin(dir, header).unwrap();
    let n = x.len() / d;
    let numbers =
        |f: &dyn Fn(usize) -> u32| Arc::new(UInt32Array::from_iter_values((0..n).map(f))) as ArrayRef;
    let domain: DictionaryArray<Int32Type> = (0..n).map(|_| "prose").collect();
    let mut columns = vec![
        numbers(&|i| (i / document_rows) as u32),
        numbers(&|i| (i % document_rows) as u32),
        numbers(&|_| 1),
        Arc::new(domain),
        Arc::new(vector::column_from_rows(x, d, Dtype::F32).unwrap().0),
    ];
    columns.extend(
        gradients.map(|g| Arc::new(vector::column_from_rows(g, d, Dtype::F32).unwrap().0) as ArrayRef),
    );
    let columns_of = schema::activations(d, Dtype::F32, gradients.is_some());
    let mut part = writer.next_part(schema::ACTIVATIONS, columns_of.clone(), &Layout::activations()).unwrap();
    part.write(&RecordBatch::try_new(columns_of, columns).unwrap()).unwrap();
    let activations = part.finish().unwrap();
    let rows: Vec<DocumentRow> = (0..n.div_ceil(document_rows))
        .map(|i| DocumentRow {
            document: i as u32,
            name: format!("story {i}"),
            source: "memory".into(),
            domain: "prose".into(),
            held_out: held_out(i),
            first_row: (i * document_rows) as u64,
            tokens: document_rows.min(n - i * document_rows) as u32,
        })
        .collect();
    let mut part = writer.next_part(schema::DOCUMENTS, schema::documents(), &Layout::small_table()).unwrap();
    part.write(&documents::to_batch(&rows).unwrap()).unwrap();
    let part = part.finish().unwrap();
    writer
        .commit(
            vec![(schema::ACTIVATIONS.into(), activations), (schema::DOCUMENTS.into(), part)],
            serde_json::json!({}),
        )
        .unwrap();
    writer.finish().unwrap();
}

/// `n` sums of `active` of `features` random directions with weights in 1..2, off centre, a little noise. Directions too.
pub fn planted(n: usize, d: usize, features: usize, active: usize) -> (Vec<f32>, Vec<Vec<f32>>) {
    planted_unevenly(n, d, features, |_| active)
}

/// The same with `active(row)` directions in each row.
pub fn planted_unevenly(
    n: usize,
    d: usize,
    features: usize,
    active: impl Fn(usize) -> usize,
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let mut rng = generator(99, Purpose::Directions, 0, 77);
    let mut direction = || {
        let row: Vec<f32> = (0..d).map(|_| normal(&mut rng)).collect();
        let norm = row.iter().map(|x| x * x).sum::<f32>().sqrt();
        row.into_iter().map(|x| x / norm).collect::<Vec<f32>>()
    };
    let directions: Vec<Vec<f32>> = (0..features).map(|_| direction()).collect();
    let mut rng = generator(99, Purpose::Rows, 0, 77);
    let mut x = vec![0.0; n * d];
    for (i, row) in x.chunks_exact_mut(d).enumerate() {
        for _ in 0..active(i) {
            let direction = &directions[(rng.next_u32() as usize) % features];
            let weight = 1.0 + (rng.next_u32() as f32) / 4.3e9;
            row.iter_mut().zip(direction).for_each(|(x, v)| *x += 3.0 * weight * v);
        }
        row.iter_mut().for_each(|x| *x += 0.5 + 0.02 * normal(&mut rng));
    }
    (x, directions)
}

pub fn small_config() -> TrainConfig {
    TrainConfig {
        d_sae: Some(96),
        k: 4,
        batch: 100,
        tokens: Some(6000),
        dead_after: Some(900),
        checkpoint_every: 9,
        block_rows: 16,
        pool_rows: Some(700),
        max_norm: MaxNorm::Multiple(3.0),
        ..TrainConfig::default()
    }
}

pub fn weights(run: &Path) -> Vec<u8> {
    std::fs::read(run.join("sae_weights.safetensors")).unwrap()
}

#[test]
fn stopped_and_resumed_runs_end_in_the_same_bits_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_dataset(&data, &planted(2500, 16, 40, 3).0, 16, 130);
    let whole = folder.path().join("whole");
    let config = small_config();
    let outcome = run(&config, &data, &whole, false, &mut Quiet).unwrap();
    assert_eq!((outcome.steps, outcome.tokens), (60, 6000));
    for (threads, stops) in [(1, vec![1, 9, 22]), (2, vec![31, 5]), (2, vec![1, 1, 1])] {
        let out = folder.path().join(format!("stopped {stops:?}"));
        let config = TrainConfig { threads: Some(threads), ..config.clone() };
        for (i, &steps) in stops.iter().enumerate() {
            let stopped = run(&config, &data, &out, i > 0, &mut StopAfter::new(steps));
            assert!(matches!(stopped, Err(Error::Stopped(_))), "{stopped:?}");
            assert_eq!(RunRecord::read(&out).unwrap().status, RunStatus::Stopped);
        }
        // Threads may change in the middle.
        let config = TrainConfig { threads: Some(3 - threads), ..config };
        run(&config, &data, &out, true, &mut Quiet).unwrap();
        assert_eq!(weights(&out), weights(&whole), "{threads} threads, {stops:?}");
        let steps = |run: &Path| -> Vec<u64> {
            storage::metrics::read(&Run::open(run).unwrap().metrics().unwrap())
                .unwrap()
                .iter()
                .map(|r| r.step)
                .collect()
        };
        assert_eq!(steps(&out), (0..60).collect::<Vec<_>>());
    }
}

/// A killed process leaves what is on disk; resuming from an older checkpoint is the same as being killed right after it.
#[test]
fn resuming_from_any_checkpoint_on_disk_gives_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    write_dataset(&data, &planted(2500, 16, 40, 3).0, 16, 130);
    let whole = folder.path().join("whole");
    let config = TrainConfig { keep_checkpoints: 100, ..small_config() };
    run(&config, &data, &whole, false, &mut Quiet).unwrap();
    let expected = weights(&whole);
    for newest in [45, 27, 9, 0] {
        for entry in std::fs::read_dir(whole.join("checkpoints")).unwrap() {
            let path = entry.unwrap().path();
            let step: u64 = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
            if step > newest {
                std::fs::remove_dir_all(path).unwrap();
            }
        }
        let mut record = RunRecord::read(&whole).unwrap();
        record.status = RunStatus::Running;
        record.write(&whole).unwrap();
        std::fs::remove_file(whole.join("sae_weights.safetensors")).unwrap();
        resume(&whole, &mut Quiet).unwrap();
        assert_eq!(weights(&whole), expected, "from step {newest}");
    }
}

#[test]
fn a_run_s_folder_holds_what_it_should() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_dataset(&data, &planted(2500, 16, 40, 3).0, 16, 130);
    let outcome = run(&small_config(), &data, &out, false, &mut Quiet).unwrap();
    let folder_of_run = Run::open(&out).unwrap();
    let record = folder_of_run.record();
    assert_eq!((record.status, record.step, record.steps_total), (RunStatus::Finished, 60, 60));
    assert_eq!((record.hook.as_str(), record.d_in, record.d_sae, record.k), (HOOK, 16, 96, 4));
    let rows = storage::metrics::read(&folder_of_run.metrics().unwrap()).unwrap();
    let elsewhere = ["losses/sparsity_loss", "details/candidates_per_match", "details/selection_recall"];
    for (name, value) in serde_json::json!(rows[59]).as_object().unwrap() {
        assert_eq!(value.is_null(), elsewhere.contains(&name.as_str()), "{name}");
    }
    assert!((f64::from(rows[59].explained_variance.unwrap()) - outcome.fve).abs() < 1e-6);
    assert!(outcome.l0 > 0.0 && outcome.l0 <= 4.0);
    assert_eq!(rows[59].tokens, 6000);
    let dictionary = Dictionary::load(&out).unwrap();
    assert!(dictionary.decoder_norm_error() < 1e-6);
    assert_eq!(dictionary.info.hook_name.as_deref(), Some(HOOK));
    // The resolved configuration reproduces the run.
    let again = folder.path().join("again");
    let config: TrainConfig =
        toml::from_str(&std::fs::read_to_string(out.join(CONFIG_FILE)).unwrap()).unwrap();
    run(&config, config.data.as_ref().unwrap(), &again, false, &mut Quiet).unwrap();
    assert_eq!(weights(&again), weights(&out));
    // A finished run is reported as that.
    let mut progress = StopAfter::new(1000);
    assert_eq!(resume(&out, &mut progress).unwrap(), outcome);
    assert!(progress.remarks[0].contains("already finished"));
}

#[test]
fn bad_requests_are_refused_before_anything_is_touched() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    let x = planted(600, 16, 40, 3).0;
    write_dataset(&data, &x, 16, 130);
    let attempt = |config: &TrainConfig, out: &Path, resume| {
        run(config, &data, out, resume, &mut Quiet).map(|_| ()).map_err(|e| e.to_string())
    };
    assert!(attempt(&small_config(), &out, true).unwrap_err().contains("does not hold a run to resume"));
    let short = TrainConfig { tokens: Some(300), ..small_config() };
    attempt(&short, &out, false).unwrap();
    let before = weights(&out);
    assert!(attempt(&short, &out, false).unwrap_err().contains("already holds a run"));
    let other = TrainConfig { k: 5, ..short.clone() };
    assert!(attempt(&other, &out, true).unwrap_err().contains("k was 4, is 5"));
    assert_eq!(weights(&out), before);
    let missing = run(&short, &folder.path().join("nothing"), &out, false, &mut Quiet);
    assert!(missing.unwrap_err().to_string().contains("nothing"));
    let wide = TrainConfig { k: 1000, ..short };
    let fresh = folder.path().join("fresh");
    assert!(attempt(&wide, &fresh, false).unwrap_err().contains("k is 1000") && !fresh.exists());
}

#[test]
fn nan_is_refused_with_its_document_and_marks_the_run_as_failed() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    let mut x = planted(600, 16, 40, 3).0;
    x[16 * 150 + 2] = f32::NAN;
    write_dataset(&data, &x, 16, 130);
    let message = run(&small_config(), &data, &out, false, &mut Quiet).unwrap_err().to_string();
    assert!(message.contains("document 1 (story 1), position 20") && message.contains("NaN"), "{message}");
    let record = RunRecord::read(&out).unwrap();
    assert_eq!((record.status, record.error), (RunStatus::Failed, Some(message)));
    assert!(!out.join("cfg.json").exists());
}

#[test]
fn a_run_that_diverges_is_marked_as_failed_and_keeps_its_checkpoints() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    write_dataset(&data, &planted(600, 16, 40, 3).0, 16, 130);
    let config = TrainConfig {
        learning_rate: Some(1e30),
        checkpoint_every: 1,
        warmup_steps: Some(0),
        ..small_config()
    };
    let message = run(&config, &data, &out, false, &mut Quiet).unwrap_err().to_string();
    assert!(message.contains("step ") && message.contains("learning rate"), "{message}");
    assert!(
        message.contains("the newest whole checkpoint is") || message.contains("no checkpoint yet"),
        "{message}"
    );
    assert_eq!(RunRecord::read(&out).unwrap().status, RunStatus::Failed);
    assert!(!out.join("cfg.json").exists() && out.join(CONFIG_FILE).exists());
}

/// The dictionary that made the data is found, and what it leaves unexplained is little.
#[test]
fn planted_directions_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("run"));
    let (d, features) = (32, 64);
    let (x, directions) = planted(20_000, d, features, 3);
    write_dataset(&data, &x, d, 500);
    let config = TrainConfig {
        d_sae: Some(128),
        k: 3,
        batch: 512,
        tokens: Some(800_000),
        learning_rate: Some(3e-3),
        ..TrainConfig::default()
    };
    let outcome = run(&config, &data, &out, false, &mut Quiet).unwrap();
    let dictionary = Dictionary::load(&out).unwrap();
    let found = directions.iter().filter(|direction| {
        let cosine = |f| dictionary.decoder_row(f).iter().zip(*direction).map(|(a, b)| a * b).sum::<f32>();
        (0..128).map(cosine).fold(-1.0_f32, f32::max) > 0.9
    });
    let found = found.count();
    println!("{found} of {features} found, {outcome:?}");
    assert!(found >= 58, "{found} of {features} found, {outcome:?}");
    assert!(outcome.fve > 0.9, "{outcome:?}");
    // The dictionary on disk is for raw activations: it explains held-out rows as they are on disk.
    let held_out: Vec<f32> = x.chunks(500 * d).skip(4).step_by(5).flatten().copied().collect();
    let out = dictionary.decode(&dictionary.encode(&held_out));
    let mean: Vec<f64> = (0..d)
        .map(|c| held_out.chunks(d).map(|r| f64::from(r[c])).sum::<f64>() / (held_out.len() / d) as f64)
        .collect();
    let spread: f64 =
        held_out.iter().zip(mean.iter().cycle()).map(|(x, m)| (f64::from(*x) - m).powi(2)).sum();
    let wrong: f64 = held_out.iter().zip(&out).map(|(x, y)| f64::from(x - y).powi(2)).sum();
    assert!(1.0 - wrong / spread > 0.9, "{}", 1.0 - wrong / spread);
}

/// Features that are too weak to ever fire come back with AuxK and stay dead without.
#[test]
fn auxk_revives_dead_features() {
    let (d, features) = (24, 64);
    // More directions than features: there is always something left for a feature to explain.
    let x = planted(4000, d, 128, 3).0;
    let dead_after_training = |coefficient: f64| {
        let options = step::StepOptions {
            aux: step::options::Aux { coefficient, k: 8, zipf: None },
            dead_after: 2000,
            input_variance: 60.0,
            ..step::StepOptions::topk(3)
        };
        let mut state = state::TrainState::new(features, vec![0.5; d], 1);
        // A third of the dictionary has pre-activations so small that they are never among the k best.
        for f in 0..features / 3 {
            state.w_enc.value[f * d..(f + 1) * d].iter_mut().for_each(|w| *w *= 0.01);
        }
        let mut stepper = step::Stepper::new(options);
        for t in 0..600 {
            let start = (t * 200) % 3800 * d;
            stepper.step(&mut state, &x[start..start + 200 * d], 2e-3).unwrap();
        }
        state.dead(2000).count()
    };
    let (with, without) = (dead_after_training(1.0 / 32.0), dead_after_training(0.0));
    println!("dead: {with} with AuxK, {without} without");
    assert!(with * 2 < without, "{with} with AuxK, {without} without");
}

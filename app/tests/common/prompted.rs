//! A folder with a run whose dictionary sits in a real model: the one inside the program.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use lm::model::{Hook, ModelSource};
use sae::ModelChoice;
use sae::dictionary::{Dictionary, DictionaryInfo, Selection};
use sae::prompt::Prompter;
use storage::{ModelRef, RunRecord};

use super::sample;

/// Features of the dictionary.
pub const FEATURES: u32 = 96;

/// The folder; nothing writes into it.
pub fn root() -> PathBuf {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let dir = tempfile::tempdir().unwrap();
        // A fixed name: it is part of the pictures.
        let root = dir.path().join("prompted");
        run_in(&root.join("steer"), "no longer here");
        sample::finished_run(&root.join("gone"), 16, &sample::text()).unwrap();
        dir
    });
    folder.path().join("prompted")
}

/// The run with a model.
pub fn run() -> PathBuf {
    root().join("steer")
}

/// A run with an index whose model has no dictionary in it.
pub fn without_a_model() -> PathBuf {
    root().join("gone")
}

/// The library's own answers, to compare with.
pub fn prompter() -> Prompter {
    Prompter::open(&run(), None, &ModelChoice::OfTheData).unwrap()
}

/// Writes a run with a dictionary in the embedded model that was trained on `data`.
pub fn run_in(dir: &Path, data: &str) {
    sample::finished_run(dir, FEATURES, &sample::text()).unwrap();
    let hook: Hook = sample::HOOK.parse().unwrap();
    let width = hook.width(&ModelSource::Default.config().unwrap()).unwrap();
    let number = |i: usize, seed: u64| sample::chance(i as u64, seed) as f32 - 0.5;
    let rows = |seed: u64| -> Vec<f32> {
        let all: Vec<f32> = (0..FEATURES as usize * width).map(|i| number(i, seed)).collect();
        let unit = |row: &[f32]| {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            row.iter().map(|v| v / norm).collect::<Vec<f32>>()
        };
        all.chunks(width).flat_map(unit).collect()
    };
    let w_dec = rows(900);
    let dictionary = Dictionary {
        d_in: width,
        d_sae: FEATURES as usize,
        w_enc: w_dec.clone(),
        b_enc: vec![0.0; FEATURES as usize],
        w_dec,
        b_dec: vec![0.0; width],
        selection: Selection::TopK(8),
        info: DictionaryInfo::default(),
    };
    dictionary.save(dir).unwrap();
    let record = RunRecord::read(dir).unwrap();
    let model = ModelRef { id: "small-moe".into(), path: Some("default".into()), sha256: String::new() };
    RunRecord { model, d_in: width, data: data.into(), ..record }.write(dir).unwrap();
}

//! Harvest, train, index, evaluate, experts: the commands' own code, on the embedded model and text.

use std::path::{Path, PathBuf};
use std::time::Instant;

use storage::{Run, RunStatus};

use super::CORPUS;
use crate::evaluate::{self, EvaluateOptions, Evaluation};
use crate::experts;
use crate::features::{self, IndexOptions, IndexSummary};
use crate::harvest::{self, HarvestConfig};
use crate::model::{Hook, LanguageModel, ModelSource, Site};
use crate::train::{self, TrainConfig};
use crate::{Error, Progress, Result};

/// What the demo made.
#[derive(Debug, Clone)]
pub struct Demo {
    /// The dataset of activations and routing.
    pub dataset: PathBuf,
    /// The trained dictionary.
    pub run: PathBuf,
    /// How good it is on held-out documents.
    pub evaluation: Evaluation,
    /// What was indexed.
    pub index: IndexSummary,
    /// How the model uses its experts.
    pub experts: experts::Summary,
    /// Wall time.
    pub seconds: f64,
}

/// Layer whose residual stream the demo's dictionary is trained on: behind the third of four blocks.
const LAYER: usize = 2;
/// Features of the demo's dictionary.
const FEATURES: usize = 2048;
/// Tokens that it is trained on: a few passes over the training documents.
const TOKENS: u64 = 5_000_000;

/// Does everything that is not done yet in `out`.
pub fn run(out: &Path, seed: Option<u64>, progress: &mut dyn Progress) -> Result<Demo> {
    let started = Instant::now();
    let (text, dataset, run) = (out.join("text"), out.join("data"), out.join("topk"));
    std::fs::create_dir_all(&text).map_err(|e| Error::io(&text, e))?;
    for (name, bytes) in CORPUS {
        storage::atomic::write(&text.join(name), bytes)?;
    }
    let model = LanguageModel::load(&ModelSource::Default)?;
    if !dataset.join(storage::dataset::MANIFEST).exists() {
        let config = HarvestConfig {
            text: vec![text],
            hooks: vec![Hook::new(LAYER, Site::ResidPost)],
            routing: true,
            seed: seed.unwrap_or(1),
            ..HarvestConfig::default()
        };
        harvest::run(&config, &model, &dataset, progress)?;
    }
    let there = Run::open(&run).ok();
    if there.as_ref().is_none_or(|r| r.record().status != RunStatus::Finished) {
        let config = TrainConfig {
            d_sae: Some(FEATURES),
            tokens: Some(TOKENS),
            seed: seed.unwrap_or(0),
            ..TrainConfig::default()
        };
        train::run(&config, &dataset, &run, there.is_some(), progress)?;
    }
    let index = features::index(&run, &IndexOptions::default(), progress)?;
    let evaluation = evaluate::run(&run, &EvaluateOptions::default(), progress)?;
    let experts = experts::summarise(&dataset, progress)?;
    Ok(Demo { dataset, run, evaluation, index, experts, seconds: started.elapsed().as_secs_f64() })
}

//! From a dictionary and a routing table to the tables of what routers know.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use storage::experts::{RouterExpertRow, RouterFeatureRow, RouterRow};
use storage::row::RowWriter;

use super::direct::direct;
use super::gather::gather;
use super::layer::{Explained, explain_layer};
use crate::experts::features::{layers, open_routing};
use crate::rows::{ModelChoice, Subject, load_model};
use crate::{Error, Progress, Result};

/// What to explain, and by what.
#[derive(Debug, Clone)]
pub struct ExplainRoutersOptions {
    /// Dataset; the one that the run was trained on when `None`.
    pub data: Option<PathBuf>,
    /// Dataset with the routing table; `None`: that of the activations, or `routing/` next to it.
    pub routing: Option<PathBuf>,
    /// Layers; all when `None`.
    pub layers: Option<Vec<u16>>,
    /// Tokens at most, in whole documents drawn by seed.
    pub tokens: u64,
    /// Tokens that the model is run on for direct shares.
    pub direct_tokens: u64,
    /// Of the draws.
    pub seed: u64,
    /// The model of the direct shares.
    pub model: ModelChoice,
    /// Folder for the tables; the run's when `None`.
    pub out: Option<PathBuf>,
}

impl Default for ExplainRoutersOptions {
    fn default() -> Self {
        Self {
            data: None,
            routing: None,
            layers: None,
            tokens: 200_000,
            direct_tokens: 20_000,
            seed: 0,
            model: ModelChoice::default(),
            out: None,
        }
    }
}

/// What was found of one layer; everything is in the tables.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RouterLayer {
    /// The block.
    pub layer: u16,
    /// How well each predictor predicts.
    pub predictors: Vec<RouterRow>,
    /// Its experts.
    pub experts: Vec<RouterExpertRow>,
    /// The features that tell most of each expert.
    pub features: Vec<RouterFeatureRow>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RoutersExplained {
    /// Folder of the tables.
    pub folder: PathBuf,
    /// Tokens that predictors were made from.
    pub made: u64,
    /// Tokens that they were measured on.
    pub measured: u64,
    /// Whether these are the dataset's held-out documents; else a half drawn by seed.
    pub held_out: bool,
    /// The hook of the dictionary.
    pub hook: String,
    /// Layer by layer.
    pub layers: Vec<RouterLayer>,
}

/// Explains the routers; writes `features/routers.parquet`, `features/router_experts.parquet` and
/// `features/router_features.parquet` into the run or `out`.
///
/// # Errors
/// A dictionary without a run and no `out`; activations and routing that are not of the same tokens and model;
/// a model that is named and cannot be loaded; [`Error::Stopped`].
pub fn explain(
    dictionary: &Path,
    options: &ExplainRoutersOptions,
    progress: &mut dyn Progress,
) -> Result<RoutersExplained> {
    let subject = Subject::open(dictionary, options.data.as_deref())?;
    let folder = match (&options.out, subject.is_run) {
        (Some(out), _) => out.clone(),
        (None, true) => dictionary.to_owned(),
        (None, false) => {
            return Err(Error::request(format!("{} is not a run that keeps results", dictionary.display()))
                .with_remedy("name a folder for the tables with --out"));
        }
    };
    let source = open_routing(&subject, options.routing.as_deref())?;
    let overview = source.overview(progress)?;
    let experts = source.declared().experts.unwrap_or(overview.highest);
    let layers = layers(options.layers.as_deref(), &overview.layers)?;
    let limit = (options.tokens, options.seed);
    let gathered = gather(&subject, &source, (&layers, experts), limit, progress)?;
    let hook = subject.dataset.manifest().hook.clone().unwrap_or_default();
    let model = load_model(&options.model, subject.dataset.manifest())?;
    let directs = match (&model, hook.parse()) {
        (Some(model), Ok(hook)) => {
            let where_and_how_many = (layers.as_slice(), options.direct_tokens);
            direct(&subject.dictionary, hook, &source, model, where_and_how_many, progress)?
        }
        _ => BTreeMap::new(),
    };
    let by_feature = gathered.made.codes.transposed(subject.dictionary.d_sae);
    let mut found = Vec::new();
    progress.begin("routers", Some(layers.len() as u64), "layers");
    for (done, &layer) in (1..).zip(&layers) {
        let of = explain_layer(&gathered, &by_feature, layer, experts, directs.get(&layer), options.seed);
        found.push((layer, of));
        progress.advance(done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the routers were not all explained, nothing was written"));
        }
    }
    progress.end(&format!("{} layers of {experts} experts", layers.len()));
    publish(&folder, &found)?;
    let layer = |(layer, of): (u16, Explained)| RouterLayer {
        layer,
        predictors: of.predictors,
        experts: of.experts,
        features: of.features,
    };
    Ok(RoutersExplained {
        folder,
        made: gathered.made.len() as u64,
        measured: gathered.measured.len() as u64,
        held_out: gathered.held_out,
        hook,
        layers: found.into_iter().map(layer).collect(),
    })
}

fn publish(folder: &Path, found: &[(u16, Explained)]) -> Result<()> {
    let folder = folder.join("features");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let mut predictors = RowWriter::create(&folder.join("routers.parquet"))?;
    let mut experts = RowWriter::create(&folder.join("router_experts.parquet"))?;
    let mut features = RowWriter::create(&folder.join("router_features.parquet"))?;
    for (_, of) in found {
        predictors.append(&of.predictors)?;
        experts.append(&of.experts)?;
        features.append(&of.features)?;
    }
    predictors.finish()?;
    experts.finish()?;
    features.finish()?;
    Ok(())
}

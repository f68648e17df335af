//! What the weights of experts tell, most of it without any text.
//!
//! ```text
//! model ───────────── similarity ── cosines of router rows, of weights and of outputs; duplicates
//! model + routing ─── sparsity ──── active units as weights let expect (MoE-X) and as they are, for ReLU
//! two models or runs  cells ─────── which experts or features of a reference are missed, matched, split
//! two routing tables  choices ───── the same of experts, by the tokens that choose them
//! ```

mod cells;
mod choices;
mod outputs;
mod similarity;
mod sparsity;
#[cfg(test)]
mod tests;

use std::path::Path;

use serde::Serialize;
use storage::experts::{SimilarityRow, SparsityRow};

pub use cells::{Cells, cells_of_experts, cells_of_features};
pub use choices::cells_of_choices;
pub use similarity::{DUPLICATE, similarity};
pub use sparsity::sparsity;

use super::routing::Source;
use crate::rows::{ModelChoice, load_model};
use crate::{Error, Progress, Result};
use lm::model::{LanguageModel, MoeLayer};

/// What the weights of a model's experts tell.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct WeightsReport {
    /// Every pair of experts of a layer.
    pub similarity: Vec<SimilarityRow>,
    /// By layer and expert; empty where `gaps` says why.
    pub sparsity: Vec<SparsityRow>,
    /// Figures that could not be computed, and why.
    pub gaps: Vec<String>,
}

/// Looks at a model's experts by weights alone. `seed` draws the random inputs of the output cosine.
///
/// # Errors
/// Weights of experts that cannot be read; a model without experts; a stop that was asked for.
pub fn of_model(model: &LanguageModel, seed: u64, progress: &mut dyn Progress) -> Result<WeightsReport> {
    Ok(WeightsReport {
        similarity: similarity(&layers(model)?, seed, progress)?,
        sparsity: Vec::new(),
        gaps: vec!["active units need inputs: give a dataset with a routing table".into()],
    })
}

/// Looks at the experts of the model that made a dataset, for ReLU ones also at how sparse they are on up to
/// `tokens` of its tokens. Writes `DATASET/experts/similarity.parquet` and, where there is anything to write,
/// `sparsity.parquet`.
///
/// # Errors
/// As [`of_model`]; a dataset without routing, a model that cannot be found, files that cannot be written.
pub fn of_dataset(
    dir: &Path,
    choice: &ModelChoice,
    tokens: u64,
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<WeightsReport> {
    let source = Source::open(dir)?;
    let model = load_model(choice, source.dataset().manifest())?.ok_or_else(|| {
        Error::request("the comparison needs the model's weights").with_remedy("give --model")
    })?;
    let mut report = of_model(&model, seed, progress)?;
    report.gaps.clear();
    match sparsity(&source, &model, tokens, progress) {
        Ok(rows) => report.sparsity = rows,
        // Other activations have no sparsity to expect; that is not a reason to keep the rest back.
        Err(Error::Request(reason)) => report.gaps.push(reason.to_string()),
        Err(error) => return Err(error),
    }
    let folder = dir.join("experts");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    storage::row::write(&folder.join("similarity.parquet"), &report.similarity)?;
    let sparsity = folder.join("sparsity.parquet");
    if report.sparsity.is_empty() {
        // An older one would be taken for this model's.
        let _ = std::fs::remove_file(&sparsity);
    } else {
        storage::row::write(&sparsity, &report.sparsity)?;
    }
    Ok(report)
}

/// The layers with experts, or an error for a dense model.
fn layers(model: &LanguageModel) -> Result<Vec<MoeLayer<'_>>> {
    let layers: Vec<MoeLayer<'_>> = model.decoder().moe_layers().collect();
    match layers.is_empty() {
        true => {
            Err(Error::request(format!("{} has no experts: no layer of it is a mixture", model.source())))
        }
        false => Ok(layers),
    }
}

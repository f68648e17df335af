//! What experts write, as tokens: their outputs over the output matrix, by simultaneous matching pursuit.
//!
//! One after the other, the direction of a token in the output matrix is chosen that carries most of what is left of
//! all outputs of an expert together, and the outputs are fitted anew with all directions so far. Few tokens that give
//! most of the outputs' squares say what the expert does for the prediction; as many directions drawn by chance are
//! the control.

mod pursuit;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use kernels::chance::{Purpose, generator};
use rayon::prelude::*;
use serde::Serialize;
use storage::experts::WrittenRow;

use self::pursuit::{Directions, Gram};
use super::rescore::{contexts, documents};
use super::routing::Source;
use super::tables::{layer_number, number_of};
use crate::rows::{ModelChoice, load_model};
use crate::{Error, Progress, Result};
use lm::model::{LanguageModel, NeuronTap, Neurons};

/// Draws of directions that the control is the mean of.
const DRAWS: usize = 8;

/// What to look at.
#[derive(Debug, Clone)]
pub struct WrittenOptions {
    /// The model; the one that made the dataset if not given.
    pub model: ModelChoice,
    /// Tokens that it is run on, from the first document on.
    pub tokens: u64,
    /// Directions to an expert.
    pub rank: usize,
    /// Draws the control.
    pub seed: u64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WrittenReport {
    /// Where the table is.
    pub table: PathBuf,
    /// By layer, expert and rank.
    pub rows: Vec<WrittenRow>,
    /// Tokens that the model was run on.
    pub tokens: u64,
}

/// Runs the model of the dataset in `dir` over its tokens and writes `DIR/experts/written.parquet`.
///
/// # Errors
/// A dataset without routing; a model that cannot be found, or whose experts are not run one by one (dense, Monet);
/// [`Error::Stopped`].
pub fn written(dir: &Path, options: &WrittenOptions, progress: &mut dyn Progress) -> Result<WrittenReport> {
    let source = Source::open(dir)?;
    let model = load_model(&options.model, source.dataset().manifest())?.ok_or_else(|| {
        Error::request("what experts write needs the model's weights").with_remedy("give --model")
    })?;
    let (grams, tokens) = outputs(&source, &model, options.tokens, progress)?;
    let rows = directions(&model, &grams, options)?;
    let folder = dir.join("experts");
    std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, e))?;
    let table = folder.join("written.parquet");
    storage::row::write(&table, &rows)?;
    Ok(WrittenReport { table, rows, tokens })
}

/// Sums over the outputs of an expert, by layer and expert.
type Grams = BTreeMap<(usize, u32), Gram>;

/// The sums of every expert over `tokens` tokens, and how many there were.
fn outputs(
    source: &Source,
    model: &LanguageModel,
    tokens: u64,
    progress: &mut dyn Progress,
) -> Result<(Grams, u64)> {
    let (mut grams, mut done) = (Grams::new(), 0);
    progress.begin("outputs", Some(tokens), "tokens");
    for batch in contexts(source, model, documents(source)?)? {
        let batch = batch?;
        let counted: Vec<bool> = batch.origin.iter().map(Option::is_some).collect();
        let mut tap = NeuronTap(|neurons: &Neurons<'_>| add(&mut grams, neurons, &counted));
        model.decoder().residual(&batch, model.config().num_hidden_layers, &mut tap)?;
        done += batch.document_tokens() as u64;
        progress.advance(done.min(tokens), "");
        if progress.stop_requested() {
            return Err(Error::stopped("the outputs were not all seen, nothing was written"));
        }
        if done >= tokens {
            break;
        }
    }
    progress.end(&format!("{done} tokens, {} experts", grams.len()));
    if grams.is_empty() {
        return Err(Error::request(format!(
            "{} has no experts that are run one by one, whose outputs could be told apart",
            model.source()
        )));
    }
    Ok((grams, done))
}

/// Adds the outputs of a layer's experts at the tokens that are counted. An expert's rows are next to each other: its outputs are one
/// product.
fn add(grams: &mut Grams, neurons: &Neurons<'_>, counted: &[bool]) -> Result<Option<Tensor>> {
    let mut from = 0;
    for of in neurons.experts.chunk_by(|a, b| a == b) {
        let (expert, rows) = (of[0], from..from + of.len());
        from = rows.end;
        let hidden = neurons.values.narrow(0, rows.start, rows.len())?;
        let out = hidden.matmul(&neurons.down.get(expert as usize)?.t()?)?;
        let d = out.dim(1)?;
        let out: Vec<f32> = out.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let kept: Vec<f32> = rows
            .clone()
            .filter(|row| counted[neurons.tokens[*row] as usize])
            .flat_map(|row| out[(row - rows.start) * d..][..d].iter().copied())
            .collect();
        grams.entry((neurons.layer, expert)).or_insert_with(|| Gram::new(d)).add(&kept);
    }
    Ok(None)
}

/// The directions of each expert in order, next to those by chance.
fn directions(model: &LanguageModel, grams: &Grams, options: &WrittenOptions) -> Result<Vec<WrittenRow>> {
    let unembedding = model.decoder().unembedding()?;
    let (vocabulary, d) = unembedding.dims2()?;
    let directions = Directions::new(unembedding.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?, d);
    let bytes = model.tokenizer().token_bytes();
    let text = |token: u32| bytes.get(token as usize).map_or_else(String::new, |of| lm::model::shown(of));
    let rank = options.rank.min(d).min(vocabulary);
    let each: Vec<Vec<WrittenRow>> = grams
        .into_par_iter()
        .map(|(&(layer, expert), gram)| {
            let found = directions.pursue(gram, rank);
            let mut rng = generator(options.seed, Purpose::Probes, layer as u64, 1 + u64::from(expert));
            let chance = directions.by_chance(gram, rank, DRAWS, &mut rng);
            let rows = found.into_iter().zip(chance).enumerate();
            rows.map(|(rank, (step, by_chance))| WrittenRow {
                layer: layer_number(layer),
                expert: number_of(expert as usize),
                rank: rank as u32,
                token: step.token,
                text: text(step.token),
                coefficient: step.coefficient,
                explained: step.explained,
                by_chance,
                tokens: gram.rows,
            })
            .collect()
        })
        .collect();
    Ok(each.into_iter().flatten().collect())
}

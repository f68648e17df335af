//! Evaluation of a cross-layer transcoder: how much of what every layer's MLP writes is explained, and what the model still predicts with the
//! MLP of one layer replaced, and with all of them.

use std::path::Path;

use storage::layers::{FORMAT, LayerEvaluation, LayersEvaluation, ReplacedEvaluation, VERSION};
use storage::{Dataset, MANIFEST};

use super::passes::{batches, collect, stop};
use super::splice::is_within;
use super::stand_in::{Measured, Stand, StandIn, Vectors};
use super::together::replaced;
use super::{EvaluateOptions, Reconstruction, choose_documents};
use crate::dictionary::Codes;
use crate::files::files_sha256;
use crate::interop::dictionaries::{Content, Format, open_path, recognise};
use crate::rows::{RowReader, datasets_of, folder_of_layers, is_cross_layer_run, is_run};
use crate::trace::Transcoders;
use crate::{Error, Progress, Result};
use lm::model::{Hook, LanguageModel};

/// The contexts are made anew for each pass over them.
struct Texts<'a> {
    model: &'a LanguageModel,
    documents: Vec<(u32, Vec<u32>)>,
    context_length: usize,
}

/// Whether what is at `path` is a cross-layer transcoder.
///
/// # Errors
/// A run's record that cannot be read.
pub fn is_cross_layer(path: &Path) -> Result<bool> {
    match is_run(path) {
        true => is_cross_layer_run(path),
        false => Ok(recognise(path).is_ok_and(|format| format == Format::CrossLayer)),
    }
}

/// Measures the cross-layer transcoder at `path`; of a run the result is kept in `RUN/evaluation/layers.json`.
///
/// # Errors
/// What is not a cross-layer transcoder or does not fit the model; a dataset without its model or without held-out documents;
/// [`Error::Stopped`].
pub fn layers(
    path: &Path,
    options: &EvaluateOptions,
    progress: &mut dyn Progress,
) -> Result<LayersEvaluation> {
    let opened = open_path(path)?;
    let Content::CrossLayer(transcoder) = &opened.content else {
        return Err(Error::data(format!("{} is not a cross-layer transcoder", path.display())));
    };
    let dataset = Dataset::open(&dataset_of(path, options.data.as_deref(), &transcoder.hooks()?)?)?;
    let sha256 = files_sha256(&opened.reading.files)?;
    let transcoders = Transcoders::new([(path.to_owned(), opened)])?;
    let model = options.load_model(dataset.manifest())?.ok_or_else(|| {
        Error::request(
            "a cross-layer transcoder is measured on what its model computes, and there is no model",
        )
        .with_remedy("leave --no-model out, or name the model with --model")
    })?;
    transcoders.check(model.config())?;
    let choice = choose_documents(&dataset, options)?;
    let mut reader = RowReader::new(&dataset, &choice.ranges, options.batch, dataset.manifest().d_model)?;
    let mut documents = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        collect(&batch, &mut documents)?;
    }
    let context_length = dataset.manifest().context_length;
    let texts = Texts { model: &model, documents, context_length };
    let sums = texts.reconstruct(&transcoders, choice.tokens, progress)?;
    let means: Vectors = sums.iter().map(|(layer, sum)| (*layer, sum.mean())).collect();
    let (mut ce_clean, mut layers) = (f64::NAN, Vec::new());
    for (layer, sum) in &sums {
        let figures = sum.figures().ok_or_else(|| Error::data("there are no rows to evaluate"))?;
        let mean = [(*layer, means[layer].clone())].into();
        let measured = Measured::Only(&transcoders, *layer);
        let (clean, replaced) =
            texts.replaced((measured, &format!("layer {layer}")), &mean, choice.tokens, progress)?;
        ce_clean = clean;
        layers.push(LayerEvaluation {
            layer: *layer as u32,
            fve: figures.fve,
            left_out: choice.tokens.saturating_sub(figures.tokens),
            l0: figures.l0,
            dead: figures.dead as u64,
            d_sae: transcoders.features_of(*layer) as u64,
            replaced,
        });
    }
    let all = (Measured::All(&transcoders), "all layers");
    let (_, together) = texts.replaced(all, &means, choice.tokens, progress)?;
    let manifest = dataset.manifest();
    let evaluation = LayersEvaluation {
        format: FORMAT.to_owned(),
        version: VERSION,
        model: manifest.model.id.clone(),
        model_sha256: manifest.model.sha256.clone(),
        data: dataset.dir().display().to_string(),
        dictionary_sha256: sha256,
        seed: options.seed,
        split: if options.all_documents { "all" } else { "held-out" }.to_owned(),
        documents: choice.documents,
        tokens: sums.iter().map(|(_, sum)| sum.rows()).max().unwrap_or(0),
        d_sae: transcoders.features() as u64,
        l0: layers.iter().map(|layer| layer.l0).sum(),
        ce_clean,
        layers,
        together,
    };
    if is_run(path) {
        evaluation.write(path)?;
    }
    Ok(evaluation)
}

/// The dataset whose documents are taken: `data` itself or the first layer's in it, or else in the folder that the run names.
fn dataset_of(path: &Path, data: Option<&Path>, hooks: &[Hook]) -> Result<std::path::PathBuf> {
    let folder = folder_of_layers(path, data)?;
    if folder.join(MANIFEST).is_file() {
        return Ok(folder);
    }
    let first = datasets_of(&folder, hooks)?.into_iter().next();
    first.map(|dataset| dataset.dir().to_owned()).ok_or_else(|| Error::request("there is no dataset"))
}

/// Those of the targets `y[n, d]`, their codes and what is made of them that are within the limit of training.
fn trained_on(y: &[f32], codes: &Codes, made: &[f32], limit: Option<f32>) -> (Vec<f32>, Codes, Vec<f32>) {
    let d = y.len() / codes.rows().max(1);
    let (mut targets, mut kept, mut outputs) = (Vec::new(), Codes::default(), Vec::new());
    let rows = y.chunks_exact(d.max(1)).zip(made.chunks_exact(d.max(1))).enumerate();
    for (i, (y, made)) in rows.filter(|(_, (y, _))| is_within(y, limit)) {
        targets.extend_from_slice(y);
        outputs.extend_from_slice(made);
        let (features, values) = codes.row(i);
        kept.push_row(features, values);
    }
    (targets, kept, outputs)
}

impl Texts<'_> {
    fn contexts(&self) -> Result<impl Iterator<Item = Result<lm::text::Contexts>>> {
        batches(self.model, self.documents.clone(), self.context_length)
    }

    /// How well every layer's output is reconstructed, from what the model computes as it is.
    fn reconstruct(
        &self,
        transcoders: &Transcoders,
        tokens: u64,
        progress: &mut dyn Progress,
    ) -> Result<Vec<(usize, Reconstruction)>> {
        let config = self.model.config();
        let of = |layer| (layer, Reconstruction::new(config.hidden_size, transcoders.features_of(layer)));
        let mut sums: Vec<(usize, Reconstruction)> = transcoders.covered().map(of).collect();
        progress.begin("reconstruct", Some(tokens), "tokens");
        let mut done = 0;
        for contexts in self.contexts()? {
            let contexts = contexts?;
            let mut stand = Stand::new(Measured::All(transcoders), &contexts, StandIn::Seen);
            self.model.decoder().residual(&contexts, config.num_hidden_layers, &mut stand)?;
            let made: std::collections::BTreeMap<usize, (Codes, Vec<f32>)> = transcoders.all(&stand.inputs);
            for (layer, sum) in &mut sums {
                if let (Some(y), Some((codes, made))) = (stand.outputs.get(layer), made.get(layer)) {
                    let (y, codes, made) = trained_on(y, codes, made, transcoders.norm_limit(*layer));
                    sum.add(&y, &codes, &made)?;
                }
            }
            done += contexts.document_tokens() as u64;
            progress.advance(done, "");
            stop(progress)?;
        }
        progress.end("");
        Ok(sums)
    }

    /// Cross-entropy of the model as it is, and what it predicts with `measured` in place.
    fn replaced(
        &self,
        (measured, name): (Measured<'_>, &str),
        means: &Vectors,
        tokens: u64,
        progress: &mut dyn Progress,
    ) -> Result<(f64, ReplacedEvaluation)> {
        progress.begin(&format!("replace {name}"), Some(tokens), "tokens");
        replaced(self.model.decoder(), measured, self.contexts()?, means, progress)
    }
}

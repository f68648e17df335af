//! The two passes of an evaluation: over the dataset's rows, and over the model's contexts.

use candle_core::Tensor;

use super::behaviour::{Behaviour, Replacement};
use super::reconstruction::Reconstruction;
use super::splice::{Energy, Splice, SpliceAt};
use crate::dictionary::Dictionary;
use crate::model::{Hook, LanguageModel, NoTap, Tap as _};
use crate::rows::{Choice, RowBatch, RowReader, Subject};
use crate::text::{Contexts, pack};
use crate::{Error, Progress, Result};

/// Tokens of a batch, about.
const TOKENS: usize = 4096;
/// How far the mean energy of the model's activations may be from the dataset's: rounding to f16 moves it by less than a
/// thousandth, another model or another text by more than this.
const ENERGY_TOLERANCE: f64 = 0.01;

/// What the pass over the rows found.
#[derive(Debug)]
pub struct RowPass {
    /// Sums of reconstruction.
    pub reconstruction: Reconstruction,
    /// Tokens of every document, from its first; empty if they were not asked for.
    pub documents: Vec<(u32, Vec<u32>)>,
}

/// Reconstructs the chosen rows of the dataset; `contexts`: keeps the documents' tokens for a model.
pub fn over_rows(
    subject: &Subject,
    choice: &Choice,
    batch: usize,
    contexts: bool,
    progress: &mut dyn Progress,
) -> Result<RowPass> {
    let dictionary = &subject.dictionary;
    let mut reader = RowReader::new(&subject.dataset, &choice.ranges, batch, dictionary.d_in)?;
    let mut pass = RowPass {
        reconstruction: Reconstruction::new(dictionary.d_in, dictionary.d_sae),
        documents: Vec::new(),
    };
    progress.begin("reconstruct", Some(choice.tokens), subject.dataset.manifest().rows_are.name());
    while let Some(rows) = reader.next_batch()? {
        let codes = dictionary.encode(&rows.activations);
        pass.reconstruction.add(&rows.activations, &codes, &dictionary.decode(&codes))?;
        if contexts {
            collect(&rows, &mut pass.documents)?;
        }
        progress.advance(pass.reconstruction.rows(), "");
        stop(progress)?;
    }
    let fve = pass.reconstruction.figures().and_then(|f| f.fve);
    progress.end(&fve.map_or("no variance".into(), |fve| format!("FVE {fve:.4}")));
    Ok(pass)
}

fn stop(progress: &dyn Progress) -> Result<()> {
    if progress.stop_requested() {
        return Err(Error::Stopped("the evaluation was not finished; an older one stays as it is".into()));
    }
    Ok(())
}

/// Documents' tokens, which must be there from the first on: contexts are rebuilt from them.
fn collect(rows: &RowBatch, documents: &mut Vec<(u32, Vec<u32>)>) -> Result<()> {
    for i in 0..rows.len() {
        let (document, position) = (rows.documents[i], rows.positions[i]);
        if documents.last().is_none_or(|(last, _)| *last != document) {
            documents.push((document, Vec::new()));
        }
        let Some((_, tokens)) = documents.last_mut() else { continue };
        if tokens.len() as u64 != u64::from(position) {
            return Err(Error::data(format!(
                "document {document}: a row of position {position} where position {} was expected; contexts can not be \
                 rebuilt from a dataset with gaps. Harvest it again, or evaluate without the model",
                tokens.len()
            )));
        }
        tokens.push(rows.tokens[i]);
    }
    Ok(())
}

/// Where and with what the model is changed.
#[derive(Debug, Clone, Copy)]
pub struct Setting<'a> {
    /// The model.
    pub model: &'a LanguageModel,
    /// Where the dictionary's activations come from.
    pub hook: Hook,
    /// The dictionary.
    pub dictionary: &'a Dictionary,
    /// Mean activation, `[d]`.
    pub mean: &'a [f32],
    /// Tokens a context, BOS counted.
    pub context_length: usize,
}

/// Runs the model over the documents as it is and with every [`Replacement`].
pub fn over_contexts(
    setting: &Setting<'_>,
    documents: Vec<(u32, Vec<u32>)>,
    progress: &mut dyn Progress,
) -> Result<(Behaviour, Energy)> {
    let config = setting.model.config();
    let rows = (TOKENS / setting.context_length.max(1)).clamp(1, 64);
    let total: usize = documents.iter().map(|(_, tokens)| tokens.len()).sum();
    let documents = documents.into_iter().map(Ok);
    let (mut behaviour, mut energy) = (Behaviour::default(), Energy::default());
    progress.begin("evaluate", Some(total as u64), "tokens");
    for contexts in pack(documents, setting.context_length, config.bos_token_id, rows)? {
        let contexts = contexts?;
        contexts.check_tokens(config.vocab_size)?;
        batch(setting, &contexts, &mut behaviour, &mut energy)?;
        progress.advance(energy.tokens, "");
        stop(progress)?;
    }
    let figures = behaviour.figures();
    let recovered = figures.and_then(|f| f.loss_recovered);
    progress
        .end(&recovered.map_or("nothing to compare".into(), |share| format!("loss recovered {share:.4}")));
    Ok((behaviour, energy))
}

fn batch(
    setting: &Setting<'_>,
    contexts: &Contexts,
    behaviour: &mut Behaviour,
    energy: &mut Energy,
) -> Result<()> {
    // The token that BOS predicts is left out: its context has no activation that was replaced.
    let counted: Vec<bool> = contexts.origin.iter().map(Option::is_some).collect();
    let decoder = setting.model.decoder();
    let (hook, width) = (setting.hook, setting.mean.len());
    let tap = |splice| SpliceAt { hook, width, contexts, splice, seen: None };
    let mut watching = tap(Splice::Watch(energy));
    let clean = decoder.residual(contexts, decoder.config().num_hidden_layers, &mut watching)?;
    let seen = watching.seen.take();
    let zeros = vec![0.0; width];
    let mut others = Vec::new();
    for replacement in Replacement::ALL {
        let mut tap = tap(match replacement {
            Replacement::Reconstruction => Splice::Reconstruct(setting.dictionary),
            Replacement::Zero => Splice::Constant(&zeros),
            Replacement::Mean => Splice::Constant(setting.mean),
        });
        others.push(replaced(setting, contexts, &mut tap, seen.as_ref())?);
    }
    behaviour.add(&decoder.compare(&clean, &others, contexts)?, &counted);
    Ok(())
}

/// The final residual stream with a replacement at the hook. What comes before the hook is as it was: where the hook's value is the whole
/// stream, only the blocks behind it run.
fn replaced(
    setting: &Setting<'_>,
    contexts: &Contexts,
    tap: &mut SpliceAt<'_>,
    seen: Option<&Tensor>,
) -> Result<Tensor> {
    let decoder = setting.model.decoder();
    let layers = decoder.config().num_hidden_layers;
    match (setting.hook.enters(), seen) {
        (Some(first), Some(value)) => {
            let new = tap.at(&setting.hook, value)?.unwrap_or_else(|| value.clone());
            decoder.through(new, first..layers, contexts, &mut NoTap)
        }
        _ => decoder.residual(contexts, layers, tap),
    }
}

/// The model must compute what the dataset holds, or its loss says nothing about this dictionary.
pub fn check_energy(of_model: Energy, of_data: f64, hook: Hook) -> Result<()> {
    let of_model = of_model.sum / (of_model.tokens.max(1)) as f64;
    if (of_model - of_data).abs() <= ENERGY_TOLERANCE * of_data.max(f64::MIN_POSITIVE) {
        return Ok(());
    }
    Err(Error::data(format!(
        "at {hook} the model's activations have mean squared norm {of_model:.6}, the dataset's {of_data:.6}; expected the \
         same. Give the model that the dataset was made with (--model), or harvest again"
    )))
}

//! Activation sparsity that means something: how many of a model's neurons, and of a dictionary's codes, can be left out at a given error
//! or a given loss (Luo et al. 2025, "Sparsing Law", arXiv 2411.02335).
//!
//! Unit i of a layer adds the vector n_i to the layer's output: a·W_out[:, i] for a neuron with value a (times the router's weight in
//! an expert), f·d_i for a feature. With a threshold ε of each layer
//!
//! ```text
//! CETT(ε) = mean over tokens of ‖Σ_{‖n_i‖ < ε} n_i‖ / ‖Σ_i n_i‖
//! ```
//!
//! For a CETT that all layers share, ε is the largest threshold of each layer that keeps to it. CETT-PPL-p % is the sparsity at the
//! largest CETT at which the perplexity grows by less than p %, found by bisection as in the paper's algorithm 1; here the loss of the
//! untouched model is computed once and not in every step, and where the smallest threshold already exceeds the CETT nothing is left out
//! (the paper's code then takes the largest). Thresholds come from a grid of sixteen per octave, on the untouched model, and sparsity
//! and loss are those of the model with the units left out. For a dictionary the loss is compared with that of its whole reconstruction.

mod curve;
mod neurons;
mod search;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::Tensor;
use storage::cett::{CettLayer, CettRecord, CettSparsity, FORMAT, VERSION};

use super::passes::{Setting, batches, collect, counted, replaced, stop};
use super::splice::{Energy, Splice, SpliceAt};
use super::{EvaluateOptions, choose_documents, hook_of};
use crate::rows::{RowReader, Subject};
use crate::{Error, Progress, Result};
use curve::Curve;
use kernels::feature::norm_squared;
use lm::model::{LanguageModel, NeuronTap, Neurons, NoTap};
use lm::text::Contexts;
use neurons::{Layers, measure, prune};
use search::{Measured, search};

/// p of CETT-PPL-p %.
pub const PERCENTS: [f64; 3] = [1.0, 5.0, 10.0];
/// Tokens that are looked at where no number is given: the model runs some thirty times.
const TOKENS: u64 = 8192;

/// Measures the sparsity of the model's neurons and of the codes of the run or foreign dictionary at `path`, on the chosen documents (on about
/// 8,000 tokens where [`EvaluateOptions::tokens`] is `None`). Of a run it is kept in `RUN/evaluation/cett.json`.
///
/// # Errors
/// A transcoder; a dictionary, dataset or model that cannot be read or do not belong together; no model; documents without two
/// tokens; [`Error::Stopped`].
pub fn cett(path: &Path, options: &EvaluateOptions, progress: &mut dyn Progress) -> Result<CettRecord> {
    let subject = Subject::open(path, options.data.as_deref())?;
    let dictionary = &subject.dictionary;
    dictionary.needs_its_input("CETT")?;
    if dictionary.target.is_some() {
        return Err(Error::request("the codes of a transcoder are not measured by CETT; give a dictionary"));
    }
    let dataset = &subject.dataset;
    let model = options.load_model(dataset.manifest())?.ok_or_else(|| {
        Error::request("CETT is measured in a model, and there is no model")
            .with_remedy("leave --no-model out, or name the model with --model")
    })?;
    let options = &EvaluateOptions { tokens: options.tokens.or(Some(TOKENS)), ..options.clone() };
    let choice = choose_documents(dataset, options)?;
    let mut reader = RowReader::new(dataset, &choice.ranges, options.batch, dataset.manifest().d_model)?;
    let mut documents = Vec::new();
    while let Some(batch) = reader.next_batch()? {
        collect(&batch, &mut documents)?;
    }
    let contexts = batches(&model, documents, dataset.manifest().context_length)?;
    let contexts = contexts.collect::<Result<Vec<_>>>()?;
    let bench = Bench { model: &model, contexts: &contexts };

    let (ce_clean, predicted) = bench.loss("model", None, progress)?;
    let seen = neurons::readable(model.config());
    if let Err(error) = &seen {
        progress.remark(&format!("the model's neurons are left out: {error}"));
    }
    let measured = seen.ok().map(|()| bench.neurons(ce_clean, progress)).transpose()?;
    let (neurons, layers) = measured.map_or((None, Vec::new()), |(all, layers)| (Some(all), layers));
    let setting = Setting {
        model: &model,
        hook: hook_of(dataset)?,
        dictionaries: &[dictionary.into()],
        limit: options.norm_limit.or(subject.norm_limit),
        mean: &vec![0.0; dictionary.d_in],
        context_length: dataset.manifest().context_length,
    };
    let (codes, ce_reconstructed) = bench.codes(&setting, progress)?;
    let record = CettRecord {
        format: FORMAT.to_owned(),
        version: VERSION,
        model: model.id().to_owned(),
        model_sha256: model.sha256().to_owned(),
        data: dataset.dir().display().to_string(),
        hook: setting.hook.to_string(),
        dictionary_sha256: subject.dictionary_sha256.clone(),
        seed: options.seed,
        split: if options.all_documents { "all" } else { "held-out" }.to_owned(),
        documents: choice.documents,
        tokens: choice.tokens,
        predicted,
        ce_clean,
        ce_reconstructed,
        neurons,
        layers,
        codes,
    };
    if subject.is_run {
        record.write(path)?;
    }
    Ok(record)
}

/// What a model is measured on.
struct Bench<'a> {
    model: &'a LanguageModel,
    contexts: &'a [Contexts],
}

/// What looks at the hidden units of a batch, and may give others for them.
type Look<'a> = &'a mut dyn FnMut(&Contexts, &Neurons<'_>) -> Result<Option<Tensor>>;

/// A mean of losses, added up token by token.
#[derive(Default)]
struct Loss {
    sum: f64,
    tokens: u64,
}

impl Loss {
    fn add(&mut self, model: &LanguageModel, residual: &Tensor, contexts: &Contexts) -> Result<()> {
        let losses = model.decoder().losses(residual, contexts)?;
        for (loss, _) in losses.iter().zip(counted(contexts)).filter(|(_, counted)| *counted) {
            if let Some(loss) = loss {
                self.sum += f64::from(*loss);
                self.tokens += 1;
            }
        }
        Ok(())
    }

    fn mean(&self) -> Result<(f64, u64)> {
        if self.tokens == 0 {
            return Err(Error::data(
                "no evaluated document has two tokens: there is no prediction to compare",
            ));
        }
        Ok((self.sum / self.tokens as f64, self.tokens))
    }
}

impl Bench<'_> {
    /// Mean cross-entropy, and of how many tokens, while `look` sees the hidden units.
    fn loss(
        &self,
        what: &str,
        mut look: Option<Look<'_>>,
        progress: &mut dyn Progress,
    ) -> Result<(f64, u64)> {
        let all: usize = self.contexts.iter().map(Contexts::document_tokens).sum();
        progress.begin(what, Some(all as u64), "tokens");
        let decoder = self.model.decoder();
        let layers = decoder.config().num_hidden_layers;
        let (mut loss, mut done) = (Loss::default(), 0);
        for contexts in self.contexts {
            let residual = match &mut look {
                Some(look) => decoder.residual(
                    contexts,
                    layers,
                    &mut NeuronTap(|neurons: &Neurons<'_>| look(contexts, neurons)),
                )?,
                None => decoder.residual(contexts, layers, &mut NoTap)?,
            };
            loss.add(self.model, &residual, contexts)?;
            done += contexts.document_tokens();
            progress.advance(done as u64, "");
            stop(progress)?;
        }
        let mean = loss.mean()?;
        progress.end(&format!("loss {:.4}", mean.0));
        Ok(mean)
    }

    /// The model's neurons: all of them with one CETT, and by layer.
    fn neurons(&self, ce_clean: f64, progress: &mut dyn Progress) -> Result<(CettSparsity, Vec<CettLayer>)> {
        let (mut layers, mut curves) = (Layers::default(), BTreeMap::new());
        let mut measure = |contexts: &Contexts, neurons: &Neurons<'_>| {
            measure(contexts, &mut layers, &mut curves, neurons).map(|()| None)
        };
        self.loss("neurons", Some(&mut measure), progress)?;
        // What was tried, with what each layer leaves out: the searches of several costs begin alike.
        let mut tried: BTreeMap<u64, (Measured, BTreeMap<usize, (u64, u64)>)> = BTreeMap::new();
        let mut by_loss = Vec::new();
        for percent in PERCENTS {
            by_loss.push(search(percent, ce_clean, |cett| {
                if let Some((measured, _)) = tried.get(&cett.to_bits()) {
                    return Ok(*measured);
                }
                let thresholds: BTreeMap<usize, f32> =
                    curves.iter().map(|(layer, curve)| (*layer, curve.threshold(cett))).collect();
                let mut counts = BTreeMap::new();
                let mut prune = |contexts: &Contexts, neurons: &Neurons<'_>| {
                    prune(contexts, &mut layers, &thresholds, &mut counts, neurons).map(Some)
                };
                let (ce, _) = self.loss(&format!("neurons, CETT {cett:.3}"), Some(&mut prune), progress)?;
                let (left_out, all) = counts.values().fold((0, 0), |sum, n| (sum.0 + n.0, sum.1 + n.1));
                let measured = Measured { ce, left_out: share(left_out, all) };
                tried.insert(cett.to_bits(), (measured, counts));
                Ok(measured)
            })?);
        }
        let cheapest = by_loss.first().and_then(|found| tried.get(&found.cett.to_bits()));
        let zero =
            curves.values().fold((0, 0), |sum, curve| (sum.0 + curve.zero().0, sum.1 + curve.zero().1));
        let units: f64 = curves.values().map(Curve::units).sum();
        let by_error = curve::ERRORS.map(|cett| {
            // Every layer has the same tokens, so shares are weighed by units.
            let left_out =
                curves.values().map(|curve| curve.share(cett) * curve.units()).sum::<f64>() / units.max(1.0);
            storage::cett::CettPoint { cett, left_out }
        });
        let rows = curves.iter().map(|(layer, curve)| {
            let counts = cheapest.and_then(|(_, counts)| counts.get(layer));
            let (left_out, all) = counts.copied().unwrap_or_default();
            CettLayer {
                layer: *layer as u32,
                units: curve.units(),
                zero: share(curve.zero().0, curve.zero().1),
                by_error: curve.by_error(),
                left_out: share(left_out, all),
            }
        });
        let all = CettSparsity { units, zero: share(zero.0, zero.1), by_error: by_error.to_vec(), by_loss };
        Ok((all, rows.collect()))
    }

    /// The dictionary's codes, and the cross-entropy with its whole reconstruction.
    fn codes(&self, setting: &Setting<'_>, progress: &mut dyn Progress) -> Result<(CettSparsity, f64)> {
        let dictionary = setting.dictionaries[0].dictionary;
        let d = dictionary.d_in;
        let norms: Vec<f32> =
            (0..dictionary.d_sae).map(|f| norm_squared(dictionary.decoder_row(f)).sqrt()).collect();
        let mut curve = Curve::default();
        // The value at the hook of every batch: what comes before it stays as it is.
        let mut seen = Vec::new();
        for contexts in self.contexts {
            let mut energy = Energy::default();
            let splice = Splice::Watch(&mut energy);
            let mut tap =
                SpliceAt { hook: setting.hook, width: d, contexts, limit: setting.limit, splice, seen: None };
            let decoder = self.model.decoder();
            decoder.residual(contexts, decoder.config().num_hidden_layers, &mut tap)?;
            let value = tap
                .seen
                .take()
                .ok_or_else(|| Error::request(format!("the model has no value at {}", setting.hook)))?;
            add_codes(&mut curve, setting, contexts, &value, &norms)?;
            seen.push(value);
            stop(progress)?;
        }
        let mut with = |least: f32, name: &str| -> Result<(f64, f64)> {
            progress.begin(name, Some(self.contexts.len() as u64), "batches");
            let (mut loss, mut counts) = (Loss::default(), (0, 0));
            for (i, (contexts, value)) in self.contexts.iter().zip(&seen).enumerate() {
                let splice = Splice::Sparser { dictionary, norms: &norms, least, counts: &mut counts };
                let (hook, limit) = (setting.hook, setting.limit);
                let mut tap = SpliceAt { hook, width: d, contexts, limit, splice, seen: None };
                let residual = replaced(setting.model, &mut tap, Some(value))?;
                loss.add(self.model, &residual, contexts)?;
                progress.advance(i as u64 + 1, "");
                stop(progress)?;
            }
            let (ce, _) = loss.mean()?;
            progress.end(&format!("loss {ce:.4}"));
            Ok((ce, share(counts.0, counts.1)))
        };
        let (whole, _) = with(0.0, "codes")?;
        let mut tried: BTreeMap<u64, Measured> = BTreeMap::new();
        let mut by_loss = Vec::new();
        for percent in PERCENTS {
            by_loss.push(search(percent, whole, |cett| {
                if let Some(measured) = tried.get(&cett.to_bits()) {
                    return Ok(*measured);
                }
                let (ce, left_out) = with(curve.threshold(cett), &format!("codes, CETT {cett:.3}"))?;
                let measured = Measured { ce, left_out };
                tried.insert(cett.to_bits(), measured);
                Ok(measured)
            })?);
        }
        let zero = share(curve.zero().0, curve.zero().1);
        Ok((CettSparsity { units: curve.units(), zero, by_error: curve.by_error(), by_loss }, whole))
    }
}

/// Adds the codes of a batch's tokens.
fn add_codes(
    curve: &mut Curve,
    setting: &Setting<'_>,
    contexts: &Contexts,
    value: &Tensor,
    norms: &[f32],
) -> Result<()> {
    let dictionary = setting.dictionaries[0].dictionary;
    let d = dictionary.d_in;
    let values: Vec<f32> = value.to_dtype(candle_core::DType::F32)?.flatten_all()?.to_vec1()?;
    let rows = values.chunks_exact(d).zip(&contexts.origin);
    let rows = rows.filter(|(row, origin)| origin.is_some() && super::splice::is_within(row, setting.limit));
    let rows: Vec<f32> = rows.flat_map(|(row, _)| row).copied().collect();
    let codes = dictionary.encode(&rows);
    for i in 0..codes.rows() {
        let (features, values) = codes.row(i);
        let strengths: Vec<f32> =
            features.iter().zip(values).map(|(f, v)| v.abs() * norms[*f as usize]).collect();
        curve.add(&strengths, d, |i, sum| {
            let row = dictionary.decoder_row(features[i] as usize);
            sum.iter_mut().zip(row).for_each(|(sum, w)| *sum += values[i] * w);
        });
    }
    Ok(())
}

fn share(part: u64, all: u64) -> f64 {
    part as f64 / all.max(1) as f64
}

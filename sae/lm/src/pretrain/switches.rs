//! Modules that are switched on for each token: how their temperatures begin, and how often they are on.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::parameters::TEMPERATURE;
use super::{Parameters, PretrainConfig};
use crate::model::{Decoder, Hook, Routing, Tap, Tokenizer};
use crate::text::{self, Document};
use crate::{Error, Progress, Result};

/// Contexts through the model at a time.
const ROWS: usize = 8;

/// Sets the logarithms of all temperatures to ln(temperature_scale · √d_model).
///
/// # Errors
/// None for the parameters of the configuration.
pub(super) fn begin(config: &PretrainConfig, parameters: &Parameters) -> Result<()> {
    let theta = (config.temperature_scale * (config.d_model as f64).sqrt()).ln() as f32;
    for (_, var) in parameters.iter().filter(|(name, _)| name.ends_with(TEMPERATURE)) {
        var.set(&Tensor::full(theta, var.dims(), &Device::Cpu)?)?;
    }
    Ok(())
}

/// Mean over all layers and modules of the temperature; none of a model without switches.
///
/// # Errors
/// None for variables on the CPU.
pub(super) fn temperature(parameters: &Parameters) -> Result<Option<f64>> {
    let mut all = Vec::new();
    for (_, var) in parameters.iter().filter(|(name, _)| name.ends_with(TEMPERATURE)) {
        all.extend(var.flatten_all()?.to_vec1::<f32>()?.into_iter().map(|theta| f64::from(theta).exp()));
    }
    Ok((!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64))
}

/// Counts the tokens that each module of each layer is on for.
struct Watch<'a> {
    /// Which tokens of the batch belong to documents.
    counted: Vec<bool>,
    on: &'a mut BTreeMap<usize, Vec<u64>>,
}

impl Tap for Watch<'_> {
    fn wants(&self, _: &Hook) -> bool {
        false
    }

    fn at(&mut self, _: &Hook, _: &Tensor) -> Result<Option<Tensor>> {
        Ok(None)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        let on = self.on.entry(routing.layer).or_insert_with(|| vec![0; routing.experts]);
        for t in (0..self.counted.len()).filter(|t| self.counted[*t]) {
            routing.of(t).0.iter().for_each(|module| on[*module as usize] += 1);
        }
        Ok(())
    }
}

/// Share of the documents' tokens that each module is on for, by layer; nothing without documents.
///
/// # Errors
/// A text that the tokenizer or the model cannot take; [`Error::Stopped`].
pub(super) fn density(
    decoder: &Decoder,
    tokenizer: &Tokenizer,
    documents: &[Document],
    context_length: usize,
    progress: &mut dyn Progress,
) -> Result<BTreeMap<usize, Vec<f64>>> {
    let (mut on, mut tokens) = (BTreeMap::new(), 0);
    progress.begin("modules", None, "tokens");
    let encoded =
        documents.iter().enumerate().map(|(i, d)| Ok((i as u32, tokenizer.encode_after_bos(&d.text)?)));
    for contexts in text::pack(encoded, context_length, tokenizer.bos(), ROWS)? {
        let contexts = contexts?;
        let counted = contexts.origin.iter().map(Option::is_some).collect();
        let mut watch = Watch { counted, on: &mut on };
        decoder.residual(&contexts, decoder.config().num_hidden_layers, &mut watch)?;
        tokens += contexts.document_tokens() as u64;
        progress.advance(tokens, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the modules were being counted; the model is stored"));
        }
    }
    progress.end(&format!("{tokens} tokens"));
    let share = |counts: Vec<u64>| counts.into_iter().map(|n| n as f64 / tokens as f64).collect();
    Ok(on.into_iter().map(|(layer, counts)| (layer, share(counts))).collect())
}

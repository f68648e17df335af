//! Transcoders in their model: what they read is seen, and their outputs, zeros or means stand in for the values that they reconstruct.

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};

use super::behaviour::{Behaviour, Replacement};
use super::passes::{counted, stop};
use super::splice::is_within;
use crate::dictionary::Dictionary;
use crate::trace::Transcoders;
use crate::{Error, Progress, Result};
use lm::model::{Decoder, Hook, NoTap, Site, Tap};
use lm::text::Contexts;

/// What is measured.
#[derive(Debug, Clone, Copy)]
pub enum Measured<'a> {
    /// One transcoder, between any two hooks. Tokens whose input has a norm above the limit keep their values, as do those whose value is
    /// above that of the dictionary's target.
    One { dictionary: &'a Dictionary, from: Hook, to: Hook, limit: Option<f32> },
    /// Transcoders of several layers at once, in place of the MLPs' outputs.
    All(&'a Transcoders),
    /// Transcoders of several layers, in place of the MLP's output of one of them, all others as they are.
    Only(&'a Transcoders, usize),
}

/// A vector for each layer whose value is replaced.
pub type Vectors = BTreeMap<usize, Vec<f32>>;

/// What stands in for the values.
#[derive(Debug, Clone, Copy)]
pub enum StandIn<'a> {
    /// The values themselves; they are kept.
    Seen,
    /// What the transcoders make of what they read.
    Transcoded,
    /// These vectors at every token.
    Constant(&'a Vectors),
}

/// [`StandIn`] for one batch of contexts, at the document tokens: BOS and padding have no rows, so nothing was trained on them.
#[derive(Debug)]
pub struct Stand<'a> {
    measured: Measured<'a>,
    contexts: &'a Contexts,
    stand_in: StandIn<'a>,
    /// What was read so far at these [places](Self::places), `[places, d_in]` by layer.
    pub inputs: BTreeMap<usize, Vec<f32>>,
    /// The values there before anything stood in for them, `[places, d_out]` by layer; of [`StandIn::Seen`].
    pub outputs: BTreeMap<usize, Vec<f32>>,
    places: Option<Vec<usize>>,
}

impl Measured<'_> {
    fn reads(&self, hook: &Hook) -> bool {
        match self {
            Self::One { from, .. } => hook == from,
            Self::All(transcoders) | Self::Only(transcoders, _) => transcoders.reads(hook),
        }
    }

    fn writes(&self, hook: &Hook) -> bool {
        match self {
            Self::One { to, .. } => hook == to,
            Self::All(transcoders) => hook.site == Site::MlpOut && transcoders.has(hook.layer),
            Self::Only(_, layer) => *hook == Hook::new(*layer, Site::MlpOut),
        }
    }

    /// Norm of a value at `hook` above which it stays as it is.
    fn norm_limit(&self, hook: &Hook) -> Option<f32> {
        match self {
            Self::One { dictionary, .. } => dictionary.target.as_ref()?.norm_limit,
            Self::All(transcoders) | Self::Only(transcoders, _) => transcoders.norm_limit(hook.layer),
        }
    }

    /// What they say of the value at `hook`, from what was read so far.
    fn output(&self, hook: &Hook, inputs: &BTreeMap<usize, Vec<f32>>) -> Vec<f32> {
        match self {
            Self::One { dictionary, from, .. } => {
                let x = inputs.get(&from.layer).map(Vec::as_slice).unwrap_or_default();
                dictionary.decode_with(&dictionary.encode(x), x)
            }
            Self::All(transcoders) | Self::Only(transcoders, _) => transcoders.output(hook.layer, inputs),
        }
    }

    /// What the model predicts with the outputs, zeros and `means` in the values' places. `each` is given the final residual streams
    /// of the model as it is and with the outputs, and the places that count.
    ///
    /// # Errors
    /// Contexts that cannot be made, a hook that is read after the value that it explains; [`Error::Stopped`]; what `each` gives.
    pub fn behaviour(
        self,
        decoder: &Decoder,
        contexts: impl Iterator<Item = Result<Contexts>>,
        means: &Vectors,
        progress: &mut dyn Progress,
        mut each: impl FnMut(&Tensor, &Tensor, &[bool]) -> Result<()>,
    ) -> Result<Behaviour> {
        let zeros: Vectors = means.iter().map(|(&layer, mean)| (layer, vec![0.0; mean.len()])).collect();
        let (layers, mut behaviour, mut done) = (decoder.config().num_hidden_layers, Behaviour::default(), 0);
        for contexts in contexts {
            let contexts = contexts?;
            let with =
                |stand_in| decoder.residual(&contexts, layers, &mut Stand::new(self, &contexts, stand_in));
            let clean = decoder.residual(&contexts, layers, &mut NoTap)?;
            let others = [
                with(StandIn::Transcoded)?,
                with(StandIn::Constant(&zeros))?,
                with(StandIn::Constant(means))?,
            ];
            let places = counted(&contexts);
            behaviour.add(&decoder.compare(&clean, &others, &contexts)?, &Replacement::ALL, &places);
            each(&clean, &others[0], &places)?;
            done += contexts.document_tokens() as u64;
            progress.advance(done, "");
            stop(progress)?;
        }
        Ok(behaviour)
    }
}

impl<'a> Stand<'a> {
    pub fn new(measured: Measured<'a>, contexts: &'a Contexts, stand_in: StandIn<'a>) -> Self {
        let (inputs, outputs) = (BTreeMap::new(), BTreeMap::new());
        Self { measured, contexts, stand_in, inputs, outputs, places: None }
    }

    /// The document tokens of the batch whose input is within the limit, once something was read.
    fn places(&mut self, hook: &Hook, values: &[f32], d: usize) -> &[usize] {
        let (contexts, measured) = (self.contexts, self.measured);
        self.places.get_or_insert_with(|| {
            let limit = match measured {
                Measured::One { limit, from, .. } if from == *hook => limit,
                _ => None,
            };
            let within =
                |i: &usize| contexts.origin[*i].is_some() && is_within(&values[i * d..(i + 1) * d], limit);
            (0..contexts.origin.len()).filter(within).collect()
        })
    }
}

impl Tap for Stand<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        self.measured.reads(hook) || self.measured.writes(hook)
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let d = value.dim(2)?;
        let mut values: Vec<f32> = value.to_dtype(DType::F32)?.flatten_all()?.to_vec1()?;
        let (reads, writes) = (self.measured.reads(hook), self.measured.writes(hook));
        if self.places.is_none() && !reads {
            return Err(Error::request(format!(
                "the transcoder reconstructs {hook}, which comes before what it reads"
            ))
            .with_remedy("a transcoder reads what comes before its target"));
        }
        let places = self.places(hook, &values, d).to_vec();
        let picked =
            |values: &[f32]| places.iter().flat_map(|&i| &values[i * d..(i + 1) * d]).copied().collect();
        if reads {
            self.inputs.insert(hook.layer, picked(&values));
        }
        if !writes {
            return Ok(None);
        }
        let rows: Vec<f32> = match self.stand_in {
            StandIn::Seen => {
                self.outputs.insert(hook.layer, picked(&values));
                return Ok(None);
            }
            StandIn::Transcoded => self.measured.output(hook, &self.inputs),
            StandIn::Constant(vectors) => {
                vectors.get(&hook.layer).map(|vector| vector.repeat(places.len())).unwrap_or_default()
            }
        };
        let limit = self.measured.norm_limit(hook);
        for (&i, row) in places.iter().zip(rows.chunks_exact(d)) {
            let value = &mut values[i * d..(i + 1) * d];
            if is_within(value, limit) {
                value.copy_from_slice(row);
            }
        }
        Ok(Some(Tensor::from_vec(values, value.shape(), value.device())?.to_dtype(value.dtype())?))
    }
}

//! What the model predicts after a token when only some of the codes before it stay.

use candle_core::{D, Device, Tensor, Var};

use super::batch::Batch;
use super::prompter::Prompter;
use super::reading::Reading;
use super::sufficient::{Measure, Rest};
use crate::{Error, Result};
use kernels::gather::{add_rows, dot_rows};
use lm::text::Contexts;

/// Tokens that a pass has at most: several subsets run as rows of one batch.
const TOKENS: usize = 2048;
/// Points of the path on which gradients are averaged.
const STEPS: usize = 8;

/// A code that may go: a feature at a token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Code {
    pub token: usize,
    pub feature: u32,
    pub activation: f32,
    /// What takes its place.
    pub rest: f32,
}

/// The codes of a text up to the token whose prediction is looked at, and the model that says what is left without some of them.
pub(super) struct Subsets<'a> {
    prompter: &'a Prompter,
    /// The text up to that token.
    batch: Batch,
    /// The value at the hook, `[len · d]`.
    value: Vec<f32>,
    /// The token whose prediction is looked at.
    token: u32,
    measure: Measure,
    /// All codes, in the reading's order.
    pub codes: Vec<Code>,
    /// Passes of the model over the text so far.
    pub passes: usize,
}

impl<'a> Subsets<'a> {
    pub fn new(
        prompter: &'a Prompter,
        reading: &Reading,
        (token, position): (u32, usize),
        measure: Measure,
        rest: Rest,
    ) -> Result<Self> {
        let means = match rest {
            Rest::Zero => None,
            Rest::Mean => Some(prompter.means.as_deref().ok_or_else(|| {
                Error::request("features have no known means: the run has no index")
                    .with_remedy("make one with `sae index`, or let zeros take the codes' place")
            })?),
        };
        let batch = prompter.batch(&reading.tokens[..=position])?.unpadded();
        let value: Vec<f32> = reading.value.narrow(1, 0, batch.contexts.len)?.flatten_all()?.to_vec1()?;
        let of = |token: usize| {
            let (features, values) = reading.codes.row(token);
            features.iter().zip(values).map(move |(&feature, &activation)| Code {
                token,
                feature,
                activation,
                rest: means.and_then(|means| means.get(feature as usize)).copied().unwrap_or_default(),
            })
        };
        let codes = (0..=position).flat_map(of).collect();
        Ok(Self { prompter, batch, value, token, measure, codes, passes: 0 })
    }

    /// What is measured, of each subset; `true` at the codes that stay.
    pub fn values(&mut self, subsets: &[Vec<bool>]) -> Result<Vec<f32>> {
        let mut all = Vec::with_capacity(subsets.len());
        for part in subsets.chunks(self.rows()) {
            let rows: Vec<f32> = part.iter().flat_map(|kept| self.without(kept)).collect();
            let scalar = self.scalar(&self.residual(&self.tensor(rows, part.len())?)?)?;
            all.extend(scalar.to_vec1::<f32>()?);
            self.passes += part.len();
        }
        Ok(match self.measure {
            Measure::Probability => all.into_iter().map(f32::exp).collect(),
            Measure::Logit => all,
        })
    }

    /// What is measured when the dictionary's reconstruction stands at every token that has codes.
    pub fn reconstructed(&mut self) -> Result<f32> {
        let (mut rows, d) = (self.value.clone(), self.prompter.dictionary.d_in);
        let mut begun = vec![false; self.batch.tokens];
        for code in &self.codes {
            let row = &mut rows[(self.batch.first + code.token) * d..][..d];
            if !std::mem::replace(&mut begun[code.token], true) {
                row.copy_from_slice(&self.prompter.dictionary.b_dec);
            }
            add_rows(row, &self.prompter.dictionary.w_dec, &[code.feature], &[code.activation]);
        }
        let scalar = self.scalar(&self.residual(&self.tensor(rows, 1)?)?)?;
        self.passes += 1;
        let value = scalar.to_vec1::<f32>()?[0];
        Ok(if self.measure == Measure::Probability { value.exp() } else { value })
    }

    /// What each code gives ln p or the logit: (c − c') · W_dec · the mean gradient on the straight path from all codes gone to all
    /// there (integrated gradients, Sundararajan et al. 2017). They add up to the whole difference, as far as the path's points do.
    pub fn attributions(&mut self) -> Result<Vec<f32>> {
        let (len, d) = (self.batch.contexts.len, self.prompter.dictionary.d_in);
        let gone = self.without(&vec![false; self.codes.len()]);
        let mut sum = vec![0.0_f32; len * d];
        let points: Vec<f32> = (0..STEPS).map(|i| (i as f32 + 0.5) / STEPS as f32).collect();
        for part in points.chunks(self.rows()) {
            let between = |at: &f32| {
                let at = *at;
                gone.iter().zip(&self.value).map(move |(gone, there)| gone + at * (there - gone))
            };
            let rows: Vec<f32> = part.iter().flat_map(between).collect();
            let shift = Var::zeros((part.len(), len, d), candle_core::DType::F32, &Device::Cpu)?;
            let moved = (self.tensor(rows, part.len())? + shift.as_tensor())?;
            let gradients = self.scalar(&self.residual(&moved)?)?.sum_all()?.backward()?;
            let gradient = gradients.get(&shift).ok_or_else(|| {
                Error::data(format!(
                    "no gradient reached {}: nothing after it depends on it",
                    self.prompter.hook
                ))
            })?;
            let gradient: Vec<f32> = gradient.sum(0)?.flatten_all()?.to_vec1()?;
            sum.iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g / STEPS as f32);
            self.passes += part.len();
        }
        let one = |code: &Code| {
            let (row, mut slope) = (&sum[(self.batch.first + code.token) * d..][..d], [0.0]);
            dot_rows(&mut slope, &self.prompter.dictionary.w_dec, &[code.feature], row);
            (code.activation - code.rest) * slope[0]
        };
        Ok(self.codes.iter().map(one).collect())
    }

    /// Subsets per pass: a matter of memory.
    pub fn rows(&self) -> usize {
        (TOKENS / self.batch.contexts.len).max(1)
    }

    /// x' = x + Σ (c' − c) · W_dec over the codes that do not stay.
    fn without(&self, kept: &[bool]) -> Vec<f32> {
        let (mut rows, d) = (self.value.clone(), self.prompter.dictionary.d_in);
        for (code, _) in self.codes.iter().zip(kept).filter(|(_, kept)| !**kept) {
            let row = &mut rows[(self.batch.first + code.token) * d..][..d];
            let difference = code.rest - code.activation;
            add_rows(row, &self.prompter.dictionary.w_dec, &[code.feature], &[difference]);
        }
        rows
    }

    fn tensor(&self, rows: Vec<f32>, n: usize) -> Result<Tensor> {
        Ok(Tensor::from_vec(rows, (n, self.batch.contexts.len, self.prompter.dictionary.d_in), &Device::Cpu)?)
    }

    /// The final residual stream with `value [n, len, d]` at the hook.
    fn residual(&self, value: &Tensor) -> Result<Tensor> {
        let batch = Batch { contexts: repeated(&self.batch.contexts, value.dim(0)?), ..self.batch.clone() };
        self.prompter.after(&batch, value)
    }

    /// ln p of the token, or its logit less the mean of all, after the last token of each row, `[n]`.
    fn scalar(&self, residual: &Tensor) -> Result<Tensor> {
        let last = residual.narrow(1, self.batch.contexts.len - 1, 1)?.contiguous()?;
        let logits = self.prompter.model.decoder().logits(&last)?.squeeze(1)?;
        let own = logits.narrow(1, self.token as usize, 1)?.squeeze(1)?;
        Ok(match self.measure {
            Measure::Logit => (own - logits.mean(D::Minus1)?)?,
            Measure::Probability => {
                // The largest is a constant here: it cancels.
                let largest = logits.max_keepdim(D::Minus1)?.detach();
                let sum = logits.broadcast_sub(&largest)?.exp()?.sum(D::Minus1)?;
                (own - (sum.log()? + largest.squeeze(1)?)?)?
            }
        })
    }
}

/// The one row of `contexts`, `rows` times.
fn repeated(contexts: &Contexts, rows: usize) -> Contexts {
    Contexts {
        rows,
        len: contexts.len,
        tokens: contexts.tokens.repeat(rows),
        segments: contexts.segments.repeat(rows),
        positions: contexts.positions.repeat(rows),
        origin: contexts.origin.repeat(rows),
    }
}

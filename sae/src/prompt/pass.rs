//! The model's pass with and without a change at the hook.

use candle_core::{Device, Tensor};

use super::batch::Batch;
use super::change::Plan;
use super::experts::{CleanTap, LayerExperts};
use super::prompter::Prompter;
use crate::{Error, Result};
use kernels::chance::{Purpose, generator, normal};
use kernels::feature::norm_squared;
use kernels::gather::add_rows;
use lm::model::{Hook, KeyValueCache, NoTap, Tap};

/// A direction of length 1, `[d]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Direction(pub(crate) Vec<f32>);

/// What happens to the activation at the hook.
#[derive(Debug, Clone, Copy, Default)]
pub enum Intervention<'a> {
    /// Nothing.
    #[default]
    Nothing,
    /// The changes of features.
    Changes(&'a Plan),
    /// A step in this direction, at every token as long as that of the changes.
    Control(&'a Plan, &'a Direction),
}

/// Replaces the value at one hook.
struct HookReplacement<F> {
    hook: Hook,
    replace: F,
}

impl<F: FnMut(&Tensor) -> Result<Option<Tensor>>> Tap for HookReplacement<F> {
    fn wants(&self, hook: &Hook) -> bool {
        *hook == self.hook
    }

    fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        (self.replace)(value)
    }
}

impl Direction {
    /// Direction number `draw` among those of width `d`.
    pub(crate) fn drawn(d: usize, seed: u64, draw: u64) -> Self {
        let mut rng = generator(seed, Purpose::Controls, draw, 0);
        let mut direction: Vec<f32> = (0..d).map(|_| normal(&mut rng)).collect();
        let norm = direction.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        direction.iter_mut().for_each(|v| *v = (f64::from(*v) / norm) as f32);
        Self(direction)
    }
}

impl Prompter {
    /// `tokens` as a batch of the model.
    pub(super) fn batch(&self, tokens: &[u32]) -> Result<Batch> {
        let batch = Batch::new(tokens, self.model.config().bos_token_id)?;
        batch.contexts.check_tokens(self.model.config().vocab_size)?;
        Ok(batch)
    }

    /// The value at the hook and the final residual stream of the unchanged model, both `[1, len, width]`,
    /// with what its routers chose.
    pub(super) fn clean(&self, batch: &Batch) -> Result<(Tensor, Tensor, Vec<LayerExperts>)> {
        let layers = self.model.config().num_hidden_layers;
        let mut tap = CleanTap { hook: self.hook, batch, value: None, experts: Vec::new() };
        let residual = self.model.decoder().residual(&batch.contexts, layers, &mut tap)?;
        let CleanTap { value, experts, .. } = tap;
        let value = value.ok_or_else(|| Error::data(format!("the model has no value at {}", self.hook)))?;
        Ok((value, residual, experts))
    }

    /// The final residual stream with `value` at the hook, `[1, len, d_model]`; what comes before the hook is
    /// unchanged.
    pub(super) fn after(&self, batch: &Batch, value: &Tensor) -> Result<Tensor> {
        let decoder = self.model.decoder();
        let layers = self.model.config().num_hidden_layers;
        // A hook between blocks lets the pass begin there; inside a block everything is computed again up to it.
        if let Some(first) = self.hook.enters(decoder.config()) {
            return decoder.through(value.clone(), first..layers, &batch.contexts, &mut NoTap);
        }
        let mut tap = HookReplacement { hook: self.hook, replace: |_: &Tensor| Ok(Some(value.clone())) };
        decoder.residual(&batch.contexts, layers, &mut tap)
    }

    /// The final residual stream of tokens that follow those in `cache`, changed at the hook as those were.
    pub(super) fn following(
        &self,
        batch: &Batch,
        cache: &mut KeyValueCache,
        with: Intervention<'_>,
    ) -> Result<Tensor> {
        let change = |value: &Tensor| Ok(self.changed(batch, value, with)?.map(|(value, _)| value));
        let mut tap = HookReplacement { hook: self.hook, replace: change };
        self.model.decoder().residual_after(&batch.contexts, cache, &mut tap)
    }

    /// `value [1, len, d]` at the hook with the intervention, x' = x + δ at the text's tokens, and ‖δ‖ of
    /// each token, `[n]`; `None` where nothing changes.
    pub(super) fn changed(
        &self,
        batch: &Batch,
        value: &Tensor,
        with: Intervention<'_>,
    ) -> Result<Option<(Tensor, Vec<f32>)>> {
        let (plan, direction) = match with {
            Intervention::Nothing => return Ok(None),
            Intervention::Changes(plan) => (plan, None),
            Intervention::Control(plan, direction) => (plan, Some(direction)),
        };
        if plan.is_empty() {
            return Ok(None);
        }
        let d = self.dictionary.d_in;
        let mut values: Vec<f32> = value.flatten_all()?.to_vec1()?;
        let rows = &mut values[batch.first * d..(batch.first + batch.tokens) * d];
        let codes = self.codes(rows);
        let mut deltas = vec![0.0; batch.tokens];
        for (token, row) in rows.chunks_exact_mut(d).enumerate() {
            if self.is_left_out(row) {
                continue;
            }
            let (features, values) = codes.row(token);
            let (features, differences) = plan.differences(features, values, batch.before + token);
            if features.is_empty() {
                continue;
            }
            let mut delta = vec![0.0; d];
            add_rows(&mut delta, &self.dictionary.w_dec, &features, &differences);
            let norm = norm_squared(&delta).sqrt();
            // A control keeps the length of the step and replaces its direction.
            if let Some(Direction(direction)) = direction {
                delta.iter_mut().zip(direction).for_each(|(delta, u)| *delta = norm * u);
            }
            row.iter_mut().zip(&delta).for_each(|(x, delta)| *x += delta);
            deltas[token] = norm;
        }
        let changed = Tensor::from_vec(values, value.shape(), &Device::Cpu)?;
        Ok(Some((changed, deltas)))
    }

    /// Whether training left such an activation out because of its norm.
    pub(super) fn is_left_out(&self, row: &[f32]) -> bool {
        self.norm_limit.is_some_and(|limit| norm_squared(row).sqrt() > limit)
    }

    /// Random direction number `draw`, uniform on the sphere: a function of the seed and the number.
    pub fn direction(&self, seed: u64, draw: u64) -> Direction {
        Direction::drawn(self.dictionary.d_in, seed, draw)
    }
}

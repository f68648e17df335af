//! What active features carry straight into a router's logits, with nothing fitted.
//!
//! A router reads h = γ ∘ x / σ, with x the residual stream, σ its root mean square and γ the norm's gain. Of
//! logit_e = r_e·h, the features of a dictionary of the stream carry Σ_i f_i (d_i ∘ γ)·r_e / σ; a dictionary of
//! h itself carries Σ_i f_i d_i·r_e. What blocks between the dictionary's hook and the router add, the decoder's
//! bias and the error of the reconstruction are the rest.

use std::collections::BTreeMap;

use candle_core::Tensor;

use crate::dictionary::{Dictionary, Encoder};
use crate::experts::rescore::{contexts, documents};
use crate::experts::routing::Source;
use crate::{Error, Progress, Result};
use kernels::gemm::rows_times_rows;
use lm::model::config::BlockForm;
use lm::model::{Hook, LanguageModel, MoeLayer, Routing, Site, Tap};

/// One layer's sums.
#[derive(Debug)]
pub struct DirectLayer {
    experts: usize,
    /// (d_i ∘ γ)·r_e, `[F, E]`.
    carried: Vec<f32>,
    /// Whether the stream is divided by σ, and its ε.
    norm: Option<f64>,
    sums: Vec<Sums>,
}

/// Of one expert, over tokens.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    n: f64,
    logit: f64,
    logit_squared: f64,
    rest: f64,
    rest_squared: f64,
    chosen_direct: f64,
    chosen_logit: f64,
}

impl DirectLayer {
    /// 1 − Var(logit − direct) / Var(logit).
    pub fn share(&self, expert: usize) -> Option<f64> {
        let of = self.sums[expert];
        let variance = |sum: f64, squares: f64| squares / of.n - (sum / of.n).powi(2);
        let whole = variance(of.logit, of.logit_squared);
        (of.n > 1.0 && whole > 0.0).then(|| 1.0 - variance(of.rest, of.rest_squared) / whole)
    }

    /// Σ direct / Σ logit over the tokens that chose the expert.
    pub fn of_chosen(&self, expert: usize) -> Option<f64> {
        let of = self.sums[expert];
        (of.chosen_logit != 0.0).then(|| of.chosen_direct / of.chosen_logit)
    }

    /// (d ∘ γ)·r of a feature and an expert.
    pub fn of_feature(&self, feature: u32, expert: usize) -> f64 {
        f64::from(self.carried[feature as usize * self.experts + expert])
    }
}

/// Whether a dictionary at `hook` reads the stream that the router of `layer` reads or what its norm makes of
/// it; `Some(true)` for the latter.
fn reads(hook: Hook, layer: usize) -> Option<bool> {
    match hook.site {
        Site::MlpIn => (hook.layer == layer).then_some(true),
        Site::ResidMid | Site::ResidPre => (hook.layer <= layer).then_some(false),
        Site::ResidPost => (hook.layer < layer).then_some(false),
        _ => None,
    }
}

/// Runs `model` over the first documents of the routing table, about `tokens` tokens, and gives what features
/// carry in every one of `layers` where they can; remarks say where not.
///
/// # Errors
/// A model that cannot be run on the tokens, or [`Error::Stopped`].
pub fn direct(
    dictionary: &Dictionary,
    hook: Hook,
    source: &Source,
    model: &LanguageModel,
    (layers, tokens): (&[u16], u64),
    progress: &mut dyn Progress,
) -> Result<BTreeMap<u16, DirectLayer>> {
    let mut tap = Watch {
        hook,
        encoder: dictionary.encoder(),
        layers: BTreeMap::new(),
        codes: None,
        sigma: Vec::new(),
        counted: Vec::new(),
    };
    if dictionary.target.is_some() {
        progress.remark("the dictionary does not reconstruct what it reads: no direct shares");
        return Ok(BTreeMap::new());
    }
    for of in model.decoder().moe_layers().filter(|of| layers.iter().any(|l| usize::from(*l) == of.layer)) {
        match DirectLayer::new(dictionary, hook, &of, model)? {
            Ok(direct) => {
                tap.layers.insert(of.layer, direct);
            }
            Err(why) => progress.remark(&format!("layer {}: no direct share, {why}", of.layer)),
        }
    }
    if tap.layers.is_empty() {
        return Ok(BTreeMap::new());
    }
    let all = documents(source)?;
    progress.begin("direct shares", Some(tokens), "tokens");
    let mut done = 0;
    for batch in contexts(source, model, all)? {
        let batch = batch?;
        tap.counted = batch.origin.iter().map(Option::is_some).collect();
        model.decoder().residual(&batch, model.config().num_hidden_layers, &mut tap)?;
        done += batch.document_tokens() as u64;
        progress.advance(done.min(tokens), "");
        if progress.stop_requested() {
            return Err(Error::stopped("the routers were not explained, nothing was written"));
        }
        if done >= tokens {
            break;
        }
    }
    progress.end(&format!("{done} tokens"));
    Ok(tap.layers.into_iter().map(|(layer, of)| (crate::experts::tables::layer_number(layer), of)).collect())
}

impl DirectLayer {
    /// Empty sums for a layer, or why there can be none.
    fn new(
        dictionary: &Dictionary,
        hook: Hook,
        of: &MoeLayer<'_>,
        model: &LanguageModel,
    ) -> Result<std::result::Result<Self, String>> {
        let block = &model.config().blocks[of.layer];
        let Some(normed) = reads(hook, of.layer) else {
            return Ok(Err(format!("its router does not read what is at {hook}")));
        };
        if block.form == BlockForm::Parallel {
            return Ok(Err("its router does not read the stream after attention".into()));
        }
        let Some(router) = of.router else {
            return Ok(Err("its router has no rows, it goes by the experts' weights".into()));
        };
        let (experts, d) = router.dims2()?;
        let rows = match of.gain.filter(|_| !normed) {
            Some(gain) => router.broadcast_mul(gain)?,
            None => router.clone(),
        };
        let rows: Vec<f32> = rows.flatten_all()?.to_vec1()?;
        let mut carried = vec![0.0; dictionary.d_sae * experts];
        rows_times_rows(&mut carried, &dictionary.w_dec, &rows, dictionary.d_sae, experts, d);
        let norm = (!normed && of.gain.is_some()).then_some(block.norm.eps);
        Ok(Ok(Self { experts, carried, norm, sums: vec![Sums::default(); experts] }))
    }

    /// Adds a token: its codes, the factor 1 / σ, its logits and choices.
    fn add(&mut self, (features, values): (&[u32], &[f32]), factor: f64, logits: &[f32], chosen: &[u32]) {
        let mut direct = vec![0.0; self.experts];
        for (f, v) in features.iter().zip(values) {
            let carried = &self.carried[*f as usize * self.experts..][..self.experts];
            direct.iter_mut().zip(carried).for_each(|(d, c)| *d += f64::from(*v) * f64::from(*c));
        }
        for (e, of) in self.sums.iter_mut().enumerate() {
            let (z, direct) = (f64::from(logits[e]), direct[e] * factor);
            let rest = z - direct;
            of.n += 1.0;
            of.logit += z;
            of.logit_squared += z * z;
            of.rest += rest;
            of.rest_squared += rest * rest;
            if chosen.contains(&(e as u32)) {
                of.chosen_direct += direct;
                of.chosen_logit += z;
            }
        }
    }
}

struct Watch<'a> {
    hook: Hook,
    encoder: Encoder<'a>,
    layers: BTreeMap<usize, DirectLayer>,
    /// Of the batch's tokens.
    codes: Option<crate::dictionary::Codes>,
    /// Mean square of the stream before the router that comes next, `[tokens]`.
    sigma: Vec<f64>,
    counted: Vec<bool>,
}

impl Tap for Watch<'_> {
    fn wants(&self, hook: &Hook) -> bool {
        *hook == self.hook || (hook.site == Site::ResidMid && self.layers.contains_key(&hook.layer))
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        let numbers: Vec<f32> = value.flatten_all()?.to_vec1()?;
        if hook.site == Site::ResidMid {
            let d = numbers.len() / self.counted.len().max(1);
            let square = |row: &[f32]| row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / d as f64;
            self.sigma = numbers.chunks_exact(d.max(1)).map(square).collect();
        }
        if *hook == self.hook {
            self.codes = Some(self.encoder.encode(&numbers));
        }
        Ok(None)
    }

    fn routing(&mut self, routing: &Routing) -> Result<()> {
        let (Some(layer), Some(codes)) = (self.layers.get_mut(&routing.layer), &self.codes) else {
            return Ok(());
        };
        let logits: Vec<f32> = routing.logits.flatten_all()?.to_vec1()?;
        for t in (0..self.counted.len()).filter(|t| self.counted[*t]) {
            let factor = layer.norm.map_or(1.0, |eps| 1.0 / (self.sigma[t] + eps).sqrt());
            let logits = &logits[t * routing.experts..][..routing.experts];
            layer.add(codes.row(t), factor, logits, routing.of(t).0);
        }
        Ok(())
    }
}

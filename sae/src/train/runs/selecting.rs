//! From a trained state to an encoder with its selection.

use crate::dictionary::{Cosine, Pick, Refined, Selection, cosine};
use crate::train::config::Resolved;
use crate::train::state::TrainState;
use crate::train::step::options::Rule;
use crate::train::step::pursuit::RESIDUAL;
use crate::train::thresholds::Thresholds;

/// How a trained dictionary selects.
#[derive(Debug, Clone, Copy)]
pub struct Selecting {
    pub rule: Rule,
    pub k: usize,
    /// η of a correction.
    pub refine: Option<f32>,
}

impl Selecting {
    pub fn of(resolved: &Resolved) -> Self {
        let config = &resolved.config;
        Self { rule: resolved.rule(), k: config.k, refine: config.lista_step.map(|step| step as f32) }
    }
}

/// Encoder rows, biases and selection: gates become thresholds.
pub fn encoder(
    state: &TrainState,
    &Selecting { rule, k, refine }: &Selecting,
    fitted: Option<Thresholds>,
) -> (Vec<f32>, Vec<f32>, Selection) {
    let (mut w_enc, mut b_enc) = (state.w_enc.value.clone(), state.b_enc.value.clone());
    let own = &state.own.value;
    let pick = |above: Option<f32>| above.map_or(Pick::Best(k), Pick::Above);
    let first = fitted.as_ref().and_then(|fitted| fitted.first);
    let one = fitted.as_ref().and_then(|fitted| fitted.each.first().copied());
    if let Rule::Cosine(_) = rule {
        let alpha = own.iter().copied().map(cosine::alpha).collect();
        return (w_enc, b_enc, Selection::Cosine(Cosine { alpha, unit: 1.0, pick: pick(one) }));
    }
    if let Some(step) = refine {
        return (w_enc, b_enc, Selection::Refined(Refined { step, first: pick(first), then: pick(one) }));
    }
    if let Some(fitted) = fitted {
        return (w_enc, b_enc, Selection::Threshold(fitted.each));
    }
    let thresholds = match rule {
        Rule::Jump { .. } => own.iter().map(|log| log.exp()).collect(),
        Rule::Gated => {
            // u + b_gate > 0 is e^r·u + b_mag > b_mag − e^r·b_gate.
            let mut thresholds = Vec::with_capacity(state.features);
            for (f, row) in w_enc.chunks_exact_mut(state.d).enumerate() {
                let (factor, magnitude) = (own[2 * f].exp(), own[2 * f + 1]);
                row.iter_mut().for_each(|w| *w *= factor);
                thresholds.push((magnitude - factor * b_enc[f]).max(0.0));
                b_enc[f] = magnitude;
            }
            thresholds
        }
        Rule::Active => vec![0.0; state.features],
        Rule::Shrunk(shrunk) => return (w_enc, b_enc, Selection::Shrunk(shrunk)),
        Rule::Pursuit => {
            let selection = Selection::MatchingPursuit {
                residual_threshold: RESIDUAL,
                max_iterations: Some(k),
                stop_on_duplicate_support: true,
            };
            return (state.w_dec.value.clone(), vec![0.0; state.features], selection);
        }
        Rule::AbsToken => return (w_enc, b_enc, Selection::AbsTopK(k)),
        Rule::Block(blocks) => return (w_enc, b_enc, Selection::BlockTopK(blocks)),
        Rule::Token | Rule::Mutual | Rule::Feature | Rule::Cosine(_) => {
            return (w_enc, b_enc, Selection::TopK(k));
        }
    };
    (w_enc, b_enc, Selection::Threshold(thresholds))
}

//! Which features have the auxiliary loss in a step: the dead ones, and with aux-zipf those that fire too rarely.
//!
//! | file | part |
//! |---|---|
//! | `dense` | the loss by dense products, where a token uses many of these features |

pub mod dense;

use dense::{Coarse, DENSE};
use kernels::bf16;
use kernels::encode::Packed;

use super::context::Context;
use super::options::Rule;
use super::prepare::rates;
use super::select::rows::FeatureRows;

/// The features that have the auxiliary loss, ascending, with copies of their rows.
#[derive(Debug, Default)]
pub struct AuxFeatures {
    pub features: Vec<u32>,
    /// Whether there is such a loss in this step.
    pub used: bool,
    /// Dead features: silent for `dead_after` tokens.
    pub dead: usize,
    /// Biases.
    pub bias: Vec<f32>,
    /// Encoder rows, where z is not computed for all features of a token.
    pub encoder: Vec<f32>,
    /// The same, packed.
    pub packed_encoder: Packed,
    /// Decoder rows, where the loss is computed by dense products.
    pub decoder: Vec<f32>,
    pub packed_decoder: Packed,
    /// Whether the loss is computed by dense products.
    pub dense: bool,
    /// Rows for products in bfloat16, where dense products are made in it.
    pub coarse: Option<Coarse>,
}

impl AuxFeatures {
    /// Makes them those of this step.
    pub fn set(&mut self, context: &Context<'_>, rows: &FeatureRows) {
        self.find(context);
        let Context { state, options, plan, .. } = context;
        let aux = options.aux;
        self.used = !self.features.is_empty() && aux.k > 0 && aux.coefficient > 0.0;
        self.bias.clear();
        self.bias.extend(self.features.iter().map(|&f| state.b_enc.value[f as usize]));
        self.dense = self.features.len() <= DENSE * aux.k;
        match self.dense && options.coarse_aux && bf16::available() {
            true => self.coarse = Some(self.coarse.take().unwrap_or_default()),
            false => self.coarse = None,
        }
        let copy = |rows: &mut Vec<f32>, from: &[f32], features: &[u32], width: usize| {
            for start in features.iter().map(|&f| f as usize * width) {
                rows.extend_from_slice(&from[start..start + width]);
            }
        };
        self.decoder.clear();
        if self.dense && aux.coefficient > 0.0 {
            copy(&mut self.decoder, &state.w_dec.value, &self.features, state.d_out);
            match &mut self.coarse {
                Some(coarse) => coarse.set_decoder(&self.decoder, state.d_out),
                None => self.packed_decoder.set(&self.decoder, state.d_out),
            }
        }
        self.encoder.clear();
        // Where all pre-activations are computed anyway, those of these features are among them.
        let apart = plan.rule == Rule::Feature || rows.are_quantised();
        if apart && aux.coefficient > 0.0 {
            copy(&mut self.encoder, &state.w_enc.value, &self.features, state.d);
            match &mut self.coarse {
                Some(coarse) => coarse.set_encoder(&self.encoder, state.d),
                None => self.packed_encoder.set(&self.encoder, state.d),
            }
        }
    }

    /// Finds the dead and the under-used features.
    fn find(&mut self, context: &Context<'_>) {
        let Context { state, options, .. } = context;
        let tokens = context.tokens as u64;
        // Before a whole window was seen, a low rate may be chance.
        let known =
            state.step.saturating_mul(tokens) >= options.rate_window && !state.expected_rates.is_empty();
        let rates = if known { rates(state, options, tokens) } else { Vec::new() };
        let rho = options.aux.zipf.map_or(0.0, |(_, rho)| rho);
        let under_used = |f: usize| known && f64::from(rates[f]) < rho * f64::from(state.expected_rates[f]);
        self.dead = state.dead(options.dead_after).count();
        self.features.clear();
        self.features.extend(
            (0..state.features as u32)
                .filter(|&f| state.since_fired[f as usize] >= options.dead_after || under_used(f as usize)),
        );
    }
}

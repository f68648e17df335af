//! The sum that a pre-activation is, over the tokens and heads that it comes from.

use candle_core::Tensor;

use super::Heads;
use crate::dictionary::Dictionary;
use crate::{Error, Result};
use kernels::wide::dot;
use lm::model::{Decoder, Hook, Site, Tap};
use lm::text::Contexts;

/// What the heads of one layer did on a batch of contexts.
#[derive(Debug)]
pub struct HeadActivity {
    /// Tokens per row.
    len: usize,
    /// `[rows, heads, len, len]`.
    pattern: Vec<f32>,
    /// `[rows, len, kv_heads · d_value]`.
    v: Vec<f32>,
    /// `[rows, len, heads · d_value]`.
    z: Vec<f32>,
}

/// A token of a batch and the first one that it may see.
#[derive(Debug, Clone, Copy)]
pub struct Destination {
    /// Row of the batch.
    pub row: usize,
    /// First token of its context in that row, BOS where there is one.
    pub first: usize,
    /// The token itself.
    pub at: usize,
}

/// A pre-activation, taken apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Parts {
    /// `b_enc[f] − W_enc[f] · b_dec`.
    pub constant: f64,
    /// Of every token from the first to the destination, through all heads.
    pub sources: Vec<f64>,
    /// Of every head, from all tokens.
    pub heads: Vec<f64>,
    /// The pre-activation as the dictionary computes it from the value at the hook; nothing of the above is
    /// used for it.
    pub whole: f64,
}

impl Parts {
    /// The sum of all parts.
    pub fn sum(&self) -> f64 {
        self.constant + self.sources.iter().sum::<f64>()
    }

    /// How far the parts are from the whole, in units of what is added up.
    pub fn gap(&self) -> f64 {
        let size = self.constant.abs() + self.sources.iter().map(|part| part.abs()).sum::<f64>();
        (self.sum() - self.whole).abs() / size.max(f64::MIN_POSITIVE)
    }
}

struct Watch {
    layer: usize,
    kept: [(Site, Option<Tensor>); 3],
}

impl Tap for Watch {
    fn wants(&self, hook: &Hook) -> bool {
        hook.layer == self.layer && self.kept.iter().any(|(site, _)| *site == hook.site)
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        if let Some((_, kept)) = self.kept.iter_mut().find(|(site, _)| *site == hook.site) {
            *kept = Some(value.clone());
        }
        Ok(None)
    }
}

impl HeadActivity {
    /// Runs the model over `contexts`, no further than the layer of the heads.
    ///
    /// # Errors
    /// A model that fails, or that does not have these heads.
    pub fn run(decoder: &Decoder, heads: &Heads, contexts: &Contexts) -> Result<Self> {
        let layer = heads.layer;
        let mut watch = Watch { layer, kept: [Site::Pattern, Site::V, Site::AttnZ].map(|site| (site, None)) };
        decoder.residual(contexts, layer + 1, &mut watch)?;
        let [pattern, v, z] = watch.kept.map(|(site, kept)| -> Result<Vec<f32>> {
            let missing = || Error::data(format!("the model never came to {}", Hook::new(layer, site)));
            Ok(kept.ok_or_else(missing)?.flatten_all()?.to_vec1()?)
        });
        Ok(Self { len: contexts.len, pattern: pattern?, v: v?, z: z? })
    }

    /// Takes the pre-activation of `feature` at `to` apart.
    pub fn parts(&self, dictionary: &Dictionary, heads: &Heads, feature: usize, to: Destination) -> Parts {
        let encoder = dictionary.encoder_row(feature);
        let constant = f64::from(dictionary.b_enc[feature]) - dot(encoder, &dictionary.subtracted());
        let token = to.row * self.len + to.at;
        let z = &self.z[token * heads.width()..(token + 1) * heads.width()];
        let mut parts = Parts {
            constant,
            sources: vec![0.0; to.at + 1 - to.first],
            heads: vec![0.0; heads.heads],
            whole: dot(encoder, z) + constant,
        };
        for head in 0..heads.heads {
            let query = (to.row * heads.heads + head) * self.len + to.at;
            let pattern = &self.pattern[query * self.len..(query + 1) * self.len];
            let reads = heads.slice(encoder, head);
            for (source, part) in (to.first..=to.at).zip(&mut parts.sources) {
                let weight = f64::from(pattern[source]);
                if weight == 0.0 {
                    continue;
                }
                let given = weight * dot(reads, self.value(heads, to.row, source, head));
                *part += given;
                parts.heads[head] += given;
            }
        }
        parts
    }

    /// What query head `head` reads at `token` of `row`.
    fn value(&self, heads: &Heads, row: usize, token: usize, head: usize) -> &[f32] {
        let group = head * heads.kv_heads / heads.heads;
        let at = ((row * self.len + token) * heads.kv_heads + group) * heads.d_value;
        &self.v[at..at + heads.d_value]
    }
}

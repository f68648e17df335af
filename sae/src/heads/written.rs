//! What features of a dictionary below give a reader.

use serde::Serialize;

use super::placed::PlacedDictionary;
use super::reader::Reader;
use crate::Result;
use crate::dictionary::Codes;
use kernels::feature::norm_squared;
use kernels::wide::dot;
use lm::model::{Hook, Site};

/// What a feature gives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FeaturePart {
    /// The feature.
    pub feature: u32,
    /// Its activation on the token.
    pub activation: f32,
    /// Activation · (decoder row · what the reader reads by).
    pub value: f32,
}

/// What stands at a dictionary's place at the reader's token, and what it gives: features, bias and error add up to `whole`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Written {
    /// What the dictionary describes, as a hook.
    pub hook: String,
    /// What everything that stands there gives.
    pub whole: f32,
    /// Of each feature that fires, the most first.
    pub features: Vec<FeaturePart>,
    /// Of the decoder's bias, and of a transcoder's path past its features.
    pub bias: f32,
    /// Of what the dictionary leaves out.
    pub error: f32,
    /// Whether the token's norm is above the limit of training, so that it has no codes.
    pub left_out: bool,
}

impl Reader<'_> {
    /// What features of `placed` give this reader at its token; `None` if what they describe is not below it: a later layer, or
    /// heads where the reader reads heads.
    ///
    /// # Errors
    /// A hook that the text has no values of.
    pub fn written(&self, placed: &PlacedDictionary) -> Result<Option<Written>> {
        let Some(reads) = self.reads_of(placed.writes())? else { return Ok(None) };
        let (text, dictionary) = (self.text(), &placed.dictionary);
        let x = text.row(placed.hook, self.token())?;
        let y = if placed.target.is_some() { text.row(placed.writes(), self.token())? } else { x.clone() };
        let left_out = placed.norm_limit.is_some_and(|limit| norm_squared(&x).sqrt() > limit);
        let codes = if left_out { Codes::default() } else { dictionary.encode(&x) };
        let (features, values) = if left_out { (&[][..], &[][..]) } else { codes.row(0) };
        let given = |(&feature, &activation): (&u32, &f32)| {
            let row = dictionary.decoder_row(feature as usize);
            FeaturePart { feature, activation, value: (f64::from(activation) * dot(row, &reads)) as f32 }
        };
        let mut features: Vec<FeaturePart> = features.iter().zip(values).map(given).collect();
        let mut none = Codes::default();
        none.push_row(&[], &[]);
        let bias = dot(&dictionary.decode_with(&none, &x), &reads);
        let whole = dot(&y, &reads);
        let error = whole - bias - features.iter().map(|part| f64::from(part.value)).sum::<f64>();
        features.sort_by(|a, b| b.value.abs().total_cmp(&a.value.abs()).then(a.feature.cmp(&b.feature)));
        Ok(Some(Written {
            hook: placed.writes().to_string(),
            whole: whole as f32,
            features,
            bias: bias as f32,
            error: error as f32,
            left_out,
        }))
    }

    /// By what the reader reads what stands at `hook`, if it does.
    fn reads_of(&self, hook: Hook) -> Result<Option<Vec<f32>>> {
        let layer = hook.layer;
        let stream = |depth| self.at_stream(depth).map(<[f32]>::to_vec);
        Ok(match hook.site {
            Site::ResidPre => stream(2 * layer),
            Site::ResidMid => stream(2 * layer + 1),
            Site::ResidPost => stream(2 * layer + 2),
            Site::MlpOut => self.after(2 * layer + 1),
            Site::AttnOut => self.after(2 * layer),
            Site::AttnZ if self.reads_heads(layer) => Some(self.at_heads(layer)?),
            _ => None,
        })
    }
}

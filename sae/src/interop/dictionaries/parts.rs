//! What all readers do with the tensors that they found.

use super::recognise::Place;
use super::{Content, Opened, Reading};
use crate::dictionary::{Dictionary, DictionaryInfo, Normalisation, Selection, Target};
use crate::{Error, Result};

/// The tensors of a dictionary as they are held here.
pub(super) struct Parts {
    /// `[F, d_in]`.
    pub w_enc: Vec<f32>,
    /// `[F]`.
    pub b_enc: Vec<f32>,
    /// `[F, d_out]`.
    pub w_dec: Vec<f32>,
    /// `[d_out]`.
    pub b_dec: Vec<f32>,
    pub selection: Selection,
    /// The skip path of a transcoder, `[d_out, d_in]`.
    pub skip: Option<Vec<f32>>,
}

impl Parts {
    /// The dictionary of these parts, for the hooks and with the pre-bias that `reading` names. It is a transcoder if there is a second
    /// hook.
    pub fn dictionary(self, reading: &Reading) -> Dictionary {
        let (d_sae, d_out) = (self.b_enc.len(), self.b_dec.len());
        let target = reading.hook_out.clone().map(|hook| Target {
            d_out,
            skip: self.skip,
            hook: Some(hook),
            norm_limit: None,
        });
        let mut dictionary = Dictionary {
            d_in: self.w_enc.len() / d_sae.max(1),
            d_sae,
            w_enc: self.w_enc,
            b_enc: self.b_enc,
            w_dec: self.w_dec,
            b_dec: self.b_dec,
            selection: self.selection,
            prune_below: None,
            normalisation: Normalisation::None,
            target,
            info: DictionaryInfo {
                model_name: reading.model.clone(),
                hook_name: reading.hook_in.clone(),
                ..DictionaryInfo::default()
            },
        };
        if !reading.pre_bias && dictionary.target.is_none() {
            dictionary.fold_uncentred_input();
        }
        dictionary
    }

    /// The same, as a whole source.
    pub fn opened(self, reading: Reading) -> Opened {
        Opened { content: Content::Dictionary(self.dictionary(&reading)), reading }
    }
}

/// A threshold for every feature, of a tensor with one number or with F.
pub(super) fn thresholds(place: &Place, name: &str, numbers: Vec<f32>, features: usize) -> Result<Selection> {
    match numbers[..] {
        [one] => Ok(Selection::Threshold(vec![one; features])),
        _ if numbers.len() == features => Ok(Selection::Threshold(numbers)),
        _ => Err(Error::format(
            place.file.as_ref().unwrap_or(&place.folder),
            format!(
                "tensor `{name}` has {} numbers; expected 1 or one for each of {features} features",
                numbers.len()
            ),
        )),
    }
}

/// TopK with a `k` that can be.
pub(super) fn top_k(place: &Place, k: usize, features: usize) -> Result<Selection> {
    match (1..=features).contains(&k) {
        true => Ok(Selection::TopK(k)),
        false => Err(Error::format(
            place.file.as_ref().unwrap_or(&place.folder),
            format!("k is {k}; a dictionary of {features} features needs 1 ≤ k ≤ {features}"),
        )),
    }
}

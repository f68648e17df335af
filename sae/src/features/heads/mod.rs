//! Features of attention heads: dictionaries trained at `blocks.N.attn.hook_z`, the heads' outputs side by
//! side before W_O (Kissane et al. 2024, arXiv 2406.17759).
//!
//! There a decoder row falls into one slice per head, which says how much the feature writes through each
//! ([`weights`]). And since `z[h, t] = Σ_s pattern[h, t, s] · v[h, s]`, a pre-activation is a sum over source
//! tokens and heads, direct feature attribution:
//!
//! ```text
//! z_f(t) = W_enc[f] · (z(t) − b_dec) + b_enc[f]
//!        = Σ_s Σ_h pattern[h, t, s] · (W_enc[f, h] · v[h, s])  +  b_enc[f] − W_enc[f] · b_dec
//! ```
//!
//! The pattern is taken as given: what made the head look there is not part of the sum. Values are those of
//! the model's `hook_v`, which query heads of a group share. A dictionary of `hook_attn_out` lies after W_O,
//! where heads have been added up; it has no such slices and gets neither table.

mod pass;
mod sources;
#[cfg(test)]
mod tests;
mod weights;

use std::path::Path;

use storage::attention::{ATTRIBUTION, HEADS};

pub use pass::{AttributionTarget, attribute};

use super::tokens::Tokens;
use crate::rows::Subject;
use crate::{Error, Progress, Result};
use lm::model::{Config, Hook, LanguageModel, Site};

/// The heads of one layer whose outputs a dictionary takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heads {
    /// The block.
    pub layer: usize,
    /// Query heads: slices of an activation.
    pub heads: usize,
    /// Key and value heads: query head `h` reads value head `h · kv_heads / heads`.
    pub kv_heads: usize,
    /// Width of a slice.
    pub d_value: usize,
}

impl Heads {
    /// The heads at `hook`; `None` if it is not a `hook_z`, or the model has no such block.
    pub fn at(hook: &Hook, config: &Config) -> Option<Self> {
        let block = config.blocks.get(hook.layer).filter(|_| hook.site == Site::AttnZ)?;
        let attention = &block.attention;
        Some(Self {
            layer: hook.layer,
            heads: attention.heads,
            kv_heads: attention.kv_heads,
            d_value: attention.d_value,
        })
    }

    /// Width of an activation.
    pub fn width(&self) -> usize {
        self.heads * self.d_value
    }

    /// The part of an activation, or of a dictionary's row, that is `head`'s.
    pub fn slice<'a>(&self, row: &'a [f32], head: usize) -> &'a [f32] {
        &row[head * self.d_value..(head + 1) * self.d_value]
    }
}

/// What was written, for `index.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeadTables {
    /// Heads; 0 where nothing was written.
    pub heads: usize,
    /// Examples whose sources are in the table.
    pub examples: u64,
    /// What there is, or why it is not; `None` where the dictionary is not one of heads.
    pub about: Option<String>,
}

/// A dictionary of heads and the model they are of.
#[derive(Debug)]
pub struct HeadDictionary {
    model: LanguageModel,
    heads: Heads,
}

/// The heads that the dictionary of `subject` reads, or the reason why there are none.
///
/// # Errors
/// A hook that is not one; a model whose heads have a different width than the dictionary reads.
pub fn of(
    subject: &Subject,
    model: Option<LanguageModel>,
) -> Result<std::result::Result<HeadDictionary, HeadTables>> {
    let hook = subject.dataset.manifest().hook.as_deref();
    let hook = hook.filter(|_| subject.dataset.manifest().rows_are.tokens()).map(str::parse::<Hook>);
    let Some(hook) = hook.transpose()?.filter(|hook| hook.site == Site::AttnZ) else {
        return Ok(Err(HeadTables::default()));
    };
    let Some(model) = model else {
        let about = Some("no model was given, which says how many heads there are".to_owned());
        return Ok(Err(HeadTables { about, ..HeadTables::default() }));
    };
    let (config, d) = (model.config(), subject.dictionary.d_in);
    match Heads::at(&hook, config).filter(|heads| heads.width() == d) {
        Some(heads) => Ok(Ok(HeadDictionary { model, heads })),
        None => Err(Error::request(format!(
            "the dictionary takes activations of width {d} at {hook}, which this model does not have there"
        ))
        .with_remedy("give the model of the dataset with --model")),
    }
}

impl HeadDictionary {
    /// Writes both tables into `folder`. If examples cannot be attributed they are left out and the reason is
    /// returned.
    ///
    /// # Errors
    /// Files that cannot be written; a model that fails; a stop that was asked for.
    pub fn write(
        &self,
        subject: &Subject,
        tokens: &Tokens,
        wanted: Option<&[AttributionTarget]>,
        folder: &Path,
        progress: &mut dyn Progress,
    ) -> Result<HeadTables> {
        weights::write(&folder.join(HEADS), &subject.dictionary, &self.heads)?;
        let heads = self.heads.heads;
        let context_length = subject.dataset.manifest().context_length;
        let (examples, about) = match wanted {
            None => (0, "not asked for".to_owned()),
            Some(wanted) => {
                let text = pass::Text { tokens, context_length };
                let path = folder.join(ATTRIBUTION);
                match attribute(
                    self.model.decoder(),
                    &self.heads,
                    &subject.dictionary,
                    text,
                    wanted,
                    &path,
                    progress,
                )? {
                    Ok(examples) => (examples, format!("at most {} tokens each", pass::SOURCES)),
                    Err(why) => {
                        progress.remark(&format!("examples get no sources: {why}"));
                        (0, why)
                    }
                }
            }
        };
        Ok(HeadTables { heads, examples, about: Some(about) })
    }
}

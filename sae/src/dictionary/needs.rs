//! What an analysis asks of a dictionary, and the error if it is of a kind that the analysis cannot use.

use super::{Dictionary, Normalisation, Selection};
use crate::{Error, Result};

impl Dictionary {
    /// For what puts the reconstruction in place of the input, or compares the two.
    ///
    /// # Errors
    /// A transcoder.
    pub fn needs_its_input(&self, what: &str) -> Result<()> {
        let Some(target) = &self.target else { return Ok(()) };
        let place =
            |hook: &Option<String>| hook.clone().unwrap_or_else(|| "a hook that is not named".to_owned());
        Err(Error::request(format!(
            "{what} needs a dictionary that reconstructs its input; this one is a transcoder from {} to {}",
            place(&self.info.hook_name),
            place(&target.hook)
        )))
    }

    /// For what takes a code as the strength of a feature.
    ///
    /// # Errors
    /// Codes of either sign.
    pub fn needs_positive_codes(&self, what: &str) -> Result<()> {
        if !self.selection.is_signed() {
            return Ok(());
        }
        Err(Error::request(format!(
            "{what} needs codes above zero; this dictionary ({}) has codes of either sign",
            self.selection.name()
        ))
        .with_remedy("`sae import dictionary … --split-signs` makes a run of it in which each side of a feature is a feature"))
    }

    /// What other programs' formats have nothing for, in words; none for a dictionary that some of them can hold.
    pub(crate) fn only_here(&self) -> Option<String> {
        match self.prune_below {
            Some(_) => Some("no codes that are pruned".to_owned()),
            None => self.selection.only_here(),
        }
    }

    /// For what takes rows as the model has them.
    ///
    /// # Errors
    /// A dictionary that normalises every row before encoding it.
    pub fn needs_raw_rows(&self, what: &str) -> Result<()> {
        if self.normalisation == Normalisation::None {
            return Ok(());
        }
        Err(Error::request(format!(
            "{what} needs a dictionary of activations as they are; this one normalises every row first ({})",
            self.normalisation.name()
        )))
    }

    /// For what reads a code as a row of the encoder times the input.
    ///
    /// # Errors
    /// Matching pursuit, which has no encoder, and codes of either sign.
    pub fn needs_pre_activations(&self, what: &str) -> Result<()> {
        match self.selection {
            Selection::MatchingPursuit { .. } => {
                Err(Error::request(format!("{what} needs an encoder; matching pursuit has none")))
            }
            Selection::Shrunk(_) => Err(Error::request(format!(
                "{what} needs codes that are the pre-activations; this dictionary shrinks them"
            ))),
            Selection::Cosine(_) | Selection::Refined(_) => Err(Error::request(format!(
                "{what} needs codes that are the pre-activations; those of this dictionary ({}) are not linear in the input",
                self.selection.name()
            ))),
            _ => self.needs_positive_codes(what),
        }
    }
}

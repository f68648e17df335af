//! A dictionary as it is used on activations.

use super::recode::Recoder;
use super::{Codes, Dictionary};

/// A dictionary, and what becomes of its codes.
#[derive(Debug, Clone, Copy)]
pub struct Coder<'a> {
    /// The dictionary.
    pub dictionary: &'a Dictionary,
    /// What is done with the codes that it gives.
    pub finish: Finish<'a>,
}

/// What is done with a dictionary's codes.
#[derive(Debug, Clone, Copy)]
pub enum Finish<'a> {
    /// Nothing.
    AsTheyAre,
    /// Leave-one-out pruning: what leaving a feature out must cost for it to stay, in units of activation.
    Pruned(f32),
    /// Better codes are searched for from them.
    Recoded(&'a Recoder),
}

impl<'a> From<&'a Dictionary> for Coder<'a> {
    fn from(dictionary: &'a Dictionary) -> Self {
        Self { dictionary, finish: Finish::AsTheyAre }
    }
}

impl Coder<'_> {
    /// What becomes of `codes`, which the dictionary gave of `x[n, d_in]`.
    pub fn finish(&self, codes: Codes, x: &[f32]) -> Codes {
        match self.finish {
            Finish::AsTheyAre => codes,
            Finish::Pruned(below) => self.dictionary.prune(&codes, x, below),
            Finish::Recoded(recoder) => recoder.recode(self.dictionary, &codes, x),
        }
    }

    /// The limit of pruning.
    pub fn pruned_below(&self) -> Option<f64> {
        match self.finish {
            Finish::Pruned(below) => Some(f64::from(below)),
            _ => None,
        }
    }

    /// The name of the coding that codes are searched for by.
    pub fn recoded(&self) -> Option<String> {
        match self.finish {
            Finish::Recoded(recoder) => Some(recoder.coding().name().to_owned()),
            _ => None,
        }
    }
}

//! What the dictionaries of several layers make of rows under a reading.

use crate::dictionary::{Codes, Dictionary};
use crate::evaluate::{Figures, Reconstruction};
use crate::interop::dictionaries::Content;
use crate::{Error, Result};

use super::super::alternatives::Change;
use super::super::sample::Sample;

/// Dictionaries of several layers, by layer.
pub(super) struct Set<'a> {
    pub content: &'a Content,
    pub layers: &'a [(usize, &'a Dictionary)],
}

impl Set<'_> {
    /// True if every layer's features write into that layer alone.
    pub fn is_of_single_dictionaries(&self) -> bool {
        !matches!(self.content, Content::CrossLayer(_))
    }

    /// Figures of every layer on `samples[layer]`, each dictionary read as `changes[layer]` has it.
    pub fn figures(&self, samples: &[Sample], changes: &[Change]) -> Result<Vec<Figures>> {
        let (mut codes, mut made): (Vec<Codes>, Vec<Vec<f32>>) = (Vec::new(), Vec::new());
        for (((_, dictionary), sample), change) in self.layers.iter().zip(samples).zip(changes) {
            let changed = change.of_dictionary(dictionary);
            let rows = change.of_rows(sample, dictionary.d_in);
            let of_layer = changed.encode(&rows);
            made.push(changed.decode_with(&of_layer, &rows));
            codes.push(of_layer);
        }
        if let Content::CrossLayer(clt) = self.content {
            made.iter_mut().enumerate().for_each(|(layer, out)| clt.add_earlier(layer, &codes, out));
        }
        let one = |((dictionary, sample), (codes, made)): ((&Dictionary, &Sample), (&Codes, &Vec<f32>))| {
            let mut sums = Reconstruction::new(dictionary.d_out(), dictionary.d_sae);
            sums.add(sample.target.as_deref().unwrap_or_default(), codes, made)?;
            sums.figures().ok_or_else(|| Error::data("there are no rows to measure on"))
        };
        let dictionaries = self.layers.iter().map(|(_, dictionary)| *dictionary);
        dictionaries.zip(samples).zip(codes.iter().zip(&made)).map(one).collect()
    }
}

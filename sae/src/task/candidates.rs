//! What reconstructs and edits activations: a dictionary's features, and the supervised directions.

use super::edits::{Change, changes, greedy};
use super::measure::Measure;
use super::supervised::Supervised;
use crate::dictionary::{Codes, Dictionary};

/// Something that reconstructs and edits.
pub(super) trait Candidate {
    /// Of the test prompts, `[test, d]`.
    fn reconstructions(&self) -> Vec<f32>;
    /// The edit of a prompt, with `k` features, towards a changed prompt: the activation that results.
    fn edit(&self, prompt: usize, attribute: usize, k: usize) -> Vec<f32>;
}

/// A dictionary's features.
pub(super) struct Features<'a> {
    measure: &'a Measure<'a>,
    dictionary: &'a Dictionary,
    /// Codes of the test prompts.
    pub own: Codes,
    changed: Vec<Codes>,
}

impl<'a> Features<'a> {
    /// The features of `dictionary` on the activations of `measure`.
    pub fn new(measure: &'a Measure<'a>, dictionary: &'a Dictionary) -> Self {
        let changed = measure.changed.iter().map(|activations| dictionary.encode(activations)).collect();
        Self { measure, dictionary, own: dictionary.encode(&measure.own), changed }
    }
}

impl Candidate for Features<'_> {
    fn reconstructions(&self) -> Vec<f32> {
        self.dictionary.decode_with(&self.own, &self.measure.own)
    }

    fn edit(&self, prompt: usize, attribute: usize, k: usize) -> Vec<f32> {
        let d = self.measure.d();
        let rows = prompt * d..(prompt + 1) * d;
        let (own, target) = (&self.measure.own[rows.clone()], &self.measure.changed[attribute][rows]);
        let way: Vec<f32> = target.iter().zip(own).map(|(a, b)| a - b).collect();
        let all: Vec<Change> = changes(self.own.row(prompt), self.changed[attribute].row(prompt), |f| {
            self.dictionary.decoder_row(f as usize)
        });
        let mut edited = own.to_vec();
        for chosen in greedy(&way, &all, k) {
            edited.iter_mut().zip(&all[chosen].vector).for_each(|(x, v)| *x += v);
        }
        edited
    }
}

/// The supervised dictionary.
pub(super) struct Ceiling<'a> {
    pub measure: &'a Measure<'a>,
    pub supervised: &'a Supervised,
}

impl Candidate for Ceiling<'_> {
    fn reconstructions(&self) -> Vec<f32> {
        self.measure.test.iter().flat_map(|prompt| self.supervised.reconstruction(&prompt.values)).collect()
    }

    fn edit(&self, prompt: usize, attribute: usize, _: usize) -> Vec<f32> {
        let d = self.measure.d();
        let own = &self.measure.test[prompt];
        // Which value the changed prompt has is drawn from the same stream as there.
        let other = self.measure.maker.changed(own, attribute, prompt as u64);
        let value = other.map_or(own.values[attribute], |other| other.values[attribute]);
        let out = self.supervised.direction(attribute, own.values[attribute]);
        let into = self.supervised.direction(attribute, value);
        let row = &self.measure.own[prompt * d..(prompt + 1) * d];
        row.iter().zip(out.iter().zip(into)).map(|(x, (out, into))| x - out + into).collect()
    }
}

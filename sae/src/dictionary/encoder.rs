//! Codes of many batches with one dictionary.

use super::search::Search;
use super::{Codes, Dictionary};

/// Encodes batches; what has to be made of the dictionary for that is made once, with the first batch that is large enough.
pub struct Encoder<'a> {
    dictionary: &'a Dictionary,
    search: Option<Search<'a>>,
}

impl Dictionary {
    /// For many batches. For a single one there is [`Dictionary::encode`].
    pub fn encoder(&self) -> Encoder<'_> {
        Encoder { dictionary: self, search: None }
    }
}

impl Encoder<'_> {
    /// The codes of `x[n, d]`, as [`Dictionary::encode`] gives them.
    ///
    /// # Panics
    /// If the length of `x` is not a multiple of `d_in`.
    pub fn encode(&mut self, x: &[f32]) -> Codes {
        let dictionary = self.dictionary;
        assert!(
            x.len().is_multiple_of(dictionary.d_in),
            "{} numbers are not rows of {}",
            x.len(),
            dictionary.d_in
        );
        let x = dictionary.normalisation.apply(x, dictionary.d_in);
        self.prepare(&x);
        let codes = match &self.search {
            Some(search) => search.encode(&x),
            None => dictionary.encode_exact(&x),
        };
        match dictionary.prune_below {
            Some(below) => dictionary.prune_normalised(&codes, &x, below),
            None => codes,
        }
    }

    /// Makes what a first batch `x[n, d]` would make, without its codes: whoever begins in the middle of the batches has the bits of whoever
    /// began with `x`.
    pub fn begin_with(&mut self, x: &[f32]) {
        let x = self.dictionary.normalisation.apply(x, self.dictionary.d_in);
        self.prepare(&x);
    }

    fn prepare(&mut self, x: &[f32]) {
        if self.search.is_none() {
            self.search = Search::new(self.dictionary, x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{numbers, small};
    use super::super::{Codes, Selection};

    #[test]
    fn whoever_begins_in_the_middle_has_the_same_bits() {
        let dictionary = small(64, 1100, Selection::TopK(12));
        let batch = |i: u32| {
            let mut x = numbers(600 * 64, 7 + i);
            x.iter_mut().skip(i as usize).step_by(64).for_each(|v| *v *= 30.0);
            x
        };
        let (mut whole, mut middle) = (dictionary.encoder(), dictionary.encoder());
        whole.encode(&batch(0));
        middle.begin_with(&batch(0));
        for i in [1, 2] {
            let (a, b) = (whole.encode(&batch(i)), middle.encode(&batch(i)));
            assert!(a.features == b.features && a.values == b.values, "batch {i}");
        }
        assert!(whole.search.is_some() == middle.search.is_some());
    }

    #[test]
    fn batches_have_the_codes_that_they_have_alone() {
        let dictionary = small(64, 1100, Selection::TopK(12));
        let mut encoder = dictionary.encoder();
        // The first is too small for candidates, the last one follows larger ones; scales of dimensions differ.
        for (i, n) in [3, 600, 700, 5].into_iter().enumerate() {
            let mut x = numbers(n * 64, 7 + i as u32);
            x.iter_mut().skip(i).step_by(64).for_each(|v| *v *= 30.0);
            let (got, exact): (Codes, Codes) = (encoder.encode(&x), dictionary.encode_exact(&x));
            assert_eq!(got.features, exact.features, "batch {i}");
            for (a, b) in got.values.iter().zip(&exact.values) {
                assert!((a - b).abs() < 1e-4 * b.abs().max(1.0));
            }
        }
    }
}

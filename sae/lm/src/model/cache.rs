//! What a model keeps of the tokens that it has seen, so that those that follow need no second pass over them.

use super::ops::Past;
use crate::text::Contexts;
use crate::{Error, Result};

/// Keys and values of one context's tokens in every block, as the model and its tap made them: see
/// [`Decoder::residual_after`](super::Decoder::residual_after). It grows with every pass.
#[derive(Debug, Default)]
pub struct KeyValueCache {
    /// The segment of every token.
    pub(super) segments: Vec<u32>,
    pub(super) layers: Vec<LayerCache>,
}

/// What one block keeps.
#[derive(Debug, Default)]
pub(super) struct LayerCache {
    pub past: Past,
    /// How often each expert was chosen, where that has a limit.
    pub used: Vec<usize>,
}

impl KeyValueCache {
    /// Tokens in it.
    pub fn len(&self) -> usize {
        self.segments.len()
    }

    /// True before the first pass.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Announces the tokens of `contexts` to a cache of `layers` blocks.
    pub(super) fn extend(&mut self, contexts: &Contexts, layers: usize) -> Result<()> {
        let first = self.segments.first().or(contexts.segments.first()).copied().unwrap_or(0);
        if contexts.rows != 1 || first == 0 || contexts.segments.iter().any(|&segment| segment != first) {
            return Err(Error::data("a cache takes one row of one text, without padding".to_owned()));
        }
        if !self.layers.is_empty() && self.layers.len() != layers {
            return Err(Error::data(format!(
                "a cache of {} blocks was given to a model of {layers}",
                self.layers.len()
            )));
        }
        self.layers.resize_with(layers, LayerCache::default);
        self.segments.extend_from_slice(&contexts.segments);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use candle_core::Tensor;

    use super::*;
    use crate::model::{Config, Decoder, Hook, NoTap, Site, Tap, Weights};

    /// Changes whatever may be changed, so that a value that was kept from before its change shows.
    struct Shrink;

    impl Tap for Shrink {
        fn wants(&self, hook: &Hook) -> bool {
            let read_only = matches!(hook.site, Site::Pattern | Site::RouterScores | Site::ExpertIndices);
            // Of chosen experts nothing may hang on the last digits.
            !read_only && hook.site != Site::RouterLogits
        }

        fn at(&mut self, _: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
            Ok(Some(value.affine(0.96875, 0.03125)?))
        }
    }

    fn contexts(tokens: &[u32], from: usize, to: usize) -> Contexts {
        let len = to - from;
        Contexts {
            rows: 1,
            len,
            tokens: tokens[from..to].to_vec(),
            segments: vec![1; len],
            positions: (from as u32..to as u32).collect(),
            origin: vec![None; len],
        }
    }

    /// All families: a text in pieces and token by token against the whole text in one pass.
    #[test]
    fn pieces_of_a_text_are_as_the_whole_text() {
        let families = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/parity/families");
        let mut seen = 0;
        for entry in std::fs::read_dir(&families).unwrap() {
            let folder = entry.unwrap().path();
            let path = folder.join("config.json");
            if !folder.join("model.safetensors").exists() {
                continue;
            }
            let name = folder.file_name().unwrap().to_string_lossy().into_owned();
            let config = Config::parse(&std::fs::read_to_string(&path).unwrap(), &path).unwrap();
            let weights = Weights::open_safetensors(&folder.join("model.safetensors")).unwrap();
            let decoder = Decoder::new(config, weights).unwrap();
            let (layers, v) = (decoder.config().num_hidden_layers, decoder.config().vocab_size);
            let n = decoder.config().max_position_embeddings.min(110);
            let tokens: Vec<u32> = (0..n).map(|i| ((i * 7919 + i / 5) % v) as u32).collect();
            let taps: [fn() -> Box<dyn Tap>; 2] = [|| Box::new(NoTap), || Box::new(Shrink)];
            for tap in taps {
                let whole = decoder.residual(&contexts(&tokens, 0, n), layers, &mut *tap()).unwrap();
                let mut cache = KeyValueCache::default();
                let mut parts = Vec::new();
                for at in [0, n / 3].into_iter().chain(n / 3 + 1..2 * n / 3) {
                    let to = if at == 0 { n / 3 } else { at + 1 };
                    let part = contexts(&tokens, at, to);
                    parts.push(decoder.residual_after(&part, &mut cache, &mut *tap()).unwrap());
                }
                let rest = contexts(&tokens, cache.len(), n);
                parts.push(decoder.residual_after(&rest, &mut cache, &mut *tap()).unwrap());
                assert_eq!(cache.len(), n);
                let parts = Tensor::cat(&parts, 1).unwrap();
                let [found, expected] =
                    [&parts, &whole].map(|t| t.flatten_all().unwrap().to_vec1::<f32>().unwrap());
                let largest = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
                assert!(largest > 0.0);
                for (i, (a, b)) in found.iter().zip(&expected).enumerate() {
                    assert!((a - b).abs() <= 1e-5 * largest, "{name}, number {i}: {a} against {b}");
                }
            }
            seen += 1;
        }
        assert!(seen > 20, "{seen} families");
    }

    #[test]
    fn only_one_text_without_padding_is_taken() {
        let mut cache = KeyValueCache::default();
        let mut padded = contexts(&[1, 2, 3], 0, 3);
        padded.segments = vec![1, 1, 0];
        assert!(cache.extend(&padded, 2).is_err() && cache.is_empty());
        cache.extend(&contexts(&[1, 2, 3], 0, 3), 2).unwrap();
        let mut other = contexts(&[1], 0, 1);
        other.segments = vec![2];
        assert!(cache.extend(&other, 2).is_err());
        assert!(cache.extend(&contexts(&[1], 0, 1), 3).is_err(), "a different model");
        assert_eq!(cache.len(), 3);
    }
}

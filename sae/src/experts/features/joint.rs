//! Joint counts of features and experts: how many tokens fired the one and chose the other.

use std::collections::BTreeMap;

use crate::{Error, Result};

/// Memory that joint counts may take.
pub const BYTES: usize = 512 << 20;

/// Counts over tokens.
#[derive(Debug, Clone, Default)]
pub struct Joint {
    features: usize,
    experts: usize,
    /// By layer.
    layers: BTreeMap<u16, Layer>,
}

/// Counts of one layer.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    /// Tokens that have a row of routing in this layer.
    pub tokens: u64,
    /// Tokens that chose each expert.
    pub chosen: Vec<u64>,
    /// Tokens with a row of routing in this layer on which each feature fired.
    pub fired: Vec<u64>,
    /// `[features, E]`.
    together: Vec<u32>,
}

impl Joint {
    /// Nothing counted yet. Layers × features × experts × 4 bytes must be within `BYTES`.
    ///
    /// # Errors
    /// More memory than is allowed.
    pub fn new(features: usize, experts: usize, layers: &[u16]) -> Result<Self> {
        let bytes = layers.len() * features * experts * size_of::<u32>();
        if bytes > BYTES {
            return Err(Error::request(format!(
                "joint counts of {features} features and {experts} experts in {} layers take {bytes} bytes, more than {BYTES}",
                layers.len()
            )).with_remedy("name fewer layers with --layers"));
        }
        let layer = || Layer {
            tokens: 0,
            chosen: vec![0; experts],
            fired: vec![0; features],
            together: vec![0; features * experts],
        };
        let layers = layers.iter().map(|&number| (number, layer())).collect();
        Ok(Self { features, experts, layers })
    }

    /// Counts the features of a token, which are different, and what it chose in `layer`. Other layers than
    /// those given at the beginning are passed over.
    pub fn choose(&mut self, layer: u16, features: &[u32], experts: &[u32]) {
        let width = self.experts;
        let Some(layer) = self.layers.get_mut(&layer) else { return };
        layer.tokens += 1;
        experts.iter().for_each(|&e| layer.chosen[e as usize] += 1);
        for &f in features {
            layer.fired[f as usize] += 1;
            let row = &mut layer.together[f as usize * width..][..width];
            experts.iter().for_each(|&e| row[e as usize] += 1);
        }
    }

    /// Features.
    pub fn features(&self) -> usize {
        self.features
    }

    /// Layers with their counts, ascending.
    pub fn layers(&self) -> impl Iterator<Item = (u16, &Layer)> {
        self.layers.iter().map(|(number, layer)| (*number, layer))
    }
}

impl Layer {
    /// Tokens that fired `feature` and chose `expert`.
    pub fn together(&self, feature: usize, expert: usize) -> u64 {
        self.together[feature * self.chosen.len() + expert].into()
    }
}

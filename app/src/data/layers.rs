//! The run that has the features of a layer.

use std::path::PathBuf;

/// A run of a graph, and where a layer's features begin in its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerRun {
    /// Its folder.
    pub run: PathBuf,
    /// Number of the layer's first feature; 0 but in a cross-layer transcoder.
    pub first: u32,
}

impl LayerRun {
    /// The number in the run's index of the layer's `feature`.
    pub fn number(&self, feature: u32) -> u32 {
        self.first.saturating_add(feature)
    }
}

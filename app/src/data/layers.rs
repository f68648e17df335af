//! Features of a cross-layer transcoder, which are numbered through all layers: feature j of layer ℓ is number ℓ·F + j.

use std::path::PathBuf;

use storage::RunRecord;

/// How features of several layers are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layered {
    /// Layers.
    pub layers: u32,
    /// Features of each, F.
    pub features: u32,
}

impl Layered {
    /// That of a run; `None` if it is not a cross-layer transcoder.
    pub fn of(record: &RunRecord) -> Option<Self> {
        let layers = u32::try_from(record.layers?).ok()?;
        let features = u32::try_from(record.d_sae).ok().filter(|features| *features > 0)?;
        Some(Self { layers, features })
    }

    /// The layer of `feature`, and which one of the layer's features it is.
    pub fn place(self, feature: u32) -> (u32, u32) {
        (feature / self.features, feature % self.features)
    }
}

/// The run that has the features of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerRun {
    /// Its folder.
    pub run: PathBuf,
    /// Number of the layer's first feature in its index.
    pub first: u32,
}

impl LayerRun {
    /// The number in the run's index of the layer's `feature`.
    pub fn number(&self, feature: u32) -> u32 {
        self.first.saturating_add(feature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_numbered_layer_by_layer() {
        let layered = Layered { layers: 3, features: 20 };
        assert_eq!([0, 19, 20, 59].map(|f| layered.place(f)), [(0, 0), (0, 19), (1, 0), (2, 19)]);
        let run = LayerRun { run: PathBuf::from("clt"), first: 20 };
        assert_eq!(layered.place(run.number(7)), (1, 7));
    }
}

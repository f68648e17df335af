//! Features of a cross-layer transcoder, which an index numbers through all layers: feature j of layer ℓ is number ℓ·F + j.

use crate::RunRecord;

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

    /// Number of the first feature of `layer`.
    pub fn first(self, layer: u32) -> u32 {
        layer.saturating_mul(self.features)
    }
}

impl RunRecord {
    /// Where the activations were taken; of a cross-layer transcoder with a star for the layer: `blocks.*.hook_mlp_in`.
    pub fn hook_in_words(&self) -> String {
        match self.layers {
            Some(_) => self.hook.replacen("blocks.0.", "blocks.*.", 1),
            None => self.hook.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_numbered_layer_by_layer() {
        let layered = Layered { layers: 3, features: 20 };
        assert_eq!([0, 19, 20, 59].map(|f| layered.place(f)), [(0, 0), (0, 19), (1, 0), (2, 19)]);
        assert_eq!(layered.place(layered.first(1) + 7), (1, 7));
        let hook = "blocks.0.hook_mlp_in".to_owned();
        let record = RunRecord { d_sae: 20, layers: Some(3), hook, ..RunRecord::new() };
        assert_eq!((Layered::of(&record), &*record.hook_in_words()), (Some(layered), "blocks.*.hook_mlp_in"));
        let alone = RunRecord { layers: None, ..record };
        assert_eq!((Layered::of(&alone), alone.hook_in_words()), (None, alone.hook.clone()));
    }
}

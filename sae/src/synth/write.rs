//! A world as the folder that SAELens writes.

use std::path::Path;

use serde_json::{Value, json};
use storage::Lock;

use super::World;
use super::forest::Forest;
use super::world::{CONFIG, HIERARCHY, TENSORS};
use crate::dictionary::weights::{self, Named};
use crate::{Error, Result};

impl World {
    /// Writes the world into `folder` as SAELens does: `synthetic_model.safetensors`, `hierarchy.json` if there is a hierarchy, and
    /// `synthetic_model_config.json`, which comes last.
    ///
    /// # Errors
    /// A folder that has a world already; files that cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let _lock = Lock::take(folder)?;
        if folder.join(CONFIG).exists() {
            return Err(Error::request(format!("{} holds a world already", folder.display()))
                .with_remedy("choose a different folder, or remove this one"));
        }
        let n = self.features();
        let mut tensors = vec![
            Named::f32("feature_vectors", &[n, self.d], &self.directions),
            Named::f32("bias", &[self.d], &self.bias),
            Named::f32("firing_probabilities", &[n], &self.probabilities),
        ];
        if self.rank > 0 {
            tensors.push(Named::f32("correlation_factor", &[n, self.rank], &self.factor));
            tensors.push(Named::f32("correlation_diag", &[n], &self.variances));
        }
        weights::write(&folder.join(TENSORS), &tensors)?;
        if !self.config["hierarchy"].is_null() {
            storage::atomic::write_json(&folder.join(HIERARCHY), &self.forest.file())?;
        }
        storage::atomic::write_json(&folder.join(CONFIG), &self.config)?;
        Ok(())
    }
}

impl Forest {
    /// `hierarchy.json`. Features that are in no tree are not listed.
    fn file(&self) -> Value {
        let trees = self.roots.iter().filter(|&&root| !self.children[root as usize].is_empty());
        json!({ "roots": trees.map(|&root| self.node(root)).collect::<Vec<_>>() })
    }

    /// A forest that was read is at most as deep as JSON is read, so the recursion ends early.
    fn node(&self, feature: u32) -> Value {
        let i = feature as usize;
        json!({
            "feature_index": feature,
            "mutually_exclusive_children": self.exclusive[i],
            "scale_children_by_parent": false,
            "feature_id": null,
            "children": self.children[i].iter().map(|&child| self.node(child)).collect::<Vec<_>>(),
        })
    }
}

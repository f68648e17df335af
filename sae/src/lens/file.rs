//! A lens on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{Device, Tensor};
use storage::Lock;
use storage::lens::{self, FILE, WEIGHTS};

use crate::dictionary::weights::{self, Named, Weights};
use crate::files::files_sha256;
use crate::{Error, Result};
use lm::model::LanguageModel;

/// Jacobian lenses of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Lens {
    /// Where they were made.
    pub record: lens::Lens,
    /// By hook: the mean Jacobian, `[d_model, width]`.
    pub jacobians: BTreeMap<String, Vec<f32>>,
    folder: PathBuf,
}

impl Lens {
    /// Reads the lens in `folder`.
    ///
    /// # Errors
    /// A file that is missing or damaged, a tensor that is missing or of a different shape.
    pub fn load(folder: &Path) -> Result<Self> {
        let record = lens::Lens::read(folder)?;
        let file = Weights::read(&folder.join(WEIGHTS))?;
        let mut jacobians = BTreeMap::new();
        for hook in &record.hooks {
            let width = file.shape(hook).and_then(|shape| shape.get(1).copied()).unwrap_or_default();
            jacobians.insert(hook.clone(), file.tensor(hook, &[record.d_model, width])?);
        }
        Ok(Self { record, jacobians, folder: folder.to_owned() })
    }

    /// Writes the matrices, then the record: a folder with a record has the matrices that belong to it.
    pub(super) fn save(
        folder: &Path,
        mut record: lens::Lens,
        jacobians: &BTreeMap<String, Vec<f32>>,
    ) -> Result<Self> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let _lock = Lock::take(folder)?;
        let old = folder.join(FILE);
        if old.exists() {
            std::fs::remove_file(&old).map_err(|e| Error::io(&old, e))?;
        }
        let d = record.d_model;
        let shapes: Vec<[usize; 2]> = jacobians.values().map(|numbers| [d, numbers.len() / d]).collect();
        let named: Vec<Named<'_>> = jacobians
            .iter()
            .zip(&shapes)
            .map(|((hook, numbers), shape)| Named::f32(hook, shape, numbers))
            .collect();
        let path = folder.join(WEIGHTS);
        weights::write(&path, &named)?;
        record.sha256 = files_sha256(&[path])?;
        record.write(folder)?;
        Ok(Self { record, jacobians: jacobians.clone(), folder: folder.to_owned() })
    }

    /// The Jacobian at `hook`, `[d_model, width]`, for `model`.
    ///
    /// # Errors
    /// A different model, a hook that the lens does not have, or one of a different width.
    pub fn at(&self, hook: &str, width: usize, model: &LanguageModel) -> Result<Tensor> {
        let shown = self.folder.display();
        if !model.is(&self.record.model.sha256) {
            return Err(Error::request(format!(
                "the lens in {shown} is of `{}` (SHA-256 {}), not of `{}`",
                self.record.model.id,
                self.record.model.sha256,
                model.id()
            ))
            .with_remedy("make one of this model with `sae lens`"));
        }
        let Some(jacobian) = self.jacobians.get(hook) else {
            return Err(Error::request(format!(
                "the lens in {shown} has {}, not {hook}",
                self.record.hooks.join(", ")
            ))
            .with_remedy("make one of this hook with `sae lens --hook`"));
        };
        if jacobian.len() != self.record.d_model * width {
            return Err(Error::format(
                self.folder.join(WEIGHTS),
                format!("{hook} is {} wide, expected {width}", jacobian.len() / self.record.d_model),
            ));
        }
        Ok(Tensor::from_slice(jacobian, (self.record.d_model, width), &Device::Cpu)?)
    }
}

//! The dictionary to export, and what is known about where it comes from.

use std::path::{Path, PathBuf};

use storage::{Run, RunRecord};

use super::Format;
use super::place::{FORMAT, Provenance};
use crate::dictionary::Dictionary;
use crate::features::described;
use crate::rows::{load_with_sha256, must_be_one, weights_sha256};
use crate::{Error, Result};

/// For the format of a different `program`.
///
/// # Errors
/// A dictionary whose codes only this program can make.
pub(super) fn must_be_known_elsewhere(dictionary: &Dictionary, program: &str) -> Result<()> {
    let Some(what) = dictionary.only_here() else { return Ok(()) };
    Err(Error::request(format!("{program} has {what}")).with_remedy(
        "export it to html, card or neuronpedia, or train a topk or jumprelu run to export its weights",
    ))
}

/// A dictionary with its origin.
#[derive(Debug)]
pub(super) struct Subject {
    /// Its folder.
    pub dir: PathBuf,
    pub dictionary: Dictionary,
    /// SHA-256 of its weights, hexadecimal.
    pub sha256: String,
    /// The run; `None` for a bare SAELens folder.
    pub run: Option<Run>,
}

impl Subject {
    /// The run or the bare dictionary in `dir`. Of a cross-layer transcoder only formats that show features show anything: those of all layers.
    pub(super) fn read(dir: &Path, to: Format) -> Result<Self> {
        let run = if dir.join(storage::run::FILE).exists() || !dir.join(crate::dictionary::CONFIG).exists() {
            Some(Run::open(dir)?)
        } else {
            None
        };
        let of_layers = run.as_ref().is_some_and(|run| run.record().layers.is_some());
        if let (Some(run), false) = (&run, matches!(to, Format::Html | Format::Card)) {
            must_be_one(dir, run.record())?;
        }
        let (dictionary, sha256) = match of_layers {
            true => (described(dir)?, weights_sha256(dir)?),
            false => load_with_sha256(dir)?,
        };
        Ok(Self { dir: dir.to_owned(), dictionary, sha256, run })
    }

    /// The run's record.
    pub(super) fn record(&self) -> Option<&RunRecord> {
        self.run.as_ref().map(Run::record)
    }

    /// The run, which shows features need.
    pub(super) fn run(&self) -> Result<&Run> {
        self.run.as_ref().ok_or_else(|| {
            Error::request(format!("{} has no feature index: it is a bare dictionary", self.dir.display()))
                .with_remedy("index it first (`sae index`)")
        })
    }

    /// The model's name.
    pub(super) fn model(&self) -> Option<&str> {
        let of_run = self.record().map(|record| record.model.id.as_str()).filter(|id| !id.is_empty());
        self.dictionary.info.model_name.as_deref().or(of_run)
    }

    /// The hook's TransformerLens name.
    pub(super) fn hook(&self) -> Option<&str> {
        let of_run = self.record().map(|record| record.hook.as_str()).filter(|hook| !hook.is_empty());
        self.dictionary.info.hook_name.as_deref().or(of_run)
    }

    /// The block and the site of the hook: `(2, "hook_resid_post")`.
    pub(super) fn place(&self) -> Option<(usize, &str)> {
        let (block, site) = self.hook()?.strip_prefix("blocks.")?.split_once('.')?;
        Some((block.parse().ok()?, site))
    }

    /// The folder's name.
    pub(super) fn name(&self) -> String {
        let whole = std::path::absolute(&self.dir).unwrap_or_else(|_| self.dir.clone());
        whole.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    }

    /// When the dictionary was finished, RFC 3339. Exports have no time of their own, so that they can be compared.
    pub(super) fn time(&self) -> &str {
        self.record().map_or("1970-01-01T00:00:00Z", |record| record.updated.as_str())
    }

    pub(super) fn provenance(&self, to: Format) -> Result<Provenance> {
        Ok(Provenance {
            format: FORMAT.to_owned(),
            version: 1,
            to: to.name().to_owned(),
            run: std::path::absolute(&self.dir).map_err(|e| Error::io(&self.dir, e))?,
            model: self.model().map(str::to_owned),
            hook: self.hook().map(str::to_owned),
            dictionary_sha256: self.sha256.clone(),
            by: concat!("sae-workbench ", env!("CARGO_PKG_VERSION")).to_owned(),
            files: Vec::new(),
        })
    }
}

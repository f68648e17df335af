//! `--out RUN`: what a command keeps of a dictionary of a different program is kept in a run that is made of it first.

use std::path::{Path, PathBuf};

use clap::Args;

use super::{Output, Session, import_dictionary, inputs};
use sae::features::{self, IndexOptions};
use sae::{Error, Progress as _, Result};

/// Where results about a dictionary of a different program are kept.
#[derive(Debug, Args)]
pub(super) struct Kept {
    /// Make this run of a dictionary of a different program first, as `sae import dictionary` does
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
}

impl Kept {
    /// Whether a run is made first.
    pub(super) fn makes(&self) -> bool {
        self.out.is_some()
    }

    /// The run or the dictionary of that name; with `--out` the run that is made of it, checked on `data`.
    ///
    /// # Errors
    /// A source that is not there or cannot be imported.
    pub(super) fn source(&self, name: &str, data: Option<&Path>, session: &mut Session) -> Result<PathBuf> {
        match &self.out {
            None => session.source(name),
            Some(out) => {
                import_dictionary::import(name, out, data.map(Path::to_owned), session)?;
                Ok(out.clone())
            }
        }
    }
}

/// Where results that need an index are kept.
#[derive(Debug, Args)]
pub(super) struct Indexed {
    /// Make this run of a dictionary of a different program first and index it on --data, as `sae index SOURCE --out RUN` does
    #[arg(long, value_name = "RUN", requires = "data")]
    out: Option<PathBuf>,
    /// With --out: model for the logits of the index [default: the one that made the dataset]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// With --out: leave the logits out of the index; no model is loaded
    #[arg(long, requires = "out", conflicts_with = "model")]
    no_model: bool,
}

impl Indexed {
    /// Whether a run is made first.
    pub(super) fn makes(&self) -> bool {
        self.out.is_some()
    }

    /// Takes `--model` for a command that means something else by it.
    pub(super) fn take_model(&mut self) -> Option<String> {
        self.model.take()
    }

    /// The run of that name; with `--out` the run that is made of it and indexed on `data`, with a map if `map`.
    ///
    /// # Errors
    /// `--model` without `--out`; as [`Kept::source`] and [`features::index`].
    pub(super) fn run(
        self,
        name: &str,
        data: Option<&Path>,
        map: bool,
        session: &mut Session,
    ) -> Result<PathBuf> {
        let makes = self.out.is_some();
        if self.model.is_some() && !makes {
            return Err(
                Error::request("--model is for the index that --out makes").with_remedy("give --out too")
            );
        }
        let run = Kept { out: self.out }.source(name, data, session)?;
        if makes {
            let options = IndexOptions {
                data: data.map(Path::to_owned),
                model: inputs::choice(self.model.as_deref(), self.no_model, session)?,
                map,
                ..IndexOptions::default()
            };
            let record = features::index(&run, &options, &mut session.progress)?;
            session.progress.remark(&format!("{}: indexed on {} tokens", run.display(), record.tokens));
        }
        Ok(run)
    }
}

/// The line that says where something is kept, or that it is not.
pub(super) fn row(output: &mut Output, name: &str, place: Option<&Path>, command: &str) {
    match place {
        Some(place) => output.row(name, place.display()),
        None => output.row(name, format!("not kept: {command}")),
    }
}

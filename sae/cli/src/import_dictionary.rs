//! `sae import dictionary`: a run made of a dictionary that a different program trained.

use std::path::{Path, PathBuf};

use clap::Args;

use super::check::{self, Measure};
use super::{Output, Session};
use sae::check::CheckOptions;
use sae::imported::{self, ImportOptions};
use sae::{Progress as _, Result};

/// Make a run of a dictionary that a different program trained: SAELens, Gemma Scope, Llama Scope, Qwen-Scope, dictionary_learning,
/// sparsify, circuit-tracer and others. The format is recognised
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae import dictionary gpt2-res/blocks.5.hook_resid_pre --model gpt2 --out gpt2-5\n  \
                  sae import dictionary google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71 --data data --out gemma-20\n\n\
                  With --data or --model it is checked as `sae check` does (docs/check.md); the table is kept in RUN/check.json."
)]
pub struct Command {
    /// A folder, a file, or OWNER/NAME[@REVISION][/PATH] of the hub
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Folder for the run; it must not exist
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    #[command(flatten)]
    measure: Measure,
}

/// Makes the run `out` of the dictionary `source`, checked on `data`.
pub(super) fn import(source: &str, out: &Path, data: Option<PathBuf>, session: &mut Session) -> Result<()> {
    let opened = session.open_dictionary(source)?;
    let check = CheckOptions { data, seed: session.seed.unwrap_or_default(), ..CheckOptions::default() };
    let options = ImportOptions { check };
    let (_, found) = imported::run(source, opened, out, &options, &mut session.progress)?;
    session.progress.remark(&format!("{}: {}", out.display(), found.verdict));
    Ok(())
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// As [`imported::run`].
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let opened = session.open_dictionary(&self.source)?;
        let options = ImportOptions { check: self.measure.options(session)? };
        let (record, found) =
            imported::run(&self.source, opened, &self.out, &options, &mut session.progress)?;
        let mut output =
            Output::new(serde_json::json!({ "run": self.out, "record": record, "check": found }));
        check::rows(&found, &mut output);
        output.row("run", self.out.display());
        // The run is there: what is wrong with it stands in the table, and its check.json keeps it.
        if !found.judgement.is_good() {
            output.failed(format!("{}; the run was made all the same", check::failure(&found)));
        }
        Ok(output)
    }
}

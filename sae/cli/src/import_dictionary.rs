//! `sae import dictionary`: a run made of a dictionary that a different program trained, or of a run's with its codes changed.

use std::path::{Path, PathBuf};

use clap::Args;
use storage::RunRecord;

use super::check::{self, Measure};
use super::{Output, Session};
use sae::check::{CheckOptions, complete};
use sae::imported::{self, ImportOptions};
use sae::{Progress as _, Result};

/// Make a run of a dictionary that a different program trained: SAELens, Gemma Scope, Llama Scope, Qwen-Scope, dictionary_learning,
/// sparsify, circuit-tracer and others; the format is recognised. Or of a run's own dictionary with its codes pruned or split
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae import dictionary gpt2-res/blocks.5.hook_resid_pre --model gpt2 --out gpt2-5\n  \
                  sae import dictionary topk --prune --out topk-pruned\n  \
                  sae import dictionary google/gemma-scope-2b-pt-res/layer_20/width_16k/average_l0_71 --data data --out gemma-20\n\n\
                  With --data or --model it is checked as `sae check` does (docs/check.md); the table is kept in RUN/check.json."
)]
pub struct Command {
    /// A run, a folder, a file, or OWNER/NAME[@REVISION][/PATH] of the hub
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Folder for the run; it must not exist
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Of codes of either sign (AbsTopK): make each side of a feature a feature, so that what needs codes above zero works
    #[arg(long)]
    split_signs: bool,
    /// Leave-one-out pruning, built into the run: a feature stays on a token if its best code, the others being as they are, is more
    /// than so many medians of the codes on the dataset [default without a number: 0.4]
    #[arg(long, value_name = "MEDIANS", num_args = 0..=1, require_equals = true, default_missing_value = "0.4")]
    prune: Option<f64>,
    #[command(flatten)]
    measure: Measure,
}

/// Makes the run `out` of the dictionary `source`, checked on `data`.
pub(super) fn import(source: &str, out: &Path, data: Option<PathBuf>, session: &mut Session) -> Result<()> {
    let opened = session.open_dictionary(source)?;
    let check = CheckOptions { data, seed: session.seed.unwrap_or_default(), ..CheckOptions::default() };
    let options = ImportOptions { check, ..ImportOptions::default() };
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
        let mut check = self.measure.options(session)?;
        // A run knows its rows; others are measured on what is named.
        if RunRecord::read(Path::new(&self.source)).is_ok() {
            complete(&mut check, Path::new(&self.source), &opened);
        }
        let options = ImportOptions { check, split_signs: self.split_signs, prune: self.prune };
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

//! `sae join`: several datasets of the same tokens as one, for crosscoders.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session};
use sae::{Result, crosscoder};

/// Join datasets of the same tokens into one whose rows are theirs end to end: what a crosscoder is trained on
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae join base/blocks.2.hook_resid_post tuned/blocks.2.hook_resid_post --out both\n  \
    sae train --data both --method batch-topk --d-sae 2048 --k 32 --out crosscoder\n  \
    sae diff crosscoder\n\n\
    Every site is multiplied by one number, so that all of them vary alike. docs/circuits.md has the whole way."
)]
pub struct Command {
    /// Datasets of the same text and tokenizer: of several hooks, or of two models
    #[arg(required = true, num_args = 2.., value_name = "DATASET")]
    data: Vec<PathBuf>,
    /// Folder for the joined dataset
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// Datasets that do not hold the same tokens or cannot be read, a folder that cannot be written to; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let joined = crosscoder::join(&self.data, &self.out, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!(joined));
        output.row("dataset", joined.dataset.display());
        output.row("tokens", joined.rows);
        for (i, site) in joined.sites.iter().enumerate() {
            let about =
                format!("{} of {}, {} wide, times {:.4}", site.hook, site.model.id, site.width, site.scale);
            output.row(&format!("site {i}"), about);
        }
        Ok(output)
    }
}

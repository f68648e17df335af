//! `sae match`: two dictionaries, feature by feature.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session};
use sae::{Result, matching};

/// Find for every feature the nearest one of another dictionary, by the cosine of decoder rows
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sae match topk wide\n  sae-app \"topk#matching=wide\"")]
pub struct Command {
    /// The run
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// What to compare it with: a run, or a dictionary of a different program (a folder, a file, or OWNER/NAME[@REVISION][/PATH]
    /// of the hub)
    #[arg(value_name = "OTHER")]
    other: String,
    /// Name of the matching, a folder in RUN/matching [default: the name of OTHER]
    #[arg(long)]
    name: Option<String>,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A dictionary that cannot be found or read, widths that differ, a folder that cannot be written to; an
    /// interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let other = session.source(&self.other)?;
        let (folder, record) = matching::run(&self.run, &other, self.name.as_deref(), &mut session.progress)?;
        let mut output = Output::new(serde_json::json!(record));
        output.row("comparison", folder.display());
        output.row("features", format!("{} and {}", record.features, record.others));
        output.row("mutual nearest", record.mutual);
        output.row("mean max cosine", format!("{:.4}", record.mean_max_cosine));
        output.row("of the other", format!("{:.4}", record.others_mean_max_cosine));
        Ok(output)
    }
}

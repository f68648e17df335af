//! `sae map`: features laid out in a plane.

use std::path::PathBuf;

use clap::Args;

use super::kept::Indexed;
use super::{Output, Session};
use sae::{Result, features};

/// Lay out the features of an indexed run in a plane, close together if their decoder rows are similar
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sae map topk\n  sae-app \"topk#map\"\n  \
    sae map gpt2-res/blocks.5.hook_resid_pre --data data --out gpt2-5")]
pub struct Command {
    /// Indexed run (see `sae index`); with --out also a dictionary of a different program (a folder, a file, or
    /// OWNER/NAME[@REVISION][/PATH] of the hub)
    #[arg(value_name = "SOURCE")]
    run: String,
    /// With --out: dataset to index on
    #[arg(long, value_name = "DIR", requires = "out")]
    data: Option<PathBuf>,
    #[command(flatten)]
    indexed: Indexed,
    /// Passes over the graph of neighbours [default: 500, or 200 for 10,000 features and more]
    #[arg(long)]
    epochs: Option<usize>,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A run that cannot be read or written to; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let seed = session.seed.unwrap_or(0);
        let run = self.indexed.run(&self.run, self.data.as_deref(), false, session)?;
        let points = features::map(&run, self.epochs, seed, &mut session.progress)?;
        let path = run.join("features").join(storage::map::FILE);
        let mut output = Output::new(serde_json::json!({"map": path, "features": points}));
        output.row("map", path.display());
        output.row("features", points);
        Ok(output)
    }
}

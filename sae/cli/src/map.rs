//! `sae map`: features laid out in a plane.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session};
use sae::{Result, features};

/// Lay out the features of an indexed run in a plane, close together if their decoder rows are similar
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sae map topk\n  sae-app \"topk#map\"")]
pub struct Command {
    /// Indexed run (see `sae index`)
    #[arg(value_name = "RUN")]
    run: PathBuf,
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
        let points = features::map(&self.run, self.epochs, seed, &mut session.progress)?;
        let path = self.run.join("features").join(storage::map::FILE);
        let mut output = Output::new(serde_json::json!({"map": path, "features": points}));
        output.row("map", path.display());
        output.row("features", points);
        Ok(output)
    }
}

//! `sae heads`: what attention heads move, and which of them look back.

mod induction;
mod sources;

use clap::{Args, Subcommand};

use super::{Output, Session};
use sae::Result;

/// Follow a feature back through attention heads to the tokens and features that it comes from; test heads for induction
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sae heads sources topk --text 'The court held that' --feature 12@3\n  \
                  sae heads sources topk --text 'The court held that' --feature 12@3 --through 2.1@1 --with below\n  \
                  sae heads induction HuggingFaceTB/SmolLM2-135M\n\n\
                  docs/circuits.md says what the numbers mean.")]
pub struct Command {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Sources(Box<sources::Sources>),
    Induction(induction::Test),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A model or dictionaries that cannot be read or do not belong together, a feature, head or token that does not exist.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        match self.what {
            What::Sources(sources) => sources.run(session),
            What::Induction(test) => test.run(session),
        }
    }
}

//! `sae experts`: how a mixture-of-experts model uses its experts.

mod counts;
mod features;
mod mask;
mod usage;
mod weights;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Output, Session};
use sae::experts;
use sae::{Error, ModelChoice, Result};

/// Say how a mixture of experts is used: by layer, domain, token, together and by feature
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  sae experts data                       balance, co-activation, transitions, specialisation\n  \
    sae experts data --model default       also what needs the router's scores\n  \
    sae experts data --against data-sft    how much two routers agree on the same tokens\n  \
    sae experts --features topk            which features live in which expert\n  \
    sae experts counts.csv                 from counts: model,layer,domain,routing,expert,count\n  \
    sae experts mask data --domain code    what each domain loses without the experts of code\n  \
    sae experts weights default            which experts are alike, by their weights"
)]
pub struct Command {
    #[command(subcommand)]
    what: Option<What>,
    /// A dataset with a routing table (`sae harvest --routing`), or a CSV of counts
    #[arg(value_name = "DATASET|COUNTS.csv", required_unless_present = "features")]
    input: Option<PathBuf>,
    /// Join a run's features with the routing of the same tokens; DATASET, if given, has the routing
    #[arg(long, value_name = "RUN", conflicts_with_all = ["model", "against", "k", "out"])]
    features: Option<PathBuf>,
    #[command(flatten)]
    join: features::Join,
    /// Model that is run again for the router's scores, where the table keeps none
    #[arg(long, value_name = "DIR")]
    model: Option<String>,
    /// Compare with the routing of another model or checkpoint on the same tokens
    #[arg(long, value_name = "DATASET", conflicts_with = "model")]
    against: Option<PathBuf>,
    /// Experts a token, for counts that do not tell
    #[arg(long, value_name = "N")]
    k: Option<u64>,
    /// Write the tables of a CSV of counts to OUT/MODEL/experts
    #[arg(long, value_name = "OUT")]
    out: Option<PathBuf>,
}

/// What else can be asked of experts.
#[derive(Debug, Subcommand)]
enum What {
    Mask(mask::Command),
    Weights(weights::Command),
    Cells(weights::CellsCommand),
}

impl Command {
    /// Runs the command.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        match self.what {
            Some(What::Mask(command)) => return command.run(session),
            Some(What::Weights(command)) => return command.run(session),
            Some(What::Cells(command)) => return command.run(session),
            None => {}
        }
        if let Some(run) = &self.features {
            return features::run(run, self.input, self.join, session);
        }
        let input = self.input.ok_or_else(|| Error::request("give a dataset or a CSV of counts"))?;
        if is_csv(&input) {
            return counts::run(&input, self.k, self.out.as_deref());
        }
        if self.k.is_some() || self.out.is_some() {
            return Err(Error::request("--k and --out belong to a CSV of counts; a dataset has its own"));
        }
        if let Some(other) = &self.against {
            return Ok(usage::against(&experts::against(&input, other, &mut session.progress)?));
        }
        let model = match &self.model {
            None => ModelChoice::Without,
            Some(name) => ModelChoice::Source(session.model(name)?),
        };
        let summary = experts::summarise_with(&input, &model, &mut session.progress)?;
        Ok(usage::summary(summary))
    }
}

fn is_csv(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv")) && !path.is_dir()
}

/// A number or a dash where there is none.
fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |v| format!("{v:.decimals$}"))
}

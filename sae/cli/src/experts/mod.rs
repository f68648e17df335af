//! `sae experts`: how a mixture-of-experts model uses its experts.

mod counts;
mod explain;
mod features;
mod mask;
mod units;
mod usage;
mod weights;
mod written;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::{Output, Session};
use sae::experts;
use sae::{Error, ModelChoice, Result};

/// Analyse how a mixture-of-experts model uses its experts: by layer, domain, token, pair and feature
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "Examples:\n  sae experts data                       balance, co-activation, transitions, specialisation\n  \
    sae experts data --model default       … and figures that need the router's scores\n  \
    sae experts data --against data-sft    agreement of two routers on the same tokens\n  \
    sae experts --features topk            which features live in which expert\n  \
    sae experts --features SOURCE --data D … of a dictionary of a different program, on the activations in D\n  \
    sae experts counts.csv                 from a table of counts: model,layer,domain,routing,expert,count\n  \
    sae experts explain topk               which features send tokens to which expert, and how well they tell\n  \
    sae experts mask data --domain code    loss of each domain without the experts of code\n  \
    sae experts units default --text T     hidden units and experts that a rule of tokens explains\n  \
    sae experts written data               the tokens whose directions give most of what experts write\n  \
    sae experts weights default            which experts have similar weights"
)]
pub struct Command {
    #[command(subcommand)]
    analysis: Option<Analysis>,
    /// Dataset with a routing table (`sae harvest --routing`), or a CSV file of counts
    #[arg(value_name = "DATASET|COUNTS.csv", required_unless_present = "features")]
    input: Option<PathBuf>,
    /// Join the features of a run, or of a dictionary of a different program, with the routing of the same tokens (from DATASET, if
    /// given)
    #[arg(long, value_name = "SOURCE", conflicts_with_all = ["model", "against", "k", "out"])]
    features: Option<String>,
    #[command(flatten)]
    join: features::Join,
    /// Model to run again for the router's scores, which the table does not keep
    #[arg(long, value_name = "DIR")]
    model: Option<String>,
    /// Compare with the routing of another model or checkpoint on the same tokens
    #[arg(long, value_name = "DATASET", conflicts_with = "model")]
    against: Option<PathBuf>,
    /// Experts per token, if the counts do not tell
    #[arg(long, value_name = "N")]
    k: Option<u64>,
    /// Write the tables of the counts to OUT/MODEL/experts
    #[arg(long, value_name = "OUT")]
    out: Option<PathBuf>,
}

/// Analyses with options of their own.
#[derive(Debug, Subcommand)]
enum Analysis {
    Explain(explain::Command),
    Mask(mask::Command),
    Units(units::Command),
    Written(written::Command),
    Weights(weights::Command),
    Cells(weights::CellsCommand),
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// No input, or options that do not go with it; files that cannot be read; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        match self.analysis {
            Some(Analysis::Explain(command)) => return command.run(session),
            Some(Analysis::Mask(command)) => return command.run(session),
            Some(Analysis::Units(command)) => return command.run(session),
            Some(Analysis::Written(command)) => return command.run(session),
            Some(Analysis::Weights(command)) => return command.run(session),
            Some(Analysis::Cells(command)) => return command.run(session),
            None => {}
        }
        if let Some(run) = &self.features {
            return features::run(run, self.input, self.join, session);
        }
        let input = self.input.ok_or_else(|| Error::request("give a dataset or a CSV file of counts"))?;
        if is_csv(&input) {
            return counts::run(&input, self.k, self.out.as_deref());
        }
        if self.k.is_some() || self.out.is_some() {
            return Err(Error::request(
                "--k and --out are for a CSV file of counts; a dataset has its own k and folder",
            ));
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

/// A number, or a dash if there is none.
fn number(value: Option<f64>, decimals: usize) -> String {
    value.map_or_else(|| "–".to_owned(), |v| format!("{v:.decimals$}"))
}

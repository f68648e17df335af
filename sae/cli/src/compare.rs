//! `sae compare`: methods side by side.

use std::path::PathBuf;

use clap::Args;

use super::inputs::OptionalModel;
use super::{Output, Session};
use sae::Result;
use sae::comparison::{self, CompareOptions};
use sae::evaluate::EvaluateOptions;
use sae::train::sweep::{self, Plan};

/// Compare the runs of a folder on the same held-out documents: means over seeds as Parquet, pictures and a page
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae compare sweep\n  sae compare sweep --config sweep.toml      # trains what is not trained yet\n\nRuns that differ in their seed alone are a group. An interrupted comparison goes on when the same command is given again."
)]
pub struct Command {
    /// Folder with runs, as `sae train --config sweep.toml` makes it
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// A sweep to train first, or to resume
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder for tables and pictures [default: DIR/comparison]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Held-out tokens to measure on, at most
    #[arg(long)]
    tokens: Option<u64>,
    #[command(flatten)]
    model: OptionalModel,
    /// Leave out the principal components
    #[arg(long)]
    no_pca: bool,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A sweep file that cannot be read, a folder without finished runs, files that cannot be read or
    /// written; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let mut failures = None;
        if let Some(config) = &self.config {
            let plan = Plan::new(&sweep::read_file(config)?, None, session.threads)?;
            let resume = self.folder.join(sweep::SWEEP_FILE).exists();
            failures = sweep::run(&plan, &self.folder, resume, &mut session.progress)?.failures();
        }
        let options = CompareOptions {
            evaluate: EvaluateOptions {
                model: self.model.choice(session)?,
                tokens: self.tokens,
                seed: session.seed.unwrap_or_default(),
                ..EvaluateOptions::default()
            },
            no_pca: self.no_pca,
            out: self.out,
        };
        let comparison = comparison::run(&self.folder, &options, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!({
            "out": comparison.out, "runs": comparison.runs, "means": comparison.means,
        }));
        output.row("group", "FVE                CE increase        L0");
        for group in
            comparison.means.chunk_by(|a, b| (&a.group, &a.hook, a.d_sae) == (&b.group, &b.hook, b.d_sae))
        {
            let figure = |name: &str, digits: usize| {
                let row = group.iter().find(|row| row.figure == name);
                row.map_or("–".to_owned(), |row| match row.sd {
                    Some(sd) => format!("{:.digits$} ± {sd:.digits$}", row.mean),
                    None => format!("{:.digits$}", row.mean),
                })
            };
            output.row(
                &group[0].group,
                format!("{:<18} {:<18} {}", figure("fve", 4), figure("ce_increase", 4), figure("l0", 1)),
            );
        }
        output.row("page", comparison.out.join("comparison.md").display());
        if let Some(failures) = failures {
            output.failed(failures);
        }
        Ok(output)
    }
}

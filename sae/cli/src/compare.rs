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
    after_help = "Examples:\n  sae compare sweep\n  sae compare sweep --config sweep.toml      # trains what is not trained yet\n\nRuns that differ in their seed alone are a group. An interrupted comparison resumes when the same command is given again."
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
    /// Leave out the controls that are computed: principal components, raw dimensions, random rows, a permuted decoder
    #[arg(long, visible_alias = "no-pca")]
    no_controls: bool,
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
            no_pca: self.no_controls,
            out: self.out,
        };
        let comparison = comparison::run(&self.folder, &options, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!({
            "out": comparison.out, "runs": comparison.runs, "means": comparison.means,
            "differences": comparison.differences,
        }));
        for figure in ["fve", "ce_increase", "kl"] {
            let all = comparison.differences.iter().filter(|row| row.figure == figure);
            let seen: Vec<f64> = all.filter_map(|row| row.detectable).collect();
            if let (Some(least), Some(most)) =
                (seen.iter().copied().reduce(f64::min), seen.iter().copied().reduce(f64::max))
            {
                output.row(
                    &format!("smallest difference in {figure} that could have been seen"),
                    format!("{least:.4} to {most:.4}, from pair to pair"),
                );
            }
        }
        output.row("group", "FVE                          CE increase                  L0");
        for group in
            comparison.means.chunk_by(|a, b| (&a.group, &a.hook, a.d_sae) == (&b.group, &b.hook, b.d_sae))
        {
            let figure = |name: &str, digits: usize| {
                let row = group.iter().find(|row| row.figure == name);
                row.map_or("–".to_owned(), |row| {
                    match (row.low.zip(row.high), row.data_low.zip(row.data_high)) {
                        (Some((low, high)), _) => {
                            format!("{:.digits$} [{low:.digits$}, {high:.digits$}]", row.mean)
                        }
                        (None, Some((low, high))) => {
                            format!("{:.digits$} ({low:.digits$}, {high:.digits$})", row.mean)
                        }
                        (None, None) => format!("{:.digits$}", row.mean),
                    }
                })
            };
            let name = match group[0].control.as_str() {
                "" => group[0].group.clone(),
                control => format!("{} · control: {control}", group[0].group),
            };
            output.row(
                &name,
                format!("{:<28} {:<28} {}", figure("fve", 4), figure("ce_increase", 4), figure("l0", 1)),
            );
        }
        let controls = comparison.differences.iter().filter(|row| !row.other_control.is_empty());
        let (apart, all) =
            controls.fold((0, 0), |(apart, all), row| (apart + usize::from(row.apart), all + 1));
        output.row("apart from a control", format!("{apart} of {all} differences (see the page)"));
        output.row("intervals", "95 %, [over seeds] or (over documents)");
        output.row("page", comparison.out.join("comparison.md").display());
        if let Some(failures) = failures {
            output.failed(failures);
        }
        Ok(output)
    }
}

//! `sae match`: two dictionaries, feature by feature.

use clap::Args;

use super::kept::{self, Kept};
use super::{Output, Session};
use sae::{Result, matching};

/// Find for every feature the nearest one of another dictionary, by the cosine of decoder rows
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sae match topk wide\n  sae-app \"topk#matching=wide\"\n  \
    sae match topk wide --feature 34\n  sae match sparsify/layers.5 dictionary-learning/trainer_0 --json\n\n\
    Of a run the nearest features are kept in RUN/matching; of a dictionary of a different program without --out\n\
    only the summary is printed.")]
pub struct Command {
    /// A run, or a dictionary of a different program: a folder, a file, or OWNER/NAME[@REVISION][/PATH] of the hub
    #[arg(value_name = "SOURCE")]
    run: String,
    /// What to compare it with, likewise
    #[arg(value_name = "OTHER")]
    other: String,
    /// Name of the matching, a folder in RUN/matching [default: the name of OTHER]
    #[arg(long)]
    name: Option<String>,
    /// Show the counterparts of this feature alone, by direction and, of indexed runs, by the tokens on which both fire; keeps nothing
    #[arg(long, value_name = "FEATURE", conflicts_with_all = ["name", "out"])]
    feature: Option<u32>,
    /// Counterparts to show of each kind
    #[arg(long, value_name = "N", default_value_t = 5, requires = "feature")]
    most: usize,
    #[command(flatten)]
    kept: Kept,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A dictionary that cannot be found or read, widths that differ, a folder that cannot be written to; an
    /// interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let other = session.source(&self.other)?;
        if let Some(feature) = self.feature {
            return self.counterparts(feature, &other, session);
        }
        let run = self.kept.source(&self.run, None, session)?;
        let (folder, record) = matching::run(&run, &other, self.name.as_deref(), &mut session.progress)?;
        let mut output = Output::new(serde_json::json!(record));
        kept::row(&mut output, "comparison", folder.as_deref(), "--out RUN makes a run to keep it in");
        output.row("features", format!("{} and {}", record.features, record.others));
        output.row("mutual nearest", record.mutual);
        output.row("mean max cosine", format!("{:.4}", record.mean_max_cosine));
        output.row("of the other", format!("{:.4}", record.others_mean_max_cosine));
        Ok(output)
    }

    /// One feature in the other run.
    fn counterparts(&self, feature: u32, other: &std::path::Path, session: &mut Session) -> Result<Output> {
        let run = session.source(&self.run)?;
        let found = matching::elsewhere(&run, feature, other, self.most, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!(found));
        output.row("feature", format!("{feature} of {}", self.run));
        for (what, why) in [("directions", &found.no_cosine), ("firing", &found.no_firing)] {
            if let Some(why) = why {
                output.row(what, format!("not compared: {} {why}", self.other));
            }
        }
        for one in &found.counterparts {
            let cosine = one.cosine.map_or_else(String::new, |cosine| format!("cosine {cosine:.3}   "));
            let firing = one.firing.map_or_else(String::new, |overlap| {
                format!(
                    "agreement {:.1} %: both fire on {} tokens, this on {}, the other on {}",
                    100.0 * overlap.agreement(),
                    overlap.both,
                    overlap.here,
                    overlap.there
                )
            });
            output.row(&format!("other {}", one.feature), format!("{cosine}{firing}"));
        }
        Ok(output)
    }
}

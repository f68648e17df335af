//! `sae fields`: a dictionary of patches, seen as fields of pixels.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::{Output, Session};
use sae::Result;
use sae::fields::{self, FieldsOptions, SortFields};

/// Measure and draw the fields of a dictionary of picture patches: localised, oriented, at which frequencies
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sae fields hard\n  sae fields hard --sort frequency --json\n\n\
    The table is RUN/fields/fields.parquet, the picture RUN/fields/fields.png; docs/sparse-coding.md says what is measured.")]
pub struct Command {
    /// A run on patches of grey pictures (`sae import --images`)
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The dataset [default: the one that the run was trained on]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Order of the picture
    #[arg(long, value_enum, default_value = "orientation")]
    sort: Sort,
    /// Rows on which usage is counted, at most
    #[arg(long, default_value_t = 20_000, value_name = "N")]
    rows: u64,
}

/// Orders of the picture.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sort {
    /// As the dictionary has them
    Feature,
    /// By orientation, oriented ones first
    Orientation,
    /// By frequency, low ones first
    Frequency,
    /// The most used first
    Usage,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A run that is not of grey patches, files that cannot be read or written; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let sort = match self.sort {
            Sort::Feature => SortFields::Feature,
            Sort::Orientation => SortFields::Orientation,
            Sort::Frequency => SortFields::Frequency,
            Sort::Usage => SortFields::Usage,
        };
        let seed = session.seed.unwrap_or_default();
        let options = FieldsOptions { data: self.data, sort, rows: self.rows, seed };
        let found = fields::run(&self.run, &options, &mut session.progress)?;
        let f = &found.fields;
        let mut output = Output::new(serde_json::json!({ "fields": f, "picture": found.picture }));
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        output.row("fields", format!("{} of {} × {} pixels", f.features, f.side, f.side));
        output.row(
            "localised",
            format!(
                "{} (spread below {:.3}, as of 1 % of random fields)",
                percent(f.localised),
                f.spread_limit
            ),
        );
        output.row(
            "oriented",
            format!("{} (selectivity above {:.3}, likewise)", percent(f.oriented), f.selectivity_limit),
        );
        output.row("both", percent(f.both));
        let three = |values: &[f64]| values.iter().map(|v| format!("{v:.3}")).collect::<Vec<_>>().join(", ");
        if let (Some(octaves), Some(bias)) = (f.octaves, f.orientation_bias) {
            output.row(
                "frequency",
                format!("quartiles {} cycles per pixel, {octaves:.2} octaves apart", three(&f.frequencies)),
            );
            output.row("orientation", format!("bias {bias:.3} (0: all alike often, 1: one alone)"));
            output.row("spread", format!("quartiles {}", three(&f.spreads)));
        }
        output.row("picture", found.picture.display());
        Ok(output)
    }
}

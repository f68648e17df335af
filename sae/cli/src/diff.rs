//! `sae diff`: what a crosscoder finds of two sites.

use std::path::PathBuf;

use clap::Args;
use storage::difference::FeatureDifference;

use super::{Output, Session};
use sae::Result;
use sae::crosscoder::{self, DifferenceOptions};

/// Compare the sites of a crosscoder: which features are exclusive to one, shared, or rotated
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae diff crosscoder\n  sae diff crosscoder --tokens 200000 --top 20 --json\n\n\
    A is the first site of the joined dataset and B the last. The table is kept in RUN/difference.\n\
    Classes: shared and rotated features have like norms at both sites; exclusive ones are at one alone;\n\
    shrunken and decoupled ones only look exclusive: the other site's error, or other features, have them."
)]
pub struct Command {
    /// A run that was trained on a joined dataset
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The joined dataset [default: the one that the run was trained on]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Tokens to look at [default: all of held-out documents]
    #[arg(long)]
    tokens: Option<u64>,
    /// Look at documents that were trained on, too
    #[arg(long)]
    all_documents: bool,
    /// Features to list of each class that is not shared
    #[arg(long, default_value_t = 8, value_name = "N")]
    top: usize,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A run that is not a crosscoder's or cannot be read, no documents to look at, a folder that cannot be written to; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let options = DifferenceOptions {
            tokens: self.tokens,
            all_documents: self.all_documents,
            seed: session.seed.unwrap_or_default(),
        };
        let data = self.data.as_deref();
        let (folder, record, features) =
            crosscoder::difference(&self.run, data, &options, &mut session.progress)?;
        let json = serde_json::json!({ "difference": record, "features": features.iter().map(json).collect::<Vec<_>>() });
        let mut output = Output::new(json);
        output.row("difference", folder.display());
        output.row("tokens", format!("{}, L0 {:.1}", record.tokens, record.l0));
        for (name, site) in [("A", record.sites.first()), ("B", record.sites.last())] {
            let Some(site) = site else { continue };
            let fve = site.fve.map_or("–".to_owned(), |fve| format!("{fve:.4}"));
            output.row(name, format!("{} of {}, FVE {fve}", site.hook, site.model));
        }
        for (class, count) in &record.classes {
            output.row(class, format!("{count} of {} features", features.len()));
            if ["shared", "silent"].contains(&class.as_str()) {
                continue;
            }
            let mut of: Vec<&FeatureDifference> = features.iter().filter(|f| f.class == *class).collect();
            of.sort_by(|a, b| b.density.total_cmp(&a.density).then(a.feature.cmp(&b.feature)));
            of.iter()
                .take(self.top)
                .for_each(|feature| output.row(&format!("  {}", feature.feature), line(feature)));
        }
        Ok(output)
    }
}

fn line(feature: &FeatureDifference) -> String {
    let number = |x: Option<f32>| x.map_or("–".to_owned(), |x| format!("{x:.2}"));
    format!(
        "relative norm {:.3}, cosine {}, ν of the error {}, of the reconstruction {}, on {:.3} % of the tokens",
        feature.relative_norm,
        number(feature.cosine),
        number(feature.error_ratio),
        number(feature.reconstruction_ratio),
        100.0 * feature.density
    )
}

fn json(feature: &FeatureDifference) -> serde_json::Value {
    serde_json::json!({
        "feature": feature.feature, "class": feature.class, "density": feature.density,
        "norm_a": feature.norm_a, "norm_b": feature.norm_b, "relative_norm": feature.relative_norm,
        "cosine": feature.cosine, "error_ratio": feature.error_ratio,
        "reconstruction_ratio": feature.reconstruction_ratio,
    })
}

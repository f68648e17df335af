//! `sae similar`: tokens that are like a token.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgGroup, Args};

use super::{Output, Session};
use sae::Result;
use sae::similar::{self, AgreementOf, MeanAgreement, SimilarOptions, SimilarToken};

/// Find the tokens that share most features with a token, next to those with the nearest activations
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true),
    after_help = "Examples:\n  sae similar topk --at 12:40\n  sae similar topk --at 12:40 --by weighted --limit 20 --json\n  \
    sae similar topk --sample 200       # how far codes and activations agree\n\n\
    DOCUMENT:POSITION is what `sae claim` and the window call a place.")]
pub struct Command {
    /// Indexed run (see `sae index`)
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// The token
    #[arg(long, value_name = "DOCUMENT:POSITION", group = "which")]
    at: Option<At>,
    /// Instead of one token: mean agreement over so many tokens, drawn by --seed
    #[arg(long, value_name = "N", group = "which")]
    sample: Option<usize>,
    /// The dataset [default: the one that the run was trained on]
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Which list by codes is printed: --json has all
    #[arg(long, value_enum, default_value = "jaccard")]
    by: By,
    /// Tokens of each list
    #[arg(long, default_value_t = 10, value_name = "K")]
    limit: usize,
    /// Subtract the dictionary's decoder bias, as its encoder does, before the cosine
    #[arg(long)]
    centre: bool,
}

/// How codes are compared.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum By {
    /// Number of shared features
    Shared,
    /// Shared features over features of either
    Jaccard,
    /// Sum of the smaller activations over sum of the larger
    Weighted,
}

/// A place in a dataset.
#[derive(Debug, Clone, Copy)]
struct At(u32, u32);

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts = text.split_once(':').and_then(|(d, p)| Some((d.parse().ok()?, p.parse().ok()?)));
        parts
            .map(|(d, p)| Self(d, p))
            .ok_or_else(|| format!("`{text}` is not DOCUMENT:POSITION, such as 12:40"))
    }
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A run without an index, a token that was not indexed, tables that cannot be read; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let options =
            SimilarOptions { data: self.data.clone(), k: self.limit, centre: self.centre, before: 8 };
        match self.at {
            Some(At(document, position)) => self.one((document, position), &options, session),
            None => self.many(&options, session),
        }
    }

    fn one(&self, place: (u32, u32), options: &SimilarOptions, session: &mut Session) -> Result<Output> {
        let found = similar::to_token(&self.run, place, options, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!({ "run": self.run, "similar": found }));
        output.row("token", shown(&found.token));
        output.row("compared", format!("{} tokens, {} features fire on it", found.tokens, found.features));
        let (name, list) = match self.by {
            By::Shared => ("shared features", &found.by_shared),
            By::Jaccard => ("Jaccard of features", &found.by_jaccard),
            By::Weighted => ("weighted Jaccard", &found.by_weighted),
        };
        for (name, list) in [(name, list), ("cosine of activations", &found.by_activation)] {
            output.row(name, "(* is in both lists)");
            for one in list {
                let both = if one.in_both { "*" } else { " " };
                output.row(&format!("  {:.4} {both}", one.score), shown(one));
            }
        }
        for AgreementOf { by, overlap, spearman } in &found.agreement {
            let number = |n: &Option<f64>| n.map_or("–".to_owned(), |n| format!("{n:.3}"));
            output.row(
                &format!("{by} and cosine"),
                format!("overlap@{} {}, rank correlation {}", self.limit, number(overlap), number(spearman)),
            );
        }
        Ok(output)
    }

    fn many(&self, options: &SimilarOptions, session: &mut Session) -> Result<Output> {
        let (n, seed) = (self.sample.unwrap_or_default(), session.seed.unwrap_or_default());
        let means = similar::over_tokens(&self.run, n, seed, options, &mut session.progress)?;
        let mut output =
            Output::new(serde_json::json!({ "run": self.run, "k": self.limit, "agreement": means }));
        for MeanAgreement { by, overlap, overlap_error, spearman, spearman_error, queries } in &means {
            output.row(
                &format!("{by} and cosine"),
                format!(
                    "overlap@{} {overlap:.3} ± {overlap_error:.3}, rank correlation {spearman:.3} ± {spearman_error:.3}, over {queries} tokens",
                    self.limit
                ),
            );
        }
        Ok(output)
    }
}

/// A token in its line: place, what stands before it, itself.
fn shown(token: &SimilarToken) -> String {
    let SimilarToken { document, position, before, token, .. } = token;
    let flat = |text: &str| text.replace(['\n', '\r'], "⏎");
    format!("{document}:{position} {}‹{}›", flat(before), flat(token))
}

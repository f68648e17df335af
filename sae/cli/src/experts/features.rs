//! `sae experts --features SOURCE`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use storage::experts::FeatureExpertRow;

use crate::{Output, Session, kept};
use sae::Result;
use sae::experts::features::{Correction, Criteria, FeatureExperts, FeatureExpertsOptions, feature_experts};

/// Pairs shown in the terminal; the Parquet file and `--json` have all of them.
const SHOWN: usize = 10;

/// Correction for the number of tests.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum CorrectionName {
    /// Controls the expected share of chance findings among all findings
    #[default]
    BenjaminiHochberg,
    /// Controls the probability that any finding at all is chance
    Bonferroni,
}

/// Options of the join.
#[derive(Debug, Args)]
pub struct Join {
    /// Layers to test, e.g. 1,2 [default: all]
    #[arg(long, value_delimiter = ',', value_name = "L", requires = "features")]
    layers: Option<Vec<u16>>,
    /// Dataset of the activations [default: the one the run was trained on]
    #[arg(long, value_name = "DIR", requires = "features")]
    data: Option<PathBuf>,
    /// Most tokens to use [default: all]
    #[arg(long, requires = "features")]
    tokens: Option<u64>,
    /// Error rate over all tests
    #[arg(long, default_value_t = 0.05, value_name = "P", requires = "features")]
    rate: f64,
    /// What the error rate means
    #[arg(long, value_enum, default_value_t, requires = "features")]
    correction: CorrectionName,
}

/// Joins features with routing, tests all pairs and prints the findings.
///
/// # Errors
/// A `--rate` that is not between 0 and 1; a run or routing that cannot be read or does not belong together;
/// an interruption.
pub fn run(source: &str, routing: Option<PathBuf>, join: Join, session: &mut Session) -> Result<Output> {
    if !(join.rate > 0.0 && join.rate < 1.0) {
        return Err(sae::Error::request(format!(
            "--rate is {}, expected a number between 0 and 1",
            join.rate
        )));
    }
    let correction = match join.correction {
        CorrectionName::BenjaminiHochberg => Correction::BenjaminiHochberg,
        CorrectionName::Bonferroni => Correction::Bonferroni,
    };
    let options = FeatureExpertsOptions {
        data: join.data,
        routing,
        layers: join.layers,
        tokens: join.tokens,
        seed: session.seed.unwrap_or_default(),
        criteria: Criteria { rate: join.rate, correction, ..Criteria::default() },
    };
    let run = session.source(source)?;
    Ok(output(&feature_experts(&run, &options, &mut session.progress)?))
}

fn output(found: &FeatureExperts) -> Output {
    let mut output = Output::new(serde_json::json!(found));
    output.row("tokens", found.tokens);
    output.row(
        "tested",
        format!(
            "{} pairs of {} features and {} experts in {} layers; {} pairs of feature and layer had too few tokens",
            found.tests,
            found.features,
            found.experts,
            found.layers.len(),
            found.rare
        ),
    );
    let bound = found.threshold.map_or("none is significant".into(), |p| format!("p ≤ {p:.2e}"));
    output.row(
        "significant",
        format!("{} pairs ({bound}), and {} that never occur together", found.significant, found.avoided),
    );
    let lines = |output: &mut Output, name: &str, rows: &[FeatureExpertRow]| {
        output.row(name, rows.len());
        rows.iter().take(SHOWN).for_each(|row| output.row("", line(row)));
    };
    lines(&mut output, "features that live in one expert", &found.lives_in);
    lines(&mut output, "experts that are a feature", &found.is_feature);
    let how = "`sae import dictionary` makes a run to keep it in";
    kept::row(&mut output, "table", found.table.as_deref(), how);
    output
}

fn line(row: &FeatureExpertRow) -> String {
    format!(
        "feature {}, layer {} expert {}: P(expert | feature) {:.3} ({:.3}–{:.3}), P(feature | expert) {:.3}, lift {:.1}, {} of {} tokens",
        row.feature,
        row.layer,
        row.expert,
        row.expert_given_feature,
        row.expert_given_feature_low,
        row.expert_given_feature_high,
        row.feature_given_expert,
        row.lift,
        row.joint,
        row.feature_tokens
    )
}

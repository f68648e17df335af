//! `sae experts --features RUN`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use storage::experts::FeatureExpertRow;

use crate::{Output, Session};
use sae::Result;
use sae::experts::features::{Correction, Criteria, FeatureExperts, FeatureExpertsOptions, feature_experts};

/// Pairs that the table shows; all of them are in the Parquet file and with `--json`.
const SHOWN: usize = 10;

/// How p is corrected for the number of pairs.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
pub enum CorrectionName {
    /// At most the stated share of the findings is chance
    #[default]
    BenjaminiHochberg,
    /// With at most the stated probability anything among the findings is chance
    Bonferroni,
}

/// Options of the join.
#[derive(Debug, Args)]
pub struct Join {
    /// Layers to look at, e.g. 1,2 [default: all]
    #[arg(long, value_delimiter = ',', value_name = "L", requires = "features")]
    layers: Option<Vec<u16>>,
    /// Tokens at most
    #[arg(long, requires = "features")]
    tokens: Option<u64>,
    /// Error rate of all tests together
    #[arg(long, default_value_t = 0.05, value_name = "P", requires = "features")]
    rate: f64,
    /// What the error rate is of
    #[arg(long, value_enum, default_value_t, requires = "features")]
    correction: CorrectionName,
}

/// Joins, tests and prints.
pub fn run(run: &Path, routing: Option<PathBuf>, join: Join, session: &mut Session) -> Result<Output> {
    if !(join.rate > 0.0 && join.rate < 1.0) {
        return Err(sae::Error::request(format!("an error rate is between 0 and 1, not {}", join.rate)));
    }
    let correction = match join.correction {
        CorrectionName::BenjaminiHochberg => Correction::BenjaminiHochberg,
        CorrectionName::Bonferroni => Correction::Bonferroni,
    };
    let options = FeatureExpertsOptions {
        routing,
        layers: join.layers,
        tokens: join.tokens,
        seed: session.seed.unwrap_or_default(),
        criteria: Criteria { rate: join.rate, correction, ..Criteria::default() },
        ..FeatureExpertsOptions::default()
    };
    Ok(output(&feature_experts(run, &options, &mut session.progress)?))
}

fn output(found: &FeatureExperts) -> Output {
    let mut output = Output::new(serde_json::json!(found));
    output.row("tokens", found.tokens);
    output.row(
        "tested",
        format!(
            "{} pairs of {} features and {} experts in {} layers; {} feature-layers had too few tokens",
            found.tests,
            found.features,
            found.experts,
            found.layers.len(),
            found.rare
        ),
    );
    let bound = found.threshold.map_or("none stands".into(), |p| format!("p ≤ {p:.2e}"));
    output.row(
        "stand",
        format!("{} pairs ({bound}), {} more that never met", found.significant, found.avoided),
    );
    let lines = |output: &mut Output, name: &str, rows: &[FeatureExpertRow]| {
        output.row(name, rows.len());
        rows.iter().take(SHOWN).for_each(|row| output.row("", line(row)));
    };
    lines(&mut output, "features that live in one expert", &found.lives_in);
    lines(&mut output, "experts that are a feature", &found.is_feature);
    output.row("table", found.table.display());
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

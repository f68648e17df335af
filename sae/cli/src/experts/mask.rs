//! `sae experts mask`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::super::inputs::ModelOption;
use crate::{Output, Session};
use sae::Result;
use sae::experts::mask::{Choose, MaskOptions, MaskReport, mask};

/// Experts shown in the terminal; the Parquet file and `--json` have all of them.
const SHOWN: usize = 12;

/// Mask experts in the router's choice and measure how much each domain's loss rises
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae experts mask data --domain french                  the experts specialised in French\n  \
    sae experts mask data --domain french --domain code    … then those specialised in code\n  \
    sae experts mask data --expert 1:3,2:7                 these two together"
)]
pub struct Command {
    /// Dataset with a routing table (`sae harvest --routing`)
    dataset: PathBuf,
    /// Mask the experts specialised in this domain (2× rule); can be repeated, each domain is measured on its
    /// own
    #[arg(long, value_name = "D", required_unless_present = "expert")]
    domain: Vec<String>,
    /// Mask these experts, all at once
    #[arg(long, value_name = "LAYER:EXPERT", value_delimiter = ',', value_parser = expert, conflicts_with = "domain")]
    expert: Vec<(u16, u32)>,
    #[command(flatten)]
    model: ModelOption,
    /// Most tokens measured per domain
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    tokens: u64,
    /// Random draws of as many other experts to compare with
    #[arg(long, default_value_t = 5, value_name = "N")]
    controls: u16,
}

fn expert(text: &str) -> std::result::Result<(u16, u32), String> {
    let parts =
        text.split_once(':').and_then(|(l, e)| Some((l.trim().parse().ok()?, e.trim().parse().ok()?)));
    parts.ok_or_else(|| "expected LAYER:EXPERT, for example 2:7".to_owned())
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A dataset without routing, an expert that it does not have, a model that cannot be found; an
    /// interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let masks = match self.expert.is_empty() {
            true => self.domain.into_iter().map(Choose::Domain).collect(),
            false => vec![Choose::Experts(self.expert)],
        };
        let mut reports = Vec::new();
        for choose in masks {
            let options = MaskOptions {
                choose,
                model: self.model.choice(session)?,
                tokens: self.tokens,
                controls: self.controls,
                seed: session.seed.unwrap_or_default(),
            };
            reports.push(mask(&self.dataset, &options, &mut session.progress)?);
        }
        let mut output = Output::new(json!({ "masks": reports }));
        reports.iter().for_each(|report| table(&mut output, report));
        output.row("tables", self.dataset.join("experts/masking.parquet").display());
        Ok(output)
    }
}

fn table(output: &mut Output, report: &MaskReport) {
    let names: Vec<String> = report.masked.iter().take(SHOWN).map(|(l, e)| format!("{l}:{e}")).collect();
    let more = if report.masked.len() > SHOWN { " …" } else { "" };
    output.row(
        &format!("without {}", report.mask),
        format!("{} experts: {}{more}", report.masked.len(), names.join(" ")),
    );
    let most = report.hurt_most().map(|row| row.domain.clone());
    for row in &report.domains {
        let control = match (row.control, row.control_low, row.control_high) {
            (Some(mean), Some(low), Some(high)) => {
                let of = |loss: f64| loss - row.before;
                format!("{:+.4} without others ({:+.4} to {:+.4})", of(mean), of(low), of(high))
            }
            _ => "no control".to_owned(),
        };
        output.row(
            &format!("  {}", row.domain),
            format!(
                "{:.4} → {:.4} nats per token, {:+.4}{}; {control}; {} predictions",
                row.before,
                row.after,
                row.after - row.before,
                if most.as_ref() == Some(&row.domain) { ", the most" } else { "" },
                row.tokens
            ),
        );
    }
    let measured = if report.held_out {
        "held-out documents; the experts were chosen on the others"
    } else {
        "all documents"
    };
    output.row("  measured on", measured);
    report.gaps.iter().for_each(|gap| output.row("  not known", gap));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_are_layer_and_number() {
        assert_eq!((expert("2:7"), expert("0: 15")), (Ok((2, 7)), Ok((0, 15))));
        for bad in ["", "3", "a:1", "1:2:3", "70000:1", "-1:2"] {
            assert!(expert(bad).unwrap_err().contains("2:7"), "{bad}");
        }
    }
}

//! `sae experts mask`.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::super::evaluate::choice;
use crate::{Output, Session};
use sae::Result;
use sae::experts::mask::{Choose, MaskOptions, MaskReport, mask};

/// Experts named in the table; all of them are in the Parquet file and with `--json`.
const SHOWN: usize = 12;

/// Take experts out of the router's choice and say what each domain loses
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae experts mask data --domain french                  the experts specialised in French\n  \
    sae experts mask data --domain french --domain code    one after the other\n  \
    sae experts mask data --expert 1:3,2:7                 these two together"
)]
pub struct Command {
    /// A dataset with a routing table (`sae harvest --routing`)
    dataset: PathBuf,
    /// Take out the experts specialised in this domain (2× rule); may be given again
    #[arg(long, value_name = "D", required_unless_present = "expert")]
    domain: Vec<String>,
    /// Take out these experts, all together
    #[arg(long, value_name = "LAYER:EXPERT", value_delimiter = ',', value_parser = expert, conflicts_with = "domain")]
    expert: Vec<(u16, u16)>,
    /// The dataset's model, where it is no longer where it was
    #[arg(long, value_name = "DIR")]
    model: Option<String>,
    /// Tokens measured of each domain, at most
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    tokens: u64,
    /// Draws of as many other experts to compare with
    #[arg(long, default_value_t = 5, value_name = "N")]
    controls: u16,
}

fn expert(text: &str) -> std::result::Result<(u16, u16), String> {
    let parts =
        text.split_once(':').and_then(|(l, e)| Some((l.trim().parse().ok()?, e.trim().parse().ok()?)));
    parts.ok_or_else(|| "expected LAYER:EXPERT, for example 2:7".to_owned())
}

impl Command {
    /// Masks and prints.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let masks = match self.expert.is_empty() {
            true => self.domain.into_iter().map(Choose::Domain).collect(),
            false => vec![Choose::Experts(self.expert)],
        };
        let mut reports = Vec::new();
        for choose in masks {
            let options = MaskOptions {
                choose,
                model: choice(self.model.as_deref(), false, session)?,
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
                "{:.4} → {:.4} nats a token, {:+.4}{}; {control}; {} predictions",
                row.before,
                row.after,
                row.after - row.before,
                if most.as_ref() == Some(&row.domain) { ", the most" } else { "" },
                row.tokens
            ),
        );
    }
    let measured =
        if report.held_out { "held-out documents; experts chosen by the others" } else { "all documents" };
    output.row("  measured on", measured);
    report.gaps.iter().for_each(|gap| output.row("  not known", gap));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn experts_are_layer_and_number() {
        assert_eq!((expert("2:7"), expert("0: 15")), (Ok((2, 7)), Ok((0, 15))));
        for bad in ["", "3", "a:1", "1:2:3", "1:70000", "-1:2"] {
            assert!(expert(bad).unwrap_err().contains("2:7"), "{bad}");
        }
    }
}

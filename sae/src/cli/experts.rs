//! `sae experts`: how a mixture-of-experts model uses its experts.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session};
use crate::Result;
use crate::experts;

/// Summarise which experts a model uses, by layer and domain
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sae experts data")]
pub struct Command {
    /// A dataset with a routing table (`sae harvest --routing`)
    #[arg(value_name = "DATASET")]
    dataset: PathBuf,
}

impl Command {
    /// Runs the command.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let summary = experts::summarise(&self.dataset, &mut session.progress)?;
        let layers: Vec<_> = summary.layers.iter().map(layer_json).collect();
        let mut output = Output::new(serde_json::json!({
            "folder": summary.folder, "domains": summary.domains, "layers": layers,
        }));
        for l in &summary.layers {
            output.row(
                &format!("layer {}", l.layer),
                format!(
                    "{} experts, {} a token: effective {:.1}, load entropy {:.3}, CV {:.3}, dead {}",
                    l.experts, l.k, l.effective_experts, l.load_entropy, l.cv, l.dead
                ),
            );
        }
        Ok(output)
    }
}

/// Every number of a layer.
pub(super) fn layer_json(l: &storage::experts::ExpertLayerRow) -> serde_json::Value {
    serde_json::json!({
        "layer": l.layer, "experts": l.experts, "k": l.k, "tokens": l.tokens, "cv": l.cv,
        "max_violation": l.max_violation, "gini": l.gini, "load_entropy": l.load_entropy,
        "effective_experts": l.effective_experts, "router_entropy": l.router_entropy, "dead": l.dead,
    })
}

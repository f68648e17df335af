//! `sae evaluate` of a cross-layer transcoder.

use std::path::Path;

use super::Command;
use crate::{Output, Session};
use sae::evaluate::{self, EvaluateOptions};
use sae::{Error, Result};
use storage::layers::{LayersEvaluation, ReplacedEvaluation};

impl Command {
    /// Measures the cross-layer transcoder at `run`.
    pub(super) fn layers(
        &self,
        run: &Path,
        options: &EvaluateOptions,
        session: &mut Session,
    ) -> Result<Output> {
        let given = [
            (self.pca, "--pca"),
            (self.threshold, "--threshold"),
            (self.prune.is_some(), "--prune"),
            (self.cett, "--cett"),
            (!self.together.is_empty(), "--together"),
            (self.saebench.is_some(), "--saebench"),
        ];
        if let Some((_, option)) = given.iter().find(|(given, _)| *given) {
            return Err(Error::request(format!(
                "{option} is given, but {} is a cross-layer transcoder: its features write into several layers, which are always measured \
                 together",
                run.display()
            ))
            .with_remedy(format!("leave {option} out")));
        }
        let evaluation = evaluate::layers(run, options, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!(evaluation));
        rows(&evaluation, &mut output);
        Ok(output)
    }
}

fn rows(e: &LayersEvaluation, output: &mut Output) {
    let number = |n: Option<f64>| n.map_or_else(|| "–".to_owned(), |n| format!("{n:.4}"));
    output.row("tokens", format!("{} of {} {} documents", e.tokens, e.documents, e.split));
    output.row("L0", format!("{:.1}", e.l0));
    for layer in &e.layers {
        let dead = format!("{} of {} dead", layer.dead, layer.d_sae);
        output.row(
            &format!("layer {}", layer.layer),
            format!("FVE {}, L0 {:.1}, {dead}", number(layer.fve), layer.l0),
        );
        replaced("  replaced alone", &layer.replaced, output);
    }
    output.row("CE clean", format!("{:.4}", e.ce_clean));
    replaced("all layers replaced", &e.together, output);
}

fn replaced(name: &str, e: &ReplacedEvaluation, output: &mut Output) {
    output.row(
        name,
        format!(
            "CE {:.4} (zeros {:.4}, means {:.4}), KL {:.4} ({:.4}, {:.4}), {:.2} % of the likeliest tokens stay",
            e.ce_replaced,
            e.ce_zero,
            e.ce_mean,
            e.kl,
            e.kl_zero,
            e.kl_mean,
            100.0 * e.agreement
        ),
    );
}

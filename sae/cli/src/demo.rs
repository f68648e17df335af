//! `sae demo`: the main job, from text to features, on what is inside this program.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session, evaluate};
use sae::Result;
use sae::demo;

/// Do the main job on the embedded model and text: harvest, train, index, explain, evaluate, experts
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  sae demo --out sae-demo\n\nAn interrupted demo resumes when it is started again."
)]
pub struct Command {
    /// Folder for everything it makes
    #[arg(long, default_value = "sae-demo", value_name = "DIR")]
    out: PathBuf,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A folder that cannot be written to or holds something else; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let done = demo::run(&self.out, session.seed, &mut session.progress)?;
        let mut json = serde_json::json!(done.evaluation);
        let more = serde_json::json!({
            "folder": self.out, "dataset": done.dataset, "run": done.run, "seconds": done.seconds,
            "features": done.index.features, "indexed_tokens": done.index.tokens,
            "explained": done.explained.explained, "first": done.first,
            "experts": done.experts.layers().collect::<Vec<_>>(),
        });
        if let (Some(json), serde_json::Value::Object(more)) = (json.as_object_mut(), more) {
            json.extend(more);
        }
        let mut output = Output::new(json);
        output.row("dataset", done.dataset.display());
        output.row("dictionary", done.run.display());
        output.row("features", format!("{} indexed over {} tokens", done.index.features, done.index.tokens));
        output.row("explained", format!("{} of them by a rule of tokens", done.explained.explained));
        evaluate::rows(&done.evaluation, &mut output);
        for l in done.experts.layers() {
            let name = format!("experts, layer {}", l.layer);
            output.row(
                &name,
                format!(
                    "effective {:.1} of {}, dead {}",
                    l.effective_experts.unwrap_or_default(),
                    l.experts,
                    l.dead.unwrap_or_default()
                ),
            );
        }
        output.row("time", super::progress::duration(done.seconds));
        for look in &done.first {
            let of = 100.0 * look.f1;
            output.row("look first at", format!("feature {}: {} (F1 {of:.0} %)", look.feature, look.rule));
        }
        output.row(
            "to look at it",
            format!("sae-app {0}  (cargo run --release --bin sae-app -- {0})", self.out.display()),
        );
        Ok(output)
    }
}

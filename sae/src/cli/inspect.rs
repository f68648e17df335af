//! `sae inspect`: what a model is and where it can be tapped.

use clap::Args;

use super::{Output, Session};
use crate::Result;
use crate::model::{Hook, LanguageModel, Site};

/// Show a model's shape and its hooks
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sae inspect default")]
pub struct Command {
    /// A Hugging Face folder, or `default` for the embedded model
    model: String,
}

impl Command {
    /// Runs the command.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let model = LanguageModel::load(&session.model(&self.model)?)?;
        let config = model.config();
        let hooks = model.decoder().hooks();
        let shapes: Vec<(String, String)> =
            hooks.iter().map(|(hook, width)| (hook.to_string(), shape(*hook, *width))).collect();
        let listed: Vec<_> = hooks
            .iter()
            .zip(&shapes)
            .map(|((_, width), (hook, shape))| serde_json::json!({"hook": hook, "width": width, "shape": shape}))
            .collect();
        let mut output = Output::new(serde_json::json!({
            "model": model.id(), "sha256": model.sha256(), "config": config, "hooks": listed,
        }));
        output.row("model", model.id());
        output.row("sha256", model.sha256());
        output.row("family", &config.model_type);
        output.row("layers", config.num_hidden_layers);
        output.row("d_model", config.hidden_size);
        if let Some((experts, k)) = config.experts() {
            output.row("experts", format!("{k} of {experts} a token"));
        }
        output.row("vocabulary", config.vocab_size);
        output.row("context", config.max_position_embeddings);
        for (hook, shape) in &shapes {
            output.row(hook, shape);
        }
        Ok(output)
    }
}

/// What the value at a hook is like.
fn shape(hook: Hook, width: usize) -> String {
    match hook.site {
        Site::Pattern => format!("[rows, {width} heads, tokens, tokens]"),
        Site::ExpertIndices => format!("[tokens, {width}], numbers of experts"),
        _ => format!("[tokens, {width}]"),
    }
}

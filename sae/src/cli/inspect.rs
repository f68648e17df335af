//! `sae inspect`: what a model is and where it can be tapped.

use clap::Args;

use super::{Output, Session};
use crate::Result;
use crate::model::{LanguageModel, ModelSource};

/// Show a model's shape and its hooks
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  sae inspect default")]
pub struct Command {
    /// A Hugging Face folder, or `default` for the embedded model
    model: String,
}

impl Command {
    /// Runs the command.
    pub fn run(self, _: &mut Session) -> Result<Output> {
        let model = LanguageModel::load(&ModelSource::parse(&self.model))?;
        let config = model.config();
        let hooks: Vec<String> = model.decoder().hooks().iter().map(ToString::to_string).collect();
        let mut output = Output::new(serde_json::json!({
            "model": model.id(), "sha256": model.sha256(), "config": config, "hooks": hooks, "width": config.hidden_size,
        }));
        output.row("model", model.id());
        output.row("sha256", model.sha256());
        output.row("family", &config.model_type);
        output.row("layers", config.num_hidden_layers);
        output.row("d_model", config.hidden_size);
        output.row("experts", format!("{} of {} a token", config.num_experts_per_tok, config.num_experts));
        output.row("vocabulary", config.vocab_size);
        output.row("context", config.max_position_embeddings);
        for hook in hooks {
            output.row(&hook, format!("[tokens, {}]", config.hidden_size));
        }
        Ok(output)
    }
}

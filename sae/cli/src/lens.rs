//! `sae lens`: what vectors at a hook do to the final residual stream.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session};
use lm::model::{Hook, LanguageModel};
use sae::lens::{self, LensOptions};
use sae::{Error, Result};

/// Compute Jacobian lenses: the mean effect of a vector at a hook on the final residual stream
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae lens default --hook blocks.2.hook_resid_post --text texts/ --out lens\n  \
    sae index topk --lens lens\n  sae prompt topk --text 'The court held' --lens lens\n\n\
    One backward pass for every dimension of the stream and every batch serves all hooks. docs/circuits.md says what is averaged."
)]
pub struct Command {
    /// A Hugging Face folder, a model of the hub, or `default` for the embedded model
    #[arg(default_value = "default", value_name = "MODEL")]
    model: String,
    /// Hooks, e.g. blocks.2.hook_resid_post
    #[arg(long, required = true, num_args = 1.., value_name = "HOOK")]
    hook: Vec<String>,
    /// Text files and folders to average over
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    text: Vec<PathBuf>,
    /// Folder for the lens: lens.safetensors, lens.json
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Documents to average over
    #[arg(long, default_value_t = 100, value_name = "N")]
    prompts: usize,
    /// Tokens of each at most, BOS included
    #[arg(long, default_value_t = 128, value_name = "N")]
    context: usize,
    /// Tokens at the beginning of each that are left out
    #[arg(long, default_value_t = 16, value_name = "N")]
    skip: usize,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A model, a hook or text that is not there, a folder that is taken or cannot be written to; an interruption.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        if self.out.join(storage::lens::FILE).exists() {
            return Err(Error::request(format!("{} holds a lens already", self.out.display()))
                .with_remedy("choose a different folder, or remove this one"));
        }
        let model = LanguageModel::load(&session.model(&self.model)?)?;
        let hooks: Vec<Hook> = self.hook.iter().map(|hook| hook.parse()).collect::<Result<_>>()?;
        let options = LensOptions {
            hooks,
            text: self.text,
            prompts: self.prompts,
            context_length: self.context,
            skip: self.skip,
            seed: session.seed.unwrap_or_default(),
            ..LensOptions::default()
        };
        let lens = lens::run(&model, &options, &self.out, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!(lens.record));
        output.row("lens", self.out.display());
        output.row("model", &lens.record.model.id);
        output.row(
            "averaged",
            format!("{} tokens of {} documents", lens.record.positions, lens.record.prompts),
        );
        for (hook, jacobian) in &lens.jacobians {
            output.row(hook, format!("{} × {}", lens.record.d_model, jacobian.len() / lens.record.d_model));
        }
        Ok(output)
    }
}

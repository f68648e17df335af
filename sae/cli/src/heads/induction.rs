//! `sae heads induction`.

use clap::Args;

use crate::{Output, Session};
use lm::model::LanguageModel;
use sae::Result;
use sae::heads::{self, HeadInduction, InductionOptions};

/// Test every head for induction: how much it looks back to what followed an earlier occurrence of the last tokens, by how many
/// tokens are repeated
///
/// Texts are random tokens, in which a prefix of 1, 2, … tokens is repeated. A head that needs a short prefix looks back at once, one
/// that matches more only when more is repeated. The control is the same texts without the repetition.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sae heads induction default\n  sae heads induction HuggingFaceTB/SmolLM2-135M --texts 100 --top 20"
)]
pub struct Test {
    /// A Hugging Face folder, a model of the hub, a GGUF file, or `default` for the embedded model
    #[arg(default_value = "default", value_name = "MODEL")]
    model: String,
    /// Random texts for each length of the prefix
    #[arg(long, default_value_t = InductionOptions::default().texts, value_name = "N")]
    texts: usize,
    /// Tokens of a text, BOS not counted
    #[arg(long, default_value_t = InductionOptions::default().length, value_name = "N")]
    length: usize,
    /// Longest prefix
    #[arg(long, default_value_t = InductionOptions::default().longest, value_name = "N")]
    longest: usize,
    /// Heads that are listed, first those whose score the repetition raises most (--json has all)
    #[arg(long, default_value_t = 10, value_name = "N")]
    top: usize,
}

impl Test {
    /// Runs the command.
    ///
    /// # Errors
    /// What [`sae::heads::induction`] refuses.
    pub fn run(self, session: &mut Session) -> Result<Output> {
        let model = LanguageModel::load(&session.model(&self.model)?)?;
        let options = InductionOptions {
            texts: self.texts,
            length: self.length,
            longest: self.longest,
            seed: session.seed.unwrap_or_default(),
        };
        let found = heads::induction(&model, options, &mut session.progress)?;
        let mut output = Output::new(serde_json::json!({ "model": model.id(), "induction": found }));
        output.row("model", model.id());
        output.row("texts", format!("{} of {} random tokens for each prefix", found.texts, found.length));
        let prefixes: Vec<String> = (1..=self.longest).map(|prefix| format!("{prefix:>4}")).collect();
        output.row("prefix", format!("{}  half at", prefixes.join(" ")));
        let mut best: Vec<&HeadInduction> = found.heads.iter().collect();
        best.sort_by(|a, b| b.gain().total_cmp(&a.gain()));
        for head in best.into_iter().take(self.top) {
            let line = |scores: &[f32]| {
                scores.iter().map(|score| format!("{score:.2}")).collect::<Vec<_>>().join(" ")
            };
            let name = format!("{}.{}", head.layer, head.head);
            let half = head.half().map_or_else(|| "–".to_owned(), |prefix| prefix.to_string());
            output.row(&name, format!("{}  {half}", line(&head.scores)));
            output.row("", format!("{}  without the repetition", line(&head.controls)));
        }
        Ok(output)
    }
}

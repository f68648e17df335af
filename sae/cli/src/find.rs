//! `sae find`: the features that a text is about.

use std::path::PathBuf;

use clap::Args;

use super::{Output, Session};
use sae::Result;
use sae::features::{self, FoundBy, FoundFeature};
use storage::{Layered, RunRecord};

/// Find the features that fire on a word or a phrase, that are named after it, or that promote it
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sae find topk court\n  sae find topk 'the court' --limit 5 --json\n\n\
A word stands for every token that reads like it, whatever the case and the space before it; text in quotation marks \
stands for exactly that token: sae find topk '\" court\"'.")]
pub struct Command {
    /// Indexed run (see `sae index`)
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// One word or several; a feature must fire on all of them
    #[arg(value_name = "TEXT")]
    text: String,
    /// Features to list
    #[arg(long, default_value_t = 20, value_name = "N")]
    limit: usize,
}

impl Command {
    /// Runs the command.
    ///
    /// # Errors
    /// A run without an index, an empty text, tables that cannot be read.
    pub fn run(self, _session: &mut Session) -> Result<Output> {
        let found = features::find(&self.run, &self.text, self.limit)?;
        let mut output =
            Output::new(serde_json::json!({ "run": self.run, "text": self.text, "found": found }));
        if let Some(gap) = &found.gap {
            output.row("note", gap);
        }
        if found.features.is_empty() {
            output.row("found", "no feature");
        }
        let layered = Layered::of(&RunRecord::read(&self.run)?);
        for one in &found.features {
            let layer = layered.map(|layered| format!(" of layer {}", layered.place(one.feature).0));
            output.row(
                &format!("feature {}{}", one.feature, layer.unwrap_or_default()),
                line(one, &found.words),
            );
        }
        Ok(output)
    }
}

/// Of several words the counts are those of one, which is then named.
fn line(one: &FoundFeature, words: &[Vec<String>]) -> String {
    let why = match &one.by {
        FoundBy::FiresOn { word, count, occurrences, mean, .. } => {
            let tokens = words.get(*word).filter(|_| words.len() > 1).and_then(|tokens| tokens.first());
            let word = tokens.map(|token| format!(" ‹{}›", token.trim())).unwrap_or_default();
            format!("fires on {count} of {occurrences}{word}, mean {mean:.2}")
        }
        FoundBy::Label => "label".to_owned(),
        FoundBy::Explanation => "explanation".to_owned(),
        FoundBy::Promotes => "promotes it".to_owned(),
    };
    let density = f64::from(one.density) * 100.0;
    let called = one.label.as_ref().or(one.explanation.as_ref());
    let called = called.map(|text| format!(" · {}", text.replace('\n', " "))).unwrap_or_default();
    format!("{why} · {density:.3} % of all tokens{called}")
}

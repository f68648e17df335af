//! `sae explain --url`: a server is asked.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::super::{Output, Session};
use lm::remote::{Address, ChatOptions};
use sae::explain::by_model::{self, Interval, LanguageModelOptions, LanguageModelSummary, SourceMeans};
use sae::{Error, Result};

/// The server, and what it is asked.
#[derive(Debug, Args)]
#[command(next_help_heading = "By a language model")]
pub(super) struct ByModel {
    /// Ask the language model --model of this server, any that has OpenAI's /v1/chat/completions: llama.cpp, vLLM, hosted ones
    #[arg(long, conflicts_with_all = ["import", "least"])]
    url: Option<String>,
    /// Environment variable that holds the server's key
    #[arg(long, requires = "url", value_name = "VARIABLE")]
    key_env: Option<String>,
    /// Send passages of the documents to a server that is not this machine
    #[arg(long, requires = "url")]
    yes: bool,
    /// Features to explain
    #[arg(long, requires = "url", value_delimiter = ',', value_name = "FEATURE,…")]
    features: Vec<u32>,
    /// Features that are drawn where none are named
    #[arg(long, requires = "url", default_value_t = 20, conflicts_with = "features")]
    number: usize,
    /// Passages that the model is shown per feature
    #[arg(long, requires = "url", default_value_t = 40)]
    shown: usize,
    /// Passages with the feature, and as many without it, that every explanation is scored on
    #[arg(long, requires = "url", default_value_t = 20)]
    tested: usize,
    /// Passages that are judged by one request
    #[arg(long, requires = "url", default_value_t = 5)]
    batch: usize,
    /// Tokens of a passage
    #[arg(long, requires = "url", default_value_t = 32)]
    window: usize,
    /// Leave the controls out: explanations of other features, shuffled activations, top tokens
    #[arg(long, requires = "url")]
    no_controls: bool,
    /// Tokens of an answer at most; a model that thinks before it answers needs thousands
    #[arg(long, requires = "url", default_value_t = 300)]
    max_tokens: u32,
    /// Requests at the same time
    #[arg(long, requires = "url", default_value_t = 4)]
    concurrency: usize,
    /// Seconds after which an answer is given up
    #[arg(long, requires = "url", default_value_t = 300)]
    timeout: u64,
    /// Times that what failed is tried again
    #[arg(long, requires = "url", default_value_t = 3)]
    retries: u32,
    /// What a million tokens of requests and of answers cost, to be told the cost before and after
    #[arg(long, requires = "url", num_args = 2, value_names = ["REQUESTS", "ANSWERS"])]
    price: Option<Vec<f64>>,
    /// Also write explanations and judgements as delphi's folders
    #[arg(long, requires = "url", value_name = "DIR")]
    delphi: Option<PathBuf>,
}

impl ByModel {
    /// Whether a server is to be asked.
    pub(super) fn is_wanted(&self) -> bool {
        self.url.is_some()
    }

    /// The options, with the key of the environment.
    ///
    /// # Errors
    /// No model, an address that cannot be read, a variable that is not set.
    pub(super) fn options(
        self,
        model: Option<String>,
        name: Option<String>,
        data: Option<PathBuf>,
        session: &Session,
    ) -> Result<LanguageModelOptions> {
        let address = Address::parse(self.url.as_deref().unwrap_or_default())?;
        let model = model.ok_or_else(|| {
            Error::request("--url names a server but no model")
                .with_remedy("name one that it serves with --model")
        })?;
        let key = self.key_env.as_ref().map(|name| {
            std::env::var(name).map_err(|_| {
                Error::request(format!("the environment variable {name}, which --key-env names, is not set"))
            })
        });
        let chat = ChatOptions {
            timeout: Duration::from_secs(self.timeout.max(1)),
            retries: self.retries,
            ..ChatOptions::default()
        };
        Ok(LanguageModelOptions {
            key: key.transpose()?.map(|key| key.trim().to_owned()),
            chat,
            concurrency: self.concurrency,
            consent: self.yes,
            price: self.price.and_then(|price| <[f64; 2]>::try_from(price).ok()),
            name,
            data,
            features: self.features,
            number: self.number,
            shown: self.shown,
            tested: self.tested,
            batch: self.batch,
            window: self.window,
            max_tokens: self.max_tokens,
            controls: !self.no_controls,
            delphi: self.delphi,
            seed: session.seed.unwrap_or(0),
            ..LanguageModelOptions::new(address, model)
        })
    }
}

/// Asks, scores and shows.
///
/// # Errors
/// As [`by_model::explain`].
pub(super) fn run(run: &Path, options: &LanguageModelOptions, session: &mut Session) -> Result<Output> {
    let summary = by_model::explain(run, options, &mut session.progress)?;
    let mut output = Output::new(serde_json::json!(summary));
    output.row("explanations", summary.table.display());
    output.row("answers, judgements, scores", summary.folder.display());
    let mut features = format!("{} explained", summary.features);
    if summary.unexplained > 0 {
        features += &format!("; {} without an explanation that could be read", summary.unexplained);
    }
    if summary.rare > 0 {
        features += &format!("; {} more fire in too few passages", summary.rare);
    }
    output.row("features", features);
    output.row("used now", used(&summary));
    output.row("", "detection             fuzzing               simulation            answered");
    summary.sources.iter().for_each(|means| output.row(&title(means), line(means)));
    for one in &summary.differences {
        let d = &one.difference;
        let verdict = if d.low > 0.0 || d.high < 0.0 { "apart" } else { "not apart" };
        output.row(
            &format!("model − {}, {}", one.other, one.test),
            format!("{:+.3} [{:+.3}, {:+.3}], {verdict}", d.value, d.low, d.high),
        );
    }
    for best in &summary.best {
        let fuzzing = best.fuzzing.map_or_else(|| "–".to_owned(), |f| format!("{f:.2}"));
        output.row(
            &format!("feature {}", best.feature),
            format!("{} (detection {:.2}, fuzzing {fuzzing})", best.text, best.detection),
        );
    }
    Ok(output)
}

fn used(summary: &LanguageModelSummary) -> String {
    let mut text = format!(
        "{} requests, {} tokens sent, {} tokens answered",
        summary.requests, summary.prompt_tokens, summary.answer_tokens
    );
    if summary.uncounted > 0 {
        text += &format!(" ({} answers without a count)", summary.uncounted);
    }
    if let Some(cost) = summary.cost {
        text += &format!(", {cost:.4} by the given price");
    }
    text
}

fn title(means: &SourceMeans) -> String {
    if means.control { format!("  {} (control)", means.source) } else { format!("  {}", means.source) }
}

fn line(means: &SourceMeans) -> String {
    let cell = |interval: Option<Interval>| {
        interval.map_or_else(|| "–".to_owned(), |i| format!("{:.3} [{:.3}, {:.3}]", i.value, i.low, i.high))
    };
    let all = means.answered + means.unanswered;
    format!(
        "{:<22}{:<22}{:<22}{} of {all}",
        cell(means.detection),
        cell(means.fuzzing),
        cell(means.simulation),
        means.answered
    )
}

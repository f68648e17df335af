//! What is asked for.

use std::path::PathBuf;

use lm::remote::{Address, ChatOptions};

use crate::{Error, Result};

/// How features are explained by a language model.
#[derive(Debug, Clone)]
pub struct LanguageModelOptions {
    /// Where the server is.
    pub address: Address,
    /// Name of the model, as the server knows it.
    pub model: String,
    /// The server's key.
    pub key: Option<String>,
    /// Time-outs and repetitions.
    pub chat: ChatOptions,
    /// Requests at the same time.
    pub concurrency: usize,
    /// Whether text may be sent to a host that is not this machine.
    pub consent: bool,
    /// What a million tokens of requests and of answers cost, in whatever currency.
    pub price: Option<[f64; 2]>,
    /// Name of the source; that of the model if `None`.
    pub name: Option<String>,
    /// Dataset; the one that was indexed when `None`.
    pub data: Option<PathBuf>,
    /// Features to explain; empty: as many as `number` says.
    pub features: Vec<u32>,
    /// Features that are drawn where none are named.
    pub number: usize,
    /// Passages that the model is shown to explain a feature.
    pub shown: usize,
    /// Passages of each class that an explanation is scored on.
    pub tested: usize,
    /// Passages that are judged by one request.
    pub batch: usize,
    /// Tokens of a passage.
    pub window: usize,
    /// Tokens of an answer at most; models that think before they answer need more.
    pub max_tokens: u32,
    /// Whether controls are judged too.
    pub controls: bool,
    /// Also write explanations and judgements as delphi's folders, here.
    pub delphi: Option<PathBuf>,
    /// Seed of the halves (that of `sae explain` gives the same) and of everything that is drawn.
    pub seed: u64,
}

impl LanguageModelOptions {
    /// What is used where nothing else is asked for.
    pub fn new(address: Address, model: impl Into<String>) -> Self {
        Self {
            address,
            model: model.into(),
            key: None,
            chat: ChatOptions::default(),
            concurrency: 4,
            consent: false,
            price: None,
            name: None,
            data: None,
            features: Vec::new(),
            number: 20,
            shown: 40,
            tested: 20,
            batch: 5,
            window: 32,
            max_tokens: 300,
            controls: true,
            delphi: None,
            seed: 0,
        }
    }

    /// What the source is called: a name that can be a file's.
    pub(super) fn source_name(&self) -> Result<String> {
        if let Some(name) = &self.name {
            return crate::explain::import::plain_name(name).map(|()| name.clone());
        }
        let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
        let name: String = self.model.chars().map(plain).collect();
        let name = name.trim_matches(['.', '-']).to_owned();
        crate::explain::import::plain_name(&name).map(|()| name)
    }

    pub(super) fn check(&self) -> Result<()> {
        let positive = [
            (self.number.max(self.features.len()), "the number of features"),
            (self.shown, "the number of passages shown"),
            (self.tested, "the number of passages tested"),
            (self.batch, "the number of passages per request"),
            (self.concurrency, "the number of requests at the same time"),
            (self.max_tokens as usize, "the number of tokens of an answer"),
        ];
        if let Some((_, what)) = positive.iter().find(|(n, _)| *n == 0) {
            return Err(Error::request(format!("{what} is 0, expected 1 or more")));
        }
        if self.window < 4 {
            return Err(Error::request(format!("passages of {} tokens, expected 4 or more", self.window)));
        }
        if self.price.is_some_and(|price| price.iter().any(|p| !(p.is_finite() && *p >= 0.0))) {
            return Err(Error::request("a price is negative or not a number"));
        }
        Ok(())
    }
}

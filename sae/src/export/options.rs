//! What an export is asked to be.

use std::path::PathBuf;

use serde::Serialize;

use crate::{Error, Result};

/// A format to export to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Format {
    /// SAELens v6: `cfg.json`, `sae_weights.safetensors`, `sparsity.safetensors`.
    Saelens,
    /// sparsify: `HOOKPOINT/cfg.json`, `HOOKPOINT/sae.safetensors`.
    Sparsify,
    /// dictionary_learning: `trainer_0/config.json`, `trainer_0/ae.pt`.
    DictionaryLearning,
    /// circuit-tracer: a set of transcoders.
    CircuitTracer,
    /// The batch files of Neuronpedia's importer.
    Neuronpedia,
    /// Pages for a browser.
    Html,
    /// One feature as a picture, SVG or PNG.
    Card,
}

impl Format {
    /// All of them, with the name that a command line and a record give them.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Saelens, "saelens"),
        (Self::Sparsify, "sparsify"),
        (Self::DictionaryLearning, "dictionary-learning"),
        (Self::CircuitTracer, "circuit-tracer"),
        (Self::Neuronpedia, "neuronpedia"),
        (Self::Html, "html"),
        (Self::Card, "card"),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.into_iter().find(|(format, _)| *format == self).map_or("", |(_, name)| name)
    }

    /// Whether it shows features of the index, rather than weights.
    fn shows_features(self) -> bool {
        matches!(self, Self::Neuronpedia | Self::Html | Self::Card)
    }
}

/// Which features.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice {
    /// All.
    #[default]
    All,
    /// These, in this order.
    These(Vec<u32>),
    /// Those whose label, note or explanation contains the text; small and capital letters are alike.
    Labelled(String),
    /// Those that fire most often.
    Top(usize),
}

impl Choice {
    /// Features of a list such as `1,2,17-40`.
    ///
    /// # Errors
    /// What is not a list of numbers and ranges.
    pub fn list(text: &str) -> Result<Self> {
        let wrong = |part: &str| {
            Error::request(format!("`{part}` in the features `{text}` is not a number or a range"))
                .with_remedy("write them as 1,2,17-40")
        };
        let mut features = Vec::new();
        for part in text.split(',') {
            let part = part.trim();
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let number = |text: &str| text.trim().parse::<u32>().map_err(|_| wrong(part));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(wrong(part));
            }
            for feature in first..=last {
                if !features.contains(&feature) {
                    features.push(feature);
                }
            }
        }
        Ok(Self::These(features))
    }
}

/// What to export, and where to.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportOptions {
    /// The format.
    pub to: Format,
    /// The folder to make; a file for a card, and for pages where it ends in `.html`.
    pub out: PathBuf,
    /// Which features, where features are shown.
    pub choice: Choice,
    /// Examples per feature at most: half of them the strongest, the rest of all strengths.
    pub examples: Option<usize>,
    /// sparsify: the module's name, which is the folder's.
    pub hookpoint: Option<String>,
    /// sparsify: make a dictionary with thresholds one that keeps the `k` largest per token.
    pub k: Option<usize>,
    /// Neuronpedia: what the model is called there.
    pub model_id: Option<String>,
    /// Neuronpedia: what the source set is called.
    pub set: Option<String>,
}

/// Examples per feature if no number is given.
pub const EXAMPLES: usize = 24;

impl ExportOptions {
    /// An export of everything to `out`.
    pub fn new(to: Format, out: impl Into<PathBuf>) -> Self {
        Self {
            to,
            out: out.into(),
            choice: Choice::All,
            examples: None,
            hookpoint: None,
            k: None,
            model_id: None,
            set: None,
        }
    }

    /// Whether pages are one file.
    pub(super) fn is_one_file(&self) -> bool {
        self.out.extension().is_some_and(|end| end.eq_ignore_ascii_case("html"))
    }

    /// Whether a card is points rather than SVG.
    pub(super) fn is_png(&self) -> bool {
        self.to == Format::Card && self.out.extension().is_some_and(|end| end.eq_ignore_ascii_case("png"))
    }

    /// Refuses options that the format has no use for: nothing is ignored silently.
    pub(super) fn check(&self) -> Result<()> {
        let name = self.to.name();
        let useless = |option: &str, formats: &str| {
            Err(Error::request(format!("{option} does not apply to {name}; it is for {formats}"))
                .with_remedy(format!("leave out {option}")))
        };
        if self.choice != Choice::All && !self.to.shows_features() {
            return useless("a choice of features", "neuronpedia, html and card");
        }
        if self.examples.is_some() && !self.to.shows_features() {
            return useless("--examples", "neuronpedia, html and card");
        }
        let sparsify = self.to == Format::Sparsify;
        if self.hookpoint.is_some() && !sparsify {
            return useless("--hookpoint", "sparsify");
        }
        if self.k.is_some() && !sparsify {
            return useless("--k", "sparsify");
        }
        let neuronpedia = self.to == Format::Neuronpedia;
        if self.model_id.is_some() && !neuronpedia {
            return useless("--model-id", "neuronpedia");
        }
        if self.set.is_some() && !neuronpedia {
            return useless("--set", "neuronpedia");
        }
        Ok(())
    }
}

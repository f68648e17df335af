//! What was read of a dictionary, and what of it was inferred.

use std::path::PathBuf;

use crate::dictionary::{CrossLayerTranscoder, Dictionary, Selection};

/// A format of dictionaries on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A run of this program: `run.json` next to a SAELens v6 folder.
    Run,
    /// SAELens 6 and later: `cfg.json`, `sae_weights.safetensors`.
    SaeLens6,
    /// SAELens before 6: the same files with a flat configuration.
    SaeLens5,
    /// Gemma Scope: `params.npz`.
    GemmaScope,
    /// Gemma Scope 2: `params.safetensors`; cross-layer transcoders with one file per layer.
    GemmaScope2,
    /// Llama Scope: `hyperparams.json`, `checkpoints/final.safetensors`.
    LlamaScope,
    /// Llama Scope R1 Distill: `config.json`, `sae_weights.safetensors` with logarithms of thresholds.
    LlamaScopeR1,
    /// Qwen-Scope: `layerN.sae.pt`.
    QwenScope,
    /// dictionary_learning: `ae.pt`, `config.json`.
    DictionaryLearning,
    /// sparsify: `sae.safetensors`, `cfg.json`.
    Sparsify,
    /// OpenAI's `sparse_autoencoder`: one `.pt` file with `pre_bias` and `latent_bias`.
    OpenAi,
    /// Goodfire: one `.pt` or `.pth` file with `encoder_linear` and `decoder_linear`.
    Goodfire,
    /// A transcoder per layer, as circuit-tracer has them: `config.yaml`, `layer_N.safetensors`.
    TranscoderSet,
    /// A cross-layer transcoder, as circuit-tracer has them: `config.yaml`, `W_enc_N` and `W_dec_N.safetensors`.
    CrossLayer,
}

impl Format {
    /// What people call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "SAE Workbench run",
            Self::SaeLens6 => "SAELens v6",
            Self::SaeLens5 => "SAELens v5",
            Self::GemmaScope => "Gemma Scope",
            Self::GemmaScope2 => "Gemma Scope 2",
            Self::LlamaScope => "Llama Scope",
            Self::LlamaScopeR1 => "Llama Scope R1 Distill",
            Self::QwenScope => "Qwen-Scope",
            Self::DictionaryLearning => "dictionary_learning",
            Self::Sparsify => "sparsify",
            Self::OpenAi => "OpenAI sparse_autoencoder",
            Self::Goodfire => "Goodfire",
            Self::TranscoderSet => "circuit-tracer transcoder set",
            Self::CrossLayer => "circuit-tracer cross-layer transcoder",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One inference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What was decided, e.g. "orientation of W_enc".
    pub what: String,
    /// What was taken, e.g. "[10, 6], one row per feature".
    pub value: String,
    /// Why, e.g. "b_enc has 10 numbers, b_dec 6".
    pub why: String,
}

/// A different reading of the same files that may be meant; figures on activations decide.
#[derive(Debug, Clone, PartialEq)]
pub struct Alternative {
    /// What it takes differently, e.g. "threshold in units of scaled activations".
    pub what: String,
    /// Every threshold is multiplied by this.
    pub threshold_factor: f32,
}

impl Alternative {
    /// `dictionary` read so.
    #[must_use]
    pub fn of(&self, dictionary: &Dictionary) -> Dictionary {
        let mut other = dictionary.clone();
        if let Selection::Threshold(thresholds) = &mut other.selection {
            thresholds.iter_mut().for_each(|t| *t *= self.threshold_factor);
        }
        other
    }
}

/// What was read, and why it was read so.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The format.
    pub format: Format,
    /// The files, absolute.
    pub files: Vec<PathBuf>,
    /// The language model, as the source names it.
    pub model: Option<String>,
    /// Where the input is taken, e.g. `blocks.2.hook_resid_post`.
    pub hook_in: Option<String>,
    /// Where a transcoder's output is.
    pub hook_out: Option<String>,
    /// Whether the decoder's bias is subtracted before encoding, as published. In [`Dictionary`] the answer is folded.
    pub pre_bias: bool,
    /// What activations are multiplied by before encoding, as published; folded in [`Dictionary`].
    pub input_scale: f32,
    /// What is done to every row, in SAELens's words.
    pub normalisation: String,
    /// Active features per token, as the source says: k, or the measured L0 in its name.
    pub published_l0: Option<f64>,
    /// Everything that was not in the files as it is here.
    pub decisions: Vec<Decision>,
    /// What may have been meant instead.
    pub alternatives: Vec<Alternative>,
}

impl Reading {
    /// Of a format, with nothing known yet.
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            files: Vec::new(),
            model: None,
            hook_in: None,
            hook_out: None,
            pre_bias: true,
            input_scale: 1.0,
            normalisation: "none".to_owned(),
            published_l0: None,
            decisions: Vec::new(),
            alternatives: Vec::new(),
        }
    }

    /// Notes an inference.
    pub(super) fn decide(
        &mut self,
        what: impl Into<String>,
        value: impl Into<String>,
        why: impl Into<String>,
    ) {
        let decision = Decision { what: what.into(), value: value.into(), why: why.into() };
        if !self.decisions.contains(&decision) {
            self.decisions.push(decision);
        }
    }
}

/// What a source holds.
#[derive(Debug, Clone, PartialEq)]
#[allow(clippy::large_enum_variant)] // One of them is held at a time, next to megabytes of weights.
pub enum Content {
    /// An SAE or a transcoder.
    Dictionary(Dictionary),
    /// A transcoder for every one of these layers.
    Set(Vec<(usize, Dictionary)>),
    /// A cross-layer transcoder.
    CrossLayer(CrossLayerTranscoder),
}

/// A source that was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Opened {
    /// The dictionary or dictionaries.
    pub content: Content,
    /// How they were read.
    pub reading: Reading,
}

impl Opened {
    /// The dictionary, if there is exactly one.
    ///
    /// # Errors
    /// Transcoders of several layers.
    pub fn dictionary(self) -> crate::Result<(Dictionary, Reading)> {
        let Self { content, reading } = self;
        match content {
            Content::Dictionary(dictionary) => Ok((dictionary, reading)),
            Content::Set(mut set) if set.len() == 1 => match set.pop() {
                Some((_, dictionary)) => Ok((dictionary, reading)),
                None => Err(crate::Error::data("the set is empty")),
            },
            many => Err(several(&many)),
        }
    }

    /// That the source holds exactly one dictionary.
    ///
    /// # Errors
    /// As [`Opened::dictionary`].
    pub fn one(&self) -> crate::Result<()> {
        match &self.content {
            Content::Dictionary(_) => Ok(()),
            many => Err(several(many)),
        }
    }
}

/// Why dictionaries of several layers are not taken for one.
fn several(content: &Content) -> crate::Error {
    match content {
        Content::Set(set) => {
            let layers: Vec<String> = set.iter().map(|(layer, _)| layer.to_string()).collect();
            let file = layers.first().map_or("0", String::as_str);
            crate::Error::request(format!(
                "the source holds transcoders of {} layers ({}); one is needed",
                set.len(),
                layers.join(", ")
            ))
            .with_remedy(format!("give the file of one layer, e.g. SOURCE/layer_{file}.safetensors"))
        }
        Content::CrossLayer(transcoder) => crate::Error::request(format!(
            "the source is a cross-layer transcoder of {} layers; a dictionary of one hook is needed, and a layer of it reconstructs \
             nothing alone",
            transcoder.layers.len()
        ))
        .with_remedy("measure it as a whole: sae check SOURCE --model MODEL"),
        Content::Dictionary(_) => crate::Error::data("the source holds one dictionary"),
    }
}

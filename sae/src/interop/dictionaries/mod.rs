//! stub
use crate::dictionary::{CrossLayerTranscoder, Dictionary};
use crate::{Error, Progress, Result};
use std::path::{Path, PathBuf};

/// stub
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub enum DictionarySource {
    Path(PathBuf),
    Hub { a: u8 },
}
impl DictionarySource {
    /// stub
    pub fn parse(name: &str) -> Self {
        Self::Path(name.into())
    }
    /// stub
    pub fn fetch(&self, _: &mut dyn Progress) -> Result<PathBuf> {
        Err(Error::request("no"))
    }
}
/// stub
#[derive(Debug, Clone, Copy)]
pub enum Format {
    /// stub
    SaeLens,
}
impl Format {
    /// stub
    pub fn name(self) -> &'static str {
        "SAELens v6"
    }
}
/// stub
pub fn recognise(path: &Path) -> Result<Format> {
    if path.join("cfg.json").exists() { Ok(Format::SaeLens) } else { Err(Error::request("no")) }
}
/// stub
#[derive(Debug, Clone)]
pub struct Opened {
    /// stub
    pub content: Content,
    /// stub
    pub reading: Reading,
}
/// stub
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant)]
pub enum Content {
    /// stub
    Dictionary(Dictionary),
    /// stub
    CrossLayer(CrossLayerTranscoder),
    /// stub
    Set(Vec<(usize, Dictionary)>),
}
/// stub
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Reading {
    pub format: Format,
    pub files: Vec<PathBuf>,
    pub model: Option<String>,
    pub hook_in: Option<String>,
    pub hook_out: Option<String>,
    pub pre_bias: bool,
    pub input_scale: f32,
    pub normalisation: String,
    pub decisions: Vec<Decision>,
    pub published_l0: Option<f64>,
    pub alternatives: Vec<Alternative>,
}
/// stub
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Alternative {
    pub threshold_factor: f32,
}
impl Opened {
    /// stub
    pub fn dictionary(self) -> Result<(Dictionary, Reading)> {
        match self.content {
            Content::Dictionary(d) => Ok((d, self.reading)),
            _ => Err(Error::request("x")),
        }
    }
}
/// stub
#[derive(Debug, Clone)]
#[allow(missing_docs)]
pub struct Decision {
    pub what: String,
    pub value: String,
    pub why: String,
}
/// stub
pub fn open_path(path: &Path) -> Result<Opened> {
    let dictionary = Dictionary::load(&path)?;
    let text = std::fs::read_to_string(path.join("cfg.json")).unwrap_or_default();
    let v: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    let reading = Reading {
        format: Format::SaeLens,
        files: vec![path.join("cfg.json"), path.join("sae_weights.safetensors")],
        model: dictionary.info.model_name.clone(),
        hook_in: dictionary.info.hook_name.clone(),
        hook_out: dictionary.target.as_ref().and_then(|t| t.hook.clone()),
        pre_bias: v["apply_b_dec_to_input"].as_bool().unwrap_or(true),
        input_scale: 1.0,
        normalisation: "none".into(),
        decisions: vec![],
        published_l0: None,
        alternatives: vec![],
    };
    Ok(Opened { content: Content::Dictionary(dictionary), reading })
}

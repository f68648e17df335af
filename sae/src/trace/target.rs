//! What a graph is asked about.

use std::path::Path;

use candle_core::{Device, Tensor};

use super::transcoders::Transcoders;
use crate::heads::PlacedDictionary;
use crate::{Error, Result};
use lm::model::{Decoder, Frozen, Hook, LanguageModel, Site};

/// What a graph explains.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// The likeliest tokens after the text: as many as have `mass` of the probability together, at most `most`.
    Likeliest {
        /// Probability that they have together.
        mass: f32,
        /// Most tokens.
        most: usize,
    },
    /// The logit of one token after the text.
    Token(u32),
    /// The pre-activation of a feature on a token.
    Feature {
        /// Layer of its transcoder.
        layer: usize,
        /// The feature.
        feature: u32,
        /// The token, counted from 0 with BOS; the last if none is given.
        position: Option<usize>,
    },
    /// What a feature of any dictionary of the model reads on a token: of the stream, of heads' outputs.
    Read {
        /// Its name.
        name: String,
        /// Where it reads.
        hook: Hook,
        /// Its row of the encoder, as wide as the hook.
        row: Vec<f32>,
        /// The token, counted from 0 with BOS; the last if none is given.
        position: Option<usize>,
    },
    /// The logit of an expert in a layer's router, at the last token.
    Router {
        /// The layer.
        layer: usize,
        /// The expert.
        expert: usize,
    },
    /// A direction of what the MLP of a layer reads, at the last token.
    Direction {
        /// The layer.
        layer: usize,
        /// `[d_model]`.
        direction: Vec<f32>,
    },
}

impl Default for Target {
    fn default() -> Self {
        Self::Likeliest { mass: 0.95, most: 10 }
    }
}

impl Target {
    /// Reads `logits`, `token:TEXT`, `feature:LAYER:FEATURE[@POSITION]` of a transcoder, `feature:RUN:FEATURE[@POSITION]` of any
    /// dictionary of the model, `router:LAYER:EXPERT` or `direction:LAYER:FILE` (a JSON list of numbers).
    ///
    /// # Errors
    /// Anything else; a text that is not one token; a file or a run that cannot be read, holds something else, or does not
    /// fit the model.
    pub fn parse(text: &str, model: &LanguageModel) -> Result<Self> {
        let unknown = || {
            Error::request(format!("`{text}` is not a target")).with_remedy(
                "give logits, token:TEXT, feature:LAYER:FEATURE, feature:LAYER:FEATURE@POSITION, feature:RUN:FEATURE@POSITION, \
                 router:LAYER:EXPERT or direction:LAYER:FILE",
            )
        };
        let number = |text: &str| text.parse::<usize>().map_err(|_| unknown());
        if text == "logits" {
            return Ok(Self::default());
        }
        let (kind, rest) = text.split_once(':').ok_or_else(unknown)?;
        if kind == "token" {
            return match model.tokenizer().encode_after_bos(rest)?[..] {
                [token] => Ok(Self::Token(token)),
                ref several => Err(Error::request(format!("`{rest}` is {} tokens, not one", several.len()))
                    .with_remedy(
                        "most words are one token only with the space before them: --target 'token: word'",
                    )),
            };
        }
        if kind == "feature" {
            let (of, place) = rest.rsplit_once(':').ok_or_else(unknown)?;
            let (feature, position) = match place.split_once('@') {
                None => (place, None),
                Some((feature, position)) => (feature, Some(number(position)?)),
            };
            let feature = feature.parse().map_err(|_| unknown())?;
            return match of.parse() {
                Ok(layer) => Ok(Self::Feature { layer, feature, position }),
                Err(_) => Self::of_run(Path::new(of), feature, position, model),
            };
        }
        let (layer, rest) = rest.split_once(':').ok_or_else(unknown)?;
        let layer = number(layer)?;
        match kind {
            "router" => Ok(Self::Router { layer, expert: number(rest)? }),
            "direction" => {
                let path = Path::new(rest);
                let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
                let direction = serde_json::from_slice(&bytes)
                    .map_err(|e| Error::format(path, format!("is not a JSON list of numbers: {e}")))?;
                Ok(Self::Direction { layer, direction })
            }
            _ => Err(unknown()),
        }
    }

    fn of_run(run: &Path, feature: u32, position: Option<usize>, model: &LanguageModel) -> Result<Self> {
        let placed = PlacedDictionary::open(run, model.config())?;
        placed.dictionary.needs_pre_activations("an attribution graph")?;
        let size = placed.dictionary.d_sae;
        if feature as usize >= size {
            return Err(Error::request(format!("{} has no feature {feature}: it has {size}", run.display())));
        }
        Ok(Self::Read {
            name: format!("feature {feature} of {}", run.display()),
            hook: placed.hook,
            row: placed.dictionary.encoder_row(feature as usize).to_vec(),
            position,
        })
    }
}

/// Where the backward pass of a target begins.
#[derive(Debug)]
pub(super) enum Start {
    /// The logit of a token, less the mean of all.
    Logit(u32),
    /// A vector that is multiplied with what something reads.
    Read { layer: usize, site: Site, position: usize, vector: Vec<f32> },
}

/// One thing that is asked about.
#[derive(Debug)]
pub(super) struct Question {
    pub start: Start,
    /// None for a token, which says it itself.
    pub name: Option<String>,
    pub weight: f32,
}

impl Target {
    /// The questions of a target.
    ///
    /// # Errors
    /// A token, a layer, a feature, an expert or a position that does not exist.
    pub(super) fn questions(
        &self,
        decoder: &Decoder,
        frozen: &Frozen,
        transcoders: &Transcoders,
    ) -> Result<Vec<Question>> {
        let last = frozen.len() - 1;
        let asked = |name: String, layer, site, position, vector| {
            vec![Question {
                start: Start::Read { layer, site, position, vector },
                name: Some(name),
                weight: 1.0,
            }]
        };
        match self {
            Self::Likeliest { mass, most } => {
                let chosen = likeliest(&probabilities(frozen.logits()), *mass, *most);
                Ok(chosen.into_iter().map(|(token, weight)| logit(token, weight)).collect())
            }
            Self::Token(token) => match probabilities(frozen.logits()).get(*token as usize) {
                Some(&probability) => Ok(vec![logit(*token, probability)]),
                None => Err(Error::request(format!(
                    "there is no token {token}: the vocabulary has {}",
                    frozen.logits().len()
                ))),
            },
            Self::Feature { layer, feature, position } => {
                let transcoder = transcoders.layers.get(layer).ok_or_else(|| {
                    Error::request(format!(
                        "there is no transcoder of layer {layer}, so it has no feature {feature}"
                    ))
                })?;
                let dictionary = &transcoder.dictionary;
                if *feature as usize >= dictionary.d_sae {
                    let size = dictionary.d_sae;
                    return Err(Error::request(format!(
                        "layer {layer} has no feature {feature}: it has {size}"
                    )));
                }
                let position = within(*position, last)?;
                let row = dictionary.encoder_row(*feature as usize).to_vec();
                let name = format!("feature {feature} of layer {layer} at token {position}");
                Ok(asked(name, *layer, transcoder.site, position, row))
            }
            Self::Read { name, hook, row, position } => {
                let position = within(*position, last)?;
                let name = format!("{name} at token {position}");
                Ok(asked(name, hook.layer, hook.site, position, row.clone()))
            }
            Self::Router { layer, expert } => {
                let of_layer = decoder.moe_layers().find(|moe| moe.layer == *layer);
                let moe = of_layer.ok_or_else(|| {
                    Error::request(format!("layer {layer} has no experts, so it has no router"))
                })?;
                let router = moe.router.ok_or_else(|| {
                    Error::request(format!(
                        "the router of layer {layer} has no row for an expert, so it cannot be a target"
                    ))
                })?;
                let experts = router.dim(0)?;
                if *expert >= experts {
                    return Err(Error::request(format!(
                        "layer {layer} has no expert {expert}: it has {experts}"
                    )));
                }
                let row = router.get(*expert)?.flatten_all()?.to_vec1()?;
                Ok(asked(format!("router {layer}, expert {expert}"), *layer, Site::MlpIn, last, row))
            }
            Self::Direction { layer, direction } => {
                if direction.len() != frozen.d_model() || *layer >= frozen.layers() {
                    return Err(Error::request(format!(
                        "a direction of {} numbers at layer {layer}: the model is {} wide and has {} layers",
                        direction.len(),
                        frozen.d_model(),
                        frozen.layers()
                    )));
                }
                Ok(asked(
                    format!("a direction at layer {layer}"),
                    *layer,
                    Site::MlpIn,
                    last,
                    direction.clone(),
                ))
            }
        }
    }
}

/// A token of the text, the last if none is given.
fn within(position: Option<usize>, last: usize) -> Result<usize> {
    match position.unwrap_or(last) {
        position if position <= last => Ok(position),
        position => Err(Error::request(format!(
            "the text has no token {position}: its tokens are numbered from 0 to {last}"
        ))),
    }
}

fn logit(token: u32, probability: f32) -> Question {
    Question { start: Start::Logit(token), name: None, weight: probability }
}

fn probabilities(logits: &[f32]) -> Vec<f32> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials: Vec<f64> = logits.iter().map(|logit| f64::from(logit - largest).exp()).collect();
    let sum: f64 = exponentials.iter().sum();
    exponentials.iter().map(|x| (x / sum) as f32).collect()
}

/// The tokens, most probable first, until they have `mass` together, at most `most`.
fn likeliest(probabilities: &[f32], mass: f32, most: usize) -> Vec<(u32, f32)> {
    let mut order: Vec<u32> = (0..probabilities.len() as u32).collect();
    order.sort_by(|&a, &b| probabilities[b as usize].total_cmp(&probabilities[a as usize]).then(a.cmp(&b)));
    let (mut chosen, mut sum) = (Vec::new(), 0.0);
    for token in order.into_iter().take(most.max(1)) {
        chosen.push((token, probabilities[token as usize]));
        sum += probabilities[token as usize];
        if sum >= mass {
            break;
        }
    }
    chosen
}

/// The directions `[n, V]` of logits less the mean of all.
pub(crate) fn logit_directions(tokens: &[u32], vocabulary: usize) -> Result<Tensor> {
    let mean = -1.0 / vocabulary as f32;
    let mut directions = vec![mean; tokens.len() * vocabulary];
    for (row, &token) in directions.chunks_exact_mut(vocabulary).zip(tokens) {
        row[token as usize] += 1.0;
    }
    Ok(Tensor::from_vec(directions, (tokens.len(), vocabulary), &Device::Cpu)?)
}

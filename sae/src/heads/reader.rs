//! What reads a token of a text, and the parts of what it reads.

use serde::Serialize;

use super::placed::PlacedDictionary;
use crate::trace::logit_directions;
use crate::{Error, Result};
use kernels::wide::dot;
use lm::model::{Decoder, Frozen, Hook, LanguageModel, Site};
use lm::text::Contexts;

/// A model held linear at a text of `len` tokens, BOS included where the model has one.
#[derive(Debug)]
pub struct HeldText {
    frozen: Frozen,
    tokens: Vec<u32>,
}

/// Where in the stream a vector is, counted in branches from the embedding: 2·ℓ before block ℓ, 2·ℓ + 1 after its attention.
pub(super) type Depth = usize;

/// What is read, and how.
#[derive(Debug, Clone)]
enum Place {
    /// The stream.
    Stream { depth: Depth },
    /// The outputs of a layer's heads, next to each other.
    Heads { layer: usize },
}

/// A linear reading of one token: a feature's encoder row at its hook, a logit, or what a head moved away from the token.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    text: &'a HeldText,
    token: usize,
    place: Place,
    /// What is read there is multiplied by this, `[d_model]` or `[heads · d_value]`.
    reads: Vec<f32>,
    /// The value that the parts add up to.
    whole: f64,
    /// Whether features of a dictionary at this very place are parts. They are not where the reader is a feature there.
    open: bool,
}

/// What the heads of a layer moved, one of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HeadParts {
    /// The layer.
    pub layer: usize,
    /// The head.
    pub head: usize,
    /// What it moved from each token up to the reader's, `[token + 1]`.
    pub sources: Vec<f32>,
}

impl HeadParts {
    /// From all tokens.
    pub fn sum(&self) -> f32 {
        self.sources.iter().sum()
    }
}

/// What the MLP, or the mixture of experts, of a layer wrote at the token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct MlpPart {
    /// The layer.
    pub layer: usize,
    /// What it gives.
    pub value: f32,
}

/// A reading, taken apart. Everything but `biases` is computed from what the model had at its hooks.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Parts {
    /// The token, counted from the context's first, BOS where there is one.
    pub token: usize,
    /// What the parts add up to.
    pub whole: f32,
    /// Of each layer and head that wrote before the reader, from the last layer to the first.
    pub heads: Vec<HeadParts>,
    /// Of each MLP that wrote at the token before the reader, from the last to the first.
    pub mlps: Vec<MlpPart>,
    /// The token's embedding; none for what reads heads alone.
    pub embedding: Option<f32>,
    /// What is left: biases of the encoder, of norms and of attention.
    pub biases: f32,
}

impl Parts {
    /// What single heads moved from single tokens, the `most` that give most: layer, head, token, value.
    pub fn strongest(&self, most: usize) -> Vec<(usize, usize, usize, f32)> {
        let all = self.heads.iter().flat_map(|head| {
            let sources = head.sources.iter().enumerate();
            sources.map(move |(source, &value)| (head.layer, head.head, source, value))
        });
        let mut all: Vec<_> = all.filter(|one| one.3 != 0.0).collect();
        all.sort_by(|a, b| b.3.abs().total_cmp(&a.3.abs()).then((a.0, a.1, a.2).cmp(&(b.0, b.1, b.2))));
        all.truncate(most);
        all
    }
}

impl HeldText {
    /// Holds `decoder` at `contexts`, one row without padding.
    ///
    /// # Errors
    /// What [`Decoder::freeze`] refuses: several rows, models whose blocks are not linear once patterns and norms are held.
    pub fn new(decoder: &Decoder, contexts: &Contexts) -> Result<Self> {
        Ok(Self { frozen: decoder.freeze(contexts)?, tokens: contexts.tokens.clone() })
    }

    /// Holds `model` at `text`.
    ///
    /// # Errors
    /// An empty text, one that is too long for the model; as [`HeldText::new`].
    pub fn of(model: &LanguageModel, text: &str) -> Result<Self> {
        Self::new(model.decoder(), &crate::trace::one_row(model, model.tokenizer().encode_after_bos(text)?)?)
    }

    /// The model as it is held.
    pub(crate) fn frozen(&self) -> &Frozen {
        &self.frozen
    }

    /// The tokens, `[len]`.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// What `feature` of `dictionary` reads at `token`: its pre-activation.
    ///
    /// # Errors
    /// A hook that nothing linear leads to (inside an MLP, queries, keys); codes that are not pre-activations; a token or a feature that
    /// does not exist.
    pub fn feature(&self, placed: &PlacedDictionary, feature: u32, token: usize) -> Result<Reader<'_>> {
        self.check(token)?;
        let dictionary = &placed.dictionary;
        dictionary.needs_pre_activations("attribution to heads and tokens")?;
        if feature as usize >= dictionary.d_sae {
            return Err(Error::request(format!(
                "there is no feature {feature}: the dictionary has {}",
                dictionary.d_sae
            )));
        }
        let encoder = dictionary.encoder_row(feature as usize);
        let own = self.row(placed.hook, token)?;
        let constant = f64::from(dictionary.b_enc[feature as usize]) - dot(encoder, &dictionary.subtracted());
        let (place, reads) = self.placed(placed.hook, token, encoder)?;
        Ok(Reader { text: self, token, place, reads, whole: dot(encoder, &own) + constant, open: false })
    }

    /// What a vector of the unembedding reads after the last token: the logit of `token`, less the mean of all.
    ///
    /// # Errors
    /// A token outside the vocabulary.
    pub fn logit(&self, token: u32) -> Result<Reader<'_>> {
        let logits = self.frozen.logits_before_cap();
        if token as usize >= logits.len() {
            return Err(Error::request(format!(
                "there is no token {token}: the vocabulary has {}",
                logits.len()
            )));
        }
        let directions = logit_directions(&[token], logits.len())?;
        let gradient: Vec<f32> = self.frozen.from_logits(&directions)?.flatten_all()?.to_vec1()?;
        let (last, d) = (self.tokens.len() - 1, self.frozen.d_model());
        let mean = logits.iter().map(|&logit| f64::from(logit)).sum::<f64>() / logits.len() as f64;
        Ok(Reader {
            text: self,
            token: last,
            place: Place::Stream { depth: 2 * self.frozen.layers() },
            reads: gradient[last * d..].to_vec(),
            whole: f64::from(logits[token as usize]) - mean,
            open: true,
        })
    }

    /// What `vector` reads at `hook` and `token`, without a bias.
    ///
    /// # Errors
    /// As [`HeldText::feature`].
    pub fn direction(&self, hook: Hook, vector: &[f32], token: usize) -> Result<Reader<'_>> {
        self.check(token)?;
        let own = self.row(hook, token)?;
        if own.len() != vector.len() {
            return Err(Error::request(format!(
                "{hook} is {} wide, the direction has {} numbers",
                own.len(),
                vector.len()
            )));
        }
        let (place, reads) = self.placed(hook, token, vector)?;
        Ok(Reader { text: self, token, place, reads, whole: dot(vector, &own), open: true })
    }

    /// The value at a hook and a token.
    pub(super) fn row(&self, hook: Hook, token: usize) -> Result<Vec<f32>> {
        let values = self.frozen.values(hook.layer, hook.site)?;
        let width = values.len() / self.tokens.len();
        Ok(values[token * width..(token + 1) * width].to_vec())
    }

    /// Where something that reads `hook` by `vector` reads the stream or the heads, and by what.
    fn placed(&self, hook: Hook, token: usize, vector: &[f32]) -> Result<(Place, Vec<f32>)> {
        let layer = hook.layer;
        let stream = |depth| Ok((Place::Stream { depth }, vector.to_vec()));
        match hook.site {
            Site::ResidPre => stream(2 * layer),
            Site::ResidMid => stream(2 * layer + 1),
            Site::ResidPost => stream(2 * layer + 2),
            Site::MlpIn => {
                let depth = if self.frozen.is_parallel(layer)? { 2 * layer } else { 2 * layer + 1 };
                Ok((Place::Stream { depth }, self.frozen.before_mlp_norm(layer, token, vector)?))
            }
            Site::AttnZ => Ok((Place::Heads { layer }, vector.to_vec())),
            Site::AttnOut => Ok((Place::Heads { layer }, self.frozen.at_heads(layer, token, vector)?)),
            _ => Err(Error::request(format!(
                "nothing linear leads to {hook}, so a feature there has no parts by heads and tokens"
            ))
            .with_remedy(
                "take a dictionary of the residual stream, of attn.hook_z, of hook_attn_out or of hook_mlp_in",
            )),
        }
    }

    fn check(&self, token: usize) -> Result<()> {
        match token < self.tokens.len() {
            true => Ok(()),
            false => Err(Error::request(format!(
                "the text has no token {token}: its tokens are numbered from 0 to {}",
                self.tokens.len() - 1
            ))),
        }
    }
}

impl<'a> Reader<'a> {
    /// What it reads: what [`Parts`] add up to.
    pub fn whole(&self) -> f32 {
        self.whole as f32
    }

    /// The token at which it reads.
    pub fn token(&self) -> usize {
        self.token
    }

    /// By what it reads the stream, `[d_model]`, or heads, `[heads · d_value]`.
    pub(crate) fn reads(&self) -> &[f32] {
        &self.reads
    }

    /// Takes it apart.
    ///
    /// # Errors
    /// A model that does not show its values.
    pub fn parts(&self) -> Result<Parts> {
        let frozen = &self.text.frozen;
        let mut parts = Parts {
            token: self.token,
            whole: self.whole as f32,
            heads: Vec::new(),
            mlps: Vec::new(),
            embedding: None,
            biases: 0.0,
        };
        match self.place {
            Place::Heads { layer } => parts.heads = self.heads(layer)?,
            Place::Stream { depth } => {
                for below in (0..depth).rev() {
                    let layer = below / 2;
                    match below % 2 {
                        0 => parts.heads.extend(self.heads(layer)?),
                        _ => {
                            let wrote = self.text.row(Hook::new(layer, Site::MlpOut), self.token)?;
                            parts.mlps.push(MlpPart { layer, value: dot(&self.reads, &wrote) as f32 });
                        }
                    }
                }
                let d = frozen.d_model();
                let embedding = &frozen.embedding()[self.token * d..(self.token + 1) * d];
                parts.embedding = Some(dot(&self.reads, embedding) as f32);
            }
        }
        let heads = parts.heads.iter().flat_map(|head| &head.sources);
        let all = heads.copied().chain(parts.mlps.iter().map(|mlp| mlp.value)).chain(parts.embedding);
        parts.biases = (self.whole - all.map(f64::from).sum::<f64>()) as f32;
        Ok(parts)
    }

    fn heads(&self, layer: usize) -> Result<Vec<HeadParts>> {
        let mut moved = self.text.frozen.moved(layer, self.token, &self.at_heads(layer)?)?;
        // Later tokens are not seen.
        moved.iter_mut().for_each(|sources| sources.truncate(self.token + 1));
        Ok(moved.into_iter().enumerate().map(|(head, sources)| HeadParts { layer, head, sources }).collect())
    }

    /// By what it reads the heads' outputs of a layer, `[heads · d_value]`.
    ///
    /// # Errors
    /// A layer whose heads write after it.
    pub(super) fn at_heads(&self, layer: usize) -> Result<Vec<f32>> {
        match self.place {
            Place::Heads { layer: own } if own == layer => Ok(self.reads.clone()),
            Place::Stream { depth } if 2 * layer < depth => {
                self.text.frozen.at_heads(layer, self.token, &self.reads)
            }
            _ => Err(Error::request(format!("the heads of layer {layer} do not write to what is read here"))),
        }
    }

    /// By what it reads the stream at `depth`, `[d_model]`, if it reads that.
    pub(super) fn at_stream(&self, depth: Depth) -> Option<&[f32]> {
        match self.place {
            Place::Stream { depth: own } if depth < own || (depth == own && self.open) => Some(&self.reads),
            _ => None,
        }
    }

    /// By what it reads what a branch adds to the stream at `depth`, `[d_model]`, if it reads that.
    pub(super) fn after(&self, depth: Depth) -> Option<Vec<f32>> {
        match self.place {
            Place::Stream { depth: own } if depth < own => Some(self.reads.clone()),
            _ => None,
        }
    }

    /// Whether what the heads of `layer` write is a part of it, which another feature may describe.
    pub(super) fn reads_heads(&self, layer: usize) -> bool {
        match self.place {
            Place::Stream { depth } => 2 * layer < depth,
            Place::Heads { layer: own } => self.open && own == layer,
        }
    }

    pub(super) fn text(&self) -> &'a HeldText {
        self.text
    }

    /// The reader of what `head` of a layer (all of its heads if none is named) moved to this one from `source`.
    ///
    /// # Errors
    /// A layer whose heads write after this reader, a head or a token that does not exist or that comes later.
    pub fn through(&self, layer: usize, head: Option<usize>, source: usize) -> Result<Reader<'a>> {
        let (text, reads) = (self.text, self.at_heads(layer)?);
        text.check(source)?;
        let heads = text.frozen.heads(layer)?;
        if source > self.token {
            return Err(Error::request(format!(
                "token {source} comes after token {}, which does not see it",
                self.token
            )));
        }
        let range = match head {
            None => 0..heads,
            Some(head) if head < heads => head..head + 1,
            Some(head) => {
                return Err(Error::request(format!("layer {layer} has no head {head}: it has {heads}")));
            }
        };
        let moved = text.frozen.moved(layer, self.token, &reads)?;
        let whole = moved[range.clone()].iter().map(|sources| f64::from(sources[source])).sum();
        let reads = text.frozen.through(layer, (source, self.token), &reads, range)?;
        Ok(Reader {
            text,
            token: source,
            place: Place::Stream { depth: 2 * layer },
            reads,
            whole,
            open: true,
        })
    }
}

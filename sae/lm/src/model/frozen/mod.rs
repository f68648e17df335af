//! A decoder at one text as a linear map: attention patterns and norms' divisors are held at what they are
//! there, and what the MLPs write is given from outside.
//!
//! Then what a vector that is added to the residual stream does to a later reading of the stream is exact, not
//! a first-order estimate, and one backward pass gives it for all places at once. This is the replacement model
//! of attribution graphs (Ameisen et al. 2025, "Circuit Tracing").

mod attention;
mod heads;
mod norm;

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::{Decoder, Hook, Site, Tap};
use crate::text::Contexts;
use crate::{Error, Result};
pub(super) use attention::FrozenAttention;
pub(super) use norm::FrozenNorm;
use norm::back;

/// What is remembered of every block.
const KEPT: [Site; 9] = [
    Site::ResidPre,
    Site::V,
    Site::Pattern,
    Site::AttnZ,
    Site::AttnOut,
    Site::ResidMid,
    Site::MlpIn,
    Site::MlpOut,
    Site::ResidPost,
];

/// A decoder at one text of `len` tokens, linear between its MLPs. See the module's text.
#[derive(Debug)]
pub struct Frozen {
    len: usize,
    d_model: usize,
    blocks: Vec<FrozenBlock>,
    norm: FrozenNorm,
    /// `[V, d_model]`.
    output: Tensor,
    logit_scale: f64,
    /// `[len, d_model]`.
    embedding: Vec<f32>,
    /// `[V]`.
    logits: Vec<f32>,
    /// The same without the cap, `[V]`.
    uncapped: Vec<f32>,
}

/// One block at the text.
#[derive(Debug)]
pub(super) struct FrozenBlock {
    pub parallel: bool,
    pub attention: FrozenAttention,
    /// The norm of what the MLP reads; none: the stream itself.
    pub mlp_norm: Option<FrozenNorm>,
    pub seen: Seen,
}

/// Keeps what [`Frozen`] needs of a pass.
#[derive(Default)]
struct Record(BTreeMap<Hook, Tensor>);

impl Tap for Record {
    fn wants(&self, hook: &Hook) -> bool {
        KEPT.contains(&hook.site)
    }

    fn at(&mut self, hook: &Hook, value: &Tensor) -> Result<Option<Tensor>> {
        self.0.insert(*hook, value.clone());
        Ok(None)
    }
}

/// The values that a block had at [`KEPT`], `[1, len, …]`.
#[derive(Debug)]
pub(super) struct Seen(BTreeMap<Site, Tensor>);

impl Seen {
    /// # Errors
    /// A site that the block does not have.
    pub fn at(&self, site: Site) -> Result<&Tensor> {
        let missing = || Error::request(format!("a block of this model has no {}", site.name()));
        self.0.get(&site).ok_or_else(missing)
    }
}

impl Decoder {
    /// Runs the decoder on one row without padding and holds its patterns and divisors.
    ///
    /// # Errors
    /// More than one row, padding, or several segments; a model whose blocks read or write more than the residual
    /// stream (Gemma 3n and 4); attention whose values are not a linear function of the stream (clipped, or made
    /// from latents as in DeepSeek).
    pub fn freeze(&self, contexts: &Contexts) -> Result<Frozen> {
        let whole = contexts.segments.iter().all(|&segment| segment != 0 && segment == contexts.segments[0]);
        if contexts.rows != 1 || !whole {
            return Err(Error::request("a model is frozen at one text, without padding"));
        }
        if !self.config().is_one_stream() || self.config().blocks.iter().any(|block| block.scaled) {
            return Err(Error::request(format!(
                "a {} model cannot be traced: its blocks read and write more than one residual stream, so holding \
                 attention patterns and norms does not make it a linear map of that stream",
                self.config().model_type
            )));
        }
        let mut record = Record::default();
        let residual = self.residual(contexts, self.blocks().len(), &mut record)?;
        let mut by_layer = vec![BTreeMap::new(); self.blocks().len()];
        for (hook, value) in record.0 {
            by_layer[hook.layer].insert(hook.site, value);
        }
        let embedding = by_layer.first().and_then(|sites| sites.get(&Site::ResidPre));
        let embedding = embedding.unwrap_or(&residual).flatten_all()?.to_vec1()?;
        let frozen = self.blocks().iter().zip(by_layer).map(|(block, values)| block.freeze(Seen(values)));
        let blocks = frozen.collect::<Result<_>>()?;
        let last = residual.narrow(1, contexts.len - 1, 1)?.contiguous()?;
        let (norm, output) = self.head();
        let uncapped =
            (norm.forward(&last)?.reshape((1, ()))?.matmul(&output.t()?)? * self.config().logit_scale)?;
        Ok(Frozen {
            len: contexts.len,
            d_model: self.config().hidden_size,
            blocks,
            norm: FrozenNorm::new(norm, &residual)?,
            output: output.clone(),
            logit_scale: self.config().logit_scale,
            embedding,
            logits: self.logits(&last)?.flatten_all()?.to_vec1()?,
            uncapped: uncapped.flatten_all()?.to_vec1()?,
        })
    }
}

impl Frozen {
    /// Tokens of the text.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True if there are none, which [`Decoder::freeze`] does not give.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// d_model.
    pub fn d_model(&self) -> usize {
        self.d_model
    }

    /// Blocks.
    pub fn layers(&self) -> usize {
        self.blocks.len()
    }

    /// The residual stream before the first block, `[len, d_model]`.
    pub fn embedding(&self) -> &[f32] {
        &self.embedding
    }

    /// Logits after the last token, `[V]`.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }

    /// The same before a cap on them, if the model has one.
    pub fn logits_before_cap(&self) -> &[f32] {
        &self.uncapped
    }

    /// The values at a vector of the stream, at what a branch of a layer reads ([`Site::MlpIn`]) or writes, `[len, d_model]`, or
    /// at [`Site::AttnZ`], `[len, heads · d_value]`.
    ///
    /// # Errors
    /// A layer or a site that the model does not have, or that is not kept.
    pub fn values(&self, layer: usize, site: Site) -> Result<Vec<f32>> {
        Ok(self.block(layer)?.seen.at(site)?.flatten_all()?.to_vec1()?)
    }

    /// The gradient at the final residual stream, `[n, len, d_model]`, of directions of the logits after the last
    /// token, `directions [n, V]`. A cap on the logits is left out: directions are of the logits before it.
    ///
    /// # Errors
    /// Directions that are not V wide.
    pub fn from_logits(&self, directions: &Tensor) -> Result<Tensor> {
        let n = directions.dim(0)?;
        let at_norm = (directions.matmul(&self.output)? * self.logit_scale)?.unsqueeze(1)?;
        let before = Tensor::zeros((n, self.len - 1, self.d_model), at_norm.dtype(), at_norm.device())?;
        self.norm.back(&Tensor::cat(&[before, at_norm], 1)?)
    }

    /// The gradient at the stream before block `layer` of one at the stream after it, both `[n, len, d_model]`.
    /// `read` is the gradient at what something reads inside the block: at the stream ([`Site::ResidPre`], [`Site::ResidMid`],
    /// [`Site::ResidPost`]), at [`Site::MlpIn`], at [`Site::AttnOut`] or at [`Site::AttnZ`], `[n, len, heads · d_value]`. What
    /// the MLP itself does is left out.
    ///
    /// # Errors
    /// A layer or a site that the model does not have, gradients of a different shape.
    pub fn back(&self, layer: usize, post: &Tensor, read: Option<(Site, &Tensor)>) -> Result<Tensor> {
        let block = self.block(layer)?;
        let mut at_mid = post.clone();
        let (mut at_pre, mut at_out, mut at_z) = (None, None, None);
        match read {
            None => {}
            Some((Site::MlpIn, gradient)) if block.parallel => {
                at_pre = Some(back(block.mlp_norm.as_ref(), gradient)?);
            }
            Some((Site::MlpIn, gradient)) => at_mid = (at_mid + back(block.mlp_norm.as_ref(), gradient)?)?,
            Some((Site::ResidMid, gradient)) if !block.parallel => at_mid = (at_mid + gradient)?,
            Some((Site::ResidPost, gradient)) => at_mid = (at_mid + gradient)?,
            Some((Site::ResidPre, gradient)) => at_pre = Some(gradient.clone()),
            Some((Site::AttnOut, gradient)) => at_out = Some((&at_mid + gradient)?),
            Some((Site::AttnZ, gradient)) => at_z = Some(gradient),
            Some((site, _)) => {
                let hook = Hook::new(layer, site);
                return Err(Error::request(format!("a graph cannot be traced from what reads {hook}")));
            }
        }
        let mut before = (&at_mid + block.attention.back(at_out.as_ref().unwrap_or(&at_mid))?)?;
        if let Some(gradient) = at_z {
            before = (before + block.attention.back_from_z(gradient)?)?;
        }
        Ok(match at_pre {
            Some(gradient) => (before + gradient)?,
            None => before,
        })
    }
}

//! The whole decoder: embedding, blocks, final norm, output matrix.

use std::cell::RefCell;
use std::ops::Range;

use candle_core::{Device, Tensor};

use super::altup::Streams;
use super::attention::Batch;
use super::block::{Aside, Block};
use super::cache::KeyValueCache;
use super::compute::Compute;
use super::config::RopeConfig;
use super::load::{Loader, Norm};
use super::mixture::MoeLayer;
use super::monet::MonetExperts;
use super::ops::{AttentionMask, Compared, Rotation, Unembedding, linear};
use super::per_layer::PerLayer;
use super::tap::Visitor;
use super::{Config, Hook, Site, Tap, Weights};
use crate::text::Contexts;
use crate::{Error, Result};

/// A decoder-only language model with taps at its hooks.
#[derive(Debug)]
pub struct Decoder {
    config: Config,
    embedding: Tensor,
    positions: Option<Tensor>,
    streams: Option<Streams>,
    per_layer: Option<PerLayer>,
    blocks: Vec<Block>,
    norm: Norm,
    output: Tensor,
    /// The different rotary embeddings of the blocks.
    ropes: Vec<RopeConfig>,
}

impl Decoder {
    /// Takes the weights that `config` asks for; names and shapes are Hugging Face's.
    ///
    /// # Errors
    /// A tensor that is missing or has a different shape than `config` says, with its name.
    pub fn new(config: Config, mut weights: Weights) -> Result<Self> {
        let mut loader = Loader::new(&mut weights, &config);
        let embedding = loader.embedding(&config)?;
        let positions = if config.learned_positions { Some(loader.positions(&config)?) } else { None };
        let streams = match config.streams {
            Some(streams) => Some(Streams::load(&mut loader, &config, streams)?),
            None => None,
        };
        let per_layer = match config.per_layer {
            Some(own) => Some(PerLayer::load(&mut loader, &config, own)?),
            None => None,
        };
        let mut blocks = Vec::new();
        let mut ropes: Vec<RopeConfig> = Vec::new();
        for (layer, block) in config.blocks.iter().enumerate() {
            blocks.push(Block::load(&mut loader, &config, layer)?);
            ropes.extend(block.attention.rope.clone().filter(|rope| !ropes.contains(rope)));
        }
        let output = loader.output(&config, &embedding)?;
        let norm = loader.final_norm(&config)?;
        Ok(Self { embedding, positions, streams, per_layer, blocks, norm, output, ropes, config })
    }

    /// Multiplies with the weights of attention, MLPs and experts in `compute` from now on.
    pub fn set_compute(&mut self, compute: Compute) {
        self.blocks.iter_mut().for_each(|block| block.set_compute(compute));
    }

    /// Shape and switches.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Changes the token that begins a context.
    pub(super) fn set_bos(&mut self, token: Option<u32>) {
        self.config.bos_token_id = token;
    }

    pub(super) fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The final norm and the output matrix `[V, d_model]`.
    pub(super) fn head(&self) -> (&Norm, &Tensor) {
        (&self.norm, &self.output)
    }

    /// The weights of every layer that has experts.
    pub fn moe_layers(&self) -> impl Iterator<Item = MoeLayer<'_>> {
        self.blocks.iter().filter_map(Block::experts)
    }

    /// The experts of block `layer` as numbers of their own, if they are Monet's.
    ///
    /// # Errors
    /// Weights that cannot be copied.
    pub fn monet_experts(&self, layer: usize) -> Result<Option<MonetExperts>> {
        self.blocks.get(layer).and_then(Block::monet).transpose()
    }

    /// Every hook of this model and its width, in the order a forward pass meets them.
    pub fn hooks(&self) -> Vec<(Hook, usize)> {
        Hook::of(&self.config)
    }

    /// Runs the embedding and the first `layers` blocks: `[rows, len, d_model]`, the residual stream after
    /// them. Of a model that has several streams (Gemma 3n) that is the active one, and after the last block the
    /// mean that the final norm reads.
    ///
    /// # Errors
    /// A token that is not in the vocabulary; the tap's own.
    pub fn residual(&self, contexts: &Contexts, layers: usize, tap: &mut dyn Tap) -> Result<Tensor> {
        contexts.check_tokens(self.config.vocab_size)?;
        let x = self.embed(contexts, tap)?;
        self.through(x, 0..layers, contexts, tap)
    }

    /// Runs blocks `blocks` on the residual stream `x [rows, len, d_model]` before the first of them.
    ///
    /// # Errors
    /// A first block other than 0 of a model whose blocks read more than the stream before them
    /// ([`Config::is_one_stream`]); an error of the tap; an `x` of a different shape than the contexts.
    pub fn through(
        &self,
        x: Tensor,
        blocks: Range<usize>,
        contexts: &Contexts,
        tap: &mut dyn Tap,
    ) -> Result<Tensor> {
        if blocks.start > 0 && !self.config.is_one_stream() {
            return Err(Error::request(format!(
                "a pass through a {} model cannot begin at block {}: its blocks read more than the residual stream",
                self.config.model_type, blocks.start
            )));
        }
        let batch = self.batch(contexts, AttentionMask::new(&contexts.segments, contexts.len));
        let (mut x, mut aside) = self.aside(contexts, x)?;
        for block in &self.blocks[blocks.clone()] {
            x = block.forward(x, &batch, None, &mut aside, tap)?;
        }
        if blocks.end == self.blocks.len() { self.joined(x, aside) } else { Ok(x) }
    }

    /// What blocks read besides the stream, of the embedding `x`, and the stream.
    fn aside(&self, contexts: &Contexts, x: Tensor) -> Result<(Tensor, Aside)> {
        let inputs = match &self.per_layer {
            Some(own) => Some(own.inputs(contexts, &x)?),
            None => None,
        };
        let mut aside = Aside { inputs, ..Aside::default() };
        Ok((aside.split(self.streams.as_ref(), x)?, aside))
    }

    /// What the final norm reads where the active stream is `x` after the last block.
    fn joined(&self, x: Tensor, mut aside: Aside) -> Result<Tensor> {
        let Some(streams) = &self.streams else { return Ok(x) };
        aside.streams[streams.active()] = x;
        streams.join(&aside.streams)
    }

    /// Runs the whole model on the tokens that follow those that `cache` has seen: `[1, len, d_model]`, the final
    /// residual stream of these tokens alone. They become part of the cache, with what `tap` makes of them. On
    /// processors with AVX-512 the numbers are those of a pass over all tokens to the last bit, except where a
    /// mixture's experts multiply.
    ///
    /// # Errors
    /// Contexts that are not one row of one segment without padding, a tap that wants a pattern. After an error
    /// the cache is of no use.
    pub fn residual_after(
        &self,
        contexts: &Contexts,
        cache: &mut KeyValueCache,
        tap: &mut dyn Tap,
    ) -> Result<Tensor> {
        contexts.check_tokens(self.config.vocab_size)?;
        cache.extend(contexts, self.blocks.len())?;
        let batch = self.batch(contexts, AttentionMask::new(&cache.segments, cache.segments.len()));
        let (mut x, mut aside) = self.aside(contexts, self.embed(contexts, tap)?)?;
        for block in &self.blocks {
            x = block.forward(x, &batch, Some(&mut cache.layers), &mut aside, tap)?;
        }
        self.joined(x, aside)
    }

    fn embed(&self, contexts: &Contexts, tap: &mut dyn Tap) -> Result<Tensor> {
        let shape = (contexts.rows, contexts.len, self.config.hidden_size);
        let gather = |table: &Tensor, ids: &[u32]| -> Result<Tensor> {
            let ids = Tensor::from_slice(ids, ids.len(), &Device::Cpu)?;
            Ok(table.index_select(&ids, 0)?.reshape(shape)?)
        };
        let mut visitor = Visitor::new(0, tap);
        let mut x = gather(&self.embedding, &contexts.tokens)?;
        if self.config.embedding_scale != 1.0 {
            x = (x * self.config.embedding_scale)?;
        }
        let x = visitor.visit(Site::Embed, x)?;
        let Some(table) = &self.positions else { return Ok(x) };
        contexts.check_positions(self.config.max_position_embeddings)?;
        let positions = visitor.visit(Site::PosEmbed, gather(table, &contexts.positions)?)?;
        Ok((x + positions)?)
    }

    fn batch(&self, contexts: &Contexts, mask: AttentionMask) -> Batch {
        let rotation = |rope: &RopeConfig| (rope.clone(), Rotation::new(&contexts.positions, rope));
        let rotations = self.ropes.iter().map(rotation).collect();
        Batch { mask, rotations, sequences: contexts.sequences(), gates: RefCell::default() }
    }

    /// Logits `[rows, len, V]`.
    ///
    /// # Errors
    /// As [`Decoder::residual`].
    pub fn forward(&self, contexts: &Contexts, tap: &mut dyn Tap) -> Result<Tensor> {
        let x = self.residual(contexts, self.blocks.len(), tap)?;
        self.logits(&x)
    }

    /// Logits `[rows, len, V]` of a final residual stream `[rows, len, d_model]`.
    ///
    /// # Errors
    /// A last dimension that is not d_model.
    pub fn logits(&self, residual: &Tensor) -> Result<Tensor> {
        let mut logits = linear(&self.norm.forward(residual)?, &self.output, None)?;
        if self.config.logit_scale != 1.0 {
            logits = (logits * self.config.logit_scale)?;
        }
        match self.config.logit_cap {
            Some(cap) => Ok(((logits / cap)?.tanh()? * cap)?),
            None => Ok(logits),
        }
    }

    /// Next-token cross-entropy in nats of every position of a batch with the final residual stream
    /// `[rows, len, d_model]`, None where no token of the same segment follows. The logits are never held
    /// whole.
    ///
    /// # Errors
    /// A `residual` of a different shape than the contexts, or that is not f32 on the CPU.
    pub fn losses(&self, residual: &Tensor, contexts: &Contexts) -> Result<Vec<Option<f32>>> {
        let (hidden, unembedding) = self.before_the_logits(residual)?;
        Ok(unembedding.position_losses(&hidden, &contexts.targets())?)
    }

    /// The sum of [`Decoder::losses`], differentiable with regard to the residual stream (not the output
    /// matrix).
    ///
    /// # Errors
    /// As [`Decoder::losses`].
    pub fn summed_loss(&self, residual: &Tensor, contexts: &Contexts) -> Result<Tensor> {
        let (hidden, unembedding) = self.before_the_logits(residual)?;
        Ok(unembedding.summed_loss(&hidden, contexts.targets())?)
    }

    /// Losses and divergences of the predictions with other final residual streams than the first, all
    /// `[rows, len, d_model]`.
    ///
    /// # Errors
    /// As [`Decoder::losses`], for any of the residual streams.
    pub fn compare(&self, clean: &Tensor, others: &[Tensor], contexts: &Contexts) -> Result<Compared> {
        let (clean, unembedding) = self.before_the_logits(clean)?;
        let others: Vec<Tensor> =
            others.iter().map(|other| Ok(self.before_the_logits(other)?.0)).collect::<Result<_>>()?;
        Ok(unembedding.compare(&clean, &others, &contexts.targets())?)
    }

    fn before_the_logits(&self, residual: &Tensor) -> Result<(Tensor, Unembedding)> {
        let (rows, len, d) = residual.dims3()?;
        let hidden = self.norm.forward(residual)?.reshape((rows * len, d))?;
        let (scale, cap) = (self.config.logit_scale, self.config.logit_cap);
        Ok((hidden, Unembedding { output: self.output.clone(), scale, cap }))
    }

    /// What a direction of the residual stream does to the logits, `[V, d_model]`: the output matrix with the
    /// final norm's gain folded in. The norm's division (and a layer norm's mean), which depends on the
    /// token, is left out, and so is the mean over several streams.
    ///
    /// # Errors
    /// None that a loaded decoder gives: the shapes were checked when it was made.
    pub fn unembedding(&self) -> Result<Tensor> {
        Ok(self.output.broadcast_mul(&self.norm.gain)?)
    }
}

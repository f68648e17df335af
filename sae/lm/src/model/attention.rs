//! Attention of one block: projections, norms, rotation, pattern, output.

use std::sync::Arc;

use std::cell::RefCell;

use candle_core::Tensor;

use super::Site;
use super::cache::LayerCache;
use super::compute::Compute;
use super::config::{AttentionConfig, LatentConfig, NormConfig, NormKind, RopeConfig, TensorLayout};
use super::frozen::{FrozenAttention, FrozenNorm, Seen};
use super::fused::{AttentionBranch, Join};
use super::load::{BlockLoader, Linear, Norm};
use super::monet::Gates;
use super::ops::{Attend, AttentionMask, Heads, Rotation, attention, mix, pattern, rope};
use super::tap::Visitor;
use crate::{Error, Result};

/// The hooks that attention passes on its way.
const INSIDE: [Site; 8] =
    [Site::Q, Site::K, Site::V, Site::RotQ, Site::RotK, Site::Pattern, Site::AttnZ, Site::AttnOut];

/// What every block needs to know about the batch.
pub(super) struct Batch {
    pub mask: AttentionMask,
    /// One for every rotary embedding that the model has.
    pub rotations: Vec<(RopeConfig, Rotation)>,
    /// The sequence of every token, `[rows · len]`.
    pub sequences: Vec<u32>,
    /// What routers decided that later blocks share (Monet).
    pub gates: RefCell<Option<Gates>>,
}

impl Batch {
    fn rotation(&self, rope: &RopeConfig) -> Result<&Rotation> {
        let found = self.rotations.iter().find(|(config, _)| config == rope).map(|(_, rotation)| rotation);
        found.ok_or_else(|| Error::data("a block's rotary embedding was not prepared".to_owned()))
    }
}

/// Where q, k and v come from.
#[derive(Debug)]
enum Projection {
    Separate {
        q: Linear,
        k: Linear,
        v: Linear,
    },
    /// Values are what keys are before their norm (Gemma 4).
    KeysAlone {
        q: Linear,
        k: Linear,
    },
    /// Keys and values are those of an earlier layer (Gemma 3n and 4).
    Queries(Linear),
    Latent(Box<Latent>),
}

/// Queries, keys and values from low-rank latents.
#[derive(Debug)]
struct Latent {
    config: LatentConfig,
    /// To the queries' latent and its norm, if there is one.
    q_down: Option<(Linear, Norm)>,
    q_up: Linear,
    /// To the latent of keys and values, and the part of k that all heads share,
    /// `[kv_rank + d_rope, d_model]`.
    kv_down: Linear,
    kv_norm: Norm,
    /// `[heads · (d_nope + d_value), kv_rank]`.
    kv_up: Linear,
}

/// Attention of one block.
#[derive(Debug)]
pub(super) struct Attention {
    config: AttentionConfig,
    heads: Heads,
    projection: Projection,
    q_norm: Option<Norm>,
    k_norm: Option<Norm>,
    /// Without a gain.
    v_norm: Option<Norm>,
    out: Linear,
}

impl Attention {
    /// Takes the weights of a layer's attention.
    ///
    /// # Errors
    /// A tensor that is missing or has a different shape than `config` says, with its name.
    pub fn load(loader: &mut BlockLoader<'_, '_>, config: &AttentionConfig, d_model: usize) -> Result<Self> {
        let projection = match (config.latent, loader.layout()) {
            (Some(latent), _) => Projection::Latent(Box::new(Latent::load(loader, config, latent, d_model)?)),
            (None, _) if config.shares.is_some() => Projection::Queries(query(loader, config, d_model)?),
            (None, _) if config.keys_are_values => Projection::KeysAlone {
                q: query(loader, config, d_model)?,
                k: loader.linear(
                    "self_attn.k_proj",
                    config.kv_heads * config.d_head,
                    d_model,
                    config.qkv_bias,
                )?,
            },
            (None, TensorLayout::Llama) if loader.has("self_attn.qkv_proj.weight") => {
                joined_by_rows(loader, config, d_model)?
            }
            (None, TensorLayout::Llama) => separate(loader, config, d_model)?,
            (None, TensorLayout::Gpt2) => joined_by_kind(loader, d_model)?,
            (None, TensorLayout::NeoX) => joined_by_head(loader, config, d_model)?,
        };
        let width = config.heads * config.d_value;
        let out = match loader.layout() {
            TensorLayout::Llama => loader.linear("self_attn.o_proj", d_model, width, config.out_bias)?,
            TensorLayout::Gpt2 => loader.transposed("attn.c_proj", d_model, width)?,
            TensorLayout::NeoX => loader.linear("attention.dense", d_model, width, config.out_bias)?,
        };
        let mut norm_of = |name: &str, heads: usize| -> Result<Option<Norm>> {
            let Some(norm) = config.qk_norm else { return Ok(None) };
            let width = if norm.per_head { config.d_head } else { heads * config.d_head };
            loader.norm(name, width, norm.norm).map(Some)
        };
        let q_norm = norm_of("self_attn.q_norm", config.heads)?;
        let has_keys = config.shares.is_none();
        let k_norm = if has_keys { norm_of("self_attn.k_norm", config.kv_heads)? } else { None };
        let v_norm = match config.qk_norm {
            Some(norm) if has_keys && config.value_norm => Some(Norm::plain(config.d_value, norm.norm.eps)?),
            _ => None,
        };
        let sinks = match config.sinks {
            true => Some(Arc::new(loader.take("self_attn.sinks", &[config.heads])?.to_vec1()?)),
            false => None,
        };
        let heads = Heads {
            heads: config.heads,
            kv_heads: config.kv_heads,
            scale: config.scale as f32,
            soft_cap: config.soft_cap.map(|c| c as f32),
            window: config.window,
            sinks,
        };
        Ok(Self { config: config.clone(), heads, projection, q_norm, k_norm, v_norm, out })
    }

    /// `x [rows, len, d_model]`, normed → what is added to the residual stream. With a `cache` of all blocks the
    /// tokens also see those that are in it, and become part of it. `lent` has the keys and values of earlier
    /// blocks that later ones read.
    ///
    /// # Errors
    /// An error of the tap; an attention pattern that is asked for where a `cache` is given; keys and values of a
    /// block that has lent none; shapes that do not fit.
    pub fn forward(
        &self,
        x: &Tensor,
        batch: &Batch,
        cache: Option<&mut [LayerCache]>,
        lent: &mut Vec<(usize, Tensor, Tensor)>,
        tap: &mut Visitor<'_>,
    ) -> Result<Tensor> {
        let (q, own) = self.project(x)?;
        let q = tap.visit(Site::Q, q)?;
        let own = match own {
            None => None,
            Some((k, v)) => Some((tap.visit(Site::K, k)?, tap.visit(Site::V, v)?)),
        };
        let q = tap.visit(Site::RotQ, self.rotate(q, batch)?)?;
        let own = match own {
            None => None,
            Some((k, v)) => Some((tap.visit(Site::RotK, self.rotate(k, batch)?)?, v)),
        };
        if let Some(cache) = cache {
            if tap.wants(Site::Pattern) {
                let text = "the attention pattern of tokens that follow others is not kept whole";
                return Err(Error::request(text));
            }
            let source = self.config.shares.unwrap_or(tap.layer());
            let cache = cache.get_mut(source).ok_or_else(|| missing(source))?;
            if let Some((k, v)) = own {
                cache.past.append(&k, &v, self.heads.kv_heads)?;
            }
            let z = cache.past.attend(&q, &self.heads, &batch.mask)?;
            return self.out.forward(&tap.visit(Site::AttnZ, z)?);
        }
        let (k, v) = match (own, self.config.shares) {
            (Some((k, v)), _) => (k, v),
            (None, source) => {
                let source = source.unwrap_or(tap.layer());
                let found = lent.iter().find(|(layer, ..)| *layer == source);
                found.map(|(_, k, v)| (k.clone(), v.clone())).ok_or_else(|| missing(source))?
            }
        };
        if self.config.lends {
            lent.push((tap.layer(), k.clone(), v.clone()));
        }
        let z = if tap.wants(Site::Pattern) {
            let pattern = tap.visit(Site::Pattern, pattern(&q, &k, &v, &self.heads, &batch.mask)?)?;
            mix(&pattern, &v, &self.heads)?
        } else {
            attention(&q, &k, &v, &self.heads, &batch.mask)?
        };
        self.out.forward(&tap.visit(Site::AttnZ, z)?)
    }

    /// Multiplies with its weights in `compute` from now on.
    pub fn set_compute(&mut self, compute: Compute) {
        let linears: Vec<&mut Linear> = match &mut self.projection {
            Projection::Separate { q, k, v } => vec![q, k, v],
            Projection::KeysAlone { q, k } => vec![q, k],
            Projection::Queries(q) => vec![q],
            Projection::Latent(latent) => {
                let own = [&mut latent.q_up, &mut latent.kv_down, &mut latent.kv_up];
                latent.q_down.iter_mut().map(|(q_down, _)| q_down).chain(own).collect()
            }
        };
        linears.into_iter().chain([&mut self.out]).for_each(|linear| linear.set_compute(compute));
    }

    /// The whole branch as one operation, if nothing inside it is looked at and it has the form that is known
    /// there.
    ///
    /// # Errors
    /// A rotation that `batch` was not made for.
    pub fn branch(
        &self,
        norm: Option<&Norm>,
        join: Join,
        batch: &Batch,
        tap: &Visitor<'_>,
    ) -> Result<Option<AttentionBranch>> {
        let Projection::Separate { q, k, v } = &self.projection else { return Ok(None) };
        let trained = [q, k, v, &self.out].iter().any(|linear| linear.is_trained())
            || norm.is_some_and(Norm::is_trained);
        let plain = self.config.clip.is_none() && self.v_norm.is_none() && !self.config.lends;
        if trained || !plain || tap.wants_any(&INSIDE) {
            return Ok(None);
        }
        let rotation = match &self.config.rope {
            Some(rope) => Some(batch.rotation(rope)?.clone()),
            None => None,
        };
        Ok(Some(AttentionBranch {
            norm: norm.cloned(),
            qkv: [q.clone(), k.clone(), v.clone()],
            qk_norm: self.q_norm.clone().zip(self.k_norm.clone()).map(|(q, k)| [q, k]),
            rotation,
            attend: Attend {
                mask: batch.mask.clone(),
                past: 0,
                heads: self.heads.clone(),
                d_head: self.config.d_head,
                d_value: self.config.d_value,
            },
            out: self.out.clone(),
            join,
        }))
    }

    /// What it moves from token to token at a text: see [`Frozen`](super::Frozen). `output_norm` makes the norm of
    /// what it gives.
    ///
    /// # Errors
    /// Values that are clipped, normed, made from latents, or those of an earlier layer.
    pub fn freeze(
        &self,
        input_norm: Option<FrozenNorm>,
        output_norm: impl Fn(&Tensor) -> Result<Option<FrozenNorm>>,
        scale: f64,
        seen: &Seen,
    ) -> Result<FrozenAttention> {
        let reason = match &self.projection {
            _ if self.config.clip.is_some() => "clips its values",
            _ if self.v_norm.is_some() => "norms its values",
            Projection::KeysAlone { .. } => "uses its keys as its values",
            Projection::Queries(_) => "reads the values of an earlier layer",
            Projection::Latent(_) => "makes its values from latents",
            Projection::Separate { v, .. } => {
                return Ok(FrozenAttention {
                    input_norm,
                    output_norm: output_norm(&self.out.forward(seen.at(Site::AttnZ)?)?)?,
                    values: v.weight.clone(),
                    out: self.out.weight.clone(),
                    scale,
                    pattern: seen.at(Site::Pattern)?.squeeze(0)?.transpose(1, 2)?.contiguous()?,
                    heads: self.heads.heads,
                    kv_heads: self.heads.kv_heads,
                });
            }
        };
        Err(Error::request(format!(
            "this model's attention {reason}, so it is not a linear map of the stream even with its pattern held"
        )))
    }

    /// Queries before the rotation, and keys and values if it has its own.
    fn project(&self, x: &Tensor) -> Result<(Tensor, Option<(Tensor, Tensor)>)> {
        let (q, own) = match &self.projection {
            Projection::Separate { q, k, v } => (q.forward(x)?, Some((k.forward(x)?, v.forward(x)?))),
            Projection::KeysAlone { q, k } => {
                let k = k.forward(x)?;
                (q.forward(x)?, Some((k.clone(), k)))
            }
            Projection::Queries(q) => (q.forward(x)?, None),
            Projection::Latent(latent) => {
                let (q, k, v) = latent.forward(x, &self.config)?;
                (q, Some((k, v)))
            }
        };
        let q = self.finished(q, self.q_norm.as_ref())?;
        let Some((k, v)) = own else { return Ok((q, None)) };
        Ok((q, Some((self.finished(k, self.k_norm.as_ref())?, self.finished(v, self.v_norm.as_ref())?))))
    }

    /// Normed and clipped.
    fn finished(&self, mut x: Tensor, norm: Option<&Norm>) -> Result<Tensor> {
        if let Some(norm) = norm {
            x = self.norm_heads(&x, norm)?;
        }
        match self.config.clip {
            Some(clip) => Ok(x.clamp(-clip, clip)?),
            None => Ok(x),
        }
    }

    fn norm_heads(&self, x: &Tensor, norm: &Norm) -> Result<Tensor> {
        if self.config.qk_norm.is_some_and(|n| !n.per_head) {
            return norm.forward(x);
        }
        let (rows, len, width) = x.dims3()?;
        let heads = x.reshape((rows, len, width / self.config.d_head, self.config.d_head))?;
        Ok(norm.forward(&heads)?.reshape((rows, len, width))?)
    }

    fn rotate(&self, x: Tensor, batch: &Batch) -> Result<Tensor> {
        let Some(config) = &self.config.rope else { return Ok(x) };
        let at = self.config.latent.map_or(0, |latent| latent.d_nope);
        Ok(rope(&x, batch.rotation(config)?, self.config.d_head, at)?)
    }
}

fn missing(layer: usize) -> Error {
    Error::data(format!("the keys and values of layer {layer} were not kept for the layers that read them"))
}

fn query(loader: &mut BlockLoader<'_, '_>, c: &AttentionConfig, d: usize) -> Result<Linear> {
    loader.linear("self_attn.q_proj", c.heads * c.d_head, d, c.qkv_bias)
}

fn separate(loader: &mut BlockLoader<'_, '_>, c: &AttentionConfig, d: usize) -> Result<Projection> {
    Ok(Projection::Separate {
        q: query(loader, c, d)?,
        k: loader.linear("self_attn.k_proj", c.kv_heads * c.d_head, d, c.qkv_bias)?,
        v: loader.linear("self_attn.v_proj", c.kv_heads * c.d_value, d, c.qkv_bias)?,
    })
}

/// Phi-3: one matrix, all queries, then all keys, then all values.
fn joined_by_rows(loader: &mut BlockLoader<'_, '_>, c: &AttentionConfig, d: usize) -> Result<Projection> {
    let rows = [c.heads * c.d_head, c.kv_heads * c.d_head, c.kv_heads * c.d_value];
    let mut parts = loader.split("self_attn.qkv_proj", &rows, d)?.into_iter();
    match (parts.next(), parts.next(), parts.next()) {
        (Some(q), Some(k), Some(v)) => Ok(Projection::Separate { q, k, v }),
        _ => Err(Error::data("three matrices were asked for".to_owned())),
    }
}

/// GPT-2: one matrix, all queries, then all keys, then all values.
fn joined_by_kind(loader: &mut BlockLoader<'_, '_>, d: usize) -> Result<Projection> {
    let all = loader.transposed("attn.c_attn", 3 * d, d)?;
    let part = |i: usize| -> Result<Linear> {
        let bias = all.bias.as_ref().map(|b| b.narrow(0, i * d, d)?.copy()).transpose()?;
        Ok(Linear::new(all.weight.narrow(0, i * d, d)?.copy()?, bias))
    };
    Ok(Projection::Separate { q: part(0)?, k: part(1)?, v: part(2)? })
}

/// GPT-NeoX: one matrix, query, key and value of each head next to each other.
fn joined_by_head(loader: &mut BlockLoader<'_, '_>, c: &AttentionConfig, d: usize) -> Result<Projection> {
    let width = c.heads * c.d_head;
    let all = loader.linear("attention.query_key_value", 3 * width, d, c.qkv_bias)?;
    let part = |i: usize| -> Result<Linear> {
        let weight = all.weight.reshape((c.heads, 3, c.d_head, d))?.narrow(1, i, 1)?;
        let bias = match &all.bias {
            None => None,
            Some(b) => {
                Some(b.reshape((c.heads, 3, c.d_head))?.narrow(1, i, 1)?.contiguous()?.reshape(width)?)
            }
        };
        Ok(Linear::new(weight.contiguous()?.reshape((width, d))?, bias))
    };
    Ok(Projection::Separate { q: part(0)?, k: part(1)?, v: part(2)? })
}

impl Latent {
    fn load(
        loader: &mut BlockLoader<'_, '_>,
        c: &AttentionConfig,
        latent: LatentConfig,
        d: usize,
    ) -> Result<Self> {
        let norm = NormConfig { kind: NormKind::Rms, eps: latent.eps };
        let (q_down, q_up) = match latent.q_rank {
            None => (None, loader.linear("self_attn.q_proj", c.heads * c.d_head, d, false)?),
            Some(rank) => {
                let down = loader.linear("self_attn.q_a_proj", rank, d, false)?;
                let norm = loader.norm("self_attn.q_a_layernorm", rank, norm)?;
                let up = loader.linear("self_attn.q_b_proj", c.heads * c.d_head, rank, false)?;
                (Some((down, norm)), up)
            }
        };
        let up = c.heads * (latent.d_nope + c.d_value);
        Ok(Self {
            config: latent,
            q_down,
            q_up,
            kv_down: loader.linear(
                "self_attn.kv_a_proj_with_mqa",
                latent.kv_rank + latent.d_rope,
                d,
                false,
            )?,
            kv_norm: loader.norm("self_attn.kv_a_layernorm", latent.kv_rank, norm)?,
            kv_up: loader.linear("self_attn.kv_b_proj", up, latent.kv_rank, false)?,
        })
    }

    fn forward(&self, x: &Tensor, c: &AttentionConfig) -> Result<(Tensor, Tensor, Tensor)> {
        let LatentConfig { kv_rank, d_nope, d_rope, .. } = self.config;
        let q = match &self.q_down {
            None => self.q_up.forward(x)?,
            Some((down, norm)) => self.q_up.forward(&norm.forward(&down.forward(x)?)?)?,
        };
        let (rows, len, _) = x.dims3()?;
        let down = self.kv_down.forward(x)?;
        let latent = down.narrow(2, 0, kv_rank)?.contiguous()?;
        let shared = down.narrow(2, kv_rank, d_rope)?.reshape((rows, len, 1, d_rope))?;
        let up = self.kv_up.forward(&self.kv_norm.forward(&latent)?)?;
        let up = up.reshape((rows, len, c.heads, d_nope + c.d_value))?;
        let shared = shared.broadcast_as((rows, len, c.heads, d_rope))?;
        let k = Tensor::cat(&[up.narrow(3, 0, d_nope)?, shared], 3)?;
        let v = up.narrow(3, d_nope, c.d_value)?.contiguous()?;
        let k = k.reshape((rows, len, c.heads * c.d_head))?;
        Ok((q, k, v.reshape((rows, len, c.heads * c.d_value))?))
    }
}

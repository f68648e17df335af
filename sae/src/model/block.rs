//! One decoder block of the OLMoE family: attention with normed queries and keys, then a mixture of experts.

use candle_core::Tensor;

use super::ops::{AttentionMask, Dispatch, Rotation, attention, experts, rms_norm, rope};
use super::router::Router;
use super::{Config, Hook, Site, Tap, Weights};
use crate::Result;

/// What every block needs to know about the batch.
pub(super) struct Batch {
    pub mask: AttentionMask,
    pub rotation: Rotation,
}

/// Weights of a block. Matrices are `[out, in]` as Hugging Face stores them.
#[derive(Debug)]
pub(super) struct Block {
    layer: usize,
    heads: usize,
    kv_heads: usize,
    eps: f64,
    attention_norm: Tensor,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    o: Tensor,
    q_norm: Tensor,
    k_norm: Tensor,
    mlp_norm: Tensor,
    router: Router,
    /// `[E, 2 · hidden, d_model]`, gate rows first.
    gate_up: Tensor,
    /// `[E, d_model, hidden]`.
    down: Tensor,
}

/// Names under which pretraining keeps the experts of a layer stacked; Hugging Face stores them one by one.
pub(crate) fn stacked_names(layer: usize) -> [String; 2] {
    ["gate_up_proj", "down_proj"].map(|name| format!("model.layers.{layer}.mlp.experts.{name}"))
}

impl Block {
    pub fn load(weights: &mut Weights, config: &Config, layer: usize) -> Result<Self> {
        let (d, kv) = (config.hidden_size, config.num_key_value_heads * config.d_head());
        let mut take = |name: &str, shape: &[usize]| weights.take(&format!("model.layers.{layer}.{name}"), shape);
        Ok(Self {
            layer,
            heads: config.num_attention_heads,
            kv_heads: config.num_key_value_heads,
            eps: config.rms_norm_eps,
            attention_norm: take("input_layernorm.weight", &[d])?,
            q: take("self_attn.q_proj.weight", &[d, d])?,
            k: take("self_attn.k_proj.weight", &[kv, d])?,
            v: take("self_attn.v_proj.weight", &[kv, d])?,
            o: take("self_attn.o_proj.weight", &[d, d])?,
            q_norm: take("self_attn.q_norm.weight", &[d])?,
            k_norm: take("self_attn.k_norm.weight", &[kv])?,
            mlp_norm: take("post_attention_layernorm.weight", &[d])?,
            router: Router {
                weight: take("mlp.gate.weight", &[config.num_experts, d])?,
                k: config.num_experts_per_tok,
                normalise: config.norm_topk_prob,
            },
            gate_up: Self::gate_up(weights, config, layer)?,
            down: Self::down(weights, config, layer)?,
        })
    }

    fn gate_up(weights: &mut Weights, config: &Config, layer: usize) -> Result<Tensor> {
        let (e, hidden, d) = (config.num_experts, config.intermediate_size, config.hidden_size);
        let [stacked, _] = stacked_names(layer);
        if weights.has(&stacked) {
            return weights.take(&stacked, &[e, 2 * hidden, d]);
        }
        let mut take = |name| weights.take_stacked(expert_names(layer, e, name), &[hidden, d]);
        let (gate, up) = (take("gate_proj")?, take("up_proj")?);
        Ok(Tensor::cat(&[gate, up], 1)?)
    }

    fn down(weights: &mut Weights, config: &Config, layer: usize) -> Result<Tensor> {
        let (e, hidden, d) = (config.num_experts, config.intermediate_size, config.hidden_size);
        let [_, stacked] = stacked_names(layer);
        if weights.has(&stacked) {
            return weights.take(&stacked, &[e, d, hidden]);
        }
        weights.take_stacked(expert_names(layer, e, "down_proj"), &[d, hidden])
    }

    /// `x [rows, len, d_model]` → the same shape, after the block.
    pub fn forward(&self, x: Tensor, batch: &Batch, tap: &mut dyn Tap) -> Result<Tensor> {
        let x = self.visit(Site::ResidPre, x, tap)?;
        let h = rms_norm(&x, &self.attention_norm, self.eps)?;
        let z = self.visit(Site::AttnZ, self.attend(&h, batch)?, tap)?;
        let out = self.visit(Site::AttnOut, linear(&z, &self.o)?, tap)?;
        let x = self.visit(Site::ResidMid, (x + out)?, tap)?;
        let h = self.visit(Site::MlpIn, rms_norm(&x, &self.mlp_norm, self.eps)?, tap)?;
        let out = self.visit(Site::MlpOut, self.mixture(&h, tap)?, tap)?;
        self.visit(Site::ResidPost, (x + out)?, tap)
    }

    fn visit(&self, site: Site, value: Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        visit(Hook::new(self.layer, site), value, tap)
    }

    /// Heads' outputs before W_O, `[rows, len, d_model]`. Queries and keys are normed over all heads together.
    fn attend(&self, h: &Tensor, batch: &Batch) -> Result<Tensor> {
        let q = rms_norm(&linear(h, &self.q)?, &self.q_norm, self.eps)?;
        let k = rms_norm(&linear(h, &self.k)?, &self.k_norm, self.eps)?;
        let (q, k) = (rope(&q, &batch.rotation)?, rope(&k, &batch.rotation)?);
        Ok(attention(&q, &k, &linear(h, &self.v)?, self.heads, self.kv_heads, &batch.mask)?)
    }

    fn mixture(&self, h: &Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
        let (rows, len, d) = h.dims3()?;
        let x = h.reshape((rows * len, d))?;
        let (routing, weights) = self.router.route(self.layer, &x)?;
        let dispatch = Dispatch::new(&routing.chosen, routing.experts);
        tap.routing(&routing)?;
        let k = routing.k as u32;
        let tokens: Vec<u32> = dispatch.order.iter().map(|choice| choice / k).collect();
        let mut place = vec![0u32; dispatch.order.len()];
        for (row, &choice) in dispatch.order.iter().enumerate() {
            place[choice as usize] = row as u32;
        }
        let index = |ids: Vec<u32>| Tensor::new(ids, x.device());
        let y = experts(&x.index_select(&index(tokens)?, 0)?, &self.gate_up, &self.down, &dispatch)?;
        let y = y.index_select(&index(place)?, 0)?.reshape((rows * len, routing.k, d))?;
        let y = y.broadcast_mul(&weights.unsqueeze(2)?)?.sum(1)?;
        Ok(y.reshape((rows, len, d))?)
    }
}

fn expert_names(layer: usize, experts: usize, name: &str) -> impl Iterator<Item = String> {
    (0..experts).map(move |e| format!("model.layers.{layer}.mlp.experts.{e}.{name}.weight"))
}

/// Shows `value` to the tap and takes its replacement, if it gives one.
pub(super) fn visit(hook: Hook, value: Tensor, tap: &mut dyn Tap) -> Result<Tensor> {
    if !tap.wants(&hook) {
        return Ok(value);
    }
    match tap.at(&hook, &value)? {
        Some(new) if new.dims() == value.dims() => Ok(new),
        Some(new) => Err(crate::Error::data(format!(
            "the replacement at {hook} has shape {:?}; expected {:?}",
            new.dims(),
            value.dims()
        ))),
        None => Ok(value),
    }
}

/// `x [rows, len, in] · wᵀ`, with `w [out, in]`.
pub(super) fn linear(x: &Tensor, w: &Tensor) -> Result<Tensor> {
    let (rows, len, d) = x.dims3()?;
    let y = x.reshape((rows * len, d))?.matmul(&w.t()?)?;
    Ok(y.reshape((rows, len, w.dim(0)?))?)
}

//! A mixture of experts: router, experts, and what every token goes through besides them.

use candle_core::Tensor;

use super::attention::Batch;
use super::compute::Compute;
use super::config::{ExpertNaming, ExpertsConfig, NormConfig, RouterConfig};
use super::load::{BlockLoader, Linear, Norm};
use super::mlp::Dense;
use super::ops::{Dispatch, ExpertWeights};
use super::router::{Gate, Router};
use super::sparsity::ExpectedSparsity;
use super::switches::Switches;
use super::tap::{Neurons, Visitor};
use crate::Result;

/// The weights of a layer of experts, as they lie in memory.
#[derive(Debug, Clone, Copy)]
pub struct MoeLayer<'a> {
    /// Block.
    pub layer: usize,
    /// The router's rows `[E, d_model]`; none if it goes by the experts' own weights (MoE-X). Of modules that are
    /// switched, what becomes of on less off, over the temperature.
    pub router: Option<&'a Tensor>,
    /// Gain of the norm that the stream goes through before the router, `[d_model]`; none if there is no such norm.
    pub gain: Option<&'a Tensor>,
    /// The experts.
    pub experts: &'a ExpertWeights,
}

/// A mixture-of-experts layer.
#[derive(Debug)]
pub(super) struct Mixture {
    router: Router,
    experts: ExpertWeights,
    shared: Option<(Dense, Option<Linear>)>,
    own_norms: Option<OwnNorms>,
}

/// Norms of a router and experts that read the residual stream themselves, next to an MLP that reads what its
/// block's norm makes of it (Gemma 4).
#[derive(Debug)]
struct OwnNorms {
    /// Of what the router reads.
    router: Norm,
    /// Of what the experts read and of what they write.
    experts: [Norm; 2],
    /// Of what the MLP writes.
    mlp: Norm,
}

impl OwnNorms {
    fn load(loader: &mut BlockLoader<'_, '_>, norm: NormConfig, d: usize) -> Result<Self> {
        let gain = (loader.take("router.scale", &[d])? / (d as f64).sqrt())?;
        let mut of = |name| loader.norm(name, d, norm);
        Ok(Self {
            router: Norm { gain, bias: None, eps: norm.eps },
            experts: [of("pre_feedforward_layernorm_2")?, of("post_feedforward_layernorm_2")?],
            mlp: of("post_feedforward_layernorm_1")?,
        })
    }
}

impl Mixture {
    /// Takes the router, the experts and what all tokens go through.
    ///
    /// # Errors
    /// A tensor that is missing or has a different shape than `c` says, with its name.
    pub fn load(
        loader: &mut BlockLoader<'_, '_>,
        c: &ExpertsConfig,
        norm: NormConfig,
        d_model: usize,
    ) -> Result<Self> {
        // transformers 5 keeps Mixtral's experts as it keeps everybody's, if asked for its own format.
        let renamed = c.naming == ExpertNaming::Mixtral && loader.has("mlp.gate.weight");
        let naming = if renamed { ExpertNaming::Mlp } else { c.naming };
        let name = match naming {
            ExpertNaming::Mlp => "mlp.gate",
            ExpertNaming::Mixtral => "block_sparse_moe.gate",
            ExpertNaming::GptOss => "mlp.router",
            ExpertNaming::Granite => "block_sparse_moe.router.layer",
            ExpertNaming::Gemma4 => "router.proj",
        };
        let experts = experts(loader, c, naming, d_model)?;
        let gate = match c.router {
            RouterConfig { by_sparsity: true, .. } => {
                Gate::Sparsity(ExpectedSparsity::new(experts.gate_up.clone())?)
            }
            RouterConfig { switched: true, .. } => {
                Gate::Switches(Switches::load(loader, name, c.experts, d_model)?)
            }
            _ => Gate::Rows(loader.linear(name, c.experts, d_model, c.router.bias)?),
        };
        let correction = match c.router.correction {
            true => Some(loader.take(&format!("{name}.e_score_correction_bias"), &[c.experts])?.to_vec1()?),
            false => None,
        };
        let shared = match c.shared {
            None => None,
            Some(shared) => {
                let prefix = match (naming, shared.gated) {
                    (ExpertNaming::Granite, _) => "shared_mlp",
                    (ExpertNaming::Gemma4, _) => "mlp",
                    (_, true) => "mlp.shared_expert",
                    (_, false) => "mlp.shared_experts",
                };
                let gate = match shared.gated {
                    true => Some(loader.linear("mlp.shared_expert_gate", 1, d_model, false)?),
                    false => None,
                };
                Some((Dense::load(loader, prefix, &shared.mlp, d_model)?, gate))
            }
        };
        let gemma = naming == ExpertNaming::Gemma4;
        let expert_scale =
            if gemma { Some(loader.take("router.per_expert_scale", &[c.experts])?) } else { None };
        let own_norms = if gemma { Some(OwnNorms::load(loader, norm, d_model)?) } else { None };
        let router = Router {
            gate,
            correction,
            expert_scale,
            k: c.k,
            experts: c.experts,
            config: c.router,
            shared: shared.is_some(),
        };
        Ok(Self { router, experts, shared, own_norms })
    }

    pub fn weights<'a>(&'a self, layer: usize, gain: Option<&'a Tensor>) -> MoeLayer<'a> {
        let router = match &self.router.gate {
            Gate::Rows(rows) => Some(&rows.weight),
            Gate::Sparsity(_) => None,
            Gate::Switches(switches) => Some(switches.rows()),
        };
        MoeLayer { layer, router, gain, experts: &self.experts }
    }

    /// Multiplies with the experts' weights, and with those of what all tokens go through, in `compute` from now on; the router stays
    /// in single precision.
    pub fn set_compute(&mut self, compute: Compute) {
        self.experts.set_compute(compute);
        if let Some((shared, _)) = &mut self.shared {
            shared.set_compute(compute);
        }
    }

    /// `x [rows, len, d_model]`, normed from `stream` → what is added to the residual stream. If the tokens follow
    /// others of their context, `used` is how often each expert was chosen there.
    ///
    /// # Errors
    /// An error of the tap; a replacement of a different shape; an `x` of a different width.
    pub fn forward(
        &self,
        x: &Tensor,
        stream: &Tensor,
        batch: &Batch,
        used: Option<&mut Vec<usize>>,
        tap: &mut Visitor<'_>,
    ) -> Result<Tensor> {
        let (rows, len, d) = x.dims3()?;
        let own = match &self.own_norms {
            Some(norms) => Some((norms.router.forward(stream)?, norms.experts[0].forward(stream)?)),
            None => None,
        };
        let (to_router, to_experts) = own.as_ref().map_or((x, x), |(router, experts)| (router, experts));
        let (routing, weights) = self.router.route(to_router, &batch.sequences, used, tap)?;
        let k = routing.k as u32;
        // Where all experts are chosen and some have no weight, as in training with a dense gate and of modules that
        // are off, those need not run.
        let some_idle = routing.k == routing.experts && routing.weights.contains(&0.0);
        let dispatch = match some_idle {
            true => Dispatch::of_weighed(&routing.chosen, &routing.weights, routing.experts),
            false => Dispatch::new(&routing.chosen, routing.experts),
        };
        let tokens: Vec<u32> = dispatch.order.iter().map(|choice| choice / k).collect();
        // A choice that is left out gets the row after the last, zeros.
        let mut place = vec![dispatch.order.len() as u32; routing.chosen.len()];
        for (row, &choice) in dispatch.order.iter().enumerate() {
            place[choice as usize] = row as u32;
        }
        let index = |ids: Vec<u32>| Tensor::new(ids, x.device());
        let flat = to_experts.reshape((rows * len, d))?;
        let sorted = flat.index_select(&index(tokens.clone())?, 0)?;
        let y = match tap.wants_neurons() {
            false => self.experts.forward(&sorted, &dispatch)?,
            true => {
                let hidden = self.experts.hidden(&sorted, &dispatch)?;
                let of_choice = |choice: &u32| routing.weights[*choice as usize];
                let neurons = Neurons {
                    layer: tap.layer(),
                    values: &hidden,
                    tokens: &tokens,
                    experts: &dispatch.experts(),
                    weights: &dispatch.order.iter().map(of_choice).collect::<Vec<f32>>(),
                    down: &self.experts.down,
                };
                self.experts.output(&tap.neurons(&neurons)?, &dispatch)?
            }
        };
        let y = match some_idle {
            true => Tensor::cat(&[y, Tensor::zeros((1, d), x.dtype(), x.device())?], 0)?,
            false => y,
        };
        let y = y.index_select(&index(place)?, 0)?.reshape((rows * len, routing.k, d))?;
        let mut y = y.broadcast_mul(&weights.unsqueeze(2)?)?.sum(1)?.reshape((rows, len, d))?;
        let Some((shared, gate)) = &self.shared else { return Ok(y) };
        let mut common = shared.forward(x)?;
        if let Some(gate) = gate {
            common = common.broadcast_mul(&candle_nn::ops::sigmoid(&gate.forward(x)?)?)?;
        }
        if let Some(norms) = &self.own_norms {
            y = norms.experts[1].forward(&y)?;
            common = norms.mlp.forward(&common)?;
        }
        Ok((y + common)?)
    }
}

/// The experts' matrices, stacked, gate rows before up rows.
fn experts(
    loader: &mut BlockLoader<'_, '_>,
    c: &ExpertsConfig,
    naming: ExpertNaming,
    d: usize,
) -> Result<ExpertWeights> {
    let (e, hidden) = (c.experts, c.hidden);
    let mut biases = None;
    let (gate_up, down) = match naming {
        _ if !c.gated => plain(loader, c, d)?,
        ExpertNaming::Mlp if loader.has("mlp.experts.gate_up_proj") => (
            loader.take("mlp.experts.gate_up_proj", &[e, 2 * hidden, d])?,
            loader.take("mlp.experts.down_proj", &[e, d, hidden])?,
        ),
        ExpertNaming::Mlp => one_by_one(loader, c, d, "mlp.experts", ["gate_proj", "up_proj", "down_proj"])?,
        ExpertNaming::Mixtral => one_by_one(loader, c, d, "block_sparse_moe.experts", ["w1", "w3", "w2"])?,
        ExpertNaming::Granite => (
            loader.take("block_sparse_moe.input_linear.weight", &[e, 2 * hidden, d])?,
            loader.take("block_sparse_moe.output_linear.weight", &[e, d, hidden])?,
        ),
        ExpertNaming::Gemma4 => (
            loader.take("experts.gate_up_proj", &[e, 2 * hidden, d])?,
            loader.take("experts.down_proj", &[e, d, hidden])?,
        ),
        ExpertNaming::GptOss => {
            let gate_up = loader.take("mlp.experts.gate_up_proj", &[e, d, 2 * hidden])?;
            let down = loader.take("mlp.experts.down_proj", &[e, hidden, d])?;
            let bias = loader.take("mlp.experts.gate_up_proj_bias", &[e, 2 * hidden])?;
            let bias = untwine(&bias.unsqueeze(2)?)?.squeeze(2)?;
            biases = Some((bias, loader.take("mlp.experts.down_proj_bias", &[e, d])?));
            (untwine(&gate_up.transpose(1, 2)?.contiguous()?)?, down.transpose(1, 2)?.contiguous()?)
        }
    };
    Ok(ExpertWeights::new(gate_up, down, biases, c.activation, c.gated))
}

fn one_by_one(
    loader: &mut BlockLoader<'_, '_>,
    c: &ExpertsConfig,
    d: usize,
    prefix: &str,
    [gate, up, down]: [&str; 3],
) -> Result<(Tensor, Tensor)> {
    let mut take = |part: &str, shape: [usize; 2]| {
        loader.stacked(c.experts, |e| format!("{prefix}.{e}.{part}.weight"), &shape)
    };
    let (gate, up) = (take(gate, [c.hidden, d])?, take(up, [c.hidden, d])?);
    let down = take(down, [d, c.hidden])?;
    Ok((Tensor::cat(&[gate, up], 1)?, down))
}

/// Experts without a gate, one by one or stacked.
fn plain(loader: &mut BlockLoader<'_, '_>, c: &ExpertsConfig, d: usize) -> Result<(Tensor, Tensor)> {
    let (e, hidden) = (c.experts, c.hidden);
    if loader.has("mlp.experts.up_proj") {
        let up = loader.take("mlp.experts.up_proj", &[e, hidden, d])?;
        return Ok((up, loader.take("mlp.experts.down_proj", &[e, d, hidden])?));
    }
    let mut take = |part: &str, shape: [usize; 2]| {
        loader.stacked(e, |e| format!("mlp.experts.{e}.{part}.weight"), &shape)
    };
    Ok((take("up_proj", [hidden, d])?, take("down_proj", [d, hidden])?))
}

/// Rows that are gate and up in turn, `[E, 2 · hidden, n]` → all gate rows, then all up rows.
fn untwine(x: &Tensor) -> Result<Tensor> {
    let (e, twice, n) = x.dims3()?;
    let pairs = x.reshape((e, twice / 2, 2, n))?;
    let part = |i: usize| -> Result<Tensor> { Ok(pairs.narrow(2, i, 1)?.squeeze(2)?.contiguous()?) };
    Ok(Tensor::cat(&[part(0)?, part(1)?], 1)?)
}

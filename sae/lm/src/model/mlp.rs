//! The branch next to attention: one MLP for every token, or a mixture of experts.

use candle_core::Tensor;

use super::Site;
use super::attention::Batch;
use super::compute::Compute;
use super::config::{DenseConfig, MlpConfig, NormConfig, TensorLayout};
use super::fused::{Join, MlpBranch};
use super::load::{BlockLoader, Linear, Norm};
use super::mixture::Mixture;
use super::monet::Monet;
use super::ops::{RowActivation, activate, gated};
use super::sparse_gate::sparse;
use super::tap::{Neurons, Visitor};
use crate::Result;

/// The branch next to attention.
#[derive(Debug)]
pub(super) enum Mlp {
    Dense(Dense),
    Mixture(Box<Mixture>),
    Monet(Box<Monet>),
}

impl Mlp {
    /// Takes the weights of a block's MLP or of its experts.
    ///
    /// # Errors
    /// A tensor that is missing or has a different shape than `config` says, with its name.
    pub fn load(
        loader: &mut BlockLoader<'_, '_>,
        config: &MlpConfig,
        norm: NormConfig,
        d_model: usize,
    ) -> Result<Self> {
        match config {
            MlpConfig::Dense(dense) => Ok(Self::Dense(Dense::load(loader, "mlp", dense, d_model)?)),
            MlpConfig::Experts(experts) => {
                Ok(Self::Mixture(Box::new(Mixture::load(loader, experts, norm, d_model)?)))
            }
            MlpConfig::Monet(monet) => Ok(Self::Monet(Box::new(Monet::load(loader, monet, d_model)?))),
        }
    }

    /// The whole branch as one operation, if nothing inside it is looked at and every token goes through the
    /// same matrices.
    pub fn branch(&self, norm: Option<&Norm>, join: Join, tap: &Visitor<'_>) -> Option<MlpBranch> {
        let Self::Dense(dense) = self else { return None };
        let trained = dense.up.is_trained() || dense.down.is_trained() || norm.is_some_and(Norm::is_trained);
        if trained
            || dense.config.sparsity > 0.0
            || tap.wants_neurons()
            || tap.wants_any(&[Site::MlpIn, Site::MlpPost, Site::MlpOut])
        {
            return None;
        }
        let DenseConfig { activation, gated, .. } = dense.config;
        let activation = RowActivation { activation, gated };
        Some(MlpBranch {
            norm: norm.cloned(),
            up: dense.up.clone(),
            activation,
            down: dense.down.clone(),
            join,
        })
    }

    /// Multiplies with its weights in `compute` from now on.
    pub fn set_compute(&mut self, compute: Compute) {
        match self {
            Self::Dense(dense) => dense.set_compute(compute),
            Self::Mixture(mixture) => mixture.set_compute(compute),
            // Its products are of a kind of their own.
            Self::Monet(_) => {}
        }
    }

    /// `x [rows, len, d_model]`, normed from `stream` → what is added to the residual stream; `used` as
    /// [`Mixture::forward`] takes it.
    ///
    /// # Errors
    /// An error of the tap; an `x` of a different width.
    pub fn forward(
        &self,
        x: &Tensor,
        stream: &Tensor,
        batch: &Batch,
        used: Option<&mut Vec<usize>>,
        tap: &mut Visitor<'_>,
    ) -> Result<Tensor> {
        match self {
            Self::Dense(dense) => {
                let mut post = tap.visit(Site::MlpPost, dense.hidden(x)?)?;
                if tap.wants_neurons() {
                    let (rows, len, hidden) = post.dims3()?;
                    let tokens: Vec<u32> = (0..(rows * len) as u32).collect();
                    let values = post.reshape((rows * len, hidden))?;
                    let neurons = Neurons {
                        layer: tap.layer(),
                        values: &values,
                        tokens: &tokens,
                        experts: &[],
                        weights: &[],
                        down: &dense.down.weight,
                    };
                    post = tap.neurons(&neurons)?.reshape((rows, len, hidden))?;
                }
                dense.down.forward(&post)
            }
            Self::Mixture(mixture) => mixture.forward(x, stream, batch, used, tap),
            Self::Monet(monet) => monet.forward(x, &mut batch.gates.borrow_mut(), tap),
        }
    }
}

/// `W_down (act(W_gate x) ∘ W_up x)`, or `W_down act(W_up x)`.
#[derive(Debug)]
pub(super) struct Dense {
    config: DenseConfig,
    /// Gate and up in one, or up.
    up: Linear,
    down: Linear,
}

impl Dense {
    /// Takes the weights at `prefix`.
    ///
    /// # Errors
    /// A tensor that is missing or has a different shape than `config` says, with its name.
    pub fn load(
        loader: &mut BlockLoader<'_, '_>,
        prefix: &str,
        config: &DenseConfig,
        d_model: usize,
    ) -> Result<Self> {
        let hidden = config.hidden;
        let name = |part: &str| format!("{prefix}.{part}");
        let (up, down) = match (loader.layout(), config.joined, config.gated) {
            (TensorLayout::Gpt2, ..) => (
                loader.transposed(&name("c_fc"), hidden, d_model)?,
                loader.transposed(&name("c_proj"), d_model, hidden)?,
            ),
            (TensorLayout::NeoX, ..) => (
                loader.linear(&name("dense_h_to_4h"), hidden, d_model, config.bias)?,
                loader.linear(&name("dense_4h_to_h"), d_model, hidden, config.bias)?,
            ),
            (TensorLayout::Llama, true, _) => (
                loader.linear(&name("input_linear"), 2 * hidden, d_model, config.bias)?,
                loader.linear(&name("output_linear"), d_model, hidden, config.bias)?,
            ),
            // Phi-3 has gate and up in one matrix, as we keep them.
            (TensorLayout::Llama, false, true) if loader.has(&name("gate_up_proj.weight")) => (
                loader.linear(&name("gate_up_proj"), 2 * hidden, d_model, config.bias)?,
                loader.linear(&name("down_proj"), d_model, hidden, config.bias)?,
            ),
            (TensorLayout::Llama, false, true) => (
                loader.pair([&name("gate_proj"), &name("up_proj")], hidden, d_model, config.bias)?,
                loader.linear(&name("down_proj"), d_model, hidden, config.bias)?,
            ),
            (TensorLayout::Llama, false, false) => (
                loader.linear(&name("up_proj"), hidden, d_model, config.bias)?,
                loader.linear(&name("down_proj"), d_model, hidden, config.bias)?,
            ),
        };
        Ok(Self { config: *config, up, down })
    }

    /// Multiplies with its weights in `compute` from now on.
    pub fn set_compute(&mut self, compute: Compute) {
        self.up.set_compute(compute);
        self.down.set_compute(compute);
    }

    fn hidden(&self, x: &Tensor) -> Result<Tensor> {
        let mut up = self.up.forward(x)?;
        if self.config.sparsity > 0.0 {
            up = sparse(&up, self.config.sparsity)?;
        }
        Ok(match self.config.gated {
            true => gated(&up, self.config.activation)?,
            false => activate(&up, self.config.activation)?,
        })
    }

    /// `x [.., d_model]` → `[.., d_model]`.
    ///
    /// # Errors
    /// An `x` of a different width.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.down.forward(&self.hidden(x)?)
    }
}

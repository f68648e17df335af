//! Experts made of a dense model.
//!
//! MoE-X (up-cycling): the dense model's hidden units are put in random order and cut into experts, again and
//! again until all experts have their units; each unit is in as many experts as any other. What an expert
//! writes is multiplied by dense units / units of an expert, so that the mean over all experts is the dense
//! model's output.
//!
//! EvoMoE (diversify): every expert is a copy of the dense MLP with a random share of its weights set to 0.

use std::path::Path;

use candle_core::{Device, Tensor, Var};
use kernels::chance::{Purpose, generator, shuffle, uniform};

use super::{Kind, Parameters, PretrainConfig};
use crate::model::config::MlpConfig;
use crate::model::{Config, Weights};
use crate::{Error, Result};

/// Gives `parameters` the weights of the dense model in `folder`.
///
/// # Errors
/// A model that is not dense and without a gate, or of different sizes.
pub(super) fn from_dense(config: &PretrainConfig, folder: &Path, parameters: &Parameters) -> Result<()> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    let dense = Config::parse(&text, &path)?;
    let hidden = check(config, &dense, folder)?;
    let mut weights = Weights::open_safetensors(&folder.join("model.safetensors"))?;
    for (name, var) in parameters.iter() {
        if !name.contains(".mlp.") {
            var.set(&weights.take(name, var.dims())?)?;
        }
    }
    let d = config.d_model;
    for layer in 0..config.layers {
        let name = |part: &str| format!("model.layers.{layer}.mlp.{part}");
        let up = weights.take(&name("up_proj.weight"), &[hidden, d])?;
        let down = weights.take(&name("down_proj.weight"), &[d, hidden])?;
        let (up, down) = match config.architecture {
            Kind::MoeX => cut(config, layer, &up, &down)?,
            _ => copies(config, layer, &up, &down)?,
        };
        for (part, value) in [("experts.up_proj", up), ("experts.down_proj", down)] {
            if let Some(var) = variable(parameters, &name(part)) {
                var.set(&value)?;
            }
        }
    }
    Ok(())
}

fn variable<'a>(parameters: &'a Parameters, name: &str) -> Option<&'a Var> {
    parameters.iter().find(|(of, _)| *of == name).map(|(_, var)| var)
}

/// The dense model's hidden units, if it can become the experts of `config`.
fn check(config: &PretrainConfig, dense: &Config, folder: &Path) -> Result<usize> {
    let folder = folder.display();
    let Some(MlpConfig::Dense(mlp)) = dense.blocks.first().map(|block| &block.mlp) else {
        return Err(Error::request(format!("{folder} is not a dense model")));
    };
    if dense.model_type != "arcee" {
        return Err(Error::request(format!("{folder} is a model of the family {}", dense.model_type))
            .with_remedy("experts are made of a dense model without a gate: sae pretrain with architecture = \"dense\", gated = false"));
    }
    let heads = dense.blocks.first().map_or(0, |block| block.attention.heads);
    let found = (dense.vocab_size, dense.hidden_size, dense.num_hidden_layers, heads);
    let wanted = (config.vocab_size, config.d_model, config.layers, config.heads);
    if found != wanted {
        return Err(Error::request(format!(
            "{folder} has vocab_size, d_model, layers and heads {found:?}; the options say {wanted:?}"
        )));
    }
    let units = serde_json::to_value(mlp.activation).ok();
    if units != serde_json::to_value(config.units()).ok() {
        return Err(Error::request(format!(
            "{folder} has the activation {:?}, the experts have {:?}",
            mlp.activation,
            config.units()
        )));
    }
    let (width, hidden) = (config.expert_width, mlp.hidden);
    let fits = match config.architecture {
        Kind::MoeX => {
            hidden.is_multiple_of(width.max(1)) && (config.experts * width).is_multiple_of(hidden.max(1))
        }
        _ => hidden == width,
    };
    match fits {
        true => Ok(hidden),
        false => Err(Error::request(format!(
            "{folder} has {hidden} hidden units, which {} experts of {width} cannot share alike",
            config.experts
        ))
        .with_remedy(match config.architecture {
            Kind::MoeX => {
                "take an expert_width that divides them, and so many experts that each unit is in as many"
            }
            _ => "take the same expert_width",
        })),
    }
}

/// Experts that share the dense model's units.
fn cut(config: &PretrainConfig, layer: usize, up: &Tensor, down: &Tensor) -> Result<(Tensor, Tensor)> {
    let (hidden, d) = up.dims2()?;
    let (experts, width) = (config.experts, config.expert_width);
    let mut rng = generator(config.seed, Purpose::Weights, layer as u64, 1);
    let mut units: Vec<u32> = Vec::new();
    while units.len() < experts * width {
        let mut all: Vec<u32> = (0..hidden as u32).collect();
        shuffle(&mut all, &mut rng);
        units.extend(all);
    }
    let units = Tensor::new(units, &Device::Cpu)?;
    let up = up.index_select(&units, 0)?.reshape((experts, width, d))?;
    let down = (down.t()?.contiguous()?.index_select(&units, 0)? * (hidden as f64 / width as f64))?;
    Ok((up, down.reshape((experts, width, d))?.transpose(1, 2)?.contiguous()?))
}

/// Copies with holes.
fn copies(config: &PretrainConfig, layer: usize, up: &Tensor, down: &Tensor) -> Result<(Tensor, Tensor)> {
    let mut rng = generator(config.seed, Purpose::Weights, layer as u64, 1);
    let mut holed = |of: &Tensor| -> Result<Tensor> {
        let mut numbers = of.flatten_all()?.to_vec1::<f32>()?;
        numbers.iter_mut().filter(|_| uniform(&mut rng) < config.diversity).for_each(|n| *n = 0.0);
        Ok(Tensor::from_vec(numbers, of.dims(), &Device::Cpu)?)
    };
    let (mut ups, mut downs) = (Vec::new(), Vec::new());
    for _ in 0..config.experts {
        ups.push(holed(up)?);
        downs.push(holed(down)?);
    }
    Ok((Tensor::stack(&ups, 0)?, Tensor::stack(&downs, 0)?))
}

//! What experts put out for the same random inputs: a signature that does not depend on the order of hidden
//! units.

use candle_core::{Device, Tensor};
use kernels::chance::{Purpose, generator, normal};

use crate::Result;
use lm::model::MoeLayer;
use lm::model::ops::Dispatch;

/// Random inputs an expert is given.
const PROBES: usize = 64;

/// Every expert's outputs for [`PROBES`] inputs of independent standard normal numbers, which have the length
/// of an input after its norm: `[E, PROBES · d_model]`, row by row. Layers of the same width get the same
/// inputs.
///
/// # Errors
/// Weights of the experts that do not fit the router's.
pub fn outputs(layer: &MoeLayer<'_>, seed: u64) -> Result<Vec<f32>> {
    let (experts, d, _) = layer.experts.down.dims3()?;
    let mut rng = generator(seed, Purpose::Probes, 0, 0);
    let probes: Vec<f32> = (0..PROBES * d).map(|_| normal(&mut rng)).collect();
    let x = Tensor::from_vec(probes, (PROBES, d), &Device::Cpu)?;
    let x = x.repeat((experts, 1))?;
    let choices: Vec<u32> = (0..experts as u32).flat_map(|e| std::iter::repeat_n(e, PROBES)).collect();
    Ok(layer.experts.forward(&x, &Dispatch::new(&choices, experts))?.flatten_all()?.to_vec1()?)
}

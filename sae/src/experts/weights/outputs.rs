//! What experts put out for the same random inputs: a signature that does not depend on the order of hidden units.

use candle_core::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::Result;
use lm::model::MoeLayer;
use lm::model::ops::Dispatch;

/// Random inputs an expert is given.
const PROBES: usize = 64;

/// Every expert's outputs for [`PROBES`] inputs of independent standard normal numbers, which have the length of an input after its
/// norm: `[E, PROBES · d_model]`, row by row. Layers of the same width get the same inputs.
pub fn outputs(layer: &MoeLayer<'_>, seed: u64) -> Result<Vec<f32>> {
    let (experts, d) = layer.router.dims2()?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let probes: Vec<f32> = (0..PROBES * d).map(|_| normal(&mut rng)).collect();
    let x = Tensor::from_vec(probes, (PROBES, d), &Device::Cpu)?;
    let x = x.repeat((experts, 1))?;
    let choices: Vec<u32> = (0..experts as u32).flat_map(|e| std::iter::repeat_n(e, PROBES)).collect();
    Ok(layer.experts.forward(&x, &Dispatch::new(&choices, experts))?.flatten_all()?.to_vec1()?)
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut ChaCha8Rng) -> f32 {
    // 1 − u is never 0.
    let (u, v): (f64, f64) = (1.0 - rng.random::<f64>(), rng.random());
    ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_standard_normal() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let n = 20_000;
        let draws: Vec<f64> = (0..n).map(|_| f64::from(normal(&mut rng))).collect();
        let moment = |k: i32| draws.iter().map(|x| x.powi(k)).sum::<f64>() / f64::from(n);
        // Five standard errors of the mean and of the second and fourth moments: √(1, 2, 96) / √n.
        assert!(moment(1).abs() < 5.0 / 141.0, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 5.0 * 2f64.sqrt() / 141.0, "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 5.0 * 96f64.sqrt() / 141.0, "{}", moment(4));
    }
}

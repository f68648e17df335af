//! Routers of mixture-of-experts layers: which experts a token goes to and with what weight.

use candle_core::{D, Tensor};
use rayon::prelude::*;

use crate::Result;

/// The decisions of one layer's router over a batch of tokens.
#[derive(Debug, Clone)]
pub struct Routing {
    /// Layer of the model.
    pub layer: usize,
    /// Experts a token, k.
    pub k: usize,
    /// Number of experts E.
    pub experts: usize,
    /// Chosen experts `[tokens, k]`, the most probable first, ties to the lower number.
    pub chosen: Vec<u32>,
    /// Weights really multiplied into the experts' outputs, `[tokens, k]`.
    pub weights: Vec<f32>,
    /// Entropy in nats of the router's whole distribution, `[tokens]`.
    pub entropy: Vec<f32>,
    /// Router logits `[tokens, E]`, differentiable.
    pub logits: Tensor,
    /// Softmax of the logits `[tokens, E]`, differentiable.
    pub probabilities: Tensor,
}

/// A router that scores experts by softmax and takes the k best (OLMoE, Mixtral, Qwen-MoE).
#[derive(Debug, Clone)]
pub struct Router {
    /// `[E, d_model]`.
    pub weight: Tensor,
    /// Experts a token.
    pub k: usize,
    /// Whether the k weights are divided by their sum.
    pub normalise: bool,
}

impl Router {
    /// Routes `x [tokens, d_model]`; gives the record and the weights as a differentiable `[tokens, k]`.
    pub fn route(&self, layer: usize, x: &Tensor) -> Result<(Routing, Tensor)> {
        let logits = x.matmul(&self.weight.t()?)?;
        let probabilities = candle_nn::ops::softmax(&logits, D::Minus1)?;
        let (tokens, experts) = probabilities.dims2()?;
        let p = probabilities.flatten_all()?.to_vec1::<f32>()?;
        let chosen: Vec<u32> = p.par_chunks(experts).flat_map_iter(|row| best(row, self.k)).collect();
        let ids = Tensor::from_slice(&chosen, (tokens, self.k), x.device())?;
        let mut weights = probabilities.gather(&ids, 1)?;
        if self.normalise {
            weights = weights.broadcast_div(&weights.sum_keepdim(1)?)?;
        }
        let routing = Routing {
            layer,
            k: self.k,
            experts,
            chosen,
            weights: weights.flatten_all()?.to_vec1()?,
            entropy: p.par_chunks(experts).map(entropy).collect(),
            logits,
            probabilities,
        };
        Ok((routing, weights))
    }
}

/// Numbers of the `k` largest entries, largest first, ties to the lower number.
fn best(row: &[f32], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..row.len() as u32).collect();
    order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
    order.truncate(k);
    order
}

fn entropy(row: &[f32]) -> f32 {
    -row.iter().filter(|p| **p > 0.0).map(|p| p * p.ln()).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    fn route(normalise: bool) -> Routing {
        // The published vector z = (2, 1, .5, 0, −.5, −1, 1.5, .2): an identity input makes the weight column the logits.
        let z = Tensor::new(&[2f32, 1.0, 0.5, 0.0, -0.5, -1.0, 1.5, 0.2], &Device::Cpu).unwrap();
        let router = Router { weight: z.reshape((8, 1)).unwrap(), k: 2, normalise };
        router.route(3, &Tensor::ones((1, 1), candle_core::DType::F32, &Device::Cpu).unwrap()).unwrap().0
    }

    #[test]
    fn golden_vectors_of_olmoe_and_mixtral() {
        let olmoe = route(false);
        assert_eq!((olmoe.layer, olmoe.chosen.as_slice()), (3, [0u32, 6].as_slice()));
        for (found, wanted) in olmoe.weights.iter().zip([0.380_221, 0.230_616]) {
            assert!((found - wanted).abs() < 1e-6);
        }
        for (found, wanted) in route(true).weights.iter().zip([0.622_459, 0.377_541]) {
            assert!((found - wanted).abs() < 1e-6);
        }
    }

    #[test]
    fn ties_go_to_the_lower_number() {
        assert_eq!(best(&[0.1, 0.3, 0.3, 0.3], 2), [1, 2]);
    }

    #[test]
    fn entropy_of_a_uniform_row_is_ln_e() {
        assert!((entropy(&[0.25; 4]) - 4f32.ln()).abs() < 1e-6);
        assert_eq!(entropy(&[1.0, 0.0]), 0.0);
    }
}

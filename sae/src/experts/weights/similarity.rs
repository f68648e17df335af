//! How alike the experts of a layer are: by what their router rows ask for, by their weights, and by what
//! they do.

use candle_core::Tensor;
use storage::experts::SimilarityRow;

use super::outputs::outputs;
use crate::experts::tables::{layer_number, number_of};
use crate::{Error, Progress, Result};
use kernels::gemm::rows_times_rows;
use lm::model::MoeLayer;

/// Two experts whose weights or outputs have this cosine or more are duplicates.
pub const DUPLICATE: f64 = 0.9;
/// Columns multiplied at a time: short sums in f32, their sum in f64.
const COLUMNS: usize = 4096;

/// All pairs of experts of every layer. `seed` draws the random inputs of the output cosine.
///
/// # Errors
/// As [`outputs`]; a stop that was asked for.
pub fn similarity(
    layers: &[MoeLayer<'_>],
    seed: u64,
    progress: &mut dyn Progress,
) -> Result<Vec<SimilarityRow>> {
    let mut rows = Vec::new();
    progress.begin("experts compared", Some(layers.len() as u64), "layers");
    for (done, layer) in (1..).zip(layers) {
        rows.extend(of_layer(layer, seed)?);
        progress.advance(done, "");
        if progress.stop_requested() {
            return Err(Error::stopped("the experts were not all compared, nothing was written"));
        }
    }
    progress.end(&format!("{} pairs", rows.len()));
    Ok(rows)
}

fn of_layer(layer: &MoeLayer<'_>, seed: u64) -> Result<Vec<SimilarityRow>> {
    let experts = layer.experts.down.dim(0)?;
    let flat = |tensor: &Tensor| tensor.flatten_all().and_then(|t| t.to_vec1::<f32>());
    // Without rows of a router there is no cosine of them.
    let router = match layer.router {
        Some(router) => products(&flat(router)?, experts),
        None => vec![0.0; experts * experts],
    };
    let of = layer.experts;
    let mut weights = vec![0.0; experts * experts];
    let biases = of.biases.iter().flat_map(|(inner, outer)| [inner, outer]);
    for part in [&of.gate_up, &of.down].into_iter().chain(biases) {
        weights.iter_mut().zip(products(&flat(part)?, experts)).for_each(|(sum, p)| *sum += p);
    }
    let outputs = products(&outputs(layer, seed)?, experts);
    let pairs = (0..experts).flat_map(|a| (a + 1..experts).map(move |b| (a, b)));
    let row = |(a, b): (usize, usize)| {
        let cosine = |products: &[f64]| {
            let norms = products[a * experts + a] * products[b * experts + b];
            (norms > 0.0).then(|| products[a * experts + b] / norms.sqrt())
        };
        let (weights_cosine, output_cosine) = (cosine(&weights), cosine(&outputs));
        let alike = |cosine: Option<f64>| cosine.is_some_and(|c| c >= DUPLICATE);
        SimilarityRow {
            layer: layer_number(layer.layer),
            a: number_of(a),
            b: number_of(b),
            router_cosine: cosine(&router),
            weights_cosine,
            output_cosine,
            duplicate: alike(weights_cosine) || alike(output_cosine),
        }
    };
    Ok(pairs.map(row).collect())
}

/// Dot products of all pairs of the `experts` rows that `rows` holds, `[E, E]`.
fn products(rows: &[f32], experts: usize) -> Vec<f64> {
    let width = rows.len() / experts.max(1);
    let mut sums = vec![0.0; experts * experts];
    let mut product = vec![0.0; experts * experts];
    let mut block = Vec::new();
    for start in (0..width).step_by(COLUMNS) {
        let end = width.min(start + COLUMNS);
        block.clear();
        rows.chunks_exact(width).for_each(|row| block.extend_from_slice(&row[start..end]));
        rows_times_rows(&mut product, &block, &block, experts, experts, end - start);
        sums.iter_mut().zip(&product).for_each(|(sum, p)| *sum += f64::from(*p));
    }
    sums
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::Quiet;
    use lm::model::config::Activation;
    use lm::model::ops::ExpertWeights;

    const E: usize = 5;
    const D: usize = 6;
    const HIDDEN: usize = 8;

    fn draw(n: usize, rng: &mut ChaCha8Rng) -> Vec<f32> {
        (0..n).map(|_| rng.random::<f32>() - 0.5).collect()
    }

    /// Rows of an expert in another order: gate and up rows, and the columns of down with them.
    fn shuffled(gate_up: &[f32], down: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let order: Vec<usize> = (0..HIDDEN).map(|h| (h * 3 + 1) % HIDDEN).collect();
        let rows = |part: &[f32]| order.iter().flat_map(|&h| part[h * D..][..D].to_vec()).collect::<Vec<_>>();
        let gate_up = [rows(&gate_up[..HIDDEN * D]), rows(&gate_up[HIDDEN * D..])].concat();
        let down = down.chunks(HIDDEN).flat_map(|row| order.iter().map(|&h| row[h]).collect::<Vec<_>>());
        (gate_up, down.collect())
    }

    /// Random experts; planted: 3 is 1 with a little noise, 4 is 0 with its hidden units in another order.
    fn planted() -> (Tensor, ExpertWeights) {
        let mut rng = ChaCha8Rng::seed_from_u64(4);
        let router = draw(E * D, &mut rng);
        let mut gate_up: Vec<Vec<f32>> = (0..E).map(|_| draw(2 * HIDDEN * D, &mut rng)).collect();
        let mut down: Vec<Vec<f32>> = (0..E).map(|_| draw(D * HIDDEN, &mut rng)).collect();
        gate_up[3] = gate_up[1].iter().map(|w| w + 0.02 * (rng.random::<f32>() - 0.5)).collect();
        down[3] = down[1].clone();
        (gate_up[4], down[4]) = shuffled(&gate_up[0], &down[0]);
        let tensor = |v: Vec<f32>, shape: &[usize]| Tensor::from_vec(v, shape, &Device::Cpu).unwrap();
        let gate_up = tensor(gate_up.concat(), &[E, 2 * HIDDEN, D]);
        let down = tensor(down.concat(), &[E, D, HIDDEN]);
        let weights = ExpertWeights::new(gate_up, down, None, Activation::Silu, true);
        (tensor(router, &[E, D]), weights)
    }

    #[test]
    fn planted_duplicates_are_found_and_no_others() {
        let (router, experts) = planted();
        let layer = MoeLayer { layer: 2, router: Some(&router), gain: None, experts: &experts };
        let rows = similarity(&[layer], 1, &mut Quiet).unwrap();
        assert_eq!(rows.len(), E * (E - 1) / 2);
        let duplicates: Vec<(u32, u32)> = rows.iter().filter(|r| r.duplicate).map(|r| (r.a, r.b)).collect();
        assert_eq!(duplicates, [(0, 4), (1, 3)]);
        let of = |a, b| rows.iter().find(|r| (r.a, r.b) == (a, b)).unwrap();
        // The same function in another order: only outputs tell.
        assert!((of(0, 4).output_cosine.unwrap() - 1.0).abs() < 1e-5, "{:?}", of(0, 4));
        assert!(of(0, 4).weights_cosine.unwrap() < 0.7, "{:?}", of(0, 4));
        assert!(of(1, 3).weights_cosine.unwrap() > 0.99 && of(1, 3).output_cosine.unwrap() > 0.99);
        assert!(rows.iter().all(|r| r.layer == 2));
    }

    /// Cosines of router rows and of whole experts, each by one loop in f64.
    #[test]
    fn cosines_as_by_hand() {
        let (router, experts) = planted();
        let numbers = |t: &Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        let (router_rows, gate_up, down) =
            (numbers(&router), numbers(&experts.gate_up), numbers(&experts.down));
        let cosine = |a: Vec<f32>, b: Vec<f32>| {
            let dot = |x: &[f32], y: &[f32]| {
                x.iter().zip(y).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum::<f64>()
            };
            dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
        };
        let of_expert = |e: usize| {
            [&gate_up[e * 2 * HIDDEN * D..][..2 * HIDDEN * D], &down[e * D * HIDDEN..][..D * HIDDEN]].concat()
        };
        for row in similarity(
            &[MoeLayer { layer: 0, router: Some(&router), gain: None, experts: &experts }],
            1,
            &mut Quiet,
        )
        .unwrap()
        {
            let (a, b) = (row.a as usize, row.b as usize);
            let wanted = cosine(router_rows[a * D..][..D].to_vec(), router_rows[b * D..][..D].to_vec());
            assert!((row.router_cosine.unwrap() - wanted).abs() < 1e-6, "{row:?}, {wanted}");
            let wanted = cosine(of_expert(a), of_expert(b));
            assert!((row.weights_cosine.unwrap() - wanted).abs() < 1e-6, "{row:?}, {wanted}");
        }
    }

    #[test]
    fn long_rows_and_rows_of_zeros() {
        let mut rng = ChaCha8Rng::seed_from_u64(8);
        let width = 2 * COLUMNS + 17;
        let rows = draw(3 * width, &mut rng);
        let found = products(&rows, 3);
        for (at, found) in found.into_iter().enumerate() {
            let (a, b) = (&rows[at / 3 * width..][..width], &rows[at % 3 * width..][..width]);
            let wanted: f64 = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            assert!((found - wanted).abs() < 1e-3, "{found}, {wanted}");
        }
        let (router, experts) = planted();
        let router = (router * 0.0).unwrap();
        let rows = similarity(
            &[MoeLayer { layer: 0, router: Some(&router), gain: None, experts: &experts }],
            1,
            &mut Quiet,
        )
        .unwrap();
        assert!(rows.iter().all(|r| r.router_cosine.is_none() && r.weights_cosine.is_some()));
    }
}

//! The baseline of all dimensions: a linear fit of choices by the activation itself.

use std::collections::BTreeMap;

use super::fit::solve;
use kernels::gemm::{Mat, MatMut, WriteMode, gemm};

/// Products of activations with each other and with choices, over the tokens that predictors are made from.
#[derive(Debug)]
pub struct Moments {
    d: usize,
    experts: usize,
    rows: f64,
    /// `[d, d]` and `[d]`.
    gram: Vec<f64>,
    sums: Vec<f64>,
    /// By layer: `[E, d]` and `[E]`.
    layers: BTreeMap<u16, (Vec<f64>, Vec<f64>)>,
    /// Rows that are not yet in the products.
    waiting: Vec<f32>,
}

impl Moments {
    /// Of activations of width `d`.
    pub fn new(d: usize, layers: &[u16], experts: usize) -> Self {
        let zeros = |_: &u16| (vec![0.0; experts * d], vec![0.0; experts]);
        Self {
            d,
            experts,
            rows: 0.0,
            gram: vec![0.0; d * d],
            sums: vec![0.0; d],
            layers: layers.iter().map(|layer| (*layer, zeros(layer))).collect(),
            waiting: Vec::new(),
        }
    }

    /// Adds a token with its choices in each layer.
    pub fn push<'a>(&mut self, x: &[f32], chosen: impl Fn(u16) -> &'a [u32]) {
        self.waiting.extend_from_slice(x);
        self.rows += 1.0;
        self.sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += f64::from(*x));
        for (layer, (with, counts)) in &mut self.layers {
            for &e in chosen(*layer) {
                let e = e as usize;
                counts[e] += 1.0;
                with[e * self.d..(e + 1) * self.d].iter_mut().zip(x).for_each(|(w, x)| *w += f64::from(*x));
            }
        }
    }

    /// Puts the waiting rows into the products.
    pub fn flush(&mut self) {
        let (d, n) = (self.d, self.waiting.len() / self.d.max(1));
        let mut product = vec![0.0; d * d];
        let x = Mat::new(&self.waiting, n, d);
        gemm(x.t(), x, 1.0, WriteMode::Overwrite, MatMut::new(&mut product, d, d));
        self.gram.iter_mut().zip(product).for_each(|(sum, p)| *sum += f64::from(p));
        self.waiting.clear();
    }

    /// The fit of a layer: constants `[E]` and coefficients `[E, d]`.
    pub fn fit(&self, layer: u16) -> (Vec<f64>, Vec<f64>) {
        let (d, n) = (self.d, self.rows);
        let Some((with, counts)) = self.layers.get(&layer) else { return Default::default() };
        let mut centred = self.gram.clone();
        for i in 0..d {
            for j in 0..d {
                centred[i * d + j] -= self.sums[i] * self.sums[j] / n;
            }
        }
        let (mut constants, mut coefficients) = (Vec::new(), Vec::new());
        for e in 0..self.experts {
            let mean = counts[e] / n;
            let b = (0..d).map(|i| with[e * d + i] - self.sums[i] * mean).collect();
            let w = solve(centred.clone(), b);
            constants.push(mean - w.iter().zip(&self.sums).map(|(w, s)| w * s / n).sum::<f64>());
            coefficients.extend(w);
        }
        (constants, coefficients)
    }
}

//! Adam (Kingma and Ba 2015) on one row of parameters.
//!
//! `m ← β₁m + (1−β₁)g`, `v ← β₂v + (1−β₂)g²`, `w ← w − lr · m̂ / (√v̂ + ε)` with bias-corrected `m̂`, `v̂`.

/// What one step of Adam uses, bias corrections included.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    beta1: f32,
    beta2: f32,
    /// lr / (1 − β₁ᵗ)
    rate: f32,
    /// 1 / √(1 − β₂ᵗ)
    second_scale: f32,
    epsilon: f32,
}

impl AdamStep {
    /// Constants of step `t`, counted from 1.
    pub fn new(t: u64, learning_rate: f64, betas: (f64, f64), epsilon: f64) -> Self {
        let correction = |beta: f64| 1.0 - beta.powf(t as f64);
        Self {
            beta1: betas.0 as f32,
            beta2: betas.1 as f32,
            rate: (learning_rate / correction(betas.0)) as f32,
            second_scale: (1.0 / correction(betas.1).sqrt()) as f32,
            epsilon: epsilon as f32,
        }
    }

    /// One parameter's new value; updates its moments.
    #[inline(always)]
    pub fn apply(&self, weight: f32, first: &mut f32, second: &mut f32, gradient: f32) -> f32 {
        *first = self.beta1 * *first + (1.0 - self.beta1) * gradient;
        *second = self.beta2 * *second + (1.0 - self.beta2) * (gradient * gradient);
        weight - self.rate * *first / (second.sqrt() * self.second_scale + self.epsilon)
    }
}

for_this_processor! {
    /// One step on a row: `weights`, moments `first` and `second`, and `gradient` have one length.
    pub fn update / update_portable(step: &AdamStep, weights: &mut [f32], first: &mut [f32], second: &mut [f32], gradient: &[f32]) {
        let n = weights.len();
        let (first, second, gradient) = (&mut first[..n], &mut second[..n], &gradient[..n]);
        for i in 0..n {
            weights[i] = step.apply(weights[i], &mut first[i], &mut second[i], gradient[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn follows_the_paper_in_double_precision() {
        let (lr, betas, eps) = (0.01, (0.9, 0.999), 1e-8);
        let (mut w, mut m, mut v) = (vec![0.5_f32, -1.0, 2.0], vec![0.0; 3], vec![0.0; 3]);
        let (mut w64, mut m64, mut v64) = ([0.5_f64, -1.0, 2.0], [0.0_f64; 3], [0.0_f64; 3]);
        for t in 1..=50_u64 {
            // The second gradient is zero most of the time: moments decay and the weight still moves.
            let g = [(t as f32).sin(), if t == 1 { 1.0 } else { 0.0 }, -0.3];
            update(&AdamStep::new(t, lr, betas, eps), &mut w, &mut m, &mut v, &g);
            for i in 0..3 {
                let g = f64::from(g[i]);
                m64[i] = betas.0 * m64[i] + (1.0 - betas.0) * g;
                v64[i] = betas.1 * v64[i] + (1.0 - betas.1) * g * g;
                let (mh, vh) =
                    (m64[i] / (1.0 - betas.0.powi(t as i32)), v64[i] / (1.0 - betas.1.powi(t as i32)));
                w64[i] -= lr * mh / (vh.sqrt() + eps);
            }
        }
        for i in 0..3 {
            assert!((f64::from(w[i]) - w64[i]).abs() < 1e-5, "{i}: {} and {}", w[i], w64[i]);
        }
    }

    #[test]
    fn both_variants_give_the_same_bits() {
        let gradient: Vec<f32> = (0..77).map(|i| ((i * 13) % 17) as f32 - 8.0).collect();
        let step = AdamStep::new(3, 1e-3, (0.9, 0.999), 6.25e-10);
        let run = |kernel: fn(&AdamStep, &mut [f32], &mut [f32], &mut [f32], &[f32])| {
            let (mut w, mut m, mut v) = (vec![1.0; 77], vec![0.1; 77], vec![0.2; 77]);
            kernel(&step, &mut w, &mut m, &mut v, &gradient);
            (w, m, v)
        };
        assert_eq!(run(update), run(update_portable));
    }
}

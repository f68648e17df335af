//! Norms of one row, and their gradients with regard to it.

use super::vector;

/// `1 / √(mean(x²) + ε)`.
#[inline(always)]
fn inverse_rms(x: &[f32], eps: f32) -> f32 {
    1.0 / (vector::squared_norm(x) / x.len() as f32 + eps).sqrt()
}

/// Mean, and one over the standard deviation.
#[inline(always)]
fn moments(x: &[f32], eps: f32) -> (f32, f32) {
    let n = x.len() as f32;
    let mean = vector::sum(x) / n;
    let (blocks, rest) = x.as_chunks::<32>();
    let mut lanes = [0f32; 32];
    for block in blocks {
        for i in 0..32 {
            lanes[i] += (block[i] - mean) * (block[i] - mean);
        }
    }
    lanes.iter_mut().zip(rest).for_each(|(lane, v)| *lane += (v - mean) * (v - mean));
    (mean, 1.0 / (vector::sum(&lanes) / n + eps).sqrt())
}

for_this_processor! {
    /// `y = x r ∘ w`, `r = 1 / √(mean(x²) + ε)`.
    pub fn rms / rms_portable(x: &[f32], w: &[f32], eps: f32, y: &mut [f32]) {
        let r = inverse_rms(x, eps);
        for ((y, x), w) in y.iter_mut().zip(x).zip(w) {
            *y = x * r * w;
        }
    }
}

for_this_processor! {
    /// Adds to `dx` the gradient of [`rms`] where that of `y` is `g`; gives r. With h = g ∘ w:  dx = r h − x r³ (x·h) / d.
    pub fn rms_back / rms_back_portable(x: &[f32], w: &[f32], eps: f32, g: &[f32], dx: &mut [f32]) -> f32 {
        let r = inverse_rms(x, eps);
        let d = x.len();
        let (w, g, dx) = (&w[..d], &g[..d], &mut dx[..d]);
        let mut lanes = [0f32; 32];
        let whole = d / 32 * 32;
        for at in (0..whole).step_by(32) {
            for i in 0..32 {
                lanes[i] += x[at + i] * g[at + i] * w[at + i];
            }
        }
        for i in whole..d {
            lanes[i - whole] += x[i] * g[i] * w[i];
        }
        let pull = r * r * r * vector::sum(&lanes) / d as f32;
        for i in 0..d {
            dx[i] += r * g[i] * w[i] - x[i] * pull;
        }
        r
    }
}

for_this_processor! {
    /// `y = (x − mean) r ∘ w + b`, `r = 1 / √(variance + ε)`.
    pub fn layer / layer_portable(x: &[f32], w: &[f32], b: &[f32], eps: f32, y: &mut [f32]) {
        let (mean, r) = moments(x, eps);
        for (((y, x), w), b) in y.iter_mut().zip(x).zip(w).zip(b) {
            *y = (x - mean) * r * w + b;
        }
    }
}

for_this_processor! {
    /// Adds to `dx` the gradient of [`layer`] where that of `y` is `g`. With h = g ∘ w and u = (x − mean) r:
    /// dx = r (h − mean(h) − u mean(h ∘ u)).
    pub fn layer_back / layer_back_portable(x: &[f32], w: &[f32], eps: f32, g: &[f32], dx: &mut [f32]) {
        let (mean, r) = moments(x, eps);
        let n = x.len() as f32;
        let h_mean = vector::dot(g, w) / n;
        let along = x.iter().zip(g).zip(w).map(|((x, g), w)| g * w * (x - mean) * r).sum::<f32>() / n;
        for (((dx, x), g), w) in dx.iter_mut().zip(x).zip(g).zip(w) {
            *dx += r * (g * w - h_mean - (x - mean) * r * along);
        }
    }
}

for_this_processor! {
    /// `out += factor · x`.
    pub fn add / add_portable(out: &mut [f32], factor: f32, x: &[f32]) {
        vector::axpy(out, factor, x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: usize, seed: u32) -> Vec<f32> {
        (0..n as u32).map(|i| ((i * 37 + seed * 101) % 29) as f32 / 7.0 - 1.7).collect()
    }

    /// Central differences of Σ g ∘ y in double steps of x.
    fn differences(x: &[f32], g: &[f32], y: impl Fn(&[f32]) -> Vec<f32>) -> Vec<f32> {
        let loss = |x: &[f32]| y(x).iter().zip(g).map(|(y, g)| f64::from(*y) * f64::from(*g)).sum::<f64>();
        let h = 1e-2;
        (0..x.len())
            .map(|i| {
                let moved = |by: f32| {
                    let mut x = x.to_vec();
                    x[i] += by;
                    loss(&x)
                };
                ((moved(h) - moved(-h)) / f64::from(2.0 * h)) as f32
            })
            .collect()
    }

    fn close(a: &[f32], b: &[f32], tolerance: f32) {
        for (i, (a, b)) in a.iter().zip(b).enumerate() {
            assert!((a - b).abs() < tolerance, "{i}: {a} against {b}");
        }
    }

    #[test]
    fn norms_by_their_definitions_and_gradients_by_differences() {
        for n in [1, 5, 32, 45, 70] {
            let (x, w, b, g) = (row(n, 1), row(n, 2), row(n, 3), row(n, 4));
            let eps = 1e-2;
            let mut y = vec![0.0; n];
            rms(&x, &w, eps, &mut y);
            let r = 1.0 / (x.iter().map(|v| v * v).sum::<f32>() / n as f32 + eps).sqrt();
            close(&y, &x.iter().zip(&w).map(|(x, w)| x * r * w).collect::<Vec<_>>(), 1e-4);
            let forward = |x: &[f32]| {
                let mut y = vec![0.0; n];
                rms(x, &w, eps, &mut y);
                y
            };
            let mut dx = row(n, 5);
            rms_back(&x, &w, eps, &g, &mut dx);
            let moved: Vec<f32> = dx.iter().zip(row(n, 5)).map(|(a, b)| a - b).collect();
            close(&moved, &differences(&x, &g, forward), 2e-2);

            layer(&x, &w, &b, eps, &mut y);
            let mean = x.iter().sum::<f32>() / n as f32;
            let r = 1.0 / (x.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / n as f32 + eps).sqrt();
            let want: Vec<f32> = (0..n).map(|i| (x[i] - mean) * r * w[i] + b[i]).collect();
            close(&y, &want, 1e-4);
            let forward = |x: &[f32]| {
                let mut y = vec![0.0; n];
                layer(x, &w, &b, eps, &mut y);
                y
            };
            let mut dx = row(n, 5);
            layer_back(&x, &w, eps, &g, &mut dx);
            let moved: Vec<f32> = dx.iter().zip(row(n, 5)).map(|(a, b)| a - b).collect();
            close(&moved, &differences(&x, &g, forward), 2e-2);
        }
    }

    #[test]
    fn variants_for_processors_give_the_same_bits() {
        for n in [3, 64, 77] {
            let (x, w, b, g) = (row(n, 1), row(n, 2), row(n, 3), row(n, 4));
            let run = |norm: &dyn Fn(&mut [f32])| {
                let mut y = vec![0.5; n];
                norm(&mut y);
                y
            };
            assert_eq!(run(&|y| rms(&x, &w, 1e-5, y)), run(&|y| rms_portable(&x, &w, 1e-5, y)));
            assert_eq!(run(&|y| layer(&x, &w, &b, 1e-5, y)), run(&|y| layer_portable(&x, &w, &b, 1e-5, y)));
            let back = |y: &mut [f32]| {
                rms_back(&x, &w, 1e-5, &g, y);
            };
            let portable = |y: &mut [f32]| {
                rms_back_portable(&x, &w, 1e-5, &g, y);
            };
            assert_eq!(run(&back), run(&portable));
            assert_eq!(
                run(&|y| layer_back(&x, &w, 1e-5, &g, y)),
                run(&|y| layer_back_portable(&x, &w, 1e-5, &g, y))
            );
            assert_eq!(run(&|y| add(y, 0.3, &x)), run(&|y| add_portable(y, 0.3, &x)));
        }
    }
}

use super::*;
use kernels::chance::{Purpose, generator, normal};
const BATCH: usize = 4096;

/// `n` numbers of a tail: exponential, or log-normal with σ = 1.5.
fn tail(n: usize, log_normal: bool, stream: u64) -> Vec<f32> {
    let mut rng = generator(5, Purpose::Rows, stream, u64::from(log_normal));
    let uniform = |bits: u64| ((bits >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    (0..n)
        .map(
            |_| {
                if log_normal { (1.5 * normal(&mut rng)).exp() } else { -uniform(rng.next_u64()).ln() as f32 }
            },
        )
        .collect()
}

fn mth_largest(mut values: Vec<f32>, m: usize) -> f32 {
    *values.select_nth_unstable_by(m - 1, |a, b| b.total_cmp(a)).1
}

/// Share of all numbers above a threshold, from the distribution itself, over the share that is wanted, m/B.
fn realised(threshold: f32, m: usize, log_normal: bool) -> f64 {
    let threshold = f64::from(threshold);
    let share = if log_normal { above_normal(threshold.ln() / 1.5) } else { (-threshold).exp() };
    share * BATCH as f64 / m as f64
}

/// Share of a standard normal variable above `t`, by Simpson's rule.
fn above_normal(t: f64) -> f64 {
    let (n, width) = (4000, 12.0);
    let density = |x: f64| (-0.5 * x * x).exp() / std::f64::consts::TAU.sqrt();
    let sum: f64 = (0..=n)
        .map(|i| {
            let weight = if i == 0 || i == n { 1.0 } else { 2.0 + 2.0 * f64::from(i % 2) };
            weight * density(t + width * f64::from(i) / f64::from(n))
        })
        .sum();
    sum * width / f64::from(n) / 3.0
}

/// The figures of our notes (themselves simulated, from ten batches) for the mean over batches of the smallest code that was kept, and for quantiles.
#[test]
fn the_mean_of_minima_is_biased_and_quantiles_are_not() {
    let figures = [
        (false, [(1, 0.61), (2, 0.81), (5, 0.91), (20, 0.97), (100, 1.00)]),
        (true, [(1, 0.49), (2, 0.71), (5, 0.92), (20, 0.97), (100, 1.00)]),
    ];
    for (log_normal, figures) in figures {
        let batches: Vec<Vec<f32>> = (0..600).map(|i| tail(BATCH, log_normal, i)).collect();
        for (m, expected) in figures {
            // A threshold from ten batches, and how often a feature then fires, many times over.
            let rates: Vec<f64> = batches
                .chunks(10)
                .map(|ten| {
                    let sum: f32 = ten.iter().map(|batch| mth_largest(batch.clone(), m)).sum();
                    realised(sum / 10.0, m, log_normal)
                })
                .collect();
            let mean = rates.iter().sum::<f64>() / rates.len() as f64;
            assert!((mean - expected).abs() < 0.07, "{log_normal} m = {m}: {mean:.3}, notes {expected}");
            assert!(mean < 1.01, "never above");
            let tokens = batches.len() * BATCH;
            let mut largest = Largest::new((m as f64 / BATCH as f64 * tokens as f64).round() as usize);
            batches.iter().for_each(|batch| largest.add(batch));
            let fitted = realised(largest.threshold(), m, log_normal);
            println!("m {m}: mean of minima {mean:.3}, quantile {fitted:.3}");
            // 600·m numbers are above: a standard error of 4 %/√m.
            assert!((fitted - 1.0).abs() < 0.12 / (m as f64).sqrt(), "{log_normal} m = {m}: {fitted:.3}");
        }
    }
}

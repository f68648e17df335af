//! Figures over prompts with their intervals.

use storage::task::TaskFigure;

/// The quantile of the normal distribution for intervals of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// A share of `n` prompts, with Wilson's interval.
pub fn share(part: usize, n: usize) -> TaskFigure {
    let (value, n) = (part as f64 / n.max(1) as f64, n.max(1) as f64);
    let z2 = Z * Z / n;
    let centre = (value + z2 / 2.0) / (1.0 + z2);
    let half = Z / (1.0 + z2) * (value * (1.0 - value) / n + z2 / (4.0 * n)).sqrt();
    TaskFigure { value, low: (centre - half).clamp(0.0, value), high: (centre + half).clamp(value, 1.0) }
}

/// A figure of means over prompts, with the jackknife's interval; `of` is given the mean of each column. `None` where it does not exist,
/// or for fewer than two prompts.
pub fn of_means<const N: usize>(columns: [&[f64]; N], of: impl Fn([f64; N]) -> f64) -> Option<TaskFigure> {
    let n = columns[0].len() as f64;
    let sums = columns.map(|column| column.iter().sum::<f64>());
    let value = of(sums.map(|sum| sum / n));
    let without = |i: usize| {
        let mut left = sums;
        left.iter_mut().zip(&columns).for_each(|(sum, column)| *sum = (*sum - column[i]) / (n - 1.0));
        of(left)
    };
    let spread: f64 = (0..columns[0].len()).map(|i| (without(i) - value).powi(2)).sum();
    let half = Z * (spread * (n - 1.0) / n).sqrt();
    (value.is_finite() && half.is_finite()).then_some(TaskFigure {
        value,
        low: value - half,
        high: value + half,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_are_the_textbooks() {
        // Wilson for 8 of 10: 0.490 to 0.943.
        let eight = share(8, 10);
        assert!((eight.low - 0.490).abs() < 1e-3 && (eight.high - 0.943).abs() < 1e-3, "{eight:?}");
        // Of a mean the jackknife gives z·s/√n.
        let column: Vec<f64> = (0..50).map(f64::from).collect();
        let mean = of_means([&column], |[mean]| mean).unwrap();
        let s = (column.iter().map(|x| (x - 24.5_f64).powi(2)).sum::<f64>() / 49.0).sqrt();
        assert!((mean.value - 24.5).abs() < 1e-12 && (mean.high - 24.5 - Z * s / 50_f64.sqrt()).abs() < 1e-9);
        // A ratio of columns that are in step is known exactly.
        let double: Vec<f64> = column.iter().map(|x| 2.0 * x).collect();
        let ratio = of_means([&double, &column], |[a, b]| a / b).unwrap();
        assert_eq!(of_means([&column, &[0.0; 50]], |[a, b]| a / b), None);
        assert!((ratio.value - 2.0).abs() < 1e-12 && ratio.high - ratio.low < 1e-9);
    }
}

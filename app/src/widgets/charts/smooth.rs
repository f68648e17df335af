//! Means over neighbouring logged steps, for curves that jump.

use std::sync::Arc;

use super::Curve;

/// Over how many logged steps can be averaged; 1 is none.
pub const WINDOWS: [usize; 4] = [1, 5, 15, 51];

/// What a window is called.
pub fn name(window: usize) -> String {
    if window <= 1 { "not smoothed".to_owned() } else { format!("mean of {window} logged steps") }
}

/// The mean of the finite values within a window around each value. Near the ends the window is narrower, and as wide on both sides, so
/// that nothing is shifted. A value that is missing stays missing.
pub fn mean(ys: &[Option<f32>], window: usize) -> Vec<Option<f32>> {
    let finite = |y: &Option<f32>| y.filter(|y| y.is_finite());
    let mut sums = vec![(0.0f64, 0u32)];
    for y in ys {
        let (sum, count) = *sums.last().unwrap_or(&(0.0, 0));
        sums.push(finite(y).map_or((sum, count), |y| (sum + f64::from(y), count + 1)));
    }
    let of = |(i, y): (usize, &Option<f32>)| {
        finite(y)?;
        let half = (window / 2).min(i).min(ys.len() - 1 - i);
        let ((low, from), (high, to)) = (sums[i - half], sums[i + half + 1]);
        Some(((high - low) / f64::from(to - from)) as f32)
    };
    ys.iter().enumerate().map(of).collect()
}

/// Smoothed curves, each made once.
#[derive(Debug)]
pub struct Smoothed<L> {
    made: Vec<Made<L>>,
}

impl<L> Default for Smoothed<L> {
    fn default() -> Self {
        Self { made: Vec::new() }
    }
}

#[derive(Debug)]
struct Made<L> {
    log: Arc<L>,
    metric: &'static str,
    window: usize,
    values: Arc<Vec<Option<f32>>>,
}

impl<L> Smoothed<L> {
    /// The curve of `log` that is called `metric`, smoothed; none where there is none.
    pub fn of(
        &mut self,
        log: &Arc<L>,
        (metric, curve): (&'static str, Curve<L>),
        window: usize,
    ) -> Option<Arc<Vec<Option<f32>>>> {
        let same =
            |made: &&Made<L>| Arc::ptr_eq(&made.log, log) && made.metric == metric && made.window == window;
        if let Some(made) = self.made.iter().find(same) {
            return Some(Arc::clone(&made.values));
        }
        let values = Arc::new(mean(curve(log)?, window));
        let log = Arc::clone(log);
        self.made.push(Made { log, metric, window, values: Arc::clone(&values) });
        Some(values)
    }

    /// Forgets the curves of other runs and windows.
    pub fn keep(&mut self, used: &[&Arc<L>], window: usize) {
        self.made.retain(|made| made.window == window && used.iter().any(|log| Arc::ptr_eq(log, &made.log)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_of_as_much_before_as_after() {
        let ys: Vec<Option<f32>> = [1.0, 2.0, 9.0, 4.0, 5.0].map(Some).to_vec();
        assert_eq!(mean(&ys, 1), ys);
        assert_eq!(mean(&ys, 3), [1.0, 4.0, 5.0, 6.0, 5.0].map(Some));
        // 4.2 is the mean of all; at the ends the value itself.
        assert_eq!(mean(&ys, 51), [1.0, 4.0, 4.2, 6.0, 5.0].map(Some));
        // A straight line stays where it is.
        let line: Vec<Option<f32>> = (0..40).map(|i| Some(i as f32)).collect();
        assert_eq!(mean(&line, 15), line);
        // Gaps and what is not finite count for nothing and stay gaps.
        let gaps = [Some(1.0), None, Some(f32::NAN), Some(4.0), Some(6.0)];
        assert_eq!(mean(&gaps, 5), [Some(1.0), None, None, Some(5.0), Some(6.0)]);
        assert!(mean(&[], 5).is_empty());
    }
}

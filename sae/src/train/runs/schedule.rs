//! The learning rate over a run: linear warm-up, constant, linear decay to 0.

/// Learning rate of a run of `steps` steps.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// Rate between warm-up and decay.
    pub peak: f64,
    /// Steps of warm-up.
    pub warmup: u64,
    /// Steps of decay at the end.
    pub decay: u64,
    /// Steps of the run.
    pub steps: u64,
}

impl Schedule {
    /// The rate of step `t`, counted from 1. The last step's rate is `peak / (decay + 1)`, the one after it would be 0.
    pub fn rate(&self, t: u64) -> f64 {
        let warm = if t < self.warmup { t as f64 / self.warmup as f64 } else { 1.0 };
        let left = (self.steps + 1).saturating_sub(t);
        let cool = if left <= self.decay { left as f64 / (self.decay + 1) as f64 } else { 1.0 };
        self.peak * warm.min(cool)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rises_stays_and_falls() {
        let schedule = Schedule { peak: 2.0, warmup: 10, decay: 20, steps: 100 };
        assert_eq!(schedule.rate(1), 0.2);
        assert_eq!(schedule.rate(10), 2.0);
        assert_eq!(schedule.rate(80), 2.0);
        assert!(schedule.rate(81) < 2.0 && schedule.rate(100) > 0.0 && schedule.rate(100) < 0.1);
        assert_eq!(schedule.rate(101), 0.0);
        assert!((1..100).all(|t| (schedule.rate(t + 1) - schedule.rate(t)).abs() <= 0.2 + 1e-12));
        let none = Schedule { peak: 1.0, warmup: 0, decay: 0, steps: 5 };
        assert!((1..=5).all(|t| none.rate(t) == 1.0));
    }
}

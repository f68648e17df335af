//! How temperature, noise and the cut of rows change over the iterations.

/// Annealing: everything changes linearly.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Schedule {
    /// Iterations.
    pub iterations: usize,
    /// Temperature at the beginning; it falls to 1.
    pub temperature: f64,
    /// Standard deviation of what is added to W after an iteration, in mean standard deviations of the rows; it falls to 0.
    pub noise: f64,
    /// Share of the iterations after which temperature is 1 and noise 0.
    pub cool: f64,
    /// Share of the iterations after which all rows are left out that have more active latents than states have. Before, the number
    /// that is left out rises from 0.
    pub cut: f64,
}

impl Schedule {
    fn done(&self, step: usize, of: f64) -> f64 {
        let end = of * self.iterations as f64;
        if end > 0.0 { (step as f64 / end).min(1.0) } else { 1.0 }
    }

    /// Temperature of iteration `step`, counted from 0.
    pub fn temperature_at(&self, step: usize) -> f64 {
        self.temperature + (1.0 - self.temperature) * self.done(step, self.cool)
    }

    /// Noise after it.
    pub fn noise_at(&self, step: usize) -> f64 {
        self.noise * (1.0 - self.done(step, self.cool))
    }

    /// The cut of it, from 0 to 1.
    pub fn cut_at(&self, step: usize) -> f64 {
        self.done(step, self.cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_falls_and_stays() {
        let schedule = Schedule { iterations: 100, temperature: 5.0, noise: 0.5, cool: 0.8, cut: 0.5 };
        assert_eq!([0, 40, 80, 99].map(|s| schedule.temperature_at(s)), [5.0, 3.0, 1.0, 1.0]);
        assert_eq!([0, 40, 80].map(|s| schedule.noise_at(s)), [0.5, 0.25, 0.0]);
        assert_eq!([0, 25, 50, 99].map(|s| schedule.cut_at(s)), [0.0, 0.5, 1.0, 1.0]);
    }
}

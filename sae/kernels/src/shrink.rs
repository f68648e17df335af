//! Shrinkages: the proximal operators of penalties, argmin over x of ½ (x − z)² + η g(x), for x and z of 0 or more.
//!
//! All of these penalties are even, so the lower half mirrors the upper one: [`Shrinkage::prox_signed`]. Soft thresholding is that of ISTA
//! (Daubechies et al. 2004), hard of IHT (Blumensath & Davies 2008), half of Xu et al. (2012), CEL0 of Soubies et al. (2015), which is the
//! firm threshold and the minimax concave penalty; Candès et al. (2008) have the logarithm.

/// A penalty g with weight λ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shrinkage {
    /// λ|x|.
    Soft,
    /// λ where x ≠ 0.
    Hard,
    /// λ √|x|.
    Half,
    /// CEL0, the same as firm thresholding and as the minimax concave penalty, for directions of norm 1:
    /// λ − ½ (|x| − √(2λ))² up to √(2λ), then λ.
    Firm,
    /// λ ln(1 + |x| / ε), ε = ½.
    LogSum,
}

/// ε of [`Shrinkage::LogSum`].
pub const EPSILON: f64 = 0.5;

impl Shrinkage {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Soft, Self::Hard, Self::Half, Self::Firm, Self::LogSum];

    /// The name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Soft => "soft",
            Self::Hard => "hard",
            Self::Half => "half",
            Self::Firm => "firm",
            Self::LogSum => "log-sum",
        }
    }

    /// The shrinkage of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The penalty g at `x` ≥ 0.
    pub fn penalty(self, x: f64, lambda: f64) -> f64 {
        match self {
            Self::Soft => lambda * x,
            Self::Hard => lambda * f64::from(u8::from(x > 0.0)),
            Self::Half => lambda * x.sqrt(),
            Self::Firm => lambda - 0.5 * ((2.0 * lambda).sqrt() - x).max(0.0).powi(2),
            Self::LogSum => lambda * (x / EPSILON).ln_1p(),
        }
    }

    /// Its derivative at `x` > 0.
    pub fn penalty_slope(self, x: f64, lambda: f64) -> f64 {
        match self {
            Self::Soft => lambda,
            Self::Hard => 0.0,
            Self::Half => 0.5 * lambda / x.sqrt(),
            Self::Firm => ((2.0 * lambda).sqrt() - x).max(0.0),
            Self::LogSum => lambda / (x + EPSILON),
        }
    }

    /// The derivative of the proximal operator where its value is `x` > 0: there x − z + η g′(x) = 0, so it is 1 / (1 + η g″(x)).
    pub fn prox_slope(self, x: f64, lambda: f64, eta: f64) -> f64 {
        let bend = match self {
            Self::Soft | Self::Hard => 0.0,
            Self::Half => -0.25 * lambda * x.powf(-1.5),
            Self::Firm if eta < 1.0 && x < (2.0 * lambda).sqrt() => -1.0,
            Self::Firm => 0.0,
            Self::LogSum => -lambda / (x + EPSILON).powi(2),
        };
        1.0 / (1.0 + eta * bend)
    }

    /// The proximal operator at any `z`.
    pub fn prox_signed(self, z: f64, lambda: f64, eta: f64) -> f64 {
        self.prox(z.abs(), lambda, eta).copysign(z)
    }

    /// The proximal operator at `z` ≥ 0.
    pub fn prox(self, z: f64, lambda: f64, eta: f64) -> f64 {
        let step = eta * lambda;
        match self {
            Self::Soft => (z - step).max(0.0),
            Self::Hard if z > (2.0 * step).sqrt() => z,
            Self::Hard => 0.0,
            Self::Half if z <= self.threshold(lambda, eta) => 0.0,
            Self::Half => {
                let angle = (step / 4.0 * (z / 3.0).powf(-1.5)).clamp(-1.0, 1.0).acos();
                2.0 / 3.0 * z * (1.0 + (std::f64::consts::TAU / 3.0 - 2.0 / 3.0 * angle).cos())
            }
            Self::Firm if eta < 1.0 => z.min((z - (2.0 * lambda).sqrt() * eta).max(0.0) / (1.0 - eta)),
            Self::Firm => Self::Hard.prox(z, lambda, eta),
            Self::LogSum => log_sum(z, step),
        }
    }

    /// The largest z that becomes 0.
    pub fn threshold(self, lambda: f64, eta: f64) -> f64 {
        let step = eta * lambda;
        match self {
            Self::Soft => step,
            Self::Hard => (2.0 * step).sqrt(),
            Self::Half => 54.0_f64.cbrt() / 4.0 * (2.0 * step).powf(2.0 / 3.0),
            Self::Firm if eta < 1.0 => (2.0 * lambda).sqrt() * eta,
            Self::Firm => (2.0 * step).sqrt(),
            // With z = 0 and the slope of the penalty alone, or, where the penalty bends more than the square, where both minima are equal.
            Self::LogSum if step <= EPSILON * EPSILON => step / EPSILON,
            Self::LogSum => bisect(|z| log_sum(z, step) == 0.0, step / EPSILON),
        }
    }

    /// λ for which everything up to `z` becomes 0 and nothing above it.
    pub fn lambda(self, z: f64, eta: f64) -> f64 {
        match self {
            Self::Soft => z / eta,
            Self::Hard => z * z / (2.0 * eta),
            Self::Half => (z * 4.0 / 54.0_f64.cbrt()).powf(1.5) / (2.0 * eta),
            Self::Firm if eta < 1.0 => (z / eta).powi(2) / 2.0,
            Self::Firm => z * z / (2.0 * eta),
            Self::LogSum => {
                let most = (z * z + 2.0 * z * EPSILON + 1.0) / eta;
                bisect(|lambda| self.threshold(lambda, eta) <= z, most)
            }
        }
    }
}

/// The proximal operator of the logarithm, with ηλ in one number.
fn log_sum(z: f64, step: f64) -> f64 {
    let root = (z + EPSILON).powi(2) - 4.0 * step;
    if root < 0.0 {
        return 0.0;
    }
    let x = 0.5 * ((z - EPSILON) + root.sqrt());
    let objective = |x: f64| 0.5 * (x - z).powi(2) + step * (x / EPSILON).ln_1p();
    if x > 0.0 && objective(x) < objective(0.0) { x } else { 0.0 }
}

/// The largest number between 0 and `most` for which `holds`, which holds up to somewhere.
fn bisect(holds: impl Fn(f64) -> bool, most: f64) -> f64 {
    let (mut low, mut high) = (0.0, most);
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        if holds(middle) { low = middle } else { high = middle }
    }
    low
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETA: f64 = 0.5;
    const LAMBDA: f64 = 0.27;

    fn penalty(kind: Shrinkage, x: f64) -> f64 {
        match kind {
            Shrinkage::Soft => LAMBDA * x,
            Shrinkage::Hard => LAMBDA * f64::from(u8::from(x > 0.0)),
            Shrinkage::Half => LAMBDA * x.sqrt(),
            Shrinkage::Firm => LAMBDA - 0.5 * ((2.0 * LAMBDA).sqrt() - x).max(0.0).powi(2),
            Shrinkage::LogSum => LAMBDA * (1.0 + x / EPSILON).ln(),
        }
    }

    /// Found by trying all x on a fine grid with the penalties as they are written in their papers.
    #[test]
    fn the_golden_table_is_met() {
        let z = [0.1, 0.3, 0.45, 0.5, 0.6, 0.9, 1.5, 2.0];
        let table = [
            (Shrinkage::Soft, [0.0, 0.165, 0.315, 0.365, 0.465, 0.765, 1.365, 1.865]),
            (Shrinkage::Hard, [0.0, 0.0, 0.0, 0.0, 0.6, 0.9, 1.5, 2.0]),
            (Shrinkage::Firm, [0.0, 0.0, 0.1652, 0.2652, 0.4652, 0.9, 1.5, 2.0]),
            (Shrinkage::Half, [0.0, 0.0, 0.3330, 0.3922, 0.5050, 0.8257, 1.4438, 1.9517]),
            (Shrinkage::LogSum, [0.0, 0.0581, 0.2760, 0.3391, 0.4593, 0.7958, 1.4301, 1.9448]),
        ];
        for (kind, expected) in table {
            for (z, expected) in z.iter().zip(expected) {
                let found = kind.prox(*z, LAMBDA, ETA);
                assert!((found - expected).abs() < 6e-5, "{kind:?} {z}: {found}, expected {expected}");
            }
        }
    }

    #[test]
    fn nothing_on_a_grid_has_a_smaller_objective() {
        for kind in Shrinkage::ALL {
            for z in (0..80).map(|i| f64::from(i) * 0.037) {
                let objective = |x: f64| 0.5 * (x - z).powi(2) + ETA * penalty(kind, x);
                let found = objective(kind.prox(z, LAMBDA, ETA));
                let best = (0..40_000).map(|i| objective(f64::from(i) * 1e-4)).fold(f64::INFINITY, f64::min);
                assert!(found < best + 1e-7, "{kind:?} {z}: {found} but {best}");
            }
        }
    }

    #[test]
    fn slopes_are_derivatives() {
        for kind in Shrinkage::ALL {
            for z in (0..60).map(|i| 0.061 + f64::from(i) * 0.047) {
                let (step, prox) = (1e-6, |z| kind.prox(z, LAMBDA, ETA));
                let x = prox(z);
                // Not at a jump or a corner.
                let smooth = prox(z - step) > 0.0 && (x - (2.0 * LAMBDA).sqrt()).abs() > 1e-3;
                if !smooth {
                    continue;
                }
                let difference = (prox(z + step) - prox(z - step)) / (2.0 * step);
                let slope = kind.prox_slope(x, LAMBDA, ETA);
                assert!((slope - difference).abs() < 1e-5 * slope, "{kind:?} {z}: {slope}, {difference}");
                let difference = (penalty(kind, x + step) - penalty(kind, x - step)) / (2.0 * step);
                assert!((kind.penalty_slope(x, LAMBDA) - difference).abs() < 1e-6, "{kind:?} {z}");
                assert!((kind.penalty(x, LAMBDA) - penalty(kind, x)).abs() < 1e-12, "{kind:?} {z}");
                assert_eq!(kind.prox_signed(-z, LAMBDA, ETA), -x);
            }
            assert_eq!(Shrinkage::named(kind.name()), Some(kind));
        }
        assert_eq!(Shrinkage::named("ridge"), None);
    }

    #[test]
    fn thresholds_part_zero_from_the_rest_for_any_weight() {
        for kind in Shrinkage::ALL {
            for eta in [0.05, 0.5, 1.0] {
                for wanted in [0.01, 0.3, 2.0, 9.0] {
                    let lambda = kind.lambda(wanted, eta);
                    let threshold = kind.threshold(lambda, eta);
                    assert!(
                        (threshold - wanted).abs() < 1e-6 * wanted.max(1.0),
                        "{kind:?} {eta} {wanted}: {threshold}"
                    );
                    assert_eq!(kind.prox(wanted * 0.9999, lambda, eta), 0.0, "{kind:?} {eta} {wanted}");
                    assert!(kind.prox(wanted * 1.0001, lambda, eta) > 0.0, "{kind:?} {eta} {wanted}");
                }
            }
        }
    }
}

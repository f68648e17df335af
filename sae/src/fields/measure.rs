//! What there is to say of one field.

use std::f64::consts::TAU;

use kernels::chance::{Purpose, generator, normal};

/// Random fields that limits are taken from.
const RANDOM: usize = 1000;
/// Points of the Fourier transform per pixel of a side.
const PADDING: usize = 4;

/// A field in numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FieldFigures {
    /// Cycles per pixel of the strongest wave.
    pub frequency: f64,
    /// Direction of its stripes, degrees from the horizontal, 0 to 180.
    pub orientation: f64,
    /// |Σ P e^(2iθ)| / Σ P over the power P at waves of at most half a cycle per pixel.
    pub selectivity: f64,
    /// Root mean square distance of the energy from its centre, over that of a field that is the same everywhere.
    pub spread: f64,
}

/// What lies beyond these is localised, or oriented.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// A spread below is localised.
    pub spread: f64,
    /// A selectivity above is oriented.
    pub selectivity: f64,
}

/// Measures fields of one size.
#[derive(Debug)]
pub struct Measure {
    side: usize,
    /// Points of a side of the transform.
    points: usize,
    /// cos and sin of 2π i / points.
    turns: Vec<(f64, f64)>,
}

impl Measure {
    /// For fields of `side × side` pixels.
    pub fn new(side: usize) -> Self {
        let points = PADDING * side;
        let turns = (0..points).map(|i| (TAU * i as f64 / points as f64).sin_cos()).map(|(s, c)| (c, s));
        Self { side, points, turns: turns.collect() }
    }

    /// The figures of `field`, row by row. A field of zeros has zeros.
    pub fn of(&self, field: &[f32]) -> FieldFigures {
        let mean = field.iter().map(|w| f64::from(*w)).sum::<f64>() / field.len() as f64;
        let centred: Vec<f64> = field.iter().map(|w| f64::from(*w) - mean).collect();
        let (frequency, orientation, selectivity) = self.waves(&centred);
        FieldFigures { frequency, orientation, selectivity, spread: self.spread(field) }
    }

    /// Σ_x values(x) e^(−2πi u x / points).
    fn transform(&self, values: impl Iterator<Item = (f64, f64)>, u: usize) -> (f64, f64) {
        values.enumerate().fold((0.0, 0.0), |(re, im), (x, (a, b))| {
            let (c, s) = self.turns[u * x % self.points];
            (re + a * c + b * s, im + b * c - a * s)
        })
    }

    /// Frequency and orientation of the strongest wave, and selectivity.
    fn waves(&self, field: &[f64]) -> (f64, f64, f64) {
        let (side, points) = (self.side, self.points);
        // Along rows first: [side, points].
        let rows: Vec<(f64, f64)> = field
            .chunks_exact(side)
            .flat_map(|row| (0..points).map(|u| self.transform(row.iter().map(|w| (*w, 0.0)), u)))
            .collect();
        let (mut best, mut total, mut doubled) = ((0.0, 0.0, 0.0), 0.0, (0.0, 0.0));
        for u in 0..points {
            // The other half mirrors this one.
            for v in 0..=points / 2 {
                let signed = if u > points / 2 { u as f64 - points as f64 } else { u as f64 };
                let (fx, fy) = (signed / points as f64, v as f64 / points as f64);
                let frequency = fx.hypot(fy);
                if frequency == 0.0 || frequency > 0.5 || (v == 0 && signed < 0.0) {
                    continue;
                }
                let (re, im) = self.transform((0..side).map(|y| rows[y * points + u]), v);
                let power = re * re + im * im;
                // Stripes stand at a right angle to the wave; y runs downwards.
                let angle = fx.atan2(fy);
                total += power;
                doubled.0 += power * (2.0 * angle).cos();
                doubled.1 += power * (2.0 * angle).sin();
                if power > best.0 {
                    best = (power, frequency, angle.to_degrees().rem_euclid(180.0));
                }
            }
        }
        let selectivity = if total > 0.0 { f64::hypot(doubled.0, doubled.1) / total } else { 0.0 };
        (best.1, best.2, selectivity)
    }

    fn spread(&self, field: &[f32]) -> f64 {
        let side = self.side;
        let energy = |i: usize| f64::from(field[i]).powi(2);
        let total: f64 = (0..field.len()).map(energy).sum();
        if total == 0.0 {
            return 0.0;
        }
        let mean = |of: fn(usize, usize) -> usize| {
            (0..field.len()).map(|i| energy(i) * of(i, side) as f64).sum::<f64>() / total
        };
        let (x, y) = (mean(|i, side| i % side), mean(|i, side| i / side));
        let square = |i: usize| ((i % side) as f64 - x).powi(2) + ((i / side) as f64 - y).powi(2);
        let variance = (0..field.len()).map(|i| energy(i) * square(i)).sum::<f64>() / total;
        let even = ((side * side) as f64 - 1.0) / 6.0;
        (variance / even).sqrt()
    }

    /// The first percentile of the spread and the 99th of the selectivity of random fields, whose pixels are normal and independent.
    pub fn limits(&self, seed: u64) -> Limits {
        let figures = |draw: usize| {
            let mut rng = generator(seed, Purpose::Codings, draw as u64, 2);
            let field: Vec<f32> = (0..self.side * self.side).map(|_| normal(&mut rng)).collect();
            self.of(&field)
        };
        let all: Vec<FieldFigures> = (0..RANDOM).map(figures).collect();
        let sorted = |of: fn(&FieldFigures) -> f64| {
            let mut values: Vec<f64> = all.iter().map(of).collect();
            values.sort_unstable_by(f64::total_cmp);
            values
        };
        Limits {
            spread: sorted(|f| f.spread)[RANDOM / 100],
            selectivity: sorted(|f| f.selectivity)[RANDOM - RANDOM / 100 - 1],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// exp(−r²/2s²)·cos(2πf·(distance along the wave) + phase), with stripes at `degrees` from the horizontal.
    fn gabor(
        side: usize,
        (x0, y0): (f64, f64),
        size: f64,
        frequency: f64,
        degrees: f64,
        phase: f64,
    ) -> Vec<f32> {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let value = |i: usize| {
            let (x, y) = ((i % side) as f64 - x0, (i / side) as f64 - y0);
            // Along the stripes is (cos, −sin) on paper whose y runs downwards; across is (sin, cos).
            let across = x * sin + y * cos;
            (-(x * x + y * y) / (2.0 * size * size)).exp() * (TAU * frequency * across + phase).cos()
        };
        (0..side * side).map(|i| value(i) as f32).collect()
    }

    #[test]
    fn waves_of_gabors_are_found() {
        let measure = Measure::new(16);
        for degrees in [0.0, 20.0, 45.0, 90.0, 110.0, 135.0, 170.0] {
            for (frequency, size) in [(0.15, 3.0), (0.25, 2.5), (0.35, 3.0)] {
                for phase in [0.0, 0.9, TAU / 4.0] {
                    let field = gabor(16, (7.0, 8.5), size, frequency, degrees, phase);
                    let found = measure.of(&field);
                    let turn = (found.orientation - degrees + 90.0).rem_euclid(180.0) - 90.0;
                    assert!(turn.abs() < 8.0, "{degrees}: {found:?}");
                    assert!((found.frequency - frequency).abs() < 0.03, "{frequency}: {found:?}");
                    assert!(found.selectivity > 0.6, "{found:?}");
                }
            }
        }
    }

    #[test]
    fn spreads_are_those_of_what_is_drawn() {
        let measure = Measure::new(16);
        assert!((measure.of(&[1.0; 256]).spread - 1.0).abs() < 1e-12);
        let mut point = [0.0; 256];
        point[77] = -2.0;
        assert_eq!(measure.of(&point).spread, 0.0);
        assert!(measure.of(&point).selectivity < 0.05);
        assert_eq!(measure.of(&[0.0; 256]).selectivity, 0.0);
        // The energy of exp(−r²/2s²) has the variance s²/2 in each direction.
        let blob = measure.of(&gabor(16, (7.5, 7.5), 2.0, 0.0, 0.0, 0.0));
        let expected = (2.0 * 2.0 / ((256.0 - 1.0) / 6.0_f64)).sqrt();
        assert!((blob.spread - expected).abs() < 0.01, "{} {expected}", blob.spread);
    }

    #[test]
    fn random_fields_are_beyond_the_limits_as_often_as_they_should_be() {
        let measure = Measure::new(8);
        let limits = measure.limits(0);
        let others = (5000..6000).map(|draw| {
            let mut rng = generator(1, Purpose::Codings, draw, 2);
            let field: Vec<f32> = (0..64).map(|_| normal(&mut rng)).collect();
            measure.of(&field)
        });
        let beyond = |f: &FieldFigures| (f.spread < limits.spread, f.selectivity > limits.selectivity);
        let (spread, selectivity): (Vec<bool>, Vec<bool>) = others.map(|f| beyond(&f)).unzip();
        for flags in [spread, selectivity] {
            let share = flags.iter().filter(|flag| **flag).count();
            assert!((1..=30).contains(&share), "{share} of 1000");
        }
        let wavelet = measure.of(&gabor(8, (3.0, 4.0), 1.5, 0.25, 30.0, 0.0));
        assert!(beyond(&wavelet) == (true, true), "{wavelet:?} {limits:?}");
        // A grating is oriented and fills its patch.
        let grating = measure.of(&gabor(8, (3.0, 4.0), 100.0, 0.25, 30.0, 0.0));
        assert!(beyond(&grating) == (false, true), "{grating:?} {limits:?}");
    }
}

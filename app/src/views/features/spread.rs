//! How a column's values are spread over all features: counts in equal bins, of the logarithm where a column
//! runs over decades.

use crate::data::{Columns, Number};

/// Bins of a histogram.
pub const BINS: usize = 48;

/// The histogram of one column.
#[derive(Clone, Debug, PartialEq)]
pub struct Spread {
    /// Which column.
    pub number: Number,
    /// Left end of the axis, in its own scale.
    lower: f64,
    /// Right end.
    upper: f64,
    /// Features in each bin.
    pub counts: Vec<u32>,
    /// The bin of each feature; [`NOWHERE`] for those that are not on the axis.
    bins: Vec<u8>,
}

/// The bin of a feature that is on no axis.
const NOWHERE: u8 = BINS as u8;

/// The histograms of all columns that have more than one value. Counts of tokens are left to density, which
/// says the same.
pub fn all(columns: &Columns) -> Vec<Spread> {
    Number::ALL
        .iter()
        .filter(|number| **number != Number::Count)
        .filter_map(|number| Spread::of(columns, *number))
        .collect()
}

impl Spread {
    fn of(columns: &Columns, number: Number) -> Option<Self> {
        let features = 0..columns.len() as u32;
        let (mut lower, mut upper) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in features.clone().filter_map(|f| on_axis(number, columns.get(number, f))) {
            lower = lower.min(value);
            upper = upper.max(value);
        }
        // Unit norms differ by rounding only: nothing to see.
        if upper - lower <= 1e-5 * upper.abs().max(lower.abs()) {
            return None;
        }
        let mut spread = Self { number, lower, upper, counts: Vec::new(), bins: Vec::new() };
        let bin = |f: u32| match spread.share(columns.get(number, f)) {
            Some(share) => ((share * BINS as f64) as usize).min(BINS - 1) as u8,
            None => NOWHERE,
        };
        spread.bins = features.clone().map(bin).collect();
        spread.counts = spread.count(&features.collect::<Vec<u32>>());
        Some(spread)
    }

    /// How many of `features` are in each bin.
    pub fn count(&self, features: &[u32]) -> Vec<u32> {
        let mut counts = vec![0; BINS + 1];
        for feature in features {
            let bin = self.bins.get(*feature as usize).copied().unwrap_or(NOWHERE);
            counts[usize::from(bin)] += 1;
        }
        counts.truncate(BINS);
        counts
    }

    /// Features that are on the axis.
    pub fn total(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(*count)).sum()
    }

    /// Where on the axis, 0 to 1, `value` lies; none for what the axis does not have.
    pub fn share(&self, value: f32) -> Option<f64> {
        Some((on_axis(self.number, value)? - self.lower) / (self.upper - self.lower))
    }

    /// The value at `share` of the axis.
    pub fn value(&self, share: f64) -> f32 {
        let at = self.lower + share * (self.upper - self.lower);
        (if self.number.is_logarithmic() { 10f64.powf(at) } else { at }) as f32
    }

    /// The range between two places on the axis. At the ends it takes in what lies there, whatever rounding
    /// does.
    pub fn range(&self, a: f64, b: f64) -> (f32, f32) {
        let (from, to) = (a.min(b), a.max(b));
        let low = if from <= 0.0 { self.value(0.0).next_down() } else { self.value(from) };
        let high = if to >= 1.0 { self.value(1.0).next_up() } else { self.value(to) };
        (low, high)
    }
}

fn on_axis(number: Number, value: f32) -> Option<f64> {
    let value = f64::from(value);
    if number.is_logarithmic() {
        (value > 0.0 && value.is_finite()).then(|| value.log10())
    } else {
        value.is_finite().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::FeatureColumns;

    #[test]
    fn every_feature_that_has_the_number_is_in_one_bin() {
        let numbers = FeatureColumns {
            count: vec![0, 1, 10, 100, 1000],
            density: vec![0.0, 1e-4, 1e-3, 1e-2, 1e-1],
            mean: vec![0.0, 1.0, 2.0, f32::NAN, 4.0],
            max: vec![0.0; 5],
            bias: vec![-1.0, 0.0, 0.5, 0.75, 1.0],
            encoder_norm: vec![1.0; 5],
            decoder_norm: vec![1.0, 1.000_000_1, 1.0, 1.0, 1.0],
            encoder_decoder_cosine: vec![0.5; 5],
            ..FeatureColumns::default()
        };
        let columns = Columns { numbers, ..Columns::default() };
        let spreads = all(&columns);
        let of = |number| spreads.iter().find(|s| s.number == number);
        assert_eq!(of(Number::Density).unwrap().counts.iter().sum::<u32>(), 4, "the dead one is on no axis");
        assert_eq!(of(Number::Mean).unwrap().counts.iter().sum::<u32>(), 3);
        assert_eq!(of(Number::Bias).unwrap().counts.iter().sum::<u32>(), 5);
        assert!(of(Number::DecoderNorm).is_none(), "unit norms are not worth a picture");
        let density = of(Number::Density).unwrap();
        assert!((density.value(1.0 / 3.0) - 1e-3).abs() < 1e-6);
        let (from, to) = density.range(1.2, -0.1);
        assert!(from < 1e-4 && to > 1e-1);
    }
}

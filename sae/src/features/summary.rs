//! What one feature does over all indexed tokens: how often and how strongly.

use storage::features::HISTOGRAM_BINS;

/// The activations of one feature: rows ascending, values above 0.
#[derive(Debug, Clone, Copy)]
pub struct Activations<'a> {
    /// Rows it fired on.
    pub rows: &'a [u32],
    /// Its value there.
    pub values: &'a [f32],
}

/// Statistics of one feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Mean over the tokens it fired on, 0 for a dead feature.
    pub mean: f32,
    /// Largest value, 0 for a dead feature.
    pub max: f32,
    /// Tokens in each of the table's equal bins over (0, max], each open below and closed above.
    pub histogram: [u32; HISTOGRAM_BINS],
}

impl Activations<'_> {
    /// Statistics.
    pub fn summarise(&self) -> Summary {
        let max = self.max();
        let mut histogram = [0; HISTOGRAM_BINS];
        for &value in self.values {
            histogram[part(value, max, HISTOGRAM_BINS)] += 1;
        }
        Summary { mean: self.mean(), max, histogram }
    }

    /// Largest value, 0 without activations.
    pub fn max(&self) -> f32 {
        self.values.iter().copied().fold(0.0, f32::max)
    }

    fn mean(&self) -> f32 {
        let sum: f64 = self.values.iter().copied().map(f64::from).sum();
        if self.values.is_empty() { 0.0 } else { (sum / self.values.len() as f64) as f32 }
    }
}

/// The one of `parts` equal parts of (0, max] that holds `value`, from 0 = the weakest; each part is open
/// below, closed above.
pub fn part(value: f32, max: f32, parts: usize) -> usize {
    // The product is exact, so a value on a boundary is not pushed over it by rounding.
    let place = f64::from(value) * parts as f64 / f64::from(max);
    // Rounded up by hand: `ceil` is a call of the system's library on processors as old as the program allows.
    let whole = place as usize;
    (whole + usize::from((whole as f64) < place)).clamp(1, parts) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_a_feature() {
        let (rows, values) = ([0, 2, 3, 5], [1.0, 4.0, 0.1, 0.05]);
        let summary = Activations { rows: &rows, values: &values }.summarise();
        assert_eq!((summary.max, summary.mean), (4.0, 1.2875));
        let mut histogram = [0; HISTOGRAM_BINS];
        // Bins are 0.1 wide; 0.1 as f32 is a little more than a tenth.
        (histogram[9], histogram[39], histogram[1], histogram[0]) = (1, 1, 1, 1);
        assert_eq!(summary.histogram, histogram);
    }

    #[test]
    fn a_dead_feature() {
        let summary = Activations { rows: &[], values: &[] }.summarise();
        assert_eq!(summary, Summary { mean: 0.0, max: 0.0, histogram: [0; HISTOGRAM_BINS] });
    }

    #[test]
    fn parts_are_closed_above() {
        assert_eq!([0.5, 1.0, 1.5, 2.0, 4.5, 5.0].map(|v| part(v, 5.0, 5)), [0, 0, 1, 1, 4, 4]);
        assert_eq!(part(f32::MIN_POSITIVE, 5.0, 5), 0);
        assert_eq!(part(f32::MIN_POSITIVE, f32::MIN_POSITIVE, 5), 4);
    }
}

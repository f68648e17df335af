//! Upper quantiles of many numbers that are seen once: by counting, or exactly from the largest.

/// Bits of a positive float that a bin forgets: bins are 2⁻¹² of their number wide.
const FORGOTTEN: u32 = 11;

/// Counts of positive numbers in bins of a fixed relative width. Counts are whole: the order of numbers and of merging never matters.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    /// Counts the positive numbers of `values`.
    pub fn add(&mut self, values: &[f32]) {
        if self.counts.is_empty() {
            self.counts = vec![0; (f32::INFINITY.to_bits() >> FORGOTTEN) as usize + 1];
        }
        for &value in values {
            if value > 0.0 {
                self.counts[(value.to_bits() >> FORGOTTEN) as usize] += 1;
            }
        }
    }

    /// The counts of both.
    #[must_use]
    pub fn merged(mut self, other: Self) -> Self {
        if self.counts.is_empty() {
            return other;
        }
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self
    }

    /// The edge of a bin above which there are as nearly `wanted` numbers as there can be; 0 if no more than that are positive.
    pub fn threshold(&self, wanted: u64) -> f32 {
        let mut above = 0;
        for (bin, &count) in self.counts.iter().enumerate().rev() {
            let with = above + count;
            if with >= wanted {
                let upper = wanted - above < with - wanted;
                return f32::from_bits((bin as u32 + u32::from(upper)) << FORGOTTEN);
            }
            above = with;
        }
        0.0
    }
}

/// The largest of the positive numbers seen.
#[derive(Debug, Clone, Default)]
pub struct Largest {
    limit: usize,
    floor: f32,
    values: Vec<f32>,
}

impl Largest {
    /// Will find a threshold that `wanted` numbers are above.
    pub fn new(wanted: usize) -> Self {
        Self { limit: wanted + 1, floor: 0.0, values: Vec::new() }
    }

    /// Looks at `values`.
    pub fn add(&mut self, values: &[f32]) {
        for &value in values {
            if value > self.floor {
                self.values.push(value);
                if self.values.len() >= 2 * self.limit + 32 {
                    self.cut();
                }
            }
        }
    }

    fn cut(&mut self) {
        if self.values.len() > self.limit {
            let (_, least, _) = self.values.select_nth_unstable_by(self.limit - 1, |a, b| b.total_cmp(a));
            self.floor = *least;
            self.values.truncate(self.limit);
        }
    }

    /// Half way between the last number that is wanted and the next; 0 if no more than those wanted are positive.
    pub fn threshold(mut self) -> f32 {
        self.cut();
        if self.values.len() < self.limit {
            return 0.0;
        }
        self.values.sort_unstable_by(|a, b| b.total_cmp(a));
        match self.values[..] {
            [.., last, next] => f32::midpoint(last, next),
            _ => self.values[0],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: u32) -> Vec<f32> {
        (0..n).map(|i| ((i.wrapping_mul(2_654_435_761) >> 8) as f32 / 4e6 - 1.5).exp() - 0.5).collect()
    }

    fn above(values: &[f32], threshold: f32) -> usize {
        values.iter().filter(|&&v| v > threshold.max(0.0)).count()
    }

    #[test]
    fn as_many_numbers_as_wanted_are_above() {
        let values = numbers(100_000);
        let (a, b) = values.split_at(31_000);
        let [mut first, mut second] = [Histogram::default(), Histogram::default()];
        first.add(a);
        second.add(b);
        let histogram = Histogram::default().merged(first).merged(second);
        for wanted in [1, 7, 500, 32_000] {
            let mut largest = Largest::new(wanted);
            values.chunks(777).for_each(|part| largest.add(part));
            assert_eq!(above(&values, largest.threshold()), wanted);
            let found = above(&values, histogram.threshold(wanted as u64));
            assert!(found.abs_diff(wanted) <= 1 + wanted / 500, "{found} for {wanted}");
        }
    }

    #[test]
    fn with_too_few_positive_numbers_all_are_wanted() {
        let values = [1.0, -2.0, 0.5, 0.0, f32::NAN];
        let mut histogram = Histogram::default();
        histogram.add(&values);
        assert_eq!((histogram.threshold(3), Histogram::default().threshold(3)), (0.0, 0.0));
        for wanted in [2, 3, 100] {
            let mut largest = Largest::new(wanted);
            largest.add(&values);
            assert_eq!(largest.threshold(), 0.0);
        }
        let mut none = Largest::new(0);
        none.add(&values);
        assert_eq!(none.threshold(), 1.0, "nothing is above the largest");
    }
}

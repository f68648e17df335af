//! Balanced accuracy, with intervals over documents.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::explain::claims::interval_of_share;

/// The quantile of the normal distribution for intervals of 95 %.
const Z: f64 = 1.959_963_984_540_054;

/// A figure with its interval of 95 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// The figure.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// A passage that was judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    pub document: u32,
    pub truth: bool,
    pub answer: Option<bool>,
}

/// Passages by truth and answer.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Counts {
    /// `[truth][answer]`.
    cells: [[f64; 2]; 2],
}

impl Counts {
    fn add(&mut self, judged: &Judged) {
        if let Some(answer) = judged.answer {
            self.cells[usize::from(judged.truth)][usize::from(answer)] += 1.0;
        }
    }

    fn without(mut self, other: &Self) -> Self {
        for (cells, others) in self.cells.iter_mut().zip(&other.cells) {
            cells.iter_mut().zip(others).for_each(|(a, b)| *a -= b);
        }
        self
    }

    /// The mean of the shares of both classes that were told right; `None` where a class has no answers.
    pub fn balanced(&self) -> Option<f64> {
        let share = |truth: usize| {
            let all = self.cells[truth][0] + self.cells[truth][1];
            (all > 0.0).then(|| self.cells[truth][truth] / all)
        };
        Some(0.5 * (share(0)? + share(1)?))
    }

    /// Of those that were answered with 1, the share that is so.
    pub fn precision(&self) -> Option<f64> {
        let said = self.cells[0][1] + self.cells[1][1];
        (said > 0.0).then(|| self.cells[1][1] / said)
    }

    /// Of those that are so, the share that was answered with 1.
    pub fn recall(&self) -> Option<f64> {
        let all = self.cells[1][0] + self.cells[1][1];
        (all > 0.0).then(|| self.cells[1][1] / all)
    }

    pub fn answered(&self) -> u64 {
        self.cells.iter().flatten().sum::<f64>() as u64
    }
}

/// What was judged about one feature by one explanation, by document.
#[derive(Debug, Clone, Default)]
pub struct Sheet {
    pub all: Counts,
    documents: BTreeMap<u32, Counts>,
}

impl Sheet {
    pub fn new(judged: &[Judged]) -> Self {
        let mut sheet = Self::default();
        for one in judged {
            sheet.all.add(one);
            sheet.documents.entry(one.document).or_default().add(one);
        }
        sheet
    }

    fn without(&self, document: u32) -> Option<f64> {
        match self.documents.get(&document) {
            Some(part) => self.all.without(part).balanced(),
            None => self.all.balanced(),
        }
    }

    /// Balanced accuracy. Its variance is that of the jackknife that leaves out a document at a time, and the interval Wilson's for as many
    /// independent passages as have that variance; where it is 0, for as many as there are documents.
    pub fn balanced(&self) -> Option<Interval> {
        let value = self.all.balanced()?;
        let left = self.documents.keys().filter_map(|document| self.without(*document));
        let variance = jackknife(value, left);
        let (low, high) =
            interval_of_share(value, variance, self.all.answered() as f64, self.documents.len() as f64);
        Some(Interval { value, low, high })
    }
}

/// The variance of `value` by what is left without each document: (n − 1)/n · Σ (left − value)². Infinite from fewer than two.
fn jackknife(value: f64, left: impl Iterator<Item = f64>) -> f64 {
    let (mut sum, mut n) = (0.0, 0.0);
    for other in left {
        sum += (other - value) * (other - value);
        n += 1.0;
    }
    if n < 2.0 { f64::INFINITY } else { sum * (n - 1.0) / n }
}

/// The mean of a figure over features, with an interval over the documents that they share: the jackknife leaves a document out of all
/// features at once. `of` gives a feature's figure without a document, or with all.
fn mean_over(
    features: usize,
    documents: &[u32],
    of: impl Fn(usize, Option<u32>) -> Option<f64>,
) -> Option<Interval> {
    let mean = |without: Option<u32>| {
        let values: Vec<f64> = (0..features).filter_map(|feature| of(feature, without)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let value = mean(None)?;
    let variance = jackknife(value, documents.iter().filter_map(|document| mean(Some(*document))));
    let half = Z * variance.sqrt();
    Some(Interval { value, low: value - half, high: value + half })
}

fn documents(sheets: &[&Sheet]) -> Vec<u32> {
    let mut documents: Vec<u32> = sheets.iter().flat_map(|sheet| sheet.documents.keys().copied()).collect();
    documents.sort_unstable();
    documents.dedup();
    documents
}

/// Mean balanced accuracy over features.
pub fn mean(sheets: &[&Sheet]) -> Option<Interval> {
    let of = |feature: usize, without: Option<u32>| match without {
        None => sheets[feature].all.balanced(),
        Some(document) => sheets[feature].without(document),
    };
    let mut mean = mean_over(sheets.len(), &documents(sheets), of)?;
    (mean.low, mean.high) = (mean.low.max(0.0), mean.high.min(1.0));
    Some(mean)
}

/// Mean difference of two explanations of the same features on the same passages.
pub fn difference(pairs: &[(&Sheet, &Sheet)]) -> Option<Interval> {
    let all: Vec<&Sheet> = pairs.iter().flat_map(|(a, b)| [*a, *b]).collect();
    let of = |feature: usize, without: Option<u32>| {
        let (a, b) = pairs[feature];
        match without {
            None => Some(a.all.balanced()? - b.all.balanced()?),
            Some(document) => Some(a.without(document)? - b.without(document)?),
        }
    };
    mean_over(pairs.len(), &documents(&all), of)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(document: u32, truth: bool, answer: Option<bool>) -> Judged {
        Judged { document, truth, answer }
    }

    #[test]
    fn unanswered_passages_count_for_nothing() {
        let all = [
            judged(1, true, Some(true)),
            judged(2, true, Some(true)),
            judged(3, true, Some(true)),
            judged(4, true, Some(false)),
            judged(5, false, Some(false)),
            judged(6, false, Some(true)),
            judged(7, false, None),
        ];
        let sheet = Sheet::new(&all);
        assert_eq!(sheet.all.balanced(), Some(0.5 * (0.75 + 0.5)));
        assert_eq!(
            (sheet.all.precision(), sheet.all.recall(), sheet.all.answered()),
            (Some(0.75), Some(0.75), 6)
        );
        assert_eq!(Sheet::new(&[judged(1, true, Some(true))]).balanced(), None, "one class alone");
    }

    /// 200 passages of as many documents: the textbook's interval of a share, and of one document none.
    #[test]
    fn intervals_are_over_documents() {
        let each: Vec<Judged> =
            (0..200).map(|i| judged(i, i % 2 == 0, Some((i % 2 == 0) == (i % 10 < 8)))).collect();
        let alone = Sheet::new(&each).balanced().unwrap();
        assert!((alone.value - 0.8).abs() < 1e-12);
        // Wilson for 160 of 200: 0.739 to 0.850.
        assert!((alone.low - 0.739).abs() < 4e-3 && (alone.high - 0.850).abs() < 4e-3, "{alone:?}");
        let together: Vec<Judged> = each.iter().map(|j| Judged { document: j.document / 20, ..*j }).collect();
        let one: Vec<Judged> = each.iter().map(|j| Judged { document: 0, ..*j }).collect();
        let one = Sheet::new(&one).balanced().unwrap();
        assert_eq!((one.low, one.high), (0.0, 1.0));
        assert!(Sheet::new(&together).balanced().is_some());
        // A document that is right or wrong as a whole is one draw: 10 documents, 8 of them right.
        let whole: Vec<Judged> =
            (0..200).map(|i| judged(i / 20, i % 2 == 0, Some((i % 2 == 0) == (i / 20 < 8)))).collect();
        let whole = Sheet::new(&whole).balanced().unwrap();
        assert!((whole.value - 0.8).abs() < 1e-12 && whole.low < 0.55, "{whole:?}");
    }

    #[test]
    fn differences_are_of_the_same_passages() {
        let right: Vec<Judged> = (0..40).map(|i| judged(i, i % 2 == 0, Some(i % 2 == 0))).collect();
        let half: Vec<Judged> = (0..40).map(|i| judged(i, i % 2 == 0, Some(i % 4 < 2))).collect();
        let (a, b) = (Sheet::new(&right), Sheet::new(&half));
        let found = difference(&[(&a, &b), (&a, &b)]).unwrap();
        assert!((found.value - 0.5).abs() < 1e-12 && found.low > 0.2 && found.high < 0.8, "{found:?}");
        let same = difference(&[(&b, &b)]).unwrap();
        assert_eq!((same.value, same.low, same.high), (0.0, 0.0, 0.0));
    }
}

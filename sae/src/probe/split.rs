//! Which prompts of a set are trained on and which are tested on: as the published protocol draws them, and without repeated prompts.

use std::collections::{HashMap, HashSet};

use super::numpy::RandomState;

/// Most prompts that are trained on.
const TRAIN: usize = 1024;
/// Prompts that are left to test on, at least.
const LEFT: usize = 100;
/// Prompts of a set that are looked at.
pub(super) const MOST: usize = 5000;
/// Fewest different prompts that are still split.
const FEWEST: usize = 40;

/// Numbers of the prompts to train on and to test on, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// To train on; the last of them choose C.
    pub train: Vec<usize>,
    /// To test on.
    pub test: Vec<usize>,
}

/// How a set is split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sizes {
    /// Prompts to train on.
    pub train: usize,
    /// Prompts to test on.
    pub test: usize,
    /// Share of either that is positive.
    pub positive: f64,
}

impl Sizes {
    /// Those of the normal setting for `prompts` prompts; `None` if they are too few.
    pub fn normal(prompts: usize) -> Option<Self> {
        let train = prompts.checked_sub(LEFT)?.min(TRAIN);
        (train > 0).then(|| Self { train, test: prompts.min(MOST) - train - 1, positive: 0.5 })
    }

    /// Those with `train` prompts.
    pub fn scarce(prompts: usize, train: usize) -> Option<Self> {
        (train + LEFT <= prompts).then(|| Self { train, test: prompts.min(MOST) - train - 1, positive: 0.5 })
    }

    /// Those with a share `positive`, of a set with so many positive and negative prompts: as many as every share leaves room for.
    pub fn imbalanced(positives: usize, negatives: usize, positive: f64) -> Option<Self> {
        let [least, .., most] = shares();
        let total = (negatives as f64 / (1.0 - least)).min(positives as f64 / most) as usize;
        let train = total.checked_sub(LEFT)?.min(TRAIN);
        let test = total.saturating_sub(train + 1).max(LEFT);
        (train > 0).then_some(Self { train, test, positive })
    }
}

/// Shares of positives of the imbalanced setting: 0.05, 0.1, … 0.95.
pub fn shares() -> [f64; 19] {
    // To the bit as `numpy.linspace` has them: they are in file names.
    let step = (0.95 - 0.05) / 18.0;
    std::array::from_fn(|i| if i == 18 { 0.95 } else { i as f64 * step + 0.05 })
}

/// Prompts to train on in the scarce setting: 2 to 1024, twenty points evenly spaced in their logarithm, those that round to the same
/// number once.
pub fn scarce_sizes() -> Vec<usize> {
    let mut sizes: Vec<usize> =
        (0..20).map(|i| 2.0_f64.powf(1.0 + 9.0 * f64::from(i) / 19.0).round_ties_even() as usize).collect();
    sizes.dedup();
    sizes
}

/// Draws a split of the prompts numbered `from`, whose labels are `labels`, as `get_train_test_indices` of sae-probes does; `None` if a class
/// has too few.
pub fn draw(labels: &[bool], from: &[usize], sizes: Sizes, seed: u32) -> Option<Split> {
    let of = |class: bool| from.iter().copied().filter(|&i| labels[i] == class).collect::<Vec<usize>>();
    let (positives, negatives) = (of(true), of(false));
    let parts = |n: usize| {
        let positive = (sizes.positive * n as f64).ceil() as usize;
        (positive, n.saturating_sub(positive))
    };
    let (train, test) = (parts(sizes.train), parts(sizes.test));
    if train.0 + test.0 > positives.len() || train.1 + test.1 > negatives.len() {
        return None;
    }
    let mut state = RandomState::new(seed);
    let train_positives = state.choice(&positives, train.0);
    let train_negatives = state.choice(&negatives, train.1);
    let rest = |all: &[usize], taken: &[usize]| {
        let taken: HashSet<usize> = taken.iter().copied().collect();
        all.iter().copied().filter(|i| !taken.contains(i)).collect::<Vec<usize>>()
    };
    let test_positives = state.choice(&rest(&positives, &train_positives), test.0);
    let test_negatives = state.choice(&rest(&negatives, &train_negatives), test.1);
    let mut train = [train_positives, train_negatives].concat();
    state.shuffle(&mut train);
    let mut test = [test_positives, test_negatives].concat();
    state.shuffle(&mut test);
    Some(Split { train, test })
}

/// Every prompt once: the first of identical ones. Prompts that occur with both labels are left out.
pub fn different(prompts: &[String], labels: &[bool]) -> Vec<usize> {
    let mut seen: HashMap<&str, (usize, bool)> = HashMap::new();
    for (i, (prompt, &label)) in prompts.iter().zip(labels).enumerate() {
        let (first, agrees) = seen.entry(prompt).or_insert((i, true));
        *agrees &= labels[*first] == label;
    }
    let mut kept: Vec<usize> = seen.into_values().filter(|(_, agrees)| *agrees).map(|(i, _)| i).collect();
    kept.sort_unstable();
    kept
}

/// The sizes for different prompts of which `positives` and `negatives` are left: as in the normal setting, with the larger class cut to
/// the smaller; `None` if they are too few.
pub fn sizes_of_different(positives: usize, negatives: usize) -> Option<Sizes> {
    let prompts = (2 * positives.min(negatives)).min(MOST);
    if prompts < FEWEST {
        return None;
    }
    let train = (prompts - LEFT.min(prompts / 2)).min(TRAIN);
    Some(Sizes { train, test: prompts - train - 1, positive: 0.5 })
}

/// Share of the test prompts that are, to the letter, among those trained on.
pub fn leak(prompts: &[String], split: &Split) -> f64 {
    let trained: HashSet<&str> = split.train.iter().map(|&i| prompts[i].as_str()).collect();
    let leaked = split.test.iter().filter(|&&i| trained.contains(prompts[i].as_str())).count();
    leaked as f64 / split.test.len().max(1) as f64
}

/// Rows to fit on and rows to score, by which C is chosen.
pub type Fold = (Vec<usize>, Vec<usize>);

/// The folds of `n` training rows, as the protocol makes them: 128 or more: the last fifth, at most 100; fewer: six stratified folds in an
/// order drawn by `seed`; 12 or fewer: all pairs left out. Folds without both classes to score are left out. `None` where C is not chosen.
pub fn folds(labels: &[bool], seed: u32) -> Option<Vec<Fold>> {
    let n = labels.len();
    let all = match n {
        0..=3 => return None,
        4..=12 => (0..n).flat_map(|i| (i + 1..n).map(move |j| vec![i, j])).collect(),
        13..128 => stratified(labels, 6, seed)?,
        _ => {
            let scored = (n / 5).min(100);
            vec![(n - scored..n).collect()]
        }
    };
    let fold = |scored: Vec<usize>| {
        let out: HashSet<usize> = scored.iter().copied().collect();
        ((0..n).filter(|i| !out.contains(i)).collect(), scored)
    };
    let both = |rows: &[usize]| rows.iter().any(|&i| labels[i]) && rows.iter().any(|&i| !labels[i]);
    // The protocol leaves a single fold as it is, whatever it has.
    Some(all.into_iter().filter(|rows: &Vec<usize>| n >= 128 || both(rows)).map(fold).collect())
}

/// Scikit-learn's `StratifiedKFold(folds, shuffle=True, random_state=seed)`; `None` where no class has as many rows as there are folds.
fn stratified(labels: &[bool], folds: usize, seed: u32) -> Option<Vec<Vec<usize>>> {
    // Classes are numbered in the order in which they appear.
    let class = |label: bool| usize::from(label != labels[0]);
    let mut counts = [0; 2];
    labels.iter().for_each(|&label| counts[class(label)] += 1);
    if counts.iter().all(|&count| folds > count) {
        return None;
    }
    let mut state = RandomState::new(seed);
    let mut tested = vec![0; labels.len()];
    for this in 0..2 {
        // Row i of the sorted classes goes to fold i mod folds.
        let first = if this == 0 { 0 } else { counts[0] };
        let share =
            |fold: usize| (first..first + counts[this]).filter(move |i| i % folds == fold).map(move |_| fold);
        let mut places: Vec<usize> = (0..folds).flat_map(share).collect();
        state.shuffle(&mut places);
        let rows = (0..labels.len()).filter(|&i| class(labels[i]) == this);
        rows.zip(places).for_each(|(row, fold)| tested[row] = fold);
    }
    Some((0..folds).map(|fold| (0..labels.len()).filter(|&i| tested[i] == fold).collect()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_prompts_are_once_and_contradictions_are_left_out() {
        let prompts: Vec<String> = ["a", "b", "a", "c", "b", "d"].map(String::from).to_vec();
        let labels = [true, false, true, true, true, false];
        assert_eq!(different(&prompts, &labels), [0, 3, 5]);
        let split = Split { train: vec![0, 3], test: vec![2, 5] };
        assert_eq!(leak(&prompts, &split), 0.5);
        assert_eq!(sizes_of_different(30, 500), Some(Sizes { train: 30, test: 29, positive: 0.5 }));
        assert_eq!(sizes_of_different(10, 500), None);
    }

    /// Sizes of NumPy's `np.unique(np.round(np.logspace(1, 10, num=20, base=2)).astype(int))`.
    #[test]
    fn sizes_of_the_scarce_setting() {
        let expected = [2, 3, 4, 5, 7, 10, 14, 20, 28, 38, 53, 74, 103, 143, 198, 275, 382, 531, 737, 1024];
        assert_eq!(scarce_sizes(), expected);
        assert!((shares()[18] - 0.95).abs() < 1e-12 && (shares()[1] - 0.1).abs() < 1e-12);
    }

    #[test]
    fn folds_hold_every_row_once() {
        let labels: Vec<bool> = (0..40).map(|i| i % 3 == 0).collect();
        let made = folds(&labels, 42).unwrap();
        let mut scored: Vec<usize> = made.iter().flat_map(|(_, scored)| scored.clone()).collect();
        scored.sort_unstable();
        assert_eq!(scored, (0..40).collect::<Vec<_>>());
        for (fitted, scored) in &made {
            assert_eq!(fitted.len() + scored.len(), 40);
            assert!((2..=3).contains(&scored.iter().filter(|&&i| labels[i]).count()));
        }
        assert_eq!(folds(&[true, false, true], 1), None);
        assert_eq!(folds(&[true; 200], 1).unwrap()[0].1, (160..200).collect::<Vec<_>>());
        // Pairs with both classes, of two and two.
        assert_eq!(folds(&[true, true, false, false], 1).unwrap().len(), 4);
    }

    /// `StratifiedKFold(6, shuffle=True, random_state=42)` of scikit-learn 1.7.2, labels as here.
    #[test]
    fn stratified_folds_are_scikit_learns() {
        let labels: Vec<bool> = (0..31).map(|i| matches!(i * i % 7, 1 | 2)).collect();
        let expected: [&[usize]; 6] = [
            &[5, 8, 14, 16, 20, 25],
            &[9, 11, 21, 22, 28],
            &[6, 23, 24, 29, 30],
            &[0, 1, 4, 12, 13],
            &[2, 10, 15, 17, 26],
            &[3, 7, 18, 19, 27],
        ];
        assert_eq!(stratified(&labels, 6, 42).unwrap(), expected);
    }
}

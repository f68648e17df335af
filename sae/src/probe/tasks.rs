//! What is asked of one set: settings, splits and seeds, each with the rows to train on and to test on.

use super::sets::LabelledSet;
use super::split::{self, MOST, Sizes, Split};

/// Prompts that are drawn from where others are tested on, as published.
const MOST_SHIFTED: usize = 1500;

/// How a set is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// As many prompts as there are, up to 1024, half of them positive.
    Normal,
    /// Few prompts: 2 to 1024.
    Scarce,
    /// Shares of positives from 0.05 to 0.95.
    Imbalanced,
    /// Tested on prompts of a different distribution, where the folder has some.
    Shifted,
}

impl Setting {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Normal, Self::Scarce, Self::Imbalanced, Self::Shifted];

    /// The name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Scarce => "scarce",
            Self::Imbalanced => "imbalanced",
            Self::Shifted => "shifted",
        }
    }
}

/// Which prompts may be on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Splits {
    /// Those that sae-probes draws: identical prompts may be trained on and tested on.
    Published,
    /// Every prompt once.
    Different,
}

impl Splits {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Published, Self::Different];

    /// The name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Published => "published",
            Self::Different => "different",
        }
    }
}

/// One question to a set.
#[derive(Debug, Clone)]
pub(super) struct Task {
    pub(super) setting: Setting,
    pub(super) splits: Splits,
    pub(super) seed: u32,
    /// Rows of the set, and after them those of its shifted prompts.
    pub(super) split: Split,
    pub(super) leak: f64,
}

/// All questions to `set`, of whose prompts those `there` have an activation.
pub(super) fn of(
    set: &LabelledSet,
    there: &[bool],
    settings: &[Setting],
    splits: &[Splits],
    seeds: &[u32],
) -> Vec<Task> {
    let mut tasks = Vec::new();
    for &which in splits {
        let rows = rows(set, which);
        let from: Vec<usize> = rows.iter().copied().filter(|&row| there[row]).collect();
        for &setting in settings {
            for sizes in sizes(set, setting, which, &from) {
                for &seed in seeds {
                    let most = if setting == Setting::Shifted { MOST_SHIFTED } else { MOST };
                    let within = &from[..from.len().min(most)];
                    let Some(mut split) = split::draw(&set.labels, within, sizes, seed) else { continue };
                    let mut leak = split::leak(&set.prompts, &split);
                    if setting == Setting::Shifted {
                        let Some(shifted) = &set.shifted else { continue };
                        let trained =
                            |prompt: &String| split.train.iter().any(|&i| set.prompts[i] == *prompt);
                        let leaked = shifted.prompts.iter().filter(|prompt| trained(prompt)).count();
                        leak = leaked as f64 / shifted.prompts.len().max(1) as f64;
                        let first = set.prompts.len();
                        split.test =
                            (first..first + shifted.prompts.len()).filter(|&row| there[row]).collect();
                    }
                    tasks.push(Task { setting, splits: which, seed, split, leak });
                }
            }
        }
    }
    tasks
}

/// The prompts that may be drawn.
fn rows(set: &LabelledSet, splits: Splits) -> Vec<usize> {
    match splits {
        Splits::Published => (0..set.prompts.len()).collect(),
        Splits::Different => split::different(&set.prompts, &set.labels),
    }
}

fn sizes(set: &LabelledSet, setting: Setting, splits: Splits, from: &[usize]) -> Vec<Sizes> {
    // The first 5000 prompts are drawn from.
    let within = &from[..from.len().min(MOST)];
    let positives = within.iter().filter(|&&row| set.labels[row]).count();
    let negatives = within.len() - positives;
    let usable = match splits {
        Splits::Published => from.len(),
        Splits::Different => 2 * positives.min(negatives),
    };
    match (setting, splits) {
        (Setting::Normal, Splits::Published) => Sizes::normal(usable).into_iter().collect(),
        (Setting::Normal, Splits::Different) => {
            split::sizes_of_different(positives, negatives).into_iter().collect()
        }
        (Setting::Scarce, _) => {
            split::scarce_sizes().into_iter().filter_map(|train| Sizes::scarce(usable, train)).collect()
        }
        (Setting::Imbalanced, _) => split::shares()
            .into_iter()
            .filter_map(|share| Sizes::imbalanced(positives, negatives, share))
            .collect(),
        (Setting::Shifted, _) => match set.shifted {
            Some(_) => {
                let first = &from[..from.len().min(MOST_SHIFTED)];
                let positives = first.iter().filter(|&&row| set.labels[row]).count();
                let train = (2 * positives.min(first.len() - positives)).min(1024);
                vec![Sizes { train, test: 0, positive: 0.5 }]
            }
            None => Vec::new(),
        },
    }
}

//! Probes of labelled prompts as the window holds them: AUC by dictionary and number of columns, of all sets or of one.

use std::path::Path;

use storage::Scan;
use storage::probe::{self as files, Probe, ProbeMeanRow, ProbeRow, ProbeSetRow};

use super::problem;
use crate::load::Problem;

/// The number of columns by which "all of them" is written.
pub const ALL_COLUMNS: u32 = 0;

/// How probes were made: what is compared with each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeSetting {
    /// `normal`, `scarce`, `imbalanced` or `shifted`.
    pub setting: String,
    /// `published` or `different`.
    pub split: String,
    /// `l1` or `l2`.
    pub penalty: String,
}

impl ProbeSetting {
    /// Whether a probe by this penalty stands with the others: what has all columns is fitted in one way and stands with every one.
    fn has(&self, penalty: &str, k: u32) -> bool {
        penalty == self.penalty || k == ALL_COLUMNS
    }
}

/// What one dictionary or control reaches.
#[derive(Clone, Debug, PartialEq)]
pub struct ProbeCurve {
    /// The dictionary or control.
    pub dictionary: String,
    /// Which control it is, in words; empty for a dictionary that is to be judged.
    pub control: String,
    /// By number of columns, ascending.
    pub points: Vec<ProbePoint>,
}

/// AUC with so many columns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbePoint {
    /// Columns; [`ALL_COLUMNS`] for all of them.
    pub k: u32,
    /// Mean area under the ROC curve.
    pub auc: f64,
    /// Its 95 % interval over sets, where there are several.
    pub interval: Option<[f64; 2]>,
}

/// A folder of probes.
#[derive(Debug)]
pub struct Probes {
    /// What was asked.
    pub record: Probe,
    /// The sets.
    pub sets: Vec<ProbeSetRow>,
    /// All probes.
    pub rows: Vec<ProbeRow>,
    /// Means over sets.
    pub means: Vec<ProbeMeanRow>,
}

/// The record of the probes in `dir`.
///
/// # Errors
/// A record that cannot be read.
pub fn read_record(dir: &Path) -> Result<Probe, Problem> {
    let missing = || Problem::new(format!("{} is not there.", dir.join(files::FILE).display()));
    Probe::read(dir).map_err(problem)?.ok_or_else(missing)
}

/// Reads the probes in `dir`.
///
/// # Errors
/// Files that are missing because the probes are not finished, or that cannot be read.
pub fn read(dir: &Path) -> Result<Probes, Problem> {
    let record = read_record(dir)?;
    if !dir.join(files::PROBES).is_file() {
        let what = format!("{} has no {} yet: the probes are not finished.", dir.display(), files::PROBES);
        return Err(Problem::new(what).with_remedy("Give the same `sae probe` command again: it resumes."));
    }
    let rows = read_table(&dir.join(files::PROBES))?;
    Ok(Probes {
        record,
        sets: read_table(&dir.join(files::SETS))?,
        rows,
        means: read_table(&dir.join(files::MEANS))?,
    })
}

fn read_table<T: storage::row::Row>(path: &Path) -> Result<Vec<T>, Problem> {
    let table = storage::row::open::<T>(path).map_err(problem)?;
    storage::row::read(&table, Scan::default()).map_err(problem)
}

impl Probes {
    /// The ways in which dictionaries were probed, in the order of the table. Controls of one kind of fit alone are not listed as a way.
    pub fn settings(&self) -> Vec<ProbeSetting> {
        let mut all: Vec<ProbeSetting> = Vec::new();
        for row in self.means.iter().filter(|row| row.k != ALL_COLUMNS) {
            let one = ProbeSetting {
                setting: row.setting.clone(),
                split: row.split.clone(),
                penalty: row.penalty.clone(),
            };
            if !all.contains(&one) {
                all.push(one);
            }
        }
        all
    }

    /// What the dictionaries and controls reach over all sets.
    pub fn over_all_sets(&self, of: &ProbeSetting) -> Vec<ProbeCurve> {
        let mut curves = Vec::new();
        let of_setting = |row: &&ProbeMeanRow| {
            row.setting == of.setting && row.split == of.split && of.has(&row.penalty, row.k)
        };
        for row in self.means.iter().filter(of_setting) {
            let interval = row.low.zip(row.high).map(|(low, high)| [low, high]);
            let point = ProbePoint { k: row.k, auc: row.auc, interval };
            curve_of(&mut curves, &row.dictionary, &row.control).points.push(point);
        }
        sorted(curves)
    }

    /// What they reach on one set: the mean over seeds and, in settings with several, over numbers of prompts.
    pub fn of_set(&self, of: &ProbeSetting, set: &str) -> Vec<ProbeCurve> {
        let rows: Vec<&ProbeRow> = self.rows_of(of).filter(|row| row.set == set).collect();
        let mean = |dictionary: &str, k: u32| {
            let same = rows.iter().filter(|row| row.dictionary == dictionary && row.k == k);
            let all: Vec<f64> = same.map(|row| row.test_auc).collect();
            all.iter().sum::<f64>() / all.len() as f64
        };
        let mut curves = Vec::new();
        for row in &rows {
            let curve = curve_of(&mut curves, &row.dictionary, &row.control);
            if curve.auc(row.k).is_none() {
                let auc = mean(&row.dictionary, row.k);
                curve.points.push(ProbePoint { k: row.k, auc, interval: None });
            }
        }
        sorted(curves)
    }

    /// The probes of this setting.
    pub fn rows_of<'a>(&'a self, of: &ProbeSetting) -> impl Iterator<Item = &'a ProbeRow> + use<'a> {
        let of = of.clone();
        self.rows.iter().filter(move |row| {
            row.setting == of.setting && row.split == of.split && of.has(&row.penalty, row.k)
        })
    }

    /// The probe of `dictionary` with `k` columns on `set`, that of the first seed.
    pub fn probe(&self, of: &ProbeSetting, set: &str, dictionary: &str, k: u32) -> Option<&ProbeRow> {
        self.rows_of(of).find(|row| row.set == set && row.dictionary == dictionary && row.k == k)
    }
}

fn curve_of<'a>(curves: &'a mut Vec<ProbeCurve>, dictionary: &str, control: &str) -> &'a mut ProbeCurve {
    let at = curves.iter().position(|curve| curve.dictionary == dictionary).unwrap_or_else(|| {
        let (dictionary, control) = (dictionary.to_owned(), control.to_owned());
        curves.push(ProbeCurve { dictionary, control, points: Vec::new() });
        curves.len() - 1
    });
    &mut curves[at]
}

/// Points by number of columns; dictionaries before controls.
fn sorted(mut curves: Vec<ProbeCurve>) -> Vec<ProbeCurve> {
    curves.iter_mut().for_each(|curve| curve.points.sort_by_key(|point| point.k));
    curves.sort_by_key(|curve| !curve.control.is_empty());
    curves
}

impl ProbeCurve {
    /// AUC with `k` columns.
    pub fn auc(&self, k: u32) -> Option<f64> {
        self.points.iter().find(|point| point.k == k).map(|point| point.auc)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(set: &str, dictionary: &str, k: u32, seed: u32, test_auc: f64) -> ProbeRow {
        ProbeRow {
            set: set.into(),
            setting: "normal".into(),
            split: "different".into(),
            penalty: "l1".into(),
            dictionary: dictionary.into(),
            control: if dictionary == "raw" { "control".into() } else { String::new() },
            hook: String::new(),
            seed,
            k,
            train: 10,
            test: 10,
            positives: 0.5,
            leak: 0.0,
            c: 1.0,
            val_auc: None,
            test_auc,
            test_accuracy: 0.5,
            test_f1: 0.5,
            features: vec![k],
            weights: vec![1.0],
            bias: 0.0,
        }
    }

    #[test]
    fn a_set_has_the_mean_over_seeds_and_dictionaries_come_before_controls() {
        let rows = vec![
            row("a", "raw", 1, 0, 0.5),
            row("a", "topk", 5, 0, 0.8),
            row("a", "topk", 1, 0, 0.6),
            row("a", "topk", 1, 1, 0.8),
            row("b", "topk", 1, 0, 0.1),
        ];
        let probes = Probes { record: Probe::default(), sets: Vec::new(), rows, means: Vec::new() };
        let of = ProbeSetting { setting: "normal".into(), split: "different".into(), penalty: "l1".into() };
        let curves = probes.of_set(&of, "a");
        assert_eq!(curves.iter().map(|c| c.dictionary.as_str()).collect::<Vec<_>>(), ["topk", "raw"]);
        assert_eq!(curves[0].points.iter().map(|p| p.k).collect::<Vec<_>>(), [1, 5]);
        assert!((curves[0].auc(1).unwrap() - 0.7).abs() < 1e-12);
        assert_eq!(curves[0].auc(5), Some(0.8));
        assert_eq!(curves[1].auc(5), None);
        assert_eq!(probes.probe(&of, "a", "topk", 1).unwrap().seed, 0);
    }
}

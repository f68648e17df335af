//! What all sets together say: means with intervals over sets, and differences from raw dimensions.

use std::collections::{BTreeMap, BTreeSet};

use kernels::chance::{Purpose, below, generator};
use kernels::student::quantile;
use storage::probe::{ProbeMeanRow, ProbeRow};

use super::RAW;

/// Draws of sets.
const DRAWS: u64 = 1000;
/// Where their stream of random numbers begins, apart from those of other controls.
const SETS: u64 = 4 << 40;

/// Setting, split, penalty, k, dictionary, hook.
type Key<'a> = (&'a str, &'a str, &'a str, u32, &'a str, &'a str);

/// The means of `rows`, those of one table together, in the order in which dictionaries were probed.
pub(super) fn means(rows: &[ProbeRow]) -> Vec<ProbeMeanRow> {
    let mut groups: BTreeMap<Key<'_>, Vec<&ProbeRow>> = BTreeMap::new();
    let mut order: Vec<Key<'_>> = Vec::new();
    for row in rows {
        let key = (&*row.setting, &*row.split, &*row.penalty, row.k, &*row.dictionary, &*row.hook);
        let group = groups.entry(key).or_default();
        if group.is_empty() {
            order.push(key);
        }
        group.push(row);
    }
    let place: BTreeMap<&str, usize> =
        order.iter().rev().enumerate().map(|(i, key)| (key.4, usize::MAX - i)).collect();
    order.sort_by_key(|key| (key.5, key.0, std::cmp::Reverse(key.1), key.2, key.3, place.get(key.4)));
    order
        .iter()
        .map(|key| {
            let raw = groups.get(&(key.0, key.1, key.2, key.3, RAW, key.5));
            mean(&groups[key], raw.map(Vec::as_slice))
        })
        .collect()
}

/// A figure of each set, the mean over its rows.
fn by_set(rows: &[&ProbeRow], of: fn(&ProbeRow) -> f64) -> BTreeMap<String, f64> {
    let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
    for row in rows {
        let (sum, count) = sums.entry(row.set.clone()).or_default();
        *sum += of(row);
        *count += 1.0;
    }
    sums.into_iter().map(|(set, (sum, count))| (set, sum / count)).collect()
}

fn average(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = values.len().max(1) as f64;
    values.sum::<f64>() / n
}

fn mean(rows: &[&ProbeRow], raw: Option<&[&ProbeRow]>) -> ProbeMeanRow {
    let first = rows[0];
    let auc: BTreeMap<String, f64> = by_set(rows, |row| row.test_auc);
    let values: Vec<f64> = auc.values().copied().collect();
    let over_sets = interval(&values);
    let over = raw.filter(|_| first.dictionary != RAW).map(|raw| {
        let raw = by_set(raw, |row| row.test_auc);
        auc.iter().filter_map(|(set, auc)| Some(auc - raw.get(set)?)).collect::<Vec<f64>>()
    });
    let over = over.filter(|over| !over.is_empty());
    let over_interval = over.as_deref().and_then(interval);
    let seeds: BTreeSet<u32> = rows.iter().map(|row| row.seed).collect();
    let of_seed = |seed: &u32| {
        let own: Vec<&ProbeRow> = rows.iter().copied().filter(|row| row.seed == *seed).collect();
        average(by_set(&own, |row| row.test_auc).into_values())
    };
    let per_seed: Vec<f64> = seeds.iter().map(of_seed).collect();
    ProbeMeanRow {
        setting: first.setting.clone(),
        split: first.split.clone(),
        dictionary: first.dictionary.clone(),
        control: first.control.clone(),
        hook: first.hook.clone(),
        penalty: first.penalty.clone(),
        k: first.k,
        sets: values.len() as u32,
        seeds: seeds.len() as u32,
        auc: average(values.iter().copied()),
        low: over_sets.map(|[low, _]| low),
        high: over_sets.map(|[_, high]| high),
        seed_sd: variance(&per_seed).map(f64::sqrt),
        accuracy: average(by_set(rows, |row| row.test_accuracy).into_values()),
        f1: average(by_set(rows, |row| row.test_f1).into_values()),
        leak: average(by_set(rows, |row| row.leak).into_values()),
        over_raw: over.as_ref().map(|over| average(over.iter().copied())),
        over_raw_low: over_interval.map(|[low, _]| low),
        over_raw_high: over_interval.map(|[_, high]| high),
        detectable: over.as_deref().and_then(detectable),
    }
}

/// Variance (n − 1); none of one number.
fn variance(values: &[f64]) -> Option<f64> {
    let (n, mean) = (values.len() as f64, average(values.iter().copied()));
    (values.len() > 1).then(|| values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0))
}

/// The smallest mean that would be seen four times of five in a two-sided t test at 5 %; none of one number.
fn detectable(values: &[f64]) -> Option<f64> {
    let (n, freedom) = (values.len() as f64, values.len() as f64 - 1.0);
    let error = (variance(values)? / n).sqrt();
    Some((quantile(0.975, freedom) + quantile(0.8, freedom)) * error)
}

/// The 95 % interval of the mean; none of one number. Percentiles of draws with replacement, and where Student's t is wider, as it is for few
/// numbers, its ends: of three numbers with one sign, every draw has that sign, which happens by chance in one case of four.
fn interval(values: &[f64]) -> Option<[f64; 2]> {
    let n = values.len();
    let half = quantile(0.975, n as f64 - 1.0) * (variance(values)? / n as f64).sqrt();
    let mean = average(values.iter().copied());
    let draw = |number: u64| {
        let mut rng = generator(0, Purpose::Controls, SETS + number, n as u64);
        (0..n).map(|_| values[below(n, &mut rng)]).sum::<f64>() / n as f64
    };
    let mut means: Vec<f64> = (0..DRAWS).map(draw).collect();
    means.sort_by(f64::total_cmp);
    let at = |share: f64| means[(share * (means.len() - 1) as f64).round() as usize];
    Some([at(0.025).min(mean - half), at(0.975).max(mean + half)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(set: &str, dictionary: &str, seed: u32, auc: f64) -> ProbeRow {
        ProbeRow {
            set: set.into(),
            dictionary: dictionary.into(),
            setting: "normal".into(),
            split: "published".into(),
            seed,
            test_auc: auc,
            ..ProbeRow::default()
        }
    }

    #[test]
    fn sets_weigh_the_same_and_differences_are_paired() {
        let mut rows = Vec::new();
        for (i, set) in ["a", "b", "c"].into_iter().enumerate() {
            let auc = 0.6 + 0.1 * i as f64;
            rows.push(row(set, "run", 1, auc + 0.03));
            rows.push(row(set, "run", 2, auc + 0.05));
            rows.push(row(set, RAW, 1, auc));
        }
        let found = means(&rows);
        assert_eq!(found.iter().map(|row| row.dictionary.as_str()).collect::<Vec<_>>(), ["run", RAW]);
        let run = &found[0];
        assert!((run.auc - 0.74).abs() < 1e-12 && (run.over_raw.unwrap() - 0.04).abs() < 1e-12, "{run:?}");
        // t.975 of two degrees of freedom is 4.3027, the standard error of 0.64, 0.74, 0.84 is 0.1/√3.
        assert!((run.high.unwrap() - run.auc - 4.302_65 * 0.1 / 3.0_f64.sqrt()).abs() < 1e-5, "{run:?}");
        // Sets differ by far more than the paired difference does.
        assert!(run.detectable.unwrap() < 1e-9 && run.high.unwrap() - run.low.unwrap() > 0.1, "{run:?}");
        assert!((run.seed_sd.unwrap() - 0.02 / 2.0_f64.sqrt()).abs() < 1e-12);
        assert_eq!((run.sets, run.seeds, found[1].over_raw), (3, 2, None));
    }
}

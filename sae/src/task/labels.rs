//! What single features are about: F1 with the values of attributes.

/// Features that are active on each prompt, ascending.
pub type Active = Vec<Vec<u32>>;

/// What is found about one attribute.
#[derive(Debug, Clone, PartialEq)]
pub struct Labels {
    /// Values that prompts of both sets have.
    pub values: usize,
    /// Values whose feature has an F1 of [`TOLD`] or more on the tested prompts.
    pub told: usize,
    /// Mean F1 of the chosen features there.
    pub f1: f64,
    /// Features with an F1 of [`SPLIT`] or more on the prompts that they are chosen on, per value that has any.
    pub split: Option<f64>,
}

/// An F1 from which on a feature counts as one of a value: it then has precision and recall of 2/3 or more.
pub const TOLD: f64 = 0.8;
/// An F1 from which on a feature counts as a part of one.
pub const SPLIT: f64 = 0.5;

/// The F1 of "the feature is active" and "the attribute has the value" for every feature, `[features]`.
fn f1_of(active: &[Vec<u32>], has: &[bool], features: usize) -> Vec<f64> {
    let (mut hits, mut fired) = (vec![0.0; features], vec![0.0; features]);
    for (active, has) in active.iter().zip(has) {
        for feature in active {
            fired[*feature as usize] += 1.0;
            hits[*feature as usize] += f64::from(u8::from(*has));
        }
    }
    let all = has.iter().filter(|has| **has).count() as f64;
    (0..features).map(|f| if hits[f] > 0.0 { 2.0 * hits[f] / (fired[f] + all) } else { 0.0 }).collect()
}

/// For every value of an attribute of `size` values the feature of largest F1 on the first prompts, scored on the second.
pub fn label(
    (train, train_values): (&Active, &[usize]),
    (test, test_values): (&Active, &[usize]),
    size: usize,
    features: usize,
) -> Labels {
    let (mut values, mut told, mut sum, mut parts, mut with_parts) = (0, 0, 0.0, 0, 0);
    for value in 0..size {
        let has = |values: &[usize]| values.iter().map(|v| *v == value).collect::<Vec<bool>>();
        let (own, other) = (has(train_values), has(test_values));
        if !own.contains(&true) || !other.contains(&true) {
            continue;
        }
        values += 1;
        let found = f1_of(train, &own, features);
        let best = (0..features).max_by(|a, b| found[*a].total_cmp(&found[*b]).then(b.cmp(a)));
        let scored = best.map_or(0.0, |best| f1_of(test, &other, features)[best]);
        told += usize::from(scored >= TOLD);
        sum += scored;
        let n = found.iter().filter(|f1| **f1 >= SPLIT).count();
        parts += n;
        with_parts += usize::from(n > 0);
    }
    Labels {
        values,
        told,
        f1: sum / values.max(1) as f64,
        split: (with_parts > 0).then(|| f64::from(parts as u32) / f64::from(with_parts as u32)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_told_by_what_they_fire_on() {
        // Value 0 has feature 0; value 1 is split into 1 and 2; value 2 has none; feature 3 is always active.
        let values: Vec<usize> = (0..60).map(|i| i % 3).collect();
        let active: Active = (0..60)
            .map(|i| match i % 3 {
                0 => vec![0, 3],
                1 if i % 2 == 0 => vec![1, 3],
                1 => vec![2, 3],
                _ => vec![3],
            })
            .collect();
        let found = label((&active, &values), (&active, &values), 3, 5);
        assert_eq!((found.values, found.told), (3, 1));
        // F1 of a half of a value: 2·10/(10 + 20); of the feature that is always active: 2·20/(60 + 20).
        let expected = (1.0 + 2.0 / 3.0 + 0.5) / 3.0;
        assert!((found.f1 - expected).abs() < 1e-12, "{found:?}");
        // F1 ≥ ½: {0, 3}, {1, 2, 3}, {3}.
        assert_eq!(found.split, Some(2.0));
        let elsewhere: Active = active.iter().map(|_| vec![]).collect();
        let other = label((&active, &values), (&elsewhere, &values), 3, 5);
        assert_eq!((other.told, other.f1), (0, 0.0), "chosen on one set, scored on the other");
    }
}

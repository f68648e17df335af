//! From joint counts to pairs of feature and expert that are not due to chance.

use rayon::prelude::*;
use serde::Serialize;
use storage::experts::FeatureExpertRow;

use super::exact::{Correction, LogFactorials, Table, wilson};
use super::joint::{Joint, Layer};

/// What counts as a finding.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Criteria {
    /// Features that fired on fewer tokens are not tested.
    pub least_tokens: u64,
    /// Error rate of the tests together.
    pub rate: f64,
    /// What "together" means.
    pub correction: Correction,
    /// A feature lives in an expert when the lower end of P(expert | feature) is at least this …
    pub lives: f64,
    /// … and an expert is a feature when the lower ends of both conditional probabilities are at least this.
    pub is: f64,
    /// Both need at least this lift: an expert that nearly every token chooses is not a feature's home.
    pub lift: f64,
}

impl Default for Criteria {
    fn default() -> Self {
        Self {
            least_tokens: 10,
            rate: 0.05,
            correction: Correction::BenjaminiHochberg,
            lives: 0.8,
            is: 0.5,
            lift: 1.5,
        }
    }
}

/// Every pair with a joint count, and what the correction came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PairTests {
    /// By layer, feature, expert; pairs that never met are not there, though they were tested.
    pub rows: Vec<FeatureExpertRow>,
    /// Pairs that were tested.
    pub tests: u64,
    /// The largest p that stands; `None` when none does.
    pub threshold: Option<f64>,
    /// Features that fired too rarely to be tested, per layer looked at.
    pub rare: u64,
    /// Pairs that met significantly less often than chance and never at all: they have no row.
    pub avoided: u64,
}

/// Tests every feature that fired often enough against every expert that some but not all tokens chose.
pub fn test(joint: &Joint, criteria: &Criteria) -> PairTests {
    let mut found = PairTests::default();
    let most = joint.layers().map(|(_, layer)| layer.tokens).max().unwrap_or(0);
    let factorials = LogFactorials::up_to(most);
    let mut never: Vec<f64> = Vec::new();
    for (number, layer) in joint.layers() {
        let of_features: Vec<(Vec<FeatureExpertRow>, Vec<f64>, u64)> = (0..joint.features())
            .into_par_iter()
            .map(|feature| of_feature(number, layer, feature, criteria, &factorials))
            .collect();
        for (rows, unmet, tests) in of_features {
            found.rare += u64::from(tests == 0);
            found.tests += tests;
            found.rows.extend(rows);
            never.extend(unmet);
        }
    }
    let p: Vec<f64> = found.rows.iter().map(|row| row.p).chain(never.iter().copied()).collect();
    found.threshold = criteria.correction.threshold(&p, found.tests, criteria.rate);
    if let Some(threshold) = found.threshold {
        found.rows.iter_mut().for_each(|row| judge(row, threshold, criteria));
        found.avoided = never.iter().filter(|&&p| p <= threshold).count() as u64;
    }
    found
}

/// Rows of one feature in one layer, the p of pairs that never met, and how many pairs were tested.
fn of_feature(
    number: u16,
    layer: &Layer,
    feature: usize,
    criteria: &Criteria,
    factorials: &LogFactorials,
) -> (Vec<FeatureExpertRow>, Vec<f64>, u64) {
    let (mut rows, mut never, mut tests) = (Vec::new(), Vec::new(), 0);
    let fired = layer.fired[feature];
    if fired < criteria.least_tokens.max(1) {
        return (rows, never, tests);
    }
    for expert in 0..layer.chosen.len() {
        let table = Table {
            joint: layer.together(feature, expert),
            a: fired,
            b: layer.chosen[expert],
            n: layer.tokens,
        };
        // What always or never happens cannot be tested.
        if table.b == 0 || table.b == table.n || table.a == table.n {
            continue;
        }
        tests += 1;
        let p = table.p(factorials);
        if table.joint == 0 {
            never.push(p);
        } else {
            rows.push(row(number, feature, expert, &table, p));
        }
    }
    (rows, never, tests)
}

fn row(layer: u16, feature: usize, expert: usize, table: &Table, p: f64) -> FeatureExpertRow {
    let of_feature = wilson(table.joint, table.a);
    let of_expert = wilson(table.joint, table.b);
    FeatureExpertRow {
        feature: feature as u32,
        layer,
        expert: expert as u32,
        joint: table.joint,
        feature_tokens: table.a,
        expert_tokens: table.b,
        tokens: table.n,
        lift: table.lift(),
        expert_given_feature: table.joint as f64 / table.a as f64,
        expert_given_feature_low: of_feature.0,
        expert_given_feature_high: of_feature.1,
        feature_given_expert: table.joint as f64 / table.b as f64,
        feature_given_expert_low: of_expert.0,
        feature_given_expert_high: of_expert.1,
        mutual_information: table.mutual_information(),
        p,
        ..FeatureExpertRow::default()
    }
}

fn judge(row: &mut FeatureExpertRow, threshold: f64, criteria: &Criteria) {
    row.significant = row.p <= threshold;
    let together = row.significant && row.lift >= criteria.lift;
    row.lives_in = together && row.expert_given_feature_low >= criteria.lives;
    row.is_feature = together
        && row.expert_given_feature_low >= criteria.is
        && row.feature_given_expert_low >= criteria.is;
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    const FEATURES: usize = 300;
    const EXPERTS: u32 = 16;

    /// 4000 tokens choose 2 of 16 experts and fire features at random, each with its own density. Planted:
    /// feature 7 fires only where expert 3 is chosen, on every fourth such token; feature 8 fires where
    /// expert 5 is chosen, 95 % of the time, and nearly nowhere else; feature 9 never fires where expert 1
    /// is.
    fn planted(seed: u64) -> Joint {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut joint = Joint::new(FEATURES, EXPERTS as usize, &[2]).unwrap();
        for _ in 0..4000 {
            let a = rng.random_range(0..EXPERTS);
            let b = (a + rng.random_range(1..EXPERTS)) % EXPERTS;
            let chosen = |e| a == e || b == e;
            let fires = |feature: usize, rng: &mut ChaCha8Rng| match feature {
                7 => chosen(3) && rng.random::<f64>() < 0.25,
                8 => rng.random::<f64>() < if chosen(5) { 0.95 } else { 0.005 },
                9 => !chosen(1) && rng.random::<f64>() < 0.3,
                _ => rng.random::<f64>() < 0.002 * (1 + feature % 50) as f64,
            };
            let features: Vec<u32> =
                (0..FEATURES).filter(|&f| fires(f, &mut rng)).map(|f| f as u32).collect();
            joint.choose(2, &features, &[a, b]);
        }
        joint
    }

    #[test]
    fn planted_pairs_are_found_and_nothing_else() {
        // Bonferroni: with 5 % error rate together, of 20 draws about one may hold a chance finding; more than four are one in
        // four hundred.
        let criteria = Criteria { correction: Correction::Bonferroni, ..Criteria::default() };
        let mut with_chance = 0;
        for seed in 0..20 {
            let found = test(&planted(seed), &criteria);
            assert!(found.tests > 250 * 16, "{}", found.tests);
            let lives: Vec<(u32, u32)> =
                found.rows.iter().filter(|r| r.lives_in).map(|r| (r.feature, r.expert)).collect();
            assert_eq!(lives, [(7, 3), (8, 5)]);
            let is: Vec<(u32, u32)> =
                found.rows.iter().filter(|r| r.is_feature).map(|r| (r.feature, r.expert)).collect();
            assert_eq!(is, [(8, 5)]);
            // What the planted features do to other experts is not chance either: who chose 3 chose the others less.
            let chance = found.rows.iter().filter(|r| r.significant && !(7..=9).contains(&r.feature)).count();
            with_chance += usize::from(chance > 0);
            assert!(found.avoided >= 1, "feature 9 never met expert 1");
        }
        assert!(with_chance <= 4, "{with_chance} of 20 draws");
    }

    /// Benjamini–Hochberg: over 20 draws the mean share of chance among what is found stays at the stated
    /// rate.
    #[test]
    fn false_discoveries_stay_at_the_rate() {
        let mut share = 0.0;
        for seed in 100..120 {
            let found = test(&planted(seed), &Criteria { rate: 0.1, ..Criteria::default() });
            let all: Vec<_> = found.rows.iter().filter(|r| r.significant).collect();
            let chance = all.iter().filter(|r| !(7..=9).contains(&r.feature)).count();
            share += chance as f64 / all.len() as f64 / 20.0;
            assert!(all.iter().any(|r| (r.feature, r.expert) == (7, 3)));
        }
        assert!(share < 0.15, "{share}");
    }

    #[test]
    fn counts_are_those_of_the_tokens() {
        let mut joint = Joint::new(3, 4, &[1, 5, 7]).unwrap();
        for i in 0..40u32 {
            let features: &[u32] = if i % 2 == 0 { &[0, 2] } else { &[2] };
            joint.choose(1, features, &[i % 4]);
            joint.choose(3, features, &[0]);
            joint.choose(5, features, if i < 20 { &[] } else { &[1] });
            // A layer that not every token passes through counts its own tokens alone.
            if i >= 10 {
                joint.choose(7, features, &[3 * u32::from(i >= 20)]);
            }
        }
        let found = test(&joint, &Criteria::default());
        let row = found.rows.iter().find(|r| (r.layer, r.feature, r.expert) == (1, 0, 2)).unwrap();
        assert_eq!((row.joint, row.feature_tokens, row.expert_tokens, row.tokens), (10, 20, 10, 40));
        assert_eq!((row.lift, row.expert_given_feature, row.feature_given_expert), (2.0, 0.5, 1.0));
        let row = found.rows.iter().find(|r| (r.layer, r.feature, r.expert) == (7, 0, 3)).unwrap();
        assert_eq!((row.joint, row.feature_tokens, row.expert_tokens, row.tokens), (10, 15, 20, 30));
        // Feature 2 fires always, feature 1 never: neither says anything.
        assert!(found.rows.iter().all(|r| r.feature == 0));
        assert_eq!(found.tests, 4 + 1 + 2);
    }

    #[test]
    fn too_much_memory_is_refused() {
        let layers: Vec<u16> = (0..48).collect();
        let message = Joint::new(1 << 20, 128, &layers).unwrap_err().to_string();
        assert!(message.contains("--layers"), "{message}");
    }
}

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::pursuit::Step;
use super::*;
use crate::Quiet;
use crate::rows::fixture;

const D: usize = 12;
const TOKENS: usize = 40;

fn normal(rng: &mut ChaCha8Rng) -> f32 {
    (0..12).map(|_| rng.random::<f32>()).sum::<f32>() - 6.0
}

fn matrix(seed: u64, n: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..n).map(|_| normal(&mut rng)).collect()
}

/// By the definition: the outputs are kept, and at each step all chosen directions are fitted anew by gradient descent.
fn naive(directions: &[f32], outputs: &[f32], rank: usize) -> Vec<Step> {
    let unit: Vec<Vec<f64>> = directions
        .chunks_exact(D)
        .map(|row| {
            let norm = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
            row.iter().map(|v| f64::from(*v) / norm).collect()
        })
        .collect();
    let y: Vec<Vec<f64>> =
        outputs.chunks_exact(D).map(|row| row.iter().copied().map(f64::from).collect()).collect();
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let total: f64 = y.iter().map(|y| dot(y, y)).sum();
    let (mut chosen, mut left, mut steps) = (Vec::new(), y.clone(), Vec::new());
    for _ in 0..rank {
        let score = |t: usize| left.iter().map(|r| dot(r, &unit[t]).powi(2)).sum::<f64>();
        let best =
            (0..unit.len()).filter(|t| !chosen.contains(t)).max_by(|a, b| score(*a).total_cmp(&score(*b)));
        chosen.push(best.unwrap());
        let mut mean = 0.0;
        for (y, left) in y.iter().zip(&mut left) {
            let mut c = vec![0.0; chosen.len()];
            for _ in 0..4000 {
                for i in 0..c.len() {
                    let mut r = y.clone();
                    for (c, t) in c.iter().zip(&chosen) {
                        r.iter_mut().zip(&unit[*t]).for_each(|(r, u)| *r -= c * u);
                    }
                    c[i] += dot(&r, &unit[chosen[i]]);
                }
            }
            left.clone_from(y);
            for (c, t) in c.iter().zip(&chosen) {
                left.iter_mut().zip(&unit[*t]).for_each(|(r, u)| *r -= c * u);
            }
            mean += c[chosen.len() - 1];
        }
        let rest: f64 = left.iter().map(|r| dot(r, r)).sum();
        steps.push(Step {
            token: chosen[chosen.len() - 1] as u32,
            coefficient: mean / y.len() as f64,
            explained: 1.0 - rest / total,
        });
    }
    steps
}

#[test]
fn steps_are_those_of_the_definition() {
    let (rows, outputs) = (matrix(1, TOKENS * D), matrix(2, 6 * D));
    let mut gram = Gram::new(D);
    gram.add(&outputs[..2 * D]);
    gram.add(&outputs[2 * D..]);
    let found = Directions::new(rows.clone(), D).pursue(&gram, 4);
    let wanted = naive(&rows, &outputs, 4);
    assert_eq!((found.len(), gram.rows), (4, 6));
    for (a, b) in found.iter().zip(&wanted) {
        assert_eq!(a.token, b.token, "{found:?} {wanted:?}");
        assert!(
            (a.coefficient - b.coefficient).abs() < 1e-4 && (a.explained - b.explained).abs() < 1e-6,
            "{a:?} {b:?}"
        );
    }
}

/// Outputs made of three tokens' directions are these, whole; as many by chance give a part.
#[test]
fn planted_tokens_are_found() {
    let rows = matrix(3, TOKENS * D);
    let directions = Directions::new(rows.clone(), D);
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let outputs: Vec<f32> = (0..50)
        .flat_map(|_| {
            let mut y = vec![0.0; D];
            for (token, size) in [(7, 3.0f32), (20, 2.0), (31, 1.0)] {
                let c = size * normal(&mut rng);
                y.iter_mut().zip(&rows[token * D..]).for_each(|(y, u)| *y += c * u);
            }
            y
        })
        .collect();
    let mut gram = Gram::new(D);
    gram.add(&outputs);
    let found = directions.pursue(&gram, 8);
    let mut tokens: Vec<u32> = found.iter().map(|s| s.token).collect();
    assert!((found.last().unwrap().explained - 1.0).abs() < 1e-6, "{found:?}");
    tokens.sort_unstable();
    assert!([7, 20, 31].iter().all(|t| tokens.contains(t)), "{tokens:?}");
    let mut rng = generator(1, Purpose::Probes, 0, 0);
    let chance = directions.by_chance(&gram, 3, 20, &mut rng);
    assert!(chance[0] > 0.0 && chance[2] < 0.7 && chance.is_sorted(), "{chance:?}");
}

/// A real mixture: sums over an expert's outputs are those of its layer's output where it is the only one.
#[test]
fn a_models_experts_and_what_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let model = fixture::model(&folder.path().join("model"));
    let texts = fixture::texts(&[40, 30], 60, 5);
    let mut head = fixture::header(16);
    head.model = fixture::model_ref(&model);
    let mut rows: Vec<fixture::Routed> = Vec::new();
    for (document, text) in texts.iter().enumerate() {
        for (position, &token) in text.tokens.iter().enumerate() {
            for layer in 0..2 {
                rows.push((
                    10 + document as u32,
                    position as u32,
                    token,
                    layer,
                    vec![0, 1],
                    vec![0.5; 2],
                    0.1,
                ));
            }
        }
    }
    let dir = folder.path().join("data");
    fixture::routing(&dir, head, &texts, &rows);
    let options = WrittenOptions { model: ModelChoice::default(), tokens: 1000, rank: 3, seed: 1 };
    let found = written(&dir, &options, &mut Quiet).unwrap();
    assert_eq!(found.tokens, 70);
    let mut of_layer: BTreeMap<u16, u64> = BTreeMap::new();
    for row in &found.rows {
        assert!(row.explained > 0.0 && row.explained <= 1.0 + 1e-9 && row.by_chance <= 1.0 + 1e-9, "{row:?}");
        if row.rank == 0 {
            *of_layer.entry(row.layer).or_default() += row.tokens;
        }
    }
    // Two experts for each token in both layers.
    assert_eq!(of_layer, BTreeMap::from([(0, 140), (1, 140)]));
    let table = storage::row::open::<WrittenRow>(&found.table).unwrap();
    assert_eq!(storage::row::read::<WrittenRow>(&table, Default::default()).unwrap(), found.rows);
}

//! The search against all pairs, one by one, from the activations themselves.

use super::*;
use crate::Quiet;
use crate::features::{IndexOptions, index};
use crate::rows::fixture::{self, Text};
use lm::progress::StopAfter;

const FEATURES: usize = 40;
const D: usize = 12;

struct World {
    folder: tempfile::TempDir,
    texts: Vec<Text>,
    activations: Vec<f32>,
    dictionary: crate::dictionary::Dictionary,
}

impl World {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let texts = fixture::texts(&[90, 1, 70, 120, 33], 23, 3);
        let activations = fixture::activations(314, D, 4);
        fixture::dataset(&folder.path().join("data"), fixture::header(D), &texts, &activations, 3);
        let dictionary = fixture::dictionary(D, FEATURES, 5, 9);
        fixture::run(&folder.path().join("run"), &dictionary, &folder.path().join("data"));
        Self { folder, texts, activations, dictionary }
    }

    fn run(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    fn index(&self) {
        let options =
            IndexOptions { batch: 64, model: crate::rows::ModelChoice::Without, ..IndexOptions::default() };
        index(&self.run(), &options, &mut Quiet).unwrap();
    }

    fn places(&self) -> Vec<(u32, u32)> {
        let of = |(i, text): (usize, &Text)| (0..text.tokens.len()).map(move |p| (10 + i as u32, p as u32));
        self.texts.iter().enumerate().flat_map(of).collect()
    }
}

fn options(k: usize) -> SimilarOptions {
    SimilarOptions { data: None, k, centre: false, before: 3 }
}

type Scored = Vec<((u32, u32), f64)>;

/// All tokens but `own`, by `score`, the best first.
fn sorted(places: &[(u32, u32)], own: usize, score: impl Fn(usize) -> f64) -> Scored {
    let mut all: Scored = (0..places.len()).filter(|&i| i != own).map(|i| (places[i], score(i))).collect();
    all.retain(|(_, score)| *score > 0.0);
    all.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    all
}

#[test]
fn neighbours_are_those_of_all_pairs() {
    let world = World::new();
    world.index();
    let (places, codes) = (world.places(), world.dictionary.encode(&world.activations));
    let dense: Vec<Vec<f64>> = (0..codes.rows())
        .map(|i| {
            let mut row = vec![0.0; FEATURES];
            codes.row(i).0.iter().zip(codes.row(i).1).for_each(|(&f, &v)| row[f as usize] = f64::from(v));
            row
        })
        .collect();
    let rows: Vec<&[f32]> = world.activations.chunks(D).collect();
    for (own, centre) in [(0, false), (5, true), (160, false), (313, true)] {
        let found = to_token(&world.run(), places[own], &SimilarOptions { centre, ..options(9) }, &mut Quiet)
            .unwrap();
        let count = |i: usize, both: fn(bool, bool) -> bool| {
            dense[own].iter().zip(&dense[i]).filter(|(a, b)| both(**a > 0.0, **b > 0.0)).count() as f64
        };
        let shared = |i: usize| count(i, |a, b| a && b);
        let jaccard = |i: usize| shared(i) / count(i, |a, b| a || b);
        let weighted = |i: usize| {
            let of = |pick: fn(f64, f64) -> f64| -> f64 {
                dense[own].iter().zip(&dense[i]).map(|(a, b)| pick(*a, *b)).sum()
            };
            of(f64::min) / of(f64::max)
        };
        let centred = |i: usize| -> Vec<f64> {
            let bias = world.dictionary.b_dec.iter().map(|b| if centre { f64::from(*b) } else { 0.0 });
            rows[i].iter().zip(bias).map(|(x, b)| f64::from(*x) - b).collect()
        };
        let cosine = |i: usize| {
            let (a, b) = (centred(own), centred(i));
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            dot(&a, &b) / (dot(&a, &a) * dot(&b, &b)).sqrt()
        };
        let lists: [(&[SimilarToken], Scored); 4] = [
            (&found.by_shared, sorted(&places, own, shared)),
            (&found.by_jaccard, sorted(&places, own, jaccard)),
            (&found.by_weighted, sorted(&places, own, weighted)),
            (&found.by_activation, sorted(&places, own, cosine)),
        ];
        for (list, expected) in &lists {
            assert_eq!(list.len(), 9);
            for (one, (place, score)) in list.iter().zip(expected) {
                assert_eq!((one.document, one.position), *place);
                assert!((one.score - score).abs() < 1e-5, "{one:?}, expected {score}");
            }
        }
        let nearest: Vec<(u32, u32)> = lists[3].1.iter().take(9).map(|(place, _)| *place).collect();
        for (agreement, (list, expected)) in found.agreement.iter().zip(&lists) {
            let both = expected.iter().take(9).filter(|(place, _)| nearest.contains(place)).count();
            assert_eq!(agreement.overlap, Some(both as f64 / 9.0));
            for one in *list {
                assert_eq!(one.in_both, nearest.contains(&(one.document, one.position)));
            }
        }
        // Two tokens rank each other by the same scores: no pair is out of order with itself.
        let ranks = found.agreement.iter().map(|a| a.spearman.unwrap());
        assert!(ranks.into_iter().all(|r| (0.05..1.0).contains(&r)), "{:?}", found.agreement);
        assert_eq!(found.tokens, 314);
    }
}

#[test]
fn what_is_not_there_is_refused_and_a_stop_is_heard() {
    let world = World::new();
    let message = to_token(&world.run(), (10, 0), &options(3), &mut Quiet).unwrap_err().to_string();
    assert!(message.contains("no index of codes"), "{message}");
    world.index();
    for place in [(10, 90), (3, 0)] {
        let message = to_token(&world.run(), place, &options(3), &mut Quiet).unwrap_err().to_string();
        assert!(message.contains("no indexed token"), "{message}");
    }
    assert!(
        to_token(&world.run(), (10, 0), &options(0), &mut Quiet).unwrap_err().to_string().contains("k is 0")
    );
    let stopped = to_token(&world.run(), (10, 0), &options(3), &mut StopAfter::new(1));
    assert!(matches!(stopped, Err(Error::Stopped(_))), "{stopped:?}");
    // Other weights than those that were indexed.
    fixture::dictionary(D, FEATURES, 5, 10).save(&world.run()).unwrap();
    let message = to_token(&world.run(), (10, 0), &options(3), &mut Quiet).unwrap_err().to_string();
    assert!(message.contains("different weights"), "{message}");
}

#[test]
fn means_over_drawn_tokens_are_those_of_the_tokens() {
    let world = World::new();
    world.index();
    let all = over_tokens(&world.run(), 314, 0, &options(5), &mut Quiet).unwrap();
    let mut sum = [0.0; 2];
    for place in world.places() {
        let one = to_token(&world.run(), place, &options(5), &mut Quiet).unwrap();
        sum[0] += one.agreement[1].overlap.unwrap();
        sum[1] += one.agreement[1].spearman.unwrap();
    }
    assert_eq!((all[1].by, all[1].queries), ("jaccard", 314));
    assert!((all[1].overlap - sum[0] / 314.0).abs() < 1e-9);
    assert!((all[1].spearman - sum[1] / 314.0).abs() < 1e-9);
    let some = over_tokens(&world.run(), 40, 1, &options(5), &mut Quiet).unwrap();
    assert_ne!(some, over_tokens(&world.run(), 40, 2, &options(5), &mut Quiet).unwrap());
    assert!((some[1].overlap - all[1].overlap).abs() < 6.0 * some[1].overlap_error);
}
